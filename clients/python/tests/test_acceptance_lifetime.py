"""Acceptance cases 7 to 13: sessions, objects, and how long they live."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from acceptance import (
    CALL,
    FAILURE,
    OF_HOST,
    RELEASE,
    REPLY,
    Peer,
    files_of,
    is_busy,
    said,
    scaled,
    status_of,
    timed,
    together,
)
from conftest import component, eventually

import rpc_host
from rpc_host import async_call


def test_case_07_state_is_isolated_or_shared_as_the_registration_says(host: Any, conn: Any) -> None:
    """Given a module that counts, when two sessions make it count, then each sees its own count where there is an
    instance for each session, both see one where it is shared, and nobody sees any where each call has its own."""
    digest = conn.upload_module(component("counter")).digest
    for instancing in ("call", "session", "shared"):
        conn.register(f"case-07-{instancing}", digest, instancing=instancing)
    with host.connect() as a, host.connect() as b:
        counts: dict[str, list[int]] = {}
        for instancing in ("call", "session", "shared"):
            modules = [one.modules[f"case-07-{instancing}"] for one in (a, b, a)]
            counted = counts[instancing] = []
            for module in modules:
                module.counters.consume(moved(module))
                counted.append(module.total())
        assert counts == {"call": [0, 0, 0], "session": [1, 1, 2], "shared": [1, 2, 3]}
        assert conn.show("case-07-shared").current.instancing == "shared"
        # What a session had to itself is gone with it; what is shared is not.
    with host.connect() as c:
        assert c.modules["case-07-session"].total() == 0
        assert c.modules["case-07-shared"].total() == 3


def moved(module: Any) -> Any:
    """A counter that has been moved once."""
    counter = module.Counter(0)
    counter.increment()
    return counter


def test_case_08_what_is_set_is_got_and_a_handle_is_good_in_its_session_alone(host: Any, registered: Any) -> None:
    """Given an object, when its holder sets and then gets, then it sees what was set; another session that uses the
    number of its handle is refused, as with a number that nobody ever had."""
    registered("counter")
    with host.connect() as a, host.connect() as b:
        counter = a.modules.counter.Counter(10)
        assert counter.add(32) == 42 and counter.value() == 42
        both = a.modules.counter.make([1, 2])
        assert both[0].increment() == 2 and both[1].value() == 2 and a.modules.counter.sum(both) == 4
        with pytest.raises(rpc_host.HandleClosed, match="another session"):
            b.modules.counter.peek(counter)
        # What a client of this package does not even send:
        with Peer(host) as peer:
            kind, handle = peer.call("counter", "[constructor]counter", 7)
            assert kind == REPLY and handle.tag == OF_HOST
            own = handle.value
            assert peer.call("counter", "[method]counter.increment", handle, on=own) == (REPLY, 8)
            answers = set()
            for number in {1, 2, 3, 4, 5, own + 1, own + 1000, (1 << 64) - 1} - {own}:
                forged = cbor2.CBORTag(OF_HOST, number)
                for function in ("[method]counter.value", "peek", "consume"):
                    kind, body = peer.call("counter", function, forged, on=number)
                    assert kind == FAILURE and (body["code"], body["fault"]) == ("not-found", "peer"), body
                    answers.add(body["message"].replace(str(number), "N"))
                kind, body = peer.call("counter", "peek", forged, on=own)
                assert kind == FAILURE and body["code"] == "not-found"
                kind, body = peer.call("counter", "peek", handle, on=number)
                assert kind == FAILURE and body["code"] in ("not-found", "failed-precondition")
                assert peer.answer(peer.begin(RELEASE, {"handles": [[number, 1]]}))[1]["code"] == "not-found"
            assert len(answers) == 1, "whoever has it, if anybody: the same answer"
            assert peer.call("counter", "[method]counter.value", handle, on=own) == (REPLY, 8)
        assert counter.value() == 42 and a.modules.counter.sum(both) == 4


class Handler:
    """What hears of events."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def call(self, event: str) -> rpc_host.Ok:
        self.heard.append(event)
        return rpc_host.Ok(f"heard {event}")


