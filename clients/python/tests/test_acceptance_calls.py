"""Acceptance cases 1 to 6: calls and values."""

from __future__ import annotations

import math
import os
import re
import struct
import subprocess
import sys
from typing import Any

import pytest
from acceptance import CALL, FAILURE, MORE, REPLY, Peer, frame, is_full, log_of, said, status_of, timed
from conftest import component, eventually

import rpc_host
from rpc_host import Err, Ok, Some, Variant

TEXTS = ["", "a", "grüße", "\U0001f600\U0010ffff", "\0", "‮", "x" * 70_000]
POINT = {"x": -(1 << 31), "y": (1 << 31) - 1}
FLOATS = [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan]
WIDE = {
    **{"f0": True, "f1": 255, "f2": 65535, "f3": (1 << 32) - 1, "f4": (1 << 64) - 1},
    **{"f5": -128, "f6": -32768, "f7": -(1 << 31), "f8": -(1 << 63), "f9": 1.5, "f10": 5e-324, "f11": "\U0010ffff"},
    **{"f12": "", "f13": False, "f14": 0, "f15": 0, "f16": 0, "f17": 0, "f18": 127, "f19": 32767},
    **{"f20": (1 << 31) - 1, "f21": (1 << 63) - 1, "f22": -0.0, "f23": math.inf, "f24": "\0", "f25": "é"},
}

#: For every function that gives back what it is given: what is at the edges of its type.
EDGES: dict[str, list[Any]] = {
    "echo_bool": [True, False],
    "echo_u8": [0, 255],
    "echo_u16": [0, 65535],
    "echo_u32": [0, (1 << 32) - 1],
    "echo_u64": [0, (1 << 53) + 1, (1 << 64) - 1],
    "echo_s8": [-128, 127],
    "echo_s16": [-32768, 32767],
    "echo_s32": [-(1 << 31), (1 << 31) - 1],
    "echo_s64": [-(1 << 63), (1 << 63) - 1],
    "echo_f32": [*FLOATS, 2.0**-149, 3.4028234663852886e38],
    "echo_f64": [*FLOATS, 5e-324, sys.float_info.max, 0.1],
    "echo_char": ["a", "\0", "\ud7ff", "\ue000", "\U0010ffff"],
    "echo_string": TEXTS,
    "echo_bytes": [b"", b"\0", bytes(range(256)), os.urandom(100_000)],
    "echo_numbers": [[], [0], [-(1 << 63), (1 << 63) - 1], list(range(10_000))],
    "echo_floats": [[], [0.1], FLOATS],
    "echo_texts": [[], [""], TEXTS],
    "echo_points": [[], [POINT], [POINT] * 3],
    "echo_lists": [[], [[]], [[], [0, 65535]]],
    "echo_option": [None, 0, (1 << 32) - 1],
    "echo_option_text": [None, "", "null"],
    "echo_nested_option": [None, Some(None), Some(0)],
    "echo_deep_option": [None, Some(None), Some(Some(None)), Some(Some(False))],
    "echo_options": [[], [None], [None, POINT]],
    "echo_results": [[], [Ok(255), Err("")]],
    "echo_result_forms": [(Ok(1), Ok(2), Ok(), Ok()), (Err("a"), Err(), Err("b"), Err())],
    "echo_pair": [(0, ""), (255, "é")],
    "echo_single": [(-(1 << 31),)],
    "echo_pairs": [[], [("", -0.0), ("a", math.inf)]],
    "echo_color": ["red", "dark_blue"],
    "echo_shape": [
        Variant("nothing"),
        Variant("circle", math.inf),
        Variant("corners", (POINT, POINT)),
        Variant("named", ""),
        Variant("colored", "dark_blue"),
        Variant("maybe", None),
        Variant("maybe", (1 << 64) - 1),
    ],
    "echo_shapes": [[], [Variant("nothing")], [Variant("named", "a"), Variant("maybe", 0)]],
    "echo_permissions": [frozenset(), frozenset(["read", "execute"])],
    "echo_switches": [frozenset(), frozenset(f"switch{number:02}" for number in range(32))],
    "echo_one_flag": [frozenset(), frozenset(["only"])],
    "echo_point": [POINT],
    "echo_wrapper": [{"inner": None}, {"inner": b""}],
    "echo_nested": [
        {
            "name": "",
            "wrappers": [{"inner": None}, {"inner": b"\xff"}],
            "place": (POINT, "dark_blue"),
            "outcome": Ok(Variant("corners", (POINT, POINT))),
            "allowed": frozenset(["write"]),
        }
    ],
    "echo_wide": [WIDE],
    "echo_keywords": [{"type": 0, "list": "", "self": False, "async_def": "\0", "class_": -128, "from_": None}],
}


