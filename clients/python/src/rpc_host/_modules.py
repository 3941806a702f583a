"""``conn.modules.calc.add(2, 3)``: registrations, interfaces, functions and resources as Python objects."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._cbor import Malformed, decode, encode, head
from ._description import Ambiguous, Description, ResourceType, Space, docs_of, python_signature
from ._errors import (
    ArgumentError,
    DecodeError,
    Error,
    InvalidArgument,
    NoAnswer,
    NotFound,
    RemoteError,
    Unimplemented,
)
from ._frame import RESULT, Kind
from ._link import Answer, Exchange, Link
from ._names import identifier, kebab, snake
from ._session import SERVED, CallContext, ObjectBase, Session
from ._types import Function as Definition
from ._values import Caller

if TYPE_CHECKING:
    from ._client import Connection

log = logging.getLogger("rpc_host")

#: The host ends a call that takes too long. So much longer is waited for it to say so.
GRACE_S = 2.0
#: Bytes that are longer are not copied more often than they have to be.
LONG_BYTES = 4096

_EMPTY_MAP = b"\xa0"

OutputSink = Callable[["OutputLine"], None]


@dataclass(frozen=True)
class OutputLine:
    """A line that a guest printed: where (``stdout``, ``stderr`` or ``log``), what, and of what weight."""

    stream: str
    text: str
    level: str | None = None
    #: Of a line that was kept: when, in milliseconds since 1970.
    at_ms: int | None = None
    #: Of a line that was kept: the number of its call.
    call: str | None = None

    def __str__(self) -> str:
        return self.text


def output_of(payload: bytes) -> OutputLine | None:
    """The line of an output message."""
    try:
        body = messages.envelope(payload)
    except Malformed:
        return None
    level, at_ms, call = body.get("level"), body.get("at-ms"), body.get("call")
    return OutputLine(
        str(body.get("stream", "")),
        str(body.get("text", "")),
        level if isinstance(level, str) else None,
        at_ms if isinstance(at_ms, int) else None,
        None if call is None else str(call),
    )


def print_output(line: OutputLine) -> None:
    """A guest's line where a line of this program's would go."""
    print(line.text, file=sys.stdout if line.stream == "stdout" else sys.stderr, flush=True)


@dataclass(frozen=True)
class Options:
    """How a call is made."""

    timeout: float | None = None
    allow: tuple[str, ...] | None = None
    output: OutputSink | None = None

    def but(self, timeout: float | None, allow: Sequence[str] | None, output: bool | OutputSink | None) -> Options:
        sink: OutputSink | None = self.output
        if output is True:
            sink = print_output
        elif output is False:
            sink = None
        elif output is not None:
            sink = output
        return replace(
            self,
            timeout=self.timeout if timeout is None else timeout,
            allow=self.allow if allow is None else tuple(allow),
            output=sink,
        )


DEFAULT = Options()


class ModuleState:
    """What is known of a registration, and from when."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name
        self.version = 0
        self._description: Description | None = None
        self._classes: dict[tuple[str | None, str], type] = {}
        self._lock = threading.RLock()
        #: Makes the class of a resource.
        self.make_class: Callable[[ModuleState, ResourceType], type] = make_resource_class

    def __reduce__(self) -> Any:
        raise TypeError("what belongs to a connection cannot be pickled")

    @property
    def known(self) -> Description | None:
        return self._description

    def learn(self, data: Any) -> Description:
        with self._lock:
            if self._description is None or self._description.data != data:
                self._description = Description(data)
                self._classes = {}
                self.version += 1
            return self._description

    def describe(self) -> Description:
        """The description that is known, or a new one."""
        found = self._description
        if found is None:
            found = self.learn(self.connection._describe_data(self.name))
        return found

    def renew(self) -> Description:
        return self.learn(self.connection._describe_data(self.name))

    def forget(self) -> None:
        """Something has changed: it is asked for anew when it is needed."""
        with self._lock:
            self._description = None
            self.version += 1

    def resource_class(self, interface: str | None, name: str) -> type:
        description = self._description
        resource = description.resource(interface, name) if description else ResourceType(name, interface)
        key = (resource.interface, resource.name)
        cls = self._classes.get(key)
        if cls is None:
            cls = self._classes.setdefault(key, self.make_class(self, resource))
        return cls


