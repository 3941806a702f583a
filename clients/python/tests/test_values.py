"""Values and their types, without a host."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
from typing import Any

import pytest

import rpc_host
from rpc_host import ArgumentError, Err, GuestError, Ok, Some, Variant, asdict
from rpc_host._binding import Caller, Server, untyped_on
from rpc_host._cbor import decode, encode
from rpc_host._codec import codec
from rpc_host._types import Parameter, Signature, Type, parse_type
from rpc_host._wrong import Wrong

POINT = Type("record", (Type("s32"), Type("s32")), ("x", "y"))
PLACE = Type("record", (POINT, Type("option", (Type("string"),))), ("point", "label-text"))
SHAPE = Type("variant", (None, Type("f64"), POINT), ("nothing", "circle", "dark-corner"))
COLOR = Type("enum", names=("red", "dark-blue"))
FLAGS = Type("flags", names=("read", "write-only"))


def there_and_back(ty: Type, value: Any) -> Any:
    found = codec(ty)
    return found.off(decode(encode(found.on(value, None))), None)


def problem(ty: Type, value: Any) -> str:
    with pytest.raises(Wrong) as raised:
        codec(ty).on(value, None)
    return raised.value.at("args[0]")


@pytest.mark.parametrize("name", ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"])
def test_integers_are_in_the_range_of_their_type(name: str) -> None:
    bits = int(name[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name[0] == "s" else (0, (1 << bits) - 1)
    ty = Type(name)
    for value in (low, 0, 1, high):
        assert there_and_back(ty, value) == value
    for value in (low - 1, high + 1):
        assert problem(ty, value) == f"args[0]: {value} is out of range of {name}"
    assert problem(ty, 10**5000).endswith(f"integer is out of range of {name}")
    assert problem(ty, True) == f"args[0]: expected {name}, got bool"
    assert problem(ty, 1.0) == f"args[0]: expected {name}, got float"
    assert problem(ty, "1") == f"args[0]: expected {name}, got text"
    assert problem(ty, None) == f"args[0]: expected {name}, got null"
    assert there_and_back(ty, enum.IntEnum("N", ["one"])(1)) == 1


def test_floats_keep_their_value() -> None:
    f64 = Type("f64")
    for value in (0.0, -0.0, 1.5, 0.1, math.inf, -math.inf, 5e-324):
        assert math.copysign(1, there_and_back(f64, value)) == math.copysign(1, value)
        assert there_and_back(f64, value) == value
    assert math.isnan(there_and_back(f64, math.nan))
    assert there_and_back(f64, 2**53) == 2.0**53
    assert "not held exactly" in problem(f64, 2**53 + 1)
    assert "out of range" in problem(f64, 10**400)
    assert "out of range of f32" in problem(Type("f32"), 1e39)
    assert there_and_back(Type("f32"), math.inf) == math.inf
    assert problem(f64, "1.5") == "args[0]: expected f64, got text"
    assert problem(f64, True) == "args[0]: expected f64, got bool"


def test_text_is_made_of_whole_characters() -> None:
    assert there_and_back(Type("string"), "gr😀\0") == "gr😀\0"
    assert "is no character" in problem(Type("string"), "\ud800")
    assert there_and_back(Type("char"), "😀") == "😀"
    for wrong in ("", "ab"):
        assert problem(Type("char"), wrong) == "args[0]: expected char, got text that is not one character"

    class Text(str):
        def __str__(self) -> str:
            raise AssertionError

    assert there_and_back(Type("string"), Text("x")) == "x"


def test_bytes_are_bytes() -> None:
    ty = Type("list", (Type("u8"),))
    for value in (b"\0\xff", bytearray(b"\0\xff"), memoryview(b"\0\xff"), [0, 255], (0, 255), iter([0, 255])):
        assert there_and_back(ty, value) == b"\0\xff"
    assert problem(ty, "text") == "args[0]: expected list<u8>, got text"
    assert problem(ty, [0, 256]) == "args[0][1]: 256 is out of range of u8"
    assert problem(ty, [True]) == "args[0][0]: expected u8, got bool"


def test_lists_are_of_one_type_and_the_place_of_a_wrong_item_is_told() -> None:
    ty = Type("list", (Type("s64"),))
    numbers = list(range(-5, 1000))
    assert there_and_back(ty, numbers) == numbers
    assert there_and_back(ty, (number for number in numbers)) == numbers
    assert there_and_back(ty, []) == []
    assert problem(ty, [1, 2, "3"]) == "args[0][2]: expected s64, got text"
    assert problem(ty, [1, 1 << 63]) == f"args[0][1]: {1 << 63} is out of range of s64"
    assert problem(ty, {"a": 1}) == "args[0]: expected list<s64>, got map"
    assert problem(ty, 5) == "args[0]: expected list<s64>, got integer"
    fixed = Type("fixed-list", (Type("s64"),), length=2)
    assert there_and_back(fixed, (1, 2)) == [1, 2]
    assert problem(fixed, [1]) == "args[0]: expected list<s64, 2>, got 1 elements"
    nested = Type("list", (Type("list", (POINT,)),))
    assert problem(nested, [[], [{"x": 1, "y": "no"}]]) == "args[0][1][0].y: expected s32, got text"
    assert there_and_back(Type("tuple", (Type("u8"), Type("string"))), [1, "a"]) == (1, "a")
    assert "got an array of 1" in problem(Type("tuple", (Type("u8"), Type("string"))), [1])


def test_a_record_is_given_as_anything_that_has_its_fields() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    class Loose:
        x = 1
        y = 2
        z = 3

    named = collections.namedtuple("named", "x y")
    got = there_and_back(POINT, {"x": 1, "y": 2})
    for value in (Point(1, 2), Loose(), named(1, 2), got):
        assert there_and_back(POINT, value) == got
    place = there_and_back(PLACE, {"point": named(1, 2)})
    assert place.label_text is None
    assert there_and_back(PLACE, {"point": got, "label-text": "a"}).label_text == "a"
    assert there_and_back(PLACE, {"point": got, "label_text": "a"})["label-text"] == "a"
    assert problem(PLACE, {"point": {"x": 1, "y": "no"}}) == "args[0].point.y: expected s32, got text"
    assert problem(PLACE, {}) == "args[0].point: missing: expected record { x: s32, y: s32 }"
    assert problem(POINT, {"x": 1, "y": 2, "z": 3}) == "args[0].z: no such field in record { x: s32, y: s32 }"
    assert problem(POINT, (1, 2)) == "args[0]: expected record { x: s32, y: s32 }, got array"
    assert problem(POINT, object()) == "args[0].x: missing: expected s32"


def test_a_record_comes_back_as_a_dataclass_of_its_shape() -> None:
    point = there_and_back(POINT, {"x": 1, "y": 2})
    assert dataclasses.asdict(point) == asdict(point) == {"x": 1, "y": 2}
    assert repr(point) == "Record(x=1, y=2)"
    assert point == there_and_back(POINT, point)
    assert point != there_and_back(POINT, {"x": 1, "y": 3})
    assert (point["x"], "y" in point, "z" in point, list(point)) == (1, True, False, ["x", "y"])
    with pytest.raises(KeyError):
        point["z"]
    point.x = 5
    point["y"] = 6
    match point:
        case rpc_host.Record(x=5, y=y):
            assert y == 6
        case _:
            raise AssertionError
    with pytest.raises(AttributeError):
        point.z = 1  # a record has the fields that it has
    words = Type("record", (Type("s8"), Type("option", (Type("u16"),)), Type("bool")), ("class", "from", "self"))
    got = there_and_back(words, {"class": 1, "self": True})
    assert (got.class_, got.from_, got.self, got["class"]) == (1, None, True, 1)
    assert there_and_back(words, {"class_": 1, "from_": 2, "self": True})["from"] == 2
    nested = there_and_back(Type("list", (PLACE,)), [{"point": point}])
    assert asdict(nested) == [{"point": {"x": 5, "y": 6}, "label_text": None}]


def test_variants_are_small_classes_to_match_on() -> None:
    for value in (Variant("circle", 1.5), ("circle", 1.5), {"circle": 1.5}):
        assert there_and_back(SHAPE, value) == Variant("circle", 1.5)
    for value in ("nothing", Variant("nothing")):
        assert there_and_back(SHAPE, value) == Variant("nothing")
    match there_and_back(SHAPE, ("dark-corner", {"x": 1, "y": 2})):
        case Variant("dark_corner", point):
            assert point.y == 2
        case _:
            raise AssertionError
    assert repr(Variant("dark-corner", 1)) == "Variant('dark_corner', 1)"
    assert len({Variant("a", 1), Variant("a", 1)}) == 1
    assert problem(SHAPE, "circle") == "args[0].circle: expected f64, got null"
    assert problem(SHAPE, ("nothing", 1)) == "args[0].nothing: the case has no payload, got integer"
    assert problem(SHAPE, "square").startswith("args[0]: expected variant {")
    assert problem(SHAPE, ("dark_corner", {"x": "a", "y": 0})) == "args[0].dark-corner.x: expected s32, got text"
    assert "got integer" in problem(SHAPE, 5)


def test_an_enum_is_a_text_of_a_few() -> None:
    class Color(enum.Enum):
        RED = "red"
        DARK_BLUE = 2

    blue = there_and_back(COLOR, "dark-blue")
    assert blue == "dark_blue" and blue.name == "DARK_BLUE" and str(blue) == "dark_blue"
    assert f"{blue:>10}" == " dark_blue"
    for value in ("dark_blue", blue, Color.DARK_BLUE):
        assert there_and_back(COLOR, value) is blue
    assert there_and_back(COLOR, Color.RED) == "red"
    assert list(type(blue)) == ["red", "dark_blue"]
    assert problem(COLOR, "green") == 'args[0]: expected enum { red, dark-blue }, got "green"'
    assert problem(COLOR, 1) == "args[0]: expected enum { red, dark-blue }, got integer"


def test_flags_are_a_set() -> None:
    class Flag(enum.Flag):
        READ = 1
        WRITE_ONLY = 2

    for value in (
        {"read", "write-only"},
        ["write_only", "read"],
        Flag.READ | Flag.WRITE_ONLY,
        {"read": 1, "write-only": 1},
    ):
        assert there_and_back(FLAGS, value) == {"read", "write_only"}
    assert there_and_back(FLAGS, ()) == frozenset()
    assert problem(FLAGS, ["fly"]) == 'args[0]: expected flags { read, write-only }, got "fly"'
    assert problem(FLAGS, "read") == "args[0]: expected flags { read, write-only }, got text"
    with pytest.raises(Wrong, match="twice"):
        codec(FLAGS).off(["read", "read"], None)


def test_options_nest() -> None:
    one = Type("option", (Type("u8"),))
    two = Type("option", (one,))
    three = Type("option", (Type("option", (Type("option", (Type("bool"),)),)),))
    assert there_and_back(one, None) is None and there_and_back(one, 5) == 5 == there_and_back(one, Some(5))
    for value in (None, Some(None), Some(5)):
        assert there_and_back(two, value) == value
    assert there_and_back(two, 5) == Some(5)
    for value in (None, Some(None), Some(Some(None)), Some(Some(True))):
        assert there_and_back(three, value) == value
    assert problem(one, "a") == "args[0]: expected u8, got text"


def test_results_within_values_are_ok_or_err() -> None:
    ty = parse_type({"result": {"ok": "u8", "err": "string"}})
    for value in (Ok(1), Err("no")):
        assert there_and_back(ty, value) == value
    assert there_and_back(ty, {"err": "no"}) == Err("no")
    assert there_and_back(ty, GuestError("no")) == Err("no")
    match there_and_back(ty, Err("no")):
        case Err(value):
            assert value == "no"
    assert problem(ty, Ok("a")) == "args[0].ok: expected u8, got text"
    assert problem(ty, 1) == "args[0]: expected result<u8, string> as Ok(…) or Err(…), got integer"
    bare = parse_type({"result": {}})
    assert there_and_back(bare, Ok()) == Ok() and there_and_back(bare, Err()) == Err()
    assert problem(bare, Ok(1)) == "args[0].ok: it carries nothing, got integer"


def test_maps_are_dicts() -> None:
    ty = Type("map", (Type("u64"), Type("list", (Type("string"),))))
    assert there_and_back(ty, {1: ["a"], 2: []}) == {1: ["a"], 2: []}
    assert problem(ty, {1: [2]}) == "args[0][1][0]: expected string, got integer"
    assert problem(ty, [1]) == "args[0]: expected map<u64, list<string>>, got array"


def test_arguments_are_bound_like_those_of_any_function() -> None:
    signature = Signature(
        (
            Parameter("first", Type("u8")),
            Parameter("second-one", Type("string")),
            Parameter("from", Type("option", (Type("u8"),))),
        ),
        Type("u8"),
    )
    caller = Caller(signature, "f: " + str(signature))

    def bound(*args: Any, **kwargs: Any) -> list[Any]:
        return caller.arguments(args, kwargs, None)

    def refused(*args: Any, **kwargs: Any) -> str:
        with pytest.raises(ArgumentError) as raised:
            bound(*args, **kwargs)
        return str(raised.value)

    assert bound(1, "a", 2) == bound(1, second_one="a", from_=2) == [1, "a", 2]
    assert bound(1, "a") == bound(**{"first": 1, "second-one": "a"}) == [1, "a", None]
    assert refused(1) == (
        "args[1]: missing argument `second-one`: expected string; the function is "
        "f: func(first: u8, second-one: string, from: option<u8>) -> u8"
    )
    assert refused(1, "a", 2, 3).startswith("args: expected 3 arguments, got 4: f: func")
    assert refused(1, "a", first=1) == "args.first: given by position already"
    assert refused(1, "a", third=1).startswith("args.third: no such parameter")
    assert refused(1, 2) == "args[1]: expected string, got integer"
    with pytest.raises(TypeError):
        bound()
    with pytest.raises(ValueError):
        bound()


def test_a_served_function_gives_plain_values_or_its_own_error() -> None:
    server = Server(Signature((), parse_type({"result": {"ok": "u8", "err": "string"}})))
    assert server.is_result
    assert server.result(5, None) == server.result(Ok(5), None) == {"ok": 5}
    assert server.result(GuestError("no"), None) == server.result(Err("no"), None) == {"err": "no"}
    with pytest.raises(ArgumentError, match=r"result.ok: expected u8, got text"):
        server.result("a", None)
    assert Server(Signature(())).result("anything", None) is None


def test_a_type_that_is_not_known_is_shown_and_passed_through() -> None:
    strange = parse_type({"stream": "u8"})
    assert str(strange) == "{'stream': 'u8'}"
    assert there_and_back(strange, [1, {"a": None}]) == [1, {"a": None}]
    for data in (None, 5, {}, {"list": 1, "option": 2}, {"record": [{}]}, {"result": 3}, {"fixed-list": []}):
        assert parse_type(data).kind == "unknown" or parse_type(data).inner


def test_objects_that_answer_everything_are_values_of_nothing() -> None:
    class Everything:
        def __getattr__(self, name: str) -> Any:
            return self

    class NoClass:
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no class")

    for value in (Everything(), NoClass()):
        for ty in (Type("u8"), Type("string"), SHAPE, COLOR, FLAGS, Type("list", (Type("u8"),)), POINT):
            caller = Caller(Signature((Parameter("it", ty),)), "f")
            with pytest.raises(ArgumentError, match=r"^args\[0\]"):
                caller.arguments((value,), {}, None)


def test_without_types_values_go_by_what_they_are() -> None:
    assert untyped_on({"a": [1, (2.5, b"x")], "b": None}, None) == {"a": [1, [2.5, b"x"]], "b": None}
    assert untyped_on(Ok(Variant("dark_blue", 1)), None) == {"ok": {"dark-blue": 1}}
    assert untyped_on(Some(None), None) == {"some": None}
    with pytest.raises(ArgumentError):
        untyped_on(object(), None)
