"""A host as a child, over its standard streams."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, component, eventually, open_files, threads

import rpc_host
from rpc_host import aio


def command(tmp_path: Path) -> list[str]:
    return [str(BINARY), "serve", "--stdio", "--data", str(tmp_path / "data")]


def test_a_host_is_started_spoken_to_and_ended(tmp_path: Path) -> None:
    eventually("no other is open", lambda: not threads())
    files = open_files()
    with rpc_host.connect_stdio(command(tmp_path), stderr=subprocess.DEVNULL) as conn:
        conn.upload_module(component("calc"), name="calc")
        assert conn.modules.calc.add(2, 3) == 5
        assert rpc_host.async_call(conn.modules.calc.add, 2, 3).result(10) == 5
        assert (conn.tenant, conn.role) == ("default", "admin")
        process = conn.process
    assert process is not None and process.returncode == 0
    assert not threads() and open_files() == files
    with pytest.raises(rpc_host.ConnectionLost):
        conn.modules.calc.add(2, 3)


def test_a_host_that_ends_is_lost(tmp_path: Path) -> None:
    with rpc_host.connect_stdio(command(tmp_path), stderr=subprocess.DEVNULL) as conn:
        conn.upload_module(component("sleeper"), name="sleeper")
        slow = rpc_host.async_call(conn.modules.sleeper.sleep, 20_000)
        assert conn.process is not None
        conn.process.kill()
        assert isinstance(slow.exception(10), rpc_host.ConnectionLost)
        with pytest.raises(rpc_host.ConnectError, match="used up"):
            conn.list()


def test_a_command_that_is_no_host_is_told_so(tmp_path: Path) -> None:
    files = open_files()
    for wrong in (["true"], ["echo", "hello, I am something else entirely"], ["cat"]):
        with pytest.raises(rpc_host.Error):
            rpc_host.connect_stdio(wrong, timeout=2)
    with pytest.raises(FileNotFoundError):
        rpc_host.connect_stdio([str(tmp_path / "nothing")])
    eventually("nothing is left", lambda: open_files() == files and not threads())


def test_a_host_is_started_and_ended_in_a_loop(tmp_path: Path) -> None:
    async def test() -> Any:
        async with aio.connect_stdio(command(tmp_path), stderr=subprocess.DEVNULL) as conn:
            await conn.upload_module(component("calc"), name="calc")
            assert await conn.modules.calc.add(2, 3) == 5
        assert conn.process is not None
        return conn.process.returncode

    assert asyncio.run(asyncio.wait_for(test(), 30)) == 0


OWN = """
import os, sys, rpc_host
with rpc_host.Connection.from_streams(sys.stdin.buffer, sys.stdout.buffer) as conn:
    assert conn.modules.calc.add(2, 3) == 5
assert not sys.stdin.closed and not sys.stdout.closed and not sys.stdout.buffer.closed
os.fstat(0), os.fstat(1)
os.dup2(2, 1)  # the host has gone; from here on it is for people
print("still here", flush=True)
"""


def test_streams_of_the_process_itself_are_borrowed_and_it_prints_afterwards(tmp_path: Path) -> None:
    with rpc_host.connect_stdio(command(tmp_path), stderr=subprocess.DEVNULL) as conn:
        conn.upload_module(component("calc"), name="calc")
    host = subprocess.Popen(command(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    program = subprocess.Popen(
        [sys.executable, "-c", OWN], stdin=host.stdout, stdout=host.stdin, stderr=subprocess.PIPE, text=True
    )
    for stream in (host.stdin, host.stdout):
        assert stream is not None
        stream.close()
    _, said = program.communicate(timeout=30)
    assert program.returncode == 0 and said == "still here\n"
    assert host.wait(10) == 0
