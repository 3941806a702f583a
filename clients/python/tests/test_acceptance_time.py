"""Acceptance cases 27 to 34: time, order, and many calls at once."""

from __future__ import annotations

import gc
import random
import statistics
import time
import tracemalloc
from contextlib import ExitStack
from typing import Any

import pytest
from acceptance import (
    CALL,
    CANCEL,
    FAILURE,
    PING,
    PONG,
    Peer,
    best_of,
    is_busy,
    median_of,
    refusal,
    said,
    scaled,
    status_of,
    timed,
    together,
)
from conftest import component, eventually

import rpc_host
from rpc_host import async_call


def test_case_27_a_deadline_ends_the_work(host: Any, conn: Any, registered: Any) -> None:
    """Given a guest that computes for ever, called with a second to do so, then its caller hears of the end within
    1.2 s, the guest has stopped, and the next call on the session is answered at once."""
    spin, session = conn.modules[registered("spin")], conn.session
    forever = spin.forever.with_options(timeout=1.0)
    took = best_of(3, lambda: refusal(rpc_host.DeadlineExceeded, forever), enough=1.2)
    assert 0.9 < took < 1.2
    assert timed(spin.ping) < 0.5
    eventually("the guest has stopped", lambda: not is_busy(host))
    # One that waits in the host rather than compute.
    sleep = conn.modules[registered("sleeper")].sleep.with_options(timeout=0.3)
    assert best_of(3, lambda: refusal(rpc_host.DeadlineExceeded, sleep, 60_000), enough=0.5) < 0.5
    assert spin.ping() == "pong" and conn.session == session


def test_case_28_a_cancel_stops_the_guest_and_is_answered_once(host: Any, conn: Any, registered: Any) -> None:
    """When a client cancels a call that is under way, then that is answered, the guest is stopped, and nothing comes
    later that anybody would be surprised by."""
    spin, session = conn.modules[registered("spin")], conn.session
    for _ in range(3):
        future = async_call(spin.forever)
        eventually("it runs", lambda: is_busy(host))
        assert not future.done() and future.cancel() and future.cancelled()
        eventually("the guest has stopped", lambda: not is_busy(host))
    # A place is free again for each that was cancelled.
    for _ in range(3):
        futures = [async_call(spin.forever) for _ in range(100)]
        assert all(future.cancel() for future in futures)
    echo = conn.modules[registered("kitchen-sink")].echo_u32
    assert [echo(number) for number in range(100)] == list(range(100))
    assert conn.session == session
    eventually("all have stopped", lambda: not is_busy(host))
    with Peer(host) as peer:
        for _ in range(5):
            call = peer.begin(CALL, {"module": "spin", "function": "forever"}, [], {})
            peer.send(CANCEL, call)
            kind, body = peer.answer(call)
            assert kind == FAILURE and body["code"] == "cancelled"
            # A second one crosses the answer: ignored.
            peer.send(CANCEL, call)
        peer.send(PING, 0, {"nonce": 7})
        assert peer.receive()[::3] == (PONG, {"nonce": 7}), "nothing else came"


def test_case_29_busy_neighbours_are_hardly_noticed(host: Any, conn: Any, registered: Any) -> None:
    """Given four sessions whose guests compute for ever, then another session's calls are still answered in a time that
    a person does not notice."""
    registered("spin")
    echo = conn.modules[registered("kitchen-sink")].echo_u32
    alone = median_of(200, lambda: echo(1))
    with ExitStack() as neighbours:
        spinning = []
        for _ in range(4):
            neighbour = neighbours.enter_context(host.connect())
            spinning.append(async_call(neighbour.modules.spin.forever, timeout=60))
        eventually("they compute", lambda: is_busy(host))
        beside = best_of(3, lambda: median_of(200, lambda: echo(1)), enough=0.02)
        assert beside < 10 * alone + 0.02, (beside, alone)
        assert not any(future.done() for future in spinning)
    eventually("they end with their sessions", lambda: not is_busy(host))


def test_case_30_slow_and_long_answers_hold_up_no_others(conn: Any, registered: Any) -> None:
    """Given a slow and a quick call on one session, then the quick one is answered first; and a short answer is not
    held up by one of 16 MiB."""
    sleeper, big = conn.modules[registered("sleeper")], conn.modules[registered("big")]
    echo = conn.modules[registered("kitchen-sink")].echo_u8
    slow = async_call(sleeper.sleep, 1_500)
    quick = [timed(lambda: echo(1)) for _ in range(20)]
    assert not slow.done(), f"twenty took {sum(quick)} s"
    length = (16 << 20) - 1024
    alone = min(timed(lambda: big.text(length)) for _ in range(2))

    def beside() -> float:
        long = async_call(big.text, length)
        waited = []
        while not long.done():
            waited.append(timed(lambda: echo(1)))
        assert len(long.result()) == length
        return max(waited)

    longest = best_of(5, beside, enough=0.1)
    assert longest < max(0.1, alone / 3), (longest, alone)
    assert slow.result(10) >= 1_500