def plain(value: Any) -> Any:
    """Of built-in types alone, so that NaN is NaN, and nought below nought is not nought."""
    match value:
        case float():
            return "nan" if math.isnan(value) else struct.pack(">d", value)
        case Some(inner):
            return ("some", plain(inner))
        case Ok(inner):
            return ("ok", plain(inner))
        case Err(inner):
            return ("err", plain(inner))
        case Variant():
            return (value.case, plain(value.value))
        case rpc_host.Record():
            return plain(rpc_host.asdict(value))
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
    return value


def test_case_01_values_of_every_type_come_back_and_ill_typed_ones_never_arrive(conn: Any, registered: Any) -> None:
    """Given a function that echoes each WIT type, when values at the edges of the type are sent, then they come back
    the same, to the last bit; and what is out of range or ill-typed is refused before the module runs."""
    sink = conn.modules[registered("kitchen-sink")].sink
    assert {name for name in dir(sink) if name.startswith("echo_")} == set(EDGES), "no type is left out"
    for name, values in EDGES.items():
        function = getattr(sink, name)
        for value in values:
            assert plain(function(value)) == plain(value), name
    maps = conn.modules[registered("maps")]
    for name, value in [
        ("echo_map", {}),
        ("echo_map", {"": 0, "é": (1 << 32) - 1}),
        ("echo_by_number", {0: [], (1 << 64) - 1: ["", "a"]}),
        ("echo_by_char", {"\0": None, "\U0010ffff": True}),
    ]:
        assert maps[name](value) == value

    for name, value in [
        ("echo_u8", -1),
        ("echo_u8", 256),
        ("echo_u64", 1 << 64),
        ("echo_s64", -(1 << 63) - 1),
        ("echo_s64", 10**5000),
        ("echo_u8", 1.0),
        ("echo_u8", True),
        ("echo_f32", 3.5e38),
        ("echo_f64", "1"),
        ("echo_f64", 1j),
        ("echo_char", ""),
        ("echo_char", "ab"),
        ("echo_char", "\ud800"),
        ("echo_string", "\ud800"),
        ("echo_string", b"a"),
        ("echo_bytes", "a"),
        ("echo_color", "pink"),
        ("echo_permissions", {"read", "sing"}),
        ("echo_pair", (1,)),
        ("echo_point", {"x": 1}),
        ("echo_point", {"x": 1, "y": 2, "z": 3}),
        ("echo_shape", Variant("circle", "round")),
        ("echo_option", Some("1")),
        ("echo_numbers", slice(1, 2)),
        ("echo_numbers", object()),
    ]:
        with pytest.raises(rpc_host.ArgumentError, match=r"^args\[0\]"):
            sink[name](value)


