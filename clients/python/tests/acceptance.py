"""What the acceptance tests share: how large they are, a peer that speaks in frames and bytes, and looks at a node
from outside. Nothing here comes from the package but what its users have.

The cases are numbered, and so are the tests: ``test_case_07_…`` in one of the files ``test_acceptance_….py``.

=====  ==========================================================  ==================
cases  what they are about                                         file
=====  ==========================================================  ==================
1–6    calls and values                                            ``…_calls``
7–13   sessions, objects, and how long they live                   ``…_lifetime``
14–18  calls back into a client                                    ``…_callbacks``
19–26  uploads, swaps, and who answers a name                      ``…_modules``
27–34  time, order, and many calls at once                         ``…_time``
35–42  security and transports                                     ``…_security``
558    four defects of proxies elsewhere                           ``…_558``
=====  ==========================================================  ==================

What is in a case and not in this version, and so in no test:

====  ====================================================================================================
case  what is not there
====  ====================================================================================================
13    a module is not told that a session has ended: the destructors of its objects run, and nothing else
25    an object of Python's that lacks a function is found out when that is called, not when it is bound
34    streams of WIT's own (``stream<T>``): a cursor is an object that gives so many at a time
42    Unix sockets, and a host within the process: the script runs over TLS and over standard streams
====  ====================================================================================================

Counts are for every day. With ``RPC_HOST_TEST_SCALE=full`` they are those of the cases, and with a number so many times
what they are otherwise.
"""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import statistics
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from conftest import PATIENCE, Host, eventually

import rpc_host

#: ``full``: as many as the case says. A number: so many times more than otherwise, but never more than that.
SCALE = os.environ.get("RPC_HOST_TEST_SCALE", "1")


def scaled(full: int, otherwise: int) -> int:
    """How many: ``full`` where somebody has the time, and else few enough for every day."""
    return full if SCALE == "full" else min(full, int(otherwise * float(SCALE)))


def is_full() -> bool:
    return SCALE == "full"


# ----------------------------------------------------------------------------------------------------------- threads


def together(count: int, run: Callable[[int], None], patience: float = PATIENCE) -> None:
    """Runs it in so many threads at once; the first that fails is the failure."""
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if failed:
        raise failed[0]
    assert not any(thread.is_alive() for thread in threads), f"not done in {patience} s"


