"""Acceptance cases 19 to 26: uploads, swaps, and who answers a name."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from acceptance import is_full, refusal, scaled, together
from conftest import component, eventually

import rpc_host
from rpc_host import GuestError, async_call

TICKER = "module:ticker/ticker"
LOG = "acme:log/logger"
AUTH = "acme:auth/verifier"

#: Of somebody whom the module that verifies tokens knows.
ADA = "ada.a13596a938c65f23b37cbf9d15edeba52a5fad4ad6ba4c57e43b96f64e635cad"


def search(folder: Path, needle: bytes) -> list[Path]:
    """The files that hold it, in their names or in themselves."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if needle in str(path).encode() or needle in path.read_bytes()]


def test_case_19_an_upload_sends_the_module_and_nothing_else(own_host: Any, tmp_path: Path) -> None:
    """Given the file of a component in a folder with others, when it is uploaded, then its digest and its interface are
    the answer, its functions can be called, and nothing else of the folder was sent."""
    folder = tmp_path / "work"
    (folder / "other").mkdir(parents=True)
    wasm = component("calc").read_bytes()
    (folder / "calc.wasm").write_bytes(wasm)
    (folder / "secret_notes.txt").write_text("nobody-should-see-this")
    (folder / "other/creds.env").write_text("nobody-should-see-this")
    host = own_host()
    with host.connect() as conn:
        told: list[tuple[int, int]] = []
        upload = conn.upload_module(folder / "calc.wasm", name="calc", progress=lambda *bytes: told.append(bytes))
        assert upload.digest == digest_of(wasm) and upload.size_bytes == len(wasm)
        assert told[-1] == (len(wasm), len(wasm)) and not upload.already_known
        names = {function["name"] for function in conn.describe("calc")["functions"]}
        assert names == {"add", "sub", "div", "distance"} and conn.modules.calc.add(2, 3) == 5
        again: list[tuple[int, int]] = []
        assert conn.upload_module(folder / "calc.wasm", progress=lambda *bytes: again.append(bytes)).already_known
        assert again == [(len(wasm), len(wasm))], "what is known is not sent again"
        assert len(conn.uploads()) == 1
    for needle in (b"nobody-should-see-this", b"secret_notes", b"creds.env", str(folder).encode()):
        assert search(host.directory, needle) == []