def test_case_09_an_object_of_the_callers_own_comes_back_as_the_very_same(conn: Any) -> None:
    """Given that a client passes an object of its own and the module gives it back, then what comes is that object, and
    no copy or stand-in."""
    conn.upload_module(component("counter"), name="case-09", instancing="session")
    module = conn.modules["case-09"]
    handlers = [Handler() for _ in range(10)]
    numbers = [module.subscribe(handler) for handler in handlers]
    again = module.subscribe(handlers[0])
    for number, handler in zip(numbers, handlers):
        assert module.unsubscribe(number) is handler
    assert module.unsubscribe(again) is handlers[0]
    assert module.unsubscribe(numbers[0]) is None
    # Many times over, so that what is let go of and what comes back meet on the way.
    for _ in range(scaled(10_000, 200)):
        handler = Handler()
        assert module.unsubscribe(module.subscribe(handler)) is handler


def test_case_10_an_object_ends_once_when_its_last_holder_lets_go(host: Any, conn: Any, registered: Any) -> None:
    """Given two holders of one object, when the first lets go, then nothing happens, and its destructor runs once when
    the second does; the end of a session runs all that remain, each once."""
    conn.upload_module(component("cursor"), name="case-10", grants=["log"])

    def closed(label: str) -> int:
        return sum(line.startswith(f"closed 10-{label} at") for line in said(host))

    with host.connect() as a:
        module = a.modules["case-10"]
        one = module.Cursor("10-shared", 10)
        other = one
        one.next(3)
        del one
        gc.collect()
        assert other.next(3) == [3, 4, 5], "it lives"
        assert closed("shared") == 0
        del other
        gc.collect()
        eventually("it is closed", lambda: closed("shared"))
        # By `close`, by `with`, in a list, and given away: `close` waits until the destructor has run.
        closing = module.Cursor("10-close", 1)
        closing.close()
        closing.close()
        with pytest.raises(rpc_host.HandleClosed, match="is closed"):
            closing.next(1)
        with module.Cursor("10-with", 1) as cursor:
            assert cursor.next(1) == [0]
        eventually("both are closed", lambda: closed("close") and closed("with"))
        kept = [module.Cursor(f"10-kept-{number}", 1) for number in range(5)]
        assert not any(closed(f"kept-{number}") for number in range(5))
    eventually("the end of the session ends them", lambda: all(closed(f"kept-{number}") for number in range(5)))
    del kept
    gc.collect()
    conn.modules[registered("calc")].add(1, 2)
    labels = ["shared", "close", "with", *(f"kept-{number}" for number in range(5))]
    assert [closed(label) for label in labels] == [1] * len(labels)


def test_case_10_whoever_is_given_an_object_for_good_is_its_only_holder(conn: Any, registered: Any) -> None:
    """An object that is passed as `own` is the module's; one that is lent is the caller's all the time."""
    module = conn.modules[registered("counter")]
    first, second = module.make([1, 2])
    assert module.peek(first) == 1 and module.sum([first, second]) == 3 and first.value() == 1
    assert first.absorb(second) == 3
    with pytest.raises(rpc_host.HandleClosed, match="given away"):
        second.value()
    same = module.same(first)
    assert same.value() == 3
    with pytest.raises(rpc_host.HandleClosed, match="given away"):
        module.consume(first)
    assert module.consume(same) == 3
    assert conn.held_objects == 0


