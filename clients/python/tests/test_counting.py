"""How objects are counted and let go of, whatever comes when: with a host that does as it is told."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import eventually
from fake import Failed, FakeHost, function

import rpc_host
from rpc_host import async_call
from rpc_host._cbor import TAG_CLIENT, CBORTag
from rpc_host._frame import Kind

OWN, BORROW = {"own": "thing"}, {"borrow": "thing"}
METHOD = "test:objects/objects@0.1.0.[method]handler.call"

FUNCTIONS = [
    function("[constructor]thing", OWN, start="u32"),
    function("[method]thing.poke", "u32", self=BORROW),
    function("[static]thing.join", OWN, a=OWN, b=OWN),
    function("again", OWN, number="u32"),
    function("many", {"list": OWN}, count="u32"),
    function("pair", {"record": [{"name": "left", "type": OWN}, {"name": "right", "type": {"option": OWN}}]}),
    function("peek", "u32", it=BORROW),
    function("take", "u32", it=OWN),
    function("refuse", "u32", it=OWN),
    function("wrong", {"tuple": [OWN, "u32"]}),
    function("slow", OWN),
    function("keep", "u32", it={"own": "handler"}),
    function("lend", "u32", it={"borrow": "handler"}),
    function("give-back", {"own": "handler"}, number="u64"),
]


def join(host: FakeHost, header: Any, arguments: list[Any], _: Any) -> Any:
    for tag in arguments:
        consume(host, tag)
    return (host.handle(),)


def consume(host: FakeHost, tag: CBORTag) -> None:
    with host._lock:
        del host.held[tag.value]


def take(host: FakeHost, header: Any, arguments: list[Any], _: Any) -> Any:
    consume(host, arguments[0])
    return (0,)


def refuse(host: FakeHost, header: Any, arguments: list[Any], _: Any) -> Any:
    raise Failed("failed-precondition", "not now")


SHARED = [1_000_001 + number for number in range(8)]

ANSWERS: dict[str, Any] = {
    "[constructor]thing": lambda host, *_: (host.handle(),),
    "poke": lambda *_: (7,),
    "join": join,
    "again": lambda host, header, arguments, _: (host.handle(SHARED[arguments[0] % 8]),),
    "many": lambda host, header, arguments, _: ([host.handle() for _ in range(arguments[0])],),
    "pair": lambda host, *_: ({"left": host.handle(), "right": host.handle()},),
    "peek": lambda *_: (1,),
    "take": take,
    "refuse": refuse,
    "wrong": lambda host, *_: ([host.handle(), "text"],),
    "slow": lambda host, header, arguments, call: threading.Timer(
        0.3, lambda: host.send(Kind.REPLY, call["id"], host.handle())
    ).start(),
    "keep": lambda host, header, arguments, _: (arguments[0].value,),
    "lend": lambda host, header, arguments, call: (arguments[0].value,),
    "give-back": lambda host, header, arguments, _: (CBORTag(TAG_CLIENT, arguments[0]),),
}


@pytest.fixture
def fake() -> Iterator[FakeHost]:
    host = FakeHost(FUNCTIONS, dict(ANSWERS))
    yield host
    host.close()
    assert not host.wrong


@pytest.fixture
def conn(fake: FakeHost) -> Iterator[rpc_host.Connection]:
    with fake.connect() as connection:
        yield connection


def all_gone(host: FakeHost) -> None:
    gc.collect()
    eventually("everything is let go of", lambda: not host.held)


def test_an_object_is_let_go_of_when_nobody_holds_it(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things
    thing = things.Thing(1)
    assert isinstance(thing, things.Thing) and isinstance(thing, rpc_host.Object) and thing.poke() == 7
    assert list(fake.held.values()) == [1] and conn.held_objects == 1
    del thing
    all_gone(fake)
    assert conn.held_objects == 0
    couple = things.pair()
    assert couple.left.poke() == couple.right.poke() == 7
    del couple
    all_gone(fake)


def test_objects_that_go_together_are_told_together(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things.many(10_000)
    assert len(fake.held) == 10_000 == len(set(map(id, things)))
    began = time.monotonic()
    del things
    all_gone(fake)
    assert time.monotonic() - began < 10 and len(fake.releases) < 1000
    assert all(len(pairs) <= 4096 for pairs in fake.releases)


def test_close_waits_until_the_host_has_let_go(fake: FakeHost, conn: Any) -> None:
    thing = conn.modules.things.Thing(1)
    thing.close()
    assert not fake.held
    thing.close()
    rpc_host.release(thing)
    assert len(fake.releases) == 1
    with pytest.raises(rpc_host.HandleClosed, match="is closed"):
        thing.poke()
    with pytest.raises(rpc_host.HandleClosed):
        conn.modules.things.peek(thing)
    with conn.modules.things.Thing(2) as other:
        assert other.poke() == 7
    assert not fake.held and "is closed" in repr(other)


def test_a_handle_that_comes_again_is_the_same_object_and_counted(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things
    first = things.again(0)
    assert things.again(0) is first and things.again(8) is first and things.again(1) is not first
    assert fake.held[SHARED[0]] == 3
    del first
    all_gone(fake)
    assert [SHARED[0], 3] in [pair for pairs in fake.releases for pair in pairs]


def test_what_is_given_away_is_held_no_more_and_what_is_refused_is(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things
    a, b = things.Thing(1), things.Thing(2)
    with pytest.raises(rpc_host.FailedPrecondition):
        things.refuse(a)
    assert a.poke() == 7 and things.peek(a) == 1
    joined = things.Thing.join(a, b)
    for gone in (a, b):
        with pytest.raises(rpc_host.HandleClosed, match="given away"):
            gone.poke()
    assert joined.poke() == 7 and len(fake.held) == 1
    del a, b, gone
    gc.collect()
    assert things.take(joined) == 0 and not fake.held
    conn.modules.things.Thing(1).close()
    # What was consumed is not released as well.
    assert len([pair for pairs in fake.releases for pair in pairs]) == 1


def test_objects_in_a_reply_that_nobody_can_take_are_let_go_of(fake: FakeHost, conn: Any) -> None:
    with pytest.raises(rpc_host.DecodeError, match=r"result\[1\]: expected u32, got text"):
        conn.modules.things.wrong()
    all_gone(fake)
    with pytest.raises(rpc_host.DecodeError):
        async_call(conn.modules.things.wrong).result(10)
    all_gone(fake)
    future = async_call(conn.modules.things.slow)
    assert future.cancel()
    time.sleep(0.5)
    all_gone(fake)
    future = async_call(conn.modules.things.slow)
    thing = future.result(10)
    assert thing.poke() == 7
    del future, thing
    all_gone(fake)


def test_objects_of_another_session_or_another_kind_are_refused_here(fake: FakeHost, conn: Any) -> None:
    other = FakeHost(FUNCTIONS, dict(ANSWERS))
    with other.connect() as second:
        foreign = second.modules.things.Thing(1)
        with pytest.raises(rpc_host.HandleClosed, match="another session"):
            conn.modules.things.peek(foreign)
    with pytest.raises(rpc_host.HandleClosed, match="a session that has ended"):
        foreign.poke()
    other.close()
    with pytest.raises(rpc_host.ArgumentError, match=r"args\[0\]: expected borrow<thing>, got integer"):
        conn.modules.things.peek(5)
    with pytest.raises(rpc_host.ArgumentError, match="expected thing, got null"):
        conn.modules.things.take(None)


def test_many_threads_create_copy_pass_and_drop_and_nothing_is_lost_or_left(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things
    assert things.Thing(1).poke() == 7
    wrong: list[BaseException] = []
    calls = 600

    def storm(seed: int) -> None:
        pick = random.Random(seed)
        mine: list[Any] = []
        try:
            for _ in range(calls):
                what = pick.random()
                if what < 0.5:
                    mine.append(things.again(pick.randrange(8)))
                elif what < 0.6:
                    mine.append(things.Thing(1))
                elif what < 0.7 and mine:
                    assert things.peek(pick.choice(mine)) == 1
                elif what < 0.75:
                    assert things.take(things.Thing(2)) == 0
                elif what < 0.8:
                    futures = [async_call(things.again, pick.randrange(8)) for _ in range(3)]
                    mine.extend(future.result(30) for future in futures)
                elif mine:
                    assert mine[-1].poke() == 7
                    del mine[pick.randrange(len(mine)) :]
                if pick.random() < 0.02:
                    gc.collect()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong and not fake.wrong
    all_gone(fake)
    assert conn.held_objects == 0


def test_objects_are_let_go_of_by_the_collector_in_any_thread(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things

    class Node:
        """In a cycle, so that only the collector finds it."""

        def __init__(self) -> None:
            self.thing = things.Thing(1)
            self.self = self

    stop = threading.Event()

    def litter() -> None:
        while not stop.is_set():
            [[] for _ in range(1000)]

    other = threading.Thread(target=litter)
    other.start()
    for _ in range(100):
        Node()
    stop.set()
    other.join()
    all_gone(fake)


def test_a_destructor_that_calls_is_told_so_or_answered_and_never_hangs(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things

    class Closing:
        def __init__(self) -> None:
            self.thing = things.Thing(1)
            self.self = self

        def __del__(self) -> None:
            if threading.current_thread().name == "fake host":
                return  # which would wait for itself
            try:
                self.thing.close()
            except rpc_host.Error:
                pass

    done = threading.Event()

    def run() -> None:
        for _ in range(200):
            Closing()
            things.Thing(2).poke()
        done.set()

    gc.set_threshold(50)
    try:
        threading.Thread(target=run, daemon=True).start()
        assert done.wait(30)
    finally:
        gc.set_threshold(700, 10, 10)
    all_gone(fake)


# ---------------------------------------------------------------------------------------- objects of this side


class Handler:
    """An object of this side."""

    def call(self, event: Any) -> str:
        return f"heard {event}"


def asked(fake: FakeHost, number: int, *arguments: Any, method: str = METHOD) -> tuple[int, Any]:
    """What a call of an object of the client's comes to."""
    done: list[tuple[int, Any]] = []
    header = {"module": "test:objects/objects@0.1.0", "function": method, "timeout-ms": 5000}
    fake.call(header, [CBORTag(TAG_CLIENT, number), *arguments], lambda kind, body: done.append((kind, body)))
    return eventually("it is answered", lambda: done)[0]


