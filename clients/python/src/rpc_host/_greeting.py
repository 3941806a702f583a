"""The first two messages: hello, and the welcome or failure that answers it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._cbor import Malformed
from ._errors import AuthenticationError, ConnectionLost, Error, Unauthenticated, error_of
from ._frame import Kind, Message, Parser, Violation, frame
from ._transport import is_refused_certificate, refused_certificate
from ._version import CLIENT

if TYPE_CHECKING:
    from ._transport import Transport


class Welcome:
    """What the host says of itself and of what it allows."""

    def __init__(self, body: dict[str, Any]) -> None:
        if body.get("version") not in messages.VERSIONS:
            raise ConnectionLost("the host chose a version of the protocol that this client does not speak")
        for name in ("max-message-bytes", "max-calls-in-flight", "idle-timeout-ms"):
            if not isinstance(body.get(name), int):
                raise ConnectionLost(f"the host said welcome without `{name}`")
        self.session = str(body.get("session", ""))
        self.host = str(body.get("host", ""))
        self.tenant = str(body.get("tenant", ""))
        self.role = str(body.get("role", ""))
        self.max_message_bytes: int = body["max-message-bytes"]
        self.max_calls_in_flight: int = max(1, body["max-calls-in-flight"])
        self.idle_timeout: float = body["idle-timeout-ms"] / 1000


def welcome_of(message: Message) -> Welcome:
    """The answer to a hello, if it is a welcome."""
    kind, _, exchange, payload = message
    body = messages.envelope(payload)
    if kind == Kind.WELCOME and exchange == 0:
        return Welcome(body)
    if kind == Kind.GOAWAY:
        body = body.get("failure", {})
        kind = Kind.FAILURE
    if kind != Kind.FAILURE:
        raise ConnectionLost(f"the host did not say welcome, but sent a message of kind {kind}")
    refusal = error_of(body)
    if isinstance(refusal, Unauthenticated):
        raise AuthenticationError(refusal.message, fault=refusal.fault, retry_after=refusal.retry_after)
    raise refusal


def hello(token: str | None) -> bytes:
    """The first message."""
    return frame(Kind.HELLO, 0, messages.hello(CLIENT, token))


def greet(transport: Transport, parser: Parser, token: str | None, timeout: float) -> tuple[Welcome, deque[Message]]:
    """Says hello and waits for the welcome. What came right behind it is given as well."""
    deadline = time.monotonic() + timeout
    early: deque[Message] = deque()
    try:
        transport.send(hello(token))
        while not early:
            data = transport.receive()
            if data == b"":
                raise ConnectionLost("the host broke off before it said welcome")
            if data:
                early.extend(parser.feed(data))
            if time.monotonic() > deadline:
                raise ConnectionLost("the host did not say welcome in time")
        return welcome_of(early.popleft()), early
    except OSError as error:
        if is_refused_certificate(error):
            raise refused_certificate() from error
        if isinstance(error, Error):
            raise
        raise ConnectionLost(f"the host broke off before it said welcome: {error}") from error
    except (Violation, Malformed) as error:
        raise ConnectionLost(f"the host did not say welcome, but: {error}") from None