def test_case_11_a_release_never_overtakes_an_object_on_its_way(conn: Any) -> None:
    """Given an object that is returned and dropped at once, 100,000 times from four threads, then no handle is unknown,
    and there are as many as at the start on both sides."""
    conn.upload_module(component("counter"), name="case-11", instancing="session")
    module = conn.modules["case-11"]
    times = scaled(100_000, 5_000) // 4
    before = (conn.held_objects, module.live())

    def run(seed: int) -> None:
        for number in range(times):
            counter = module.make([number])[0]
            if number % 4 == 0:
                assert counter.value() == number
            elif number % 4 == 1:
                counter = module.same(counter)
                assert counter.value() == number
            elif number % 4 == 2:
                async_call(module.peek, counter)
            del counter

    together(4, run, patience=300)
    gc.collect()
    eventually("nothing is held here", lambda: conn.held_objects == before[0])
    eventually("nor there", lambda: module.live() == before[1])


def test_case_11_where_an_instance_is_there_for_its_objects_alone(conn: Any, registered: Any) -> None:
    """The same where an instance lives because of its objects, and goes with the last of them."""
    module = conn.modules[registered("counter")]
    times = scaled(25_000, 1_000) // 4

    def run(seed: int) -> None:
        anchor = module.Counter(seed)
        for number in range(times):
            copy = anchor.copy()
            if number % 2:
                assert copy.increment() == seed + 1
            del copy
            if number % 50 == 0:
                anchor = module.Counter(seed)

    together(4, run, patience=300)
    gc.collect()
    eventually("nothing is held here", lambda: conn.held_objects == 0)
    # As many instances as a session may hold are to be had again: none was left over.
    assert len([module.Counter(number) for number in range(64)]) == 64


def test_case_12_a_flood_of_handles_meets_its_cap_and_its_end_disturbs_nobody(own_host: Any) -> None:
    """Given a client that takes handles and drops none, then at the cap it is told that its resources are exhausted;
    when it drops 20,000 at once, its connection goes on and others are not held up."""
    host = own_host("[limits]\nmax-handles-per-session = 20000\nmax-handles-per-instance = 100000\n")
    with host.connect() as conn, host.connect() as other:
        conn.upload_module(component("counter"), name="counter")
        conn.upload_module(component("calc"), name="calc")
        make, add, session = conn.modules.counter.make, other.modules.calc.add, conn.session

        def flood() -> list[Any]:
            return [counter for _ in range(20) for counter in make(list(range(1000)))]

        taken = flood()
        assert conn.held_objects == 20_000
        for attempt in (lambda: make([1]), lambda: conn.modules.counter.Counter(1), lambda: taken[0].copy()):
            with pytest.raises(rpc_host.ResourceExhausted, match="20000"):
                attempt()
        assert taken[0].value() == 0 and taken[-1].increment() == 1000 and conn.held_objects == 20_000
        # One less is one more.
        taken.pop().close()
        taken.append(taken[0].copy())

        alone = sorted(timed(lambda: add(1, 2)) for _ in range(100))
        held_up: list[float] = []
        stop = threading.Event()

        def echo() -> None:
            while not stop.is_set():
                held_up.append(timed(lambda: add(1, 2)))

        watcher = threading.Thread(target=echo)
        watcher.start()
        began = time.monotonic()
        taken.clear()
        gc.collect()
        assert conn.modules.calc.add(2, 3) == 5, "its own calls go on"
        eventually("none is held here", lambda: conn.held_objects == 0)
        # The host has as much room again once it knows.
        again = eventually("there is room for as many", lambda: quietly(flood))
        took = time.monotonic() - began
        stop.set()
        watcher.join(10)
        assert len(again) == 20_000 and conn.session == session
        assert took < 10 and max(held_up) < 0.25 + 20 * alone[-1], (took, max(held_up), alone[-1])


