"""Functions of a host, called like any other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._binding import Caller
from ._cbor import Malformed, decode, encode, head
from ._description import docs_of, python_signature
from ._errors import (
    ArgumentError,
    DecodeError,
    InvalidArgument,
    NoAnswer,
    NotFound,
    RemoteError,
    Unimplemented,
)
from ._exchange import Answer, Exchange
from ._frame import RESULT, Kind
from ._names import snake
from ._objects import CallContext, ObjectBase
from ._serving import SERVED

if TYPE_CHECKING:
    from ._client import Connection
    from ._link import Link
    from ._session import Session
    from ._state import ModuleState
    from ._types import Function as Definition
from ._future import Future, Stale, session_discards
from ._output import OutputSink, output_of, print_output

#: The host ends a call that takes too long. So much longer is waited for it to say so.
GRACE_S = 2.0


#: Bytes that are longer are not copied more often than they have to be.
LONG_BYTES = 4096


_EMPTY_MAP = b"\xa0"


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
            if exchange.answer is not None:
                session_discards(session)(exchange.answer)
            elif exchange.callback is not None:
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
