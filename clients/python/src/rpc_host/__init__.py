"""Modules in a sandbox on another machine, called as if they were here.

>>> import rpc_host
>>> with rpc_host.connect() as conn:
...     conn.upload_module("calc.wasm", name="calc")
...     conn.modules.calc.add(2, 3)
5

:func:`connect` finds the host by its profile. ``conn.modules`` has what is registered there: functions are called,
interfaces are attributes, resources are classes. Assigning a local object to a name of ``conn.modules`` serves that
name from this program. :func:`async_call` gives futures, and :mod:`rpc_host.aio` is the same for asyncio.
"""

from __future__ import annotations

from ._client import Connection
from ._connect import connect, connect_stdio
from ._errors import (
    Aborted,
    AlreadyExists,
    ArgumentError,
    AuthenticationError,
    Cancelled,
    ConnectError,
    ConnectionLost,
    DataLoss,
    DeadlineExceeded,
    DecodeError,
    Error,
    FailedPrecondition,
    GuestError,
    HandleClosed,
    Internal,
    InvalidArgument,
    NoAnswer,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ProfileError,
    ProviderLost,
    RemoteError,
    ResourceExhausted,
    Trapped,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
    WouldDeadlock,
)
from ._function import Function
from ._future import Future
from ._lease import Lease
from ._modules import Interface, Module, Modules, async_call
from ._operations import Entry
from ._output import OutputLine
from ._profile import Profile
from ._resource import Object, release
from ._serving import ServedCall, current_call
from ._shapes import Enum, Err, Ok, Record, Some, Variant, asdict
from ._version import __version__

__all__ = [
    "Aborted",
    "AlreadyExists",
    "ArgumentError",
    "AuthenticationError",
    "Cancelled",
    "ConnectError",
    "Connection",
    "ConnectionLost",
    "DataLoss",
    "DeadlineExceeded",
    "DecodeError",
    "Entry",
    "Enum",
    "Err",
    "Error",
    "FailedPrecondition",
    "Function",
    "Future",
    "GuestError",
    "HandleClosed",
    "Interface",
    "Internal",
    "InvalidArgument",
    "Lease",
    "Module",
    "Modules",
    "NoAnswer",
    "NotFound",
    "Object",
    "Ok",
    "OutOfRange",
    "OutputLine",
    "PermissionDenied",
    "Profile",
    "ProfileError",
    "ProviderLost",
    "Record",
    "RemoteError",
    "ResourceExhausted",
    "ServedCall",
    "Some",
    "Trapped",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Variant",
    "WouldDeadlock",
    "__version__",
    "asdict",
    "async_call",
    "connect",
    "connect_stdio",
    "current_call",
    "release",
]
