"""What guests print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _messages as messages
from ._cbor import Malformed

if TYPE_CHECKING:
    pass

OutputSink = Callable[["OutputLine"], None]


@dataclass(frozen=True)
class OutputLine:
    """A line that a guest printed: where (``stdout``, ``stderr`` or ``log``), what, and of what weight."""

    stream: str
    text: str
    level: str | None = None
    #: Of a line that was kept: when, in milliseconds since 1970.
    at_ms: int | None = None
    #: Of a line that was kept: the number of its call.
    call: str | None = None

    def __str__(self) -> str:
        return self.text


def output_of(payload: bytes) -> OutputLine | None:
    """The line of an output message."""
    try:
        body = messages.envelope(payload)
    except Malformed:
        return None
    level, at_ms, call = body.get("level"), body.get("at-ms"), body.get("call")
    return OutputLine(
        str(body.get("stream", "")),
        str(body.get("text", "")),
        level if isinstance(level, str) else None,
        at_ms if isinstance(at_ms, int) else None,
        None if call is None else str(call),
    )


def print_output(line: OutputLine) -> None:
    """A guest's line where a line of this program's would go."""
    print(line.text, file=sys.stdout if line.stream == "stdout" else sys.stderr, flush=True)
