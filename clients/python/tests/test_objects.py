"""Live objects, of the host and of this program."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import component, eventually

import rpc_host
from rpc_host import Err, Ok, aio, async_call


@pytest.fixture
def counters(conn: Any, registered: Any) -> Any:
    """The module with objects of both sides, a fresh instance for each call that is on none."""
    return conn.modules[registered("counter")].counters


@pytest.fixture
def kept(host: Any, conn: Any, registered: Any) -> Any:
    """The same with one instance for the session."""
    digest = conn.upload_module(component("counter")).digest
    conn.register("counter-session", digest, instancing="session")
    return conn.modules["counter-session"].counters


class Handler:
    """Hears of events."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def call(self, event: str) -> Any:
        self.heard.append(event)
        return Ok(f"heard {event}")


def test_an_object_is_made_called_and_let_go_of(conn: Any, counters: Any) -> None:
    counter = counters.Counter(10)
    assert isinstance(counter, counters.Counter) and isinstance(counter, rpc_host.Object)
    assert [counter.increment() for _ in range(3)] == [11, 12, 13] and counter.value() == 13
    assert counter.add(by=7) == 20
    with pytest.raises(rpc_host.GuestError, match="too much"):
        counter.add((1 << 64) - 1)
    with pytest.raises(rpc_host.ArgumentError, match=r"args\[0\]: expected u64, got text"):
        counter.add("x")
    assert conn.held_objects == 1
    counter.close()
    assert conn.held_objects == 0
    with pytest.raises(rpc_host.HandleClosed):
        counter.value()
    with counters.Counter(1) as other:
        assert other.increment() == 2
    with pytest.raises(rpc_host.HandleClosed):
        other.value()
    assert {"increment", "add", "value", "copy", "larger", "close"} <= set(dir(counter))
    assert str(inspect.signature(counter.add)) == "(by: u64) -> result<u64, string>"
    assert "add: func(self: borrow<counter>, by: u64)" in (counter.add.__doc__ or "")
    assert not hasattr(counter, "decrement") and "counter object" in repr(counter)


def test_objects_come_within_values(counters: Any) -> None:
    made = counters.make([1, 2, 3])
    assert [counter.value() for counter in made] == [1, 2, 3]
    assert counters.sum(made) == 6 == counters.sum(counters=iter(made))
    assert counters.maybe(None) is None and counters.maybe(5).value() == 5
    assert counters.checked(5).value() == 5
    with pytest.raises(rpc_host.GuestError, match="below nought"):
        counters.checked(-1)
    couple = counters.couple("both", 1, 2)
    assert (couple.name, couple.left.value(), couple.right.value()) == ("both", 1, 2)
    assert counters.couple("one", 1).right is None
    assert counters.sum_pair(couple) == 3
    for gone in (couple.left, couple.right):
        with pytest.raises(rpc_host.HandleClosed, match="given away"):
            gone.value()


def test_objects_are_lent_given_and_given_back(counters: Any) -> None:
    a, b = counters.make([3, 5])
    assert counters.Counter.larger(a, b) == 5 and counters.peek(a) == 3
    assert a.absorb(b) == 8
    with pytest.raises(rpc_host.HandleClosed):
        b.value()
    copy = a.copy()
    copy.increment()
    assert (a.value(), copy.value()) == (8, 9)
    merged = counters.Counter.merge(a, copy)
    assert merged.value() == 17
    same = counters.same(merged)
    assert same.value() == 17 and counters.consume(same) == 17


def test_a_destructor_runs_when_the_last_one_lets_go(conn: Any, kept: Any) -> None:
    assert kept.live() == 0
    counters = kept.make([1, 2, 3])
    again = counters[0]
    assert kept.live() == 3
    del counters
    eventually("two are gone", lambda: kept.live() == 1)
    assert again.value() == 1
    del again
    eventually("all are gone", lambda: kept.live() == 0)
    kept.Counter(5).close()
    assert kept.live() == 0
    assert kept.keep(kept.Counter(7)) == 1 and kept.live() == 1
    assert kept.take().value() == 7 and kept.take() is None


