"""A host that does as it is told: what a real one cannot be made to do at will."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any

import rpc_host
from rpc_host import _messages as messages
from rpc_host._cbor import TAG_HOST, CBORTag, decode_many, encode
from rpc_host._frame import Kind, Parser, fragments

Answer = Callable[["FakeHost", dict[str, Any], list[Any], dict[str, Any]], Any]


class Failed(Exception):
    """The call ends with a failure."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def function(name: str, result: Any = None, **parameters: Any) -> dict[str, Any]:
    """A function as it is described."""
    listed = [{"name": parameter.replace("_", "-"), "type": type} for parameter, type in parameters.items()]
    signature: dict[str, Any] = {"parameters": listed}
    if result is not None:
        signature["result"] = result
    return {"interface": "test:objects/objects@0.1.0", "name": name, "signature": signature}


class FakeHost:
    """Counts what it sends and what is released, and calls back."""

    def __init__(self, functions: list[dict[str, Any]], answers: dict[str, Answer]) -> None:
        self.functions = functions
        self.answers = answers
        self.near, self._far = socket.socketpair()
        self._parser = Parser(1 << 26, 1 << 26, 100)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._calls = itertools.count(2, 2)
        self._waiting: dict[int, Callable[[int, Any], None]] = {}
        #: How often each handle was sent and not released.
        self.held: dict[int, int] = {}
        self.numbers = itertools.count(1)
        self.releases: list[list[Any]] = []
        self.wrong: list[str] = []
        self.hellos: list[Any] = []
        self._thread = threading.Thread(target=self._run, name="fake host", daemon=True)
        self._thread.start()

    def connect(self, **options: Any) -> rpc_host.Connection:
        return rpc_host.Connection.from_streams(self.near.fileno(), self.near.fileno(), **options)

    def close(self) -> None:
        for end in (self.near, self._far):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(10)
        self.near.close()
        self._far.close()

    # What it sends.

    def send(self, kind: int, id: int, body: Any, flags: int = 0) -> None:
        payload = body if isinstance(body, bytes) else encode(body)
        with self._writing:
            self._far.sendall(b"".join(fragments(kind, id, payload, flags)))

    def handle(self, number: int | None = None) -> CBORTag:
        """A handle that is sent: counted."""
        with self._lock:
            number = next(self.numbers) if number is None else number
            self.held[number] = self.held.get(number, 0) + 1
        return CBORTag(TAG_HOST, number)

    def call(self, header: dict[str, Any], arguments: list[Any], then: Callable[[int, Any], None]) -> int:
        """Calls into the client; ``then`` gets the kind and the body of the answer."""
        id = next(self._calls)
        self._waiting[id] = then
        self.send(Kind.CALL, id, encode(header) + encode(arguments) + encode({}))
        return id

    # What it is sent.

    def _run(self) -> None:
        try:
            while data := self._far.recv(1 << 18):
                for message in self._parser.feed(data):
                    self._take(*message)
        except OSError:
            pass

    def _take(self, kind: int, flags: int, id: int, payload: bytes) -> None:
        if kind == Kind.HELLO:
            self.hellos.append(messages.envelope(payload))
            welcome = {"version": 1, "host": "fake/1", "session": "0", "tenant": "t", "role": "admin"}
            limits = {"max-message-bytes": 1 << 24, "max-calls-in-flight": 64, "idle-timeout-ms": 60_000}
            self.send(Kind.WELCOME, 0, {**welcome, **limits})
        elif kind == Kind.REQUEST:
            self.send(Kind.REPLY, id, {"functions": self.functions})
        elif kind == Kind.CALL:
            header, positional, _ = decode_many(payload, 3)
            try:
                self._check(header, positional)
                answer = self.answers[header["function"].rpartition(".")[2]](self, header, positional, {"id": id})
            except Failed as failed:
                body = {"code": failed.code, "message": str(failed), "fault": "peer", "retryable": False}
                self.send(Kind.FAILURE, id, body)
                return
            if answer is not None:
                self.send(Kind.REPLY, id, answer[0])
        elif kind == Kind.RELEASE:
            (pairs,) = messages.envelope(payload).values()
            self.releases.append(pairs)
            with self._lock:
                for number, count in pairs:
                    left = self.held.get(number, 0) - count
                    if left < 0:
                        self.wrong.append(f"{number} was released {-left} times too often")
                    elif left:
                        self.held[number] = left
                    else:
                        del self.held[number]
            if id:
                self.send(Kind.REPLY, id, None)
        elif kind in (Kind.REPLY, Kind.FAILURE):
            self._waiting.pop(id)(kind, decode_many(payload, 1)[0])

    def _check(self, header: dict[str, Any], positional: list[Any]) -> None:
        """A call names only what its session holds."""
        numbers = [item.value for item in positional if isinstance(item, CBORTag) and item.tag == TAG_HOST]
        if numbers and header.get("on") not in numbers:
            self.wrong.append(f"a call with objects {numbers} on {header.get('on')}")
        for number in numbers:
            if number not in self.held:
                self.wrong.append(f"{number} was let go of while it was held")
                raise Failed("not-found", f"no object {number} in this session")
