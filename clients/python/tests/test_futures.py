"""Calls that are begun and not waited for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import pytest
from conftest import eventually

import rpc_host
from rpc_host import async_call


def test_a_future_has_what_the_call_comes_to(calc: Any, sink: Any) -> None:
    future = async_call(calc.add, 2, b=3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(10) == 5 and future.done()
    assert isinstance(async_call(sink.both, True).exception(10), rpc_host.GuestError)
    with pytest.raises(rpc_host.ArgumentError):
        async_call(calc.add, "2", 3)
    with pytest.raises(TypeError, match="no function of a host"):
        async_call(len, [])


def test_a_thousand_calls_are_under_way_at_once(sink: Any) -> None:
    futures = [async_call(sink.echo_u32, number) for number in range(1000)]
    assert [future.result(30) for future in futures] == list(range(1000))
    assert len(concurrent.futures.wait(futures).done) == 1000


def test_a_timeout_ends_the_call_on_the_host(conn: Any, registered: Any) -> None:
    spin = conn.modules[registered("spin")]
    assert isinstance(async_call(spin.forever, timeout=0.2).exception(10), rpc_host.DeadlineExceeded)
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        async_call(spin.forever, timeout=5).result(0.05)
    assert spin.ping()


def test_cancel_ends_the_call_on_the_host(conn: Any, registered: Any) -> None:
    spin = conn.modules[registered("spin")]
    link = conn._session_now().link
    future = async_call(spin.forever)
    time.sleep(0.1)
    began = time.monotonic()
    assert future.cancel() and future.cancelled() and future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(1)
    assert concurrent.futures.wait([future], timeout=1).done == {future}
    # The place of the call is free when the host has ended it, long before its time would be up.
    eventually("it is over on the host", lambda: not link.waiting)
    assert time.monotonic() - began < 5
    assert spin.ping()
    done = async_call(spin.ping)
    done.result(10)
    assert not done.cancel()


def test_callbacks_run_and_may_call_themselves(calc: Any) -> None:
    got: list[int] = []
    done = threading.Event()

    def then(future: Any) -> None:
        got.append(future.result())
        got.append(calc.add(got[-1], 1))  # waits for an answer, in a callback
        done.set()

    async_call(calc.add, 2, 3).add_done_callback(then)
    assert done.wait(10) and got == [5, 6]


def test_an_answer_in_time_is_there_whenever_it_is_looked_at(calc: Any) -> None:
    future = async_call(calc.add, 2, 3, timeout=0.5)
    time.sleep(1.0)
    assert future.result(0) == 5


def test_futures_can_be_awaited(calc: Any) -> None:
    async def run() -> list[int]:
        return await asyncio.gather(*(asyncio.wrap_future(async_call(calc.add, number, 1)) for number in range(20)))

    assert asyncio.run(run()) == list(range(1, 21))


def test_a_closed_connection_ends_its_futures(host: Any, registered: Any) -> None:
    registered("sleeper")
    with host.connect() as conn:
        future = async_call(conn.modules.sleeper.sleep, 20_000)
    assert isinstance(future.exception(5), rpc_host.ConnectionLost)
