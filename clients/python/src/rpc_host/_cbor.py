"""CBOR, the strict subset that the protocol takes.

Nothing that comes from a host can make more of this program than plain data: all tags that the CBOR library would
turn into something are refused, but for the protocol's own two, which stay what they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import cbor2
from cbor2 import CBORTag

__all__ = ["TAG_CLIENT", "TAG_HOST", "CBORTag", "Malformed", "decode", "decode_many", "encode", "head"]

#: An object of the host, by the session's number for it.
TAG_HOST = 29296
#: An object of the client, by the number that the client chose.
TAG_CLIENT = 29297

#: Envelopes nest so deep at most.
MAX_DEPTH = 64


class Malformed(Exception):
    """Bytes that are no CBOR, or outside of the subset."""


def _refuse(_value: object, _immutable: bool) -> Any:
    raise ValueError("a tag that has no meaning here")


# Those that the library knows. Others come out as tags, and no type of ours fits them.
_KNOWN = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)

_STRICT: dict[str, Any] = {
    "semantic_decoders": {tag: _refuse for tag in _KNOWN},
    "allow_indefinite": False,
    "allow_duplicate_keys": False,
    "max_depth": MAX_DEPTH + 1,
}

_loads: Callable[[bytes], Any] = partial(cbor2.loads, **_STRICT)

#: One item as bytes: integers and lengths are in their shortest form, fields in the order of the mapping.
encode = cbor2.dumps


def decode(data: bytes) -> Any:
    """The one item that these bytes are."""
    try:
        return _loads(data)
    except Exception as error:  # whatever a library makes of hostile bytes
        raise Malformed(_reason(error)) from None


def decode_many(data: bytes, count: int) -> list[Any]:
    """So many items, one after the other, and nothing behind them."""
    try:
        decoder = cbor2.CBORDecoder(io.BytesIO(data), **_STRICT)
        items = [decoder.decode() for _ in range(count)]
    except Exception as error:
        raise Malformed(_reason(error)) from None
    try:
        decoder.decode()
    except cbor2.CBORDecodeEOF:
        return items
    except Exception:
        pass
    raise Malformed("more bytes follow")


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    return f"{error}: {cause}" if cause is not None else str(error)


def head(major: int, length: int) -> bytes:
    """The head of an item."""
    if length < 24:
        return bytes((major << 5 | length,))
    for extra, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if length < 1 << (8 * width):
            return bytes((major << 5 | extra,)) + length.to_bytes(width, "big")
    raise OverflowError(length)
