"""Where a connection comes from: a profile, or a child."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from .._client import CONNECT_TIMEOUT_S
from .._connect import profile_of
from .._transport import context_of
from ._client import Connection, over_streams
from ._dial import dial

if TYPE_CHECKING:
    from .._profile import Profile


class _Connecting:
    """What :func:`connect` gives: to be awaited, or entered."""

    def __init__(self, make: Callable[[], Awaitable[Connection]]) -> None:
        self._make = make
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._make().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._make()
        return self._connection

    async def __aexit__(self, *_exception: object) -> None:
        if self._connection is not None:
            await self._connection.close()


def connect(
    host: str | None = None,
    port: int | None = None,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    server_name: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = 64,
) -> _Connecting:
    """Connects to a host: ``async with connect(…) as conn``, or ``conn = await connect(…)``.

    What it takes is what :func:`rpc_host.connect` takes.
    """

    async def make() -> Connection:
        found = profile_of(
            host,
            port,
            profile,
            token=token,
            ca=ca,
            certificate=certificate,
            key=key,
            server_name=server_name,
            max_reply_bytes=max_reply_bytes,
        )
        context = context_of(found)
        connection = Connection(
            lambda link: dial(link, found, context, timeout),
            found.address,
            token=found.token,
            timeout=timeout,
            call_timeout=call_timeout,
            module=module,
            max_reply_bytes=found.max_reply_bytes,
            serve_threads=serve_threads,
        )
        await connection._connect()
        return connection

    return _Connecting(make)


def connect_stdio(
    command: Sequence[str],
    *,
    token: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = 64,
    **options: Any,
) -> _Connecting:
    """Starts a host as a child, and speaks to it over its standard input and output."""

    async def make() -> Connection:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, **options
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            return await over_streams(
                process.stdout,
                process.stdin,
                process,
                " ".join(command),
                token=token,
                timeout=timeout,
                call_timeout=call_timeout,
                module=module,
                max_reply_bytes=max_reply_bytes,
                serve_threads=serve_threads,
            )
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise

    return _Connecting(make)
