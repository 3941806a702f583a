"""Operations on modules, registrations, tenants and tokens: what goes out, and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._names import snake


class Entry(dict[str, Any]):
    """What the host says of something: a dict whose keys are attributes too. What it does not say is ``None``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]


#: Their keys are not names of fields.
_MAPS = ("limits", "bindings")


def entry_of(data: Any) -> Any:
    """The answer to an operation, with names as in Python."""
    if isinstance(data, dict):
        return Entry(
            (snake(key), value if key in _MAPS and isinstance(value, dict) else entry_of(value))
            for key, value in data.items()
        )
    if isinstance(data, list):
        return [entry_of(item) for item in data]
    return data


class Operations:
    """A group of operations on one kind of thing."""

    def __init__(self, operate: Callable[..., Any]) -> None:
        self._operate = operate


class Tenants(Operations):
    """Tenants, for operators."""

    def create(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Makes a tenant."""
        return self._operate("tenant-create", **tenant_settings(name, allow, limits, weight))

    def set(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Sets something for a tenant; the rest stays as it is."""
        return self._operate("tenant-set", **tenant_settings(name, allow, limits, weight))

    def list(self) -> Any:
        """All tenants."""
        return self._operate("tenant-list")

    def show(self, name: str) -> Any:
        """One tenant."""
        return self._operate("tenant-show", name=name)

    def remove(self, name: str) -> Any:
        """Removes a tenant with all that it has."""
        return self._operate("tenant-remove", name=name)


class Tokens(Operations):
    """Tokens, for admins."""

    def create(self, role: str, *, tenant: str | None = None, expires_in: float | None = None) -> Any:
        """Makes a token; its secret, ``token``, is shown this once. ``expires_in`` is in seconds."""
        seconds = None if expires_in is None else max(1, int(expires_in))
        return self._operate("token-create", tenant=tenant, role=role, **{"expires-in-s": seconds})

    def list(self, tenant: str | None = None) -> Any:
        """The tokens of a tenant."""
        return self._operate("token-list", tenant=tenant)

    def revoke(self, id: str) -> Any:
        """Makes a token worthless at once."""
        return self._operate("token-revoke", id=id)


def tenant_settings(
    name: str, allow: Sequence[str] | None, limits: Mapping[str, int] | None, weight: int | None
) -> dict[str, Any]:
    return {
        "name": name,
        "allow": None if allow is None else list(allow),
        "limits": None if limits is None else dict(limits),
        "weight": weight,
    }


def registration_fields(
    name: str,
    digest: str,
    grants: Sequence[str],
    limits: Mapping[str, int] | None,
    bindings: Mapping[str, str] | None,
    sealed: bool,
    if_revision: int | None,
    force: bool,
    instancing: str | None,
) -> dict[str, Any]:
    """The fields of ``register`` and ``promote``, in the order of the protocol's text."""
    return {
        "name": name,
        "digest": digest,
        "grants": list(grants),
        "limits": dict(sorted((limits or {}).items())),
        "bindings": dict(sorted((bindings or {}).items())),
        "sealed": True if sealed else None,
        "instancing": None if instancing in (None, "call") else instancing,
        "if-revision": if_revision,
        "force": True if force else None,
    }


def swap_fields(name: str, to: str | int, if_revision: int | None, force: bool) -> dict[str, Any]:
    return {
        "name": name,
        "to": {"revision": to} if isinstance(to, int) else {"digest": to},
        "if-revision": if_revision,
        "force": True if force else None,
    }


def wasm_of(source: Any) -> bytes:
    """The bytes of a module, given as such, or as the path of a file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if hasattr(source, "read"):
        return bytes(source.read())
    with open(source, "rb") as file:
        return file.read()


def digest_of(wasm: bytes) -> str:
    return f"sha256:{hashlib.sha256(wasm).hexdigest()}"


def is_module(to: Any) -> bool:
    """Whether a swap's target is a module that has yet to be uploaded."""
    if isinstance(to, str):
        return not to.startswith("sha256:")
    return not isinstance(to, int)
