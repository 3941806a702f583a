"""Acceptance cases 14 to 18: calls back into a client.

A module calls a client in two ways: by an object that the client gave it, and by a name that the client serves.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from acceptance import best_of, median_of, refusal, timed
from conftest import component, eventually

import rpc_host
from rpc_host import Err, GuestError, Ok, async_call

TICKER = "module:ticker/ticker"
LOG = "acme:log/logger"
AUTH = "acme:auth/verifier"


def quiet(level: str, message: str) -> None:
    """A logger that says nothing."""


def test_case_14_a_module_calls_its_caller_a_thousand_times_before_it_returns(conn: Any, registered: Any) -> None:
    """When a client calls a function with an object that the function calls 1,000 times before it returns, then the
    client answers all of them, with no thread of the program's own, and the function returns what came of them."""
    module = conn.modules[registered("counter")]
    mine = program_threads()
    heard: list[str] = []

    def handler(event: str) -> Ok:
        heard.append(event)
        assert program_threads() == mine, "what serves is the package's"
        return Ok(str(len(heard)))

    answers = module.emit(handler, "tick", 1000)
    assert sum(int(answer.value) for answer in answers) == 500_500
    assert heard == ["tick"] * 1000 and all(isinstance(answer, Ok) for answer in answers)

    class Handler:
        def call(self, event: str) -> Ok:
            return Ok(event.upper())

    assert module.emit(Handler(), "loud", 2) == [Ok("LOUD")] * 2
    assert program_threads() == mine


def test_case_14_and_by_a_name_that_its_caller_serves(conn: Any, registered: Any) -> None:
    """The same where the module imports what the client serves."""
    caller = conn.modules[registered("caller")]
    mine = program_threads()
    ticks: list[int] = []

    def tick() -> int:
        ticks.append(len(ticks))
        return ticks[-1]

    conn.modules[TICKER] = {"next": tick, "ping": lambda number: number}
    assert caller.pings(1000) == 1000
    assert sum(caller.ticks(1000)) == 499_500 and ticks == list(range(1000))
    assert program_threads() == mine


def program_threads() -> set[str]:
    """The threads that are not the package's."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("rpc-host")}


IDLE = """
import sys, rpc_host
conn = rpc_host.connect(profile=sys.argv[1])
{what}
print("idle", flush=True)
# Blocked, until the test is done with it.
sys.stdin.read()
"""


@contextmanager
def another_program(host: Any, what: str) -> Iterator[subprocess.Popen[str]]:
    """A client in a process of its own, which sets something up and then does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", IDLE.format(what=what), str(host.profile)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        ready = process.stdout.readline()
        assert ready == "idle\n", process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


SUBSCRIBES = 'conn.modules["{name}"].subscribe({handler})'
VOUCHES = 'lease = conn.provide("acme:auth/verifier", {handler}, scope="tenant", fallback="error")'


def test_case_15_an_idle_client_is_called_at_once(host: Any, conn: Any) -> None:
    """Given a client that makes no call and does nothing, when another session's call leads to a call of its object,
    then that runs within 50 ms."""
    conn.upload_module(component("counter"), name="case-15", instancing="shared")
    publish = conn.modules["case-15"].publish
    handler = SUBSCRIBES.format(name="case-15", handler="lambda event: rpc_host.Ok(event.upper())")
    with another_program(host, handler):
        assert publish("a") == [Ok("A")]
        took = best_of(5, lambda: median_of(40, lambda: publish("b")), enough=0.05)
        assert took < 0.05


def test_case_15_and_so_is_one_that_serves_a_name(host: Any, conn: Any, registered: Any) -> None:
    """The same where a module imports what the idle client serves to the tenant."""
    app = conn.modules[registered("app")]
    conn.modules[LOG] = quiet
    with another_program(host, VOUCHES.format(handler="lambda token: token.upper()")):
        assert app.handle("ada", "whoami") == "ADA"

        def after_a_while() -> float:
            took = []
            for _ in range(20):
                time.sleep(0.01)  # so that everybody sleeps
                took.append(timed(lambda: app.handle("ada", "whoami")))
            return statistics.median(took)

        assert best_of(5, after_a_while, enough=0.05) < 0.05


