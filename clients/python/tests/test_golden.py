"""The bytes of the wire, as the files of tests/golden pin them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from conftest import GOLDEN

from rpc_host import Err, Ok, OutputLine, Some, Trapped, Variant
from rpc_host import _messages as messages
from rpc_host._binding import Caller
from rpc_host._cbor import TAG_CLIENT, TAG_HOST, CBORTag, Malformed, decode, decode_many, encode
from rpc_host._codec import codec
from rpc_host._description import Description, ResourceType
from rpc_host._errors import error_of
from rpc_host._frame import FRAGMENT_BYTES, RESULT, Kind, Message, Parser, Violation, fragments, frame
from rpc_host._operations import registration_fields, swap_fields
from rpc_host._output import output_of
from rpc_host._types import Type, parse_functions, parse_type

DIGEST = f"sha256:{'ab' * 32}"


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.bin").read_bytes()


def read(data: bytes) -> Message:
    (message,) = Parser(1 << 20, 1 << 20, 1).feed(data)
    return message


def written(kind: int, exchange: int, payload: bytes, flags: int = 0) -> bytes:
    return b"".join(fragments(kind, exchange, payload, flags))


ALL = sorted(GOLDEN.glob("*.bin"))


@pytest.mark.parametrize("path", ALL, ids=[path.stem for path in ALL])
def test_every_file_is_read_and_comes_out_as_it_went_in(path: Path) -> None:
    kind, flags, exchange, payload = read(path.read_bytes())
    assert written(kind, exchange, payload, flags) == path.read_bytes()
    if kind in (Kind.CHUNK, Kind.CANCEL):
        return
    items = decode_many(payload, 3 if kind == Kind.CALL else 1)
    # Floats may have any width; all else has one form.
    if path.stem != "reply-all-values":
        assert b"".join(map(encode, items)) == payload


def test_a_message_in_pieces_is_put_together_whatever_the_pieces() -> None:
    data = golden("reply-fragmented")
    parser = Parser(1 << 20, 1 << 20, 1)
    messages_ = [message for at in range(0, len(data), 7) for message in parser.feed(data[at : at + 7])]
    assert messages_ == [(Kind.REPLY, 0, 7, encode(b"\x5a" * (FRAGMENT_BYTES + 1)))]


def test_what_clients_send_is_written_byte_for_byte() -> None:
    def request(exchange: int, operation: str, fields: dict[str, Any]) -> bytes:
        return written(Kind.REQUEST, exchange, messages.request(operation, fields))

    register = registration_fields(
        "calc",
        DIGEST,
        ["log"],
        {"memory-bytes": 1 << 20},
        {"acme:log/logger@0.1.0": "logger"},
        False,
        1,
        False,
        None,
    )
    tenant = {
        "name": "team",
        "allow": ["log", "fs:shared=ro"],
        "limits": {"max-memory-bytes": 65536},
        "weight": 200,
    }
    shared = registration_fields("counter", DIGEST, [], None, None, False, None, False, "shared")
    counters = "demo:counter/counters@0.1.0"

    def handles(*numbers: int) -> list[CBORTag]:
        return [CBORTag(TAG_HOST, number) for number in numbers]

    sent = {
        "hello": written(Kind.HELLO, 0, messages.hello("golden/1.0", "secret")),
        "call": written(Kind.CALL, 1, messages.call_header("calc", "add", 5000) + encode([2]) + encode({"b": 3})),
        "call-narrowed": written(
            Kind.CALL,
            1,
            messages.call_header("calc", "add", allow=["log", "kv:cache=ro"]) + encode([2, 3]) + encode({}),
        ),
        "call-constructor": written(
            Kind.CALL,
            1,
            messages.call_header("counter", f"{counters}.[constructor]counter") + encode([10]) + encode({}),
        ),
        "call-on": written(
            Kind.CALL,
            3,
            messages.call_header("counter", f"{counters}.[method]counter.increment", 5000, on=7, output=True)
            + encode(handles(7))
            + encode({}),
        ),
        "call-with-handles": written(
            Kind.CALL,
            5,
            messages.call_header("counter", "counters.subscribe-all", on=7)
            + encode([handles(7, 8)])
            + encode({"handler": CBORTag(TAG_CLIENT, 1)}),
        ),
        "reply-from-client-object": written(Kind.REPLY, 4, encode({"ok": "heard"}), RESULT),
        "cancel": frame(Kind.CANCEL, 11, b""),
        "request-register": request(13, "register", register),
        "request-register-shared": request(13, "register", shared),
        "request-logs": request(29, "logs", {"name": "calc", "tail": 100, "follow": True}),
        "request-swap": request(13, "swap", swap_fields("calc", 1, 2, True)),
        "request-tenant-set": request(13, "tenant-set", tenant),
        "request-list": request(15, "list", {}),
        "request-describe": request(17, "describe", {"name": "calc", "function": None}),
        "upload": written(Kind.UPLOAD, 19, messages.upload(DIGEST, 3)),
        "chunk": frame(Kind.CHUNK, 19, bytes([1, 2, 3])),
        "provide": written(Kind.PROVIDE, 21, messages.provide("acme:log/logger", "session", 10_000, 8)),
        "withdraw": written(Kind.WITHDRAW, 23, messages.withdraw("acme:log/logger", 5)),
        "release": written(Kind.RELEASE, 25, messages.release([(7, 2)])),
        "release-many": written(Kind.RELEASE, 0, messages.release([(8, 1), (9, 3), ((1 << 64) - 1, (1 << 32) - 1)])),
        "ping": frame(Kind.PING, 0, messages.beat(42)),
        "pong": frame(Kind.PONG, 0, messages.beat(42)),
    }
    for name, data in sent.items():
        assert data == golden(name), name


def test_values_of_all_types_are_read() -> None:
    _, _, _, payload = read(golden("reply-all-values"))
    point = Type("record", (Type("u32"),), ("line-length",))
    shape = Type("variant", (Type("f32"), None), ("circle", "nothing"))
    option = Type("option", (Type("s32"),))
    nested = Type("option", (option,))
    text = Type("string")
    types = [
        *map(Type, ["bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"]),
        *map(Type, ["f32", "f64", "f64", "f64", "char", "string"]),
        Type("list", (Type("u8"),)),
        Type("list", (Type("u16"),)),
        Type("map", (text, Type("s32"))),
        point,
        Type("record"),
        Type("tuple"),
        shape,
        shape,
        Type("enum", names=("dark-blue",)),
        option,
        option,
        nested,
        nested,
        Type("result", (None, None)),
        Type("result", (Type("s32"), None)),
        Type("result", (None, None)),
        Type("result", (None, text)),
        Type("flags", names=("read", "write")),
        Type("own", names=("counter",)),
        Type("own", names=("counter",)),
    ]

    class Objects:
        def take(self, raw: Any, resource: str, own: bool) -> Any:
            return (raw.tag, raw.value, resource, own)

    values = codec(Type("tuple", tuple(types))).off(decode(payload), Objects())
    nan = values[11]
    assert nan != nan
    (one_third,) = struct.unpack("<f", struct.pack("<f", 0.1))
    record, empty = values[18], values[19]
    assert record.line_length == record["line-length"] == 80
    assert repr(empty) == "Record()"
    assert values[:11] + values[12:18] == (
        True, -(1 << 7), 255, -(1 << 15), 65535, -(1 << 31), (1 << 32) - 1, -(1 << 63), (1 << 64) - 1,
        one_third, 0.1, float("-inf"), "😀", "grüße", b"\x00\x01\xff", [1, 2], {"k": 1},
    )  # fmt: skip
    assert values[20:] == (
        (), Variant("circle", 1.5), Variant("nothing"), "dark_blue", None, 1, Some(None), Some(1),
        Ok(), Ok(1), Err(), Err("no"), {"read", "write"},
        (TAG_HOST, 7, "counter", True), (TAG_CLIENT, 7, "counter", True),
    )  # fmt: skip


def test_types_of_all_kinds_are_read() -> None:
    _, _, _, payload = read(golden("reply-description"))
    (function,) = parse_functions(decode(payload)["functions"])
    assert function.path == "demo:calc/calc@0.1.0.everything"
    assert str(function.signature) == (
        "func(list: list<u8>, fixed: list<u8, 3>, map: map<string, s64>, record: record { x: s32 }, "
        "tuple: tuple<bool, char>, option: option<f32>, flags: flags { read }, enum: enum { red }, "
        "variant: variant { none, some(string) }, own: counter, borrow: borrow<counter>) -> result<_, string>"
    )
    Caller(function.signature, str(function))


def test_resources_are_described_with_their_functions() -> None:
    _, _, _, payload = read(golden("reply-description-of-resources"))
    description = Description(decode(payload))
    assert description.docs == "Counters."
    counter = description.members["Counter"]
    assert isinstance(counter, ResourceType) and counter.docs == "Counts upwards."
    assert counter.constructor is not None and counter.constructor.docs == "A counter that begins at `start`."
    assert list(counter.methods) == ["increment"] and counter.class_name == "Counter"


def test_lines_of_guests_are_read() -> None:
    assert output_of(read(golden("output"))[3]) == OutputLine("stdout", "counted to 11")
    assert output_of(read(golden("output-kept"))[3]) == OutputLine(
        "log", "it counts", "info", 1_790_000_000_000, "00112233445566aa#1"
    )


def test_a_failure_becomes_an_exception_of_its_code() -> None:
    _, _, _, payload = read(golden("failure"))
    error = error_of(decode(payload))
    assert isinstance(error, Trapped)
    assert (error.code, error.fault, error.retryable) == ("trapped", "guest", False)
    assert error.backtrace == ("calc::div",)
    assert "  in calc::div" in str(error)


def test_a_guest_error_is_told_by_its_flag() -> None:
    kind, flags, exchange, payload = read(golden("reply-guest-error"))
    assert (kind, flags, exchange) == (Kind.REPLY, RESULT, 3)
    assert codec(parse_type({"result": {"err": "string"}})).off(decode(payload), None) == Err("division by zero")


@pytest.mark.parametrize(
    "header",
    [
        "00010001 04 00 0000 00000001",  # too long
        "00000000 00 00 0000 00000001",  # no such kind
        "00000000 63 00 0000 00000001",
        "00000000 04 04 0000 00000001",  # no such flag
        "00000000 05 02 0000 00000001",  # of replies only
        "00000000 04 00 0001 00000001",  # reserved
    ],
)
def test_what_is_no_header_is_refused(header: str) -> None:
    with pytest.raises(Violation):
        Parser(100, 100, 1).feed(bytes.fromhex(header))


def test_every_budget_of_incomplete_messages_is_enforced() -> None:
    more = 1

    def parser() -> Parser:
        return Parser(100, 120, 2)

    with pytest.raises(Violation, match="limit of 100"):
        parser().feed(frame(5, 1, b"x" * 101, more))
    with pytest.raises(Violation, match="120 bytes together"):
        parser().feed(frame(4, 1, b"x" * 61, more) + frame(4, 3, b"x" * 61, more))
    with pytest.raises(Violation, match="more than 2"):
        parser().feed(b"".join(frame(4, id, b"", more) for id in (1, 3, 5)))
    with pytest.raises(Violation, match="another kind"):
        parser().feed(frame(4, 1, b"", more) + frame(5, 1, b""))
    interleaved = frame(4, 1, b"a", more) + frame(4, 3, b"short") + frame(4, 1, b"b")
    assert parser().feed(interleaved) == [(4, 0, 3, b"short"), (4, 0, 1, b"ab")]
    # A reply that is too long is thrown away as it comes, and its call alone fails.
    long = parser()
    assert long.feed(frame(4, 1, b"x" * 101, more) + frame(4, 3, b"x" * 61, more)) == []
    assert long.feed(b"".join(frame(4, 1, b"x" * 101, more) for _ in range(100)) + frame(4, 3, b"")) == [
        (4, 0, 3, b"x" * 61)
    ]
    ((kind, _, id, body),) = long.feed(frame(4, 1, b"x"))
    assert (kind, id) == (5, 1) and decode(body)["code"] == "resource-exhausted"


@pytest.mark.parametrize(
    "data",
    [
        "9f01ff",  # indefinite length
        "a2616101616102",  # a key twice
        "c11a514b67b0",  # a time
        "c249010000000000000000",  # a large integer
        "d8235b7fffffffffffffff",  # a pattern
        "d81c80",  # something to be shared
        "81" * 70 + "00",  # nested
        "61ff",  # no UTF-8
        "",
    ],
)
def test_what_a_host_sends_becomes_plain_data_or_nothing(data: str) -> None:
    with pytest.raises(Malformed):
        decode(bytes.fromhex(data))


def test_the_two_tags_stay_what_they_are() -> None:
    assert decode(bytes.fromhex("d9727007")) == CBORTag(TAG_HOST, 7)
    assert decode(bytes.fromhex("d9727107")) == CBORTag(TAG_CLIENT, 7)
    with pytest.raises(Malformed, match="follow"):
        decode_many(bytes.fromhex("0101"), 1)
