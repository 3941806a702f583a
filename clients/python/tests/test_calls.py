"""Calls of functions, and what comes of them."""

from __future__ import annotations

import inspect
import math
import os
import pydoc
import threading
import time
from typing import Any

import pytest
from conftest import component

import rpc_host
from rpc_host import Err, Ok, Some, Variant


def test_a_call_takes_arguments_by_position_and_by_name(calc: Any) -> None:
    assert calc.add(2, 3) == 5
    assert calc.add(2, b=3) == calc.add(b=3, a=2) == 5
    with pytest.raises(rpc_host.ArgumentError, match=r"^args\[0\]: expected s64, got text$"):
        calc.add("2", 3)
    with pytest.raises(TypeError, match="missing argument `b`"):
        calc.add(2)


I64 = (-(1 << 63), (1 << 63) - 1)

EDGES: dict[str, list[Any]] = {
    "echo_bool": [True, False],
    "echo_u8": [0, 255],
    "echo_u16": [0, 65535],
    "echo_u32": [0, (1 << 32) - 1],
    "echo_u64": [0, (1 << 64) - 1],
    "echo_s8": [-128, 127],
    "echo_s16": [-32768, 32767],
    "echo_s32": [-(1 << 31), (1 << 31) - 1],
    "echo_s64": [*I64],
    "echo_f32": [0.0, 1.5, math.inf, -math.inf],
    "echo_f64": [0.0, 0.1, 5e-324, math.inf],
    "echo_char": ["a", "\0", "😀", "\U0010ffff"],
    "echo_string": ["", "a", "grüße 😀 \0", "x" * 100_000],
    "echo_bytes": [b"", b"\0", os.urandom(100_000)],
    "echo_numbers": [[], [1], [*I64], list(range(10_000))],
    "echo_floats": [[], [0.1, -0.0]],
    "echo_texts": [[], ["", "é"]],
    "echo_lists": [[], [[]], [[1], [2, 65535]]],
    "echo_option": [None, 0, 5],
    "echo_option_text": [None, "", "null"],
    "echo_nested_option": [None, Some(None), Some(5)],
    "echo_deep_option": [None, Some(None), Some(Some(None)), Some(Some(False))],
    "echo_results": [[], [Ok(1), Err("no")]],
    "echo_result_forms": [(Ok(1), Ok(2), Ok(), Ok()), (Err("a"), Err(), Err("b"), Err())],
    "echo_pair": [(1, "a")],
    "echo_single": [(-1,)],
    "echo_pairs": [[("a", 1.5)], []],
    "echo_color": ["red", "dark_blue"],
    "echo_shape": [
        Variant("nothing"),
        Variant("circle", 1.5),
        Variant("named", ""),
        Variant("colored", "dark_blue"),
        Variant("maybe", None),
        Variant("maybe", 5),
    ],
    "echo_permissions": [frozenset(), frozenset(["read", "execute"])],
    "echo_switches": [frozenset(f"switch{number:02}" for number in range(32))],
    "echo_one_flag": [frozenset(), frozenset(["only"])],
}


@pytest.mark.parametrize("name", EDGES)
def test_values_at_the_edges_of_their_types_come_back(sink: Any, name: str) -> None:
    function = getattr(sink, name)
    for value in EDGES[name]:
        assert function(value) == value


def test_floats_come_back_to_the_last_bit(sink: Any) -> None:
    assert math.isnan(sink.echo_f64(math.nan)) and math.isnan(sink.echo_f32(math.nan))
    assert math.copysign(1, sink.echo_f64(-0.0)) == -1


def test_records_come_back(sink: Any) -> None:
    point = {"x": 1, "y": -2}
    assert rpc_host.asdict(sink.echo_point(point)) == point
    assert sink.echo_points([point, point])[1].y == -2
    assert sink.echo_options([None, point])[1] == sink.echo_point(point)
    assert sink.echo_wrapper({"inner": None}).inner is None
    assert sink.echo_wrapper({"inner": b"\0"}).inner == b"\0"
    nested = sink.echo_nested(
        {
            "name": "n",
            "wrappers": [{"inner": b"x"}, {}],
            "place": (point, "green"),
            "outcome": Ok(("corners", (point, point))),
            "allowed": {"write"},
        }
    )
    assert nested.place[1] == "green" and nested.wrappers[1].inner is None
    match nested.outcome:
        case Ok(Variant("corners", (first, _))):
            assert first == sink.echo_point(point)
        case _:
            raise AssertionError
    words = {"type": 1, "list": "a", "self": True, "async-def": "b", "class": -1}
    keywords = sink.echo_keywords(words)
    assert (keywords.class_, keywords["async-def"], keywords.async_def, keywords.from_) == (-1, "b", "b", None)
    assert sink.echo_keywords(keywords) == keywords


