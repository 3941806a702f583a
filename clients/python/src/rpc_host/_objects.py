"""Objects that cross: those of the host that this program holds, and those of this program that the host has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._cbor import TAG_CLIENT, TAG_HOST, CBORTag
from ._errors import (
    HandleClosed,
)
from ._wrong import Wrong, kind_of

if TYPE_CHECKING:
    from ._session import Session


class Cell:
    """What is known of a handle: how often it was received, and whether it is still held."""

    __slots__ = ("count", "interface", "number", "registration", "resource", "session", "state", "weak")

    def __init__(self, session: Session, number: int, registration: Any, interface: str | None, resource: str) -> None:
        self.session = session
        self.number = number
        self.registration = registration
        self.interface = interface
        self.resource = resource
        self.count = 1
        self.state = ""
        self.weak: Any = None

    def check(self, session: Session | None = None) -> None:
        """Refuses what is not held any more, before anything is sent."""
        if self.state:
            raise HandleClosed(f"object {self.number} ({self.resource}) {self.state}")
        if self.session.link.ended is not None:
            raise HandleClosed(
                f"object {self.number} ({self.resource}) was held by a session that has ended: "
                f"{self.session.link.ended}"
            )
        if session is not None and session is not self.session:
            raise HandleClosed(f"object {self.number} ({self.resource}) is held by another session")

    def taken_back(self) -> int:
        """All that was received, to be given up: nobody holds it any more."""
        self.session._forget(self)
        count, self.count = self.count, 0
        return count


class ObjectBase:
    """An object that lives on the host. Let go of it and its destructor runs there; or say ``close()``."""

    __slots__ = ("__weakref__", "_rpc")

    _rpc: Cell

    def __repr__(self) -> str:
        cell = self._rpc
        return f"<{cell.resource} object {cell.number}{' (' + cell.state + ')' if cell.state else ''}>"

    def __del__(self) -> None:
        # Runs in any thread, within anything: no lock is taken.
        try:
            cell = self._rpc
            link = cell.session.link
            if not cell.state and link.ended is None:
                link.release_later(cell.number, cell)
        except AttributeError:
            pass


class Lent:
    """An object of this program that the host has, under a number of its own for each time that it was given."""

    __slots__ = ("count", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.count = 1


class CallContext:
    """The objects that cross in one call."""

    __slots__ = (
        "borrowed",
        "consumed",
        "epoch",
        "given",
        "held",
        "interface",
        "lent",
        "on",
        "registration",
        "session",
        "taken",
    )

    def __init__(self, session: Session, registration: Any, interface: str | None, epoch: int | None = None) -> None:
        self.session = session
        #: What the host lets go of from now on is kept until this is done: its answer may have it.
        self.epoch = session.open_epoch() if epoch is None else epoch
        self.registration = registration
        self.interface = interface
        #: The object that says where the call is done.
        self.on: int | None = None
        self.consumed: list[Cell] = []
        #: What must not be let go of before the call is over.
        self.held: list[Any] = []
        #: Objects of this side, lent for the call and given for good.
        self.lent: list[int] = []
        self.given: list[int] = []
        #: The handles that came, each as often as it did.
        self.taken: list[int] = []
        #: Objects that a served function has for the time of its call.
        self.borrowed: list[Cell] | None = None

    def give(self, value: Any, resource: str, own: bool) -> Any:
        # What an object says of its class, if it says anything, is not asked.
        kind = type(value)
        if issubclass(kind, ObjectBase):
            cell = value._rpc
            cell.check(self.session)
            if resource and resource != cell.resource:
                raise Wrong(f"expected {resource if own else f'borrow<{resource}>'}, got a {cell.resource}")
            if self.on is None:
                self.on = cell.number
            self.held.append(value)
            if own:
                self.consumed.append(cell)
            return CBORTag(TAG_HOST, cell.number)
        if value is None or issubclass(kind, (bool, int, float, str, bytes, bytearray, Mapping, list, tuple)):
            raise Wrong(f"expected {resource if own else f'borrow<{resource}>'}, got {kind_of(value)}")
        number = self.session._lend(value)
        (self.given if own else self.lent).append(number)
        return CBORTag(TAG_CLIENT, number)

    def take(self, raw: Any, resource: str, own: bool) -> Any:
        if raw.__class__ is CBORTag and raw.value.__class__ is int and raw.value >= 0:
            if raw.tag == TAG_HOST:
                return self.session._receive(raw.value, self, resource, own)
            if raw.tag == TAG_CLIENT:
                return self.session._own(raw.value)
        raise Wrong(f"expected a handle of {resource}, got {kind_of(raw)}")

    def succeeded(self) -> None:
        """The guest has what it was given."""
        for cell in self.consumed:
            cell.session._moved(cell)
        self.given.clear()

    def done(self) -> None:
        """The call is over. What was not given for good is this side's alone again."""
        for number in (*self.lent, *self.given):
            self.session._take_back(number)
        self.lent.clear()
        self.given.clear()
        self.held.clear()
        if self.borrowed:
            for cell in self.borrowed:
                self.session._returned(cell)
            self.borrowed.clear()
        self.session.close_epoch(self.epoch)
