"""How connections begin and end, and what is left of them."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, component, eventually, open_files, threads

import rpc_host
from rpc_host._profile import Profile


def test_a_profile_is_found_where_it_should_be(
    host: Any, registered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RPC_HOST_PROFILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(rpc_host.ProfileError, match="no profile found; looked at rpc-host-data/client.toml, "):
        rpc_host.connect()
    for place in ("config/rpc-host", "rpc-host-data", "named"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(host.profile, tmp_path / place / "client.toml")
        if place == "named":
            monkeypatch.setenv("RPC_HOST_PROFILE", str(tmp_path / "named/client.toml"))
            (tmp_path / "rpc-host-data/client.toml").unlink()
        with rpc_host.connect() as conn:
            assert conn.tenant == "default" and conn.role == "admin" and conn.host.startswith("rpc-host/")


def test_what_is_given_takes_the_place_of_what_the_profile_says(host: Any, tmp_path: Path) -> None:
    profile = Profile.from_file(host.profile)
    address, port = profile.host_and_port
    ca = tmp_path / "ca.pem"
    ca.write_text(profile.ca or "")
    for where in ((address, port), (profile.address, None)):
        for authority in (profile.ca, ca, str(ca)):
            with rpc_host.connect(*where, token=profile.token, ca=authority, server_name="localhost") as conn:
                assert conn.session
    with pytest.raises(rpc_host.AuthenticationError):
        rpc_host.connect(profile=profile, token="rpch_0000000000000000_" + "0" * 64)
    with pytest.raises(rpc_host.ProfileError, match="no `ca`"):
        rpc_host.connect(address, port, token="t")


def test_a_profile_is_read_as_it_is_written(tmp_path: Path) -> None:
    def read(text: str) -> Profile:
        path = tmp_path / "client.toml"
        path.write_text(text)
        return Profile.from_file(path)

    (tmp_path / "me.pem").write_text("certificate")
    (tmp_path / "me.key").write_text("s3cret")
    profile = read(
        "# a node\naddress = \"[::1]:7443\"  # here\nserver-name = 'node'\n"
        'ca = """\nPEM\nPEM\\n"""\ntoken = "t0\\u006ben"\ncertificate = "me.pem"\nkey = "me.key"\n'
    )
    assert profile == Profile("[::1]:7443", "node", "PEM\nPEM\n", "t0ken", "certificate", "s3cret")
    assert profile.host_and_port == ("::1", 7443) and profile.expected_name == "node"
    assert "t0ken" not in repr(profile) and "s3cret" not in repr(profile)
    for text, problem in [
        ('address = "a:1"\ntoken = "t0ken"\ntokn = "t0ken"', "line 3: unknown field `tokn`"),
        ('token = "t0ken', "line 1: `token` is not a string"),
        ('token = "t0ken" "', "something follows"),
        ('token = "t0ken"', "missing field `address`"),
        ('address = "a:1"\nkey = "me.key"', "go together"),
        ('address = "a:1"\ncertificate = "me.pem"\nkey = "no.key"', "no.key"),
        ('address = "a:1"\naddress = "a:1"', "line 2: `address` is there twice"),
        ("t0ken", "line 1: expected"),
    ]:
        with pytest.raises(rpc_host.ProfileError) as raised:
            read(text)
        assert problem in str(raised.value) and "t0ken" not in str(raised.value)


def test_only_the_host_of_the_profile_is_believed(host: Any, own_host: Any) -> None:
    profile = Profile.from_file(host.profile)
    other = Profile.from_file(own_host().profile)
    with pytest.raises(rpc_host.ConnectError, match="no secure connection"):
        rpc_host.connect(profile=profile, ca=other.ca)
    with pytest.raises(rpc_host.ConnectError, match="no secure connection"):
        rpc_host.connect(profile=profile, server_name="example.com")
    with pytest.raises(rpc_host.ConnectError, match="cannot connect"):
        rpc_host.connect("127.0.0.1", 1, profile=profile, timeout=5)
    assert issubclass(rpc_host.ConnectError, ConnectionError)


def test_there_is_no_way_around_the_check_of_the_host(host: Any) -> None:
    from rpc_host._transport import context_of

    context = context_of(Profile.from_file(host.profile))
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert len(context.get_ca_certs()) == 1


def make_certificate(directory: Path) -> None:
    """``me.pem`` and ``me.key``, of the authority of the node there."""
    command = [BINARY, "certificate", "create", "--tenant", "default", "--name", "me", "--out", "me", "--data", "data"]
    made = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_a_client_certificate_takes_the_place_of_a_token(own_host: Any) -> None:
    host = own_host()
    make_certificate(host.directory)
    # The node has an authority for clients from now on, and reads so when it starts.
    host.stop()
    host.start()
    profile = Profile.from_file(host.profile)
    given = {"certificate": host.directory / "me.pem", "key": str(host.directory / "me.key")}
    with rpc_host.connect(profile.address, ca=profile.ca, server_name="localhost", **given) as conn:
        assert (conn.tenant, conn.role) == ("default", "caller")
    file = host.directory / "client.toml"
    file.write_text(
        f'address = "{profile.address}"\nserver-name = "localhost"\nca = """\n{profile.ca}"""\n'
        'certificate = "me.pem"\nkey = "me.key"\n'
    )
    with rpc_host.connect(profile=file) as conn:
        assert conn.role == "caller"
    # Of another authority, it is refused by name.
    other = own_host()
    make_certificate(other.directory)
    given = {"certificate": other.directory / "me.pem", "key": other.directory / "me.key"}
    with pytest.raises(rpc_host.AuthenticationError, match="did not accept the certificate"):
        rpc_host.connect(profile.address, ca=profile.ca, server_name="localhost", **given)


def test_the_other_side_has_to_speak_the_protocol(tmp_path: Path, host: Any) -> None:
    """Something that is no host is told so, whatever it says."""
    profile = Profile.from_file(host.profile)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for _ in range(2):
        with pytest.raises(rpc_host.ConnectError):
            rpc_host.connect("127.0.0.1", port, profile=profile, timeout=5)
    listener.close()


def test_a_connection_leaves_no_thread_and_no_file_behind(host: Any, registered: Any) -> None:
    registered("calc")
    with host.connect() as conn:
        assert conn.modules.calc.add(1, 1) == 2
    eventually("the first one is gone", lambda: not threads())
    files = open_files()
    for _ in range(20):
        with host.connect() as conn:
            assert conn.modules.calc.add(1, 1) == 2
            assert threads()
        assert not threads() and open_files() == files
    conn.close()
    assert conn.closed and "(closed)" in repr(conn)
    with pytest.raises(rpc_host.ConnectionLost, match="closed it"):
        conn.modules.calc.add(1, 1)


def test_a_connection_that_nobody_holds_closes_itself(host: Any, registered: Any) -> None:
    registered("calc")
    eventually("no other is open", lambda: not threads())
    files = open_files()
    conn = host.connect()
    assert conn.modules.calc.add(1, 1) == 2
    del conn
    gc.collect()
    eventually("it is closed", lambda: not threads() and open_files() == files)


def test_a_connection_that_fails_leaves_nothing_behind(host: Any) -> None:
    profile = Profile.from_file(host.profile)
    eventually("no other is open", lambda: not threads())
    files = open_files()
    for _ in range(5):
        with pytest.raises(rpc_host.AuthenticationError):
            rpc_host.connect(profile=profile, token="wrong")
    assert not threads() and open_files() == files


def test_calls_under_way_fail_when_the_connection_is_lost_and_the_next_connects_anew(own_host: Any) -> None:
    host = own_host()
    with host.connect(call_timeout=60) as conn:
        conn.upload_module(component("sleeper"), name="sleeper")
        conn.upload_module(component("calc"), name="calc")
        sleep, add = conn.modules.sleeper.sleep, conn.modules.calc.add
        session = conn.session
        futures = [rpc_host.async_call(sleep, 20_000) for _ in range(3)]
        failed: list[BaseException] = []

        def call() -> None:
            try:
                sleep(20_000)
            except BaseException as error:
                failed.append(error)

        waiting = [threading.Thread(target=call) for _ in range(3)]
        for thread in waiting:
            thread.start()
        time.sleep(0.3)
        address = host.address
        host.stop(kill=True)
        for future in futures:
            assert isinstance(future.exception(10), rpc_host.ConnectionLost)
        for thread in waiting:
            thread.join(10)
        assert len(failed) == 3 and all(isinstance(error, rpc_host.ConnectionLost) for error in failed)
        with pytest.raises(rpc_host.ConnectError):
            add(1, 2)
        host.start(address)
        assert eventually("it connects anew", lambda: _tried(lambda: add(1, 2))) == 3
        assert conn.session != session


def _tried(attempt: Any) -> Any:
    try:
        return attempt()
    except ConnectionError:
        return None


def test_a_host_that_stops_lets_calls_finish_and_takes_no_new_ones(own_host: Any) -> None:
    host = own_host()
    with host.connect() as conn:
        conn.upload_module(component("sleeper"), name="sleeper")
        slow = rpc_host.async_call(conn.modules.sleeper.sleep, 700)
        time.sleep(0.2)
        host.process.send_signal(signal.SIGTERM)
        eventually("it is told", lambda: conn._session is None or conn._session.link.goaway)
        with pytest.raises((rpc_host.Unavailable, rpc_host.ConnectionLost, rpc_host.ConnectError)):
            conn.modules.sleeper.sleep(1)
        assert slow.result(10) >= 700


def test_silence_is_broken_so_that_an_idle_connection_lives(own_host: Any) -> None:
    host = own_host("[limits]\nidle-timeout-ms = 2000\nkeepalive-interval-ms = 700\n")
    with host.connect() as conn:
        session = conn.session
        time.sleep(4.0)
        assert conn.session == session and conn.list() == []
        assert conn._session.link.ended is None


def test_a_host_that_is_silent_is_given_up(own_host: Any) -> None:
    host = own_host("[limits]\nidle-timeout-ms = 1500\n")
    with host.connect() as conn:
        conn.upload_module(component("calc"), name="calc")
        add = conn.modules.calc.add
        host.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(rpc_host.ConnectionLost, match="not a sign of life"):
                add(1, 2)
            assert time.monotonic() - began < 10
        finally:
            host.thaw()


def test_a_call_that_gets_no_answer_in_its_time_ends_here(own_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc_host._function.GRACE_S", 0.2)
    host = own_host()
    with host.connect() as conn:
        conn.upload_module(component("calc"), name="calc")
        add = conn.modules.calc.add.with_options(timeout=0.2)
        host.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(rpc_host.NoAnswer):
                add(1, 2)
            assert time.monotonic() - began < 5
        finally:
            host.thaw()
        assert add.with_options(timeout=30)(1, 2) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_never_writes_to_the_connection_of_its_parent(conn: Any, registered: Any) -> None:
    add = conn.modules[registered("calc")].add
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            add(1, 1)

    workers = [threading.Thread(target=busy) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                try:
                    try:
                        add(1, 2)
                        os._exit(1)
                    except rpc_host.ConnectionLost as error:
                        if "forked" not in str(error):
                            os._exit(2)
                    conn.close()
                    os._exit(0)
                except BaseException:
                    os._exit(3)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert add(2, 3) == 5
    finally:
        stop.set()
        for worker in workers:
            worker.join(10)
    assert conn._session.link.ended is None


EXIT = """
import sys, threading, rpc_host
conn = rpc_host.connect(profile=sys.argv[1])
assert conn.modules.calc.add(2, 3) == 5

