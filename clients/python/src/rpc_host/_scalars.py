"""Numbers, text and bytes, there and back."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ._types import Type
from ._wrong import Wrong, kind_of, mismatch

Convert = Callable[[Any, Any], Any]


def integer(ty: Type) -> tuple[Convert, Convert]:
    name = ty.kind
    bits = int(name[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name[0] == "s" else (0, (1 << bits) - 1)

    def on(value: Any, _context: Any) -> int:
        if value.__class__ is not int:
            if isinstance(value, bool):
                mismatch(name, value)
            try:
                value = int(operator.index(value))
            except TypeError:
                mismatch(name, value)
        if low <= value <= high:
            return value  # type: ignore[no-any-return]
        raise Wrong(f"{value if -(1 << 128) < value < 1 << 128 else 'integer'} is out of range of {name}")

    def off(value: Any, _context: Any) -> int:
        if value.__class__ is not int:
            mismatch(name, value)
        if low <= value <= high:
            return value
        raise Wrong(f"{value} is out of range of {name}")

    return on, off


def floating(ty: Type) -> tuple[Convert, Convert]:
    name = ty.kind
    narrow = name == "f32"
    pack = struct.Struct("<f").pack

    def on(value: Any, _context: Any) -> float:
        if value.__class__ is not float:
            if isinstance(value, bool) or isinstance(value, (str, bytes, bytearray)):
                mismatch(name, value)
            try:
                number = float(value)
            except (TypeError, ValueError):
                mismatch(name, value)
            except OverflowError:
                raise Wrong(f"{kind_of(value)} is out of range of {name}") from None
            if isinstance(value, int) and int(number) != value:
                raise Wrong(f"{value} is not held exactly by {name}")
            value = number
        if narrow and math.isfinite(value):
            try:
                pack(value)
            except OverflowError:
                raise Wrong(f"{value} is out of range of {name}") from None
        return value  # type: ignore[no-any-return]

    def off(value: Any, _context: Any) -> float:
        if value.__class__ is float:
            return value
        if value.__class__ is int:
            return float(value)
        mismatch(name, value)

    return on, off


def boolean(_ty: Type) -> tuple[Convert, Convert]:
    def both(value: Any, _context: Any) -> bool:
        if value is True or value is False:
            return value
        if type(value).__name__ in ("bool_", "bool"):  # numpy's
            return bool(value)
        mismatch("bool", value)

    return both, both


def char(_ty: Type) -> tuple[Convert, Convert]:
    def both(value: Any, _context: Any) -> str:
        if not isinstance(value, str):
            mismatch("char", value)
        if len(value) != 1:
            raise Wrong("expected char, got text that is not one character")
        return str(_sound(value))

    return both, both


def string(_ty: Type) -> tuple[Convert, Convert]:
    def on(value: Any, _context: Any) -> str:
        if value.__class__ is not str:
            if not isinstance(value, str):
                mismatch("string", value)
            value = str.__str__(value)
        return value if value.isascii() else _sound(value)

    def off(value: Any, _context: Any) -> str:
        if value.__class__ is str:
            return value
        mismatch("string", value)

    return on, off


def _sound(text: str) -> str:
    """Text has no half characters."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Wrong(f"{error.object[error.start]!a} is no character") from None
    return text


def bytes_on(ty: Type) -> Convert:
    def on(value: Any, _context: Any) -> bytes:
        if value.__class__ is bytes:
            return value
        if isinstance(value, (bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, bytes):
            return bytes(value)
        if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
            mismatch(ty, value)
        items = list(value)
        try:
            if not any(isinstance(item, bool) for item in items):
                return bytes(items)
        except (TypeError, ValueError, OverflowError):
            pass
        element, _ = integer(Type("u8"))
        return bytes(each(items, element, None))

    return on


def bytes_off(ty: Type) -> Convert:
    _, element = integer(Type("u8"))

    def off(value: Any, context: Any) -> bytes:
        if value.__class__ is bytes:
            return value
        if value.__class__ is list:
            return bytes(each(value, element, context))
        mismatch(ty, value)

    return off


def each(items: list[Any], convert: Convert, context: Any) -> list[Any]:
    """Each item converted. Where one is wrong, it is looked for."""
    try:
        return [convert(item, context) for item in items]
    except Wrong as wrong:
        # Those before it were right: the first that is wrong again is the one.
        for index, item in enumerate(items):
            try:
                convert(item, context)
            except Wrong as again:
                raise again.within(f"[{index}]") from None
        raise wrong.within("[…]") from None
