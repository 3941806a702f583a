"""A name that this program serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _messages as messages
from .._errors import (
    ConnectionLost,
    NotFound,
)
from .._exchange import Answer, Exchange
from .._frame import Kind

if TYPE_CHECKING:
    from .._session import Session
    from ._client import Connection
    from ._session import AsyncTerm


class Lease:
    """A name that this program serves, until it is withdrawn, lost, or the connection is over."""

    def __init__(self, connection: Connection, session: Session, term: AsyncTerm) -> None:
        self._connection = connection
        self._session = session
        self._term = term
        self.name = term.name
        self.number = term.lease
        self.duration = term.lease_s
        self.window = term.window
        self.functions = term.functions

    @property
    def lost(self) -> Exception | None:
        """Why it is over, if it is."""
        return self._term.loss

    @property
    def is_lost(self) -> bool:
        """Whether it is over."""
        return self._term.loss is not None

    async def wait_lost(self) -> Exception:
        """Waits until it is over, and tells why."""
        await self._term.over.wait()
        assert self._term.loss is not None
        return self._term.loss

    async def withdraw(self) -> None:
        """Withdraws it. When this returns, the host calls no more. One that is lost needs no more."""
        self._connection._served.pop(self.name, None)
        if self.is_lost:
            return
        link: Any = self._session.link
        answer: Answer = None
        try:
            answer = await link.ask(Exchange(Kind.WITHDRAW, messages.withdraw(self.name, self.number)))
        except ConnectionLost:
            pass
        self._session.forget_term(self._term)
        self._term.lose(ConnectionLost("it was withdrawn"))
        self._connection._state(self.name).forget()
        if isinstance(answer, Exception) and not isinstance(answer, (NotFound, ConnectionLost)):
            raise answer

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.withdraw()

    def __repr__(self) -> str:
        return f"<lease {self.number} on {self.name}{' (lost)' if self.is_lost else ''}>"