def quietly(call, *args):
    try:
        call(*args)
    except rpc_host.ConnectionLost:
        pass

{what}
print("at the end")
"""


@pytest.mark.parametrize(
    "what",
    [
        "",
        "future = rpc_host.async_call(conn.modules.sleeper.sleep, 20000)",
        "threading.Thread(target=quietly, args=(conn.modules.sleeper.sleep, 20000), daemon=True).start()",
        "conn.modules.calc = lambda a, b: threading.Event().wait()\nrpc_host.async_call(conn.modules.calc.add, 2, 3)",
        "conn.close()",
        "raise SystemExit(0) if print('at the end') is None else 0",
        "import os; child = os.fork()",
    ],
)
def test_a_program_ends_without_a_hang(host: Any, registered: Any, what: str) -> None:
    registered("calc"), registered("sleeper")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXIT.format(what=what), str(host.profile)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "at the end" in ended.stdout and not ended.stderr


def test_an_interrupted_call_is_given_up_and_the_connection_goes_on(host: Any, registered: Any) -> None:
    registered("sleeper"), registered("calc")
    script = """
import os, signal, sys, threading, time, rpc_host
with rpc_host.connect(profile=sys.argv[1]) as conn:
    session = conn.session
    sleep, add = conn.modules.sleeper.sleep, conn.modules.calc.add
    for _ in range(5):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        try:
            sleep(20000)
        except KeyboardInterrupt:
            assert time.monotonic() - began < 5
            assert add(2, 3) == 5
        else:
            raise AssertionError("not interrupted")
    assert conn.session == session
    print("well")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, str(host.profile)], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout == "well\n", ended.stderr


