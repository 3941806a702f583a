"""What a link runs over: TLS, or a pair of streams."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from .._errors import (
    ConnectError,
)
from .._outbox import SLICE_BYTES
from .._transport import ALPN

if TYPE_CHECKING:
    from .._profile import Profile
    from ._link import Link


class TlsProtocol(asyncio.Protocol):
    """A link over TLS."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link.transport = transport

    def data_received(self, data: bytes) -> None:
        self._link.data_received(data)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._link.lost(error)

    def pause_writing(self) -> None:
        self._link.can_write.clear()

    def resume_writing(self) -> None:
        self._link.can_write.set()


async def dial(link: Link, profile: Profile, context: ssl.SSLContext, timeout: float) -> None:
    host, port = profile.host_and_port
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await asyncio.wait_for(
            loop.create_connection(
                lambda: TlsProtocol(link), host, port, ssl=context, server_hostname=profile.expected_name
            ),
            timeout,
        )
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(f"no secure connection to {profile.address}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ConnectError(f"no secure connection to {profile.address}: {error}") from error
    except (OSError, asyncio.TimeoutError) as error:
        raise ConnectError(f"cannot connect to {profile.address}: {error or 'it took too long'}") from error
    secure = transport.get_extra_info("ssl_object")
    if secure is None or secure.selected_alpn_protocol() != ALPN:
        transport.abort()
        raise ConnectError(
            f"no secure connection to {profile.address}: the server is no rpc-host, or of another version"
        )


class Streams:
    """A pair of streams in the place of a transport. They are borrowed, unless they are said to be owned."""

    def __init__(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, owned: bool) -> None:
        self._link = link
        self._reader = reader
        self._writer = writer
        self._owned = owned
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        error: BaseException | None = None
        try:
            while True:
                data = await self._reader.read(SLICE_BYTES)
                if not data:
                    break
                self._link.data_received(data)
                if self._link.ended is not None:
                    break
        except (OSError, asyncio.CancelledError) as caught:
            error = caught if isinstance(caught, OSError) else None
        finally:
            self._link.lost(error)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        if self._owned:
            self._writer.close()
        if self._task is not asyncio.current_task():
            self._task.cancel()

    abort = close
