"""Names that this program serves."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import component, eventually

import rpc_host

LOG = "acme:log/logger"
AUTH = "acme:auth/verifier"

TOKEN = "t"


class Logger:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def log(self, level: str, message: str) -> None:
        self.lines.append((level, message))


class Verifier:
    def verify(self, token: str) -> str:
        if token != TOKEN:
            raise rpc_host.GuestError("nobody")
        return "ann"


@pytest.fixture
def app(conn: Any, registered: Callable[..., str]) -> Any:
    """A module that imports two interfaces, which nobody but clients serves."""
    return conn.modules[registered("app")]


def test_what_a_module_imports_can_be_served_from_here(conn: Any, app: Any) -> None:
    logger = Logger()
    conn.modules[LOG] = logger
    conn.modules[AUTH] = Verifier()
    assert "ann" in app.handle(TOKEN, "whoami")
    assert logger.lines and all(level in ("debug", "info", "warn", "error") for level, _ in logger.lines)
    with pytest.raises(rpc_host.GuestError):
        app.handle("other", "whoami")
    assert {entry.name for entry in conn.providers()} == {LOG, AUTH}
    assert LOG in conn.modules
    del conn.modules[LOG]
    with pytest.raises(rpc_host.FailedPrecondition):
        app.handle(TOKEN, "whoami")
    with pytest.raises(KeyError):
        del conn.modules[LOG]


def test_a_name_is_served_by_objects_modules_mappings_and_callables(conn: Any, registered: Any) -> None:
    calc = conn.modules[registered("calc")]
    assert calc.add(2, 3) == 5
    module = types.ModuleType("calc")
    module.add = lambda a, b: a + b + 1  # type: ignore[attr-defined]
    for target in (module, {"add": lambda a, b: a + b + 1}, lambda a, b: a + b + 1):
        with conn.provide("calc", target):
            assert calc.add(2, 3) == 6
            assert conn.modules.calc.add(2, b=3) == 6
        assert calc.add(2, 3) == 5
    conn.modules.calc = module
    assert calc.add(2, 3) == 6
    with pytest.raises(rpc_host.Unknown, match="has no"):
        calc.sub(2, 3)
    del conn.modules.calc
    assert calc.add(2, 3) == 5


def test_a_swap_reaches_this_session_alone(host: Any, conn: Any, registered: Any) -> None:
    registered("calc")
    with host.connect() as other:
        conn.modules.calc = {"add": lambda a, b: 0}
        assert conn.modules.calc.add(2, 3) == 0
        assert other.modules.calc.add(2, 3) == 5


def test_a_name_can_be_served_to_the_whole_tenant(host: Any, conn: Any) -> None:
    wit = "package acme:shared@0.1.0; interface words { twice: func(word: string) -> string; }"
    with host.connect() as server:
        lease = server.provide("acme:shared/words", {"twice": lambda word: word * 2}, scope="tenant", wit=wit)
        assert lease.name == "acme:shared/words" and lease.window == 16 and lease.duration == 10.0
        assert [function.name for function in lease.functions] == ["twice"] and not lease.is_lost
        assert "acme:shared/words" in conn.modules and server.modules["acme:shared/words"].twice("ab") == "abab"
        with pytest.raises(rpc_host.AlreadyExists):
            conn.provide("acme:shared/words", {"twice": str}, scope="tenant", wit=wit)
        conn.withdraw("acme:shared/words", steal=True)
        assert isinstance(lease.wait_lost(10), rpc_host.RemoteError) and lease.is_lost
        lease.withdraw()


def test_an_idle_client_answers_at_once_and_never_pumps(host: Any, conn: Any, registered: Any) -> None:
    registered("app")
    with host.connect() as server:
        logger = Logger()
        leases = [server.provide(LOG, logger, scope="tenant"), server.provide(AUTH, Verifier(), scope="tenant")]
        app = conn.modules.app
        app.handle(TOKEN, "whoami")
        slowest = 0.0
        for number in range(20):
            time.sleep(0.02)  # so that everybody sleeps
            before, began = len(logger.lines), time.monotonic()
            app.handle(TOKEN, f"shout {number}")
            slowest = max(slowest, time.monotonic() - began)
            assert len(logger.lines) > before
        assert slowest < 1.0
        for lease in leases:
            lease.withdraw()


def test_calls_back_and_calls_within_calls(conn: Any, registered: Any) -> None:
    calc = conn.modules[registered("calc")]
    app = conn.modules[registered("app")]
    seen: list[rpc_host.ServedCall | None] = []

    def log(level: str, message: str) -> None:
        seen.append(rpc_host.current_call())
        # Served while the main thread waits for `handle`, this calls the host again.
        assert calc.add(2, 3) == 5
        assert rpc_host.async_call(calc.add, 2, 3).result(10) == 5

    conn.modules[LOG] = log
    conn.modules[AUTH] = Verifier()
    app.handle(TOKEN, "whoami")
    assert seen and seen[0] is not None
    assert seen[0].module == LOG and seen[0].function.endswith(".log")
    assert seen[0].time_left is not None and 0 < seen[0].time_left <= 30
    assert rpc_host.current_call() is None


def test_a_cycle_is_told_at_once(conn: Any, registered: Any) -> None:
    app = conn.modules[registered("app")]

    told: list[BaseException] = []

    def log(level: str, message: str) -> None:
        try:
            app.handle(TOKEN, "whoami")
        except rpc_host.RemoteError as error:
            told.append(error)
            raise

    conn.provide(LOG, log, window=1)
    conn.modules[AUTH] = Verifier()
    began = time.monotonic()
    with pytest.raises(rpc_host.RemoteError):
        app.handle(TOKEN, "whoami")
    assert isinstance(told[0], rpc_host.WouldDeadlock) and time.monotonic() - began < 5


def test_what_is_served_may_fail_and_its_caller_hears_of_it(conn: Any, registered: Any) -> None:
    app = conn.modules[registered("app")]
    conn.modules[LOG] = Logger()

    def failing(token: str) -> str:
        raise RuntimeError("no luck")

    conn.modules[AUTH] = failing
    # Its error is a text, so that is what the guest gets.
    with pytest.raises(rpc_host.GuestError, match="RuntimeError: no luck"):
        app.handle(TOKEN, "whoami")

    conn.modules[AUTH] = lambda token: 5
    with pytest.raises(rpc_host.GuestError, match="expected string, got integer"):
        app.handle(TOKEN, "whoami")

    def leaving(token: str) -> str:
        sys.exit(9)

    conn.modules[AUTH] = leaving
    with pytest.raises(rpc_host.GuestError, match="SystemExit"):
        app.handle(TOKEN, "whoami")

    class Everything:
        def __getattr__(self, name: str) -> Any:
            return self

        def __call__(self, *args: Any) -> Any:
            return self

    conn.modules[AUTH] = Everything()
    with pytest.raises(rpc_host.GuestError):
        app.handle(TOKEN, "whoami")
    conn.modules[AUTH] = Verifier()
    assert app.handle(TOKEN, "whoami")


def test_a_call_that_nobody_waits_for_is_cancelled_here(conn: Any, registered: Any) -> None:
    app = conn.modules[registered("app")]
    cancelled = threading.Event()

    def verify(token: str) -> str:
        call = rpc_host.current_call()
        assert call is not None
        if call.cancelled.wait(10):
            cancelled.set()
        return "ann"

    conn.modules[LOG] = Logger()
    conn.modules[AUTH] = verify
    with pytest.raises(rpc_host.DeadlineExceeded):
        app.handle.with_options(timeout=0.3)(TOKEN, "whoami")
    assert cancelled.wait(10)
    future = rpc_host.async_call(app.handle, TOKEN, "whoami")
    cancelled.clear()
    time.sleep(0.2)
    assert future.cancel()
    assert cancelled.wait(10)
    conn.modules[AUTH] = Verifier()
    assert app.handle(TOKEN, "whoami")


def test_several_calls_are_served_at_once(host: Any, registered: Any) -> None:
    registered("app")
    with host.connect() as conn:
        barrier = threading.Barrier(4, timeout=20)

        def verify(token: str) -> str:
            barrier.wait()
            return "ann"

        conn.modules[LOG] = Logger()
        conn.modules[AUTH] = verify
        futures = [rpc_host.async_call(conn.modules.app.handle, TOKEN, f"shout {number}") for number in range(4)]
        assert all(future.result(20) for future in futures)


def test_what_a_lost_client_served_falls_back(host: Any, conn: Any, registered: Any) -> None:
    registered("calc")
    script = """
