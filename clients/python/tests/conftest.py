"""What the tests share: a node, and connections to it.

The node is the real binary, over real TLS. Where it is, and where the components are, ``cargo xtask python`` says;
by hand it is what ``cargo build`` and ``cargo xtask modules`` have put into ``target``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rpc_host

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
BINARY = Path(os.environ.get("RPC_HOST_BINARY") or TARGET / "debug/rpc-host")
COMPONENTS = Path(os.environ.get("RPC_HOST_COMPONENTS") or TARGET / "modules")
GOLDEN = ROOT / "tests/golden"

#: No test waits longer for anything.
PATIENCE = 30.0


def component(name: str) -> Path:
    """A component that ``cargo xtask modules`` has built."""
    path = COMPONENTS / f"{name}.wasm"
    assert path.is_file(), f"{path} is not there: run `cargo xtask modules`"
    return path


class Host:
    """A node of its own."""

    def __init__(self, directory: Path, config: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "node.toml").write_text('log-format = "json"\n' + config)
        self.process: subprocess.Popen[str]
        self.address = ""
        self.start()

    def start(self, listen: str = "127.0.0.1:0") -> None:
        assert BINARY.is_file(), f"{BINARY} is not there: run `cargo build --workspace`"
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", "node.toml", "--listen", listen, "--data", "data"],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        found = re.fullmatch(r"listening on (\S+)\n", ready)
        assert found, f"the node did not start: {ready!r} {(self.directory / 'log').read_text()[-2000:]}"
        self.address = found[1]

    @property
    def profile(self) -> Path:
        return self.directory / "data/client.toml"

    def connect(self, **options: Any) -> rpc_host.Connection:
        return rpc_host.connect(profile=self.profile, **options)

    def freeze(self) -> None:
        """Stops it in its tracks, until it is told to go on."""
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        eventually("it stands still", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, kill: bool = False) -> None:
        if self.process.poll() is None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The node that tests share which do not change it as a whole."""
    host = Host(tmp_path_factory.mktemp("host"))
    yield host
    host.stop()


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes nodes that only the caller uses."""
    hosts: list[Host] = []

    def make(config: str = "") -> Host:
        hosts.append(Host(tmp_path / f"host{len(hosts)}", config))
        return hosts[-1]

    yield make
    for one in hosts:
        one.stop(kill=True)


_uploaded: dict[str, str] = {}


@pytest.fixture(scope="session")
def registered(host: Host) -> Callable[..., str]:
    """Registers an example under its own name, once, and gives the name."""

    def register(name: str) -> str:
        if name not in _uploaded:
            with host.connect() as conn:
                _uploaded[name] = conn.upload_module(component(name), name=name).digest
        return name

    return register


@pytest.fixture
def conn(host: Host) -> Iterator[rpc_host.Connection]:
    """A connection of the test's own."""
    with host.connect() as connection:
        yield connection


@pytest.fixture
def sink(conn: rpc_host.Connection, registered: Callable[..., str]) -> Any:
    """The module that echoes values of every type."""
    return conn.modules[registered("kitchen-sink")].sink


@pytest.fixture
def calc(conn: rpc_host.Connection, registered: Callable[..., str]) -> Any:
    return conn.modules[registered("calc")]


def eventually(what: str, is_so: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Looks until it is so."""
    end = time.monotonic() + patience
    while True:
        found = is_so()
        if found:
            return found
        assert time.monotonic() < end, f"not so in {patience} s: {what}"
        time.sleep(0.01)


def threads() -> list[str]:
    """The threads of the package that are there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rpc-host")]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