def test_many_arguments_of_all_kinds_arrive(sink: Any) -> None:
    point = {"x": 1, "y": 2}
    text = sink.many(
        1, 2, 3, 4, -1, -2, -3, -4, 1.5, 2.5, True, "c", "text", b"\x01", None, point, "red", {"read"}, (1, 2)
    )
    assert isinstance(text, str) and "text" in text
    assert sink.nothing() is None


def test_what_is_out_of_range_or_ill_typed_is_refused_before_it_is_sent(sink: Any) -> None:
    for function, value, problem in [
        (sink.echo_u8, 256, "256 is out of range of u8"),
        (sink.echo_s8, -129, "-129 is out of range of s8"),
        (sink.echo_point, {"x": 1}, r"\.y: missing: expected s32"),
        (sink.echo_point, {"x": 1, "y": 1 << 31}, r"\.y: 2147483648 is out of range of s32"),
        (sink.echo_string, b"x", "expected string, got bytes"),
        (sink.echo_color, "pink", 'got "pink"'),
        (sink.echo_lists, [[1], [70000]], r"\[1\]\[0\]: 70000 is out of range of u16"),
    ]:
        with pytest.raises(rpc_host.ArgumentError, match=rf"args\[0\]:? ?{problem}|{problem}"):
            function(value)


def test_a_guest_error_carries_its_typed_value(sink: Any, calc: Any) -> None:
    assert sink.both(False) is not None
    with pytest.raises(rpc_host.GuestError) as raised:
        sink.both(True)
    assert isinstance(raised.value.value, str) and str(raised.value) == raised.value.value
    with pytest.raises(rpc_host.GuestError) as raised:
        sink.fail_with_record(7)
    assert raised.value.value.code == 7 and isinstance(raised.value.value.reason, str)
    with pytest.raises(rpc_host.GuestError) as raised:
        sink.fail_with_variant()
    assert isinstance(raised.value.value, Variant)
    with pytest.raises(rpc_host.GuestError) as raised:
        sink.neither(True)
    assert raised.value.value is None
    assert sink.neither(False) is None and sink.err_only(False) is None
    with pytest.raises(rpc_host.GuestError, match="zero"):
        calc.div(1, 0)


def test_a_trap_shows_the_frames_of_the_guest_and_the_next_call_works(conn: Any, registered: Any) -> None:
    trap = conn.modules[registered("trap")]
    with pytest.raises(rpc_host.Trapped) as raised:
        trap.panic_with("on purpose")
    error = raised.value
    assert error.code == "trapped" and error.fault == "guest" and not error.retryable
    assert error.backtrace and "Remote traceback (most recent call last):" in str(error)
    assert not isinstance(error, (rpc_host.ConnectionLost, rpc_host.GuestError))
    with pytest.raises(rpc_host.RemoteError):
        trap.exit(9)
    assert trap.ping()


def test_only_what_a_module_exports_can_be_reached(conn: Any, calc: Any) -> None:
    assert dir(calc) == ["add", "calc", "distance", "div", "sub"]
    for name in ("nothing_like_it", "_private", "__wrapped__", "class_", "Add"):
        assert not hasattr(calc, name)
    with pytest.raises(AttributeError, match="did you mean add"):
        _ = calc.ad
    for name in ("os", "no_such_module"):
        assert not hasattr(conn.modules, name)
        assert name not in conn.modules
        with pytest.raises(KeyError):
            conn.modules[name]


def test_modules_are_found_listed_and_completed(conn: Any, registered: Any) -> None:
    registered("kitchen-sink"), registered("calc")
    assert {"calc", "kitchen-sink"} <= set(conn.modules)
    assert "calc" in conn.modules and "kitchen_sink" in conn.modules and len(conn.modules) >= 2
    assert "kitchen_sink" in dir(conn.modules) and "_repr_html_" not in dir(conn.modules)
    sink = conn.modules.kitchen_sink
    assert {"sink", "ping", "echo_bool", "Counter", "Gate"} <= set(dir(sink))
    assert {"echo_bool", "Counter"} <= set(dir(sink.sink)) and "ping" not in dir(sink.sink)
    assert sink.ping("a") == sink["ping"]("a") == "a"
    assert sink.echo_u8(1) == sink.sink.echo_u8(1) == sink["demo:kitchen/sink@0.1.0"]["echo-u8"](1) == 1
    assert sink["demo:kitchen/sink.echo-u8"](2) == sink["sink.echo-u8"](2) == 2
    assert conn.function("kitchen-sink", "sink@0.1.0.echo-u8")(3) == 3
    assert sink.echo_u8 is sink.echo_u8
    assert "echo_u8" in sink and "echo_u9" not in sink
    assert repr(sink) == "<module kitchen-sink>"