import sys, rpc_host, time
conn = rpc_host.connect(profile=sys.argv[1])
lease = conn.provide("calc", {"add": lambda a, b: time.sleep(30 if a == 7 else 0) or 0}, scope="tenant")
print("serving", flush=True)
sys.stdin.read()
"""
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(host.profile)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None and server.stdout.readline() == "serving\n"
        assert conn.modules.calc.add(2, 3) == 0
        waiting = rpc_host.async_call(conn.modules.calc.add, 7, 3)
        time.sleep(0.3)
        server.kill()
        assert isinstance(waiting.exception(10), rpc_host.ProviderLost)
        assert conn.modules.calc.add(2, 3) == 5
    finally:
        server.kill()
        server.wait()


def test_a_lease_is_kept_alive_and_lost_with_its_connection(own_host: Any) -> None:
    host = own_host("[limits]\nmin-lease-ms = 200\nidle-timeout-ms = 60000\n")
    with host.connect() as conn:
        conn.upload_module(component("calc"), name="calc")
        lease = conn.provide("calc", {"add": lambda a, b: 0}, lease=1.0)
        time.sleep(2.0)
        assert not lease.is_lost and conn.modules.calc.add(2, 3) == 0
        # And while a call takes all of its time.
        conn.upload_module(component("sleeper"), name="sleeper")
        conn.modules.sleeper.sleep(1500)
        assert not lease.is_lost
        host.stop(kill=True)
        assert isinstance(lease.wait_lost(10), rpc_host.ConnectionLost)


def test_offers_that_cannot_be_are_refused(conn: Any, registered: Any) -> None:
    registered("calc")
    for name, options, error in [
        ("acme:nothing/at-all", {}, rpc_host.FailedPrecondition),
        ("wasi:io/poll", {}, rpc_host.PermissionDenied),
        ("calc", {"lease": 0.001}, rpc_host.InvalidArgument),
        ("calc", {"wit": "package a:b; interface calc { other: func(); }"}, rpc_host.FailedPrecondition),
        ("calc", {"window": 0}, rpc_host.ArgumentError),
    ]:
        with pytest.raises(error):
            conn.provide(name, {}, **options)
    assert conn.providers() == [] and conn.modules.calc.add(2, 3) == 5


def test_a_module_takes_the_place_of_a_client(conn: Any, registered: Any) -> None:
    digest = conn.upload_module(component("calc")).digest
    conn.register("promoted", digest)
    lease = conn.provide("promoted", {"add": lambda a, b: 0, "sub": None}, scope="tenant")
    assert conn.modules.promoted.add(2, 3) == 0
    conn.promote("promoted", digest, force=True)
    assert isinstance(lease.wait_lost(10), rpc_host.Aborted)
    assert conn.modules.promoted.add(2, 3) == 5


@pytest.fixture(autouse=True)
def quiet(caplog: Any) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL, "rpc_host"):
        yield


def test_served_calls_need_no_more_threads_than_said(host: Any, registered: Any) -> None:
    registered("app")
    with host.connect(serve_threads=2) as conn:
        conn.modules[LOG] = Logger()
        conn.modules[AUTH] = lambda token: time.sleep(0.05) or "ann"
        futures = [rpc_host.async_call(conn.modules.app.handle, TOKEN, f"shout {number}") for number in range(10)]
        assert all(future.result(20) for future in futures)
        assert conn._pool.threads <= 2
    eventually("they end with the connection", lambda: conn._pool.threads == 0)
