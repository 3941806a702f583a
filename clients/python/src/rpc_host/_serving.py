"""What this program serves: names, and the calls of them that are under way."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ._binding import Server
from ._names import identifier, snake
from ._types import Function, parse_functions


class ServedCall:
    """A call that this program is serving."""

    __slots__ = ("__weakref__", "cancelled", "deadline", "epoch", "function", "id", "link", "module", "term")

    def __init__(self, link: Any, id: int, arrived: float, epoch: int) -> None:
        self.epoch = epoch
        self.link = link
        self.id = id
        self.deadline: float | None = arrived
        self.module = ""
        self.function = ""
        self.term: Term | None = None
        #: Set when the host wants no answer any more.
        self.cancelled = threading.Event()

    @property
    def time_left(self) -> float | None:
        """Seconds until the host ends the call."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


SERVED: contextvars.ContextVar[ServedCall | None] = contextvars.ContextVar("rpc_host_served", default=None)


def current_call() -> ServedCall | None:
    """The call of the host's that this code serves; ``None`` anywhere else."""
    return SERVED.get()


class Term:
    """An offer to serve a name, from the time it is made until it is over."""

    def __init__(self, name: str, target: Any, window: int) -> None:
        self.name = name
        self.target = target
        self.window = window
        self.running = 0
        self.stopping = 0
        self.lease = 0
        self.lease_s = 0.0
        self.answered = threading.Event()
        self.is_granted = False
        self.functions: list[Function] = []
        self.description: dict[str, Any] = {}
        self.by_path: dict[str, tuple[Function, Server]] = {}
        self.loss: Exception | None = None
        self.lost = threading.Event()
        self.on_lost: Callable[[Exception], None] | None = None

    def grant(self, body: dict[str, Any]) -> None:
        self.lease = int(body["lease"])
        self.lease_s = int(body["lease-ms"]) / 1000
        self.window = int(body["window"])
        self.functions = parse_functions(body.get("functions"))
        self.description = {"functions": body.get("functions")}
        for function in self.functions:
            self.by_path[function.path] = (function, Server(function.signature))
        for function in self.functions:
            self.by_path.setdefault(function.name, self.by_path[function.path])
        self.is_granted = True
        self.answered.set()

    def lose(self, why: Exception) -> None:
        if self.loss is None:
            self.loss = why
            self.is_granted = False
            self.answered.set()
            self.lost.set()
            if self.on_lost is not None:
                self.on_lost(why)


#: A name as WIT has them. What is private to an object, or Python's own, has none.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")


def find_target(target: Any, function: Function) -> Callable[..., Any]:
    """What of a local object answers a function. The name is the host's word, and may be anything."""
    if not _NAME.fullmatch(function.short_name):
        raise Unserved("the program that serves it has nothing of a name that is none of WIT's")
    name = identifier(function.short_name)
    # Not what it says of its class: it may have none, or hide it.
    kind = type(target)
    if issubclass(kind, Mapping):
        for key in (function.path, function.name, snake(function.short_name), name):
            if key in target:
                return target[key]  # type: ignore[no-any-return]
    else:
        found = getattr(target, name, None)
        if found is None:
            found = getattr(target, snake(function.short_name), None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        if found is None and callable(target) and not issubclass(kind, type):
            return target  # type: ignore[no-any-return]
    raise Unserved(f"the program that serves it has no {function.path}")


class Unserved(Exception):
    """What is called is not here."""