def timed(work: Callable[[], Any]) -> float:
    """How long it takes, in seconds."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def refusal(error: type[BaseException], work: Callable[..., Any], *args: Any) -> float:
    """How long it takes to end with this error, in seconds."""
    began = time.monotonic()
    with pytest.raises(error):
        work(*args)
    return time.monotonic() - began


def median_of(count: int, work: Callable[[], Any]) -> float:
    """How long one of so many takes."""
    return statistics.median(timed(work) for _ in range(count))


def best_of(count: int, attempt: Callable[[], float], enough: float) -> float:
    """The quickest of a few attempts: another program of this machine may hold one up, and not all."""
    best = float("inf")
    for _ in range(count):
        best = min(best, attempt())
        if best <= enough:
            break
    return best


# --------------------------------------------------------------------------------------------- a node from outside


def log_of(host: Host) -> list[dict[str, Any]]:
    """The lines of its log, so far as they are whole."""
    text = (host.directory / "log").read_text(errors="replace")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]


def said(host: Host) -> list[str]:
    """What its guests wrote and the node itself said, as text alone."""
    return [str(line.get("fields", {}).get("message")) for line in log_of(host)]


def audit_of(host: Host) -> list[dict[str, Any]]:
    text = (host.directory / "data/audit/audit.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def status_of(host: Host, key: str) -> int:
    """A number of what the system says of its process: ``VmHWM`` in bytes, ``Threads``, …"""
    for line in Path(f"/proc/{host.process.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            words = value.split()
            return int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    raise KeyError(key)


def forget_peak(host: Host) -> None:
    """``VmHWM`` is counted from now on."""
    Path(f"/proc/{host.process.pid}/clear_refs").write_text("5")


def files_of(host: Host) -> int:
    """How many files, sockets among them, its process has open."""
    return len(os.listdir(f"/proc/{host.process.pid}/fd"))


def processor_time(host: Host) -> float:
    """Seconds of processor time that its process has had."""
    fields = Path(f"/proc/{host.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_busy(host: Host, over: float = 0.25) -> bool:
    """Whether something computes there."""
    before = processor_time(host)
    time.sleep(over)
    return processor_time(host) - before > over / 5


# ---------------------------------------------------------------------------------------- a peer of frames and bytes

HELLO, WELCOME, CALL, REPLY, FAILURE, CANCEL, REQUEST, UPLOAD, CHUNK, ACK, PROVIDE, WITHDRAW, RELEASE = range(1, 14)
EVENT, PING, PONG, GOAWAY, LAPSE, OUTPUT = range(14, 20)
MORE, RESULT = 1, 2
#: Tags of live objects.
OF_HOST, OF_CLIENT = 29296, 29297
HEADER = struct.Struct(">IBBHI")


def frame(kind: int, id: int, payload: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(len(payload), kind, flags, 0, id) + payload


def context_of(host: Host, *alpn: str) -> ssl.SSLContext:
    """A context that believes this node, and speaks these protocols."""
    context = ssl.create_default_context(cadata=rpc_host.Profile.from_file(host.profile).ca)
    context.set_alpn_protocols(list(alpn or ("rpc-host/1",)))
    return context


def tcp_to(host: Host) -> socket.socket:
    address, port = rpc_host.Profile.from_file(host.profile).host_and_port
    return socket.create_connection((address, port), timeout=PATIENCE)


class Peer:
    """A connection over TLS, and nothing that would keep its user from breaking a rule."""

    def __init__(self, host: Host, hello: dict[str, Any] | None = None, greet: bool = True) -> None:
        self.socket = context_of(host).wrap_socket(tcp_to(host), server_hostname="localhost")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_id = 1
        self._held: dict[tuple[int, int], bytes] = {}
        if greet:
            token = rpc_host.Profile.from_file(host.profile).token
            self.send(HELLO, 0, hello or {"versions": [1], "client": "peer/1", "token": token})
            kind, _, _, self.welcome = self.receive()
            assert kind == WELCOME, self.welcome

    def send(self, kind: int, id: int, *items: Any) -> None:
        payload = b"".join(item if isinstance(item, bytes) else cbor2.dumps(item) for item in items)
        self.socket.sendall(frame(kind, id, payload))

    def receive(self) -> tuple[int, int, int, Any]:
        """The next message: kind, id, flags, body. Pings are answered."""
        while True:
            length, kind, flags, _, id = HEADER.unpack(self._exactly(HEADER.size))
            payload = self._held.pop((kind, id), b"") + self._exactly(length)
            if flags & MORE:
                self._held[kind, id] = payload
                continue
            body = cbor2.loads(payload) if payload else None
            if kind == PING:
                self.send(PONG, 0, body)
                continue
            return kind, id, flags, body

    def _exactly(self, length: int) -> bytes:
        parts = b""
        while len(parts) < length:
            part = self.socket.recv(length - len(parts))
            if not part:
                raise EOFError("the host closed the connection")
            parts += part
        return parts

    def begin(self, kind: int, *items: Any) -> int:
        """Begins an exchange."""
        id, self.next_id = self.next_id, self.next_id + 2
        self.send(kind, id, *items)
        return id

    def answer(self, id: int) -> tuple[int, Any]:
        """What ends an exchange."""
        while True:
            kind, of, _, body = self.receive()
            if of == id and kind in (REPLY, FAILURE):
                return kind, body

    def call(self, module: str, function: str, *args: Any, **header: Any) -> tuple[int, Any]:
        """A call, and what it comes to."""
        fields = {name.replace("_", "-"): value for name, value in header.items()}
        return self.answer(self.begin(CALL, {"module": module, "function": function, **fields}, list(args), {}))

    def to_the_end(self) -> list[tuple[int, int, int, Any]]:
        """All that comes until the host closes."""
        messages = []
        try:
            while True:
                messages.append(self.receive())
        except (EOFError, ConnectionError, ssl.SSLError):
            return messages

    def close(self) -> None:
        self.socket.close()

    def vanish(self) -> None:
        """Ends without a word, as a process does that is killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closed beneath TLS, which would say goodbye.
        socket.socket(fileno=self.socket.detach()).close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Hostile:
    """A host that does whatever a test tells it to: over streams, as one that is started as a child."""

    def __init__(self, **welcome: Any) -> None:
        near, self.far = socket.socketpair()
        self.near = near
        self.welcome = {"version": 1, "host": "hostile/1", "session": "0", "tenant": "t", "role": "admin"}
        self.welcome |= {"max-message-bytes": 1 << 24, "max-calls-in-flight": 64, "idle-timeout-ms": 60_000}
        self.welcome |= {name.replace("_", "-"): value for name, value in welcome.items()}
        #: What it answers to: a request, a call, an offer. Each gets the items of the message.
        self.on: dict[int, Callable[..., Any]] = {}
        self.answers: dict[int, tuple[int, Any]] = {}
        self._next_id = 2
        threading.Thread(target=self._run, name="hostile", daemon=True).start()

    def connect(self) -> rpc_host.Connection:
        return rpc_host.Connection.from_streams(self.near.fileno(), self.near.fileno(), timeout=5)

    def send(self, kind: int, id: int, *items: Any, flags: int = 0) -> None:
        payload = b"".join(item if isinstance(item, bytes) else cbor2.dumps(item) for item in items)
        parts = [payload[at : at + 65536] for at in range(0, len(payload), 65536)] or [b""]
        for part in parts[:-1]:
            self.far.sendall(frame(kind, id, part, flags | MORE))
        self.far.sendall(frame(kind, id, parts[-1], flags))

    def call(self, module: str, function: str, *args: Any, **header: Any) -> tuple[int, Any]:
        """Calls into the client, and gives what it answers."""
        id, self._next_id = self._next_id, self._next_id + 2
        self.send(CALL, id, {"module": module, "function": function, "timeout-ms": 5000, **header}, list(args), {})
        return eventually("it is answered", lambda: self.answers.pop(id, None))

    def _run(self) -> None:
        buffer = b""
        try:
            while data := self.far.recv(1 << 18):
                buffer += data
                while len(buffer) >= HEADER.size:
                    length, kind, _, _, id = HEADER.unpack_from(buffer)
                    if len(buffer) < HEADER.size + length:
                        break
                    payload = buffer[HEADER.size : HEADER.size + length]
                    buffer = buffer[HEADER.size + length :]
                    self._take(kind, id, payload)
        except OSError:
            pass

    def _take(self, kind: int, id: int, payload: bytes) -> None:
        items = io.BytesIO(payload)
        body = cbor2.load(items) if payload else None
        if kind == HELLO:
            self.send(WELCOME, 0, self.welcome)
        elif kind in (REPLY, FAILURE):
            self.answers[id] = (kind, body)
        elif kind == PING:
            self.send(PONG, 0, body)
        elif kind in self.on:
            answer = self.on[kind](id, body, *([cbor2.load(items)] if kind == CALL else []))
            if answer is not None:
                self.send(REPLY, id, answer)

    def close(self) -> None:
        self.far.close()
        self.near.close()

    def __enter__(self) -> Hostile:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
