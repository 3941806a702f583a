"""One connection: exchanges under way, what waits to be written, and how it ends.

Whoever begins an exchange writes it, as far as nobody else is writing; and whoever waits for an answer reads, as
long as nobody else is reading, and hands on what is for others. So a call from a program with one thread costs no
change of threads. When nobody waits, a thread in the background reads, so that a program never has to. A link ends
once and for all: it never reconnects, that is the client's part.

What destructors may touch (they run in any thread, within whatever that is doing) is a deque and the transport's
``wake``; neither takes a lock.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from . import _messages as messages
from ._cbor import Malformed
from ._errors import (
    AuthenticationError,
    Cancelled,
    ConnectionLost,
    Error,
    NoAnswer,
    RemoteError,
    Unauthenticated,
    error_of,
)
from ._frame import FRAGMENT_BYTES, HEADER, Kind, Message, Parser, Violation, fragments, frame
from ._transport import Transport, is_refused_certificate, refused_certificate
from ._version import CLIENT

log = logging.getLogger("rpc_host")

_pack = HEADER.pack

#: So much is written in one go; then others have their turn.
SLICE_BYTES = 256 << 10
#: Numbers of exchanges go no further.
MAX_ID = 0xFFFF_FFFF
#: The most exchanges that are ever under way at once, whatever the host allows.
MAX_SLOTS = 1 << 16
#: One in so many is kept for calls that are made while serving, once something is served.
KEPT_OF_SLOTS = 4
#: So long after the last answer a reader is still left to whoever calls next.
TICK_S = 0.005
#: No more often than this, whatever idle timeout the host announces; and no less often.
MIN_BEAT_S, MAX_BEAT_S = 0.05, 15.0
#: After so many beats without a byte from the host, in all of which it was asked for one, it is gone.
MAX_SILENT_BEATS = 3
#: Released objects wait so long to be told together.
RELEASE_DELAY_S = 0.02
#: So many fit into one message.
MAX_RELEASES = 4096
#: Incomplete messages of the host may together take so many times what one may.
BUFFERED_MESSAGES = 4
#: Calls into this client that may be incomplete at once.
MAX_INCOMPLETE_CALLS = 1024
#: Refusals and pongs that may wait to be written.
MAX_WAITING_ANSWERS = 4096

#: kind, flags, payload; or the error that it ended with.
Answer = Any


class Exchange:
    """A message of ours and what answers it."""

    __slots__ = (
        "answer",
        "callback",
        "events",
        "flags",
        "id",
        "is_cancelled",
        "kept",
        "kind",
        "on_event",
        "payload",
        "room",
        "wake",
    )

    def __init__(self, kind: int, payload: bytes) -> None:
        self.kind = kind
        self.payload = payload
        self.id = 0
        self.answer: Answer = None
        #: Held by the thread that waits; let go of to wake it.
        self.wake: Any = None
        #: Told of the answer instead, by the thread that reads.
        self.callback: Callable[[Answer], None] | None = None
        #: Messages before the answer: acks, output.
        self.events: deque[tuple[int, bytes]] | None = None
        self.on_event: Callable[[int, bytes], None] | None = None
        self.is_cancelled = False
        self.kept = False
        self.room = 0


class Ready:
    """A message of any length that is no beginning: an answer to a call of the host's."""

    __slots__ = ("flags", "id", "kind", "payload")

    def __init__(self, kind: int, id: int, payload: bytes, flags: int = 0) -> None:
        self.kind = kind
        self.id = id
        self.payload = payload
        self.flags = flags


_LIVE: dict[int, weakref.ref[Link]] = {}