def test_case_01_what_a_client_does_not_check_the_host_does(host: Any, conn: Any) -> None:
    """The same from a peer that checks nothing: the answer names the place, and the module, which would write a line,
    has not run."""
    conn.upload_module(component("greeter"), name="case-01", grants=["log"])
    conn.modules["case-01"].greet("first", "english")
    with Peer(host) as peer:
        for argument, problem in [
            (5, "args[0]: expected string, got integer"),
            (b"a", "args[0]: expected string, got bytes"),
            (["a"], "args[0]: expected string, got array"),
            (None, "args[0]: expected string, got null"),
        ]:
            kind, body = peer.call("case-01", "greet", argument, "english")
            assert kind == FAILURE and body["code"] == "invalid-argument" and body["fault"] == "peer"
            assert body["message"].startswith(problem), body
        kind, body = peer.call("case-01", "greet", "ill-typed", "klingon")
        assert kind == FAILURE and body["code"] == "invalid-argument" and "args[1]" in body["message"]
        assert peer.call("case-01", "greet", "last", "english") == (REPLY, {"ok": "Hello, last!"})
    greeted = eventually("its line is in the log", lambda: [line for line in said(host) if line == "greeted last"])
    assert len(greeted) == 1
    assert not any("ill-typed" in line for line in said(host))


def test_case_02_a_reply_that_cannot_be_sent_fails_its_own_call_alone(own_host: Any) -> None:
    """Given a reply over the limit, or more than a guest may hand over, when it is called for, then that call ends with
    a typed error, and the next one on the same session succeeds."""
    host = own_host("[limits]\nmax-reply-bytes = 100000\nmax-hostcall-bytes = 400000\n")
    with host.connect() as conn:
        conn.upload_module(component("big"), name="big")
        big, session = conn.modules.big, conn.session
        for _ in range(3):
            for function, arguments in [(big.bytes, [100_001]), (big.text, [100_000]), (big.numbers, [20_000])]:
                with pytest.raises(rpc_host.ResourceExhausted) as raised:
                    function(*arguments)
                assert "bytes" in raised.value.message
                assert big.bytes(3) == b"\0\1\2"
            failing = [rpc_host.async_call(big.bytes, 200_000) for _ in range(10)]
            good = [rpc_host.async_call(big.text, 50_000) for _ in range(10)]
            assert all(isinstance(one.exception(20), rpc_host.ResourceExhausted) for one in failing)
            assert all(one.result(20) == "x" * 50_000 for one in good)
        assert conn.session == session


def test_case_02_a_reply_that_this_side_does_not_take_fails_its_own_call_alone(host: Any, registered: Any) -> None:
    """The same where it is the client that takes no more: the rest of the reply is thrown away as it comes."""
    registered("big"), registered("calc")
    with host.connect(max_reply_bytes=100_000) as conn:
        text, add, session = conn.modules.big.text, conn.modules.calc.add, conn.session
        assert len(text(90_000)) == 90_000
        for _ in range(3):
            with pytest.raises(rpc_host.ResourceExhausted, match="this client's limit of 100000 bytes"):
                text(2_000_000)
            assert add(2, 3) == 5
        futures = [rpc_host.async_call(text, length) for length in (200_000, 50_000, 300_000, 60_000)]
        assert [isinstance(one.exception(20), rpc_host.ResourceExhausted) for one in futures] == [True, False] * 2
        assert conn.session == session


def test_case_02_an_answer_of_this_side_that_cannot_be_sent_fails_its_own_call_alone(
    conn: Any, registered: Any
) -> None:
    """The other way round: what a program serves may be a number of 5,000 digits, or an object whose attributes and
    class answer anything; the guest gets an error of its own, and the connection goes on."""

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self, *_args: Any) -> Any:
            return self

    class Classless:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("no class")

    calc, session = conn.modules[registered("calc")], conn.session
    for answer in (10**5000, "\ud800", Anything(), Classless(), object(), 1j, [1], {}):
        with conn.provide("calc", lambda a, b, answer=answer: answer):
            with pytest.raises(rpc_host.Unknown, match="`calc` is served by the client of session"):
                calc.add(2, 3)
        assert calc.add(2, 3) == 5
    assert conn.session == session


