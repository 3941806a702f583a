"""Servers and clients of Python's ways to call, driven line by line as `bench/measure` describes it.

    peer.py serve rpyc|multiprocessing CERTIFICATE KEY
    peer.py client rpyc|multiprocessing ADDRESS CERTIFICATE
    peer.py client rpc-host PROFILE
"""

from __future__ import annotations

import os
import pathlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

#: What both ends of multiprocessing.connection know. It keeps strangers out; nothing is encrypted by it.
AUTHKEY = b"for this run, on this machine alone"


def records(count: int) -> tuple[tuple[int, int], ...]:
    return tuple((number, number * 7919 - 1_000_000) for number in range(count))


def text_of(length: int) -> str:
    words = "words, слова, λόγοι, 語 " * (length // 32 + 1)
    cut = words.encode()[:length].decode(errors="ignore")
    return cut + "." * (length - len(cut.encode()))


def obey(functions: dict[str, Callable[[Any], Any]]) -> None:
    """Does what it is told, until there is nothing more. A function is given what is sent, but for `add`."""
    requests: dict[str, Callable[[int], Any]] = {
        "add": lambda _: (2, 3),
        "bytes": os.urandom,
        "records": records,
        "text": text_of,
    }
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["time", work, count] if work.partition(":")[0] in functions:
                kind, _, size = work.partition(":")
                request = requests[kind](int(size or 0))
                print(timed(functions[kind], request, int(count)), flush=True)
            case _:
                print("none", flush=True)


def timed(function: Callable[[Any], Any], request: Any, count: int) -> str:
    expected = sum(request) if request == (2, 3) else request
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        answer = function(request)
        times.append(time.perf_counter_ns() - began)
        if answer != expected:
            return "error a wrong answer came back"
    return "times " + " ".join(map(str, times))


def serve_rpyc(certificate: str, key: str) -> None:
    import rpyc
    from rpyc.utils.authenticators import SSLAuthenticator
    from rpyc.utils.server import ThreadedServer

    class Service(rpyc.Service):  # type: ignore[misc]
        def exposed_add(self, a: int, b: int) -> int:
            return a + b

        def exposed_echo(self, value: object) -> object:
            return value

    authenticator = SSLAuthenticator(key, certificate)

    def without_delay(sock: socket.socket) -> object:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return authenticator(sock)

    server = ThreadedServer(Service, hostname="127.0.0.1", port=0, authenticator=without_delay)
    print(f"127.0.0.1:{server.port}", flush=True)
    server.start()


def client_rpyc(address: str, certificate: str) -> None:
    import rpyc

    host, _, port = address.rpartition(":")
    arguments = {"ca_certs": certificate, "cert_reqs": ssl.CERT_REQUIRED}
    stream = rpyc.SocketStream.ssl_connect(host, int(port), arguments, nodelay=True)
    connection = rpyc.connect_stream(stream, config={"sync_request_timeout": 60})
    add, echo = connection.root.add, connection.root.echo
    # Tuples go by value; a list would stay where it is, and each of its elements be asked for.
    obey({"add": lambda pair: add(*pair), "bytes": echo, "records": echo, "text": echo})


def serve_multiprocessing(_certificate: str, _key: str) -> None:
    with Listener(("127.0.0.1", 0), authkey=AUTHKEY) as listener:
        host, port = listener.address  # type: ignore[misc]
        print(f"{host}:{port}", flush=True)
        while True:
            threading.Thread(target=answer, args=(listener.accept(),), daemon=True).start()


def at_once(connection: Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def answer(connection: Connection) -> None:
    at_once(connection)
    try:
        while True:
            function, value = connection.recv()
            connection.send(sum(value) if function == "add" else value)
    except EOFError:
        connection.close()


def client_multiprocessing(address: str, _certificate: str) -> None:
    host, _, port = address.rpartition(":")
    with Client((host, int(port)), authkey=AUTHKEY) as connection:
        at_once(connection)

        def call(function: str, value: object) -> object:
            connection.send((function, value))
            return connection.recv()

        def echo(value: object) -> object:
            return call("echo", value)

        obey({"add": lambda pair: call("add", pair), "bytes": echo, "records": echo, "text": echo})


def client_rpc_host(profile: str) -> None:
    import rpc_host

    with rpc_host.connect(profile=pathlib.Path(profile)) as connection:
        calc, sink = connection.modules.calc, connection.modules.sink
        add, echo_bytes, echo_points, echo_text = calc.add, sink.echo_bytes, sink.echo_points, sink.echo_string

        def echo_records(value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
            points = [{"x": x, "y": y} for x, y in value]
            return tuple((point["x"], point["y"]) for point in echo_points(points))

        obey({"add": lambda pair: add(*pair), "bytes": echo_bytes, "records": echo_records, "text": echo_text})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", "rpyc", certificate, key]:
            serve_rpyc(certificate, key)
        case ["serve", "multiprocessing", certificate, key]:
            serve_multiprocessing(certificate, key)
        case ["client", "rpyc", address, certificate]:
            client_rpyc(address, certificate)
        case ["client", "multiprocessing", address, certificate]:
            client_multiprocessing(address, certificate)
        case ["client", "rpc-host", profile]:
            client_rpc_host(profile)
        case _:
            sys.exit(__doc__)