def quietly(attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except rpc_host.ResourceExhausted:
        return None


DYING = """
import os, signal, sys, threading, rpc_host
conn = rpc_host.connect(profile=sys.argv[1])
label = sys.argv[2]
cursors = [conn.modules["case-13"].Cursor(f"13-{label}-{number}", 9) for number in range(3)]
served = {"add": lambda a, b: threading.Event().wait()}
conn.provide("served-13", served, scope="tenant", wit=sys.argv[3], lease=1.0)
if label != "silent":
    rpc_host.async_call(conn.modules.spin.forever)
print("ready", flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""
WIT = "package acme:served@0.1.0; interface served { add: func(a: u32, b: u32) -> u32; }"


def test_case_13_who_is_lost_leaves_nothing_behind(own_host: Any) -> None:
    """When a client's process is killed, or goes silent, then the host ends its session within the idle limit:
    destructors run, calls of others into it fail as lost, its guests stop, and no thread or file is left."""
    idle = 2.0
    host = own_host(
        f"[limits]\nidle-timeout-ms = {int(idle * 1000)}\nkeepalive-interval-ms = 500\nmin-lease-ms = 100\n"
    )
    with host.connect() as conn:
        for name in ("spin", "calc"):
            conn.upload_module(component(name), name=name)
        conn.upload_module(component("cursor"), name="case-13", grants=["log"])
        assert conn.modules.spin.ping() and conn.modules.calc.add(1, 2) == 3 and conn.modules["case-13"].open() == 0

        def gone(label: str) -> bool:
            closed = [line for line in said(host) if line.startswith(f"closed 13-{label}-")]
            return len(closed) == 3

        def lose(how: str) -> None:
            dying = subprocess.Popen(
                [sys.executable, "-c", DYING, str(host.profile), how, WIT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert dying.stdin is not None and dying.stdout is not None
            try:
                assert dying.stdout.readline() == b"ready\n"
                waiting = async_call(conn.modules["served-13"].add, 1, 2)
                time.sleep(0.2)
                assert not waiting.done()
                began = time.monotonic()
                dying.send_signal(signal.SIGSTOP if how == "silent" else signal.SIGKILL)
                assert isinstance(waiting.exception(30), rpc_host.ProviderLost)
                eventually("its objects are gone", lambda: gone(how))
                assert time.monotonic() - began < (idle + 2 if how == "silent" else 2)
                eventually("its guest has stopped", lambda: not is_busy(host))
            finally:
                dying.kill()
                dying.communicate()

        lose("first")
        before = (files_of(host), status_of(host, "Threads"))
        lose("killed")
        lose("silent")
        eventually("no file is left", lambda: files_of(host) <= before[0])
        eventually("no thread is left", lambda: status_of(host, "Threads") <= before[1])


def test_case_13_however_many_are_lost(own_host: Any) -> None:
    """A thousand times: connections that are reset with objects held and calls under way leave as many threads and
    files as there were."""
    host = own_host("[limits]\nmax-connections-per-minute-per-address = 100000\n")
    with host.connect() as conn:
        conn.upload_module(component("counter"), name="counter")
        conn.upload_module(component("sleeper"), name="sleeper")

        def lose() -> None:
            peer = Peer(host)
            assert peer.call("counter", "[constructor]counter", 7)[0] == REPLY
            peer.begin(CALL, {"module": "sleeper", "function": "sleep", "timeout-ms": 60_000}, [60_000], {})
            peer.begin(CALL, {"module": "counter", "function": "[constructor]counter"}, [8], {})
            peer.vanish()

        for _ in range(10):
            lose()
        eventually("the first are gone", lambda: ended(host) >= 10)
        before = (files_of(host), status_of(host, "Threads"))
        times = scaled(1000, 100)
        for _ in range(times):
            lose()
        eventually("all are gone", lambda: ended(host) >= 10 + times)
        eventually("no file is left", lambda: files_of(host) <= before[0])
        eventually("no thread is left", lambda: status_of(host, "Threads") <= before[1])
        counter = conn.modules.counter.Counter(1)
        assert counter.increment() == 2


def ended(host: Any) -> int:
    return sum("session ends" in line for line in said(host))
