"""That a value does not fit its type, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class Wrong(Exception):
    """A value that does not fit; on its way out, those who hold the value say where it is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = ""

    def within(self, place: str) -> Wrong:
        self.place = place + self.place
        return self

    def at(self, root: str) -> str:
        return f"{root}{self.place}: {self.problem}"


def kind_of(value: Any) -> str:
    """What a value is, in the words of the protocol."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return type(value).__name__


_KINDS: tuple[tuple[Any, str], ...] = (
    (type(None), "null"),
    (bool, "bool"),
    (int, "integer"),
    (float, "float"),
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple), "array"),
    (Mapping, "map"),
)


def mismatch(expected: object, value: Any) -> NoReturn:
    raise Wrong(f"expected {expected}, got {kind_of(value)}")
