"""Bytes to and from a host: over TLS, or over a pair of streams.

A transport is used by one reading and one writing thread at a time, which may be two different ones.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from ._errors import AuthenticationError, ConnectError, Error, ProfileError

if TYPE_CHECKING:
    from ._profile import Profile

__all__ = ["StreamTransport", "TlsTransport", "Transport", "context_of", "dial", "is_refused_certificate"]

ALPN = "rpc-host/1"
RECEIVE_BYTES = 256 << 10
#: A TLS record holds no more.
RECORD_BYTES = 16 << 10
#: A host that takes nothing for so long is given up.
WRITE_TIMEOUT_S = 30.0
#: So long a read waits at most before it looks around.
READ_TICK_S = 1.0


class Transport(Protocol):
    """Bytes to and from a host."""

    #: Whether bytes may have been lost between the stream and whoever wanted them, by an exception in between.
    torn: bool

    def receive(self) -> bytes | None:
        """The next bytes; ``None`` if there are none for about a second; empty at the end."""

    def readable(self, timeout: float) -> bool:
        """Waits until there is something to receive, or somebody wakes it."""

    def wake(self) -> None:
        """Ends a wait for something readable. Takes no lock, so that a destructor may do it."""

    def send(self, data: bytes) -> None:
        """Sends all of it."""

    def shut(self) -> None:
        """Ends reads and writes that are under way, wherever they are."""

    def farewell(self) -> None:
        """Says that nothing more will come, between two frames, if it can be said at once."""

    def close(self) -> None:
        """Lets go of it, when nobody uses it any more."""

    def abandon(self) -> None:
        """Lets go of it in a forked child, without a word to the host."""


class _Waker:
    """Wakes who waits for something readable."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._is_closed = False

    def fileno(self) -> int:
        return self._near.fileno()

    def wake(self) -> None:
        try:
            self._far.send(b"x")
        except OSError:
            pass  # it is full, so it will wake; or it is over

    def clear(self) -> None:
        try:
            self._near.recv(4096)
        except OSError:
            pass

    def close(self) -> None:
        self._near.close()
        self._far.close()


