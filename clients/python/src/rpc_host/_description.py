"""What a registration offers, found by the names that Python gives to it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from ._names import identifier, pascal
from ._types import Function, Resource, Signature, Type, parse_functions, parse_resources

__all__ = ["Ambiguous", "Description", "ResourceType", "Space", "docs_of", "python_signature"]


class ResourceType:
    """A resource with its functions."""

    def __init__(self, name: str, interface: str | None, docs: str = "") -> None:
        self.name = name
        self.interface = interface
        self.docs = docs
        self.constructor: Function | None = None
        self.methods: dict[str, Function] = {}
        self.statics: dict[str, Function] = {}

    @property
    def class_name(self) -> str:
        return pascal(self.name)

    def add(self, function: Function) -> None:
        role = function.role
        if role == "constructor":
            self.constructor = function
        elif role == "static":
            self.statics[identifier(function.short_name)] = function
        else:
            self.methods[identifier(function.short_name)] = function


class Ambiguous:
    """A short name for several things."""

    def __init__(self, *paths: str) -> None:
        self.paths = list(paths)


class Space:
    """The names of a world or an interface."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.functions: dict[str, Function] = {}
        self.resources: dict[str, ResourceType] = {}

    @property
    def short_name(self) -> str:
        """``demo:calc/calc@0.1.0`` → ``calc``."""
        return short_interface(self.name or "")

    def member(self, name: str) -> Function | ResourceType | None:
        return self.functions.get(name) or self.resources.get(name)

    @property
    def names(self) -> set[str]:
        return {*self.functions, *self.resources}


def short_interface(name: str) -> str:
    """The interface without its package and version."""
    return name.rpartition("/")[2].partition("@")[0].rpartition(":")[2]


Member = Function | ResourceType | Space | Ambiguous


class Description:
    """The functions and resources of a registration."""

    def __init__(self, data: Any) -> None:
        data = data if isinstance(data, dict) else {}
        self.data = data
        self.functions: list[Function] = parse_functions(data.get("functions"))
        docs = data.get("docs")
        self.docs = docs if isinstance(docs, str) else ""
        self.world = Space(None)
        self.interfaces: dict[str, Space] = {}
        self.by_path: dict[str, Function] = {}
        for resource in parse_resources(data.get("resources")):
            self._resource(resource)
        for function in self.functions:
            self.by_path[function.path] = function
            space = self._space(function.interface)
            if function.resource is None:
                space.functions[identifier(function.name)] = function
            else:
                self._resource(Resource(function.resource, function.interface)).add(function)
        self.members = self._members()

    def _space(self, interface: str | None) -> Space:
        if interface is None:
            return self.world
        return self.interfaces.setdefault(interface, Space(interface))

    def _resource(self, resource: Resource) -> ResourceType:
        resources = self._space(resource.interface).resources
        return resources.setdefault(
            pascal(resource.name), ResourceType(resource.name, resource.interface, resource.docs)
        )

    def _members(self) -> dict[str, Member]:
        """What a bare name stands for: at world level first, then what one interface alone has, then interfaces."""
        found: dict[str, Member] = {}
        for space in self.interfaces.values():
            inner: dict[str, Any] = {**space.resources, **space.functions}
            for name, member in inner.items():
                path = f"{space.name}.{member.name}"
                other = found.get(name)
                if other is None:
                    found[name] = member
                elif isinstance(other, Ambiguous):
                    other.paths.append(path)
                else:
                    first = f"{getattr(other, 'interface', None)}.{getattr(other, 'name', '')}"
                    found[name] = Ambiguous(first, path)
        shorts: dict[str, Member] = {}
        for space in self.interfaces.values():
            name = identifier(space.short_name)
            same = shorts.get(name)
            if same is None:
                shorts[name] = space
            elif isinstance(same, Ambiguous):
                same.paths.append(space.name or "")
            elif isinstance(same, Space):
                shorts[name] = Ambiguous(same.name or "", space.name or "")
        return {**shorts, **found, **self.world.resources, **self.world.functions}

    def named(self, text: str) -> Member | None:
        """What a name in any spelling stands for: of Python, or a path as in WIT."""
        found = self.members.get(text) or self.members.get(identifier(text)) or self.interfaces.get(text)
        if found is not None:
            return found
        function = self.by_path.get(text)
        if function is not None:
            return function
        # An interface without its version, or a function behind one.
        for name, space in self.interfaces.items():
            plain, _, version = name.partition("@")
            if text in (plain, f"{space.short_name}@{version}"):
                return space
            for start in (name, plain, space.short_name, f"{space.short_name}@{version}"):
                if text.startswith(f"{start}."):
                    inner = text[len(start) + 1 :]
                    member = space.member(identifier(inner)) or space.member(pascal(inner))
                    if member is not None:
                        return member
        return None

    def resource(self, interface: str | None, name: str) -> ResourceType:
        """The resource that a type of a function names; one without functions, if nothing is said of it."""
        plain = name.rpartition(".")[2].rpartition("/")[2]
        key = pascal(plain)
        spaces: Iterable[Space] = (
            [self._space(interface), self.world, *self.interfaces.values()]
            if interface is None or interface in self.interfaces
            else [self.world, *self.interfaces.values()]
        )
        for space in spaces:
            found = space.resources.get(key)
            if found is not None:
                return found
        return ResourceType(plain, interface)

    def missing(self, what: str, name: str) -> str:
        """What is said of a name that is not there."""
        names = sorted(self.members)
        close = difflib.get_close_matches(name, names, 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else f"; it has {', '.join(names[:20]) or 'nothing'}"
        return f"{what} has no {name!r}{hint}"


def docs_of(function: Function, shown: str) -> str:
    """What ``help`` shows of a function."""
    return f"{shown}: {function.signature}\n\n{function.docs}".rstrip()


def python_signature(signature: Signature, skip: int = 0) -> inspect.Signature:
    """A signature as Python shows it, with types as in WIT."""
    parameters = []
    has_default = False
    for parameter in signature.parameters[skip:]:
        has_default = has_default or parameter.type.kind == "option"
    trailing = _trailing_options(signature, skip)
    names: set[str] = set()
    for index, parameter in enumerate(signature.parameters[skip:]):
        name = identifier(parameter.name)
        if name in names or not name.isidentifier():
            name = f"arg{index}"
        names.add(name)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None if index >= trailing else inspect.Parameter.empty,
                annotation=Shown(parameter.type),
            )
        )
    result = inspect.Signature.empty if signature.result is None else Shown(signature.result)
    return inspect.Signature(parameters, return_annotation=result)


def _trailing_options(signature: Signature, skip: int) -> int:
    """From which parameter on all are options, so that they may be left out."""
    parameters = signature.parameters[skip:]
    at = len(parameters)
    while at and parameters[at - 1].type.kind == "option":
        at -= 1
    return at


class Shown:
    """A type that shows itself as in WIT."""

    def __init__(self, type: Type) -> None:
        self.type = type

    def __repr__(self) -> str:
        return str(self.type)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.type)