def class_of(registration: Any, interface: str | None, resource: str) -> type:
    """The class of an object that arrives."""
    if isinstance(registration, ModuleState):
        return registration.resource_class(interface, resource)
    return Object


# ------------------------------------------------------------------------------------------------------- functions


class Function:
    """A function of a registration: call it like any other.

    ``with_options`` makes one that has a timeout, fewer grants, or hands over what the guest prints.
    """

    def __init__(self, state: ModuleState, definition: Definition, options: Options = DEFAULT, skip: int = 0) -> None:
        self._state = state
        self._connection: Connection = state.connection
        self._definition = definition
        self._options = options
        self._skip = skip
        self._version = state.version
        self._caller = Caller(definition.signature, str(definition), skip)
        self._prefix: tuple[Any, bytes] | None = None
        self.__name__ = snake(definition.short_name)
        self.__qualname__ = f"{state.name}.{definition.path}"
        self.__doc__ = docs_of(definition, definition.name)

    @property
    def __signature__(self) -> Any:
        return python_signature(self._definition.signature, self._skip)

    def __repr__(self) -> str:
        return f"<function {self._state.name} {self._definition}>"

    def __reduce__(self) -> Any:
        raise TypeError("what belongs to a connection cannot be pickled")

    def with_options(
        self,
        *,
        timeout: float | None = None,
        allow: Sequence[str] | None = None,
        output: bool | OutputSink | None = None,
    ) -> Function:
        """The same function, called otherwise: with a timeout in seconds; with no more grants in force than match one
        of these patterns; with the lines that the guest prints given to a function, or printed (``True``)."""
        return Function(self._state, self._definition, self._options.but(timeout, allow, output), self._skip)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._invoke(None, args, kwargs)

    def _invoke(self, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = self._connection._session_now() if own is None else session_of(own)
        if self._version != self._state.version:
            self._rebind()
        exchange, context, deadline, while_serving = self._prepared_anew(session, own, args, kwargs)
        link = session.link
        sink = self._options.output
        try:
            if sink is not None:
                exchange.events = deque()
            link.begin(exchange, while_serving=while_serving, deadline=deadline)
            if sink is not None:
                _hand_over(link, exchange, deadline, sink)
            answer = link.wait(exchange, deadline)
        except BaseException as error:
            if exchange.answer is None and exchange.callback is not None:
                exchange.callback = session_discards(session)
            if context is not None:
                context.done()
            if isinstance(error, NoAnswer):
                raise NoAnswer(f"no answer to {self._definition.name} in {self._timeout()} s and the grace") from None
            raise
        return self._outcome(session, context, answer)

    def _timeout(self) -> float | None:
        timeout = self._options.timeout
        return self._connection.call_timeout if timeout is None else timeout

    def _prepared(
        self, session: Session, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Exchange, CallContext | None, float | None, bool]:
        """A call as it is sent: nothing has happened yet."""
        caller, definition, options = self._caller, self._definition, self._options
        context: CallContext | None = None
        if caller.holds_objects or own is not None:
            context = CallContext(session, self._state, definition.interface)
            if own is not None:
                context.on = own._rpc.number
        try:
            data = caller.arguments(args, kwargs, context)
        except ArgumentError:
            if context is not None:
                context.done()
            raise
        if own is not None:
            data.insert(0, context.give(own, "", False))  # type: ignore[union-attr]
        timeout = options.timeout
        if timeout is None:
            timeout = self._connection.call_timeout
        deadline = None if timeout is None else time.monotonic() + timeout + GRACE_S
        served = SERVED.get()
        within = served.id if served is not None and served.link is session.link else None
        on = None if context is None else context.on
        if within is None and on is None:
            cached = self._prefix
            if cached is not None and cached[0] == timeout:
                prefix = cached[1]
            else:
                prefix = self._header(timeout, None, None)
                self._prefix = (timeout, prefix)
        else:
            prefix = self._header(timeout, within, on)
        if caller.has_bytes:
            payload = _joined(prefix, data)
        else:
            payload = prefix + encode(data) + _EMPTY_MAP
        return Exchange(Kind.CALL, payload), context, deadline, within is not None

    def _prepared_anew(
        self, session: Session, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Exchange, CallContext | None, float | None, bool]:
        """The same, by the function as it is now if the arguments do not fit what it was."""
        try:
            return self._prepared(session, own, args, kwargs)
        except ArgumentError:
            if not self._renewed():
                raise
            return self._prepared(session, own, args, kwargs)

    def _header(self, timeout: float | None, within: int | None, on: int | None) -> bytes:
        options = self._options
        return messages.call_header(
            self._state.name,
            self._definition.path,
            messages.timeout_ms(timeout),
            within,
            options.allow,
            on=on,
            output=options.output is not None,
        )

    def _outcome(self, session: Session, context: CallContext | None, answer: Answer, may_ask: bool = True) -> Any:
        """What comes of an answer: a value, or an exception. Without ``may_ask``, nothing is asked of the host."""
        if answer.__class__ is not tuple:
            if context is not None:
                context.done()
            if isinstance(answer, (InvalidArgument, NotFound, Unimplemented)):
                # It may be another module by now.
                self._state.forget()
            raise answer
        flags, payload = answer
        is_result = flags & RESULT != 0
        if context is None:
            return self._value(session, None, payload, is_result, may_ask)
        context.succeeded()
        try:
            return self._value(session, context, payload, is_result, may_ask)
        finally:
            context.done()

    def _value(
        self, session: Session, context: CallContext | None, payload: bytes, is_result: bool, may_ask: bool
    ) -> Any:
        try:
            data = decode(payload)
        except Malformed as error:
            raise DecodeError(f"result: {error}") from None
        try:
            return self._caller.result(data, is_result, context)
        except DecodeError:
            taken = [] if context is None else context.taken
            if not taken:
                if not may_ask:
                    raise Stale from None
                # A swap that was forced may have changed the function meanwhile.
                if self._renewed():
                    return self._caller.result(data, is_result, context)
            session.discard(payload, taken)
            raise

    def _rebind(self) -> None:
        """Something has changed: the function may be another."""
        version = self._state.version
        description = self._state.describe()
        definition = description.by_path.get(self._definition.path)
        if definition is not None and definition != self._definition:
            self._definition = definition
            self._caller = Caller(definition.signature, str(definition), self._skip)
            self.__doc__ = docs_of(definition, definition.name)
        self._version = max(version, self._state.version)

    def _renewed(self) -> bool:
        """Whether the function is another than it was."""
        before = self._definition
        try:
            self._state.renew()
        except (RemoteError, NoAnswer):
            return False
        self._rebind()
        return self._definition != before

    def _begin(self, own: ObjectBase | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future:
        """The call as a future."""
        session = self._connection._session_now() if own is None else session_of(own)
        if self._version != self._state.version:
            self._rebind()
        exchange, context, deadline, while_serving = self._prepared_anew(session, own, args, kwargs)

        def outcome(answer: Answer, may_ask: bool) -> Any:
            return self._outcome(session, context, answer, may_ask)

        future = Future(session, exchange, outcome, context)
        sink = self._options.output
        if sink is not None:
            exchange.on_event = future._lines_to(sink)
        try:
            session.link.begin(exchange, while_serving=while_serving, deadline=deadline)
        except BaseException:
            if context is not None:
                context.done()
            raise
        return future


def session_of(own: ObjectBase) -> Session:
    """The session that holds an object; there is no other way to it, so none is made anew."""
    own._rpc.check()
    return own._rpc.session


class Stale(Exception):
    """The answer does not fit what is known, and this thread cannot ask."""


def session_discards(session: Session) -> Callable[[Answer], None]:
    """What becomes of an answer that nobody waits for: the objects in it are let go of."""

    def discard(answer: Answer) -> None:
        if answer.__class__ is tuple:
            session.discard(answer[1])

    return discard


def _hand_over(link: Link, exchange: Exchange, deadline: float | None, sink: OutputSink) -> None:
    """Lines that come before the answer."""
    events = exchange.events
    assert events is not None
    while link.wait_event(exchange, deadline):
        while events:
            kind, payload = events.popleft()
            line = output_of(payload) if kind == Kind.OUTPUT else None
            if line is not None:
                sink(line)


def _joined(prefix: bytes, data: list[Any]) -> bytes:
    """A call with long bytes among its arguments."""
    parts = [prefix, head(4, len(data))]
    for item in data:
        if item.__class__ is bytes and len(item) > LONG_BYTES:
            parts.append(head(2, len(item)))
            parts.append(item)
        else:
            parts.append(encode(item))
    parts.append(_EMPTY_MAP)
    return b"".join(parts)


class BoundMethod:
    """A method of an object that lives on the host."""

    __slots__ = ("__self__", "_function")

    def __init__(self, function: Function, own: ObjectBase) -> None:
        self._function = function
        self.__self__ = own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function._invoke(self.__self__, args, kwargs)

    def with_options(self, **options: Any) -> BoundMethod:
        """See :meth:`Function.with_options`."""
        return BoundMethod(self._function.with_options(**options), self.__self__)

    def _begin_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future:
        return self._function._begin(self.__self__, args, kwargs)

    @property
    def __name__(self) -> str:
        return self._function.__name__

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._function.__doc__

    @property
    def __signature__(self) -> Any:
        return self._function.__signature__

    def __repr__(self) -> str:
        return f"<method {self._function._definition} of {self.__self__!r}>"


class Method:
    """A method as an attribute of a class."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, own: ObjectBase | None, _cls: type | None = None) -> Any:
        return self if own is None else BoundMethod(self._function, own)

    def __call__(self, own: ObjectBase, *args: Any, **kwargs: Any) -> Any:
        return self._function._invoke(own, args, kwargs)

    @property
    def __signature__(self) -> Any:
        return python_signature(self._function._definition.signature)


# ------------------------------------------------------------------------------------------------------- resources


class ResourceMeta(type):
    """Makes calling a resource's class call its constructor on the host."""

    _rpc_constructor: Function | None
    _rpc_state: ModuleState
    _rpc_resource: ResourceType

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        constructor = cls.__dict__.get("_rpc_constructor")
        if constructor is None:
            raise TypeError(f"{cls.__name__} has no constructor; a function gives its objects")
        return constructor(*args, **kwargs)

    def __repr__(cls) -> str:
        state = cls.__dict__.get("_rpc_state")
        return f"<resource {state.name}.{cls.__name__}>" if state is not None else type.__repr__(cls)

    @property
    def __signature__(cls) -> Any:
        constructor = cls.__dict__.get("_rpc_constructor")
        if constructor is None:
            raise AttributeError("__signature__")
        return constructor.__signature__


class Object(ObjectBase, metaclass=ResourceMeta):
    """An object that lives on the host, in the instance that made it.

    Its class has the methods that its WIT says. It is let go of when nobody holds it here any more, by ``close()``, or
    at the end of a ``with``; :func:`rpc_host.release` does the same where the resource has a ``close`` of its own.
    """

    __slots__ = ()

    def close(self) -> None:
        """Lets go of it, and waits until its destructor has run on the host."""
        release(self)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exception: object) -> None:
        release(self)


def release(value: ObjectBase) -> None:
    """Lets go of an object of the host's, and waits until its destructor has run. Twice is once."""
    cell = value._rpc
    pairs = cell.session.close_cell(cell)
    link = cell.session.link
    if not pairs or link.ended is not None:
        return
    if not link.can_wait:
        # Called by a destructor, within the connection's own work.
        link.release_later(*pairs[0])
        return
    exchange = Exchange(Kind.RELEASE, messages.release(pairs))
    served = SERVED.get()
    link.begin(exchange, while_serving=served is not None and served.link is link)
    answer = link.wait(exchange)
    if answer.__class__ is not tuple and not isinstance(answer, NotFound):
        raise answer


def make_resource_class(state: ModuleState, resource: ResourceType) -> type:
    """The class of a resource's objects."""
    members: dict[str, Any] = {
        "__slots__": (),
        "__module__": "rpc_host",
        "__qualname__": f"{state.name}.{resource.class_name}",
        "_rpc_state": state,
        "_rpc_resource": resource,
        "_rpc_constructor": None,
    }
    docs = [resource.docs] if resource.docs else []
    if resource.constructor is not None:
        members["_rpc_constructor"] = Function(state, resource.constructor)
        docs.append(str(resource.constructor))
    for name, function in resource.methods.items():
        members[name] = Method(Function(state, function, skip=1))
        docs.append(str(function))
    for name, function in resource.statics.items():
        members[name] = Function(state, function)
        docs.append(str(function))
    members["__doc__"] = f"resource {resource.name}\n\n" + "\n".join(docs)
    return ResourceMeta(resource.class_name, (Object,), members)


# --------------------------------------------------------------------------------------------------------- futures


class Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """What a call will come to. ``cancel()`` ends it on the host."""

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        outcome: Callable[[Answer, bool], Any],
        context: CallContext | None,
    ) -> None:
        super().__init__()
        self._context = context
        self._session = session
        self._exchange = exchange
        self._outcome = outcome
        self._lines: deque[OutputLine] = deque()
        self._is_handing_over = threading.Lock()
        exchange.callback = self._answered

    def cancel(self) -> bool:
        """Ends the call on the host, if it has not ended. It cannot be known how far it has come."""
        if not super().cancel():
            return False
        self._session.link.cancel(self._exchange)
        return True

    def _answered(self, answer: Answer) -> None:
        """Called by the thread that reads, which must not be kept."""
        if self._lines or self._done_callbacks:  # type: ignore[attr-defined]
            self._session.pool.submit(lambda: self._settle(answer))
        else:
            self._settle(answer, False)

    def _settle(self, answer: Answer, may_ask: bool = True) -> None:
        if self.cancelled():
            session_discards(self._session)(answer)
            if self._context is not None:
                self._context.done()
            return
        try:
            value = self._outcome(answer, may_ask)
        except Stale:
            self._session.pool.submit(lambda: self._settle(answer))
        except BaseException as raised:
            error = raised
            self._end(lambda: self.set_exception(error))
        else:
            self._end(lambda: self.set_result(value))

    def _end(self, end: Callable[[], None]) -> None:
        try:
            end()
        except concurrent.futures.InvalidStateError:
            pass  # cancelled meanwhile

    def _lines_to(self, sink: OutputSink) -> Callable[[int, bytes], None]:
        def take(kind: int, payload: bytes) -> None:
            line = output_of(payload) if kind == Kind.OUTPUT else None
            if line is not None:
                self._lines.append(line)
                self._session.pool.submit(lambda: self._hand_over(sink))

        return take

    def _hand_over(self, sink: OutputSink) -> None:
        with self._is_handing_over:
            while self._lines:
                sink(self._lines.popleft())


