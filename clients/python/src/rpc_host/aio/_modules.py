"""Registrations and what is in them, looked up when it is called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from .._description import Ambiguous, Description, ResourceType, Space
from .._function import DEFAULT, Options
from .._names import identifier, kebab, pascal
from .._types import Function as Definition
from ._function import AsyncFunction

if TYPE_CHECKING:
    from .._output import OutputSink
    from .._state import ModuleState
    from ._client import Connection


class Path:
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
        return found if found is not None else Path(self._rpc, (*self._rpc_names, name))

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
    ) -> Path:
        """See :meth:`rpc_host.Function.with_options`."""
        return Path(self._rpc, self._rpc_names, self._rpc_options.but(timeout, allow, output))

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
    return Path(state, names)


class Modules:
    """The registrations: ``conn.modules.calc``, or ``conn.modules["acme:log/logger"]``. What is not there says so when
    it is called. To serve a name, ``await conn.provide(name, object)``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getitem__(self, name: str) -> Any:
        return Path(self._connection._state(name), ())

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