def test_a_session_that_ends_lets_go_of_everything(host: Any, registered: Any) -> None:
    digest_of = {}
    with host.connect() as conn:
        digest_of["counter"] = conn.upload_module(component("counter")).digest
        conn.register("counter-shared", digest_of["counter"], instancing="shared")
        watch = conn.modules["counter-shared"].counters
        before = watch.live()
        with host.connect() as other:
            counters = other.modules["counter-shared"].counters
            held = counters.make([1, 2, 3])
            assert watch.live() == before + 3
            leftover = held[0]
        eventually("the session's are gone", lambda: watch.live() == before)
        with pytest.raises(rpc_host.HandleClosed, match="a session that has ended"):
            leftover.value()


def test_what_is_not_held_is_refused_before_it_is_sent(host: Any, conn: Any, counters: Any) -> None:
    counter = counters.Counter(1)
    with host.connect() as other:
        with pytest.raises(rpc_host.HandleClosed, match="another session"):
            other.modules.counter.counters.peek(counter)
    with pytest.raises(rpc_host.ArgumentError, match=r"args\[0\]: expected borrow<counter>, got integer"):
        counters.peek(7)
    # A number that was made up gets what every number gets that is not held.
    forged = counters.Counter(1)
    counter.close()
    forged._rpc.number = 987654321
    with pytest.raises(rpc_host.NotFound):
        forged.value()
    del forged


def test_an_object_of_an_instance_that_has_trapped_is_gone(counters: Any) -> None:
    a, b = counters.make([1, 2])
    other = counters.Counter(3)
    with pytest.raises(rpc_host.Trapped):
        a.fail()
    for gone in (a, b):
        with pytest.raises(rpc_host.FailedPrecondition):
            gone.value()
    assert other.value() == 3


def test_objects_of_two_roots_do_not_meet(counters: Any) -> None:
    a, b = counters.Counter(1), counters.Counter(2)
    with pytest.raises(rpc_host.FailedPrecondition):
        counters.Counter.larger(a, b)
    assert a.value() == 1 and b.value() == 2


def test_calls_of_one_object_run_in_the_order_in_which_they_were_sent(counters: Any) -> None:
    counter = counters.Counter(0)
    futures = [async_call(counter.increment) for _ in range(200)]
    assert [future.result(30) for future in futures] == list(range(1, 201))


def test_many_threads_make_copy_pass_and_drop(conn: Any, kept: Any) -> None:
    wrong: list[BaseException] = []

    def storm(seed: int) -> None:
        try:
            mine = []
            for number in range(40):
                mine.append(kept.Counter(seed))
                mine.append(mine[-1].copy())
                assert mine[-1].value() == seed
                if number % 4 == 0:
                    mine.append(kept.same(mine.pop()))
                if number % 5 == 0:
                    assert kept.consume(mine.pop()) == seed
                if number % 7 == 0:
                    mine.clear()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    gc.collect()
    eventually("none is left on the host", lambda: kept.live() == 0)
    assert conn.held_objects == 0


def test_a_module_calls_an_object_of_this_side(counters: Any) -> None:
    handler = Handler()
    assert counters.emit(handler, "x", 3) == [Ok("heard x")] * 3 and handler.heard == ["x"] * 3
    assert counters.emit(lambda event: Ok(event * 2), "ab", 1) == [Ok("abab")]

    def declines(event: str) -> Any:
        raise rpc_host.GuestError("not interested")

    assert counters.emit(declines, "x", 1) == [Err("not interested")]

    def fails(event: str) -> Any:
        raise RuntimeError("no luck")

    (said,) = counters.emit(fails, "x", 1)
    assert isinstance(said, Err) and "no luck" in said.value


def test_an_object_of_this_side_is_held_given_back_and_let_go_of(conn: Any, kept: Any) -> None:
    handler, other = Handler(), Handler()
    first, second = kept.subscribe(handler), kept.subscribe(other)
    assert kept.publish("news") == [Ok("heard news")] * 2
    assert kept.unsubscribe(first) is handler
    assert kept.publish("more") == [Ok("heard more")] and handler.heard == ["news"]
    weak = weakref.ref(other)
    del other
    gc.collect()
    assert weak() is not None
    assert kept.forget(second)
    eventually("nobody holds it", lambda: gc.collect() >= 0 and weak() is None)
    eventually("the host has none", lambda: conn._session.lent == 0)


