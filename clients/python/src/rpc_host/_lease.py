"""A name that this program serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._errors import ConnectionLost, NotFound
from ._exchange import Exchange
from ._frame import Kind

if TYPE_CHECKING:
    from ._client import Connection
    from ._serving import Term
    from ._session import Session
    from ._types import Function


class Lease:
    """A name that this program serves, until it is withdrawn, lost, or the connection is over.

    A lease that is lost does not come back: nobody here can know whether the name may be taken again from whatever
    answers it by then. ``lost`` tells why; whoever means it can ``provide`` anew.
    """

    def __init__(self, connection: Connection, session: Session, term: Term) -> None:
        self._connection = connection
        self._session = session
        self._term = term

    @property
    def name(self) -> str:
        """The name."""
        return self._term.name

    @property
    def number(self) -> int:
        """The number by which the host knows it, on this connection and in its log."""
        return self._term.lease

    @property
    def duration(self) -> float:
        """How many seconds it stands without a sign of life."""
        return self._term.lease_s

    @property
    def window(self) -> int:
        """How many calls the host makes at once, at most."""
        return self._term.window

    @property
    def functions(self) -> list[Function]:
        """The functions that are called."""
        return self._term.functions

    @property
    def description(self) -> Any:
        """The same as data, as ``describe`` gives it."""
        return self._term.description

    @property
    def is_lost(self) -> bool:
        """Whether it is over."""
        return self._term.loss is not None

    @property
    def lost(self) -> Exception | None:
        """Why it is over, if it is."""
        return self._term.loss

    def wait_lost(self, timeout: float | None = None) -> Exception | None:
        """Waits until it is over, and tells why; ``None`` if it is not, in that time."""
        self._term.lost.wait(timeout)
        return self._term.loss

    def withdraw(self) -> None:
        """Withdraws it. When this returns, the host calls no more. One that is lost needs no more."""
        if self.is_lost:
            self._connection._withdrawn(self)
            return
        exchange = Exchange(Kind.WITHDRAW, messages.withdraw(self.name, self.number))
        link = self._session.link
        try:
            link.begin(exchange)
            answer = link.wait(exchange)
        except ConnectionLost:
            answer = None
        self._session.forget_term(self._term)
        self._term.lose(ConnectionLost("it was withdrawn"))
        self._connection._withdrawn(self)
        if isinstance(answer, Exception) and not isinstance(answer, (NotFound, ConnectionLost)):
            raise answer

    def _replaced(self) -> None:
        """The same session has offered the name anew. Its lapse is on its way."""

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.withdraw()

    def __repr__(self) -> str:
        return f"<lease {self.number} on {self.name}{' (lost)' if self.is_lost else ''}>"