def async_call(function: Any, /, *args: Any, timeout: float | None = None, **kwargs: Any) -> Future:
    """Begins a call and gives what it will come to, a :class:`concurrent.futures.Future`."""
    if isinstance(function, ResourceMeta):
        constructor = function.__dict__.get("_rpc_constructor")
        if constructor is None:
            raise TypeError(f"{function.__name__} has no constructor")
        function = constructor
    if timeout is not None and isinstance(function, (Function, BoundMethod)):
        function = function.with_options(timeout=timeout)
    if isinstance(function, BoundMethod):
        return function._begin_call(args, kwargs)
    if isinstance(function, Function):
        return function._begin(None, args, kwargs)
    raise TypeError(f"{function!r} is no function of a host")


# --------------------------------------------------------------------------------------------------------- modules


class _Members:
    """A registration or an interface: its functions, interfaces and resources are its attributes."""

    _rpc: ModuleState

    def _rpc_find(self, name: str) -> Any:
        raise NotImplementedError

    def _rpc_names(self) -> Collection[str]:
        raise NotImplementedError

    def _rpc_made(self, member: Any) -> Any:
        state = self._rpc
        if isinstance(member, Definition):
            return Function(state, member)
        if isinstance(member, ResourceType):
            return state.resource_class(member.interface, member.name)
        if isinstance(member, Space):
            return Interface(state, member.name or "")
        return member

    def _rpc_member(self, name: str) -> Any:
        """What a name stands for; made once for as long as nothing changes."""
        state = self._rpc
        description = state.describe()
        kept: tuple[int, dict[str, Any]] | None = self.__dict__.get("_rpc_kept")
        if kept is None or kept[0] != state.version:
            kept = (state.version, {})
            self.__dict__["_rpc_kept"] = kept
        found = kept[1].get(name)
        if found is None:
            member = self._rpc_find(name)
            if member is None:
                raise AttributeError(description.missing(repr(self), name), name=name, obj=self)
            if isinstance(member, Ambiguous):
                raise AttributeError(
                    f"{self!r}: {name!r} could be {' or '.join(member.paths)}; say which, as in "
                    f"module[{member.paths[0]!r}]"
                )
            found = kept[1].setdefault(name, self._rpc_made(member))
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in self._rpc_names() and not isinstance(self._rpc_find(name), Ambiguous):
            description = self._rpc.describe()
            raise AttributeError(description.missing(repr(self), name), name=name, obj=self)
        return self._rpc_member(name)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._rpc_member(name)
        except AttributeError as error:
            raise KeyError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._rpc_find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._rpc_names()))

    def __dir__(self) -> list[str]:
        try:
            return sorted(name for name in self._rpc_names() if name.isidentifier())
        except Error:
            return []

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self._rpc_names())

    def __reduce__(self) -> Any:
        raise TypeError("what belongs to a connection cannot be pickled")


