"""Acceptance cases 35 to 42: security and transports.

Case 42 runs on the transports that there are: TLS, and the standard streams of a process. Unix sockets, and a host
within the process, are not built yet.
"""

from __future__ import annotations

import ast
import inspect
import os
import pickle
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from acceptance import (
    CALL,
    FAILURE,
    GOAWAY,
    HELLO,
    MORE,
    OF_CLIENT,
    OF_HOST,
    PROVIDE,
    RELEASE,
    REPLY,
    REQUEST,
    Hostile,
    Peer,
    audit_of,
    context_of,
    files_of,
    frame,
    refusal,
    said,
    scaled,
    status_of,
    tcp_to,
    timed,
)
from conftest import BINARY, Host, component, eventually

import rpc_host
from rpc_host import GuestError, Ok, Profile, async_call

CERTIFICATES = Path(__file__).parent / "certificates"

#: Strangers have so long to say who they are.
HANDSHAKE_S = 1.0
STRANGERS = (
    f"[limits]\nhandshake-timeout-ms = {int(HANDSHAKE_S * 1000)}\n"
    "max-connections-per-minute-per-address = 100000\nmax-failed-authentications-per-minute-per-address = 60000\n"
)


# ---------------------------------------------------------------------------------------- 35: before authentication


def over_tls(host: Host, data: bytes) -> socket.socket:
    stranger = context_of(host).wrap_socket(tcp_to(host), server_hostname="localhost")
    stranger.sendall(data)
    return stranger


def trickled(host: Host) -> socket.socket:
    """A frame that comes byte by byte, and never ends."""
    stranger = over_tls(host, frame(HELLO, 0, bytes(4000))[:12])

    def trickle() -> None:
        try:
            while True:
                stranger.send(b"\xa0")
                time.sleep(0.05)
        except OSError:
            pass

    threading.Thread(target=trickle, daemon=True).start()
    return stranger


def pieces(host: Host, payload: bytes) -> socket.socket:
    """A hello of any length, in as many frames as it takes."""
    stranger = over_tls(host, b"")
    try:
        for at in range(0, len(payload), 60_000):
            stranger.sendall(frame(HELLO, 0, payload[at : at + 60_000], MORE))
    except OSError:
        pass
    return stranger


def bomb() -> bytes:
    """A hundred megabytes of nothing, packed."""
    return zlib.compress(bytes(100 << 20), 9)


DEEP = b"\x81" * 200_000 + b"\0"