def failing(error: Exception) -> Callable[[str], str]:
    def fail(_event: str) -> str:
        raise error

    return fail


def test_case_16_whatever_an_object_does_its_caller_is_told(conn: Any, registered: Any) -> None:
    """Given an object whose call raises, or never returns, then the module sees the error that is declared, and else
    its caller the end of its time; nobody is stuck."""
    module = conn.modules[registered("counter")]
    assert module.emit(failing(GuestError("no")), "e", 2) == [Err("no")] * 2
    (raised,) = module.emit(failing(RuntimeError("no luck")), "e", 1)
    assert isinstance(raised, Err) and "RuntimeError: no luck" in raised.value
    (ended,) = module.emit(lambda event: sys.exit(9), "e", 1)
    assert isinstance(ended, Err) and "SystemExit" in ended.value
    with pytest.raises(rpc_host.Unknown, match="expected result<string, string>"):
        module.emit(lambda event: 5, "e", 1)
    stopped = threading.Event()

    def never(event: str) -> str:
        call = rpc_host.current_call()
        assert call is not None and call.cancelled.wait(20)
        stopped.set()
        return event

    took = refusal(rpc_host.DeadlineExceeded, module.emit.with_options(timeout=0.3), never, "e", 1)
    assert 0.25 < took < 5
    assert stopped.wait(10), "whoever serves is told that nobody waits any more"
    assert module.emit(lambda event: Ok(event), "e", 1) == [Ok("e")]


def test_case_16_whatever_a_client_does_that_serves_a_name_its_caller_is_told(
    host: Any, conn: Any, registered: Any
) -> None:
    """The same for a name; and when the client leaves in the middle of a call, that call is told so at once."""
    app = conn.modules[registered("app")]
    conn.modules[LOG] = quiet
    for handler, said in [
        (failing(GuestError("a stranger")), "a stranger"),
        (failing(KeyError("no card")), "KeyError"),
        (lambda token: sys.exit(9), "SystemExit"),
        (lambda token: b"x", "expected string, got bytes"),
    ]:
        conn.modules[AUTH] = handler
        with pytest.raises(GuestError, match=said):
            app.handle("ada", "whoami")
    del conn.modules[AUTH]
    hangs = VOUCHES.format(handler="lambda token: __import__('threading').Event().wait()")
    with another_program(host, hangs) as leaving:
        handle = app.handle.with_options(timeout=0.3)
        took = refusal(rpc_host.DeadlineExceeded, handle, "ada", "whoami")
        assert 0.25 < took < 5
        waiting = async_call(app.handle, "ada", "whoami")
        time.sleep(0.2)
        assert not waiting.done()
        leaving.kill()
        took = timed(lambda: waiting.exception(20))
        assert isinstance(waiting.exception(), rpc_host.ProviderLost) and took < 5
        with pytest.raises(rpc_host.ProviderLost):
            app.handle("ada", "whoami")
    conn.withdraw(AUTH, steal=True)
    conn.modules[AUTH] = lambda token: token
    assert app.handle("ada", "whoami") == "ada"


def test_case_16_a_client_that_leaves_ends_the_calls_of_its_objects(host: Any, conn: Any) -> None:
    """The same for an object that another client gave to a module that all share."""
    conn.upload_module(component("counter"), name="case-16", instancing="shared")
    publish = conn.modules["case-16"].publish
    hangs = SUBSCRIBES.format(name="case-16", handler="lambda event: __import__('threading').Event().wait()")
    with another_program(host, hangs) as leaving:
        waiting = async_call(publish, "e")
        time.sleep(0.2)
        assert not waiting.done()
        leaving.kill()
        took = timed(lambda: waiting.exception(20))
        assert isinstance(waiting.exception(), rpc_host.ProviderLost) and took < 5
    # Whether it is the instance that goes on or the next: it answers.
    assert eventually("it serves again", lambda: total_of(conn)) is not None