class Module(_Members):
    """A registration: its functions, interfaces and resources are its attributes."""

    def __init__(self, state: ModuleState) -> None:
        self._rpc = state

    def _rpc_find(self, name: str) -> Any:
        return self._rpc.describe().named(name)

    def _rpc_names(self) -> Collection[str]:
        members = self._rpc.describe().members
        return [name for name, member in members.items() if not isinstance(member, Ambiguous)]

    def __repr__(self) -> str:
        return f"<module {self._rpc.name}>"

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        description = self._rpc.known
        if description is None:
            return f"module {self._rpc.name}"
        lines = [f"module {self._rpc.name}"]
        if description.docs:
            lines += ["", description.docs]
        interface: str | None = None
        for function in description.functions:
            if function.interface != interface:
                interface = function.interface
                lines += ["", f"{interface}:"]
            lines.append(f"    {function}" if interface else str(function))
        return "\n".join(lines)


class Interface(_Members):
    """An interface of a registration: its functions and resources are its attributes."""

    def __init__(self, state: ModuleState, name: str) -> None:
        self._rpc = state
        self._rpc_name = name

    def _rpc_find(self, name: str) -> Any:
        space = self._rpc.describe().interfaces.get(self._rpc_name)
        if space is None:
            return None
        return space.member(name) or space.member(identifier(name))

    def _rpc_names(self) -> Collection[str]:
        space = self._rpc.describe().interfaces.get(self._rpc_name)
        return () if space is None else space.names

    def __repr__(self) -> str:
        return f"<interface {self._rpc_name} of {self._rpc.name}>"


