"""The twin for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import component, threads

import rpc_host
from rpc_host import aio

LOG = "acme:log/logger"
AUTH = "acme:auth/verifier"


@pytest.fixture
def run(host: Any, registered: Any) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Runs a test in a loop of its own, with a connection."""
    for name in ("calc", "kitchen-sink", "sleeper", "spin", "app", "trap"):
        registered(name)

    def run(test: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            async with aio.connect(profile=host.profile, **options) as conn:
                return await test(conn)

        return asyncio.run(asyncio.wait_for(main(), 60))

    return run


def test_functions_are_awaited(run: Any) -> None:
    async def test(conn: Any) -> None:
        calc, sink = conn.modules.calc, conn.modules["kitchen-sink"]
        assert await calc.add(2, b=3) == 5
        calc = await conn.module("calc")
        assert "add: func(a: s64, b: s64) -> s64" in calc.add.__doc__ and await calc.add(1, 1) == 2
        assert dir(calc) == ["add", "calc", "distance", "div", "sub"]
        with pytest.raises(rpc_host.NotFound):
            await conn.module("nothing")
        assert await sink.sink.echo_option(None) is None
        assert await sink["demo:kitchen/sink@0.1.0"].echo_point({"x": 1, "y": 2}) == await sink.echo_point(
            {"x": 1, "y": 2}
        )
        with pytest.raises(rpc_host.GuestError):
            await sink.both(True)
        with pytest.raises(rpc_host.Trapped):
            await conn.modules.trap.panic_with("on purpose")
        with pytest.raises(rpc_host.ArgumentError, match=r"args\[0\]: expected s64, got text"):
            await calc.add("2", 3)
        with pytest.raises(AttributeError, match="did you mean add"):
            await calc.ad(2)
        with pytest.raises(rpc_host.NotFound):
            await conn.modules.nothing.at_all()
        assert (conn.tenant, conn.role) == ("default", "admin") and conn.session

    run(test)
    assert not threads()


def test_many_calls_are_under_way_at_once(run: Any) -> None:
    async def test(conn: Any) -> None:
        add = conn.modules.calc.add
        assert await asyncio.gather(*(add(number, 1) for number in range(1000))) == list(range(1, 1001))
        slow = asyncio.ensure_future(conn.modules.sleeper.sleep(500))
        assert await add(1, 1) == 2 and not slow.done()
        await slow

    run(test)


def test_long_values_go_through_beside_short_ones(run: Any) -> None:
    async def test(conn: Any) -> None:
        sink = conn.modules.kitchen_sink
        data = os.urandom(2 << 20)
        long = asyncio.ensure_future(sink.echo_bytes(data))
        assert await sink.echo_u8(5) == 5
        assert await long == data
        with pytest.raises(rpc_host.ArgumentError, match="the host takes messages of"):
            await sink.echo_bytes(bytes(17 << 20))

    run(test)


def test_timeouts_and_cancels_end_the_work_on_the_host(run: Any) -> None:
    async def test(conn: Any) -> None:
        spin = conn.modules.spin
        with pytest.raises(rpc_host.DeadlineExceeded):
            await spin.forever.with_options(timeout=0.2)()
        task = asyncio.ensure_future(spin.forever())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        link = conn._current.link
        end = time.monotonic() + 5
        while link.waiting:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(spin.forever(), 0.2)
        assert await spin.ping()

    run(test)


def test_names_are_served_by_coroutines_and_functions(run: Any) -> None:
    async def test(conn: Any) -> None:
        lines: list[str] = []

        class Logger:
            async def log(self, level: str, message: str) -> None:
                assert rpc_host.current_call() is not None
                assert await conn.modules.calc.add(2, 3) == 5  # within the call
                lines.append(message)

        def verify(token: str) -> str:
            if token != "t":
                raise rpc_host.GuestError("nobody")
            time.sleep(0.01)  # in a thread
            return "ann"

        async with await conn.provide(LOG, Logger()) as lease:
            await conn.provide(AUTH, verify)
            assert lease.functions[0].name == "log" and not lease.is_lost
            handle = conn.modules.app.handle
            assert "ann" in await handle("t", "whoami")
            assert await asyncio.gather(*(handle("t", f"shout {n}") for n in range(20)))
            with pytest.raises(rpc_host.GuestError, match="nobody"):
                await handle("x", "whoami")
            assert lines
        with pytest.raises(rpc_host.FailedPrecondition):
            await handle("t", "whoami")
        assert isinstance(await lease.wait_lost(), rpc_host.ConnectionLost)
        with pytest.raises(TypeError, match="await conn.provide"):
            conn.modules[LOG] = Logger()

    run(test)


def test_a_served_call_is_cancelled_with_its_caller(run: Any) -> None:
    async def test(conn: Any) -> None:
        cancelled = asyncio.Event()

        async def verify(token: str) -> str:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return "ann"

        await conn.provide(LOG, {"log": lambda level, message: None})
        await conn.provide(AUTH, verify)
        with pytest.raises(rpc_host.DeadlineExceeded):
            await conn.modules.app.handle.with_options(timeout=0.3)("t", "whoami")
        await asyncio.wait_for(cancelled.wait(), 10)

    run(test)


def test_operations_and_uploads(run: Any) -> None:
    async def test(conn: Any) -> None:
        progress: list[tuple[int, int]] = []
        wasm = component("text").read_bytes()
        uploaded = await conn.upload_module(
            component("text"), name="aio-text", progress=lambda *it: progress.append(it)
        )
        assert uploaded.size_bytes == len(wasm) and progress[-1] == (len(wasm), len(wasm))
        assert (await conn.modules["aio-text"].count("a b")).words == 2
        assert "aio-text" in await conn.modules.names()
        assert (await conn.swap("aio-text", component("calc"), force=True)).revision == 2
        assert await conn.modules["aio-text"].add(2, 3) == 5
        await conn.rollback("aio-text", force=True)
        assert len(await conn.history("aio-text")) == 3
        await conn.remove("aio-text")
        with pytest.raises(rpc_host.NotFound):
            await conn.show("aio-text")
        with pytest.raises(rpc_host.InvalidArgument):
            await conn.upload_module(b"text")
        assert await (await conn.root()).add(2, 3) == 5

    run(test, module="calc")


def test_a_lost_connection_fails_what_is_under_way_and_the_next_call_connects_anew(own_host: Any) -> None:
    host = own_host()

    async def test() -> None:
        async with aio.connect(profile=host.profile) as conn:
            await conn.upload_module(component("sleeper"), name="sleeper")
            slow = asyncio.ensure_future(conn.modules.sleeper.sleep(20_000))
            await asyncio.sleep(0.3)
            address = host.address
            host.stop(kill=True)
            with pytest.raises(rpc_host.ConnectionLost):
                await slow
            with pytest.raises(rpc_host.ConnectError):
                await conn.modules.sleeper.sleep(1)
            host.start(address)
            end = time.monotonic() + 20
            while True:
                try:
                    await conn.modules.sleeper.sleep(1)
                    break
                except ConnectionError:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.05)

    asyncio.run(test())