def total_of(conn: Any) -> Any:
    try:
        return (conn.modules["case-16"].total(),)
    except rpc_host.RemoteError:
        return None


def test_case_17_a_call_back_into_the_same_instance_is_refused_at_once(conn: Any) -> None:
    """When a callback calls the very instance that waits for it, then it is told at once that it would wait for itself;
    and another instance serves it."""
    digest = conn.upload_module(component("counter")).digest
    conn.register("case-17", digest, instancing="session")
    conn.register("case-17-other", digest)
    module, other = conn.modules["case-17"], conn.modules["case-17-other"]
    told: list[Any] = []

    def recurse(event: str) -> Ok:
        began = time.monotonic()
        try:
            module.total()
        except rpc_host.WouldDeadlock as error:
            told.append((error, time.monotonic() - began))
        return Ok(str(other.total()))

    assert module.emit(recurse, "e", 3) == [Ok("0")] * 3
    assert len(told) == 3 and all("case-17" in error.message and took < 5 for error, took in told)
    # An object says where it is done, too.
    counter = module.Counter(1)

    def touch(event: str) -> Ok:
        try:
            counter.increment()
        except rpc_host.WouldDeadlock as error:
            return Ok(error.code)
        return Ok("entered")

    assert module.emit(touch, "e", 1) == [Ok("would-deadlock")]
    assert counter.increment() == 2


def test_case_17_calls_that_go_round_are_served_until_they_are_too_deep(conn: Any, registered: Any) -> None:
    """Where each call has an instance of its own, the same module is called again within a callback, to a depth."""
    app = conn.modules[registered("app")]
    conn.modules[LOG] = quiet
    rounds = 0

    def verify(token: str) -> str:
        nonlocal rounds
        rounds += 1
        return token if len(token) == 3 else app.handle(token[1:], "whoami")

    conn.modules[AUTH] = verify
    assert app.handle("x" * 6, "whoami") == "xxx" and rounds == 4
    rounds = 0
    began = time.monotonic()
    with pytest.raises(GuestError, match="more than 16 deep"):
        app.handle("x" * 100, "whoami")
    took = time.monotonic() - began
    assert took < 10 and rounds <= 8


def test_case_18_a_silent_client_holds_up_nobody_beyond_the_callers_own_time(host: Any, conn: Any) -> None:
    """Given an object of one client's in a module that all share, when another client's call leads to it, then that
    call waits no longer than its own time, though nobody answers."""
    conn.upload_module(component("counter"), name="case-18", instancing="shared")
    module = conn.modules["case-18"]
    hangs = SUBSCRIBES.format(name="case-18", handler="lambda event: __import__('threading').Event().wait()")
    for limit in (0.2, 0.6):
        with another_program(host, hangs):
            publish = module.publish.with_options(timeout=limit)
            took = refusal(rpc_host.DeadlineExceeded, publish, "e")
            assert limit * 0.9 < took < limit + 2
            # A time-out ends the instance that it happened in. Whoever comes next has another.
            assert module.total() == 0 and publish("e") == []


def test_case_18_the_same_where_a_name_is_served_to_all(host: Any, conn: Any, registered: Any) -> None:
    """Given a client that serves a name to the tenant and answers nothing, then another's call of a module that imports
    it ends with its own time, and so does the call at the client."""
    app = conn.modules[registered("app")]
    conn.modules[LOG] = quiet
    with host.connect() as silent:
        left: list[float | None] = []

        def verify(token: str) -> str:
            call = rpc_host.current_call()
            assert call is not None
            left.append(call.time_left)
            call.cancelled.wait(20)
            return token

        silent.provide(AUTH, verify, scope="tenant")
        for limit in (0.2, 0.6):
            handle = app.handle.with_options(timeout=limit)
            took = refusal(rpc_host.DeadlineExceeded, handle, "ada", "whoami")
            assert limit * 0.9 < took < limit + 2
            remaining = left.pop()
            assert remaining is not None and 0 < remaining <= limit, "the client knows how long it has"