class Modules:
    """The registrations that the tenant has, and the names that are served: ``conn.modules.calc``, or
    ``conn.modules["acme:log/logger"]``.

    ``in``, ``iter`` and ``dir`` work. Assigning a local object serves the name from this program, for this session;
    ``del`` restores what answered before.
    """

    def __init__(self, connection: Connection) -> None:
        self.__dict__["_rpc_connection"] = connection

    def __getitem__(self, name: str) -> Module:
        try:
            return self._rpc_connection._module(name)  # type: ignore[no-any-return]
        except NotFound as error:
            raise KeyError(f"{name}: {error.message}") from error

    def __getattr__(self, name: str) -> Module:
        if name.startswith("_"):
            raise AttributeError(f"'Modules' object has no attribute {name!r}")
        try:
            return self._rpc_connection._module(kebab(name))  # type: ignore[no-any-return]
        except NotFound as error:
            raise AttributeError(f"{name}: {error.message}", name=name, obj=self) from error

    def __setitem__(self, name: str, target: Any) -> None:
        self._rpc_connection.provide(name, target)

    def __setattr__(self, name: str, target: Any) -> None:
        self[kebab(name)] = target

    def __delitem__(self, name: str) -> None:
        self._rpc_connection._withdraw_own(name)

    def __delattr__(self, name: str) -> None:
        del self[kebab(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._rpc_names() or kebab(name) in self._rpc_names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._rpc_names())

    def __len__(self) -> int:
        return len(self._rpc_names())

    def __dir__(self) -> list[str]:
        try:
            return [snake(name) for name in self._rpc_names() if snake(name).isidentifier()]
        except Error:
            return []

    def _ipython_key_completions_(self) -> list[str]:
        return self._rpc_names()

    def _rpc_names(self) -> list[str]:
        return self._rpc_connection._names()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<modules of {self._rpc_connection!r}>"
