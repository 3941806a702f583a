"""Python values ↔ plain data, by WIT type.

For each type a pair of functions is made once: one that turns a Python value into what CBOR can carry, and one for
the way back. Both say where something is wrong: ``args[1].point.x: expected s32, got text``.

==============  =====================================================  ==========================================
WIT             given                                                  got
==============  =====================================================  ==========================================
bool            bool                                                   bool
s8 … u64        int, or anything with ``__index__``                    int
f32, f64        float, int, or anything with ``__float__``             float
char            text of one character                                  str
string          str                                                    str
list<u8>        bytes, bytearray, memoryview, iterable of int          bytes
list<T>         any iterable but text and mappings                     list
tuple           any iterable of so many                                tuple
map<K, V>       any mapping                                            dict
record          mapping, dataclass, named tuple, object                a dataclass (:class:`Record`)
enum            text, member of an enumeration                         str enumeration (:class:`Enum`)
flags           iterable of text                                       frozenset of str
variant         :class:`Variant`, text, pair, mapping of one entry     :class:`Variant`
option<T>       None, or the value, or :class:`Some`                   None, or the value
nested option   None, :class:`Some`                                    None, :class:`Some`
result<T, E>    :class:`Ok`, :class:`Err`                              :class:`Ok`, :class:`Err`
own, borrow     an object of the host's, or any object of this side    the same
==============  =====================================================  ==========================================
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from ._cbor import encode
from ._errors import GuestError
from ._names import identifier, kebab, snake
from ._scalars import Convert, boolean, bytes_off, bytes_on, char, each, floating, integer, string
from ._shapes import Enum, Err, Ok, Some, Variant, enum_class, record_class
from ._types import UNKNOWN, Type
from ._wrong import Wrong, kind_of, mismatch


class Context(Protocol):
    """Who knows the objects of a session."""

    def give(self, value: Any, resource: str, own: bool) -> Any:
        """An object as it crosses: as a tag."""

    def take(self, raw: Any, resource: str, own: bool) -> Any:
        """The object of a tag."""


class Codec:
    """How values of a type cross."""

    __slots__ = ("is_plain", "off", "on", "type")

    def __init__(self, type: Type, on: Convert, off: Convert) -> None:
        self.type = type
        #: Python → data
        self.on = on
        #: data → Python
        self.off = off
        #: Whether data and Python values are the same things.
        self.is_plain = type.kind in _PLAIN


_PLAIN = frozenset(("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "char", "string"))


@lru_cache(4096)
def codec(ty: Type) -> Codec:
    """The codec of a type; the same for equal types."""
    on, off = _MAKERS[ty.kind](ty)
    return Codec(ty, on, off)


def _inner(ty: Type, index: int = 0) -> Codec:
    part = ty.inner[index]
    assert part is not None
    return codec(part)


_BOUNDS = {
    name: ((-(1 << (b - 1)), (1 << (b - 1)) - 1) if name[0] == "s" else (0, (1 << b) - 1))
    for name in ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64")
    for b in (int(name[1:]),)
}


def _are_plain(items: list[Any], kind: str) -> bool:
    """Whether all items are of a plain type, looked at by the interpreter's own loops."""
    if not items:
        return True
    classes = set(map(type, items))
    if len(classes) != 1:
        return False
    (cls,) = classes
    if cls is int and kind in _BOUNDS:
        low, high = _BOUNDS[kind]
        return bool(min(items) >= low and max(items) <= high)
    if cls is bool:
        return kind == "bool"
    return bool(cls is float and kind == "f64")


def _as_list(ty: Type, value: Any) -> list[Any]:
    if value.__class__ is list:
        return value
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        mismatch(ty, value)
    return list(value)


def _list(ty: Type) -> tuple[Convert, Convert]:
    element = _inner(ty)
    if element.type.kind == "u8":
        return bytes_on(ty), bytes_off(ty)
    kind, element_on, element_off = element.type.kind, element.on, element.off

    def on(value: Any, context: Any) -> list[Any]:
        items = _as_list(ty, value)
        return items if _are_plain(items, kind) else each(items, element_on, context)

    def off(value: Any, context: Any) -> list[Any]:
        if value.__class__ is not list:
            mismatch(ty, value)
        return value if _are_plain(value, kind) else each(value, element_off, context)

    return on, off


