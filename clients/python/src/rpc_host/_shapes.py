"""The classes of values: what users see of records, variants, enums, options and results."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ._names import identifier, snake


class Case:
    """A small class around one value."""

    __slots__ = ("value",)
    __match_args__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})" if self.value is not None else f"{type(self).__name__}()"


class Ok(Case):
    """The good end of a WIT ``result`` within a value."""

    __slots__ = ()


class Err(Case):
    """The bad end of a WIT ``result`` within a value."""

    __slots__ = ()


class Some(Case):
    """A value that is there, where an option holds an option: ``None`` is none, ``Some(None)`` is some none."""

    __slots__ = ()


class Variant:
    """A case of a WIT ``variant``, with its payload if it has one: ``Variant("circle", 1.5)``."""

    __slots__ = ("case", "value")
    __match_args__ = ("case", "value")

    def __init__(self, case: str, value: Any = None) -> None:
        self.case = snake(case)
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variant):
            return NotImplemented
        return self.case == other.case and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((self.case, self.value))

    def __repr__(self) -> str:
        return f"Variant({self.case!r})" if self.value is None else f"Variant({self.case!r}, {self.value!r})"


class Enum(str, enum.Enum):
    """A WIT ``enum``: a text that is one of a few, ``Enum.DARK_BLUE == "dark_blue"``."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class Record:
    """A WIT ``record``: a dataclass of its fields, which can also be had by name, ``point["x"]``."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        attribute = ATTRIBUTES[type(self)].get(snake(name))
        if attribute is None:
            raise KeyError(name)
        return getattr(self, attribute)

    def __setitem__(self, name: str, value: Any) -> None:
        attribute = ATTRIBUTES[type(self)].get(snake(name))
        if attribute is None:
            raise KeyError(name)
        setattr(self, attribute, value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and snake(name) in ATTRIBUTES[type(self)]

    def __iter__(self) -> Iterator[str]:
        return iter(ATTRIBUTES[type(self)].values())


ATTRIBUTES: dict[type, dict[str, str]] = {}


def asdict(value: Any) -> Any:
    """The same value with dicts in the place of records, all the way down."""
    if isinstance(value, Record):
        return {name: asdict(getattr(value, name)) for name in ATTRIBUTES[type(value)].values()}
    if isinstance(value, (list, tuple)):
        return type(value)(asdict(item) for item in value)
    if isinstance(value, dict):
        return {key: asdict(item) for key, item in value.items()}
    if isinstance(value, Case):
        return type(value)(asdict(value.value))
    if isinstance(value, Variant):
        return Variant(value.case, asdict(value.value))
    return value


@lru_cache(1024)
def record_class(names: tuple[str, ...]) -> type:
    attributes = {snake(name): identifier(name) for name in names}
    cls = dataclasses.make_dataclass(
        "Record", list(attributes.values()), bases=(Record,), slots=True, namespace={"__module__": "rpc_host"}
    )
    ATTRIBUTES[cls] = attributes
    return cls


@lru_cache(1024)
def enum_class(names: tuple[str, ...]) -> type[Enum]:
    members = [(identifier(name).upper(), snake(name)) for name in names]
    return Enum("Enum", members, module="rpc_host")  # type: ignore[call-overload, no-any-return]
