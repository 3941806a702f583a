"""Operations on tenants and tokens, to be awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .._operations import tenant_settings


class _Operations:
    def __init__(self, operate: Callable[..., Awaitable[Any]]) -> None:
        self._operate = operate


class Tenants(_Operations):
    """Tenants, for operators."""

    async def create(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Makes a tenant."""
        return await self._operate("tenant-create", **tenant_settings(name, allow, limits, weight))

    async def set(
        self,
        name: str,
        *,
        allow: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        weight: int | None = None,
    ) -> Any:
        """Sets something for a tenant; the rest stays as it is."""
        return await self._operate("tenant-set", **tenant_settings(name, allow, limits, weight))

    async def list(self) -> Any:
        """All tenants."""
        return await self._operate("tenant-list")

    async def show(self, name: str) -> Any:
        """One tenant."""
        return await self._operate("tenant-show", name=name)

    async def remove(self, name: str) -> Any:
        """Removes a tenant with all that it has."""
        return await self._operate("tenant-remove", name=name)


class Tokens(_Operations):
    """Tokens, for admins."""

    async def create(self, role: str, *, tenant: str | None = None, expires_in: float | None = None) -> Any:
        """Makes a token; its secret, ``token``, is shown this once. ``expires_in`` is in seconds."""
        seconds = None if expires_in is None else max(1, int(expires_in))
        return await self._operate("token-create", tenant=tenant, role=role, **{"expires-in-s": seconds})

    async def list(self, tenant: str | None = None) -> Any:
        """The tokens of a tenant."""
        return await self._operate("token-list", tenant=tenant)

    async def revoke(self, id: str) -> Any:
        """Makes a token worthless at once."""
        return await self._operate("token-revoke", id=id)
