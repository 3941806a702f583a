"""What can go wrong, on this side and on the other.

Everything that the package raises is an :class:`Error`. What happened between this program and the host
(:class:`ConnectError`, :class:`AuthenticationError`, :class:`ConnectionLost`, :class:`NoAnswer`) is apart from what
the host answered (:class:`RemoteError`, with a class for each code) and from what a function itself gave as its
error (:class:`GuestError`).
"""

from __future__ import annotations

import copy
from typing import Any

__all__ = [
    "Aborted",
    "AlreadyExists",
    "ArgumentError",
    "AuthenticationError",
    "Cancelled",
    "ConnectError",
    "ConnectionLost",
    "DataLoss",
    "DeadlineExceeded",
    "DecodeError",
    "Error",
    "FailedPrecondition",
    "GuestError",
    "HandleClosed",
    "Internal",
    "InvalidArgument",
    "NoAnswer",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ProfileError",
    "ProviderLost",
    "RemoteError",
    "ResourceExhausted",
    "Trapped",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "WouldDeadlock",
]


class Error(Exception):
    """The base of all errors of this package."""


class ProfileError(Error):
    """No profile, or one that cannot be used."""


class ConnectError(Error, ConnectionError):
    """No connection to the host, or the other side is not the host that the profile describes."""


class ConnectionLost(Error, ConnectionError):
    """The connection ended before the answer came: the call may or may not have run."""


class NoAnswer(Error, TimeoutError):
    """The host did not answer in time, not even to say that the time is up."""


class ArgumentError(Error, TypeError, ValueError):
    """A value is not of the type that the function takes or gives.

    The text begins with the place: ``args[1].point.x: expected s32, got text``.
    """


class DecodeError(Error, ValueError):
    """The answer is not of the type that the host described."""


class HandleClosed(Error, ReferenceError):
    """The object is not held any more: it was closed or given away, or its session has ended."""


class GuestError(Error):
    """The function ended with its own error, the ``err`` of a WIT ``result``.

    ``value`` is that error, typed as the function says; ``None`` where it carries nothing. Raised by a local object
    that serves a function which returns a ``result``, it is that function's ``err``.
    """

    __match_args__ = ("value",)

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return "the function failed" if self.value is None else str(self.value)


class RemoteError(Error):
    """The host answered with a failure.

    ``code`` is for programs (``"not-found"``), ``message`` for people, ``fault`` says whose doing it is (``"peer"``,
    ``"tenant"``, ``"guest"``, ``"application"`` or ``"host"``), ``retryable`` whether the same again may succeed
    though nobody changed anything, and ``retry_after`` in how many seconds, where that is known.
    """

    code = "unknown"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fault: str = "host",
        retryable: bool = False,
        retry_after: float | None = None,
        backtrace: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.message = message
        self.fault = fault
        self.retryable = retryable
        self.retry_after = retry_after
        self.backtrace = backtrace

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (type(self), self.message, dict(self.__dict__)))


def _rebuilt(cls: type[RemoteError], message: str, state: dict[str, Any]) -> RemoteError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class Cancelled(RemoteError):
    """The caller ended the call."""

    code = "cancelled"


class Unknown(RemoteError):
    """The client that serves the name failed, in its own words; or nobody knows why, and the host's log does."""

    code = "unknown"


class InvalidArgument(RemoteError):
    """What was sent is wrong whatever the state: a type, a name, a function that is not there."""

    code = "invalid-argument"


class DeadlineExceeded(RemoteError, TimeoutError):
    """The time for the call ran out."""

    code = "deadline-exceeded"


class NotFound(RemoteError, LookupError):
    """No such registration, module, tenant, token or object that this tenant can see."""

    code = "not-found"


class AlreadyExists(RemoteError):
    """The name is taken."""

    code = "already-exists"


class PermissionDenied(RemoteError):
    """The role does not allow it; or the module called what it has no grant for."""

    code = "permission-denied"


class ResourceExhausted(RemoteError):
    """A limit or quota is reached."""

    code = "resource-exhausted"


class FailedPrecondition(RemoteError):
    """Right in itself, but not in the present state."""

    code = "failed-precondition"


class Aborted(RemoteError):
    """Somebody else changed it first: read again, decide again."""

    code = "aborted"


class OutOfRange(RemoteError):
    """Past the end of what there is."""

    code = "out-of-range"


class Unimplemented(RemoteError):
    """This host, or the client that serves the name, does not do it."""

    code = "unimplemented"


class Internal(RemoteError):
    """A fault of the host."""

    code = "internal"


class Unavailable(RemoteError):
    """The host cannot take it now: it is stopping or overloaded."""

    code = "unavailable"


class DataLoss(RemoteError):
    """Stored data is damaged."""

    code = "data-loss"


class Unauthenticated(RemoteError):
    """The token or certificate is not, or no longer, good. Of a hello that is refused: :class:`AuthenticationError`."""

    code = "unauthenticated"


class AuthenticationError(Unauthenticated):
    """The host does not accept the token or certificate."""


class Trapped(RemoteError):
    """The engine ended the guest: a panic, an access out of bounds, a stack overflow, an exit.

    ``backtrace`` has the guest's frames, innermost first; the text shows them like a traceback.
    """

    code = "trapped"

    def __str__(self) -> str:
        text = super().__str__()
        if not self.backtrace:
            return text
        frames = "\n".join(f"  in {frame}" for frame in reversed(self.backtrace))
        return f"{text}\n\nRemote traceback (most recent call last):\n{frames}"


class WouldDeadlock(RemoteError):
    """The call would wait for itself; the message has the calls that wait for one another."""

    code = "would-deadlock"


class ProviderLost(RemoteError):
    """The client that served the name is gone or serves it no more."""

    code = "provider-lost"


_BY_CODE: dict[str, type[RemoteError]] = {
    cls.code: cls
    for cls in (
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
        Trapped,
        WouldDeadlock,
        ProviderLost,
    )
}


def error_of(failure: object) -> RemoteError:
    """The exception of a failure as it stands on the wire."""
    if not isinstance(failure, dict):
        return Internal("the host sent a failure that is none", fault="host")
    code = failure.get("code")
    code = code if isinstance(code, str) else "unknown"
    after = failure.get("retry-after-ms")
    frames = failure.get("backtrace")
    cls = _BY_CODE.get(code, RemoteError)
    return cls(
        str(failure.get("message", "")),
        code=code,
        fault=str(failure.get("fault", "host")),
        retryable=failure.get("retryable") is True,
        retry_after=after / 1000 if isinstance(after, int) else None,
        backtrace=tuple(str(frame) for frame in frames) if isinstance(frames, list) else (),
    )


def again(error: Exception) -> Exception:
    """The same error, without the traceback of whoever had it first."""
    fresh = copy.copy(error)
    fresh.__traceback__ = None
    fresh.__cause__ = error.__cause__
    return fresh
