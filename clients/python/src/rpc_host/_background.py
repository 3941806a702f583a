"""The thread behind a link: it reads when nobody else does, keeps the connection alive, and ends it when nobody wants
it any more.

A thread that has just been answered will mostly call again and read for itself. So this one leaves the reading to
others for a moment after each answer, and takes it over when the moment has passed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from . import _messages as messages
from ._errors import ConnectionLost
from ._frame import Kind, frame

if TYPE_CHECKING:
    from ._link import Link

log = logging.getLogger("rpc_host")

#: So long after the last answer the reading is left to whoever calls next.
TICK_S = 0.005
#: While somebody else reads, it looks so often whether there is something to do.
LOOK_S = 1.0
#: No more often than this, whatever idle timeout the host announces; and no less often.
MIN_BEAT_S, MAX_BEAT_S = 0.05, 15.0
#: After so many beats without a byte from the host, in all of which it was asked for one, it is gone.
MAX_SILENT_BEATS = 3
#: Objects that are let go of right after one another are told together.
TOGETHER_S = 0.005


class Background:
    """The thread of one link."""

    def __init__(self, link: Link, idle_timeout: float) -> None:
        self._link = link
        self._beat = beat_of(idle_timeout)
        self._nonce = 0
        self._silence = 0.0
        self._last = self._next = 0.0
        self._nap = threading.Lock()
        self._nap.acquire()
        #: Whether it sleeps until somebody else has read enough.
        self.is_deep = False
        self.is_unwanted = False
        self._thread = threading.Thread(target=self._run, name="rpc-host", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to do. Takes no lock."""
        self.is_deep = False
        try:
            self._nap.release()
        except RuntimeError:
            pass  # it has been woken and has not looked yet

    def join(self, timeout: float) -> None:
        """Waits until it has ended, unless it is this very thread."""
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        link = self._link
        try:
            self._work()
        except BaseException as error:
            link.end(ConnectionLost(f"the reader failed: {error!r}"))
            log.exception("the reader failed")
        finally:
            # When nobody reads or writes any more, what the system holds for it is let go of.
            with link.reading, link.outbox.lock():
                link.transport.close()

    def _work(self) -> None:
        link = self._link
        self._last = time.monotonic()
        self._next = self._last + self._pause()
        leads = -1
        while link.ended is None:
            if self.is_unwanted:
                link.close()
                return
            self._look_after()
            if link.leads != leads and not link.unattended:
                # Somebody has read for itself meanwhile, and may do so again.
                leads = link.leads
                self._nap.acquire(timeout=TICK_S)
            elif link.reading.acquire(False):
                if self._read():
                    leads = -1
                    self._nap.acquire(timeout=TICK_S)
            else:
                # A call that takes its time: whoever waits for it reads.
                self.is_deep = True
                if link.reading.locked():
                    self._nap.acquire(timeout=max(0.0, min(self._next - time.monotonic(), LOOK_S)))
                self.is_deep = False
                leads = link.leads if link.reading.locked() else -1

    def _read(self) -> bool:
        """Reads until a thread that waits has been answered, which is told, or a sign of life is due."""
        link = self._link
        try:
            link.served_one = False
            link.reader_thread = threading.get_ident()
            while link.ended is None and not link.served_one and not self.is_unwanted:
                # A lease may have been granted: signs of life are due earlier then.
                self._next = min(self._next, time.monotonic() + self._pause())
                left = self._next - time.monotonic()
                if left <= 0:
                    break
                self._tell_releases()
                if link.transport.readable(left):
                    link.read()
                elif link.outbox.released:
                    time.sleep(TOGETHER_S)
        finally:
            link.reader_thread = 0
            link.reading.release()
            link.pass_on()
        return link.served_one

    def _look_after(self) -> None:
        """Sends what is due."""
        now = time.monotonic()
        self._next = min(self._next, now + self._pause())
        if now >= self._next:
            self._keep_alive(now)
            self._next = now + self._pause()
        self._tell_releases()

    def _tell_releases(self) -> None:
        link = self._link
        if link.outbox.released and not link.outbox.is_busy:
            link.release_told = False
            link.outbox.flush()

    def _pause(self) -> float:
        """Until the next sign of life is due."""
        return pause_of(self._beat, self._link.shortest_lease)

    def _keep_alive(self, now: float) -> None:
        link = self._link
        heard, spoke = link.heard, link.spoke
        link.heard = link.spoke = False
        # While the whole program was stopped, nobody listened: that is no silence.
        self._silence = 0.0 if heard else self._silence + min(now - self._last, 2 * self._pause())
        self._last = now
        if self._silence > MAX_SILENT_BEATS * self._beat:
            link.end(silent(self._silence))
        elif not heard or not spoke:
            self._nonce += 1
            link.send(frame(Kind.PING, 0, messages.beat(self._nonce)))


def beat_of(idle_timeout: float) -> float:
    """How often to look: three times within the host's idle timeout."""
    return min(max(idle_timeout / 3, MIN_BEAT_S), MAX_BEAT_S)


def pause_of(beat: float, lease: float | None) -> float:
    """The same while a lease stands: what is said right after one look is not said again before the one after next,
    and that has to be within half of the lease."""
    return beat if lease is None else min(beat, max(lease / 4, MIN_BEAT_S))


def silent(seconds: float) -> ConnectionLost:
    return ConnectionLost(f"not a sign of life from the host for {seconds:.1f} s")