def test_streams_that_are_borrowed_stay_open(host: Any, registered: Any) -> None:
    """The protocol over a pair of streams, here with a relay that puts TLS around it."""
    from rpc_host._transport import context_of, dial

    registered("calc")
    profile = Profile.from_file(host.profile)
    near, far = socket.socketpair()
    secure = dial(profile, context_of(profile), 10)

    def out() -> None:
        while data := far.recv(65536):
            secure.send(data)
        secure.shut()

    def back() -> None:
        try:
            while (data := secure.receive()) != b"":
                if data:
                    far.sendall(data)
        except ConnectionResetError:
            pass  # the host has closed its end first
        far.close()

    relays = [threading.Thread(target=relay, daemon=True) for relay in (out, back)]
    for relay in relays:
        relay.start()
    reader, writer = near.makefile("rb", buffering=0), near.makefile("wb", buffering=0)
    with rpc_host.Connection.from_streams(reader, writer, token=profile.token) as conn:
        assert conn.modules.calc.add(2, 3) == 5
        assert rpc_host.async_call(conn.modules.calc.add, 2, 3).result(10) == 5
    assert not reader.closed and not writer.closed
    writer.write(b"")
    with pytest.raises(rpc_host.ConnectionLost):
        conn.modules.calc.add(2, 3)
    near.shutdown(socket.SHUT_RDWR)
    for relay in relays:
        relay.join(10)
        assert not relay.is_alive()
    secure.close()