STRANGE: dict[str, Callable[[Host], socket.socket]] = {
    "silent": tcp_to,
    "silent over TLS": lambda host: over_tls(host, b""),
    "random bytes": lambda host: sent(tcp_to(host), random.randbytes(100_000)),
    "random bytes over TLS": lambda host: over_tls(host, random.randbytes(16_000)),
    "half a hello of TLS": lambda host: sent(tcp_to(host), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a record of TLS that never ends": lambda host: sent(tcp_to(host), b"\x16\x03\x01\x40\x00" + bytes(1000)),
    "4 GiB announced": lambda host: over_tls(host, b"\xff\xff\xff\xff\x01\0\0\0\0\0\0\0" + bytes(1000)),
    "16 MiB announced": lambda host: over_tls(host, b"\x01\0\0\0\x01\0\0\0\0\0\0\0" + bytes(1000)),
    "a frame that never ends": lambda host: over_tls(host, frame(HELLO, 0, bytes(4000))[:-1]),
    "byte by byte": trickled,
    "a message that never ends": lambda host: pieces(host, bytes(8 << 20)),
    "200,000 levels": lambda host: pieces(host, DEEP),
    "as many levels as a hello has room for": lambda host: over_tls(host, frame(HELLO, 0, DEEP[-4000:])),
    "a list of 4 billion": lambda host: over_tls(host, frame(HELLO, 0, b"\x9b\0\0\0\0\xff\xff\xff\xff")),
    "text of 2^60 bytes": lambda host: over_tls(host, frame(HELLO, 0, b"\x7b\x10\0\0\0\0\0\0\0abc")),
    "a compressed bomb": lambda host: over_tls(host, frame(HELLO, 0, bomb()[:4000])),
    "a call before the hello": lambda host: over_tls(host, frame(CALL, 1, cbor2.dumps({"module": "calc"}))),
    "HTTP": lambda host: sent(tcp_to(host), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}


def sent(stranger: socket.socket, data: bytes) -> socket.socket:
    try:
        stranger.sendall(data)
    except OSError:
        pass  # closed already
    return stranger


def let_go(strangers: list[tuple[str, socket.socket]], patience: float) -> None:
    """Waits until the other side has closed them all; what it says before is thrown away."""
    end = time.monotonic() + patience
    for name, stranger in strangers:
        try:
            stranger.settimeout(max(0.01, end - time.monotonic()))
            while stranger.recv(1 << 16):
                pass
        except TimeoutError:
            pytest.fail(f"still there after {patience} s: {name}")
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            stranger.close()


def test_case_35_before_anybody_has_said_who_it_is_little_can_be_asked_of_the_host(own_host: Any) -> None:
    """When strangers announce too much, never end what they begin, send it slowly, deeply nested, packed or at random,
    then each is let go of within the limits, the host's memory hardly grows, and others are served meanwhile."""
    host = own_host(STRANGERS)
    with host.connect() as conn:
        conn.upload_module(component("calc"), name="calc")
        add = conn.modules.calc.add
        let_go([(name, come(host)) for name, come in STRANGE.items()], HANDSHAKE_S + 2)
        before = (files_of(host), status_of(host, "Threads"), status_of(host, "VmRSS"))
        waits: list[float] = []
        for _ in range(scaled(50, 3)):
            strangers = []
            for name, come in STRANGE.items():
                strangers.append((name, come(host)))
                waits.append(timed(lambda: add(1, 2)))
            let_go(strangers, HANDSHAKE_S + 2)
        assert max(waits) < 1.0
        assert status_of(host, "VmRSS") - before[2] < 16 << 20, "it has grown"
        assert add(2, 3) == 5
    with host.connect() as conn:
        assert conn.modules.calc.add(2, 3) == 5
    eventually("no file is left", lambda: files_of(host) <= before[0])
    eventually("no thread is left", lambda: status_of(host, "Threads") <= before[1])


def test_case_35_what_an_authenticated_peer_sends_is_bounded_too(host: Any, registered: Any) -> None:
    """Nor does one that has said who it is get further with nesting without end: its call fails, and nothing else."""
    registered("kitchen-sink")
    with Peer(host) as peer:
        for arguments in (DEEP, b"\x81" + DEEP, b"\x9a\xff\xff\xff\xff"):
            id, peer.next_id = peer.next_id, peer.next_id + 2
            payload = cbor2.dumps({"module": "kitchen-sink", "function": "echo-u8"}) + arguments + b"\xa0"
            for at in range(0, len(payload), 60_000):
                part = payload[at : at + 60_000]
                peer.socket.sendall(frame(CALL, id, part, MORE if at + 60_000 < len(payload) else 0))
            kind, body = peer.answer(id)
            assert kind == FAILURE and body["code"] == "invalid-argument", body
        assert peer.call("kitchen-sink", "echo-u8", 7) == (REPLY, 7)


# ------------------------------------------------------------------------------------------------- 36: the handshake


def test_case_36_who_is_silent_in_the_handshake_holds_up_nobody(own_host: Any) -> None:
    """Given strangers that connect and say nothing, or fail, then others connect as fast as without them, and the host
    goes on."""
    host = own_host(STRANGERS.replace(str(int(HANDSHAKE_S * 1000)), "20000", 1))
    with host.connect():
        pass

    def connects() -> float:
        def connect() -> None:
            with host.connect() as conn:
                assert conn.list() == []

        return min(timed(connect) for _ in range(5))

    alone = connects()
    silent = [tcp_to(host) for _ in range(15)] + [over_tls(host, b"") for _ in range(10)]
    for _ in range(100):
        stranger = tcp_to(host)
        stranger.sendall(b"\x15\x03\x01\0\x02\x02\x28 no")
        stranger.close()
    assert connects() < 5 * alone + 0.1
    assert host.process.poll() is None
    for stranger in silent:
        stranger.settimeout(0.001)
        with pytest.raises(TimeoutError):
            stranger.recv(1)
        stranger.close()
    for _ in range(10):
        with pytest.raises(rpc_host.AuthenticationError):
            host.connect(token="rpch_0000000000000000_" + "0" * 64)
    assert connects() < 5 * alone + 0.1


# ------------------------------------------------------------------------------------------------ 37: who is believed


@pytest.fixture
def somebody() -> Iterator[Callable[[str], Profile]]:
    """A server of TLS that shows a certificate of our own; gives a client's profile for it."""
    open_ones: list[socket.socket] = []

    def serve(certificate: str) -> Profile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem", CERTIFICATES / "server.key")
        context.set_alpn_protocols(["rpc-host/1"])
        listener = socket.create_server(("127.0.0.1", 0))
        open_ones.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with context.wrap_socket(connection, server_side=True) as secure:
                        heard.append(secure.recv(1 << 16))
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=run, daemon=True).start()
        ca = (CERTIFICATES / "ca.pem").read_text()
        return Profile(f"localhost:{listener.getsockname()[1]}", ca=ca, token="rpch_s3cret")

    heard: list[bytes] = []
    serve.heard = heard  # type: ignore[attr-defined]
    yield serve
    for one in open_ones:
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def test_case_37_only_the_very_host_is_believed(own_host: Any, somebody: Any) -> None:
    """A host under another name, of another authority, or whose certificate is over or not yet good, is refused, and is
    told nothing, the token least of all; there is no way to switch that off."""
    host, other = own_host(), own_host()
    profile = Profile.from_file(host.profile)
    for wrong in (
        {"server_name": "example.com"},
        {"server_name": "127.0.0.2"},
        {"ca": Profile.from_file(other.profile).ca},
        {"ca": CERTIFICATES / "ca.pem"},
    ):
        with pytest.raises(rpc_host.ConnectError, match="no secure connection"):
            rpc_host.connect(profile=profile, **wrong)
    for certificate, why in (("expired", "expired"), ("early", "not yet valid")):
        with pytest.raises(rpc_host.ConnectError, match=why):
            rpc_host.connect(profile=somebody(certificate))
    assert somebody.heard == []
    # The same but for its time is believed so far as TLS goes: it was the time.
    with pytest.raises(rpc_host.ConnectionLost, match="welcome"):
        rpc_host.connect(profile=somebody("good"), timeout=5)
    assert eventually("it was told", lambda: somebody.heard) and b"s3cret" in somebody.heard[0]
    words = " ".join(inspect.signature(rpc_host.connect).parameters)
    assert not any(word in words for word in ("verify", "insecure", "check", "unsafe", "skip"))
    with pytest.raises(rpc_host.ProfileError, match="no `ca`"):
        rpc_host.connect(profile=Profile(profile.address, token=profile.token))


def test_case_37_a_client_has_to_prove_itself_and_with_something_that_is_good_now(own_host: Any) -> None:
    """A client without token and certificate, with one that is over, of another authority, or for nobody that is there,
    is refused."""
    host, other = own_host(), own_host()

    def make(of: Host, name: str, *options: str) -> dict[str, Any]:
        command = [BINARY, "certificate", "create", "--tenant", "default", "--name", name, "--out", name, *options]
        subprocess.run([*command, "--data", "data"], cwd=of.directory, capture_output=True, check=True)
        return {"certificate": of.directory / f"{name}.pem", "key": of.directory / f"{name}.key"}

    good, brief, foreign = make(host, "good"), make(host, "brief", "--expires", "1s"), make(other, "foreign")
    made = time.monotonic()
    # The node has an authority for clients from now on, and reads so when it starts.
    host.stop()
    host.start()
    profile = Profile.from_file(host.profile)

    def connect(**given: Any) -> rpc_host.Connection:
        return rpc_host.connect(profile.address, ca=profile.ca, server_name="localhost", **given)

    with connect(**good) as conn:
        assert (conn.tenant, conn.role) == ("default", "caller")
    time.sleep(max(0.0, made + 2.5 - time.monotonic()))
    ca = (CERTIFICATES / "good.pem", CERTIFICATES / "server.key")
    for wrong in (
        {},
        brief,
        foreign,
        {"certificate": ca[0], "key": ca[1]},
        {"token": "rpch_0000000000000000_" + "0" * 64},
        {"token": "x"},
        {"token": "rpch_0000000000000000_" + "0" * 64, **good},
    ):
        with pytest.raises(rpc_host.AuthenticationError):
            connect(**wrong)
    with connect(**good) as conn:
        assert conn.list() == []


# --------------------------------------------------------------------------------------------------- 38: hostile hosts


class Secretive:
    """What a client gives to a module: one method is meant."""

    def __init__(self) -> None:
        self.secret = "s3cret"
        self.heard: list[str] = []

    def call(self, event: str) -> str:
        self.heard.append(event)
        return event

    def _private(self, *_args: Any) -> str:
        self.heard.append("private")
        return self.secret


COUNTERS = "demo:counter/counters@0.1.0"
SUBSCRIBE = {
    "interface": COUNTERS,
    "name": "subscribe",
    "signature": {"parameters": [{"name": "handler", "type": {"own": "handler"}}], "result": "u32"},
}


def hostile_description(*functions: Any) -> dict[str, Any]:
    return {"functions": [SUBSCRIBE, *functions]}


def test_case_38_a_host_calls_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    """Given a host that means harm, when it calls what the client never offered, names that are no functions, objects
    that it was never given, or the insides of those that it was, then each call is refused, nothing runs, nothing is
    read, and the client goes on."""
    marker = tmp_path / "ran"
    with Hostile() as host:
        host.on[REQUEST] = lambda id, body: hostile_description()
        with host.connect() as conn:
            # Nothing is offered: nothing can be called.
            for module, function, arguments in [
                ("builtins", "exec", [f"open({str(marker)!r}, 'w')"]),
                ("builtins", "eval", ["__import__('os').getpid()"]),
                ("os", "system", [f"touch {marker}"]),
                ("rpc_host", "connect", []),
                ("__main__", "__builtins__", []),
                ("", "", []),
                ("calc", "add", [1, 2]),
                ("calc", "__call__", [cbor2.CBORTag(OF_CLIENT, 1)]),
            ]:
                for header in ({}, {"lease": 1}, {"lease": 0}):
                    kind, body = host.call(module, function, *arguments, **header)
                    assert kind == FAILURE and body["code"] in ("unimplemented", "not-found"), body

            # An object is given. What is meant can be called, and what is inside cannot be reached.
            numbers: list[int] = []

            def taken(id: int, header: Any, arguments: list[Any]) -> int:
                numbers.append(arguments[0].value)
                return 1

            host.on[CALL] = taken
            given = Secretive()
            module = conn.modules["counter"]
            assert module.subscribe(given) == 1 and module.subscribe(lambda event: event) == 1
            path = "acme:events/events@0.1.0.[method]handler."
            own, function = (cbor2.CBORTag(OF_CLIENT, number) for number in numbers)
            assert host.call("acme:events/events@0.1.0", path + "call", own, "hello")[0] == REPLY
            assert given.heard == ["hello"]
            names = [
                "__class__",
                "__init__",
                "__dict__",
                "__reduce__",
                "__reduce_ex__",
                "__getattribute__",
                "__setattr__",
            ]
            names += [
                "__globals__",
                "__code__",
                "__call__",
                "__dir__",
                "__doc__",
                "__eq__",
                "__delattr__",
                "__format__",
            ]
            names += ["__subclasshook__", "__init_subclass__", "_private", "--class--", "-private", " call", "call\0"]
            for name in names:
                for target in (own, function):
                    for argument in ([], ["secret"], ["secret", "changed"], [4]):
                        for full in (path + name, name):
                            kind, body = host.call("acme:events/events@0.1.0", full, target, *argument)
                            assert kind == FAILURE and "s3cret" not in str(body), (full, argument, body)
            for name in ("secret", "heard", "heard.append", "other", "", "."):
                kind, body = host.call("acme:events/events@0.1.0", path + name, own, "x")
                assert kind == FAILURE and body["code"] == "unimplemented", (name, body)
            assert given.heard == ["hello"] and vars(given) == {"secret": "s3cret", "heard": ["hello"]}
            for number in (0, 3, 1000, 1 << 63):
                kind, body = host.call("x", path + "call", cbor2.CBORTag(OF_CLIENT, number), "x")
                assert kind == FAILURE and body["code"] == "not-found"
            for wrong in (own.value, "1", None, cbor2.CBORTag(OF_HOST, own.value), [own]):
                kind, body = host.call("x", path + "call", wrong, "x")
                assert kind == FAILURE

            # Once it is let go of, it is not to be had.
            host.send(RELEASE, 0, {"handles": [[own.value, 1]]})
            eventually("it is gone", lambda: host.call("x", path + "call", own, "x")[1]["code"] == "not-found")
            assert given.heard == ["hello"]
        assert not marker.exists()


def test_case_38_a_name_that_is_served_has_no_inside_either() -> None:
    """The same for a name that the client serves: a host that says of it that it has functions of Python's own, or
    private ones, gets none of them."""
    names = ["__getattribute__", "__init__", "__reduce__", "__class__", "_private", "__setattr__", "secret", "call"]
    functions = [
        {"name": name, "signature": {"parameters": [{"name": "a", "type": "string"}], "result": "string"}}
        for name in names
    ]
    with Hostile() as host:
        host.on[REQUEST] = lambda id, body: {"functions": functions}
        host.on[PROVIDE] = lambda id, body: {"lease": 7, "lease-ms": 60_000, "window": 16, "functions": functions}
        with host.connect() as conn:
            served = Secretive()
            conn.provide("served", served)
            assert host.call("served", "call", "hello", lease=7) == (REPLY, "hello")
            for name in names[:-1]:
                kind, body = host.call("served", name, "secret", lease=7)
                assert kind == FAILURE and "s3cret" not in str(body), (name, body)
            assert served.heard == ["hello"]
            kind, body = host.call("other", "call", "hello", lease=8)
            assert kind == FAILURE and body["code"] in ("unimplemented", "failed-precondition")


def test_case_38_what_a_host_sends_is_data_and_bounded() -> None:
    """When a host answers with what is no value of the function's type, nested without end, a handle where there is
    none, or something pickled, then that is an error of that call, or the end of the connection, and nothing else."""
    returns = {"text": "string", "bytes": {"list": "u8"}}
    described = {
        "functions": [
            {"name": name, "signature": {"parameters": [], "result": result}} for name, result in returns.items()
        ]
    }

    class Ran:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was unpickled",))

    for payload in (
        DEEP,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x10\0\0\0\0\0\0\0",
        b"\xc1\x00",
        b"\xd8\x1c\x80",
        b"\xf7",
        b"",
        b"\xff",
        cbor2.dumps(cbor2.CBORTag(OF_HOST, 7)),
        cbor2.dumps(cbor2.CBORTag(OF_CLIENT, 7)),
        cbor2.dumps(10**5000),
        cbor2.dumps({"ok": "x"}),
        cbor2.dumps(pickle.dumps(Ran())),
    ):
        with Hostile() as host:
            host.on[REQUEST] = lambda id, body: described
            host.on[CALL] = lambda id, header, arguments, payload=payload: host.send(REPLY, id, payload)
            with host.connect() as conn:
                with pytest.raises((rpc_host.DecodeError, rpc_host.ConnectionLost)):
                    conn.modules.any.text()
    pickled = pickle.dumps(Ran())
    with Hostile() as host:
        host.on[REQUEST] = lambda id, body: described
        host.on[CALL] = lambda id, header, arguments: cbor2.dumps(pickled)
        with host.connect() as conn:
            assert conn.modules.any.bytes() == pickled, "bytes are bytes"
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(conn)
    for flood in (
        frame(REPLY, 3, bytes(65536), MORE) * 2000,
        b"\xff\xff\xff\xff\x04\0\0\0\0\0\0\1",
        frame(99, 0, b""),
        frame(REPLY, 999, b"\xf6"),
        frame(GOAWAY, 0, b"\xa0"),
        frame(CALL, 2, b"\xa0" * 10) * 5000,
    ):
        with Hostile() as host:
            host.on[REQUEST] = lambda id, body: described
            host.on[CALL] = lambda id, header, arguments, flood=flood: sent(host.far, flood) and None
            with host.connect() as conn:
                text = conn.modules.any.text.with_options(timeout=0.2)
                assert refusal(rpc_host.Error, text) < 5


def test_case_38_the_package_has_nothing_that_runs_what_it_reads() -> None:
    """Nowhere in the package is anything that could turn bytes into code or objects."""
    forbidden_calls = {"eval", "exec", "compile", "__import__", "globals", "locals"}
    forbidden_modules = {"pickle", "marshal", "shelve", "dill", "importlib", "ctypes", "code", "runpy", "copyreg"}
    (folder,) = map(Path, rpc_host.__path__)
    sources = list(folder.rglob("*.py"))
    assert len(sources) > 10
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name)):
                    assert name not in forbidden_calls, f"{source.name}:{node.lineno} calls {name}"
                case ast.Import(names=names):
                    found = {alias.name.partition(".")[0] for alias in names} & forbidden_modules
                    assert not found, f"{source.name}:{node.lineno} imports {found}"
                case ast.ImportFrom(module=str(name)):
                    assert name.partition(".")[0] not in forbidden_modules, (
                        f"{source.name}:{node.lineno} imports {name}"
                    )