class _Poll:
    """Waits for one of two."""

    def __init__(self, first: int, waker: _Waker) -> None:
        self._first = first
        self._waker = waker
        self._poll: Any = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            events = select.POLLIN | select.POLLHUP | select.POLLERR
            self._poll.register(first, events)
            self._poll.register(waker.fileno(), select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Whether the first is readable."""
        if self._poll is not None:
            ready = [fd for fd, _ in self._poll.poll(max(0, int(timeout * 1000)))]
        else:
            ready, _, _ = select.select([self._first, self._waker.fileno()], [], [], max(0.0, timeout))
        if self._waker.fileno() in ready:
            self._waker.clear()
        return self._first in ready


class TlsTransport:
    """TLS over a socket.

    OpenSSL's objects are not made for a thread that reads while another one writes. So what is encrypted and what is
    plain meet in memory, under a lock that is never held while waiting for the network.
    """

    def __init__(self, sock: socket.socket, secure: ssl.SSLObject, arrived: ssl.MemoryBIO, leaving: ssl.MemoryBIO):
        self._secure = secure
        self._arrived = arrived
        self._leaving = leaving
        # The collector may run a destructor of the program's within, which may write.
        self._lock = threading.RLock()
        self._writer = sock
        self._writer.settimeout(WRITE_TIMEOUT_S)
        # The same socket with another patience.
        self._reader = sock.dup()
        self._reader.settimeout(READ_TICK_S)
        self._waker = _Waker()
        self._poll = _Poll(self._reader.fileno(), self._waker)
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._receive_into = self._reader.recv_into
        self.torn = False
        self._has_plain = False

    def receive(self) -> bytes | None:
        buffer = self._buffer
        # A record never begins with a zero: so it is known whether bytes came when an exception did.
        buffer[0] = 0
        self.torn = True
        if self._has_plain:
            self._has_plain = False
            with self._lock:
                plain = self._decrypted()
            return self._received(plain)
        try:
            count = self._receive_into(buffer)
        except TimeoutError:
            self.torn = False
            return None
        except BaseException:
            if buffer[0] == 0:
                self.torn = False
            raise
        if count == 0:
            return b""
        with self._lock:
            self._arrived.write(self._view[:count])
            plain = self._decrypted()
        return plain or self._received(plain)

    def _received(self, plain: bytes | None) -> bytes | None:
        """Bytes as they are; none where there is part of a record; empty at the end."""
        if plain == b"":
            self.torn = False
            return None
        return b"" if plain is None else plain

    def _decrypted(self) -> bytes | None:
        """All that is complete; ``None`` at the end."""
        secure, arrived = self._secure, self._arrived
        parts: list[bytes] = []
        try:
            while True:
                plain = secure.read(RECORD_BYTES)
                if not plain:
                    break
                if not arrived.pending and not secure.pending():
                    if not parts:
                        return plain
                    parts.append(plain)
                    return b"".join(parts)
                parts.append(plain)
        except ssl.SSLWantReadError:
            return b"".join(parts)
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts) if parts else None

    def readable(self, timeout: float) -> bool:
        return self._has_plain or self._poll.wait(timeout)

    def wake(self) -> None:
        self._waker.wake()

    def send(self, data: bytes) -> None:
        with self._lock:
            self._secure.write(data)
            sealed = self._leaving.read()
        self._writer.sendall(sealed)

    def shut(self) -> None:
        try:
            self._writer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._waker.wake()

    def farewell(self) -> None:
        """Says that nothing more will come, between two frames, if it can be said at once."""
        try:
            with self._lock:
                try:
                    self._secure.unwrap()
                except (ssl.SSLWantReadError, ssl.SSLError):
                    pass
                sealed = self._leaving.read()
            if sealed:
                self._writer.settimeout(0)
                self._writer.send(sealed)
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._waker.close()

    abandon = close


def context_of(profile: Profile) -> ssl.SSLContext:
    """TLS 1.3 to the one host that the profile describes: always verified, never resumed."""
    if not profile.ca:
        raise ProfileError("the profile is wrong: it has no `ca`, so no host can be believed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols([ALPN])
    try:
        context.load_verify_locations(cadata=profile.ca)
    except (ssl.SSLError, ValueError) as error:
        raise ProfileError(f"the profile is wrong: `ca` holds no certificate: {error}") from None
    if not context.get_ca_certs(binary_form=True):
        raise ProfileError("the profile is wrong: `ca` holds no certificate")
    if (profile.certificate is None) != (profile.key is None):
        raise ProfileError("the profile is wrong: `certificate` and `key` go together")
    if profile.certificate is not None and profile.key is not None:
        _load_chain(context, profile.certificate, profile.key)
    return context


def _load_chain(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads these from files only."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rpc-host-") as directory:
        names = []
        for name, text in (("certificate", certificate), ("key", key)):
            path = os.path.join(directory, name)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
            names.append(path)
        try:
            context.load_cert_chain(names[0], names[1], password=lambda: b"")
        except (ssl.SSLError, ValueError, OSError):
            # What is wrong with a key is told without any of it.
            raise ProfileError("the profile is wrong: `certificate` and `key` are no pair in PEM") from None


def is_refused_certificate(error: BaseException) -> bool:
    """Whether the host closed the channel because of the certificate that this client showed."""
    return isinstance(error, ssl.SSLError) and "ACCESS_DENIED" in (error.reason or "").upper().replace(" ", "_")


def refused_certificate() -> AuthenticationError:
    return AuthenticationError(
        "the host did not accept the certificate; ask an admin of the tenant for a new one", fault="peer"
    )


def dial(profile: Profile, context: ssl.SSLContext, timeout: float) -> TlsTransport:
    """A channel to the host of a profile."""
    host, port = profile.host_and_port
    deadline = time.monotonic() + timeout
    try:
        sock = socket.create_connection((host, port), timeout)
    except OSError as error:
        raise ConnectError(f"cannot connect to {profile.address}: {error}") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = context.wrap_bio(arrived, leaving, server_hostname=profile.expected_name)
        _shake_hands(sock, secure, arrived, leaving, deadline)
        if secure.selected_alpn_protocol() != ALPN:
            raise ConnectError(
                f"no secure connection to {profile.address}: the server is no rpc-host, or of another version"
            )
        transport = TlsTransport(sock, secure, arrived, leaving)
        # What came with the last message of the handshake has not been looked at.
        transport._has_plain = bool(arrived.pending)
        return transport
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise ConnectError(f"no secure connection to {profile.address}: {error.verify_message}") from error
    except ssl.SSLError as error:
        sock.close()
        raise ConnectError(f"no secure connection to {profile.address}: {error}") from error
    except OSError as error:
        sock.close()
        if isinstance(error, Error):
            raise
        raise ConnectError(f"cannot connect to {profile.address}: {error}") from error
    except BaseException:
        sock.close()
        raise


def _shake_hands(
    sock: socket.socket, secure: ssl.SSLObject, arrived: ssl.MemoryBIO, leaving: ssl.MemoryBIO, deadline: float
) -> None:
    while True:
        try:
            secure.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            is_done = False
        except ssl.SSLError:
            # The alert that says why should arrive.
            sock.settimeout(1.0)
            sealed = leaving.read()
            if sealed:
                sock.sendall(sealed)
            raise
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the handshake took too long")
        sock.settimeout(left)
        sealed = leaving.read()
        if sealed:
            sock.sendall(sealed)
        if is_done:
            return
        data = sock.recv(65536)
        if not data:
            raise ConnectionResetError("the other side closed the connection during the handshake")
        arrived.write(data)


class StreamTransport:
    """A pair of streams that belong to somebody else: closing it leaves them as they are.

    Streams that the system can wait for are waited for; of others a thread of its own reads.
    """

    def __init__(self, reader: Any, writer: Any, *, owned: bool = False) -> None:
        self._source = reader
        self._sink = writer
        self._owned = owned
        self._waker = _Waker()
        self._is_shut = False
        self.torn = False
        self._queue: queue.SimpleQueue[bytes] | None = None
        self._waiting: bytes | None = None
        self._read_fd = self._fd(reader) if _can_poll(reader) else None
        self._write_fd = self._fd(writer)
        self._poll: _Poll | None = None
        if self._read_fd is not None:
            self._poll = _Poll(self._read_fd, self._waker)
        else:
            self._queue = queue.SimpleQueue()
            threading.Thread(target=self._pump, name="rpc-host stream", daemon=True).start()

    @staticmethod
    def _fd(stream: Any) -> int | None:
        if isinstance(stream, int):
            return stream
        try:
            return int(stream.fileno())
        except (AttributeError, OSError, ValueError):
            return None

    def _pump(self) -> None:
        assert self._queue is not None
        read = getattr(self._source, "read1", None) or self._source.read
        size = RECEIVE_BYTES if hasattr(self._source, "read1") else 1
        while not self._is_shut:
            try:
                data = read(size)
            except (OSError, ValueError):
                data = b""
            self._queue.put(data or b"")
            self._waker.wake()
            if not data:
                return

    def receive(self) -> bytes | None:
        self.torn = True
        if self._waiting is not None:
            data, self._waiting = self._waiting, None
            return data
        if self._is_shut:
            return b""
        if self._queue is not None:
            try:
                return self._queue.get(timeout=READ_TICK_S)
            except queue.Empty:
                self.torn = False
                return None
        assert self._poll is not None and self._read_fd is not None
        if not self._poll.wait(READ_TICK_S):
            self.torn = False
            return b"" if self._is_shut else None
        return os.read(self._read_fd, RECEIVE_BYTES)

    def readable(self, timeout: float) -> bool:
        if self._waiting is not None or self._is_shut:
            return True
        if self._poll is not None:
            return self._poll.wait(timeout)
        assert self._queue is not None
        ready, _, _ = select.select([self._waker.fileno()], [], [], max(0.0, timeout) if self._queue.empty() else 0)
        if ready:
            self._waker.clear()
        return not self._queue.empty()

    def wake(self) -> None:
        self._waker.wake()

    def send(self, data: bytes) -> None:
        if self._is_shut:
            raise BrokenPipeError("the connection is closed")
        if self._write_fd is not None:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(self._write_fd, view) :]
                except BlockingIOError:
                    select.select([], [self._write_fd], [], READ_TICK_S)
            return
        self._sink.write(data)
        flush = getattr(self._sink, "flush", None)
        if flush is not None:
            flush()

    def shut(self) -> None:
        self._is_shut = True
        if self._queue is not None:
            self._queue.put(b"")
        self._waker.wake()

    def farewell(self) -> None:
        pass

    def close(self) -> None:
        self._waker.close()
        if self._owned:
            for stream in (self._sink, self._source):
                try:
                    stream.close()
                except OSError:
                    pass

    def abandon(self) -> None:
        self._is_shut = True
        self._waker.close()


def _can_poll(stream: Any) -> bool:
    """Whether the system can wait for it, and nothing of it lies in a buffer of ours."""
    if sys.platform == "win32" or StreamTransport._fd(stream) is None:
        return False
    import stat

    mode = os.fstat(StreamTransport._fd(stream) or 0).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