def _fixed_list(ty: Type) -> tuple[Convert, Convert]:
    on_any, off_any = _list(Type("list", ty.inner))
    length = ty.length

    def fitting(items: Any) -> Any:
        if len(items) != length:
            raise Wrong(f"expected {ty}, got {len(items)} elements")
        return items

    return (lambda value, context: fitting(on_any(value, context))), (
        lambda value, context: fitting(off_any(value, context))
    )


def _tuple(ty: Type) -> tuple[Convert, Convert]:
    parts = [codec(part) for part in ty.inner if part is not None]
    count = len(parts)

    def fitting(items: list[Any]) -> list[Any]:
        if len(items) != count:
            raise Wrong(f"expected {ty}, got an array of {len(items)}")
        return items

    def convert(items: list[Any], converts: list[Convert], context: Any) -> list[Any]:
        at = 0
        try:
            converted = []
            for at, part in enumerate(converts):
                converted.append(part(items[at], context))
            return converted
        except Wrong as wrong:
            raise wrong.within(f"[{at}]") from None

    ons, offs = [part.on for part in parts], [part.off for part in parts]

    def on(value: Any, context: Any) -> list[Any]:
        return convert(fitting(_as_list(ty, value)), ons, context)

    def off(value: Any, context: Any) -> tuple[Any, ...]:
        if value.__class__ is not list:
            mismatch(ty, value)
        return tuple(convert(fitting(value), offs, context))

    return on, off


