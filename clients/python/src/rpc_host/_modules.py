"""``conn.modules.calc.add(2, 3)``: registrations, interfaces, functions and resources as Python objects."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ._description import Ambiguous, ResourceType, Space
from ._errors import (
    Error,
    NotFound,
)
from ._names import identifier, kebab, snake
from ._types import Function as Definition

if TYPE_CHECKING:
    from ._client import Connection
    from ._future import Future
    from ._state import ModuleState
from ._function import BoundMethod, Function
from ._resource import ResourceMeta

log = logging.getLogger("rpc_host")


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

    def _rpc_made_before(self, name: str) -> Any:
        """What was made of an attribute, for as long as nothing changes."""
        kept: tuple[int, dict[Any, Any]] | None = self.__dict__.get("_rpc_kept")
        return None if kept is None or kept[0] != self._rpc.version else kept[1].get(name)

    def _rpc_member(self, name: str, key: Any) -> Any:
        """What a name stands for; made once for as long as nothing changes."""
        state = self._rpc
        description = state.describe()
        kept: tuple[int, dict[Any, Any]] | None = self.__dict__.get("_rpc_kept")
        if kept is None or kept[0] != state.version:
            kept = (state.version, {})
            self.__dict__["_rpc_kept"] = kept
        found = kept[1].get(key)
        if found is None:
            member = self._rpc_find(name)
            if member is None:
                raise AttributeError(description.missing(repr(self), name), name=name, obj=self)
            if isinstance(member, Ambiguous):
                raise AttributeError(
                    f"{self!r}: {name!r} could be {' or '.join(member.paths)}; say which, as in "
                    f"module[{member.paths[0]!r}]"
                )
            found = kept[1].setdefault(key, self._rpc_made(member))
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = self._rpc_made_before(name)
        if found is not None:
            return found
        if name not in self._rpc_names() and not isinstance(self._rpc_find(name), Ambiguous):
            description = self._rpc.describe()
            raise AttributeError(description.missing(repr(self), name), name=name, obj=self)
        return self._rpc_member(name, name)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._rpc_member(name, (name,))
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
