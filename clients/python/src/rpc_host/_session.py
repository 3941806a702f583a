"""What belongs to one connection: objects of the host that this program holds, objects of this program that the
host holds, and the names that this program serves."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._binding import Server, untyped_on
from ._cbor import TAG_CLIENT, TAG_HOST, CBORTag, Malformed, decode, decode_many, encode
from ._errors import (
    ArgumentError,
    GuestError,
    RemoteError,
    error_of,
)
from ._frame import RESULT, Kind, Violation
from ._objects import CallContext, Cell, Lent, ObjectBase
from ._serving import SERVED, ServedCall, Term, Unserved, find_target
from ._types import Function, Signature, parse_functions
from ._wrong import Wrong

if TYPE_CHECKING:
    from ._link import Link
    from ._pool import Pool

log = logging.getLogger("rpc_host")


#: The most calls that one offer takes at once.
MAX_WINDOW = 1024


#: Calls of objects of this side that wait for a thread, at most.
MAX_WAITING_CALLS = 1024


def within(link: Any) -> int | None:
    """The number of the call that this code serves, if it came over this connection."""
    served = SERVED.get()
    return served.id if served is not None and served.link is link else None


_Found = tuple[Callable[..., Any], "Server | None", "list[Any]", CallContext]


class Session:
    """The tables of one connection. The link's reader tells it of calls, cancels, lapses and releases."""

    def __init__(self, link: Link, pool: Pool, registrations: Any) -> None:
        self.link = link
        self.pool = pool
        #: Finds what makes proxies: ``(registration, interface, resource) -> class``.
        self._registrations = registrations
        # The collector may run a destructor of the program's within, which may come back here.
        self._lock = threading.RLock()
        self._proxies: dict[int, weakref.ref[ObjectBase]] = {}
        self._objects: dict[int, Lent] = {}
        self._next_object = 1
        self._epochs: dict[int, None] = {}
        self._next_epoch = 0
        #: What the host has let go of, and before which epoch.
        self._let_go: deque[tuple[int, int, Lent]] = deque()
        self._calls: dict[int, ServedCall] = {}
        self.terms: dict[Term, None] = {}
        self.leases: dict[int, Term] = {}
        #: Functions of resources that objects of this side may stand for, by full path.
        self.known: dict[str, Function] = {}

    # --------------------------------------------------------------------------------------- objects of the host's

    @property
    def held(self) -> int:
        """How many objects of the host's are held."""
        return len(self._proxies)

    def _receive(self, number: int, context: CallContext, resource: str, own: bool) -> ObjectBase:
        cls = self._registrations(context.registration, context.interface, resource)
        context.taken.append(number)
        with self._lock:
            weak = self._proxies.get(number)
            proxy = weak() if weak is not None else None
            if proxy is not None and not proxy._rpc.state:
                proxy._rpc.count += 1
            else:
                proxy = cls.__new__(cls)
                assert proxy is not None
                proxy._rpc = cell = Cell(self, number, context.registration, context.interface, resource)
                cell.weak = weakref.ref(proxy)
                self._proxies[number] = cell.weak
        if not own and context.borrowed is not None:
            context.borrowed.append(proxy._rpc)
        return proxy

    def _forget(self, cell: Cell) -> None:
        with self._lock:
            if self._proxies.get(cell.number) is cell.weak:
                del self._proxies[cell.number]

    def _moved(self, cell: Cell) -> None:
        cell.state = "was given away"
        self._forget(cell)

    def _returned(self, cell: Cell) -> None:
        """The host has let go of what it had lent."""
        with self._lock:
            cell.count -= 1
            is_over = cell.count <= 0
        if is_over and not cell.state:
            cell.state = "was lent for a call that is over"
            self._forget(cell)

    def close_cell(self, cell: Cell) -> list[tuple[int, int]]:
        """What has to be said to give it up; nothing, if it is not held."""
        with self._lock:
            if cell.state:
                return []
            cell.state = "is closed"
            if self._proxies.get(cell.number) is cell.weak:
                del self._proxies[cell.number]
            count, cell.count = cell.count, 0
        return [(cell.number, count)]

    def discard(self, payload: bytes, taken: list[int] | None = None) -> None:
        """Lets go of all objects in a reply that nobody takes, but for those that somebody has."""
        try:
            value = decode(payload)
        except Malformed:
            return
        numbers: list[int] = []
        _handles_in(value, numbers)
        for number in taken or ():
            numbers.remove(number)
        for number in numbers:
            self.link.release_later(number, 1)

    # ----------------------------------------------------------------------------------------- objects of this side

    @property
    def lent(self) -> int:
        """How many objects of this side the host has."""
        return len(self._objects) - len(self._let_go)

    def _lend(self, value: Any) -> int:
        with self._lock:
            number = self._next_object
            self._next_object += 1
            self._objects[number] = Lent(value)
            return number

    def _take_back(self, number: int) -> None:
        with self._lock:
            gone = self._objects.pop(number, None)
        del gone  # destroyed without the lock

    def _own(self, number: int) -> Any:
        entry = self._objects.get(number)
        if entry is None:
            raise Wrong(f"the host named object {number} of this side, which it does not have")
        return entry.value

    def open_epoch(self) -> int:
        """From now on, what the host lets go of is kept: messages that came before may be read later."""
        with self._lock:
            epoch = self._next_epoch
            self._next_epoch += 1
            self._epochs[epoch] = None
            return epoch

    def close_epoch(self, epoch: int) -> None:
        with self._lock:
            self._epochs.pop(epoch, None)
            gone = self._over()
        del gone

    def _over(self) -> list[Lent]:
        """What nobody can name any more."""
        oldest = next(iter(self._epochs), self._next_epoch)
        gone = []
        while self._let_go:
            first = self._let_go.popleft()
            if first[0] > oldest:
                self._let_go.appendleft(first)
                break
            self._objects.pop(first[1], None)
            gone.append(first[2])
        return gone

    # ------------------------------------------------------------------------------- what the link's reader tells

    def release(self, _link: Any, body: dict[str, Any]) -> None:
        pairs = body.get("handles")
        with self._lock:
            for pair in pairs if isinstance(pairs, list) else []:
                number, count = pair
                entry = self._objects.get(number)
                if entry is not None and entry.count > 0:
                    entry.count -= count
                    if entry.count <= 0:
                        self._let_go.append((self._next_epoch, number, entry))
            gone = self._over()
        if gone:
            # A destructor of the program's own may do anything, but not here.
            self.pool.submit(gone.clear)

    def call(self, link: Any, id: int, payload: bytes) -> None:
        if id in self._calls:
            raise Violation(f"it used {id} for two calls at once")
        if len(self._calls) > MAX_WAITING_CALLS:
            link.refuse(id, "resource-exhausted", "more calls are under way here than this client takes at once")
            return
        served = ServedCall(link, id, time.monotonic(), self.open_epoch())
        self._calls[id] = served
        self.pool.submit(lambda: self._serve(served, payload))

    def cancel(self, _link: Any, id: int) -> None:
        served = self._calls.pop(id, None)
        if served is not None:
            term = served.term
            if term is not None:
                with self._lock:
                    term.running -= 1
                    term.stopping += 1
            served.cancelled.set()

    def lapse(self, _link: Any, body: dict[str, Any]) -> None:
        term = self.leases.pop(body.get("lease", 0), None)
        if term is not None:
            self.terms.pop(term, None)
            self._shorten()
            why = error_of(body.get("failure"))
            self.pool.submit(lambda: term.lose(why))

    def ended(self, _link: Any, why: Exception) -> None:
        self.leases.clear()
        terms = list(self.terms)
        self.terms.clear()
        for served in list(self._calls.values()):
            served.cancelled.set()
        self._calls.clear()
        for term in terms:
            term.lose(why)
        objects, self._objects = self._objects, {}
        self._let_go.clear()
        if objects:
            self.pool.submit(objects.clear)

    # ------------------------------------------------------------------------------------------------------ serving

    def _term_of(self, module: str, lease: int) -> Term | None:
        """Of a call: the one that serves its lease; or, where the host has not granted one yet, that offered its
        name: a short call may overtake a long answer to the offer."""
        term = self.leases.get(lease)
        if term is not None:
            return term
        for offered in list(self.terms):
            if offered.name == module and not offered.answered.is_set():
                return offered
        return None

    def _serve(self, served: ServedCall, payload: bytes) -> None:
        """Answers a call: in a thread of the pool."""
        if served.cancelled.is_set():
            self.close_epoch(served.epoch)
            return
        token = SERVED.set(served)
        context: CallContext | None = None
        try:
            header, positional = self._opened(served, payload)
            if header.get("lease") is not None:
                term = self._term_of(served.module, header["lease"])
                if term is not None:
                    term.answered.wait(served.time_left)
            target, server, data, context = self._found(served, header, positional)
            arguments = self._arguments(server, data, context)
            try:
                value = target(*arguments)
            except (SystemExit, KeyboardInterrupt) as error:
                raise _failure("unknown", f"the program wanted to end: {type(error).__name__}") from None
            answer = self._answer(value, server, context)
        except BaseException as error:
            answer = self._failed(served, error, context)
        finally:
            SERVED.reset(token)
        self._closed(served, context, answer)

    def _opened(self, served: ServedCall, payload: bytes) -> tuple[dict[str, Any], list[Any]]:
        """What a call says, and its arguments as data."""
        try:
            header, positional, named = decode_many(payload, 3)
            served.module, served.function = header["module"], header["function"]
            timeout = header.get("timeout-ms")
        except (Malformed, KeyError, TypeError, AttributeError) as error:
            raise _failure("invalid-argument", f"not a call: {error}", "peer") from None
        served.deadline = None if timeout is None else (served.deadline or 0.0) + timeout / 1000
        if named:
            raise _failure("invalid-argument", "arguments are given by name", "peer")
        return header, positional

    def _found(self, served: ServedCall, header: dict[str, Any], positional: list[Any]) -> _Found:
        """What answers a call; it has its place in the window of its lease from here on."""
        lease = header.get("lease")
        if lease is None:
            target, server, data, context = self._object_call(served, positional)
        else:
            term = self._enter(served, lease)
            found = term.by_path.get(served.function)
            if found is None:
                raise _failure("unimplemented", f"the program that serves {term.name} has no {served.function}")
            function, server = found
            target = find_target(term.target, function)
            data, context = positional, CallContext(self, term.name, function.interface, served.epoch)
        context.borrowed = []
        return target, server, data, context

    def _enter(self, served: ServedCall, lease: int) -> Term:
        """The place of a call in the window of its lease."""
        term = self._term_of(served.module, lease)
        if term is None:
            raise _failure("unimplemented", f"this client does not serve {served.module}", "peer")
        if not term.is_granted or term.lease != lease:
            raise _failure("failed-precondition", f"{served.module} is not served on this lease", "peer")
        with self._lock:
            if term.running >= term.window or term.stopping >= term.window:
                raise _failure(
                    "resource-exhausted",
                    f"all calls are under way that this client offered to take for {term.name} at once",
                    "peer",
                )
            term.running += 1
            served.term = term
        return term

    def _arguments(self, server: Server | None, data: list[Any], context: CallContext) -> list[Any]:
        try:
            return list(data) if server is None else server.arguments(data, context)
        except ArgumentError as error:
            raise _failure("invalid-argument", f"the program does not take these arguments: {error}") from None

    def _answer(self, value: Any, server: Server | None, context: CallContext) -> tuple[int, bytes, int]:
        try:
            if server is None:
                return Kind.REPLY, encode(untyped_on(value, context)), 0
            return Kind.REPLY, encode(server.result(value, context)), RESULT if server.is_result else 0
        except ArgumentError as error:
            raise _failure("unknown", f"the program gave what the function does not: {error}") from None

    def _failed(self, served: ServedCall, error: BaseException, context: CallContext | None) -> tuple[int, bytes, int]:
        """What is answered where there is no value."""
        if isinstance(error, GuestError) and context is not None:
            found = served.term.by_path.get(served.function) if served.term else None
            server = found[1] if found else self._method_server(served.function)
            if server is None or server.is_result:
                try:
                    return self._answer(error, server, context)
                except RemoteError as wrong:
                    error = wrong
        if isinstance(error, RemoteError):
            answer = messages.failure(error.code, error.message, error.fault, error.retryable)
        elif isinstance(error, Unserved):
            answer = messages.failure("unimplemented", str(error))
        else:
            log.error("serving %s failed", served.function, exc_info=error)
            answer = messages.failure("unknown", f"{type(error).__name__}: {error}")
        return Kind.FAILURE, answer, 0

    def _closed(self, served: ServedCall, context: CallContext | None, answer: tuple[int, bytes, int]) -> None:
        """Says the answer, if it is still wanted, and gives the place of the call back."""
        is_wanted = self._calls.pop(served.id, None) is not None
        term = served.term
        if term is not None:
            with self._lock:
                if is_wanted:
                    term.running -= 1
                else:
                    term.stopping -= 1
        if is_wanted:
            kind, payload, flags = answer
            served.link.answer(kind, served.id, payload, flags)
            if context is not None and kind == Kind.REPLY:
                context.given.clear()
        if context is not None:
            context.done()
        self.close_epoch(served.epoch)

    def _method_server(self, path: str) -> Server | None:
        """How a method of an object of this side is answered, if its types are known."""
        function = self.known.get(path)
        if function is None:
            return None
        return Server(Signature(function.signature.parameters[1:], function.signature.result))

    def _object_call(
        self, served: ServedCall, positional: list[Any]
    ) -> tuple[Callable[..., Any], Server | None, list[Any], CallContext]:
        """A method of an object of this side."""
        path = served.function
        tag = positional[0] if positional.__class__ is list and positional else None
        if tag.__class__ is not CBORTag or tag.tag != TAG_CLIENT or not path:
            raise _failure("unimplemented", f"this client does not serve {path}", "peer")
        entry = self._objects.get(tag.value)
        if entry is None:
            raise _failure("not-found", f"no object {tag.value} in this client", "peer")
        interface, _, name = path.rpartition(".[method]")
        function = self.known.get(path) or Function(f"[method]{name}" if interface else path, interface or None)
        server = self._method_server(path)
        target = find_target(entry.value, function)
        context = CallContext(self, "", function.interface, served.epoch)
        return target, server, positional[1:], context

    # ------------------------------------------------------------------------------------------------------- leases

    def offer(self, term: Term) -> None:
        """Ready for the first call, which may come before the answer to the offer."""
        self.terms[term] = None

    def settle(self, term: Term, answer: Any) -> None:
        """How the host answered an offer. Called by the reader, before it looks at the next message."""
        if not isinstance(answer, tuple):
            self.terms.pop(term, None)
            term.lose(answer)
            return
        try:
            body = messages.envelope(answer[1])
            term.grant(body)
        except (Malformed, KeyError, TypeError, ValueError):
            raise Violation("a malformed answer to an offer") from None
        self.leases[term.lease] = term
        for function in term.functions:
            self.known[function.path] = function
        self._shorten()

    def learn(self, description: Any) -> None:
        """Functions that objects of this side may be asked for, of whichever registration."""
        for part in ("functions", "imports"):
            for function in parse_functions(description.get(part) if isinstance(description, dict) else None):
                if function.role == "method":
                    self.known[function.path] = function

    def forget_term(self, term: Term) -> None:
        self.terms.pop(term, None)
        self.leases.pop(term.lease, None)
        self._shorten()

    def _shorten(self) -> None:
        leases = [term.lease_s for term in list(self.leases.values())]
        self.link.shortest_lease = min(leases) if leases else None
        if leases:
            self.link.sooner()


def _handles_in(value: Any, found: list[int]) -> None:
    if value.__class__ is CBORTag:
        if value.tag == TAG_HOST and value.value.__class__ is int:
            found.append(value.value)
    elif value.__class__ is list:
        for item in value:
            _handles_in(item, found)
    elif value.__class__ is dict:
        for item in value.values():
            _handles_in(item, found)


def _failure(code: str, message: str, fault: str = "application") -> RemoteError:
    return error_of({"code": code, "message": message, "fault": fault})