def test_an_object_of_this_side_is_called_and_comes_back_identical(fake: FakeHost, conn: Any) -> None:
    things, handler = conn.modules.things, Handler()
    number = things.keep(handler)
    assert asked(fake, number, "x") == (Kind.REPLY, "heard x")
    assert things.give_back(number) is handler
    function = things.keep(lambda event: event * 2)
    assert asked(fake, function, 21) == (Kind.REPLY, 42)
    kind, body = asked(fake, 999, 1)
    assert kind == Kind.FAILURE and body["code"] == "not-found"
    kind, body = asked(fake, number, 1, method="test:objects/objects@0.1.0.[method]handler.other")
    assert kind == Kind.FAILURE and body["code"] == "unimplemented"
    kind, body = asked(fake, things.keep(lambda event: 1 / 0), 1)
    assert kind == Kind.FAILURE and "ZeroDivisionError" in body["message"]


def test_an_object_of_this_side_lives_until_the_host_lets_go_of_it(fake: FakeHost, conn: Any) -> None:
    things, handler = conn.modules.things, Handler()
    weak = weakref.ref(handler)
    number, again = things.keep(handler), things.keep(handler)
    del handler
    gc.collect()
    assert weak() is not None and asked(fake, number, "x")[0] == Kind.REPLY
    fake.send(Kind.RELEASE, 0, {"handles": [[number, 1], [12345, 1]]})
    eventually("one is gone", lambda: conn._session.lent == 1)
    assert weak() is not None and asked(fake, again, "x")[0] == Kind.REPLY
    fake.send(Kind.RELEASE, 0, {"handles": [[again, 1]]})
    eventually("nobody holds it", lambda: gc.collect() >= 0 and weak() is None)