def test_case_03_only_what_is_exported_can_be_reached(host: Any, conn: Any) -> None:
    """Given a module that exports a few functions, when a peer asks for any other name, then there is no such function,
    nothing has happened, and what is listed is what is exported."""
    conn.upload_module(component("greeter"), name="case-03", grants=["log"])
    module = conn.modules["case-03"]
    assert dir(module) == ["greet", "greeter"] and dir(module.greeter) == ["greet"]
    described = conn.describe("case-03")
    assert [function["name"] for function in described["functions"]] == ["greet"]
    assert [export.name for export in conn.inspect("case-03").exports] == ["greet"]
    names = ["", "Greet", "greet ", " greet", "greet\0", "exposed_greet", "_greet", "__class__", "greet.greet"]
    names += ["cabi_realloc", "memory", "_initialize", "_start", "cabi_post_module:greeter/greeter#greet"]
    names += ["module:greeter/greeter#greet", "[method]greeter.greet", "[constructor]greeter", "[resource-drop]greeter"]
    names += ["wasi:cli/environment.get-environment", "other.greet", "greeter@9.9.9.greet", "../greet", "x" * 5000]
    with Peer(host) as peer:
        for name in names:
            kind, body = peer.call("case-03", name, "reached", "english")
            assert kind == FAILURE and body["code"] == "invalid-argument", (name, body)
            assert len(body["message"]) < 4096
        for name in ("greets", "_greet", "exposed_greet", "cabi_realloc", "memory"):
            assert not hasattr(module, name)
            with pytest.raises(KeyError):
                module[name]
        for name in ("", "case-04", "case-03 ", "CASE-03", "../case-03", "sys", "builtins"):
            kind, body = peer.call(name, "greet", "reached", "english")
            assert kind == FAILURE and body["code"] in ("not-found", "invalid-argument"), (name, body)
        assert peer.call("case-03", "greet", "last of 3", "english") == (REPLY, {"ok": "Hello, last of 3!"})
    eventually("its line is in the log", lambda: "greeted last of 3" in said(host))
    assert not any("reached" in line for line in said(host))


def test_case_04_an_error_is_the_very_value_and_a_trap_shows_nothing_of_the_host(
    host: Any, conn: Any, registered: Any
) -> None:
    """Given a function that gives an error, then its caller gets exactly that value; given one that traps, then a trap
    without a path of the host's, which the host's log can be searched for."""
    sink = conn.modules[registered("kitchen-sink")].sink
    for call, value in [
        (lambda: sink.both(True), str),
        (lambda: sink.err_only(True), str),
        (lambda: sink.neither(True), type(None)),
        (lambda: sink.fail_with_record((1 << 32) - 1), rpc_host.Record),
        (lambda: sink.fail_with_variant(), Variant),
    ]:
        with pytest.raises(rpc_host.GuestError) as raised:
            call()
        assert isinstance(raised.value.value, value)
    with pytest.raises(rpc_host.GuestError) as raised:
        sink.fail_with_record(7)
    assert rpc_host.asdict(raised.value.value).keys() == {"code", "reason"} and raised.value.value.code == 7

    trap = conn.modules[registered("trap")]
    for call in (lambda: trap.panic_with("on case 4"), lambda: trap.divide(1, 0), lambda: trap.recurse(1 << 60)):
        with pytest.raises(rpc_host.Trapped) as trapped:
            call()
        text = f"{trapped.value!r} {trapped.value} {trapped.value.__cause__} {trapped.value.__context__}"
        for secret in (str(host.directory), str(host.directory.parent), os.path.expanduser("~/"), "wasmtime", ".rs:0"):
            assert secret not in text, text
        assert not re.search(r"0x[0-9a-f]{8}", text), "no address either"
    # The session's name, which the client knows, is in the host's log, with the number of the call behind it.
    with pytest.raises(rpc_host.Trapped, match="on case 4, again"):
        trap.panic_with("on case 4, again")
    line = eventually("it is in the log", lambda: [it for it in log_of(host) if "on case 4, again" in str(it)])[0]
    assert re.fullmatch(rf"{conn.session}#\d+", line["fields"]["call"])