def test_a_callback_calls_back(counters: Any) -> None:
    def handler(event: str) -> Any:
        # Another root, as this one is busy with the call that leads here.
        return Ok(str(counters.Counter(len(event)).increment()))

    assert counters.emit(handler, "four", 20) == [Ok("5")] * 20


def test_a_callback_into_the_instance_that_waits_for_it_is_told_so(kept: Any) -> None:
    counter = kept.Counter(1)
    told: list[Any] = []

    def handler(event: str) -> Any:
        try:
            counter.value()
        except rpc_host.RemoteError as error:
            told.append(error)
        return Ok("")

    began = time.monotonic()
    kept.emit(handler, "x", 1)
    assert isinstance(told[0], rpc_host.WouldDeadlock) and time.monotonic() - began < 10


def test_a_client_that_leaves_is_lost_to_those_who_call_its_objects(host: Any, conn: Any) -> None:
    digest = conn.upload_module(component("counter")).digest
    conn.register("counter-events", digest, instancing="shared")
    here = conn.modules["counter-events"].counters
    with host.connect() as other:
        there = other.modules["counter-events"].counters
        there.subscribe(Handler())
        assert here.publish("a") == [Ok("heard a")]
    with pytest.raises(rpc_host.ProviderLost):
        here.publish("b")


def test_instances_are_kept_as_the_registration_says(host: Any, conn: Any, counters: Any, kept: Any) -> None:
    assert counters.keep(counters.Counter(1)) == 1 and counters.take() is None
    assert kept.keep(kept.Counter(1)) == 1
    with host.connect() as other:
        assert other.modules["counter-session"].counters.take() is None
    assert kept.take().value() == 1
    assert conn.show("counter-session").current.instancing == "session"


def test_what_a_guest_prints_comes_line_by_line(conn: Any, registered: Any, capfd: Any) -> None:
    say = conn.modules[registered("counter")].say
    lines: list[rpc_host.OutputLine] = []
    say.with_options(output=lines.append)(["one", "two", "three"])
    assert [(line.stream, line.text) for line in lines] == [("stdout", "one"), ("stderr", "two"), ("stdout", "three")]
    lines.clear()
    async_call(say.with_options(output=lines.append), ["one", "two"]).result(10)
    eventually("they are handed over", lambda: [line.text for line in lines] == ["one", "two"])
    say.with_options(output=True)(["out", "err"])
    captured = capfd.readouterr()
    assert captured.out == "out\n" and captured.err == "err\n"


def test_what_guests_printed_can_be_looked_up(conn: Any, registered: Any) -> None:
    digest = conn.upload_module(component("counter")).digest
    conn.register("counter-logs", digest)
    say = conn.modules["counter-logs"].say
    say(["one", "two"])
    say(["three"])
    assert [line.text for line in conn.logs("counter-logs")] == ["one", "two", "three"]
    newest = list(conn.logs("counter-logs", tail=1))
    assert [line.text for line in newest] == ["three"] and newest[0].at_ms and newest[0].call
    following = conn.logs("counter-logs", follow=True)
    assert [next(following).text for _ in range(3)] == ["one", "two", "three"]
    say(["four"])
    assert next(following).text == "four"
    following.close()


@pytest.fixture
def loop_host(host: Any, registered: Any) -> Iterator[Any]:
    registered("counter")
    yield host


def test_objects_in_a_loop(loop_host: Any) -> None:
    async def test() -> None:
        async with aio.connect(profile=loop_host.profile) as conn:
            module = conn.modules.counter.counters
            counter = await module.Counter(10)
            assert await counter.increment() == 11
            assert await asyncio.gather(*(counter.increment() for _ in range(20))) == list(range(12, 32))
            a, b = await module.make([1, 2])
            assert await module.Counter.larger(a, b) == 2 and await module.sum([a, b]) == 3
            await a.close()
            with pytest.raises(rpc_host.HandleClosed):
                await a.value()
            async with await module.Counter(1) as other:
                assert await other.value() == 1
            assert await module.consume(b) == 2
            del counter, other
            gc.collect()
            await asyncio.sleep(0.05)
            assert conn.held_objects == 0

            async def handler(event: str) -> Any:
                return Ok(event.upper())

            assert await module.emit(handler, "x", 3) == [Ok("X")] * 3
            assert await module.emit(Handler(), "x", 1) == [Ok("heard x")]

    asyncio.run(asyncio.wait_for(test(), 60))
