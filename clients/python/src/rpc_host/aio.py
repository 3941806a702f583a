"""The same client for :mod:`asyncio`.

>>> from rpc_host import aio
>>> async with aio.connect() as conn:
...     await conn.upload_module("calc.wasm", name="calc")
...     await conn.modules.calc.add(2, 3)
5

Names are looked up when they are called, so nothing has to be awaited on the way: ``conn.modules.calc.add`` is there at
once, and says what is wrong when it is called. A connection belongs to the loop that it was made in.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Mapping, Sequence
from typing import Any

from . import _messages as messages
from ._cbor import Malformed
from ._client import (
    CONNECT_TIMEOUT_S,
    FIRST_BACK_OFF_S,
    LEASE_S,
    MAX_BACK_OFF_S,
    OPERATION_TIMEOUT_S,
    WINDOW,
    _fresh,
    _settings,
    digest_of,
    entry_of,
    is_module,
    profile_of,
    registration_fields,
    swap_fields,
    wasm_of,
)
from ._description import Ambiguous, Description, ResourceType, Space
from ._errors import (
    ArgumentError,
    AuthenticationError,
    Cancelled,
    ConnectError,
    ConnectionLost,
    Error,
    NoAnswer,
    NotFound,
    RemoteError,
    Unauthenticated,
    error_of,
)
from ._frame import FRAGMENT_BYTES, Kind, Message, Parser, Violation, fragments, frame
from ._link import (
    BUFFERED_MESSAGES,
    KEPT_OF_SLOTS,
    MAX_BEAT_S,
    MAX_ID,
    MAX_INCOMPLETE_CALLS,
    MAX_RELEASES,
    MAX_SILENT_BEATS,
    MAX_SLOTS,
    MIN_BEAT_S,
    SLICE_BYTES,
    Answer,
    Exchange,
    _again,
    frame_any,
    log,
)
from ._modules import (
    DEFAULT,
    Function,
    Method,
    ModuleState,
    Options,
    OutputLine,
    OutputSink,
    ResourceMeta,
    Stale,
    class_of,
    output_of,
    session_discards,
    session_of,
)
from ._names import identifier, kebab, pascal
from ._profile import Profile
from ._session import (
    MAX_WINDOW,
    SERVED,
    CallContext,
    ObjectBase,
    Pool,
    ServedCall,
    Session,
    Term,
    _failure,
)
from ._transport import ALPN, context_of, is_refused_certificate, refused_certificate
from ._types import Function as Definition
from ._version import CLIENT

__all__ = ["Connection", "Lease", "Modules", "Object", "connect", "connect_stdio", "release"]


# ------------------------------------------------------------------------------------------------------- one link


class _Link:
    """One connection to a host, from its first byte to its end. All of it happens in one loop, but for what
    destructors do: they touch a deque and wake the loop."""

    def __init__(self, token: str | None, max_reply_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._token = token
        self.max_reply_bytes = max_reply_bytes
        self._parser = Parser(1 << 16, 1 << 16, 1)
        self._welcome: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._is_welcome = False
        self._waiting: dict[int, Exchange] = {}
        self._next_id = 1
        self.ended: Exception | None = None
        self.over = asyncio.Event()
        self.goaway: RemoteError | None = None
        self._slots = 1
        self._kept = 0
        self._slot_waiters: deque[asyncio.Future[None]] = deque()
        self._room = 0
        self._long = asyncio.Lock()
        self._can_write = asyncio.Event()
        self._can_write.set()
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
        self._transport: Any = None

    # What kind of stream it is: bytes out, and an end.

    def write(self, data: bytes) -> None:
        if self.pid == os.getpid() and self._transport is not None:
            self._spoke = True
            self._transport.write(data)

    def hang_up(self) -> None:
        if self._transport is not None and self.pid == os.getpid():
            self._transport.close()

    # ------------------------------------------------------------------------------------------------- welcome

    async def greet(self, timeout: float) -> None:
        """The first two messages."""
        self.write(frame(Kind.HELLO, 0, messages.hello(CLIENT, self._token)))
        try:
            welcome = await asyncio.wait_for(self._welcome, timeout)
        except asyncio.TimeoutError:
            raise ConnectionLost("the host did not say welcome in time") from None
        if welcome.get("version") not in messages.VERSIONS:
            raise ConnectionLost("the host chose a version of the protocol that this client does not speak")
        self.session, self.host = str(welcome.get("session", "")), str(welcome.get("host", ""))
        self.tenant, self.role = str(welcome.get("tenant", "")), str(welcome.get("role", ""))
        self._tasks.add(self._loop.create_task(self._keep_alive()))

    def _greeted(self, message: Message) -> None:
        kind, _, _, payload = message
        body = messages.envelope(payload)
        if kind == Kind.GOAWAY:
            kind, body = Kind.FAILURE, body.get("failure", {})
        if kind == Kind.FAILURE:
            error: Exception = error_of(body)
            if isinstance(error, Unauthenticated):
                error = AuthenticationError(error.message, fault=error.fault, retry_after=error.retry_after)
            self.end(error)
            return
        numbers = [body.get(name) for name in ("max-message-bytes", "max-calls-in-flight", "idle-timeout-ms")]
        if kind != Kind.WELCOME or not all(isinstance(number, int) for number in numbers):
            self.end(ConnectionLost("the host did not say welcome"))
            return
        self.max_message_bytes = body["max-message-bytes"]
        self._slots = max(1, min(body["max-calls-in-flight"], MAX_SLOTS))
        self._all_slots = self._slots
        self._room = BUFFERED_MESSAGES * self.max_message_bytes
        self._beat = min(max(body["idle-timeout-ms"] / 3000, MIN_BEAT_S), MAX_BEAT_S)
        self._parser.allow(
            self.max_reply_bytes,
            BUFFERED_MESSAGES * self.max_reply_bytes,
            self._slots + 1 + MAX_INCOMPLETE_CALLS,
        )
        self._is_welcome = True
        if not self._welcome.done():
            self._welcome.set_result(body)

    # ------------------------------------------------------------------------------------------------ exchanges

    async def begin(self, exchange: Exchange, while_serving: bool = False) -> None:
        """Begins an exchange as soon as the host allows one more."""
        if self.ended is not None:
            raise _again(self.ended)
        if self.goaway is not None:
            raise _again(self.goaway)
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
                    await self._can_write.wait()
                    if self.ended is not None:
                        return
            self.write(b"".join(parts))
            if isinstance(what, Exchange) and what.is_cancelled:
                self.write(frame(Kind.CANCEL, id, b""))

    def _admit(self, exchange: Exchange) -> bool:
        if self.ended is not None or exchange.is_cancelled:
            why = self.ended or Cancelled("the call was given up before it was made", fault="peer")
            self._finish(exchange, _again(why))
            return False
        if self._next_id > MAX_ID:
            why = ConnectionLost("the connection's numbers are used up; call again")
            self._finish(exchange, why)
            self.end(why)
            return False
        exchange.id = self._next_id
        self._next_id += 2
        self._waiting[exchange.id] = exchange
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
                raise _again(self.ended)
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
            exchange = self._waiting.pop(id, None)
            if exchange is not None:
                self._finish(exchange, answer)
            elif not id & 1 or id >= self._next_id:
                raise Violation("it answered what was not asked")
        elif kind in (Kind.ACK, Kind.OUTPUT):
            exchange = self._waiting.get(id)
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
            lease = self.shortest_lease
            pause = self._beat if lease is None else min(self._beat, max(lease / 4, MIN_BEAT_S))
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
                self.end(ConnectionLost(f"not a sign of life from the host for {silence:.1f} s"))
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
        waiting, self._waiting = self._waiting, {}
        for exchange in waiting.values():
            self._finish(exchange, _again(why))
        for waiter in self._slot_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._slot_waiters.clear()
        self._can_write.set()
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
            if self._transport is not None:
                self._transport.abort()


class _TlsProtocol(asyncio.Protocol):
    """A link over TLS."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link._transport = transport

    def data_received(self, data: bytes) -> None:
        self._link.data_received(data)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._link.lost(error)

    def pause_writing(self) -> None:
        self._link._can_write.clear()

    def resume_writing(self) -> None:
        self._link._can_write.set()


