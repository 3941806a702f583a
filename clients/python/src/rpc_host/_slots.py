"""How many exchanges are under way, and how long they are: more than the host allows wait here.

Places are tokens in a deque, which threads take and give back without a lock; only those who find none wait at one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ._errors import ArgumentError, NoAnswer, error_of

if TYPE_CHECKING:
    from ._exchange import Exchange
    from ._link import Link

#: The most exchanges that are ever under way at once, whatever the host allows.
MAX_SLOTS = 1 << 16
#: One in so many is kept for calls that are made while serving, once something is served.
KEPT_OF_SLOTS = 4
#: The long messages among those under way may together be so many times the longest.
LONG_MESSAGES = 4
#: Whoever waits looks so often by itself, as a word may be lost.
LOOK_S = 0.1


class Slots:
    """The places of one link's exchanges."""

    def __init__(self, link: Link, count: int, max_message_bytes: int) -> None:
        self._link = link
        self._count = count
        self._max_message_bytes = max_message_bytes
        self._free: deque[None] = deque([None] * count)
        self._kept: deque[None] = deque()
        self._keeps = False
        self._room_bytes = LONG_MESSAGES * max_message_bytes
        self._changed = threading.Condition()
        self._waiters = 0

    def take(self, exchange: Exchange, while_serving: bool, deadline: float | None) -> None:
        try:
            self._free.pop()
            return
        except IndexError:
            pass
        if while_serving:
            # All of them may wait for what is served here, so this must not wait for one of them.
            try:
                self._kept.pop()
                exchange.kept = True
                return
            except IndexError:
                raise error_of(
                    {
                        "code": "resource-exhausted",
                        "message": "as many calls are under way as the host allows, and one that is made while "
                        "serving does not wait: what it waits for may wait for it",
                        "fault": "peer",
                        "retryable": True,
                    }
                ) from None
        self._link.check_thread()
        self._link.background.wake()
        with self._changed:
            self._waiters += 1
            try:
                while True:
                    if self._link.ended is not None:
                        raise self._link.why()
                    try:
                        self._free.pop()
                        return
                    except IndexError:
                        pass
                    left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
                    if left <= 0:
                        raise NoAnswer("no place for the call among those that are under way, in its time")
                    # Woken by whoever gives one back; a lost word costs a tenth of a second at most.
                    self._changed.wait(left)
            finally:
                self._waiters -= 1

    def give(self, exchange: Exchange) -> None:
        if exchange.kept or (self._keeps and len(self._kept) < self._count // KEPT_OF_SLOTS):
            self._kept.append(None)
        else:
            self._free.append(None)
        if exchange.room:
            with self._changed:
                self._room_bytes += exchange.room
                exchange.room = 0
                self._changed.notify()
        if self._waiters and self._changed.acquire(False):
            try:
                self._changed.notify()
            finally:
                self._changed.release()

    def keep(self) -> None:
        """Keeps a part of the slots for calls that are made while serving: as they come free."""
        self._keeps = True
        while len(self._kept) < self._count // KEPT_OF_SLOTS:
            try:
                self._free.pop()
            except IndexError:
                return
            self._kept.append(None)

    def take_room(self, exchange: Exchange, deadline: float | None) -> None:
        size = len(exchange.payload)
        if size > self._max_message_bytes:
            raise ArgumentError(f"args: {size} bytes, but the host takes messages of {self._max_message_bytes} at most")
        with self._changed:
            self._waiters += 1
            try:
                while self._room_bytes < size:
                    if self._link.ended is not None:
                        raise self._link.why()
                    left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
                    if left <= 0:
                        raise NoAnswer("no room for so long a message, in its time")
                    self._changed.wait(left)
                self._room_bytes -= size
                exchange.room = size
            finally:
                self._waiters -= 1

    def abandon(self) -> None:
        """In a forked child, where whoever held the lock may not be."""
        self._changed = threading.Condition()
