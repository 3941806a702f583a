"""One connection to a host in a loop: exchanges under way, what is served, and how it ends."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable
from typing import Any

from .. import _messages as messages
from .._background import MAX_BEAT_S, MAX_SILENT_BEATS, beat_of, pause_of, silent
from .._cbor import Malformed
from .._errors import (
    ArgumentError,
    Cancelled,
    ConnectionLost,
    Error,
    NoAnswer,
    RemoteError,
    again,
    error_of,
)
from .._exchange import Answer, Exchange
from .._frame import FRAGMENT_BYTES, Kind, Message, Parser, Violation, fragments, frame
from .._future import session_discards
from .._greeting import hello, welcome_of
from .._link import BUFFERED_MESSAGES, MAX_INCOMPLETE_CALLS, log
from .._outbox import MAX_ID, MAX_RELEASES, SLICE_BYTES, frame_any
from .._session import _failure
from .._slots import KEPT_OF_SLOTS, LONG_MESSAGES, MAX_SLOTS
from .._transport import is_refused_certificate, refused_certificate


class Link:
    """One connection to a host, from its first byte to its end. All of it happens in one loop, but for what
    destructors do: they touch a deque and wake the loop."""

    def __init__(self, token: str | None, max_reply_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._token = token
        self.max_reply_bytes = max_reply_bytes
        self._parser = Parser(1 << 16, 1 << 16, 1)
        self._welcome: asyncio.Future[None] = loop.create_future()
        self._is_welcome = False
        self.waiting: dict[int, Exchange] = {}
        self._next_id = 1
        self.ended: Exception | None = None
        self.over = asyncio.Event()
        self.goaway: RemoteError | None = None
        self._slots = self._all_slots = 1
        self._kept = 0
        self._slot_waiters: deque[asyncio.Future[None]] = deque()
        self._room = 0
        self._long = asyncio.Lock()
        self.can_write = asyncio.Event()
        self.can_write.set()
        self._released: deque[tuple[int, Any]] = deque()
        self._release_told = False
        self._heard = self._spoke = True
        self._nonce = 0
        self.shortest_lease: float | None = None
        self._sooner = asyncio.Event()
        self.incoming: Any = None
        self.pid = os.getpid()
        self.session = self.host = self.tenant = self.role = ""
        self.max_message_bytes = 0
        self._beat = MAX_BEAT_S
        self._tasks: set[asyncio.Task[Any]] = set()
        self.transport: Any = None

    # What kind of stream it is: bytes out, and an end.

    def write(self, data: bytes) -> None:
        if self.pid == os.getpid() and self.transport is not None:
            self._spoke = True
            self.transport.write(data)

    def hang_up(self) -> None:
        if self.transport is not None and self.pid == os.getpid():
            self.transport.close()

    # ------------------------------------------------------------------------------------------------- welcome

    async def greet(self, timeout: float) -> None:
        """The first two messages."""
        self.write(hello(self._token))
        try:
            await asyncio.wait_for(asyncio.shield(self._welcome), timeout)
        except asyncio.TimeoutError:
            raise ConnectionLost("the host did not say welcome in time") from None
        self._tasks.add(self._loop.create_task(self._keep_alive()))

    def _greeted(self, message: Message) -> None:
        try:
            welcome = welcome_of(message)
        except Error as error:
            self.end(error)
            return
        self.session, self.host = welcome.session, welcome.host
        self.tenant, self.role = welcome.tenant, welcome.role
        self.max_message_bytes = welcome.max_message_bytes
        self._slots = self._all_slots = min(welcome.max_calls_in_flight, MAX_SLOTS)
        self._room = LONG_MESSAGES * self.max_message_bytes
        self._beat = beat_of(welcome.idle_timeout)
        self._parser.allow(
            self.max_reply_bytes,
            BUFFERED_MESSAGES * self.max_reply_bytes,
            self._slots + 1 + MAX_INCOMPLETE_CALLS,
        )
        self._is_welcome = True
        if not self._welcome.done():
            self._welcome.set_result(None)

    # ------------------------------------------------------------------------------------------------ exchanges

    async def begin(self, exchange: Exchange, while_serving: bool = False) -> None:
        """Begins an exchange as soon as the host allows one more."""
        if self.ended is not None:
            raise again(self.ended)
        if self.goaway is not None:
            raise again(self.goaway)
        await self._take_slot(exchange, while_serving)
        size = len(exchange.payload)
        if size <= FRAGMENT_BYTES:
            if self._admit(exchange):
                self.write(frame(exchange.kind, exchange.id, exchange.payload))
                exchange.payload = b""
            return
        try:
            if size > self.max_message_bytes:
                raise ArgumentError(
                    f"args: {size} bytes, but the host takes messages of {self.max_message_bytes} at most"
                )
            while self._room < size and self.ended is None:
                await self._slot()
            self._room -= size
            exchange.room = size
        except BaseException:
            self._give_slot(exchange)
            raise
        task = self._loop.create_task(self._write_long(exchange.kind, exchange, 0, 0))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_long(self, kind: int, what: Exchange | bytes, id: int, flags: int) -> None:
        """A long message, one at a time; others go between its parts."""
        async with self._long:
            if isinstance(what, Exchange):
                if not self._admit(what):
                    return
                payload, id = what.payload, what.id
                what.payload = b""
            else:
                payload = what
            parts: list[bytes] = []
            size = 0
            for part in fragments(kind, id, payload, flags):
                parts.append(part)
                size += len(part)
                if size >= SLICE_BYTES:
                    self.write(b"".join(parts))
                    parts, size = [], 0
                    await asyncio.sleep(0)
                    await self.can_write.wait()
                    if self.ended is not None:
                        return
            self.write(b"".join(parts))
            if isinstance(what, Exchange) and what.is_cancelled:
                self.write(frame(Kind.CANCEL, id, b""))

    def _admit(self, exchange: Exchange) -> bool:
        if self.ended is not None or exchange.is_cancelled:
            why = self.ended or Cancelled("the call was given up before it was made", fault="peer")
            self._finish(exchange, again(why))
            return False
        if self._next_id > MAX_ID:
            why = ConnectionLost("the connection's numbers are used up; call again")
            self._finish(exchange, why)
            self.end(why)
            return False
        exchange.id = self._next_id
        self._next_id += 2
        self.waiting[exchange.id] = exchange
        return True

    async def _take_slot(self, exchange: Exchange, while_serving: bool) -> None:
        if while_serving and self._slots <= 0:
            if self._kept <= 0:
                raise _failure(
                    "resource-exhausted",
                    "as many calls are under way as the host allows, and one that is made while serving does not "
                    "wait: what it waits for may wait for it",
                    "peer",
                )
            self._kept -= 1
            exchange.kept = True
            return
        while self._slots <= 0:
            await self._slot()
            if self.ended is not None:
                raise again(self.ended)
        self._slots -= 1

    async def _slot(self) -> None:
        waiter = self._loop.create_future()
        self._slot_waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter.cancelled() and waiter in self._slot_waiters:
                self._slot_waiters.remove(waiter)

    def _give_slot(self, exchange: Exchange) -> None:
        if exchange.kept:
            self._kept += 1
        else:
            self._slots += 1
        self._room += exchange.room
        exchange.room = 0
        waiters, self._slot_waiters = self._slot_waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def keep_slots(self) -> None:
        """Keeps a part of the slots for calls that are made while serving."""
        wanted = self._all_slots // KEPT_OF_SLOTS
        take = min(wanted - self._kept, self._slots - 1)
        if take > 0:
            self._slots -= take
            self._kept += take

    async def ask(self, exchange: Exchange, deadline: float | None = None, while_serving: bool = False) -> Answer:
        """Begins an exchange and waits for its answer. Given up, it is cancelled."""
        answered: asyncio.Future[Answer] = self._loop.create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        exchange.callback = done
        began = self.begin(exchange, while_serving)
        if deadline is None:
            await began
            return await self._answer(exchange, answered)
        left = deadline - time.monotonic()
        try:
            return await asyncio.wait_for(self._both(began, exchange, answered), max(0.0, left))
        except asyncio.TimeoutError:
            raise NoAnswer("no answer in time") from None

    async def _both(self, began: Awaitable[None], exchange: Exchange, answered: asyncio.Future[Answer]) -> Answer:
        await began
        return await self._answer(exchange, answered)

    async def _answer(self, exchange: Exchange, answered: asyncio.Future[Answer]) -> Answer:
        try:
            return await answered
        except BaseException:
            if exchange.answer is None:
                self.cancel(exchange)
            elif exchange.answer.__class__ is tuple and self.incoming is not None:
                self.incoming.discard(exchange.answer[1])
            raise

    def cancel(self, exchange: Exchange) -> None:
        """Asks the host to end an exchange. Its place is taken until the host says so."""
        exchange.is_cancelled = True
        if self.incoming is not None:
            exchange.callback = session_discards(self.incoming)
        if exchange.id and self.ended is None and exchange.answer is None and not exchange.payload:
            self.write(frame(Kind.CANCEL, exchange.id, b""))

    # Answers to calls of the host's.

    def send(self, data: bytes) -> None:
        if self.ended is None:
            self.write(data)

    def answer(self, kind: int, id: int, payload: bytes, flags: int = 0) -> None:
        if self.ended is not None:
            return
        if len(payload) <= FRAGMENT_BYTES:
            self.write(frame(kind, id, payload, flags))
        elif len(payload) > self.max_message_bytes:
            problem = f"the answer is too long: {len(payload)} bytes, of {self.max_message_bytes} at most"
            self.write(frame(Kind.FAILURE, id, messages.failure("resource-exhausted", problem)))
        else:
            task = self._loop.create_task(self._write_long(kind, payload, id, flags))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def refuse(self, id: int, code: str, problem: str) -> None:
        self.write(frame(Kind.FAILURE, id, messages.failure(code, problem, fault="peer")))

    # Objects that are let go of.

    def release_later(self, number: int, cell: Any) -> None:
        """May be called by a destructor, in any thread."""
        self._released.append((number, cell))
        if not self._release_told:
            self._release_told = True
            try:
                self._loop.call_soon_threadsafe(self._release)
            except RuntimeError:
                pass  # the loop is over, and so is the connection

    def _release(self) -> None:
        self._release_told = False
        while self._released:
            pairs: list[tuple[int, int]] = []
            while self._released and len(pairs) < MAX_RELEASES:
                number, cell = self._released.popleft()
                count = cell if cell.__class__ is int else cell.taken_back()
                if count > 0:
                    pairs.append((number, count))
            if pairs and self.ended is None:
                self.write(frame_any(Kind.RELEASE, messages.release(pairs)))

    # -------------------------------------------------------------------------------------------------- reading

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self.ended is not None:
            return
        try:
            for message in self._parser.feed(data):
                if self._is_welcome:
                    self._dispatch(message)
                else:
                    self._greeted(message)
        except (Violation, Malformed) as error:
            self.end(ConnectionLost(f"the host broke the protocol: {error}"))

    def _dispatch(self, message: Message) -> None:
        kind, flags, id, payload = message
        if kind in (Kind.REPLY, Kind.FAILURE):
            answer: Answer = (flags, payload) if kind == Kind.REPLY else error_of(messages.envelope(payload))
            if kind == Kind.FAILURE and id == 0:
                self.end(ConnectionLost(f"the host ended it ({answer})"))
                return
            exchange = self.waiting.pop(id, None)
            if exchange is not None:
                self._finish(exchange, answer)
            elif not id & 1 or id >= self._next_id:
                raise Violation("it answered what was not asked")
        elif kind in (Kind.ACK, Kind.OUTPUT):
            exchange = self.waiting.get(id)
            if exchange is not None and exchange.on_event is not None:
                exchange.on_event(kind, payload)
        elif kind == Kind.PING:
            nonce = messages.envelope(payload).get("nonce")
            if nonce.__class__ is not int:
                raise Violation("a ping without a number")
            self.write(frame(Kind.PONG, 0, messages.beat(nonce)))
        elif kind == Kind.PONG:
            pass
        elif kind == Kind.GOAWAY:
            self.goaway = error_of(messages.envelope(payload).get("failure"))
            log.info("the host is going away: %s", self.goaway)
        elif kind == Kind.EVENT:
            body = messages.envelope(payload)
            log.info("event %s: %s", body.get("event"), body.get("message"))
        elif kind == Kind.CALL and id and not id & 1:
            self.incoming.call(self, id, payload)
        elif kind == Kind.CANCEL and id and not id & 1:
            self.incoming.cancel(self, id)
        elif kind == Kind.LAPSE and id == 0:
            self.incoming.lapse(self, messages.envelope(payload))
        elif kind == Kind.RELEASE and id == 0:
            self.incoming.release(self, messages.envelope(payload))
        else:
            raise Violation(f"it sent a message of kind {kind}")

    def _finish(self, exchange: Exchange, answer: Answer) -> None:
        if exchange.answer is not None:
            return
        exchange.answer = answer
        self._give_slot(exchange)
        if exchange.callback is not None:
            exchange.callback(answer)

    # ------------------------------------------------------------------------------------------------ its end

    def sooner(self) -> None:
        """A lease was granted: signs of life are due more often."""
        self._sooner.set()

    async def _keep_alive(self) -> None:
        silence = 0.0
        while self.ended is None:
            pause = pause_of(self._beat, self.shortest_lease)
            self._sooner.clear()
            try:
                await asyncio.wait_for(self._sooner.wait(), pause)
                continue
            except asyncio.TimeoutError:
                pass
            heard, spoke = self._heard, self._spoke
            self._heard = self._spoke = False
            silence = 0.0 if heard else silence + pause
            if silence > MAX_SILENT_BEATS * self._beat:
                self.end(silent(silence))
            elif not heard or not spoke:
                self._nonce += 1
                self.write(frame(Kind.PING, 0, messages.beat(self._nonce)))

    def end(self, why: Exception) -> None:
        if self.ended is not None:
            return
        self.ended = why
        self.hang_up()
        if not self._welcome.done():
            self._welcome.set_exception(why)
            self._welcome.exception()  # it may be that nobody looks
        waiting, self.waiting = self.waiting, {}
        for exchange in waiting.values():
            self._finish(exchange, again(why))
        for waiter in self._slot_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._slot_waiters.clear()
        self.can_write.set()
        if self.incoming is not None:
            self.incoming.ended(self, why)
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    def lost(self, error: BaseException | None) -> None:
        """The stream is over."""
        if error is not None and is_refused_certificate(error):
            self.end(refused_certificate())
        elif error is not None:
            self.end(ConnectionLost(f"cannot read: {error}"))
        elif not self._is_welcome:
            self.end(ConnectionLost("the host broke off before it said welcome"))
        else:
            told = f" ({self.goaway})" if self.goaway is not None else ""
            self.end(ConnectionLost(f"the host closed the connection{told}"))
        self.over.set()

    async def close(self) -> None:
        self.end(ConnectionLost("this client closed it"))
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=1.0)
        try:
            await asyncio.wait_for(self.over.wait(), 2.0)
        except asyncio.TimeoutError:
            if self.transport is not None:
                self.transport.abort()