def test_case_05_whatever_ends_a_guest_ends_its_own_call_alone(host: Any, registered: Any) -> None:
    """Given functions that exit, abort, use up the stack or the memory, when called, then only those calls fail: the
    caller's process, the host's, and other sessions go on, and the next call has a fresh instance."""
    registered("trap"), registered("counter"), registered("calc")
    endings = ["exit(0)", "exit(9)", "panic_with('x')", "divide(1, 0)", "recurse(1 << 60)", "overflow_stack()"]
    endings += ["allocate((1 << 32) - 1)"]
    script = """
import sys, rpc_host
with rpc_host.connect(profile=sys.argv[1]) as conn:
    trap, session = conn.modules.trap, conn.session
    for ending in sys.argv[2:]:
        try:
            eval("trap." + ending)
        except rpc_host.Trapped as error:
            assert error.fault == "guest", error.fault
        else:
            raise AssertionError(ending)
        assert trap.ping() == "pong" and conn.session == session
print("alive")
"""
    with host.connect() as other:
        add, done = other.modules.calc.add, 0
        caller = subprocess.Popen(
            [sys.executable, "-c", script, str(host.profile), *endings],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while caller.poll() is None:
            assert add(done, 1) == done + 1
            done += 1
        output, errors = caller.communicate(timeout=30)
        assert (caller.returncode, output) == (0, "alive\n"), errors
        assert done > 0 and host.process.poll() is None
        # What lives in an instance is gone with it, and says so.
        counter = other.modules.counter.Counter(5)
        assert counter.increment() == 6
        with pytest.raises(rpc_host.Trapped, match="failed at 6"):
            counter.fail()
        with pytest.raises(rpc_host.FailedPrecondition) as gone:
            counter.value()
        assert gone.value.fault == "guest" and not gone.value.retryable
        assert other.modules.counter.Counter(7).value() == 7


MIB = 1 << 20


def test_case_06_large_values_go_through_in_bounded_memory_and_larger_ones_are_refused(own_host: Any) -> None:
    """Given bytes of 16 MiB and of 256 MiB, then they come back under a limit that lets them, in memory of the host's
    that the limit bounds, and in time that grows as they do; over the limit there is a typed refusal, and the session
    goes on."""
    small, large = (16, 256) if is_full() else (8, 32)
    limit = (large + 1) * MIB
    limits = {"max-message-bytes": limit, "max-reply-bytes": limit, "max-memory-bytes": 1 << 30}
    limits |= {"max-unread-reply-bytes-per-session": 4 * limit, "max-value-bytes-per-call": 4 * limit}
    limits |= {"max-hostcall-bytes": 2 * limit}
    host = own_host("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
    with host.connect(call_timeout=120, max_reply_bytes=limit) as conn:
        conn.upload_module(component("big"), name="big")
        big, session = conn.modules.big, conn.session
        assert big.echo(b"warm") == b"warm"
        idle = status_of(host, "VmRSS")
        took: dict[int, float] = {}
        for mebibytes in (small, large):
            data = os.urandom(MIB) * mebibytes

            def echo(data: bytes = data) -> None:
                assert big.echo(data) == data

            took[mebibytes] = min(timed(echo) for _ in range(3))
        # As it comes, as the guest has it, as it goes; and what the system has not taken back of the one before.
        assert status_of(host, "VmHWM") - idle < 4 * large * MIB + 64 * MIB
        assert took[large] < took[small] * (large / small) * 4, took
        with pytest.raises(rpc_host.ArgumentError, match="the host takes messages of"):
            big.measure(bytes(limit + 1))
        with pytest.raises(rpc_host.ResourceExhausted):
            big.bytes(limit + 1)
        assert big.echo(b"after") == b"after" and conn.session == session
        # From one that does not ask how much the host takes.
        with Peer(host) as peer:
            part = frame(CALL, 1, bytes(65536), MORE)
            with pytest.raises(OSError):
                while True:
                    peer.socket.sendall(part)
            assert status_of(host, "VmHWM") - idle < 4 * large * MIB + 64 * MIB
        assert big.measure(bytes(MIB)) == MIB and conn.session == session
