"""Whole functions: arguments on their way out and in, results on their way back."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._codec import ABSENT, codec
from ._errors import ArgumentError, DecodeError, Error, GuestError
from ._names import identifier, kebab, snake
from ._shapes import Err, Ok, Some, Variant
from ._wrong import Wrong, mismatch

if TYPE_CHECKING:
    from ._scalars import Convert
    from ._types import Signature


class Caller:
    """How the arguments of a function go out and its result comes in."""

    __slots__ = ("_names", "_ons", "count", "has_bytes", "holds_objects", "off", "shown", "signature")

    def __init__(self, signature: Signature, shown: str, skip: int = 0) -> None:
        """``skip`` parameters from the left are not the caller's to give: a method's own object."""
        parameters = signature.parameters[skip:]
        self.signature = signature
        self.shown = shown
        self.count = len(parameters)
        self._ons = [codec(parameter.type).on for parameter in parameters]
        self._names = [parameter.name for parameter in parameters]
        kinds = [parameter.type for parameter in parameters]
        #: Whether an argument may be many bytes.
        self.has_bytes = any(kind.kind == "list" and str(kind) == "list<u8>" for kind in kinds)
        self.holds_objects = any(kind.holds_objects() for kind in kinds)
        self.off: Convert | None = None
        if signature.result is not None:
            self.off = codec(signature.result).off
            self.holds_objects |= signature.result.holds_objects()

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> list[Any]:
        """All arguments as data, in the order of the parameters."""
        if kwargs or len(args) != self.count:
            args = self._bound(args, kwargs)
        at = 0
        try:
            data = []
            for on in self._ons:
                data.append(on(args[at], context))
                at += 1
            return data
        except Wrong as wrong:
            raise ArgumentError(wrong.at(f"args[{at}]")) from None
        except Error:
            raise
        except Exception as error:  # of an object that does not let itself be looked at
            raise ArgumentError(f"args[{at}]: cannot be looked at: {error!r}") from error

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position; options that are left out are none."""
        parameters = self.signature.parameters[len(self.signature.parameters) - self.count :]
        if len(args) > self.count:
            raise ArgumentError(f"args: expected {_counted(self.count)}, got {len(args)}: {self.shown}")
        named = dict(kwargs)
        bound = list(args)
        for index, parameter in enumerate(parameters):
            name = parameter.name
            value = ABSENT
            for spelling in (identifier(name), snake(name), name):
                value = named.pop(spelling, ABSENT)
                if value is not ABSENT:
                    break
            if index < len(args):
                if value is not ABSENT:
                    raise ArgumentError(f"args.{name}: given by position already")
            elif value is not ABSENT:
                bound.append(value)
            elif parameter.type.kind == "option":
                bound.append(None)
            else:
                raise ArgumentError(
                    f"args[{index}]: missing argument `{name}`: expected {parameter.type}; the function is {self.shown}"
                )
        for name in named:
            raise ArgumentError(f"args.{name}: no such parameter; the function is {self.shown}")
        return tuple(bound)

    def result(self, data: Any, is_result: bool, context: Any) -> Any:
        """The result; a guest error is raised."""
        off = self.off
        try:
            if off is None:
                if data is not None:
                    mismatch("nothing", data)
                return None
            if self.signature.returns_result is not is_result:
                raise Wrong(f"the function is {self.shown}, and the answer is not of it")
            value = off(data, context)
        except Wrong as wrong:
            raise DecodeError(wrong.at("result")) from None
        if is_result:
            if value.__class__ is Err:
                raise GuestError(value.value)
            return value.value
        return value


class Server:
    """How the arguments of a served function come in and its result goes out."""

    __slots__ = ("_offs", "_on", "count", "is_result", "signature")

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.count = len(signature.parameters)
        self._offs = [codec(parameter.type).off for parameter in signature.parameters]
        self._on = None if signature.result is None else codec(signature.result).on
        self.is_result = signature.returns_result

    def arguments(self, data: Any, context: Any) -> list[Any]:
        if data.__class__ is not list or len(data) != self.count:
            raise ArgumentError(f"args: expected {_counted(self.count)}")
        at = 0
        try:
            values = []
            for off in self._offs:
                values.append(off(data[at], context))
                at += 1
            return values
        except Wrong as wrong:
            raise ArgumentError(wrong.at(f"args[{at}]")) from None

    def result(self, value: Any, context: Any) -> Any:
        """The answer as data. Of a function that returns a ``result``, a plain value is its ``ok``."""
        if self._on is None:
            # Nothing is expected, so nothing is wrong with what is more.
            return None
        if self.is_result and not isinstance(value, (Ok, Err, GuestError)):
            value = Ok(value)
        try:
            return self._on(value, context)
        except Wrong as wrong:
            raise ArgumentError(wrong.at("result")) from None


def _counted(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"


def untyped_on(value: Any, context: Any) -> Any:
    """A value as data where nobody has said of what type it is: names are taken as they are given."""
    if value is None or (isinstance(value, (bool, int, float)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return kebab(value.value if isinstance(value.value, str) else value.name)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Ok):
        return {"ok": untyped_on(value.value, context)}
    if isinstance(value, (Err, GuestError)):
        return {"err": untyped_on(value.value, context)}
    if isinstance(value, Some):
        return {"some": untyped_on(value.value, context)}
    if isinstance(value, Variant):
        name = kebab(value.case)
        return name if value.value is None else {name: untyped_on(value.value, context)}
    if isinstance(value, Mapping):
        return {untyped_on(key, context): untyped_on(item, context) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            kebab(field.name): untyped_on(getattr(value, field.name), context) for field in dataclasses.fields(value)
        }
    if isinstance(value, (set, frozenset)):
        return sorted(kebab(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [untyped_on(item, context) for item in value]
    if context is not None:
        return context.give(value, "", True)
    raise ArgumentError(f"{type(value).__name__} has no form in WIT")