# ---------------------------------------------------------------------------------------------------------- 39: policy


def test_case_39_whoever_may_not_is_refused_before_anything_starts_and_it_is_on_record(own_host: Any) -> None:
    """Given principals that may read, call or deploy, when they ask for more, then they are refused before an instance
    starts, and the audit log says who asked for what; a call can be given less than its module may do."""
    host = own_host()
    with host.connect() as admin:
        greeter = admin.upload_module(component("greeter"), name="greeter", grants=["log"])
        admin.upload_module(component("app"), name="app")
        tokens = {role: admin.tokens.create(role) for role in ("reader", "caller", "deployer")}
        connections = {role: host.connect(token=made.token) for role, made in tokens.items()}
        reader, caller, deployer = connections["reader"], connections["caller"], connections["deployer"]
        wit = "package acme:log@0.1.0; interface logger { log: func(level: u8, message: string); }"
        refused: list[tuple[str, str, Callable[[], Any]]] = [
            ("reader", "call", lambda: reader.modules.greeter.greet("denied", "english")),
            ("reader", "provide", lambda: reader.provide("acme:log/logger", {"log": print})),
            ("reader", "upload", lambda: reader.upload_module(component("calc"))),
            ("caller", "upload", lambda: caller.upload_module(component("calc"))),
            ("caller", "register", lambda: caller.register("mine", greeter.digest)),
            ("caller", "swap", lambda: caller.swap("greeter", greeter.digest)),
            ("caller", "rollback", lambda: caller.rollback("greeter")),
            ("caller", "remove", lambda: caller.remove("greeter")),
            ("caller", "provide", lambda: caller.provide("acme:log/logger", {"log": print}, scope="tenant")),
            ("caller", "steal", lambda: caller.withdraw("acme:log/logger", steal=True)),
            ("deployer", "token-create", lambda: deployer.tokens.create("admin")),
            ("deployer", "tenant-create", lambda: deployer.tenants.create("mine")),
        ]
        for role, what, attempt in refused:
            with pytest.raises(rpc_host.PermissionDenied) as raised:
                attempt()
            assert raised.value.fault == "tenant" or raised.value.fault == "peer", (role, what, raised.value.fault)
        assert wit and caller.modules.greeter.greet("allowed", "english") == "Hello, allowed!"
        # Less than the module may do.
        with pytest.raises(rpc_host.PermissionDenied, match="log"):
            caller.modules.greeter.greet.with_options(allow=[])("narrowed", "english")
        for one in connections.values():
            one.close()
    eventually("its line is in the log", lambda: "greeted allowed" in said(host))
    assert not any("greeted denied" in line or "greeted narrowed" in line for line in said(host))
    host.stop()
    denied = [line for line in audit_of(host) if line["outcome"] != "allowed"]
    for role, what, _ in refused:
        by = tokens[role].entry.id
        assert any(what.partition("-")[0] in line["event"] and by in str(line) for line in denied), (role, what, denied)