async def _dial(link: _Link, profile: Profile, context: ssl.SSLContext, timeout: float) -> None:
    host, port = profile.host_and_port
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await asyncio.wait_for(
            loop.create_connection(
                lambda: _TlsProtocol(link), host, port, ssl=context, server_hostname=profile.expected_name
            ),
            timeout,
        )
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(f"no secure connection to {profile.address}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ConnectError(f"no secure connection to {profile.address}: {error}") from error
    except (OSError, asyncio.TimeoutError) as error:
        raise ConnectError(f"cannot connect to {profile.address}: {error or 'it took too long'}") from error
    secure = transport.get_extra_info("ssl_object")
    if secure is None or secure.selected_alpn_protocol() != ALPN:
        transport.abort()
        raise ConnectError(
            f"no secure connection to {profile.address}: the server is no rpc-host, or of another version"
        )


class _Streams:
    """A pair of streams in the place of a transport. They are borrowed, unless they are said to be owned."""

    def __init__(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, owned: bool) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._owned = owned
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        error: BaseException | None = None
        try:
            while True:
                data = await self._reader.read(SLICE_BYTES)
                if not data:
                    break
                self._link.data_received(data)
                if self._link.ended is not None:
                    break
        except (OSError, asyncio.CancelledError) as caught:
            error = caught if isinstance(caught, OSError) else None
        finally:
            self._link.lost(error)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        if self._owned:
            self._writer.close()
        if self._task is not asyncio.current_task():
            self._task.cancel()

    abort = close


# ------------------------------------------------------------------------------------------------------- sessions


class _Session(Session):
    """Serves calls in tasks. Functions that are not coroutines are called in the pool's threads."""

    def __init__(self, link: _Link, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(link, pool, class_of)  # type: ignore[arg-type]
        self._loop = loop
        self._serving: dict[int, asyncio.Task[None]] = {}

    def call(self, link: Any, id: int, payload: bytes) -> None:
        if id in self._calls:
            raise Violation(f"it used {id} for two calls at once")
        if len(self._calls) > MAX_WINDOW:
            link.refuse(id, "resource-exhausted", "more calls are under way here than this client takes at once")
            return
        served = ServedCall(link, id, time.monotonic(), self.open_epoch())
        self._calls[id] = served
        task = self._loop.create_task(self._serve_here(served, payload))
        self._serving[id] = task
        task.add_done_callback(lambda _task: self._serving.pop(id, None))

    def cancel(self, link: Any, id: int) -> None:
        super().cancel(link, id)
        task = self._serving.get(id)
        if task is not None:
            task.cancel()

    def ended(self, link: Any, why: Exception) -> None:
        super().ended(link, why)
        for task in list(self._serving.values()):
            task.cancel()

    async def _serve_here(self, served: ServedCall, payload: bytes) -> None:
        SERVED.set(served)
        context: CallContext | None = None
        try:
            header, positional = self._opened(served, payload)
            if header.get("lease") is not None:
                term = self._term_of(served.module, header["lease"])
                if isinstance(term, _Term) and not term.answered.is_set():
                    await asyncio.wait_for(term.settled.wait(), served.time_left)
            target, server, data, context = self._found(served, header, positional)
            arguments = self._arguments(server, data, context)
            if _is_coroutine(target):
                value = await target(*arguments)
            else:
                value = await self._in_pool(target, arguments)
                if inspect.isawaitable(value):
                    value = await value
            answer = self._answer(value, server, context)
        except asyncio.CancelledError:
            answer = (Kind.FAILURE, messages.failure("cancelled", "the call was cancelled"), 0)
        except BaseException as error:
            answer = self._failed(served, error, context)
        self._closed(served, context, answer)

    def _in_pool(self, target: Callable[..., Any], arguments: list[Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        context = contextvars.copy_context()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def run() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(target, *arguments)
            except StopIteration as caught:
                error = RuntimeError(f"StopIteration: {caught}")
            except BaseException as caught:
                error = (
                    _failure("unknown", f"the program wanted to end: {type(caught).__name__}")
                    if isinstance(caught, (SystemExit, KeyboardInterrupt))
                    else caught
                )
            try:
                self._loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                pass  # the loop is over

        self.pool.submit(run)
        return future


def _is_coroutine(target: Any) -> bool:
    call = getattr(type(target), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call)


class _Term(Term):
    def __init__(self, name: str, target: Any, window: int) -> None:
        super().__init__(name, target, window)
        self.settled = asyncio.Event()
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def grant(self, body: dict[str, Any]) -> None:
        super().grant(body)
        self.settled.set()

    def lose(self, why: Exception) -> None:
        """May be told by a thread of the pool."""
        super().lose(why)
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            pass

    def _tell(self) -> None:
        self.settled.set()
        self.over.set()


# ------------------------------------------------------------------------------------------------------ functions


class AsyncFunction(Function):
    """A function of a registration: ``await`` what a call gives."""

    def with_options(
        self,
        *,
        timeout: float | None = None,
        allow: Sequence[str] | None = None,
        output: bool | OutputSink | None = None,
    ) -> AsyncFunction:
        """See :meth:`rpc_host.Function.with_options`."""
        return AsyncFunction(self._state, self._definition, self._options.but(timeout, allow, output), self._skip)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._await(None, args, kwargs)

    async def _await(self, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        connection: Any = self._connection
        session: Any = await connection._session_now() if own is None else session_of(own)
        link = session.link
        if self._version != self._state.version:
            await connection._described(self._state)
            self._rebind()
        try:
            exchange, context, deadline, while_serving = self._prepared(session, own, args, kwargs)
        except ArgumentError:
            if not await self._is_renewed():
                raise
            exchange, context, deadline, while_serving = self._prepared(session, own, args, kwargs)
        sink = self._options.output
        if sink is not None:
            exchange.on_event = _lines_to(sink)
        try:
            answer = await link.ask(exchange, deadline, while_serving)
        except BaseException as error:
            if context is not None:
                context.done()
            if isinstance(error, NoAnswer):
                raise NoAnswer(f"no answer to {self._definition.name} in {self._timeout()} s and the grace") from None
            raise
        try:
            return self._outcome(session, context, answer, may_ask=False)
        except Stale:
            await self._is_renewed()
            try:
                return self._outcome(session, None, answer, may_ask=False)
            except Stale:
                return self._caller.result(messages.answer_of(answer[1]), bool(answer[0] & 2), None)

    async def _is_renewed(self) -> bool:
        before = self._definition
        try:
            await self._connection._renewed(self._state)  # type: ignore[attr-defined]
        except (RemoteError, NoAnswer):
            return False
        self._rebind()
        return self._definition != before

    def _invoke(self, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._await(own, args, kwargs)


def _lines_to(sink: OutputSink) -> Callable[[int, bytes], None]:
    def take(kind: int, payload: bytes) -> None:
        line = output_of(payload) if kind == Kind.OUTPUT else None
        if line is not None:
            try:
                sink(line)
            except Exception:
                log.exception("what was given the lines of a guest failed")

    return take


class Object(ObjectBase, metaclass=ResourceMeta):
    """An object that lives on the host. Its methods are awaited; it is let go of when nobody holds it here any more,
    by ``await close()``, or at the end of an ``async with``."""

    __slots__ = ()

    async def close(self) -> None:
        """Lets go of it, and waits until its destructor has run on the host."""
        await release(self)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await release(self)


async def release(value: ObjectBase) -> None:
    """Lets go of an object of the host's, and waits until its destructor has run. Twice is once."""
    cell = value._rpc
    pairs = cell.session.close_cell(cell)
    link: Any = cell.session.link
    if not pairs or link.ended is not None:
        return
    served = SERVED.get()
    answer = await link.ask(
        Exchange(Kind.RELEASE, messages.release(pairs)), None, served is not None and served.link is link
    )
    if answer.__class__ is not tuple and not isinstance(answer, NotFound):
        raise answer


def _make_resource_class(state: ModuleState, resource: ResourceType) -> type:
    members: dict[str, Any] = {
        "__slots__": (),
        "__module__": "rpc_host.aio",
        "__qualname__": f"{state.name}.{resource.class_name}",
        "__doc__": f"resource {resource.name}\n\n{resource.docs}".rstrip(),
        "_rpc_state": state,
        "_rpc_resource": resource,
        "_rpc_constructor": None,
    }
    if resource.constructor is not None:
        members["_rpc_constructor"] = AsyncFunction(state, resource.constructor)
    for name, function in resource.methods.items():
        members[name] = Method(AsyncFunction(state, function, skip=1))
    for name, function in resource.statics.items():
        members[name] = AsyncFunction(state, function)
    return ResourceMeta(resource.class_name, (Object,), members)


class _Path:
    """A name that is looked up when it is called."""

    def __init__(self, state: ModuleState, names: tuple[str, ...], options: Options = DEFAULT) -> None:
        self._rpc = state
        self._rpc_names = names
        self._rpc_options = options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self[name]

    def __getitem__(self, name: str) -> Any:
        found = self._rpc_now((*self._rpc_names, name))
        return found if found is not None else _Path(self._rpc, (*self._rpc_names, name))

    def _rpc_now(self, names: tuple[str, ...]) -> Any:
        """What the names stand for, if the registration is known."""
        description = self._rpc.known
        return None if description is None else _found(self._rpc, description, names)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        allow: Sequence[str] | None = None,
        output: bool | OutputSink | None = None,
    ) -> _Path:
        """See :meth:`rpc_host.Function.with_options`."""
        return _Path(self._rpc, self._rpc_names, self._rpc_options.but(timeout, allow, output))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._rpc_call(args, kwargs)

    async def _rpc_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = await self._rpc_found()
        if self._rpc_options is not DEFAULT and isinstance(found, AsyncFunction):
            found = AsyncFunction(found._state, found._definition, self._rpc_options, found._skip)
        if not callable(found):
            raise TypeError(f"{self!r} is no function")
        return await found(*args, **kwargs)

    async def _rpc_found(self) -> Any:
        description = await self._rpc.connection._described(self._rpc)
        return _found(self._rpc, description, self._rpc_names)

    def __dir__(self) -> Collection[str]:
        description = self._rpc.known
        if description is None:
            return []
        place: Any = description
        for name in self._rpc_names:
            place = _member(place, name)
        if isinstance(place, Description):
            return sorted(name for name, member in place.members.items() if not isinstance(member, Ambiguous))
        return sorted(place.names) if isinstance(place, Space) else []

    def __repr__(self) -> str:
        return f"<{'.'.join((self._rpc.name, *self._rpc_names))}>"


def _member(place: Any, name: str) -> Any:
    if isinstance(place, Description):
        return place.named(name)
    if isinstance(place, Space):
        return place.member(name) or place.member(identifier(name)) or place.member(pascal(name))
    return None


def _found(state: ModuleState, description: Description, names: tuple[str, ...]) -> Any:
    place: Any = description
    for at, name in enumerate(names):
        if isinstance(place, ResourceType):
            cls = state.resource_class(place.interface, place.name)
            return getattr(cls, name)
        inner = _member(place, name)
        if inner is None:
            what = f"module {'.'.join((state.name, *names[:at]))}"
            raise AttributeError(description.missing(what, name) if at == 0 else f"{what} has no {name!r}")
        if isinstance(inner, Ambiguous):
            raise AttributeError(f"{name!r} could be {' or '.join(inner.paths)}; say which")
        place = inner
    if isinstance(place, Definition):
        return AsyncFunction(state, place)
    if isinstance(place, ResourceType):
        return state.resource_class(place.interface, place.name)
    return _Path(state, names)


class Modules:
    """The registrations: ``conn.modules.calc``, or ``conn.modules["acme:log/logger"]``. What is not there says so when
    it is called. To serve a name, ``await conn.provide(name, object)``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: str) -> Any:
        return _Path(self._connection._state(name), ())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'Modules' object has no attribute {name!r}")
        return self[kebab(name)]

    def __setitem__(self, name: str, target: Any) -> None:
        raise TypeError(f"say `await conn.provide({name!r}, …)`, and `await lease.withdraw()` to end it")

    async def names(self) -> list[str]:
        """The names that are registered or served."""
        names = {entry.current.name for entry in await self._connection.list()}
        names.update(entry.name for entry in await self._connection.providers())
        return sorted(names)

    def __repr__(self) -> str:
        return f"<modules of {self._connection!r}>"


class Lease:
    """A name that this program serves, until it is withdrawn, lost, or the connection is over."""

    def __init__(self, connection: Connection, session: Session, term: _Term) -> None:
        self._connection = connection
        self._session = session
        self._term = term
        self.name = term.name
        self.number = term.lease
        self.duration = term.lease_s
        self.window = term.window
        self.functions = term.functions

    @property
    def lost(self) -> Exception | None:
        """Why it is over, if it is."""
        return self._term.loss

    @property
    def is_lost(self) -> bool:
        """Whether it is over."""
        return self._term.loss is not None

    async def wait_lost(self) -> Exception:
        """Waits until it is over, and tells why."""
        await self._term.over.wait()
        assert self._term.loss is not None
        return self._term.loss

    async def withdraw(self) -> None:
        """Withdraws it. When this returns, the host calls no more. One that is lost needs no more."""
        self._connection._served.pop(self.name, None)
        if self.is_lost:
            return
        link: Any = self._session.link
        answer: Answer = None
        try:
            answer = await link.ask(Exchange(Kind.WITHDRAW, messages.withdraw(self.name, self.number)))
        except ConnectionLost:
            pass
        self._session.forget_term(self._term)
        self._term.lose(ConnectionLost("it was withdrawn"))
        self._connection._state(self.name).forget()
        if isinstance(answer, Exception) and not isinstance(answer, (NotFound, ConnectionLost)):
            raise answer

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.withdraw()

    def __repr__(self) -> str:
        return f"<lease {self.number} on {self.name}{' (lost)' if self.is_lost else ''}>"


# ----------------------------------------------------------------------------------------------------- the client


class _Operations:
    def __init__(self, operate: Callable[..., Awaitable[Any]]) -> None:
        self._operate = operate


class Tenants(_Operations):
    """Tenants, for operators."""

    async def create(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Makes a tenant."""
        return await self._operate("tenant-create", **_settings(name, allow, limits, weight))

    async def set(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Sets something for a tenant; the rest stays as it is."""
        return await self._operate("tenant-set", **_settings(name, allow, limits, weight))

    async def list(self) -> Any:
        """All tenants."""
        return await self._operate("tenant-list")

    async def show(self, name: str) -> Any:
        """One tenant."""
        return await self._operate("tenant-show", name=name)

    async def remove(self, name: str) -> Any:
        """Removes a tenant with all that it has."""
        return await self._operate("tenant-remove", name=name)


class Tokens(_Operations):
    """Tokens, for admins."""

    async def create(self, role: str, *, tenant: str | None = None, expires_in: float | None = None) -> Any:
        """Makes a token; its secret, ``token``, is shown this once. ``expires_in`` is in seconds."""
        seconds = None if expires_in is None else max(1, int(expires_in))
        return await self._operate("token-create", tenant=tenant, role=role, **{"expires-in-s": seconds})

    async def list(self, tenant: str | None = None) -> Any:
        """The tokens of a tenant."""
        return await self._operate("token-list", tenant=tenant)

    async def revoke(self, id: str) -> Any:
        """Makes a token worthless at once."""
        return await self._operate("token-revoke", id=id)


class Connection:
    """A host, and all that one does with it. See :class:`rpc_host.Connection`, whose methods it has as coroutines."""

    def __init__(
        self,
        dial: Callable[[_Link], Awaitable[None]],
        address: str,
        *,
        token: str | None,
        timeout: float,
        call_timeout: float | None,
        module: str | None,
        max_reply_bytes: int | None,
        serve_threads: int,
        process: asyncio.subprocess.Process | None = None,
    ) -> None:
        self._dial = dial
        self.address = address
        self._token = token
        self._timeout = timeout
        self.call_timeout = call_timeout
        self._root_name = module
        self._max_reply_bytes = max_reply_bytes or (64 << 20)
        self.process = process
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.Lock()
        self._current: _Session | None = None
        self._failed: tuple[Exception, float, float] | None = None
        self._is_closed = False
        self._pool = Pool(serve_threads)
        self._states: dict[str, ModuleState] = {}
        self._describing: dict[str, asyncio.Future[Description]] = {}
        self._served: dict[str, Lease] = {}
        self.modules = Modules(self)
        self.tenants = Tenants(self.operate)
        self.tokens = Tokens(self.operate)

    @classmethod
    async def from_streams(
        cls,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        token: str | None = None,
        timeout: float = CONNECT_TIMEOUT_S,
        call_timeout: float | None = None,
        module: str | None = None,
        max_reply_bytes: int | None = None,
        serve_threads: int = 64,
    ) -> Connection:
        """Speaks to a host over two streams, which are borrowed: closing the connection leaves them open."""
        return await _over_streams(
            reader,
            writer,
            None,
            "streams",
            token=token,
            timeout=timeout,
            call_timeout=call_timeout,
            module=module,
            max_reply_bytes=max_reply_bytes,
            serve_threads=serve_threads,
        )

    async def _session_now(self) -> _Session:
        session = self._current
        if session is not None and session.link.ended is None:
            return session
        return await self._connect()

    async def _connect(self) -> _Session:
        async with self._connecting:
            session = self._current
            if session is not None and session.link.ended is None:
                return session
            if self._is_closed:
                raise ConnectionLost("this client closed it")
            if self._failed is not None and time.monotonic() < self._failed[1]:
                raise _fresh(self._failed[0])
            link = _Link(self._token, self._max_reply_bytes, self._loop)
            try:
                await self._dial(link)
                await link.greet(self._timeout)
            except BaseException as error:
                link.end(ConnectionLost("it did not come to be"))
                if isinstance(error, Error):
                    pause = FIRST_BACK_OFF_S if self._failed is None else min(self._failed[2] * 2, MAX_BACK_OFF_S)
                    self._failed = (error, time.monotonic() + pause, pause)
                raise
            self._failed = None
            session = _Session(link, self._pool, self._loop)
            link.incoming = session
            for state in self._states.values():
                state.forget()
            self._served.clear()
            self._current = session
            return session

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    async def close(self) -> None:
        """Ends it. Calls under way fail, objects are let go of, names are served no more."""
        self._is_closed = True
        if self._current is not None:
            link: Any = self._current.link
            await link.close()
        self._pool.close()
        if self.process is not None:
            try:
                await asyncio.wait_for(self.process.wait(), 3.0)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<rpc_host.aio connection to {self.address}{' (closed)' if self._is_closed else ''}>"

    def _of_link(self, name: str) -> str:
        return str(getattr(self._current.link, name)) if self._current is not None else ""

    @property
    def session(self) -> str:
        """The name of the session in the host's log."""
        return self._of_link("session")

    @property
    def tenant(self) -> str:
        """The tenant that the token or certificate belongs to."""
        return self._of_link("tenant")

    @property
    def role(self) -> str:
        """``reader``, ``caller``, ``deployer`` or ``admin``."""
        return self._of_link("role")

    @property
    def host(self) -> str:
        """The host's name and version."""
        return self._of_link("host")

    @property
    def held_objects(self) -> int:
        """How many objects of the host's this program holds."""
        return 0 if self._current is None else self._current.held

    # -------------------------------------------------------------------------------------------------- operations

    async def _ask(self, exchange: Exchange) -> Any:
        session = await self._session_now()
        link: Any = session.link
        served = SERVED.get()
        answer = await link.ask(
            exchange, time.monotonic() + OPERATION_TIMEOUT_S, served is not None and served.link is link
        )
        if answer.__class__ is not tuple:
            raise answer
        return messages.answer_of(answer[1])

    async def _operate(self, operation: str, fields: Mapping[str, Any]) -> Any:
        return await self._ask(Exchange(Kind.REQUEST, messages.request(operation, fields)))

    async def operate(self, operation: str, **fields: Any) -> Any:
        """One operation by its name on the wire, and its answer. Fields that are ``None`` are left out."""
        return entry_of(await self._operate(operation, fields))

    async def _changing(self, name: str, operation: str, fields: Mapping[str, Any]) -> Any:
        try:
            return entry_of(await self._operate(operation, fields))
        finally:
            if name in self._states:
                self._states[name].forget()

    async def register(
        self,
        name: str,
        digest: str,
        *,
        grants: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        bindings: Mapping[str, str] | None = None,
        sealed: bool = False,
        instancing: str | None = None,
        if_revision: int | None = None,
        force: bool = False,
    ) -> Any:
        """Points a name at a module of the tenant, in a new revision."""
        fields = registration_fields(name, digest, grants, limits, bindings, sealed, if_revision, force, instancing)
        return await self._changing(name, "register", fields)

    async def promote(
        self,
        name: str,
        digest: str,
        *,
        grants: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        bindings: Mapping[str, str] | None = None,
        sealed: bool = False,
        instancing: str | None = None,
        if_revision: int | None = None,
        force: bool = False,
    ) -> Any:
        """Points a name that a client serves to the tenant at a module; no call fails."""
        fields = registration_fields(name, digest, grants, limits, bindings, sealed, if_revision, force, instancing)
        return await self._changing(name, "promote", fields)

    async def swap(self, name: str, to: Any, *, if_revision: int | None = None, force: bool = False) -> Any:
        """Points a registration at another module, or at an earlier revision."""
        if is_module(to):
            to = (await self.upload_module(to)).digest
        return await self._changing(name, "swap", swap_fields(name, to, if_revision, force))

    async def rollback(self, name: str, *, if_revision: int | None = None, force: bool = False) -> Any:
        """Points a registration at what it was before its present revision."""
        fields = {"name": name, "if-revision": if_revision, "force": True if force else None}
        return await self._changing(name, "rollback", fields)

    async def remove(self, name: str) -> None:
        """Takes a registration away."""
        await self._changing(name, "remove", {"name": name})

    async def list(self) -> Any:
        """All registrations, by name."""
        return await self.operate("list")

    async def show(self, name: str) -> Any:
        """One registration."""
        return await self.operate("show", name=name)

    async def history(self, name: str) -> Any:
        """The revisions of a registration, newest first."""
        return await self.operate("history", name=name)

    async def inspect(self, name: str) -> Any:
        """What the module behind a registration exports and imports."""
        return await self.operate("inspect", name=name)

    async def describe(self, name: str, function: str | None = None) -> Any:
        """The functions and resources of a registration as data."""
        return await self._operate("describe", {"name": name, "function": function})

    async def limits(self, name: str | None = None) -> Any:
        """All limits that are in force for the tenant, or for one of its registrations."""
        return await self.operate("limits", name=name)

    async def uploads(self) -> Any:
        """All modules of the tenant, oldest first."""
        return await self.operate("modules")

    async def remove_upload(self, digest: str) -> None:
        """Deletes a module that no registration points at."""
        await self.operate("remove-module", digest=digest)

    async def providers(self) -> Any:
        """The names that clients serve."""
        return await self.operate("providers")

    async def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[OutputLine]:
        """The lines that a registration's guests printed and that are kept; with ``follow``, what comes as well."""
        fields = {"name": name, "tail": tail, "follow": True if follow else None}
        exchange = Exchange(Kind.REQUEST, messages.request("logs", fields))
        lines: asyncio.Queue[OutputLine | Answer] = asyncio.Queue()
        exchange.on_event = _lines_to(lines.put_nowait)
        exchange.callback = lines.put_nowait
        link: Any = (await self._session_now()).link
        await link.begin(exchange)
        try:
            while True:
                item = await lines.get()
                if isinstance(item, OutputLine):
                    yield item
                elif isinstance(item, Exception):
                    raise item
                else:
                    return
        finally:
            if exchange.answer is None:
                link.cancel(exchange)

    # ----------------------------------------------------------------------------------------------------- uploads

    async def upload_module(
        self,
        module: Any,
        *,
        name: str | None = None,
        grants: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
        bindings: Mapping[str, str] | None = None,
        instancing: str | None = None,
        sealed: bool = False,
        if_revision: int | None = None,
        force: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Uploads a module: the path of a component, or its bytes. With ``name``, it is registered as well."""
        wasm = await self._loop.run_in_executor(None, wasm_of, module)
        digest = digest_of(wasm)
        entry = entry_of(await self._upload(wasm, digest, progress))
        if entry.digest != digest:
            raise Error("the host answered about another module")
        if name is not None:
            entry["registration"] = await self.register(
                name,
                digest,
                grants=grants,
                limits=limits,
                bindings=bindings,
                sealed=sealed,
                instancing=instancing,
                if_revision=if_revision,
                force=force,
            )
        return entry

    async def _upload(self, wasm: bytes, digest: str, progress: Callable[[int, int], None] | None) -> Any:
        exchange = Exchange(Kind.UPLOAD, messages.upload(digest, len(wasm)))
        told: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()

        def ack(kind: int, payload: bytes) -> None:
            if kind == Kind.ACK:
                body = messages.envelope(payload)
                told.put_nowait((int(body["received-bytes"]), int(body["window-bytes"])))

        exchange.on_event = ack
        exchange.callback = lambda _answer: told.put_nowait(None)
        link: Any = (await self._session_now()).link
        await link.begin(exchange)
        sent, size = 0, len(wasm)
        try:
            while (window := await told.get()) is not None:
                if progress is not None:
                    progress(min(window[0], sent), size)
                allowed = min(size, sum(window))
                while sent < allowed:
                    end = min(allowed, sent + FRAGMENT_BYTES)
                    link.send(frame(Kind.CHUNK, exchange.id, wasm[sent:end]))
                    sent = end
                await link._can_write.wait()
        except BaseException:
            link.cancel(exchange)
            raise
        answer = exchange.answer
        if answer.__class__ is not tuple:
            raise answer
        if progress is not None:
            progress(size, size)
        return messages.answer_of(answer[1])

    # ----------------------------------------------------------------------------------------------------- modules

    def _state(self, name: str) -> ModuleState:
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = ModuleState(self, name)
            state.make_class = _make_resource_class
        return state

    async def _described(self, state: ModuleState) -> Description:
        """What is known of a registration; asked for once, however many want it."""
        known = state.known
        if known is not None:
            return known
        asked = self._describing.get(state.name)
        if asked is None:
            asked = asyncio.ensure_future(self._renewed(state))
            self._describing[state.name] = asked
            asked.add_done_callback(lambda _: self._describing.pop(state.name, None))
        return await asyncio.shield(asked)

    async def _renewed(self, state: ModuleState) -> Description:
        try:
            data = await self._operate("describe", {"name": state.name})
        except NotFound:
            lease = self._served.get(state.name)
            if lease is None:
                self._states.pop(state.name, None)
                raise
            data = lease._term.description
        if self._current is not None:
            self._current.learn(data)
        return state.learn(data)

    async def module(self, name: str) -> Any:
        """A registration that is there and has been looked at: its attributes are functions, classes and interfaces,
        and ``dir`` and ``help`` show them."""
        await self._described(self._state(name))
        return self.modules[name]

    async def root(self) -> Any:
        """The module that was named when connecting; or the only one that there is."""
        name = self._root_name
        if name is None:
            names = [entry.current.name for entry in await self.list()]
            if len(names) != 1:
                raise Error(f"there is no root: {len(names)} registrations are there; say which one")
            name = names[0]
        return await self.module(name)

    # ------------------------------------------------------------------------------------------------------ serving

    async def provide(
        self,
        name: str,
        target: Any,
        *,
        scope: str = "session",
        lease: float = LEASE_S,
        window: int = WINDOW,
        fallback: str = "previous",
        wit: str | None = None,
    ) -> Lease:
        """Serves a name from this program. See :meth:`rpc_host.Connection.provide`; what is served may be coroutines,
        which run in the loop. Other functions run in threads."""
        if not 1 <= window <= MAX_WINDOW:
            raise ArgumentError(f"window: {window} is not from 1 to {MAX_WINDOW}")
        session = await self._session_now()
        link: Any = session.link
        link.keep_slots()
        term = _Term(name, target, window)
        payload = messages.provide(name, scope, max(1, int(lease * 1000)), window, fallback, wit)
        exchange = Exchange(Kind.PROVIDE, payload)
        answered: asyncio.Future[None] = self._loop.create_future()

        def settle(answer: Answer) -> None:
            session.settle(term, answer)
            if not answered.done():
                answered.set_result(None)

        exchange.callback = settle
        session.offer(term)
        try:
            await link.begin(exchange)
            await asyncio.wait_for(answered, OPERATION_TIMEOUT_S)
        except BaseException:
            session.terms.pop(term, None)
            link.cancel(exchange)
            raise
        if term.loss is not None:
            raise term.loss
        made = self._served[name] = Lease(self, session, term)
        self._state(name).forget()
        return made

    async def withdraw(self, name: str, *, steal: bool = False) -> None:
        """Ends this session's lease on a name; or, with ``steal``, whichever session's that serves it to the tenant."""
        if not steal and name in self._served:
            await self._served[name].withdraw()
            return
        await self._ask(Exchange(Kind.WITHDRAW, messages.withdraw(name, steal=steal)))


class _Connecting:
    """What :func:`connect` gives: to be awaited, or entered."""

    def __init__(self, make: Callable[[], Awaitable[Connection]]) -> None:
        self._make = make
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._make().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._make()
        return self._connection

    async def __aexit__(self, *_exception: object) -> None:
        if self._connection is not None:
            await self._connection.close()


def connect(
    host: str | None = None,
    port: int | None = None,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    server_name: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = 64,
) -> _Connecting:
    """Connects to a host: ``async with connect(…) as conn``, or ``conn = await connect(…)``.

    What it takes is what :func:`rpc_host.connect` takes.
    """

    async def make() -> Connection:
        found = profile_of(
            host,
            port,
            profile,
            token=token,
            ca=ca,
            certificate=certificate,
            key=key,
            server_name=server_name,
            max_reply_bytes=max_reply_bytes,
        )
        context = context_of(found)
        connection = Connection(
            lambda link: _dial(link, found, context, timeout),
            found.address,
            token=found.token,
            timeout=timeout,
            call_timeout=call_timeout,
            module=module,
            max_reply_bytes=found.max_reply_bytes,
            serve_threads=serve_threads,
        )
        await connection._connect()
        return connection

    return _Connecting(make)


def connect_stdio(
    command: Sequence[str],
    *,
    token: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = 64,
    **options: Any,
) -> _Connecting:
    """Starts a host as a child, and speaks to it over its standard input and output."""

    async def make() -> Connection:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, **options
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            return await _over_streams(
                process.stdout,
                process.stdin,
                process,
                " ".join(command),
                token=token,
                timeout=timeout,
                call_timeout=call_timeout,
                module=module,
                max_reply_bytes=max_reply_bytes,
                serve_threads=serve_threads,
            )
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise

    return _Connecting(make)


async def _over_streams(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    process: asyncio.subprocess.Process | None,
    address: str,
    **options: Any,
) -> Connection:
    is_used = False

    async def dial(link: _Link) -> None:
        nonlocal is_used
        if is_used:
            raise ConnectError("the streams of the connection are used up; make a new one")
        is_used = True
        link._transport = _Streams(link, reader, writer, owned=process is not None)

    connection = Connection(dial, address, process=process, **options)
    await connection._connect()
    return connection