def test_what_is_lent_is_lent_for_the_call_and_what_is_refused_is_not_given(fake: FakeHost, conn: Any) -> None:
    things, handler = conn.modules.things, Handler()
    weak = weakref.ref(handler)
    assert things.lend(handler) > 0 and conn._session.lent == 0
    fake.answers["keep"] = refuse
    with pytest.raises(rpc_host.FailedPrecondition):
        things.keep(handler)
    assert conn._session.lent == 0
    del handler
    eventually("nobody holds it", lambda: gc.collect() >= 0 and weak() is None)


def test_an_object_that_comes_back_is_found_though_its_release_is_right_behind(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things

    def give_back(host: FakeHost, header: Any, arguments: list[Any], call: Any) -> Any:
        host.send(Kind.REPLY, call["id"], CBORTag(TAG_CLIENT, arguments[0]))
        host.send(Kind.RELEASE, 0, {"handles": [[arguments[0], 1]]})

    fake.answers["give-back"] = give_back
    for _ in range(300):
        handler = Handler()
        number = things.keep(handler)
        assert things.give_back(number) is handler
        future = async_call(things.give_back, things.keep(handler))
        assert future.result(10) is handler
    del future
    eventually("none is left", lambda: conn._session.lent == 0 and not conn._session._objects)


def test_callbacks_nest_within_the_call_that_leads_to_them(fake: FakeHost, conn: Any) -> None:
    things = conn.modules.things
    total: list[int] = []

    def lend(host: FakeHost, header: Any, arguments: list[Any], call: Any) -> Any:
        """Calls the handler a hundred times before it answers."""
        number = arguments[0].value
        request = {"module": "test:objects/objects@0.1.0", "function": METHOD, "timeout-ms": 5000}

        def next(at: int) -> None:
            if at == 100:
                host.send(Kind.REPLY, call["id"], 100)
                return
            host.call(request, [CBORTag(TAG_CLIENT, number), at], lambda kind, body: next(at + 1))

        next(0)

    fake.answers["lend"] = lend

    def handler(at: int) -> int:
        # Calls back into the host while it is being called.
        if at % 10 == 0:
            assert things.again(0).poke() == 7
        total.append(at)
        return at

    assert things.lend(handler) == 100 and total == list(range(100))


def test_releases_that_make_no_sense_are_ignored(fake: FakeHost, conn: Any) -> None:
    number = conn.modules.things.keep(Handler())
    for _ in range(3):
        fake.send(Kind.RELEASE, 0, {"handles": [[number, 5], [0, 1], [1 << 63, 1]]})
    assert conn.modules.things.Thing(1).poke() == 7
