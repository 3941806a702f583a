"""WIT types and signatures as the host describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Function", "Parameter", "Resource", "Signature", "Type", "parse_functions", "parse_resources"]

PRIMITIVES = frozenset(("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"))

#: A type that this version does not know. It is shown, and its values go through as they are.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Type:
    """A WIT type: what shape values have, without the names that WIT gives to types.

    ``kind`` is the name of a primitive, or ``list``, ``fixed-list``, ``map``, ``record``, ``tuple``, ``variant``,
    ``enum``, ``option``, ``result``, ``flags``, ``own`` or ``borrow``. What it is made of is in the other three:
    ``inner`` has types (none where a case or result has no payload), ``names`` those of fields, cases and flags, or
    the resource's, and ``length`` that of a fixed list.
    """

    kind: str
    inner: tuple[Type | None, ...] = ()
    names: tuple[str, ...] = ()
    length: int = 0

    def __str__(self) -> str:
        kind = self.kind
        inner = [str(part) for part in self.inner]
        if kind == "list":
            return f"list<{inner[0]}>"
        if kind == "fixed-list":
            return f"list<{inner[0]}, {self.length}>"
        if kind in ("map", "tuple", "option"):
            return f"{kind}<{', '.join(inner)}>"
        if kind == "record":
            fields = ", ".join(f"{name}: {part}" for name, part in zip(self.names, inner))
            return f"record {{ {fields} }}" if fields else "record {}"
        if kind == "variant":
            cases = zip(self.names, self.inner)
            return f"variant {{ {', '.join(n if t is None else f'{n}({t})' for n, t in cases)} }}"
        if kind in ("enum", "flags"):
            return f"{kind} {{ {', '.join(self.names)} }}" if self.names else f"{kind} {{}}"
        if kind == "result":
            ok, err = self.inner
            if err is not None:
                return f"result<{'_' if ok is None else ok}, {err}>"
            return "result" if ok is None else f"result<{ok}>"
        if kind == "own":
            return self.names[0]
        if kind == "borrow":
            return f"borrow<{self.names[0]}>"
        return self.names[0] if kind == UNKNOWN else kind

    def holds_objects(self) -> bool:
        """Whether a value can hold an object, or something that nobody here knows."""
        if self.kind in ("own", "borrow", UNKNOWN):
            return True
        return any(part is not None and part.holds_objects() for part in self.inner)


@dataclass(frozen=True)
class Parameter:
    """A parameter: its name in kebab-case, and its type."""

    name: str
    type: Type


@dataclass(frozen=True)
class Signature:
    """What a function takes and gives."""

    parameters: tuple[Parameter, ...] = ()
    result: Type | None = None

    def __str__(self) -> str:
        parameters = ", ".join(f"{parameter.name}: {parameter.type}" for parameter in self.parameters)
        return f"func({parameters})" if self.result is None else f"func({parameters}) -> {self.result}"

    @property
    def returns_result(self) -> bool:
        """Whether it ends with a WIT ``result``, so that it may have an error of its own."""
        return self.result is not None and self.result.kind == "result"


@dataclass(frozen=True)
class Function:
    """A function as the host describes it."""

    name: str
    interface: str | None = None
    signature: Signature = field(default_factory=Signature)
    docs: str = ""

    @property
    def path(self) -> str:
        """Its name behind that of its interface."""
        return self.name if self.interface is None else f"{self.interface}.{self.name}"

    @property
    def role(self) -> str:
        """``function``, ``constructor``, ``method`` or ``static``."""
        if self.name.startswith("["):
            return self.name[1:].partition("]")[0]
        return "function"

    @property
    def resource(self) -> str | None:
        """The resource that it is a part of."""
        if not self.name.startswith("["):
            return None
        return self.name.partition("]")[2].partition(".")[0]

    @property
    def short_name(self) -> str:
        """Its name within its interface or resource."""
        if not self.name.startswith("["):
            return self.name
        resource, _, name = self.name.partition("]")[2].partition(".")
        return name or resource

    def __str__(self) -> str:
        return f"{self.name}: {self.signature}"


@dataclass(frozen=True)
class Resource:
    """A resource type as the host describes it."""

    name: str
    interface: str | None = None
    docs: str = ""


def parse_type(data: Any) -> Type:
    """A type from its data. What is not known is kept as something to look at."""
    if isinstance(data, str) and data in PRIMITIVES:
        return Type(data)
    try:
        ((kind, body),) = data.items()
        return _PARSERS[kind](body)  # type: ignore[no-any-return]
    except Exception:  # whatever the data is, it can be shown
        return Type(UNKNOWN, names=(data if isinstance(data, str) else repr(data),))


def _fields(body: list[dict[str, Any]]) -> tuple[tuple[Type | None, ...], tuple[str, ...]]:
    types = tuple(parse_type(part["type"]) if part.get("type") is not None else None for part in body)
    return types, tuple(_text(part["name"]) for part in body)


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise TypeError
    return data


def _record(body: Any) -> Type:
    types, names = _fields(body)
    if None in types:
        raise TypeError
    return Type("record", types, names)


def _variant(body: Any) -> Type:
    return Type("variant", *_fields(body))


def _result(body: Any) -> Type:
    ok, err = body.get("ok"), body.get("err")
    return Type("result", (None if ok is None else parse_type(ok), None if err is None else parse_type(err)))


_PARSERS: dict[str, Any] = {
    "list": lambda body: Type("list", (parse_type(body),)),
    "fixed-list": lambda body: Type("fixed-list", (parse_type(body[0]),), length=int(body[1])),
    "map": lambda body: Type("map", (parse_type(body[0]), parse_type(body[1]))),
    "record": _record,
    "tuple": lambda body: Type("tuple", tuple(parse_type(part) for part in body)),
    "variant": _variant,
    "enum": lambda body: Type("enum", names=tuple(_text(name) for name in body)),
    "option": lambda body: Type("option", (parse_type(body),)),
    "result": _result,
    "flags": lambda body: Type("flags", names=tuple(_text(name) for name in body)),
    "own": lambda body: Type("own", names=(_text(body),)),
    "borrow": lambda body: Type("borrow", names=(_text(body),)),
}


def parse_signature(data: Any) -> Signature:
    """A signature from its data."""
    data = data if isinstance(data, dict) else {}
    parameters = data.get("parameters")
    result = data.get("result")
    return Signature(
        tuple(
            Parameter(str(part.get("name", "")), parse_type(part.get("type")))
            for part in (parameters if isinstance(parameters, list) else [])
            if isinstance(part, dict)
        ),
        None if result is None else parse_type(result),
    )


def parse_functions(data: Any) -> list[Function]:
    """The functions of a description or a lease."""
    functions = []
    for part in data if isinstance(data, list) else []:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            continue
        interface, docs = part.get("interface"), part.get("docs")
        functions.append(
            Function(
                part["name"],
                interface if isinstance(interface, str) else None,
                parse_signature(part.get("signature")),
                docs if isinstance(docs, str) else "",
            )
        )
    return functions


def parse_resources(data: Any) -> list[Resource]:
    """The resources of a description."""
    resources = []
    for part in data if isinstance(data, list) else []:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            continue
        interface, docs = part.get("interface"), part.get("docs")
        resources.append(
            Resource(
                part["name"],
                interface if isinstance(interface, str) else None,
                docs if isinstance(docs, str) else "",
            )
        )
    return resources
