"""What waits to be written, and who writes it: whoever comes first, for all who come meanwhile.

Numbers are given in the order of writing, as they have to grow. Long messages are written one after the other, in
parts, and short ones go between.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._errors import Cancelled, ConnectionLost
from ._exchange import Exchange, Ready
from ._frame import FRAGMENT_BYTES, HEADER, Kind, fragments

if TYPE_CHECKING:
    from ._link import Link

_pack = HEADER.pack

#: So much is written in one go; then others have their turn.
SLICE_BYTES = 256 << 10
#: Numbers of exchanges go no further.
MAX_ID = 0xFFFF_FFFF
#: So many objects are let go of in one message.
MAX_RELEASES = 4096


class Outbox:
    """The way out of one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._small: deque[bytes | Exchange] = deque()
        self._long: deque[Exchange | Ready] = deque()
        self._sending: Any = None
        self.sending_id = 0
        self._after_long: list[bytes] = []
        self._writing = threading.Lock()
        #: Who writes now.
        self.thread = 0
        self.next_id = 1
        #: Objects that were let go of: their numbers, and how often they were received.
        self.released: deque[tuple[int, Any]] = deque()

    def __len__(self) -> int:
        return len(self._small)

    @property
    def is_busy(self) -> bool:
        """Whether somebody writes."""
        return self._writing.locked()

    def put(self, item: bytes | Exchange) -> None:
        """Takes frames, or an exchange that begins, to be written when ``flush`` is called."""
        self._small.append(item)

    def put_long(self, item: Ready) -> None:
        self._long.append(item)

    def cancel(self, id: int, data: bytes) -> None:
        """Takes a cancel: behind what it cancels, if that is under way."""
        if self.sending_id == id:
            self._after_long.append(data)
        else:
            self._small.append(data)

    def pop(self) -> Any:
        """What will not be written any more."""
        try:
            return (self._small or self._long).popleft()
        except IndexError:
            return None

    def between_frames(self) -> Any:
        """The right to write, if nobody does and no message is half written; ``None`` otherwise."""
        if not self._writing.acquire(False):
            return None
        if self._sending is not None:
            self._writing.release()
            return None
        return self._writing

    def lock(self) -> Any:
        """What is held while something is written."""
        return self._writing

    def abandon(self) -> None:
        """In a forked child: nothing is written."""
        self._small.clear()
        self._long.clear()
        self._sending = None
        self.released.clear()
        self._writing = threading.Lock()

    def flush(self) -> None:
        """Writes what waits, unless somebody else is doing so, who then writes this as well."""
        while self._small or self._long or self._sending is not None or self.released:
            if not self._writing.acquire(False):
                return
            is_whole = False
            try:
                self.thread = threading.get_ident()
                self._write()
                is_whole = True
            except OSError as error:
                self._link.end(ConnectionLost(f"cannot write: {error}"))
                return
            finally:
                self.thread = 0
                self._writing.release()
                if not is_whole and self._link.ended is None:
                    # Nobody knows how much of a frame has left.
                    self._link.end(ConnectionLost("a write was interrupted"))
            if self._link.ended is not None:
                self._link.sweep()
                return

    def _write(self) -> None:
        small, transport = self._small, self._link.transport
        while self._link.ended is None:
            if self.released:
                self._write_releases()
            if small:
                data = self._next_small()
                if data:
                    self._link.spoke = True
                    transport.send(data)
            elif self._sending is not None or self._long:
                data = self._next_slice()
                if data:
                    self._link.spoke = True
                    transport.send(data)
            else:
                return

    def _next_small(self) -> bytes:
        small = self._small
        parts: list[bytes] = []
        size = 0
        while small and size < SLICE_BYTES:
            item = small.popleft()
            if item.__class__ is bytes:
                parts.append(item)
                size += len(item)
                continue
            exchange: Exchange = item  # type: ignore[assignment]
            if len(exchange.payload) > FRAGMENT_BYTES:
                self._long.append(exchange)
                continue
            if not self._admit(exchange):
                continue
            payload = exchange.payload
            parts.append(_pack(len(payload), exchange.kind, 0, 0, exchange.id) + payload)
            size += len(payload)
            exchange.payload = b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _admit(self, exchange: Exchange) -> bool:
        """Gives it its number, in the order of writing."""
        if exchange.is_cancelled:
            self._link.finish(exchange, Cancelled("the call was given up before it was made", fault="peer"))
            return False
        number = self.next_id
        if number > MAX_ID:
            self._link.finish(exchange, ConnectionLost("the connection's numbers are used up; call again"))
            self._link.end(ConnectionLost("the connection's numbers are used up"))
            return False
        self.next_id = number + 2
        exchange.id = number
        self._link.waiting[number] = exchange
        if self._link.ended is not None:
            self._link.waiting.pop(number, None)
            self._link.finish(exchange, self._link.why())
            return False
        return True

    def _next_slice(self) -> bytes:
        """The next part of a long message; one such is under way at a time."""
        if self._sending is None:
            item = self._long.popleft()
            flags = 0
            if isinstance(item, Exchange):
                if not self._admit(item):
                    return b""
            else:
                flags = item.flags
            self.sending_id = item.id
            self._sending = fragments(item.kind, item.id, item.payload, flags)
            item.payload = b""
        parts: list[bytes] = []
        size = 0
        for part in self._sending:
            parts.append(part)
            size += len(part)
            if size >= SLICE_BYTES:
                return b"".join(parts)
        self._sending = None
        self.sending_id = 0
        parts.extend(self._after_long)
        self._after_long.clear()
        return b"".join(parts)

    def _write_releases(self) -> None:
        pairs: list[tuple[int, int]] = []
        while self.released and len(pairs) < MAX_RELEASES:
            number, cell = self.released.popleft()
            count = cell if cell.__class__ is int else cell.taken_back()
            if count > 0:
                pairs.append((number, count))
        if pairs:
            self._small.append(frame_any(Kind.RELEASE, messages.release(pairs)))


def frame_any(kind: int, payload: bytes) -> bytes:
    """The frames of a message on id 0."""
    return b"".join(fragments(kind, 0, payload))