def test_help_shows_the_signature_as_in_wit(calc: Any, sink: Any) -> None:
    shown = pydoc.plain(pydoc.render_doc(calc.add))
    assert "add: func(a: s64, b: s64) -> s64" in shown
    assert str(inspect.signature(calc.add)) == "(a: s64, b: s64) -> s64"
    assert calc.add.__name__ == "add" and "add" in repr(calc.add)
    assert "value: option<u32>) -> option<u32>" in sink.echo_option.__doc__
    assert "add: func(a: s64, b: s64) -> s64" in calc.__doc__
    assert str(inspect.signature(sink.Counter)) == "(start: s64) -> counter"
    assert "[method]counter.increment" in sink.Counter.__doc__


def test_a_timeout_ends_the_work_and_the_next_call_works_at_once(conn: Any, registered: Any) -> None:
    spin = conn.modules[registered("spin")]
    began = time.monotonic()
    with pytest.raises(rpc_host.DeadlineExceeded) as raised:
        spin.forever.with_options(timeout=0.3)()
    assert isinstance(raised.value, TimeoutError)
    assert 0.25 < time.monotonic() - began < 5
    assert spin.ping()


def test_a_timeout_of_the_connection_holds_for_each_call(host: Any, registered: Any) -> None:
    registered("spin")
    with host.connect(call_timeout=0.3) as conn:
        with pytest.raises(rpc_host.DeadlineExceeded):
            conn.modules.spin.forever()
        assert conn.modules.spin.ping()


def test_a_slow_call_holds_up_no_other(conn: Any, registered: Any) -> None:
    sleeper, calc = conn.modules[registered("sleeper")], conn.modules[registered("calc")]
    assert calc.add(1, 1) == 2
    slow = rpc_host.async_call(sleeper.sleep, 1000)
    began = time.monotonic()
    for number in range(20):
        assert calc.add(number, 1) == number + 1
    assert not slow.done() and time.monotonic() - began < 1
    slow.result(10)


def test_eight_threads_share_a_connection(conn: Any, registered: Any) -> None:
    sink = conn.modules[registered("kitchen-sink")]
    wrong: list[Any] = []

    def run(seed: int) -> None:
        try:
            for number in range(150):
                value = f"{seed}:{number}" * (1 + number % 50)
                if sink.echo_string(value) != value:
                    wrong.append((seed, number))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_large_values_go_through_and_too_large_ones_are_refused(sink: Any, calc: Any) -> None:
    data = os.urandom(2 << 20)
    assert sink.echo_bytes(data) == data
    with pytest.raises(rpc_host.ArgumentError, match="the host takes messages of"):
        sink.echo_bytes(bytes(17 << 20))
    assert calc.add(1, 2) == 3


def test_a_reply_that_is_too_long_fails_its_own_call_alone(own_host: Any) -> None:
    host = own_host("[limits]\nmax-reply-bytes = 65536\n")
    with host.connect() as conn:
        conn.upload_module(component("kitchen-sink"), name="sink")
        with pytest.raises(rpc_host.ResourceExhausted):
            conn.modules.sink.echo_string("x" * 100_000)
        assert conn.modules.sink.echo_string("x") == "x"


def test_a_call_can_have_less_than_its_module_is_granted(conn: Any, sink: Any) -> None:
    assert sink.echo_u8.with_options(allow=[])(5) == 5
    with pytest.raises(rpc_host.InvalidArgument):
        sink.echo_u8.with_options(allow=["no such thing"])(5)


