"""Functions and resources of a host, to be awaited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._errors import (
    ArgumentError,
    NoAnswer,
    NotFound,
    RemoteError,
)
from .._exchange import Exchange
from .._frame import Kind
from .._function import Function, Method, session_of
from .._future import Stale
from .._link import log
from .._objects import ObjectBase
from .._output import OutputSink, output_of
from .._resource import ResourceMeta
from .._serving import SERVED

if TYPE_CHECKING:
    from .._description import ResourceType
    from .._state import ModuleState


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
            exchange.on_event = lines_to(sink)
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


def lines_to(sink: OutputSink) -> Callable[[int, bytes], None]:
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


def make_resource_class(state: ModuleState, resource: ResourceType) -> type:
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
