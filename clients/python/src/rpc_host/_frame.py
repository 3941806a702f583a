"""Frames: the only part of the wire that is not CBOR.

::

     0       4       5       6           8              12
     ├───────┼───────┼───────┼───────────┼──────────────┤
     │length │ kind  │ flags │ reserved=0│ exchange id  │ payload (length bytes)
     └───────┴───────┴───────┴───────────┴──────────────┘   all numbers big-endian
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ._messages import failure

__all__ = ["Kind", "Message", "Parser", "Violation", "fragments", "frame"]

HEADER = struct.Struct(">IBBHI")
HEADER_BYTES = 12
MAX_PAYLOAD_BYTES = 65536
#: With its header, such a fragment fills one TLS record.
FRAGMENT_BYTES = 16 * 1024 - HEADER_BYTES

MORE = 1
RESULT = 2

_pack = HEADER.pack
_unpack_from = HEADER.unpack_from

#: kind, flags, exchange id, payload
Message = tuple[int, int, int, bytes]


class Kind:
    """The numbers of the kinds."""

    HELLO = 1
    WELCOME = 2
    CALL = 3
    REPLY = 4
    FAILURE = 5
    CANCEL = 6
    REQUEST = 7
    UPLOAD = 8
    CHUNK = 9
    ACK = 10
    PROVIDE = 11
    WITHDRAW = 12
    RELEASE = 13
    EVENT = 14
    PING = 15
    PONG = 16
    GOAWAY = 17
    LAPSE = 18
    OUTPUT = 19


_LAST_KIND = Kind.OUTPUT


class Violation(Exception):
    """The other side broke the protocol: the connection is over."""


def frame(kind: int, exchange: int, payload: bytes, flags: int = 0) -> bytes:
    """A message that fits into one frame."""
    return _pack(len(payload), kind, flags, 0, exchange) + payload


def fragments(kind: int, exchange: int, payload: bytes, flags: int = 0) -> Iterator[bytes]:
    """The frames of a message of any length."""
    view = memoryview(payload)
    total = len(view)
    start = 0
    while True:
        end = start + FRAGMENT_BYTES
        part = view[start:end]
        more = MORE if end < total else 0
        yield _pack(len(part), kind, flags | more, 0, exchange) + part
        if not more:
            return
        start = end


class Parser:
    """Bytes → messages. What is incomplete waits here, within limits."""

    __slots__ = ("_buffered", "_incomplete", "_max_buffered", "_max_incomplete", "_max_message", "_rest")

    def __init__(self, max_message_bytes: int, max_buffered_bytes: int, max_incomplete: int) -> None:
        self._rest = b""
        #: Kind, bytes and parts by exchange; of an answer that is too long, no parts.
        self._incomplete: dict[int, tuple[int, int, list[bytes] | None]] = {}
        self._buffered = 0
        self.allow(max_message_bytes, max_buffered_bytes, max_incomplete)

    def allow(self, max_message_bytes: int, max_buffered_bytes: int, max_incomplete: int) -> None:
        """Sets the limits: those before a welcome are far lower than those after it."""
        self._max_message = max_message_bytes
        self._max_buffered = max_buffered_bytes
        self._max_incomplete = max_incomplete

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with these bytes."""
        if self._rest:
            data = self._rest + data
        size = len(data)
        at = 0
        messages: list[Message] = []
        while size - at >= HEADER_BYTES:
            length, kind, flags, reserved, exchange = _unpack_from(data, at)
            if (
                length > MAX_PAYLOAD_BYTES
                or reserved
                or not 0 < kind <= _LAST_KIND
                or (flags and (flags > 3 or (flags & RESULT and kind != Kind.REPLY)))
            ):
                raise Violation("twelve bytes that are no header of a frame")
            end = at + HEADER_BYTES + length
            if end > size:
                break
            payload = data[at + HEADER_BYTES : end]
            at = end
            if flags & MORE or self._incomplete:
                self._collect(messages, kind, flags, exchange, payload)
            else:
                messages.append((kind, flags, exchange, payload))
        self._rest = data[at:] if at < size else b""
        return messages

    def _collect(self, messages: list[Message], kind: int, flags: int, exchange: int, payload: bytes) -> None:
        parts: list[bytes] | None = []
        held = 0
        begun = self._incomplete.pop(exchange, None)
        if begun is not None:
            expected, held, parts = begun
            if expected != kind:
                raise Violation(f"exchange {exchange} went on as another kind within a message")
            self._buffered -= held
        if parts is not None:
            parts.append(payload)
            held += len(payload)
            if held > self._max_message:
                if kind != Kind.REPLY:
                    raise Violation(f"a message is over the limit of {self._max_message} bytes")
                # Its call fails, and no other: the rest of it is thrown away as it comes.
                parts, held = None, 0
        if not flags & MORE:
            if parts is None:
                messages.append((Kind.FAILURE, 0, exchange, self._too_long()))
            else:
                messages.append((kind, flags, exchange, b"".join(parts)))
            return
        self._buffered += held
        if self._buffered > self._max_buffered:
            raise Violation(f"incomplete messages are over the limit of {self._max_buffered} bytes together")
        if len(self._incomplete) >= self._max_incomplete:
            raise Violation(f"more than {self._max_incomplete} messages are incomplete at once")
        self._incomplete[exchange] = (kind, held, parts)

    def _too_long(self) -> bytes:
        problem = f"the answer is over this client's limit of {self._max_message} bytes; connect with a larger one"
        return failure("resource-exhausted", problem, "peer")