# ------------------------------------------------------------------------------------------- 40 and 42: every transport


def stdio(directory: Path, *options: str) -> rpc_host.Connection:
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(BINARY), "serve", "--stdio", "--data", str(directory / "data"), "--log-format", "json", *options]
    return rpc_host.connect_stdio(command, stderr=open(directory / "log", "ab"))


def test_case_40_what_a_module_prints_is_not_on_the_wire_and_the_end_is_in_peace(tmp_path: Path) -> None:
    """Given a host that is a child and speaks over its standard streams, when its modules print, then the wire is none
    the worse, and when the connection is closed, the child ends with 0."""
    with stdio(tmp_path) as conn:
        conn.upload_module(component("wasi-probe"), name="probe")
        conn.upload_module(component("counter"), name="counter")
        conn.upload_module(component("trap"), name="trap")
        probe = conn.modules.probe
        for word in ("plain", "", "\0\1\2\xff", '{"json": 1}', "\x1b[31mred", "x" * 10_000):
            assert probe.print(word) and probe.print_error(word)
        probe.flood(200_000)
        conn.modules.counter.say(["out", "err", "out again"])
        with pytest.raises(rpc_host.Trapped):
            conn.modules.trap.panic_with("on the way")
        assert probe.read_input() == "read: ", "nor does a guest read from the wire"
        process = conn.process
    assert process is not None and process.returncode == 0