def _map(ty: Type) -> tuple[Convert, Convert]:
    keys, values = _inner(ty, 0), _inner(ty, 1)

    def convert(items: Mapping[Any, Any], key_of: Convert, value_of: Convert, context: Any) -> dict[Any, Any]:
        converted = {}
        for key, value in items.items():
            try:
                converted[key_of(key, context)] = value_of(value, context)
            except Wrong as wrong:
                raise wrong.within(f"[{key!r}]") from None
        return converted

    def on(value: Any, context: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            mismatch(ty, value)
        converted = convert(value, keys.on, values.on, context)
        if len(converted) != len(value):
            raise Wrong("a key is there twice")
        return converted

    def off(value: Any, context: Any) -> dict[Any, Any]:
        if value.__class__ is not dict:
            mismatch(ty, value)
        return convert(value, keys.off, values.off, context)

    return on, off


ABSENT: Any = object()


def _record(ty: Type) -> tuple[Convert, Convert]:
    parts = [
        (name, snake(name), identifier(name), codec(part), part.kind == "option")
        for name, part in zip(ty.names, ty.inner)
        if part is not None
    ]
    own_class: type | None = None

    def make() -> type:
        nonlocal own_class
        own_class = record_class(ty.names)
        return own_class

    def on(value: Any, context: Any) -> dict[str, Any]:
        converted = {}
        wire = ""
        try:
            if value.__class__ is own_class and own_class is not None:
                for wire, _snake, attribute, part, _optional in parts:
                    converted[wire] = part.on(getattr(value, attribute), context)
                return converted
            if isinstance(value, Mapping):
                return of_mapping(value, context)
            if value is None or isinstance(value, (str, bytes, bytearray, memoryview, int, float, list, set)):
                mismatch(ty, value)
            if value.__class__ is tuple:
                mismatch(ty, value)
            for wire, plain, attribute, part, optional in parts:
                field = getattr(value, attribute, ABSENT)
                if field is ABSENT:
                    field = getattr(value, plain, ABSENT)
                if field is ABSENT:
                    if not optional:
                        raise Wrong(f"missing: expected {part.type}")
                    field = None
                converted[wire] = part.on(field, context)
            return converted
        except Wrong as wrong:
            raise (wrong.within(f".{wire}") if wire else wrong) from None

    def of_mapping(value: Mapping[Any, Any], context: Any) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for key in value:
            if not isinstance(key, str):
                raise Wrong(f"a field is named by text, not by {kind_of(key)}")
            name = snake(key)
            if name in given:
                raise Wrong("the field is there twice").within(f".{key}")
            given[name] = value[key]
        converted = {}
        for wire, plain, attribute, part, optional in parts:
            field = given.pop(plain, ABSENT)
            if field is ABSENT and attribute != plain:
                field = given.pop(attribute, ABSENT)
            if field is ABSENT:
                if not optional:
                    raise Wrong(f"missing: expected {part.type}").within(f".{wire}")
                field = None
            try:
                converted[wire] = part.on(field, context)
            except Wrong as wrong:
                raise wrong.within(f".{wire}") from None
        for name in given:
            raise Wrong(f"no such field in {ty}").within(f".{name}")
        return converted

    def off(value: Any, context: Any) -> Any:
        if value.__class__ is not dict:
            mismatch(ty, value)
        found = 0
        fields = []
        wire = ""
        try:
            for wire, _snake, _attribute, part, optional in parts:
                field = value.get(wire, ABSENT)
                if field is not ABSENT:
                    found += 1
                    fields.append(part.off(field, context))
                elif optional:
                    fields.append(None)
                else:
                    raise Wrong(f"missing: expected {part.type}")
        except Wrong as wrong:
            raise wrong.within(f".{wire}") from None
        if found != len(value):
            raise Wrong(f"a field that is not in {ty}")
        return (own_class or make())(*fields)

    return on, off


def _enum(ty: Type) -> tuple[Convert, Convert]:
    by_name = {snake(name): name for name in ty.names}
    members: dict[str, Enum] = {}

    def on(value: Any, _context: Any) -> str:
        if isinstance(value, enum.Enum):
            value = value.value if isinstance(value.value, str) else value.name
        if not isinstance(value, str):
            mismatch(ty, value)
        name = by_name.get(snake(value)) or by_name.get(snake(kebab(value)))
        if name is None:
            raise Wrong(f'expected {ty}, got "{value}"')
        return name

    def off(value: Any, _context: Any) -> Enum:
        if not members:
            cls = enum_class(ty.names)
            members.update((name, cls(snake(name))) for name in ty.names)
        if value.__class__ is not str:
            mismatch(ty, value)
        member = members.get(value)
        if member is None:
            raise Wrong(f'expected {ty}, got "{value}"')
        return member

    return on, off


def _flags(ty: Type) -> tuple[Convert, Convert]:
    by_name = {snake(name): name for name in ty.names}
    shown = {name: snake(name) for name in ty.names}

    def on(value: Any, _context: Any) -> list[str]:
        if isinstance(value, enum.Flag):
            value = [member.name for member in type(value) if member in value]
        if isinstance(value, Mapping):
            value = [name for name, is_set in value.items() if is_set]
        if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
            mismatch(ty, value)
        given = set()
        for text in value:
            if isinstance(text, enum.Enum):
                text = text.value if isinstance(text.value, str) else text.name
            if not isinstance(text, str):
                mismatch(ty, text)
            name = by_name.get(snake(text)) or by_name.get(snake(kebab(text)))
            if name is None:
                raise Wrong(f'expected {ty}, got "{text}"')
            given.add(name)
        return [name for name in ty.names if name in given]

    def off(value: Any, _context: Any) -> frozenset[str]:
        if value.__class__ is not list:
            mismatch(ty, value)
        names = []
        for text in value:
            if text.__class__ is not str or text not in shown:
                raise Wrong(f"expected {ty}, got {text if isinstance(text, str) else kind_of(text)!r}")
            names.append(shown[text])
        flags = frozenset(names)
        if len(flags) != len(names):
            raise Wrong("a flag is there twice")
        return flags

    return on, off


def _variant(ty: Type) -> tuple[Convert, Convert]:
    cases = {name: (None if part is None else codec(part)) for name, part in zip(ty.names, ty.inner)}
    by_name = {snake(name): name for name in ty.names}

    def on(value: Any, context: Any) -> Any:
        payload: Any = None
        if isinstance(value, Variant):
            case, payload = value.case, value.value
        elif isinstance(value, enum.Enum):
            case = value.value if isinstance(value.value, str) else value.name
        elif isinstance(value, str):
            case = value
        elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            case, payload = value
        elif isinstance(value, Mapping) and len(value) == 1:
            ((case, payload),) = value.items()
            if not isinstance(case, str):
                mismatch(ty, value)
        else:
            mismatch(ty, value)
        name = by_name.get(snake(case)) or by_name.get(snake(kebab(case)))
        if name is None:
            raise Wrong(f'expected {ty}, got "{case}"')
        part = cases[name]
        if part is None:
            if payload is not None:
                raise Wrong(f"the case has no payload, got {kind_of(payload)}").within(f".{name}")
            return name
        try:
            return {name: part.on(payload, context)}
        except Wrong as wrong:
            raise wrong.within(f".{name}") from None

    def off(value: Any, context: Any) -> Variant:
        if value.__class__ is str:
            if value not in cases:
                raise Wrong(f'expected {ty}, got "{value}"')
            if cases[value] is not None:
                raise Wrong(f"missing payload: expected {ty}").within(f".{value}")
            return Variant(value)
        if value.__class__ is not dict or len(value) != 1:
            mismatch(ty, value)
        ((name, payload),) = value.items()
        part = cases.get(name) if name.__class__ is str else None
        if part is None:
            raise Wrong(f"expected {ty}, got {name!r}")
        try:
            return Variant(name, part.off(payload, context))
        except Wrong as wrong:
            raise wrong.within(f".{name}") from None

    return on, off


def _option(ty: Type) -> tuple[Convert, Convert]:
    inner = _inner(ty)
    inner_on, inner_off = inner.on, inner.off
    if inner.type.kind == "option":

        def on_nested(value: Any, context: Any) -> Any:
            if value is None:
                return None
            if value.__class__ is Some:
                value = value.value
            try:
                return {"some": inner_on(value, context)}
            except Wrong as wrong:
                raise wrong.within(".some") from None

        def off_nested(value: Any, context: Any) -> Any:
            if value is None:
                return None
            if value.__class__ is not dict or set(value) != {"some"}:
                mismatch(f"{ty} as null or {{some: …}}", value)
            try:
                return Some(inner_off(value["some"], context))
            except Wrong as wrong:
                raise wrong.within(".some") from None

        return on_nested, off_nested

    def on(value: Any, context: Any) -> Any:
        if value is None:
            return None
        return inner_on(value.value if value.__class__ is Some else value, context)

    def off(value: Any, context: Any) -> Any:
        return None if value is None else inner_off(value, context)

    return on, off


def _payload(part: Codec | None, value: Any, context: Any, place: str, way: str) -> Any:
    if part is None:
        if value is not None:
            raise Wrong(f"it carries nothing, got {kind_of(value)}").within(place)
        return None
    try:
        return part.on(value, context) if way == "on" else part.off(value, context)
    except Wrong as wrong:
        raise wrong.within(place) from None


def _result(ty: Type) -> tuple[Convert, Convert]:
    ok, err = (None if part is None else codec(part) for part in ty.inner)

    def on(value: Any, context: Any) -> dict[str, Any]:
        if value.__class__ is Ok:
            return {"ok": _payload(ok, value.value, context, ".ok", "on")}
        if value.__class__ is Err or isinstance(value, GuestError):
            return {"err": _payload(err, value.value, context, ".err", "on")}
        if isinstance(value, Mapping) and len(value) == 1:
            ((side, payload),) = value.items()
            if side == "ok":
                return {"ok": _payload(ok, payload, context, ".ok", "on")}
            if side == "err":
                return {"err": _payload(err, payload, context, ".err", "on")}
        mismatch(f"{ty} as Ok(…) or Err(…)", value)

    def off(value: Any, context: Any) -> Any:
        if value.__class__ is dict and len(value) == 1:
            ((side, payload),) = value.items()
            if side == "ok":
                return Ok(_payload(ok, payload, context, ".ok", "off"))
            if side == "err":
                return Err(_payload(err, payload, context, ".err", "off"))
        mismatch(f"{ty} as {{ok: …}} or {{err: …}}", value)

    return on, off


def _object(ty: Type) -> tuple[Convert, Convert]:
    resource, own = ty.names[0], ty.kind == "own"

    def on(value: Any, context: Any) -> Any:
        if context is None:
            raise Wrong(f"{ty} has no place here")
        return context.give(value, resource, own)

    def off(value: Any, context: Any) -> Any:
        if context is None:
            raise Wrong(f"{ty} has no place here")
        return context.take(value, resource, own)

    return on, off


def _as_it_is(ty: Type) -> tuple[Convert, Convert]:
    """A type that this package does not know: what can cross at all does."""

    def on(value: Any, _context: Any) -> Any:
        try:
            encode(value)
        except Exception:  # whatever the library makes of it
            mismatch(ty, value)
        return value

    def off(value: Any, _context: Any) -> Any:
        return value

    return on, off


_MAKERS: dict[str, Callable[[Type], tuple[Convert, Convert]]] = {
    **dict.fromkeys(("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"), integer),
    "f32": floating,
    "f64": floating,
    "bool": boolean,
    "char": char,
    "string": string,
    "list": _list,
    "fixed-list": _fixed_list,
    "tuple": _tuple,
    "map": _map,
    "record": _record,
    "enum": _enum,
    "flags": _flags,
    "variant": _variant,
    "option": _option,
    "result": _result,
    "own": _object,
    "borrow": _object,
    UNKNOWN: _as_it_is,
}
