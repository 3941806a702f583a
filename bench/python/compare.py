"""The same work by the Python client of a node and by RPyC, side by side in one run.

``compare.py BINARY COMPONENTS`` starts a node and an RPyC server, both on the loopback and both over TLS with the same
certificate, and does each piece of work by turns. It needs ``rpc_host`` and ``rpyc``; ``cargo xtask bench-python`` makes a
virtual environment with both. The node runs each call in a sandbox; RPyC runs it in the server's own process.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Each piece of work is done so often by either, by turns.
ROUNDS = 7

CONFIG = """
log-level = "warn"
[limits]
max-message-bytes = 67108864
max-reply-bytes = 67108864
max-memory-bytes = 1073741824
max-hostcall-bytes = 1073741824
"""

SERVER = """
import sys, rpyc
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import ThreadedServer

class Counter:
    def __init__(self):
        self.exposed_value = 0
    def exposed_increment(self):
        self.exposed_value += 1
        return self.exposed_value

class Service(rpyc.Service):
    def exposed_add(self, a, b):
        return a + b
    def exposed_echo(self, value):
        return value
    def exposed_counter(self):
        return Counter()

server = ThreadedServer(Service, hostname="127.0.0.1", port=0, authenticator=SSLAuthenticator(sys.argv[1], sys.argv[1]))
print(server.port, flush=True)
server.start()
"""


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def repeated(call: Callable[[], Any], count: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(count):
            call()

    return work


def threaded(call: Callable[[], Any], count: int, threads: int = 8) -> Callable[[], None]:
    def work() -> None:
        each = [threading.Thread(target=repeated(call, count // threads)) for _ in range(threads)]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join()

    return work


def patiently(connect: Callable[[], Any]) -> Any:
    """RPyC's server tells its port before it listens."""
    for _ in range(50):
        try:
            return connect()
        except ConnectionRefusedError:
            time.sleep(0.1)
    return connect()


def main() -> None:
    import rpc_host
    import rpyc

    binary, components = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "node.toml").write_text(CONFIG)
        node = subprocess.Popen(
            [binary, "serve", "--config", "node.toml", "--listen", "127.0.0.1:0", "--data", "data"],
            cwd=directory,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert node.stdout is not None and re.match("listening on ", node.stdout.readline())
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, f"{directory}/data/server.pem"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            theirs = patiently(lambda: rpyc.ssl_connect("127.0.0.1", port, config={"sync_request_timeout": 300}))
            with rpc_host.connect(profile=f"{directory}/data/client.toml") as ours:
                for name in ("calc", "kitchen-sink", "counter"):
                    ours.upload_module(components / f"{name}.wasm", name=name)
                compare(rpc_host, rpyc, ours, theirs)
        finally:
            for process in (node, server):
                process.terminate()
                process.wait()


def compare(rpc_host: Any, rpyc: Any, ours: Any, theirs: Any) -> None:
    calc, sink = ours.modules.calc, ours.modules["kitchen-sink"]
    add, echo = calc.add, sink.echo_bytes
    their_add, their_echo = theirs.root.add, theirs.root.echo
    counter, their_counter = ours.modules.counter.counters.Counter(0), theirs.root.counter()
    their_async = rpyc.async_(their_add)
    mebi, sixteen = os.urandom(1 << 20), os.urandom(16 << 20)
    small = 1000

    def pipelined() -> None:
        for future in [rpc_host.async_call(add, 2, 3) for _ in range(small)]:
            future.result()

    def their_pipelined() -> None:
        for result in [their_async(2, 3) for _ in range(small)]:
            assert result.value == 5

    work: list[tuple[str, int, Callable[[], Any], Callable[[], Any]]] = [
        ("calls, one after the other", small, repeated(lambda: add(2, 3), small), repeated(lambda: their_add(2, 3), small)),
        (
            "calls, looked up by name each time",
            small,
            repeated(lambda: ours.modules.calc.add(2, 3), small),
            repeated(lambda: theirs.root.add(2, 3), small),
        ),
        ("calls of 8 threads", small, threaded(lambda: add(2, 3), small), threaded(lambda: their_add(2, 3), small)),
        ("calls begun before others have ended", small, pipelined, their_pipelined),
        (
            "methods of an object",
            small,
            repeated(counter.increment, small),
            repeated(lambda: their_counter.increment(), small),
        ),
        ("attributes of an object", small, repeated(counter.value, small), repeated(lambda: their_counter.value, small)),
        ("echoes of 1 MiB", 5, repeated(lambda: echo(mebi), 5), repeated(lambda: their_echo(mebi), 5)),
        ("echoes of 16 MiB", 1, repeated(lambda: echo(sixteen), 1), repeated(lambda: their_echo(sixteen), 1)),
    ]
    print("| work | rpc_host, per second | RPyC, per second | times as many |")
    print("|---|---|---|---|")
    for name, count, mine, other in work:
        mine(), other()  # warm
        pairs = [(timed(mine), timed(other)) for _ in range(ROUNDS)]
        fast, slow = (count / statistics.median(times) for times in zip(*pairs))
        print(f"| {name} | {fast:,.0f} | {slow:,.0f} | {fast / slow:.1f} |", flush=True)


if __name__ == "__main__":
    main()