def test_more_calls_than_the_host_takes_at_once_wait(own_host: Any) -> None:
    host = own_host("[limits]\nmax-calls-in-flight-per-session = 4\n")
    with host.connect() as conn:
        conn.upload_module(component("sleeper"), name="sleeper")
        sleep = conn.modules.sleeper.sleep
        futures = [rpc_host.async_call(sleep, 50) for _ in range(12)]
        assert all(isinstance(future.result(20), int) for future in futures)
        threads = [threading.Thread(target=sleep, args=(50,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)


def test_what_was_described_is_asked_for_anew_when_it_has_changed(host: Any, conn: Any, registered: Any) -> None:
    digests = {name: conn.upload_module(component(name)).digest for name in ("calc", "text", "trap")}
    conn.register("changing", digests["trap"])
    ping = conn.modules.changing.ping
    assert ping()
    with host.connect() as other:
        other.swap("changing", digests["calc"], force=True)
    # It has no `ping` any more, and says so; what it has is found at the next look.
    with pytest.raises(rpc_host.RemoteError):
        ping()
    assert conn.modules.changing.add(2, 3) == 5
    conn.rollback("changing", force=True)
    assert conn.modules.changing.ping() and ping()


def test_operations_on_modules_and_registrations(conn: Any, calc: Any) -> None:
    progress: list[tuple[int, int]] = []
    wasm = component("calc").read_bytes()
    upload = conn.upload_module(
        wasm, name="operated", limits={"max-cpu-ms-per-call": 1000}, progress=lambda *it: progress.append(it)
    )
    assert upload.already_known and upload.size_bytes == len(wasm) and progress[-1] == (len(wasm), len(wasm))
    assert upload.registration.revision == 1 and upload.registration.limits == {"max-cpu-ms-per-call": 1000}
    swapped = conn.swap("operated", component("text"), force=True)
    assert swapped.revision == 2 and swapped.restores is None
    assert conn.modules.operated.count("a b").words == 2
    assert conn.rollback("operated", force=True).restores == 1
    assert conn.modules.operated.add(1, 2) == 3
    assert conn.swap("operated", 2, force=True, if_revision=3).restores == 2
    with pytest.raises(rpc_host.Aborted) as raised:
        conn.swap("operated", 1, if_revision=1)
    assert raised.value.retryable
    assert [entry.revision for entry in conn.history("operated")] == [4, 3, 2, 1]
    assert conn.show("operated").current.revision == 4
    assert any(entry.current.name == "operated" for entry in conn.list())
    inspected = conn.inspect("operated")
    assert "world" in inspected.wit and inspected.exports[0].name
    assert any(limit.name == "max-reply-bytes" and limit.value for limit in conn.limits("operated"))
    assert conn.describe("operated", "count")["functions"][0]["name"] == "count"
    assert any(entry.digest == upload.digest for entry in conn.uploads())
    conn.remove("operated")
    assert "operated" not in conn.modules
    with pytest.raises(rpc_host.NotFound) as missing:
        conn.show("operated")
    assert isinstance(missing.value, LookupError)


def test_bad_uploads_are_refused_and_what_was_there_goes_on_to_serve(conn: Any, calc: Any) -> None:
    wasm = component("calc").read_bytes()
    for bad in (b"text", wasm[:1000], b"\0asm\x01\0\0\0"):
        with pytest.raises(rpc_host.InvalidArgument):
            conn.upload_module(bad, name="calc")
    with pytest.raises(OSError):
        conn.upload_module("/no/such/file.wasm")
    assert calc.add(2, 3) == 5


def test_tenants_and_tokens(host: Any, conn: Any) -> None:
    conn.tenants.create("team", weight=200, limits={"max-memory-bytes": 1 << 24})
    assert conn.tenants.show("team").weight == 200
    conn.tenants.set("team", weight=50)
    assert [entry.weight for entry in conn.tenants.list() if entry.name == "team"] == [50]
    made = conn.tokens.create("caller", tenant="team", expires_in=600)
    assert made.entry.tenant == "team" and [token.id for token in conn.tokens.list("team")] == [made.entry.id]
    with host.connect(token=made.token) as caller:
        assert (caller.tenant, caller.role) == ("team", "caller")
        assert "calc" not in caller.modules
        with pytest.raises(rpc_host.PermissionDenied):
            caller.upload_module(component("calc"))
        with pytest.raises(AttributeError):
            _ = caller.modules.calc
        conn.tokens.revoke(made.entry.id)
        with pytest.raises((rpc_host.Unauthenticated, rpc_host.ConnectionLost)):
            caller.list()
    conn.tenants.remove("team")


def test_the_root_is_the_module_that_was_named_or_the_only_one(host: Any, own_host: Any, registered: Any) -> None:
    registered("calc"), registered("kitchen-sink")
    with host.connect(module="calc") as conn:
        assert conn.root.add(2, 3) == 5
    with host.connect() as conn:
        with pytest.raises(rpc_host.Error, match="there is no root"):
            _ = conn.root
    with own_host().connect() as conn:
        conn.upload_module(component("calc"), name="alone")
        assert conn.root.add(2, 3) == 5


def test_every_module_can_be_looked_at_whatever_it_exports(conn: Any, registered: Any) -> None:
    for name in ("maps", "relay", "objects", "maker", "user", "caller", "plain-bindgen"):
        module = conn.modules[registered(name)]
        for member in dir(module):
            found = getattr(module, member)
            assert repr(found) and found.__doc__ is not None
            pydoc.plain(pydoc.render_doc(found))
    # A short name for two is neither's.
    bindgen = conn.modules["plain-bindgen"]
    assert "describe" not in dir(bindgen)
    with pytest.raises(AttributeError, match="could be demo:calc/calc@0.1.0.describe or demo:calc/names"):
        _ = bindgen.describe
    assert callable(bindgen.calc.describe) and callable(bindgen["demo:calc/names@0.1.0.describe"])
    assert conn.modules.maps.echo_map({"a": 1}) == {"a": 1}
    assert conn.modules.maps.echo_by_number({1: ["x"]}) == {1: ["x"]}
    assert conn.modules.maps.echo_by_char({"é": None, "b": True}) == {"é": None, "b": True}
