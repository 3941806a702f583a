"""The same work by RPyC and by rpc_host, over TLS, on this machine, in one run.

Called by `cargo xtask rpyc`, which makes the virtual environment. Rounds of both sides are interleaved, so that
whatever else the machine does meets both; what to look at are ratios of medians.

Both servers are processes of their own. RPyC runs as its documentation says, a threaded server behind an SSL
authenticator; `TCP_NODELAY`, which it leaves off, is set on both of its ends, as it would lose by far without.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import rpyc
from rpyc.utils.authenticators import SSLAuthenticator
from rpyc.utils.server import ThreadedServer

import rpc_host

ROUNDS = 9
SECONDS = 0.4
THREADS = 8


class Counter:
    def __init__(self) -> None:
        self.exposed_count = 7

    def exposed_value(self) -> int:
        return self.exposed_count


class EchoService(rpyc.Service):
    def exposed_echo(self, value: object) -> object:
        return value

    def exposed_counter(self) -> Counter:
        return Counter()


def serve_rpyc(certificate: str, key: str) -> None:
    authenticator = SSLAuthenticator(key, certificate)

    def without_delay(sock: socket.socket) -> object:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return authenticator(sock)

    server = ThreadedServer(EchoService, hostname="127.0.0.1", port=0, authenticator=without_delay)
    print(server.port, flush=True)
    server.start()


def connect_rpyc(port: int, ca: str) -> rpyc.Connection:
    context_arguments = {"ca_certs": ca, "cert_reqs": ssl.CERT_REQUIRED}
    stream = rpyc.SocketStream.ssl_connect("127.0.0.1", port, context_arguments, nodelay=True)
    return rpyc.connect_stream(stream, config={"sync_request_timeout": 60})


def self_signed(directory: pathlib.Path) -> tuple[str, str]:
    certificate, key = directory / "rpyc.crt", directory / "rpyc.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return str(certificate), str(key)


def rate(work, seconds: float = SECONDS) -> float:
    """Calls a second, one after the other."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        work()
        count += 1
    return count / took


def rate_of_threads(work, seconds: float = SECONDS) -> float:
    """Calls a second of several threads together, on one connection."""
    rates: list[float] = []
    threads = [threading.Thread(target=lambda: rates.append(rate(work, seconds))) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def rate_of_many(begin, end) -> float:
    """Calls a second of one thread that begins a hundred before it waits for the first."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        for pending in [begin() for _ in range(100)]:
            end(pending)
        count += 100
    return count / took


def rows(theirs: rpyc.Connection, ours: rpc_host.Connection) -> dict[str, tuple]:
    sink, counters = ours.modules.sink, ours.modules.counter
    counter, netref = counters.Counter(7), theirs.root.counter()
    small, large = os.urandom(1 << 20), os.urandom((16 << 20) - 1024)
    assert sink.echo_bytes(small) == theirs.root.echo(small) == small
    assert counter.value() == netref.count == 7
    echo = theirs.root.echo
    later = rpyc.async_(echo)
    return {
        "echo of a number, one thread": (rate, lambda: echo(42), lambda: sink.echo_s64(42)),
        f"echo of a number, {THREADS} threads": (rate_of_threads, lambda: echo(42), lambda: sink.echo_s64(42)),
        "echo of a number, 100 begun at once": (
            lambda work: work(),
            lambda: rate_of_many(lambda: later(42), lambda pending: pending.value),
            lambda: rate_of_many(lambda: rpc_host.async_call(sink.echo_s64, 42), lambda pending: pending.result()),
        ),
        "attribute / method of a handle": (rate, lambda: netref.count, counter.value),
        "method of a netref / of a handle": (rate, lambda: netref.value(), counter.value),
        "echo of 1 MiB": (rate, lambda: echo(small), lambda: sink.echo_bytes(small)),
        "echo of 16 MiB": (rate, lambda: echo(large), lambda: sink.echo_bytes(large)),
    }


def rust(program: str | None, profile: pathlib.Path) -> dict[str, float]:
    """Calls a second of the Rust client, by this benchmark's other program."""
    if program is None:
        return {}
    out = subprocess.run([program, "rates", str(profile)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("node", help="the program rpc-host")
    parser.add_argument("modules", type=pathlib.Path, help="where the example modules are")
    parser.add_argument("--rust", help="the program rpc-host-bench")
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        certificate, key = self_signed(directory)
        data = directory / "data"
        node = subprocess.Popen(
            [options.node, "serve", "--listen", "127.0.0.1:0", "--data", str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        peer = subprocess.Popen([sys.executable, __file__, "serve-rpyc", certificate, key], stdout=subprocess.PIPE)
        try:
            assert node.stdout is not None and peer.stdout is not None
            node.stdout.readline()
            port = int(peer.stdout.readline())
            profile = data / "client.toml"
            found: dict[str, tuple[list[float], list[float]]] = {}
            rust_rates: list[dict[str, float]] = []
            with rpc_host.connect(profile=profile) as ours:
                ours.upload_module(options.modules / "kitchen-sink.wasm", name="sink")
                ours.upload_module(options.modules / "counter.wasm", name="counter")
                theirs = connect_rpyc(port, certificate)
                work = rows(theirs, ours)
                for number in range(ROUNDS + 1):
                    for row, (measure, by_rpyc, by_us) in work.items():
                        pair = measure(by_rpyc), measure(by_us)
                        # The first round warms both up.
                        if number > 0:
                            both = found.setdefault(row, ([], []))
                            both[0].append(pair[0])
                            both[1].append(pair[1])
                    if number > 0:
                        rust_rates.append(rust(options.rust, profile))
                theirs.close()
        finally:
            for process in (node, peer):
                process.kill()
                process.wait()
    report(found, rust_rates, options.json)


def report(found: dict, rust_rates: list[dict[str, float]], path: pathlib.Path | None) -> None:
    print(f"{'calls a second, medians of ' + str(ROUNDS) + ' rounds':<44} {'RPyC':>9} {'Python':>9} {'ratio':>7} {'Rust':>9} {'ratio':>7}")
    result = {}
    for row, (theirs, ours) in found.items():
        by_rpyc, by_us = statistics.median(theirs), statistics.median(ours)
        line = f"{row:<44} {by_rpyc:>9.1f} {by_us:>9.1f} {by_us / by_rpyc:>7.2f}"
        result[row] = {"rpyc": by_rpyc, "python": by_us}
        rates = [rates[row] for rates in rust_rates if row in rates]
        if rates:
            by_rust = statistics.median(rates)
            line += f" {by_rust:>9.1f} {by_rust / by_rpyc:>7.2f}"
            result[row]["rust"] = by_rust
        print(line)
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve-rpyc"]:
        serve_rpyc(*sys.argv[2:])
    else:
        main()