def test_only_the_host_of_the_profile_is_believed(host: Any, own_host: Any) -> None:
    async def test() -> None:
        other = rpc_host.Profile.from_file(own_host().profile)
        with pytest.raises(rpc_host.ConnectError):
            await aio.connect(profile=host.profile, ca=other.ca)
        with pytest.raises(rpc_host.ConnectError):
            await aio.connect(profile=host.profile, server_name="example.com")
        with pytest.raises(rpc_host.AuthenticationError):
            await aio.connect(profile=host.profile, token="wrong")
        with pytest.raises(rpc_host.ConnectError):
            await aio.connect("127.0.0.1", 1, profile=host.profile)

    asyncio.run(test())


def test_an_idle_connection_lives_and_a_silent_host_is_given_up(own_host: Any) -> None:
    host = own_host("[limits]\nidle-timeout-ms = 2000\nkeepalive-interval-ms = 700\n")

    async def test() -> None:
        async with aio.connect(profile=host.profile) as conn:
            session = conn.session
            await asyncio.sleep(3.0)
            assert await conn.list() == [] and conn.session == session
            host.freeze()
            try:
                with pytest.raises(rpc_host.ConnectionLost, match="not a sign of life"):
                    await conn.list()
            finally:
                host.thaw()

    asyncio.run(test())