class Link:
    """One connection to a host, from its welcome to its end."""

    def __init__(self, transport: Transport, token: str | None, max_reply_bytes: int, timeout: float) -> None:
        self._transport = transport
        self._outq: deque[bytes | Exchange] = deque()
        self._bulk: deque[Exchange | Ready] = deque()
        self._sending: Any = None
        self._sending_id = 0
        self._after_bulk: list[bytes] = []
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer_thread = 0
        self._reader_thread = 0
        self._waiting: dict[int, Exchange] = {}
        self._followers: dict[Exchange, None] = {}
        self._next_id = 1
        self.ended: Exception | None = None
        self.goaway: RemoteError | None = None
        self._end_lock = threading.RLock()
        self._leads = 0
        self._served_sync = False
        self._is_deep = False
        self._nap = threading.Lock()
        self._nap.acquire()
        #: Exchanges that nobody's thread waits for.
        self._unattended: dict[Exchange, None] = {}
        self._heard = True
        self._spoke = True
        self._nonce = 0
        self._released: deque[tuple[int, Any]] = deque()
        self._release_told = False
        #: What calls of the host's go to.
        self.incoming: Any = None
        #: Leases shorten the beat.
        self.shortest_lease: float | None = None
        self.max_reply_bytes = max_reply_bytes
        self._parser = Parser(1 << 16, 1 << 16, 1)
        self._early: deque[Message] = deque()
        self.pid = os.getpid()
        welcome = self._greet(token, timeout)
        self.session = str(welcome.get("session", ""))
        self.host = str(welcome.get("host", ""))
        self.tenant = str(welcome.get("tenant", ""))
        self.role = str(welcome.get("role", ""))
        self.max_message_bytes = int(welcome["max-message-bytes"])
        self.max_calls_in_flight = max(1, min(int(welcome["max-calls-in-flight"]), MAX_SLOTS))
        self._beat = min(max(int(welcome["idle-timeout-ms"]) / 3000, MIN_BEAT_S), MAX_BEAT_S)
        self._slots: deque[None] = deque([None] * self.max_calls_in_flight)
        self._kept_slots: deque[None] = deque()
        self._keeps_slots = False
        self._slot_free = threading.Condition()
        self._slot_waiters = 0
        #: The long messages among those under way may together be four times the longest.
        self._room_bytes = BUFFERED_MESSAGES * self.max_message_bytes
        self._parser.allow(
            max_reply_bytes,
            BUFFERED_MESSAGES * max_reply_bytes,
            self.max_calls_in_flight + 1 + MAX_INCOMPLETE_CALLS,
        )
        self._is_unwanted = False
        self._thread = threading.Thread(target=_background, args=(self,), name="rpc-host", daemon=True)
        key = id(self)
        _LIVE[key] = weakref.ref(self, lambda _: _LIVE.pop(key, None) and None)
        self._thread.start()

    # ------------------------------------------------------------------------------------------- hello and welcome

    def _greet(self, token: str | None, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        try:
            self._transport.send(frame(Kind.HELLO, 0, messages.hello(CLIENT, token)))
            while not self._early:
                data = self._transport.receive()
                if data == b"":
                    raise ConnectionLost("the host broke off before it said welcome")
                if data:
                    self._early.extend(self._parser.feed(data))
                if time.monotonic() > deadline:
                    raise ConnectionLost("the host did not say welcome in time")
            kind, _, exchange, payload = self._early.popleft()
            body = messages.envelope(payload)
        except OSError as error:
            if is_refused_certificate(error):
                raise refused_certificate() from error
            if isinstance(error, Error):
                raise
            raise ConnectionLost(f"the host broke off before it said welcome: {error}") from error
        except (Violation, Malformed) as error:
            raise ConnectionLost(f"the host did not say welcome, but: {error}") from None
        if kind == Kind.WELCOME and exchange == 0:
            if body.get("version") not in messages.VERSIONS:
                raise ConnectionLost("the host chose a version of the protocol that this client does not speak")
            for name in ("max-message-bytes", "max-calls-in-flight", "idle-timeout-ms"):
                if not isinstance(body.get(name), int):
                    raise ConnectionLost(f"the host said welcome without `{name}`")
            return body
        if kind == Kind.GOAWAY:
            body = body.get("failure", {})
            kind = Kind.FAILURE
        if kind != Kind.FAILURE:
            raise ConnectionLost(f"the host did not say welcome, but sent a message of kind {kind}")
        refusal = error_of(body)
        if isinstance(refusal, Unauthenticated):
            raise AuthenticationError(refusal.message, fault=refusal.fault, retry_after=refusal.retry_after)
        raise refusal

    # ------------------------------------------------------------------------------------------------------ slots

    def _take_slot(self, exchange: Exchange, while_serving: bool, deadline: float | None) -> None:
        try:
            self._slots.pop()
            return
        except IndexError:
            pass
        if while_serving:
            # All of them may wait for what is served here, so this must not wait for one of them.
            try:
                self._kept_slots.pop()
                exchange.kept = True
                return
            except IndexError:
                raise error_of(
                    {
                        "code": "resource-exhausted",
                        "message": "as many calls are under way as the host allows, and one that is made while "
                        "serving does not wait: what it waits for may wait for it",
                        "fault": "peer",
                        "retryable": True,
                    }
                ) from None
        self._check_thread()
        self._wake_background()
        with self._slot_free:
            self._slot_waiters += 1
            try:
                while True:
                    if self.ended is not None:
                        raise self._why()
                    try:
                        self._slots.pop()
                        return
                    except IndexError:
                        pass
                    left = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
                    if left <= 0:
                        raise NoAnswer("no place for the call among those that are under way, in its time")
                    # Woken by whoever gives one back; a lost word costs a tenth of a second at most.
                    self._slot_free.wait(left)
            finally:
                self._slot_waiters -= 1

    def _give_slot(self, exchange: Exchange) -> None:
        if exchange.kept or (self._keeps_slots and len(self._kept_slots) < self.max_calls_in_flight // KEPT_OF_SLOTS):
            self._kept_slots.append(None)
        else:
            self._slots.append(None)
        if exchange.room:
            with self._slot_free:
                self._room_bytes += exchange.room
                exchange.room = 0
                self._slot_free.notify()
        if self._slot_waiters and self._slot_free.acquire(False):
            try:
                self._slot_free.notify()
            finally:
                self._slot_free.release()

    def keep_slots(self) -> None:
        """Keeps a part of the slots for calls that are made while serving: as they come free."""
        self._keeps_slots = True
        while len(self._kept_slots) < self.max_calls_in_flight // KEPT_OF_SLOTS:
            try:
                self._slots.pop()
            except IndexError:
                return
            self._kept_slots.append(None)

    def _take_room(self, exchange: Exchange, deadline: float | None) -> None:
        size = len(exchange.payload)
        if size > self.max_message_bytes:
            from ._errors import ArgumentError

            raise ArgumentError(f"args: {size} bytes, but the host takes messages of {self.max_message_bytes} at most")
        with self._slot_free:
            self._slot_waiters += 1
            try:
                while self._room_bytes < size:
                    if self.ended is not None:
                        raise self._why()
                    left = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
                    if left <= 0:
                        raise NoAnswer("no room for so long a message, in its time")
                    self._slot_free.wait(left)
                self._room_bytes -= size
                exchange.room = size
            finally:
                self._slot_waiters -= 1

    # -------------------------------------------------------------------------------------------------- exchanges

    def begin(self, exchange: Exchange, *, while_serving: bool = False, deadline: float | None = None) -> None:
        """Begins an exchange as soon as the host allows one more."""
        if self.ended is not None:
            raise self._why()
        if self.goaway is not None:
            raise _again(self.goaway)
        self._take_slot(exchange, while_serving, deadline)
        if len(exchange.payload) > FRAGMENT_BYTES:
            try:
                self._take_room(exchange, deadline)
            except BaseException:
                self._give_slot(exchange)
                raise
        self._outq.append(exchange)
        if exchange.callback is not None:
            self._unattended[exchange] = None
            self._flush()
            if not self._reading.locked():
                self._wake_background()
        else:
            self._flush()

    def send(self, data: bytes) -> None:
        """Sends a frame that begins nothing."""
        if self.ended is None:
            self._outq.append(data)
            self._flush()

    def answer(self, kind: int, id: int, payload: bytes, flags: int = 0) -> None:
        """Answers a call of the host's."""
        if self.ended is not None:
            return
        if len(payload) <= FRAGMENT_BYTES:
            self._outq.append(frame(kind, id, payload, flags))
        elif len(payload) > self.max_message_bytes:
            problem = (
                f"the answer is too long: {len(payload)} bytes, but the host takes messages of "
                f"{self.max_message_bytes} at most"
            )
            self._outq.append(frame(Kind.FAILURE, id, messages.failure("resource-exhausted", problem)))
        else:
            self._bulk.append(Ready(kind, id, payload, flags))
        self._flush()

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
        if self._reading.acquire(False):
            try:
                self._leads += 1
                self._reader_thread = threading.get_ident()
                while exchange.answer is None and not exchange.events:
                    self._read()
                    if deadline is not None and time.monotonic() > deadline:
                        if exchange.answer is None and not exchange.events:
                            raise NoAnswer("no answer in time")
                        return
            finally:
                self._reader_thread = 0
                self._reading.release()
                self._pass_on()
            return
        self._check_thread()
        wake = exchange.wake
        if wake is None:
            wake = threading.Lock()
            wake.acquire()
            exchange.wake = wake
        self._followers[exchange] = None
        try:
            if exchange.answer is not None or exchange.events:
                return
            if not self._reading.locked():
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
                if not self._reading.locked():
                    self._pass_on()

    @property
    def can_wait(self) -> bool:
        """Whether this thread may wait: within its own reading or writing it would do so for ever."""
        ident = threading.get_ident()
        return self._reader_thread != ident and self._writer_thread != ident

    def _check_thread(self) -> None:
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
            if self._sending_id == exchange.id:
                self._after_bulk.append(data)
            else:
                self._outq.append(data)
            self._flush()
        if exchange.callback is None:
            # Nobody waits any more: what comes is let go of.
            exchange.callback = _ignore
            self._unattended[exchange] = None
            if not self._reading.locked():
                self._wake_background()

    # ---------------------------------------------------------------------------------------------------- writing

    def _flush(self) -> None:
        """Writes what waits, unless somebody else is doing so, who then writes this as well."""
        while self._outq or self._bulk or self._sending is not None or self._released:
            if not self._writing.acquire(False):
                return
            is_whole = False
            try:
                self._writer_thread = threading.get_ident()
                self._write()
                is_whole = True
            except OSError as error:
                self.end(ConnectionLost(f"cannot write: {error}"))
                return
            finally:
                self._writer_thread = 0
                self._writing.release()
                if not is_whole and self.ended is None:
                    # Nobody knows how much of a frame has left.
                    self.end(ConnectionLost("a write was interrupted"))
            if self.ended is not None:
                self._sweep()
                return

    def _write(self) -> None:
        outq, transport = self._outq, self._transport
        while self.ended is None:
            if self._released:
                self._write_releases()
            if outq:
                data = self._next_small()
                if data:
                    self._spoke = True
                    transport.send(data)
            elif self._sending is not None or self._bulk:
                data = self._next_slice()
                if data:
                    self._spoke = True
                    transport.send(data)
            else:
                return

    def _next_small(self) -> bytes:
        outq = self._outq
        parts: list[bytes] = []
        size = 0
        while outq and size < SLICE_BYTES:
            item = outq.popleft()
            if item.__class__ is bytes:
                parts.append(item)
                size += len(item)
                continue
            exchange: Exchange = item  # type: ignore[assignment]
            if len(exchange.payload) > FRAGMENT_BYTES:
                self._bulk.append(exchange)
                continue
            if not self._admit(exchange):
                continue
            payload = exchange.payload
            parts.append(_pack(len(payload), exchange.kind, 0, 0, exchange.id) + payload)
            size += len(payload)
            exchange.payload = b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _admit(self, exchange: Exchange) -> bool:
        """Gives it its number, in the order of writing."""
        if exchange.is_cancelled:
            self._finish(exchange, Cancelled("the call was given up before it was made", fault="peer"))
            return False
        number = self._next_id
        if number > MAX_ID:
            self._finish(exchange, ConnectionLost("the connection's numbers are used up; call again"))
            self.end(ConnectionLost("the connection's numbers are used up"))
            return False
        self._next_id = number + 2
        exchange.id = number
        self._waiting[number] = exchange
        if self.ended is not None:
            self._waiting.pop(number, None)
            self._finish(exchange, self._why())
            return False
        return True

    def _next_slice(self) -> bytes:
        """The next part of a long message; one such is under way at a time."""
        if self._sending is None:
            item = self._bulk.popleft()
            flags = 0
            if isinstance(item, Exchange):
                if not self._admit(item):
                    return b""
            else:
                flags = item.flags
            self._sending_id = item.id
            self._sending = fragments(item.kind, item.id, item.payload, flags)
            item.payload = b""
        parts: list[bytes] = []
        size = 0
        for part in self._sending:
            parts.append(part)
            size += len(part)
            if size >= SLICE_BYTES:
                return b"".join(parts)
        self._sending = None
        self._sending_id = 0
        parts.extend(self._after_bulk)
        self._after_bulk.clear()
        return b"".join(parts)

    def _write_releases(self) -> None:
        pairs: list[tuple[int, int]] = []
        while self._released and len(pairs) < MAX_RELEASES:
            number, cell = self._released.popleft()
            count = cell if cell.__class__ is int else cell.taken_back()
            if count > 0:
                pairs.append((number, count))
        if pairs:
            self._outq.append(frame_any(Kind.RELEASE, messages.release(pairs)))

    def release_later(self, number: int, cell: Any) -> None:
        """Gives up a handle of the host's. May be called by a destructor, in any thread."""
        self._released.append((number, cell))
        if not self._release_told:
            self._release_told = True
            self._transport.wake()

    # ---------------------------------------------------------------------------------------------------- reading

    def _read(self) -> None:
        """Reads once and hands on what came. Held by one thread at a time."""
        transport = self._transport
        try:
            data = transport.receive()
            if data:
                self._heard = True
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
            exchange = self._waiting.pop(id, None)
            if exchange is not None:
                self._finish(exchange, (flags, payload))
            elif not id & 1 or id >= self._next_id:
                raise Violation("it answered what was not asked")
            return
        if kind == Kind.FAILURE:
            error = error_of(messages.envelope(payload))
            if id == 0:
                self.end(ConnectionLost(f"the host ended it ({error})"))
                return
            exchange = self._waiting.pop(id, None)
            if exchange is not None:
                self._finish(exchange, error)
            elif not id & 1 or id >= self._next_id:
                raise Violation("it answered what was not asked")
            return
        if kind in (Kind.ACK, Kind.OUTPUT):
            exchange = self._waiting.get(id)
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
            if len(self._outq) > MAX_WAITING_ANSWERS:
                raise Violation("pings without end")
            self._outq.append(frame(Kind.PONG, 0, messages.beat(nonce)))
            self._flush()
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
        if len(self._outq) > MAX_WAITING_ANSWERS:
            raise Violation("calls without end")
        self._outq.append(frame(Kind.FAILURE, id, messages.failure(code, problem, fault="peer")))
        self._flush()

    def _finish(self, exchange: Exchange, answer: Answer) -> None:
        """Hands an answer to whoever waits for it."""
        if exchange.answer is not None:
            return
        exchange.answer = answer
        self._give_slot(exchange)
        callback = exchange.callback
        if callback is not None:
            self._unattended.pop(exchange, None)
            callback(answer)
        else:
            self._wake(exchange)

    def _wake(self, exchange: Exchange) -> None:
        wake = exchange.wake
        if wake is not None:
            self._served_sync = True
            try:
                wake.release()
            except RuntimeError:
                pass  # it has been woken and has not looked yet

    def _pass_on(self) -> None:
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
        if self._is_deep or self._unattended:
            self._wake_background()

    def _wake_background(self) -> None:
        self._is_deep = False
        try:
            self._nap.release()
        except RuntimeError:
            pass

    # ------------------------------------------------------------------------------------------------- background

    def _run(self) -> None:
        """What the background thread does."""
        while self._early:
            self._dispatch(self._early.popleft())
        leads = -1
        next_beat = time.monotonic() + self.pause()
        silence = 0.0
        last = time.monotonic()
        while self.ended is None:
            if self._is_unwanted:
                self.close()
                return
            now = time.monotonic()
            next_beat = min(next_beat, now + self.pause())
            if now >= next_beat:
                # While the whole program was stopped, nobody listened: that is no silence.
                silence = 0.0 if self._heard else silence + min(now - last, 2 * self.pause())
                last = now
                self._keep_alive(silence)
                next_beat = now + self.pause()
            if self._released and not self._writing.locked():
                self._release_told = False
                self._flush()
            if self._leads == leads or self._unattended:
                if self._reading.acquire(False):
                    try:
                        self._served_sync = False
                        self._reader_thread = threading.get_ident()
                        while self.ended is None and not self._served_sync and not self._is_unwanted:
                            # A lease may have been granted: signs of life are due earlier then.
                            next_beat = min(next_beat, time.monotonic() + self.pause())
                            left = next_beat - time.monotonic()
                            if self._released:
                                self._release_told = False
                                self._flush()
                            if left <= 0:
                                break
                            if self._transport.readable(left):
                                self._read()
                            elif self._released:
                                # Several at once cost no more than one.
                                time.sleep(RELEASE_DELAY_S / 4)
                    finally:
                        self._reader_thread = 0
                        self._reading.release()
                        self._pass_on()
                    if self._served_sync:
                        leads = -1
                        self._nap.acquire(timeout=TICK_S)
                    continue
                # One call takes its time.
                self._is_deep = True
                if self._reading.locked():
                    self._nap.acquire(timeout=max(0.0, min(next_beat - time.monotonic(), 1.0)))
                self._is_deep = False
                leads = self._leads if self._reading.locked() else -1
                continue
            leads = self._leads
            self._nap.acquire(timeout=TICK_S)

    def pause(self) -> float:
        """Until the next sign of life is due: three in the idle timeout, four in a lease."""
        lease = self.shortest_lease
        if lease is None:
            return self._beat
        return min(self._beat, max(lease / 4, MIN_BEAT_S))

    def sooner(self) -> None:
        """A lease was granted: signs of life are due more often."""
        self._transport.wake()
        self._wake_background()

    def _keep_alive(self, silence: float) -> None:
        heard, spoke = self._heard, self._spoke
        self._heard = self._spoke = False
        if silence > MAX_SILENT_BEATS * self._beat:
            self.end(ConnectionLost(f"not a sign of life from the host for {silence:.1f} s"))
            return
        if not heard or not spoke:
            self._nonce += 1
            self.send(frame(Kind.PING, 0, messages.beat(self._nonce)))

    # -------------------------------------------------------------------------------------------------------- end

    def _why(self) -> Exception:
        """A fresh copy of why it ended: an exception carries the traceback of who raises it."""
        return _again(self.ended) if self.ended is not None else ConnectionLost("the connection is over")

    def end(self, why: Exception) -> None:
        """Ends the connection, if it has not ended: all that wait on it hear why."""
        with self._end_lock:
            if self.ended is not None:
                return
            self.ended = why
        self._transport.shut()
        self._sweep()
        if self.incoming is not None:
            self.incoming.ended(self, why)
        self._wake_background()

    def _sweep(self) -> None:
        """All that wait hear why it ended."""
        while self._waiting or self._outq or self._bulk:
            try:
                if self._waiting:
                    item: Any = self._waiting.popitem()[1]
                else:
                    item = (self._outq or self._bulk).popleft()
            except (KeyError, IndexError):
                continue
            if isinstance(item, Exchange):
                self._finish(item, self._why())
        self._sending = None

    def close(self, why: Exception | None = None) -> None:
        """Ends it in peace, and waits until nothing of it is left."""
        if self.ended is None and self.pid == os.getpid():
            if self._writing.acquire(False):
                try:
                    farewell = getattr(self._transport, "farewell", None)
                    if farewell is not None and self._sending is None:
                        farewell()
                finally:
                    self._writing.release()
            self.end(why or ConnectionLost("this client closed it"))
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(1.0)

    def drop(self) -> None:
        """Nobody wants it any more. May be called by a destructor, in any thread."""
        self._is_unwanted = True
        if self.pid == os.getpid():
            self._transport.wake()
            self._wake_background()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's. Takes no lock, as its holder may not be here."""
        self.ended = ConnectionLost("the connection belongs to the process that this one was forked from")
        self._outq.clear()
        self._bulk.clear()
        self._waiting.clear()
        self._followers.clear()
        self._released.clear()
        self._sending = None
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._end_lock = threading.RLock()
        self._slot_free = threading.Condition()
        self._transport.abandon()


def frame_any(kind: int, payload: bytes) -> bytes:
    """The frames of a message on id 0."""
    return b"".join(fragments(kind, 0, payload))


def _ignore(_answer: Answer) -> None:
    pass


def _again(error: Exception) -> Exception:
    """The same error, without the traceback of whoever had it first."""
    import copy

    fresh = copy.copy(error)
    fresh.__traceback__ = None
    fresh.__cause__ = error.__cause__
    return fresh


def _background(link: Link) -> None:
    try:
        link._run()
    except BaseException as error:
        link.end(ConnectionLost(f"the reader failed: {error!r}"))
        log.exception("the reader failed")
    finally:
        # When nobody reads or writes any more, what the system holds for it is let go of.
        with link._reading:
            with link._writing:
                link._transport.close()


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

import atexit  # noqa: E402

atexit.register(_at_exit)
