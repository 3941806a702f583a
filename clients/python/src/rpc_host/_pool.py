"""The threads that serve."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from ._session import log

#: Threads that serve, at most, unless said otherwise.
SERVE_THREADS = 64


#: A thread that has nothing to serve for so long ends.
IDLE_S = 30.0


class Pool:
    """Threads that serve. They are made as they are needed, and never keep a program from ending."""

    def __init__(self, max_threads: int = SERVE_THREADS) -> None:
        self._max = max_threads
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle: deque[None] = deque()
        self._count = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)
        try:
            self._idle.pop()
        except IndexError:
            self._grow()

    def _grow(self) -> None:
        with self._lock:
            if self._count >= self._max or self._is_closed:
                return
            self._count += 1
        try:
            threading.Thread(target=self._work, name="rpc-host serving", daemon=True).start()
        except RuntimeError:  # the program is ending
            self._count -= 1

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_S)
            except queue.Empty:
                try:
                    self._idle.pop()
                except IndexError:
                    continue  # somebody counts on this one
                task = None
            if task is None:
                with self._lock:
                    self._count -= 1
                return
            try:
                task()
            except BaseException:
                log.exception("serving failed")
            del task
            self._idle.append(None)

    def close(self) -> None:
        """Its threads end when they are done. Takes no lock, so that a destructor may do it."""
        self._is_closed = True
        for _ in range(self._count):
            self._tasks.put(None)

    @property
    def threads(self) -> int:
        return self._count
