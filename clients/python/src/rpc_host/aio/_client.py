"""The client: a profile, and the connection that serves it now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._client import CONNECT_TIMEOUT_S, FIRST_BACK_OFF_S, LEASE_S, MAX_BACK_OFF_S, OPERATION_TIMEOUT_S, WINDOW
from .._errors import (
    ArgumentError,
    ConnectError,
    ConnectionLost,
    Error,
    NotFound,
    again,
)
from .._exchange import Answer, Exchange
from .._frame import FRAGMENT_BYTES, Kind, frame
from .._operations import digest_of, entry_of, is_module, registration_fields, swap_fields, wasm_of
from .._output import OutputLine
from .._pool import Pool
from .._serving import SERVED
from .._session import MAX_WINDOW
from .._state import ModuleState
from ._dial import Streams
from ._function import lines_to, make_resource_class
from ._lease import Lease
from ._link import Link
from ._modules import Modules
from ._operations import Tenants, Tokens
from ._session import AsyncSession, AsyncTerm

if TYPE_CHECKING:
    from .._description import Description


class Connection:
    """A host, and all that one does with it. See :class:`rpc_host.Connection`, whose methods it has as coroutines."""

    def __init__(
        self,
        dial: Callable[[Link], Awaitable[None]],
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
        self._current: AsyncSession | None = None
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
        return await over_streams(
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

    async def _session_now(self) -> AsyncSession:
        session = self._current
        if session is not None and session.link.ended is None:
            return session
        return await self._connect()

    async def _connect(self) -> AsyncSession:
        async with self._connecting:
            session = self._current
            if session is not None and session.link.ended is None:
                return session
            if self._is_closed:
                raise ConnectionLost("this client closed it")
            if self._failed is not None and time.monotonic() < self._failed[1]:
                raise again(self._failed[0])
            link = Link(self._token, self._max_reply_bytes, self._loop)
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
            session = AsyncSession(link, self._pool, self._loop)
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
        exchange.on_event = lines_to(lines.put_nowait)
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
                await link.can_write.wait()
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
            state.make_class = make_resource_class
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
        term = AsyncTerm(name, target, window)
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


async def over_streams(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    process: asyncio.subprocess.Process | None,
    address: str,
    **options: Any,
) -> Connection:
    is_used = False

    async def dial(link: Link) -> None:
        nonlocal is_used
        if is_used:
            raise ConnectError("the streams of the connection are used up; make a new one")
        is_used = True
        link.transport = Streams(link, reader, writer, owned=process is not None)

    connection = Connection(dial, address, process=process, **options)
    await connection._connect()
    return connection
