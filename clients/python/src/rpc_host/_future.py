"""Calls that are begun and not waited for."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._frame import Kind

if TYPE_CHECKING:
    from ._exchange import Answer, Exchange
    from ._objects import CallContext
    from ._session import Session

    pass
from ._output import OutputLine, OutputSink, output_of


class Stale(Exception):
    """The answer does not fit what is known, and this thread cannot ask."""


def session_discards(session: Session) -> Callable[[Answer], None]:
    """What becomes of an answer that nobody waits for: the objects in it are let go of."""

    def discard(answer: Answer) -> None:
        if answer.__class__ is tuple:
            session.discard(answer[1])

    return discard


class Future(concurrent.futures.Future):  # type: ignore[type-arg]
    """What a call will come to. ``cancel()`` ends it on the host."""

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        outcome: Callable[[Answer, bool], Any],
        context: CallContext | None,
    ) -> None:
        super().__init__()
        self._context = context
        self._session = session
        self._exchange = exchange
        self._outcome = outcome
        self._lines: deque[OutputLine] = deque()
        self._is_handing_over = threading.Lock()
        self._cancelling = threading.Lock()
        self._is_told = False
        exchange.callback = self._answered

    def cancel(self) -> bool:
        """Ends the call on the host, if it has not ended. It cannot be known how far it has come."""
        with self._cancelling:
            if not super().cancel():
                return False
            if self._is_told:
                return True
            self._is_told = True
            # Nobody will begin it any more: those who wait for it hear so now.
            self.set_running_or_notify_cancel()
        self._session.link.cancel(self._exchange)
        return True

    def _answered(self, answer: Answer) -> None:
        """Called by the thread that reads, which must not be kept."""
        if self._lines or self._done_callbacks:  # type: ignore[attr-defined]
            self._session.pool.submit(lambda: self._settle(answer))
        else:
            self._settle(answer, False)

    def _settle(self, answer: Answer, may_ask: bool = True) -> None:
        if self.cancelled():
            session_discards(self._session)(answer)
            if self._context is not None:
                self._context.done()
            return
        try:
            value = self._outcome(answer, may_ask)
        except Stale:
            self._session.pool.submit(lambda: self._settle(answer))
        except BaseException as raised:
            error = raised
            self._end(lambda: self.set_exception(error))
        else:
            self._end(lambda: self.set_result(value))

    def _end(self, end: Callable[[], None]) -> None:
        try:
            end()
        except concurrent.futures.InvalidStateError:
            pass  # cancelled meanwhile

    def _lines_to(self, sink: OutputSink) -> Callable[[int, bytes], None]:
        def take(kind: int, payload: bytes) -> None:
            line = output_of(payload) if kind == Kind.OUTPUT else None
            if line is not None:
                self._lines.append(line)
                self._session.pool.submit(lambda: self._hand_over(sink))

        return take

    def _hand_over(self, sink: OutputSink) -> None:
        with self._is_handing_over:
            while self._lines:
                sink(self._lines.popleft())