def test_case_20_a_bad_upload_is_refused_and_the_old_module_goes_on_to_serve(own_host: Any, tmp_path: Path) -> None:
    """Bytes that are cut, no component, of imports that the node does not have, with grants that are not to be had,
    over the limits of size or of time to compile: each is refused by name, and the old module keeps serving."""
    host = own_host("[limits]\nmax-upload-bytes = 120000\n")
    wasm = component("calc").read_bytes()
    with host.connect() as conn:
        conn.upload_module(wasm, name="calc")
        add = conn.modules.calc.add
        for bad, error, said in [
            (wasm[: len(wasm) // 2], rpc_host.InvalidArgument, None),
            (wasm[:-1], rpc_host.InvalidArgument, None),
            (wasm + b"\0", rpc_host.InvalidArgument, None),
            (b"\0asm\x01\0\0\0", rpc_host.InvalidArgument, "not a component"),
            (b"\x7fELF" + bytes(100), rpc_host.InvalidArgument, None),
            (b"(component)", rpc_host.InvalidArgument, None),
            (b"import os", rpc_host.InvalidArgument, None),
            (component("kitchen-sink").read_bytes(), rpc_host.ResourceExhausted, "120000"),
        ]:
            with pytest.raises(error, match=said):
                conn.upload_module(bad, name="calc")
            assert add(2, 3) == 5
        with pytest.raises(OSError):
            conn.upload_module(tmp_path / "none.wasm", name="calc")
        with pytest.raises(rpc_host.InvalidArgument, match="everything"):
            conn.upload_module(wasm, name="calc", grants=["everything"])
        # It has fewer functions than are counted on.
        with pytest.raises(rpc_host.FailedPrecondition, match="add"):
            conn.swap("calc", component("spin"))
        assert add(2, 3) == 5 and conn.show("calc").current.revision == 1
        # A tenant that may have less is not given more.
        conn.tenants.create("narrow", allow=["log", "fs=ro"])
        with host.connect(token=conn.tokens.create("deployer", tenant="narrow").token) as narrow:
            narrow.upload_module(wasm)
            for grant in ("fs:data=rw", "kv:cache=rw", "env:KEY=VALUE"):
                with pytest.raises(rpc_host.PermissionDenied):
                    narrow.register("calc", digest_of(wasm), grants=[grant])
            assert narrow.list() == []
    host.stop()
    (host.directory / "node.toml").write_text("[limits]\ncompile-timeout-ms = 1\n")
    host.start()
    with host.connect() as conn:
        with pytest.raises(rpc_host.ResourceExhausted, match="compiling took longer than"):
            conn.upload_module(component("text"), name="calc", force=True)
        assert conn.modules.calc.add(2, 3) == 5 and conn.show("calc").current.revision == 1


def digest_of(wasm: bytes) -> str:
    return f"sha256:{hashlib.sha256(wasm).hexdigest()}"


def test_case_20_what_the_node_does_not_have_is_refused_by_its_name(conn: Any) -> None:
    """A component that imports something of WASI's that there is not is told which import it is; the old module goes on
    to serve."""
    wasm = component("calc").read_bytes()
    conn.upload_module(wasm, name="case-20")
    # Of the same length, so that the bytes still fit together.
    other = wasm.replace(b"wasi:cli/environment", b"wasi:cli/environmemt")
    assert other != wasm
    with pytest.raises(rpc_host.FailedPrecondition, match="wasi:cli/environmemt"):
        conn.upload_module(other, name="case-20", force=True)
    assert conn.modules["case-20"].add(2, 3) == 5


def edition(number: int) -> bytes:
    """The same component, of another edition."""
    wasm = component("cursor").read_bytes()
    mark = b"the edition of this module is "
    assert wasm.count(mark + b"1") == 1
    return wasm.replace(mark + b"1", mark + str(number).encode())


def test_case_21_a_swap_under_load_fails_no_call(host: Any, conn: Any) -> None:
    """Given a module under load by eight callers, when it is swapped, then each call is answered by one of both, those
    under way end where they began, each that begins when the swap has been answered has the new one, and none fails."""
    digests = {number: conn.upload_module(edition(number)).digest for number in (1, 2, 3)}
    assert len(set(digests.values())) == 3
    conn.register("case-21", digests[1], grants=["log"])
    clock = time.monotonic
    calls: list[tuple[float, float, int]] = []
    stop = threading.Event()

    def call(seed: int) -> None:
        rng = random.Random(seed)
        with host.connect() as caller:
            told = caller.modules["case-21"].edition
            while not stop.is_set():
                began = clock()
                text = told(rng.choice((0, 0, 1, 20)))
                calls.append((began, clock(), int(text[-1])))

    failed: list[BaseException] = []

    def load() -> None:
        try:
            together(8, call, patience=120)
        except BaseException as error:
            failed.append(error)

    workers = threading.Thread(target=load, daemon=True)
    workers.start()
    eventually("they call", lambda: len(calls) > 50)
    swaps: list[tuple[float, float, int]] = [(0.0, 0.0, 1)]
    for number in [2, 3, 1] * scaled(100, 4):
        slow = async_call(conn.modules["case-21"].edition, 300)
        cursor = conn.modules["case-21"].Cursor("21", 10)
        assert cursor.next(2) == [0, 1]
        began = clock()
        conn.swap("case-21", digests[number])
        swaps.append((began, clock(), number))
        assert conn.modules["case-21"].edition(0)[-1] == str(number)
        assert slow.result(20)[-1] == str(swaps[-2][2]), "it ended where it began"
        assert cursor.next(2) == [2, 3], "so do objects"
        cursor.close()
    stop.set()
    workers.join(60)
    assert not failed and not workers.is_alive()
    for began, ended, number in calls:
        # Those that were in force at some time while the call was to choose.
        last = max(index for index, swap in enumerate(swaps) if swap[1] <= began)
        possible = {swap[2] for index, swap in enumerate(swaps) if index >= last and swap[0] <= ended}
        assert number in possible, (began, ended, number, swaps)
    assert {number for _, _, number in calls} == {1, 2, 3}
    assert conn.rollback("case-21").restores is not None


FAR = 1 << 30


def test_case_22_a_client_takes_over_what_a_running_module_imports(host: Any, conn: Any) -> None:
    """Given a module that imports what another one answers, when a client binds that name to an object of its own, then
    the module's next call runs in the client, also if the module was running before; the result flows back."""
    conn.upload_module(component("ticker"), name="case-22-ticker")
    bindings = {"module:ticker/ticker": "case-22-ticker"}
    conn.upload_module(component("caller"), name="case-22", bindings=bindings, grants=["log"])
    caller = conn.modules["case-22"]
    assert caller.ticks(3) == [1, 2, 3]
    running = async_call(caller.ticks_until_reset)
    time.sleep(0.2)
    assert not running.done()
    ticks: list[int] = []

    class Ticker:
        def next(self) -> int:
            ticks.append(FAR + len(ticks))
            return ticks[-1]

        def ping(self, number: int) -> int:
            return number

    conn.modules["case-22-ticker"] = Ticker()
    last, first = running.result(20)
    assert 3 < last < FAR and first == FAR, "in the middle of a call"
    assert caller.ticks(3) == [FAR + 1, FAR + 2, FAR + 3] and len(ticks) == 4
    del conn.modules["case-22-ticker"]
    assert caller.ticks(3) == [1, 2, 3] and len(ticks) == 4


@pytest.fixture
def app(conn: Any, registered: Any) -> Any:
    """A module that imports what others answer: a verifier, which is a module, and a logger, which is this client."""
    digest = conn.upload_module(component("verifier")).digest
    conn.register("case-24-verifier", digest)
    bindings = {f"{AUTH}@0.1.0": "case-24-verifier"}
    conn.upload_module(component("app"), name="case-24-app", bindings=bindings)
    conn.modules[LOG] = lambda level, message: None
    return conn.modules["case-24-app"]


def test_case_23_what_a_session_binds_it_binds_for_itself(host: Any, conn: Any, app: Any) -> None:
    """Given a name that one client has bound for itself, then another client's calls still go to the module, also of a
    client that connects later; and each may bind its own."""
    seen: list[str] = []

    def verify(token: str) -> str:
        seen.append(token)
        return "mine"

    conn.modules["case-24-verifier"] = verify
    with host.connect() as other:
        other.modules[LOG] = lambda level, message: None
        theirs = other.modules["case-24-app"]
        for _ in range(5):
            assert app.handle(ADA, "whoami") == "mine" and theirs.handle(ADA, "whoami") == "ada"
            with pytest.raises(GuestError, match="no dot"):
                theirs.handle("secret-of-other", "whoami")
            with host.connect() as third:
                third.modules[LOG] = lambda level, message: None
                assert third.modules["case-24-app"].handle(ADA, "whoami") == "ada"
        assert seen == [ADA] * 5, "nothing of the others' came here"
        other.modules["case-24-verifier"] = lambda token: "theirs"
        assert app.handle(ADA, "whoami") == "mine" and theirs.handle(ADA, "whoami") == "theirs"
        del conn.modules["case-24-verifier"]
        assert app.handle(ADA, "whoami") == "ada" and theirs.handle(ADA, "whoami") == "theirs"


LEAVING = """
import sys, threading, rpc_host
conn = rpc_host.connect(profile=sys.argv[1])
def verify(token):
    print("asked", flush=True)
    threading.Event().wait()
conn.provide("case-24-verifier", verify, scope="tenant")
print("bound", flush=True)
sys.stdin.read()
conn.close()
"""


@pytest.mark.parametrize("how", ["leaves", "dies"])
def test_case_24_when_who_serves_a_name_goes_the_module_answers_again(host: Any, conn: Any, app: Any, how: str) -> None:
    """When a client that answers for a module leaves, or dies in the middle of a call, then the call that waits for it
    is told that it is lost, and later ones go to the module; nobody has anything to repair."""
    assert app.handle(ADA, "whoami") == "ada"
    leaving = subprocess.Popen(
        [sys.executable, "-c", LEAVING, str(host.profile)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert leaving.stdin is not None and leaving.stdout is not None
    try:
        assert leaving.stdout.readline() == "bound\n"
        waiting = async_call(app.handle, ADA, "whoami")
        assert leaving.stdout.readline() == "asked\n"
        assert not waiting.done()
        if how == "leaves":
            leaving.stdin.close()
        else:
            leaving.kill()
        assert isinstance(waiting.exception(20), rpc_host.ProviderLost)
        assert app.handle(ADA, "whoami") == "ada"
        with host.connect() as newcomer:
            newcomer.modules[LOG] = lambda level, message: None
            assert newcomer.modules["case-24-app"].handle(ADA, "whoami") == "ada"
            assert [entry.name for entry in newcomer.providers()] == [LOG]
        with conn.provide("case-24-verifier", lambda token: "next", scope="tenant"):
            assert app.handle(ADA, "whoami") == "next"
    finally:
        leaving.kill()
        leaving.wait()


def test_case_24_who_unbinds_in_mid_call_is_lost_to_that_call_alone(conn: Any, app: Any) -> None:
    """When a client unbinds a name while it is asked, then that call is told that it is lost, and the next one goes to
    the module; in both scopes."""
    for scope in ("session", "tenant"):
        asked = threading.Event()

        def verify(token: str, asked: threading.Event = asked) -> str:
            asked.set()
            call = rpc_host.current_call()
            assert call is not None and call.cancelled.wait(20)
            return token

        lease = conn.provide("case-24-verifier", verify, scope=scope)
        waiting = async_call(app.handle, ADA, "whoami")
        assert asked.wait(20)
        lease.withdraw()
        assert isinstance(waiting.exception(20), rpc_host.ProviderLost)
        assert app.handle(ADA, "whoami") == "ada"


def test_case_25_what_is_not_of_the_interface_is_refused_when_it_is_bound(conn: Any, app: Any) -> None:
    """When something of another version of an interface, or without one of its functions, or with other types, is bound
    to a name, then it is refused at once, and the name is answered as before."""
    right = "verify: func(token: string) -> result<string, string>;"
    for version, functions, said in [
        ("0.2.0", right, "is missing"),
        ("0.1.0", "check: func(token: string) -> bool;", "is missing"),
        ("0.1.0", "verify: func(token: string) -> option<string>;", "option<string>"),
        ("0.1.0", "verify: func(token: string, when: u64) -> result<string, string>;", "u64"),
        ("0.1.0", "verify: func(token: list<u8>) -> result<string, string>;", "list<u8>"),
    ]:
        wit = f"package acme:auth@{version}; interface verifier {{ {functions} }}"
        for scope in ("session", "tenant"):
            with pytest.raises(rpc_host.FailedPrecondition, match=said):
                conn.provide("case-24-verifier", lambda token: "wrong", scope=scope, wit=wit)
        assert app.handle(ADA, "whoami") == "ada"
    for wit in ("package acme:auth@0.1.0; interface verifier {", "no wit at all", ""):
        with pytest.raises(rpc_host.RemoteError) as raised:
            conn.provide("case-24-verifier", lambda token: "wrong", wit=wit)
        assert isinstance(raised.value, (rpc_host.InvalidArgument, rpc_host.FailedPrecondition))
    assert app.handle(ADA, "whoami") == "ada"
    with conn.provide(
        "case-24-verifier", lambda token: "right", wit=f"package acme:auth@0.1.0; interface verifier {{ {right} }}"
    ):
        assert app.handle(ADA, "whoami") == "right"
    # What an object of Python's lacks is found when it is called: only its interface is compared when it is bound.
    with conn.provide("case-24-verifier", {"another": str}):
        with pytest.raises(GuestError, match="has no acme:auth/verifier@0.1.0.verify"):
            app.handle(ADA, "whoami")
    # A module of another interface takes nobody's place either.
    digest = conn.upload_module(component("calc")).digest
    with pytest.raises(rpc_host.FailedPrecondition, match="verify"):
        conn.swap("case-24-verifier", digest)
    assert app.handle(ADA, "whoami") == "ada"


def test_case_26_a_deadline_holds_everywhere_on_the_chain(conn: Any, app: Any, registered: Any) -> None:
    """Given a client that takes its time to answer for a module, then a caller that has more time gets the answer, and
    for one that has less, everything on the chain ends when that is over."""
    takes, enough, too_little = (40.0, 60.0, 1.0) if is_full() else (1.5, 10.0, 0.5)
    sleeper, spin = conn.modules[registered("sleeper")], conn.modules[registered("spin")]
    ends: list[tuple[str, float]] = []

    def verify(token: str) -> str:
        call = rpc_host.current_call()
        assert call is not None
        began = time.monotonic()
        if token == "waits":
            ended = call.cancelled.wait(takes)
            ends.append(("cancelled" if ended else "waited", time.monotonic() - began))
        else:
            # What it calls in turn has no more time than it has itself.
            for function in (sleeper.sleep, spin.forever):
                try:
                    function(*([int(takes * 1000)] if function is sleeper.sleep else []))
                except (rpc_host.DeadlineExceeded, rpc_host.Cancelled, rpc_host.FailedPrecondition):
                    ends.append(("ended", time.monotonic() - began))
        return "late"

    conn.provide("case-24-verifier", verify)
    assert app.handle.with_options(timeout=enough)("waits", "whoami") == "late"
    kind, took = ends.pop()
    assert kind == "waited" and takes <= took < enough
    for token in ("waits", "calls"):
        handle = app.handle.with_options(timeout=too_little)
        took = refusal(rpc_host.DeadlineExceeded, handle, token, "whoami")
        assert too_little * 0.9 < took < too_little + 1.0
        eventually("the client has ended too", lambda: ends)
        eventually("all of it", lambda token=token: token == "waits" or len(ends) == 2)
        assert ends[0][0] in ("cancelled", "ended") and ends[0][1] < too_little + 1.0
        assert ends[-1][1] < too_little + 1.5
        ends.clear()
