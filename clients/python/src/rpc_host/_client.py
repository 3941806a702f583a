"""The client: a profile, and the connection that serves it now."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from . import _messages as messages
from ._errors import ConnectError, ConnectionLost, Error, NoAnswer, NotFound, RemoteError, again
from ._exchange import Answer, Exchange
from ._frame import FRAGMENT_BYTES, Kind, fragments
from ._function import Function
from ._lease import Lease
from ._link import Link
from ._modules import Module, Modules
from ._operations import Tenants, Tokens, digest_of, entry_of, is_module, registration_fields, swap_fields, wasm_of
from ._output import OutputLine, output_of
from ._pool import SERVE_THREADS, Pool
from ._serving import SERVED, Term
from ._session import MAX_WINDOW, Session
from ._state import ModuleState, class_of
from ._transport import StreamTransport, Transport

#: Time for TCP, TLS and the first two messages together.
CONNECT_TIMEOUT_S = 10.0


#: After a failed attempt to connect, the next one waits so long; twice as long each time, up to the other.
FIRST_BACK_OFF_S, MAX_BACK_OFF_S = 0.1, 5.0


#: Longer than a host takes to compile a module, which some operations make it do.
OPERATION_TIMEOUT_S = 300.0


#: Of a lease, unless said otherwise.
LEASE_S, WINDOW = 10.0, 16


def _once(transport: Transport) -> Callable[[], Transport]:
    """Streams are there once: what is lost cannot be made anew."""
    given = [transport]

    def take() -> Transport:
        if not given:
            raise ConnectError("the streams of the connection are used up; make a new one")
        return given.pop()

    return take


def _end_process(process: subprocess.Popen[bytes]) -> None:
    for end in (None, process.terminate, process.kill):
        if end is not None:
            end()
        try:
            process.wait(3.0)
            return
        except subprocess.TimeoutExpired:
            continue


class Connection:
    """A host, and all that one does with it. Threads may share it.

    A connection that is lost fails the calls that are under way with :class:`ConnectionLost`, because nobody knows
    whether they have run; the next call connects anew. Objects of the host's are gone with the session that held them.
    """

    def __init__(
        self,
        dial: Callable[[], Transport],
        address: str,
        *,
        token: str | None = None,
        timeout: float = CONNECT_TIMEOUT_S,
        call_timeout: float | None = None,
        module: str | None = None,
        max_reply_bytes: int | None = None,
        serve_threads: int = SERVE_THREADS,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._dial = dial
        self.address = address
        self._token = token
        self._timeout = timeout
        #: For each call that says nothing itself, in seconds; without it the host's default holds.
        self.call_timeout = call_timeout
        self._root_name = module
        self._max_reply_bytes = max_reply_bytes or (64 << 20)
        self.process = process
        self._session: Session | None = None
        self._connecting = threading.Lock()
        self._connecting_thread = 0
        self._failed: tuple[Exception, float, float] | None = None
        self._is_closed = False
        self._pid = os.getpid()
        self._pool = Pool(serve_threads)
        self._states: dict[str, ModuleState] = {}
        self._proxies: dict[str, Module] = {}
        self._served: dict[str, Lease] = {}
        #: The registrations.
        self.modules = Modules(self)
        self.tenants = Tenants(self.operate)
        self.tokens = Tokens(self.operate)
        self._finalizer: Any = None
        self._connect()

    @classmethod
    def from_streams(
        cls,
        reader: BinaryIO | int,
        writer: BinaryIO | int,
        *,
        token: str | None = None,
        timeout: float = CONNECT_TIMEOUT_S,
        call_timeout: float | None = None,
        module: str | None = None,
        max_reply_bytes: int | None = None,
        serve_threads: int = SERVE_THREADS,
    ) -> Connection:
        """Speaks to a host over two streams, which are borrowed: closing the connection leaves them open."""
        return cls(
            _once(StreamTransport(reader, writer)),
            "streams",
            token=token,
            timeout=timeout,
            call_timeout=call_timeout,
            module=module,
            max_reply_bytes=max_reply_bytes,
            serve_threads=serve_threads,
        )

    # -------------------------------------------------------------------------------------------------- connecting

    def _session_now(self) -> Session:
        """The present session, or a new one if it is over."""
        session = self._session
        if session is not None and session.link.ended is None:
            return session
        return self._connect()

    def _connect(self) -> Session:
        if self._pid != os.getpid():
            raise ConnectionLost(
                "this connection belongs to the process that this one was forked from; connect anew here"
            )
        if self._connecting_thread == threading.get_ident():
            raise Error("a call cannot be made here: this runs within the making of the connection")
        with self._connecting:
            self._connecting_thread = threading.get_ident()
            try:
                return self._connect_now()
            finally:
                self._connecting_thread = 0

    def _connect_now(self) -> Session:
        session = self._session
        if session is not None and session.link.ended is None:
            return session
        if self._is_closed:
            raise ConnectionLost("this client closed it")
        # A connection whose host has said that it goes away is told so until it is over.
        if self._failed is not None and time.monotonic() < self._failed[1]:
            raise again(self._failed[0])
        try:
            transport = self._dial()
            try:
                link = Link(transport, self._token, self._max_reply_bytes, self._timeout)
            except BaseException:
                transport.shut()
                transport.close()
                raise
        except Error as error:
            pause = FIRST_BACK_OFF_S if self._failed is None else min(self._failed[2] * 2, MAX_BACK_OFF_S)
            self._failed = (error, time.monotonic() + pause, pause)
            raise
        self._failed = None
        session = Session(link, self._pool, class_of)
        link.start(session)
        for state in list(self._states.values()):
            state.forget()
        self._served.clear()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _let_go, link, self._pool)
        self._finalizer.atexit = False
        self._session = session
        return session

    @property
    def closed(self) -> bool:
        """Whether it was closed. One that was lost is not: the next call connects anew."""
        return self._is_closed

    def close(self) -> None:
        """Ends it. Calls under way fail, objects are let go of, names are served no more."""
        if self._pid != os.getpid():
            return
        self._is_closed = True
        session = self._session
        if session is not None:
            session.link.close()
        self._pool.close()
        if self._finalizer is not None:
            self._finalizer.detach()
        if self.process is not None:
            _end_process(self.process)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " (closed)" if self._is_closed else ""
        return f"<rpc_host connection to {self.address}{state}>"

    def __reduce__(self) -> Any:
        raise TypeError("a connection cannot be pickled")

    @property
    def session(self) -> str:
        """The name of the session in the host's log."""
        return self._session_now().link.session

    @property
    def tenant(self) -> str:
        """The tenant that the token or certificate belongs to."""
        return self._session_now().link.tenant

    @property
    def role(self) -> str:
        """``reader``, ``caller``, ``deployer`` or ``admin``."""
        return self._session_now().link.role

    @property
    def host(self) -> str:
        """The host's name and version."""
        return self._session_now().link.host

    @property
    def held_objects(self) -> int:
        """How many objects of the host's this program holds."""
        return self._session_now().held

    # -------------------------------------------------------------------------------------------------- operations

    def _ask(self, exchange: Exchange, timeout: float | None = OPERATION_TIMEOUT_S) -> Any:
        """An exchange that is answered by plain data."""
        link = self._session_now().link
        deadline = None if timeout is None else time.monotonic() + timeout
        served = SERVED.get()
        link.begin(exchange, while_serving=served is not None and served.link is link, deadline=deadline)
        answer = link.wait(exchange, deadline)
        if answer.__class__ is not tuple:
            raise answer
        return messages.answer_of(answer[1])

    def operate(self, operation: str, **fields: Any) -> Any:
        """One operation by its name on the wire, and its answer. Fields that are ``None`` are left out."""
        return entry_of(self._operate(operation, fields))

    def _operate(self, operation: str, fields: Mapping[str, Any]) -> Any:
        return self._ask(Exchange(Kind.REQUEST, messages.request(operation, fields)))

    def _changing(self, name: str, operation: str, fields: Mapping[str, Any]) -> Any:
        try:
            return entry_of(self._operate(operation, fields))
        finally:
            state = self._states.get(name)
            if state is not None:
                state.forget()

    def register(
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
        return self._changing(name, "register", fields)

    def promote(
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
        return self._changing(name, "promote", fields)

    def swap(self, name: str, to: Any, *, if_revision: int | None = None, force: bool = False) -> Any:
        """Points a registration at another module (a digest, the path of a file, or bytes), under the grants and limits
        that it has; or at an earlier revision (a number), with those that held then."""
        if is_module(to):
            to = self.upload_module(to).digest
        return self._changing(name, "swap", swap_fields(name, to, if_revision, force))

    def rollback(self, name: str, *, if_revision: int | None = None, force: bool = False) -> Any:
        """Points a registration at what it was before its present revision. Done twice, it is as it was."""
        fields = {"name": name, "if-revision": if_revision, "force": True if force else None}
        return self._changing(name, "rollback", fields)

    def remove(self, name: str) -> None:
        """Takes a registration away."""
        self._changing(name, "remove", {"name": name})

    def list(self) -> Any:
        """All registrations, by name."""
        return self.operate("list")

    def show(self, name: str) -> Any:
        """One registration."""
        return self.operate("show", name=name)

    def history(self, name: str) -> Any:
        """The revisions of a registration, newest first."""
        return self.operate("history", name=name)

    def inspect(self, name: str) -> Any:
        """What the module behind a registration exports and imports, as WIT and as lists."""
        return self.operate("inspect", name=name)

    def describe(self, name: str, function: str | None = None) -> Any:
        """The functions and resources of a registration as data: all, or the one that a call of ``function`` means."""
        return self._operate("describe", {"name": name, "function": function})

    def limits(self, name: str | None = None) -> Any:
        """All limits that are in force for the tenant, or for one of its registrations."""
        return self.operate("limits", name=name)

    def uploads(self) -> Any:
        """All modules of the tenant, oldest first."""
        return self.operate("modules")

    def remove_upload(self, digest: str) -> None:
        """Deletes a module that no registration points at."""
        self.operate("remove-module", digest=digest)

    def providers(self) -> Any:
        """The names that clients serve: to the tenant, and to this session."""
        return self.operate("providers")

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[OutputLine]:
        """The lines that a registration's guests printed and that are kept, oldest first; with ``follow``, those that
        come as well, until the iterator is closed."""
        fields = {"name": name, "tail": tail, "follow": True if follow else None}
        exchange = Exchange(Kind.REQUEST, messages.request("logs", fields))
        exchange.events = deque()
        link = self._session_now().link
        link.begin(exchange)
        return _lines(link, exchange)

    # ----------------------------------------------------------------------------------------------------- uploads

    def upload_module(
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
        """Uploads a module: the path of a component, or its bytes. When this returns, the host has checked, compiled
        and durably stored it. Only those bytes are sent, and none if the host has them.

        With ``name``, it is registered under it as well. ``progress`` is told how many bytes the host has, of how many.
        """
        wasm = wasm_of(module)
        digest = digest_of(wasm)
        exchange = Exchange(Kind.UPLOAD, messages.upload(digest, len(wasm)))
        exchange.events = deque()
        link = self._session_now().link
        link.begin(exchange)
        entry = entry_of(self._send_chunks(link, exchange, wasm, progress))
        if entry.digest != digest:
            raise Error("the host answered about another module")
        if name is not None:
            entry["registration"] = self.register(
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

    def _send_chunks(
        self, link: Link, exchange: Exchange, wasm: bytes, progress: Callable[[int, int], None] | None
    ) -> Any:
        """Sends as the host makes room, until it ends the exchange."""
        sent, size = 0, len(wasm)
        view = memoryview(wasm)
        events = exchange.events
        assert events is not None
        while link.wait_event(exchange):
            received = window = 0
            while events:
                kind, payload = events.popleft()
                if kind == Kind.ACK:
                    body = messages.envelope(payload)
                    received, window = int(body["received-bytes"]), int(body["window-bytes"])
            if progress is not None:
                try:
                    progress(min(received, sent), size)
                except BaseException:
                    link.cancel(exchange)
                    raise
            allowed = min(size, received + window)
            while sent < allowed:
                # A chunk is one frame, so it is never incomplete at the host.
                end = min(allowed, sent + FRAGMENT_BYTES)
                for part in fragments(Kind.CHUNK, exchange.id, view[sent:end].tobytes()):
                    link.send(part)
                sent = end
        answer = exchange.answer
        if answer.__class__ is not tuple:
            raise answer
        if progress is not None:
            progress(size, size)
        return messages.answer_of(answer[1])

    # ----------------------------------------------------------------------------------------------------- modules

    def _names(self) -> Sequence[str]:
        names = {entry.current.name for entry in self.list()}
        names.update(entry.name for entry in self.providers())
        return sorted(names)

    def _state(self, name: str) -> ModuleState:
        return self._states.get(name) or self._states.setdefault(name, ModuleState(self, name))

    def _module(self, name: str) -> Module:
        state = self._state(name)
        if state.known is None:
            try:
                state.describe()
            except NotFound:
                self._states.pop(name, None)
                self._proxies.pop(name, None)
                raise
        proxy = self._proxies.get(name)
        if proxy is None or proxy._rpc is not state:
            proxy = self._proxies[name] = Module(state)
        return proxy

    def _describe_data(self, name: str) -> Any:
        try:
            data = self._operate("describe", {"name": name})
        except RemoteError as error:
            lease = self._served.get(name)
            if lease is None or not isinstance(error, NotFound):
                raise
            # Nothing is registered, but this program serves it.
            return lease.description
        session = self._session
        if session is not None:
            session.learn(data)
        return data

    @property
    def root(self) -> Module:
        """The module that was named when connecting; or the only one that there is."""
        name = self._root_name
        if name is None:
            names = [entry.current.name for entry in self.list()]
            if len(names) != 1:
                raise Error(
                    f"there is no root: {len(names)} registrations are there; say which one, as in "
                    f"connect(module=…) or conn.modules.NAME"
                )
            name = names[0]
        return self._module(name)

    def function(self, name: str, path: str) -> Function:
        """A function of a registration by its name or path in WIT, such as ``demo:calc/calc.add``."""
        found = self._module(name)[path]
        if not isinstance(found, Function):
            raise KeyError(f"{path} is no function of {name}")
        return found

    # ------------------------------------------------------------------------------------------------------ serving

    def provide(
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
        """Serves a name from this program: to this session, or to the whole tenant (``scope="tenant"``).

        Imports of the name, and calls of it, come to ``target``: an object or module whose attributes are the
        functions, a mapping of them, or one callable for all. They run in threads, ``window`` at once at most.
        The offer stands for ``lease`` seconds without a sign of life, which are sent by themselves. ``fallback`` is who
        answers when it is lost: ``previous``, or ``error`` for nobody. ``wit`` is the interface, for a name that stands
        for nothing yet.

        The name is served until the lease is withdrawn or the connection is over.
        """
        if not 1 <= window <= MAX_WINDOW:
            from ._errors import ArgumentError

            raise ArgumentError(f"window: {window} is not from 1 to {MAX_WINDOW}")
        session = self._session_now()
        link = session.link
        link.slots.keep()
        term = Term(name, target, window)
        payload = messages.provide(name, scope, max(1, int(lease * 1000)), window, fallback, wit)
        exchange = Exchange(Kind.PROVIDE, payload)
        answered = threading.Event()

        def settle(answer: Answer) -> None:
            try:
                session.settle(term, answer)
            finally:
                answered.set()

        exchange.callback = settle
        session.offer(term)
        try:
            link.begin(exchange)
            if not answered.wait(OPERATION_TIMEOUT_S):
                raise NoAnswer("no answer to the offer")
        except BaseException:
            session.terms.pop(term, None)
            link.cancel(exchange)
            raise
        if term.loss is not None:
            raise term.loss
        made = Lease(self, session, term)
        before = self._served.get(name)
        if before is not None and not before.is_lost:
            before._replaced()
        self._served[name] = made
        state = self._states.get(name)
        if state is not None:
            state.forget()
        return made

    def withdraw(self, name: str, *, steal: bool = False) -> None:
        """Ends this session's lease on a name; or, with ``steal``, whichever session's that serves it to the tenant."""
        if not steal and name in self._served:
            self._served[name].withdraw()
            return
        self._ask(Exchange(Kind.WITHDRAW, messages.withdraw(name, steal=steal)))

    def _withdraw_own(self, name: str) -> None:
        lease = self._served.get(name)
        if lease is None:
            raise KeyError(f"{name} is not served by this program")
        lease.withdraw()

    def _withdrawn(self, lease: Lease) -> None:
        if self._served.get(lease.name) is lease:
            del self._served[lease.name]
        state = self._states.get(lease.name)
        if state is not None:
            state.forget()


def _let_go(link: Link, pool: Pool) -> None:
    """Nobody holds the connection any more."""
    link.drop()
    pool.close()


def _lines(link: Link, exchange: Exchange) -> Iterator[OutputLine]:
    events = exchange.events
    assert events is not None
    try:
        while link.wait_event(exchange):
            while events:
                kind, payload = events.popleft()
                line = output_of(payload) if kind == Kind.OUTPUT else None
                if line is not None:
                    yield line
        if exchange.answer.__class__ is not tuple:
            raise exchange.answer
    finally:
        if exchange.answer is None:
            link.cancel(exchange)
