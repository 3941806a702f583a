"""What each kind of message carries, in the order of fields that the protocol's text uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._cbor import Malformed, decode, encode
from ._errors import DecodeError

VERSIONS = (1,)


def hello(client: str, token: str | None) -> bytes:
    body: dict[str, Any] = {"versions": list(VERSIONS), "client": client}
    if token is not None:
        body["token"] = token
    return encode(body)


def call_header(
    module: str,
    function: str,
    timeout_ms: int | None = None,
    within: int | None = None,
    allow: Sequence[str] | None = None,
    lease: int | None = None,
    on: int | None = None,
    output: bool = False,
) -> bytes:
    body: dict[str, Any] = {"module": module, "function": function}
    if timeout_ms is not None:
        body["timeout-ms"] = timeout_ms
    if within is not None:
        body["within"] = within
    if allow is not None:
        body["allow"] = list(allow)
    if lease is not None:
        body["lease"] = lease
    if on is not None:
        body["on"] = on
    if output:
        body["output"] = True
    return encode(body)


def request(operation: str, fields: Mapping[str, Any]) -> bytes:
    return encode({operation: {name: value for name, value in fields.items() if value is not None}})


def upload(digest: str, size_bytes: int) -> bytes:
    return encode({"digest": digest, "size-bytes": size_bytes})


def provide(
    name: str, scope: str, lease_ms: int, window: int, fallback: str = "previous", wit: str | None = None
) -> bytes:
    body: dict[str, Any] = {
        "name": name,
        "scope": scope,
        "lease-ms": lease_ms,
        "window": window,
        "fallback": fallback,
    }
    if wit is not None:
        body["wit"] = wit
    return encode(body)


def withdraw(name: str, lease: int | None = None, steal: bool = False) -> bytes:
    body: dict[str, Any] = {"name": name}
    if lease is not None:
        body["lease"] = lease
    if steal:
        body["steal"] = True
    return encode(body)


def release(handles: Sequence[tuple[int, int]]) -> bytes:
    return encode({"handles": [list(pair) for pair in handles]})


def beat(nonce: int) -> bytes:
    return encode({"nonce": nonce})


#: The longest text that a failure carries.
FAILURE_BYTES = 4096


def failure(code: str, message: str, fault: str = "application", retryable: bool = False) -> bytes:
    text = "".join(char if char.isprintable() else " " for char in message)
    text = text.encode("utf-8", "replace")[:FAILURE_BYTES].decode("utf-8", "ignore")
    return encode({"code": code, "message": text, "fault": fault, "retryable": retryable})


def envelope(payload: bytes) -> dict[str, Any]:
    """The map that a message begins with."""
    body = decode(payload)
    if body.__class__ is not dict:
        raise Malformed("an envelope is a map")
    return body


def timeout_ms(seconds: float | None) -> int | None:
    """A timeout below the unit of the wire is still a timeout."""
    return None if seconds is None else max(1, min(int(seconds * 1000), (1 << 63) - 1))


def answer_of(payload: bytes) -> Any:
    """The one item of a reply to a request."""
    try:
        return decode(payload)
    except Malformed as error:
        raise DecodeError(f"reply: {error}") from None
