"""One connection: exchanges under way, what waits to be written, and how it ends.

Whoever begins an exchange writes it, as far as nobody else is writing; and whoever waits for an answer reads, as
long as nobody else is reading, and hands on what is for others. So a call from a program with one thread costs no
change of threads. When nobody waits, a thread in the background reads, so that a program never has to. A link ends
once and for all: it never reconnects, that is the client's part.

What destructors may touch (they run in any thread, within whatever that is doing) is a deque and the transport's
``wake``; neither takes a lock.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._background import Background
from ._cbor import Malformed
from ._errors import ConnectionLost, Error, NoAnswer, RemoteError, again, error_of
from ._exchange import Answer, Exchange, Ready
from ._frame import FRAGMENT_BYTES, Kind, Message, Parser, Violation, frame
from ._greeting import greet
from ._outbox import Outbox
from ._slots import MAX_SLOTS, Slots
from ._transport import is_refused_certificate, refused_certificate

if TYPE_CHECKING:
    from ._transport import Transport

log = logging.getLogger("rpc_host")

#: Before it says welcome, a host says little.
GREETING_BYTES = 1 << 16
#: Incomplete messages of the host may together take so many times what one may.
BUFFERED_MESSAGES = 4
#: Calls into this client that may be incomplete at once.
MAX_INCOMPLETE_CALLS = 1024
#: Refusals and pongs that may wait to be written.
MAX_WAITING_ANSWERS = 4096
#: So long a thread that ends a connection waits for the one in the background.
JOIN_S = 1.0

_LIVE: dict[int, weakref.ref[Link]] = {}


class Link:
    """One connection to a host, from its welcome to its end."""

    def __init__(self, transport: Transport, token: str | None, max_reply_bytes: int, timeout: float) -> None:
        self.pid = os.getpid()
        self.transport = transport
        self.ended: Exception | None = None
        self._ending = threading.RLock()
        self.goaway: RemoteError | None = None
        #: What calls of the host's go to.
        self.incoming: Any = None
        #: Leases shorten the beat.
        self.shortest_lease: float | None = None
        #: Whether the host was heard and spoken to since the last beat.
        self.heard = self.spoke = True
        #: Exchanges that the host has not ended.
        self.waiting: dict[int, Exchange] = {}
        #: Of those, the ones that no thread waits for.
        self.unattended: dict[Exchange, None] = {}
        #: Held by who reads.
        self.reading = threading.Lock()
        self.reader_thread = 0
        #: Who would read if nobody else did.
        self._followers: dict[Exchange, None] = {}
        #: How often somebody has begun to read for an answer of its own.
        self.leads = 0
        #: Whether a thread that waits has been woken since this was last unset.
        self.served_one = False
        self.release_told = False
        self.max_reply_bytes = max_reply_bytes
        self._parser = Parser(GREETING_BYTES, GREETING_BYTES, 1)
        self.outbox = Outbox(self)
        welcome, self._early = greet(transport, self._parser, token, timeout)
        self.session, self.host = welcome.session, welcome.host
        self.tenant, self.role = welcome.tenant, welcome.role
        self.max_message_bytes = welcome.max_message_bytes
        count = min(welcome.max_calls_in_flight, MAX_SLOTS)
        self.slots = Slots(self, count, self.max_message_bytes)
        self._parser.allow(max_reply_bytes, BUFFERED_MESSAGES * max_reply_bytes, count + 1 + MAX_INCOMPLETE_CALLS)
        self.background = Background(self, welcome.idle_timeout)
        key = id(self)
        _LIVE[key] = weakref.ref(self, lambda _: _LIVE.pop(key, None) and None)

    def start(self, incoming: Any) -> None:
        """Calls of the host's go there from now on."""
        self.incoming = incoming
        while self._early:
            self._dispatch(self._early.popleft())
        self.background.start()

    # -------------------------------------------------------------------------------------------------- exchanges

    def begin(self, exchange: Exchange, *, while_serving: bool = False, deadline: float | None = None) -> None:
        """Begins an exchange as soon as the host allows one more."""
        if self.ended is not None:
            raise self.why()
        if self.goaway is not None:
            raise again(self.goaway)
        self.slots.take(exchange, while_serving, deadline)
        if len(exchange.payload) > FRAGMENT_BYTES:
            try:
                self.slots.take_room(exchange, deadline)
            except BaseException:
                self.slots.give(exchange)
                raise
        self.outbox.put(exchange)
        if exchange.callback is not None:
            self.unattended[exchange] = None
            self.outbox.flush()
            if not self.reading.locked():
                self.background.wake()
        else:
            self.outbox.flush()

    def send(self, data: bytes) -> None:
        """Sends a frame that begins nothing."""
        if self.ended is None:
            self.outbox.put(data)
            self.outbox.flush()

    def answer(self, kind: int, id: int, payload: bytes, flags: int = 0) -> None:
        """Answers a call of the host's."""
        if self.ended is not None:
            return
        if len(payload) <= FRAGMENT_BYTES:
            self.outbox.put(frame(kind, id, payload, flags))
        elif len(payload) > self.max_message_bytes:
            problem = (
                f"the answer is too long: {len(payload)} bytes, but the host takes messages of "
                f"{self.max_message_bytes} at most"
            )
            self.outbox.put(frame(Kind.FAILURE, id, messages.failure("resource-exhausted", problem)))
        else:
            self.outbox.put_long(Ready(kind, id, payload, flags))
        self.outbox.flush()

    def wait(self, exchange: Exchange, deadline: float | None = None) -> Answer:
        """Waits for the answer, and reads while nobody else does. Given up, the exchange is cancelled."""
        try:
            while exchange.answer is None:
                self._step(exchange, deadline)
            return exchange.answer
        except BaseException:
            if exchange.answer is None:
                self.cancel(exchange)
            raise

    def wait_event(self, exchange: Exchange, deadline: float | None = None) -> bool:
        """Waits for the answer or for something that comes before it; whether it is the latter."""
        try:
            while exchange.answer is None and not exchange.events:
                self._step(exchange, deadline)
            return bool(exchange.events)
        except BaseException:
            if exchange.answer is None:
                self.cancel(exchange)
            raise

    def _step(self, exchange: Exchange, deadline: float | None) -> None:
        """Reads or waits until something has happened."""
        if self.reading.acquire(False):
            try:
                self.leads += 1
                self.reader_thread = threading.get_ident()
                while exchange.answer is None and not exchange.events:
                    self.read()
                    if deadline is not None and time.monotonic() > deadline:
                        if exchange.answer is None and not exchange.events:
                            raise NoAnswer("no answer in time")
                        return
            finally:
                self.reader_thread = 0
                self.reading.release()
                self.pass_on()
            return
        self.check_thread()
        wake = exchange.wake
        if wake is None:
            wake = threading.Lock()
            wake.acquire()
            exchange.wake = wake
        self._followers[exchange] = None
        try:
            if exchange.answer is not None or exchange.events:
                return
            if not self.reading.locked():
                return
            if deadline is None:
                wake.acquire()
            else:
                left = deadline - time.monotonic()
                if left <= 0 or not wake.acquire(timeout=left):
                    if exchange.answer is None and not exchange.events:
                        raise NoAnswer("no answer in time")
        finally:
            if self._followers.pop(exchange, exchange) is exchange and exchange.answer is not None:
                # Asked to read, it does not need to any more.
                if not self.reading.locked():
                    self.pass_on()

    @property
    def can_wait(self) -> bool:
        """Whether this thread may wait: within its own reading or writing it would do so for ever."""
        ident = threading.get_ident()
        return self.reader_thread != ident and self.outbox.thread != ident

    def check_thread(self) -> None:
        if not self.can_wait:
            raise Error(
                "a call cannot be waited for here: this runs within the connection's own work, as a destructor "
                "or a signal handler does"
            )

    def cancel(self, exchange: Exchange) -> None:
        """Asks the host to end an exchange. Its place is taken until the host says so."""
        exchange.is_cancelled = True
        if exchange.id and self.ended is None and exchange.answer is None:
            data = frame(Kind.CANCEL, exchange.id, b"")
            self.outbox.cancel(exchange.id, data)
            self.outbox.flush()
        if exchange.callback is None:
            # Nobody waits any more: what comes is let go of.
            exchange.callback = _ignore
            self.unattended[exchange] = None
            if not self.reading.locked():
                self.background.wake()

    # ---------------------------------------------------------------------------------------------------- reading

    def release_later(self, number: int, cell: Any) -> None:
        """Gives up a handle of the host's. May be called by a destructor, in any thread."""
        self.outbox.released.append((number, cell))
        if not self.release_told:
            self.release_told = True
            self.transport.wake()
            if self.background.is_deep:
                self.background.wake()

    def read(self) -> None:
        """Reads once and hands on what came. Held by one thread at a time."""
        transport = self.transport
        try:
            data = transport.receive()
            if data:
                self.heard = True
                for message in self._parser.feed(data):
                    self._dispatch(message)
            elif data is not None:
                self.end(self._closed())
            transport.torn = False
        except (Violation, Malformed) as error:
            self.end(ConnectionLost(f"the host broke the protocol: {error}"))
        except OSError as error:
            if is_refused_certificate(error):
                self.end(refused_certificate())
            else:
                self.end(ConnectionLost(f"cannot read: {error}"))
        except BaseException:
            if transport.torn:
                self.end(ConnectionLost("a read was interrupted"))
            raise

    def _closed(self) -> Exception:
        if self.goaway is not None:
            return ConnectionLost(f"the host closed the connection ({self.goaway})")
        return ConnectionLost("the host closed the connection")

    def _dispatch(self, message: Message) -> None:
        kind, flags, id, payload = message
        if kind == Kind.REPLY:
            exchange = self.waiting.pop(id, None)
            if exchange is not None:
                self.finish(exchange, (flags, payload))
            elif not id & 1 or id >= self.outbox.next_id:
                raise Violation("it answered what was not asked")
            return
        if kind == Kind.FAILURE:
            error = error_of(messages.envelope(payload))
            if id == 0:
                self.end(ConnectionLost(f"the host ended it ({error})"))
                return
            exchange = self.waiting.pop(id, None)
            if exchange is not None:
                self.finish(exchange, error)
            elif not id & 1 or id >= self.outbox.next_id:
                raise Violation("it answered what was not asked")
            return
        if kind in (Kind.ACK, Kind.OUTPUT):
            exchange = self.waiting.get(id)
            if exchange is not None:
                if exchange.on_event is not None:
                    exchange.on_event(kind, payload)
                elif exchange.events is not None:
                    exchange.events.append((kind, payload))
                    self._wake(exchange)
            return
        if kind == Kind.PING:
            body = messages.envelope(payload)
            nonce = body.get("nonce")
            if nonce.__class__ is not int:
                raise Violation("a ping without a number")
            if len(self.outbox) > MAX_WAITING_ANSWERS:
                raise Violation("pings without end")
            self.outbox.put(frame(Kind.PONG, 0, messages.beat(nonce)))
            self.outbox.flush()
            return
        if kind == Kind.PONG:
            return
        if kind == Kind.GOAWAY:
            self.goaway = error_of(messages.envelope(payload).get("failure"))
            log.info("the host is going away: %s", self.goaway)
            return
        if kind == Kind.EVENT:
            body = messages.envelope(payload)
            log.info("event %s: %s", body.get("event"), body.get("message"))
            return
        if kind == Kind.CALL and id and not id & 1:
            if self.incoming is None:
                self.refuse(id, "unimplemented", "this client serves nothing")
            else:
                self.incoming.call(self, id, payload)
            return
        if kind == Kind.CANCEL and id and not id & 1:
            if self.incoming is not None:
                self.incoming.cancel(self, id)
            return
        if kind == Kind.LAPSE and id == 0:
            if self.incoming is not None:
                self.incoming.lapse(self, messages.envelope(payload))
            return
        if kind == Kind.RELEASE and id == 0:
            if self.incoming is not None:
                self.incoming.release(self, messages.envelope(payload))
            return
        raise Violation(f"it sent a message of kind {kind}")

    def refuse(self, id: int, code: str, problem: str) -> None:
        """Answers a call that is not served, from the reading thread."""
        if len(self.outbox) > MAX_WAITING_ANSWERS:
            raise Violation("calls without end")
        self.outbox.put(frame(Kind.FAILURE, id, messages.failure(code, problem, fault="peer")))
        self.outbox.flush()

    def finish(self, exchange: Exchange, answer: Answer) -> None:
        """Hands an answer to whoever waits for it."""
        if exchange.answer is not None:
            return
        exchange.answer = answer
        self.slots.give(exchange)
        callback = exchange.callback
        if callback is not None:
            self.unattended.pop(exchange, None)
            callback(answer)
        else:
            self._wake(exchange)

    def sooner(self) -> None:
        """A lease was granted: signs of life are due more often."""
        self.transport.wake()
        self.background.wake()

    def _wake(self, exchange: Exchange) -> None:
        wake = exchange.wake
        if wake is not None:
            self.served_one = True
            try:
                wake.release()
            except RuntimeError:
                pass  # it has been woken and has not looked yet

    def pass_on(self) -> None:
        """Somebody else reads from now on: one who waits, or the thread in the background."""
        followers = self._followers
        while followers:
            try:
                exchange, _ = followers.popitem()
            except KeyError:
                break
            if exchange.answer is None:
                self._wake(exchange)
                return
        if self.background.is_deep or self.unattended:
            self.background.wake()

    # -------------------------------------------------------------------------------------------------------- end

    def why(self) -> Exception:
        """A fresh copy of why it ended: an exception carries the traceback of who raises it."""
        return again(self.ended) if self.ended is not None else ConnectionLost("the connection is over")

    def end(self, why: Exception) -> None:
        """Ends the connection, if it has not ended: all that wait on it hear why."""
        with self._ending:
            if self.ended is not None:
                return
            self.ended = why
        self.transport.shut()
        self.sweep()
        if self.incoming is not None:
            self.incoming.ended(self, why)
        self.background.wake()

    def sweep(self) -> None:
        """All that wait hear why it ended."""
        while self.waiting:
            try:
                _, exchange = self.waiting.popitem()
            except KeyError:
                break
            self.finish(exchange, self.why())
        while (item := self.outbox.pop()) is not None:
            if isinstance(item, Exchange):
                self.finish(item, self.why())

    def close(self) -> None:
        """Ends it in peace, and waits until nothing of it is left."""
        if self.ended is None and self.pid == os.getpid():
            writing = self.outbox.between_frames()
            if writing is not None:
                try:
                    self.transport.farewell()
                finally:
                    writing.release()
            self.end(ConnectionLost("this client closed it"))
        self.background.join(JOIN_S)

    def drop(self) -> None:
        """Nobody wants it any more. May be called by a destructor, in any thread."""
        self.background.is_unwanted = True
        if self.pid == os.getpid():
            self.transport.wake()
            self.background.wake()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, as its holder may not be here."""
        self.ended = ConnectionLost("the connection belongs to the process that this one was forked from")
        self.waiting.clear()
        self._followers.clear()
        self.outbox.abandon()
        self.slots.abandon()
        self.reading = threading.Lock()
        self._ending = threading.RLock()
        self.transport.abandon()


def _ignore(_answer: Answer) -> None:
    pass


def _after_fork() -> None:
    for reference in list(_LIVE.values()):
        link = reference()
        if link is not None:
            link.abandon()


def _at_exit() -> None:
    for reference in list(_LIVE.values()):
        link = reference()
        if link is not None:
            link.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

atexit.register(_at_exit)
