"""One exchange, seen from the side that began it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

#: kind, flags, payload; or the error that it ended with.
Answer = Any


class Exchange:
    """A message of ours and what answers it."""

    __slots__ = (
        "answer",
        "callback",
        "events",
        "flags",
        "id",
        "is_cancelled",
        "kept",
        "kind",
        "on_event",
        "payload",
        "room",
        "wake",
    )

    def __init__(self, kind: int, payload: bytes) -> None:
        self.kind = kind
        self.payload = payload
        self.id = 0
        self.answer: Answer = None
        #: Held by the thread that waits; let go of to wake it.
        self.wake: Any = None
        #: Told of the answer instead, by the thread that reads.
        self.callback: Callable[[Answer], None] | None = None
        #: Messages before the answer: acks, output.
        self.events: deque[tuple[int, bytes]] | None = None
        self.on_event: Callable[[int, bytes], None] | None = None
        self.is_cancelled = False
        self.kept = False
        self.room = 0


class Ready:
    """A message of any length that is no beginning: an answer to a call of the host's."""

    __slots__ = ("flags", "id", "kind", "payload")

    def __init__(self, kind: int, id: int, payload: bytes, flags: int = 0) -> None:
        self.kind = kind
        self.id = id
        self.payload = payload
        self.flags = flags
