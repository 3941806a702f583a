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

import dataclasses
import enum
import math
import operator
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn, Protocol

from ._errors import ArgumentError, DecodeError, Error, GuestError
from ._names import identifier, kebab, snake
from ._types import UNKNOWN, Signature, Type

__all__ = ["Codec", "Context", "Enum", "Err", "Ok", "Record", "Some", "Variant", "asdict", "codec"]


class Context(Protocol):
    """Who knows the objects of a session."""

    def give(self, value: Any, resource: str, own: bool) -> Any:
        """An object as it crosses: as a tag."""

    def take(self, raw: Any, resource: str, own: bool) -> Any:
        """The object of a tag."""


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


# ---------------------------------------------------------------------------------------------- what users see


class _Case:
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


class Ok(_Case):
    """The good end of a WIT ``result`` within a value."""

    __slots__ = ()


class Err(_Case):
    """The bad end of a WIT ``result`` within a value."""

    __slots__ = ()


class Some(_Case):
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
        attribute = _ATTRIBUTES[type(self)].get(snake(name))
        if attribute is None:
            raise KeyError(name)
        return getattr(self, attribute)

    def __setitem__(self, name: str, value: Any) -> None:
        attribute = _ATTRIBUTES[type(self)].get(snake(name))
        if attribute is None:
            raise KeyError(name)
        setattr(self, attribute, value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and snake(name) in _ATTRIBUTES[type(self)]

    def __iter__(self) -> Iterator[str]:
        return iter(_ATTRIBUTES[type(self)].values())


_ATTRIBUTES: dict[type, dict[str, str]] = {}


def asdict(value: Any) -> Any:
    """The same value with dicts in the place of records, all the way down."""
    if isinstance(value, Record):
        return {name: asdict(getattr(value, name)) for name in _ATTRIBUTES[type(value)].values()}
    if isinstance(value, (list, tuple)):
        return type(value)(asdict(item) for item in value)
    if isinstance(value, dict):
        return {key: asdict(item) for key, item in value.items()}
    if isinstance(value, _Case):
        return type(value)(asdict(value.value))
    if isinstance(value, Variant):
        return Variant(value.case, asdict(value.value))
    return value


@lru_cache(1024)
def _record_class(names: tuple[str, ...]) -> type:
    attributes = {snake(name): identifier(name) for name in names}
    cls = dataclasses.make_dataclass(
        "Record", list(attributes.values()), bases=(Record,), slots=True, namespace={"__module__": "rpc_host"}
    )
    _ATTRIBUTES[cls] = attributes
    return cls


@lru_cache(1024)
def _enum_class(names: tuple[str, ...]) -> type[Enum]:
    members = [(identifier(name).upper(), snake(name)) for name in names]
    return Enum("Enum", members, module="rpc_host")  # type: ignore[call-overload, no-any-return]


# ----------------------------------------------------------------------------------------------------- the codecs

Convert = Callable[[Any, Any], Any]


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


def _integer(ty: Type) -> tuple[Convert, Convert]:
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


def _float(ty: Type) -> tuple[Convert, Convert]:
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


def _bool(_ty: Type) -> tuple[Convert, Convert]:
    def both(value: Any, _context: Any) -> bool:
        if value is True or value is False:
            return value
        if type(value).__name__ in ("bool_", "bool"):  # numpy's
            return bool(value)
        mismatch("bool", value)

    return both, both


def _char(_ty: Type) -> tuple[Convert, Convert]:
    def both(value: Any, _context: Any) -> str:
        if not isinstance(value, str):
            mismatch("char", value)
        if len(value) != 1:
            raise Wrong("expected char, got text that is not one character")
        return str(_sound(value))

    return both, both


def _string(_ty: Type) -> tuple[Convert, Convert]:
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


def _bytes_on(ty: Type) -> Convert:
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
        element = codec(Type("u8")).on
        return bytes(_each(items, element, None))

    return on


def _bytes_off(ty: Type) -> Convert:
    element = codec(Type("u8")).off

    def off(value: Any, context: Any) -> bytes:
        if value.__class__ is bytes:
            return value
        if value.__class__ is list:
            return bytes(_each(value, element, context))
        mismatch(ty, value)

    return off


def _each(items: list[Any], convert: Convert, context: Any) -> list[Any]:
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
        return _bytes_on(ty), _bytes_off(ty)
    kind, element_on, element_off = element.type.kind, element.on, element.off

    def on(value: Any, context: Any) -> list[Any]:
        items = _as_list(ty, value)
        return items if _are_plain(items, kind) else _each(items, element_on, context)

    def off(value: Any, context: Any) -> list[Any]:
        if value.__class__ is not list:
            mismatch(ty, value)
        return value if _are_plain(value, kind) else _each(value, element_off, context)

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


_ABSENT: Any = object()


def _record(ty: Type) -> tuple[Convert, Convert]:
    parts = [
        (name, snake(name), identifier(name), codec(part), part.kind == "option")
        for name, part in zip(ty.names, ty.inner)
        if part is not None
    ]
    own_class: type | None = None

    def make() -> type:
        nonlocal own_class
        own_class = _record_class(ty.names)
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
                field = getattr(value, attribute, _ABSENT)
                if field is _ABSENT:
                    field = getattr(value, plain, _ABSENT)
                if field is _ABSENT:
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
            field = given.pop(plain, _ABSENT)
            if field is _ABSENT and attribute != plain:
                field = given.pop(attribute, _ABSENT)
            if field is _ABSENT:
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
                field = value.get(wire, _ABSENT)
                if field is not _ABSENT:
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
            cls = _enum_class(ty.names)
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


def _as_it_is(_ty: Type) -> tuple[Convert, Convert]:
    def both(value: Any, _context: Any) -> Any:
        return value

    return both, both


_MAKERS: dict[str, Callable[[Type], tuple[Convert, Convert]]] = {
    **dict.fromkeys(("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"), _integer),
    "f32": _float,
    "f64": _float,
    "bool": _bool,
    "char": _char,
    "string": _string,
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


# ------------------------------------------------------------------------------------------------ whole functions


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
            value = _ABSENT
            for spelling in (identifier(name), snake(name), name):
                value = named.pop(spelling, _ABSENT)
                if value is not _ABSENT:
                    break
            if index < len(args):
                if value is not _ABSENT:
                    raise ArgumentError(f"args.{name}: given by position already")
            elif value is not _ABSENT:
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


# -------------------------------------------------------------------------------------------------- without types


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
