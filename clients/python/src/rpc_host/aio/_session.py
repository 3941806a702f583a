"""What belongs to one connection: calls of this program are served in tasks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._frame import Kind, Violation
from .._serving import SERVED, ServedCall, Term
from .._session import MAX_WINDOW, Session, _failure
from .._state import class_of

if TYPE_CHECKING:
    from .._objects import CallContext
    from .._pool import Pool
    from ._link import Link


class AsyncSession(Session):
    """Serves calls in tasks. Functions that are not coroutines are called in the pool's threads."""

    def __init__(self, link: Link, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(link, pool, class_of)  # type: ignore[arg-type]
        self._loop = loop
        self._serving: dict[int, asyncio.Task[None]] = {}

    def call(self, link: Any, id: int, payload: bytes) -> None:
        if id in self._calls:
            raise Violation(f"it used {id} for two calls at once")
        if len(self._calls) > MAX_WINDOW:
            link.refuse(id, "resource-exhausted", "more calls are under way here than this client takes at once")
            return
        served = ServedCall(link, id, time.monotonic(), self.open_epoch())
        self._calls[id] = served
        task = self._loop.create_task(self._serve_here(served, payload))
        self._serving[id] = task
        task.add_done_callback(lambda _task: self._serving.pop(id, None))

    def cancel(self, link: Any, id: int) -> None:
        super().cancel(link, id)
        task = self._serving.get(id)
        if task is not None:
            task.cancel()

    def ended(self, link: Any, why: Exception) -> None:
        super().ended(link, why)
        for task in list(self._serving.values()):
            task.cancel()

    async def _serve_here(self, served: ServedCall, payload: bytes) -> None:
        SERVED.set(served)
        context: CallContext | None = None
        try:
            header, positional = self._opened(served, payload)
            if header.get("lease") is not None:
                term = self._term_of(served.module, header["lease"])
                if isinstance(term, AsyncTerm) and not term.answered.is_set():
                    await asyncio.wait_for(term.settled.wait(), served.time_left)
            target, server, data, context = self._found(served, header, positional)
            arguments = self._arguments(server, data, context)
            if _is_coroutine(target):
                value = await target(*arguments)
            else:
                value = await self._in_pool(target, arguments)
                if inspect.isawaitable(value):
                    value = await value
            answer = self._answer(value, server, context)
        except asyncio.CancelledError:
            answer = (Kind.FAILURE, messages.failure("cancelled", "the call was cancelled"), 0)
        except BaseException as error:
            answer = self._failed(served, error, context)
        self._closed(served, context, answer)

    def _in_pool(self, target: Callable[..., Any], arguments: list[Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        context = contextvars.copy_context()

        def settle(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        def run() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(target, *arguments)
            except StopIteration as caught:
                error = RuntimeError(f"StopIteration: {caught}")
            except BaseException as caught:
                error = (
                    _failure("unknown", f"the program wanted to end: {type(caught).__name__}")
                    if isinstance(caught, (SystemExit, KeyboardInterrupt))
                    else caught
                )
            try:
                self._loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                pass  # the loop is over

        self.pool.submit(run)
        return future


def _is_coroutine(target: Any) -> bool:
    call = getattr(type(target), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(call)


class AsyncTerm(Term):
    def __init__(self, name: str, target: Any, window: int) -> None:
        super().__init__(name, target, window)
        self.settled = asyncio.Event()
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def grant(self, body: dict[str, Any]) -> None:
        super().grant(body)
        self.settled.set()

    def lose(self, why: Exception) -> None:
        """May be told by a thread of the pool."""
        super().lose(why)
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            pass

    def _tell(self) -> None:
        self.settled.set()
        self.over.set()