def test_case_31_calls_of_one_instance_start_in_the_order_of_their_sending(conn: Any, registered: Any) -> None:
    """Given 1,000 calls of one object that are sent without waiting for answers, then they are done in that order."""
    counter = conn.modules[registered("counter")].Counter(0)
    futures = [async_call(counter.increment) for _ in range(1000)]
    assert [future.result(30) for future in futures] == list(range(1, 1001))
    # Whatever kind of calls they are: what each sees is what those before it have done.
    expected, futures, rng = 1000, [], random.Random(31)
    for _ in range(1000):
        if rng.random() < 0.5:
            by = rng.randrange(10)
            expected += by
            futures.append((async_call(counter.add, by), expected))
        else:
            futures.append((async_call(counter.value), expected))
    assert all(future.result(30) == value for future, value in futures)


def test_case_31_and_so_do_those_of_an_instance_that_is_kept(conn: Any) -> None:
    """The same where the registration says that an instance is kept."""
    digest = conn.upload_module(component("ticker")).digest
    for instancing in ("session", "shared"):
        conn.register(f"case-31-{instancing}", digest, instancing=instancing)
        futures = [async_call(conn.modules[f"case-31-{instancing}"].next) for _ in range(1000)]
        assert [future.result(30) for future in futures] == list(range(1, 1001))


def test_case_32_an_answer_that_came_in_time_is_there_however_late_one_looks(conn: Any, registered: Any) -> None:
    """Given an answer that came before the deadline, then its caller gets it, also when it looks long after."""
    add = conn.modules[registered("calc")].add
    futures = [async_call(add, number, 1, timeout=0.5) for number in range(10)]
    time.sleep(1.2)
    assert [future.result(0) for future in futures] == list(range(1, 11))


def test_case_33_eight_threads_on_one_connection_lose_nothing(conn: Any, registered: Any) -> None:
    """Given eight threads that call on one connection, a million times together, then no answer is lost or somebody
    else's, and nobody waits as if a time-out had woken it."""
    sink = conn.modules[registered("kitchen-sink")].sink
    echo, text = sink.echo_u64, sink.echo_string
    times = scaled(1_000_000, 20_000) // 8
    took: list[list[float]] = [[] for _ in range(8)]

    def run(seed: int) -> None:
        rng, mine = random.Random(seed), took[seed]
        for number in range(times):
            began = time.monotonic()
            if number % 16:
                value = seed << 48 | number
                assert echo(value) == value
            else:
                word = f"{seed}:{number}:" + "x" * rng.choice((0, 100, 20_000, 70_000))
                assert text(word) == word
            mine.append(time.monotonic() - began)

    together(8, run, patience=1800)
    waits = sorted(one for mine in took for one in mine)
    assert len(waits) == 8 * times
    late = waits[int(len(waits) * 0.999)]
    assert waits[-1] < late + 1.0, (statistics.median(waits), late, waits[-1])


def test_case_34_what_is_many_comes_in_batches_and_whoever_has_enough_ends_it(host: Any, conn: Any) -> None:
    """Given a cursor over a million items, then they come in a few round trips and in bounded memory on both sides; one
    that is left after three items has made no more, and cleans up."""
    conn.upload_module(component("cursor"), name="case-34", grants=["log"])
    module = conn.modules["case-34"]
    items, batch = scaled(1_000_000, 200_000), 10_000
    trips = 0

    def over(cursor: Any) -> Any:
        nonlocal trips
        while numbers := cursor.next(batch):
            trips += 1
            yield from numbers

    with module.Cursor("34-whole", items) as cursor:
        assert sum(cursor.next(10)) == 45
        before = status_of(host, "VmRSS")
        tracemalloc.start()
        try:
            assert sum(over(cursor)) == sum(range(items)) - 45
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert trips == -(-(items - 10) // batch)
        assert peak < 8 << 20 and status_of(host, "VmRSS") - before < 32 << 20
        assert cursor.next(batch) == []
    eventually("it is closed", lambda: f"closed 34-whole at {items}" in said(host))

    left = module.Cursor("34-left", items)
    rest = over(left)
    cursor = module.Cursor("34-other", items)
    assert cursor.next(3) == [0, 1, 2]
    assert next(rest) == 0
    del rest, left, cursor
    gc.collect()
    eventually(
        "both are closed", lambda: sum("34-left at" in line or "34-other at" in line for line in said(host)) == 2
    )
    assert "closed 34-other at 3" in said(host) and f"closed 34-left at {batch}" in said(host), "no more were made"


def test_case_34_whoever_leaves_ends_what_was_made_for_them(host: Any, conn: Any) -> None:
    """The same when the connection goes: the guest cleans up."""
    conn.upload_module(component("cursor"), name="case-34-gone", grants=["log"])
    with host.connect() as leaving:
        cursor = leaving.modules["case-34-gone"].Cursor("34-gone", 1 << 40)
        assert len(cursor.next(3)) == 3
    eventually("it is closed", lambda: "closed 34-gone at 3" in said(host))
    with pytest.raises(rpc_host.HandleClosed, match="session that has ended"):
        cursor.next(3)