BORROWS = """
import os, sys, rpc_host
with rpc_host.Connection.from_streams(sys.stdin.buffer, sys.stdout.buffer) as conn:
    assert conn.list() == []
assert not (sys.stdin.closed or sys.stdout.closed or sys.__stdin__.closed or sys.__stdout__.closed)
print("printed afterwards", flush=True)
sys.stdout.write("and written\\n")
sys.stdout.flush()
assert sys.stdin.readline() == "and read\\n"
"""


def test_case_40_a_process_that_borrows_its_own_streams_has_them_afterwards(tmp_path: Path) -> None:
    """Given a program that speaks to a host over its own standard input and output, when it closes the connection, then
    it still prints and reads, as if nothing had been."""
    command = [str(BINARY), "serve", "--stdio", "--data", str(tmp_path / "data")]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    program = subprocess.Popen([sys.executable, "-c", BORROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert host.stdin and host.stdout and program.stdin and program.stdout
    to_program, from_program = program.stdin, program.stdout

    def copy() -> None:
        assert host.stdout is not None
        while data := os.read(host.stdout.fileno(), 1 << 16):
            to_program.write(data)
            to_program.flush()

    threading.Thread(target=copy, daemon=True).start()
    after = b""
    try:
        while data := os.read(from_program.fileno(), 1 << 16):
            if after or data.startswith(b"printed") or b"printed afterwards" in data:
                after += data[data.find(b"printed") :] if not after else data
                if after.endswith(b"and written\n"):
                    break
            else:
                host.stdin.write(data)
                host.stdin.flush()
        host.stdin.close()
        assert host.wait(10) == 0
        to_program.write(b"and read\n")
        to_program.close()
        assert after == b"printed afterwards\nand written\n" and program.wait(10) == 0
    finally:
        for process in (host, program):
            process.kill()
            process.wait()


def test_case_41_another_version_is_told_so_in_words_and_the_host_goes_on(host: Any, registered: Any) -> None:
    """When a peer of an older or newer version, or of something else altogether, connects, then it is told in words,
    and the host goes on."""
    registered("calc")
    token = Profile.from_file(host.profile).token
    for versions in ([], [0], [2], [99, 2, 0], [(1 << 32) - 1]):
        with Peer(host, greet=False) as peer:
            peer.send(HELLO, 0, {"versions": versions, "client": "future/9", "token": token})
            messages = peer.to_the_end()
            kind, id, _, body = messages[0]
            assert (kind, id, len(messages)) == (FAILURE, 0, 1)
            assert body["code"] == "unimplemented" and "version" in body["message"] and "1" in body["message"], body
    # One that knows more than this host finds what both know.
    with Peer(host, {"versions": [3, 2, 1], "client": "future/9", "token": token}) as peer:
        assert peer.welcome["version"] == 1
    rpyc = b"\0\0\0\x0d\0" + b"\x12\x16\x01\0\x1f\x16\x08\x66getroot" + b"\n"
    for alien in (rpyc, b"SSH-2.0-OpenSSH_9.2\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b'{"jsonrpc": "2.0"}\n'):
        let_go([(str(alien), over_tls(host, alien))], 20)
    for other in ("h2", "http/1.1", "rpc-host/2"):
        with pytest.raises((ssl.SSLError, OSError)):
            with context_of(host, other).wrap_socket(tcp_to(host), server_hostname="localhost") as stranger:
                stranger.sendall(frame(HELLO, 0, b"\xa0"))
                assert stranger.recv(1), "closed"
                raise OSError
    with host.connect() as conn:
        assert conn.modules.calc.add(2, 3) == 5


def test_case_41_a_client_tells_a_host_of_another_version_by_name() -> None:
    """The other way round: a client says in words what is wrong with a host that it cannot speak to."""
    with Hostile(version=2) as host, pytest.raises(rpc_host.Error, match="version of the protocol"):
        host.connect()
    with Hostile() as host:
        host.welcome = {"version": 1, "whatever": True}
        with pytest.raises(rpc_host.Error, match="welcome without"):
            host.connect()
    old = {"code": "unimplemented", "message": "no version in common: this host speaks 7 and 8", "fault": "peer"}
    with Hostile() as host:
        host._take = lambda kind, id, payload: host.send(FAILURE, 0, {**old, "retryable": False})  # type: ignore[method-assign]
        with pytest.raises(rpc_host.Error, match="this host speaks 7 and 8"):
            host.connect()
    for alien in (b"SSH-2.0-OpenSSH_9.2\r\n" * 3, b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
        with Hostile() as host:
            host._take = lambda kind, id, payload, alien=alien: (sent(host.far, alien), host.far.shutdown(2))  # type: ignore[method-assign]
            with pytest.raises(rpc_host.Error) as raised:
                host.connect()
            assert not isinstance(raised.value, rpc_host.RemoteError) and str(raised.value)


def over_the_network(directory: Path, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("own_host")().connect()


def over_streams(directory: Path, request: pytest.FixtureRequest) -> Any:
    return stdio(directory)


@pytest.mark.parametrize("transport", [over_the_network, over_streams], ids=["tls", "stdio"])
def test_case_42_one_script_does_the_same_on_every_transport(
    transport: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Given one script, then it does the same on each transport that there is: values of all kinds, errors, objects,
    calls into the client, time, many at once, and large ones."""
    with transport(tmp_path, request) as conn:
        for name in ("calc", "kitchen-sink", "counter", "app", "trap", "spin", "big"):
            conn.upload_module(component(name), name=name)
        assert (conn.tenant, conn.role) == ("default", "admin")
        assert sorted(conn.modules) == ["app", "big", "calc", "counter", "kitchen-sink", "spin", "trap"]
        assert conn.modules.calc.add(2, b=3) == 5
        sink = conn.modules.kitchen_sink
        assert sink.echo_results([Ok(1), rpc_host.Err("é")]) == [Ok(1), rpc_host.Err("é")]
        assert sink.echo_bytes(bytes(range(256)) * 4096) == bytes(range(256)) * 4096
        with pytest.raises(GuestError, match="zero"):
            conn.modules.calc.div(1, 0)
        with pytest.raises(rpc_host.Trapped, match="everywhere"):
            conn.modules.trap.panic_with("everywhere")
        with pytest.raises(rpc_host.NotFound):
            conn.show("nothing")
        counter = conn.modules.counter.Counter(40)
        assert [counter.increment(), counter.add(1)] == [41, 42]
        with counter as counter:
            copies = [counter.copy() for _ in range(50)]
        assert sum(copy.value() for copy in copies) == 50 * 42
        del copies
        with pytest.raises(rpc_host.HandleClosed):
            counter.value()
        eventually("nothing is held", lambda: conn.held_objects == 0)
        lines: list[str] = []
        conn.modules["acme:log/logger"] = lambda level, message: lines.append(message)
        conn.modules["acme:auth/verifier"] = lambda token: token.upper()
        assert conn.modules.app.handle("ada", "whoami") == "ADA" and lines
        with pytest.raises(rpc_host.DeadlineExceeded):
            conn.modules.spin.forever.with_options(timeout=0.2)()
        future = async_call(conn.modules.spin.forever)
        assert future.cancel()
        assert [one.result(20) for one in [async_call(sink.echo_u32, n) for n in range(300)]] == list(range(300))
        assert len(conn.modules.big.text(4 << 20)) == 4 << 20
        assert conn.swap("calc", component("text"), force=True).revision == 2
        assert conn.rollback("calc", force=True).restores == 1 and conn.modules.calc.add(2, 3) == 5
        session = conn.session
        assert session == conn.session
    with pytest.raises(rpc_host.ConnectionLost):
        conn.list()
