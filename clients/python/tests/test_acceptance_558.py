"""Four defects that proxies of another process are known for (RPyC's issue 558), and why none of them can be here:
objects without a class, exotic ones among what is listed, a proxy that is dropped while it comes again, and standard
streams that are closed."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cbor2
import pytest
from acceptance import CALL, OF_HOST, RELEASE, REQUEST, Hostile, scaled, together
from conftest import BINARY, COMPONENTS, component, eventually

import rpc_host
from rpc_host import Ok, async_call


class NoClass:
    """Whoever looks at its class is told that there is none."""

    @property
    def __class__(self) -> Any:
        raise AttributeError("no class here")

    def call(self, event: str) -> Ok:
        return Ok(f"heard {event}")


class HiddenAttributes:
    """Hides all that is not asked for by its right name."""

    def __getattribute__(self, name: str) -> Any:
        if name == "call":
            return lambda event: Ok(f"heard {event}")
        raise RuntimeError(f"{name} is hidden")


class AnswersAll:
    """Has every attribute, which is itself, and can be called."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_args: Any) -> Ok:
        return Ok("heard e")


class Slotted:
    """Without a ``__dict__``, and without weak references."""

    __slots__ = ()

    def call(self, event: str) -> Ok:
        return Ok(f"heard {event}")


class Unhashable:
    """Equal to everything, to be kept in no set."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")

    def call(self, event: str) -> Ok:
        return Ok(f"heard {event}")


class ModelMeta(type):
    """A class whose members cannot all be had: listing it fails in the middle, as with models that validate."""

    def __dir__(cls) -> Any:
        return [*super().__dir__(), "__signature__", "model_fields", 5, None]

    @property
    def model_fields(cls) -> Any:
        raise AttributeError("only on instances")

    @property
    def __signature__(cls) -> Any:
        raise TypeError("not validated")

    def __instancecheck__(cls, instance: object) -> bool:
        raise TypeError("not validated")


class Model(metaclass=ModelMeta):
    """Such a model."""

    @property
    def invalid(self) -> Any:
        raise ValueError("not validated")

    def __dir__(self) -> Any:
        raise TypeError("cannot be listed")

    def call(self, event: str) -> Ok:
        return Ok(f"heard {event}")


EXOTIC = [NoClass, HiddenAttributes, AnswersAll, Slotted, Unhashable, Model]


@pytest.mark.parametrize("exotic", EXOTIC, ids=lambda one: one.__name__)
def test_rpyc_558_an_object_without_a_class_is_given_called_and_given_back(conn: Any, exotic: type) -> None:
    """What an object is, its interface says; the object itself is never asked. So one that has no class, or hides it,
    or answers everything, is passed, called and given back like any other."""
    name = f"case-558-{exotic.__name__.lower()}"
    conn.upload_module(component("counter"), name=name, instancing="session")
    module, given = conn.modules[name], exotic()
    assert module.emit(given, "e", 2) == [Ok("heard e")] * 2
    assert module.unsubscribe(module.subscribe(given)) is given
    number = module.subscribe(given)
    assert module.publish("e") == [Ok("heard e")]
    assert module.forget(number)


@pytest.mark.parametrize("exotic", EXOTIC, ids=lambda one: one.__name__)
def test_rpyc_558_an_object_without_a_class_serves_a_name(conn: Any, registered: Any, exotic: type) -> None:
    """And so it serves a name; as a value where a number is wanted it is refused, by that call alone."""
    calc, session = conn.modules[registered("calc")], conn.session
    add = calc.add
    with conn.provide("acme:log/logger-558", exotic(), wit=WIT_558):
        assert conn.modules["acme:log/logger-558"].call("e") == "heard e"
    with pytest.raises(rpc_host.ArgumentError):
        add(exotic(), 1)
    with conn.provide("calc", {"add": lambda a, b: exotic()}):
        with pytest.raises(rpc_host.RemoteError):
            add(2, 3)
    assert add(2, 3) == 5 and conn.session == session


WIT_558 = "package acme:log@0.1.0; interface logger-558 { call: func(event: string) -> result<string, string>; }"


def test_rpyc_558_whatever_a_component_exports_is_listed(host: Any, conn: Any, registered: Any) -> None:
    """What a module offers is data of the host's: no object is looked into to list it. So every component that there is
    can be listed and shown, here and on the command line."""
    names = sorted(path.stem for path in COMPONENTS.glob("*.wasm"))
    assert len(names) > 20
    for name in names:
        conn.upload_module(component(name), name=f"listed-{name}")
        module = conn.modules[f"listed-{name}"]
        described = conn.describe(f"listed-{name}")
        json.dumps(described)
        members = dir(module)
        assert members and all(isinstance(member, str) for member in members)
        for member in members:
            found = getattr(module, member)
            assert repr(found) and isinstance(found.__doc__, str)
            dir(found)
        assert {entry["name"] for entry in described["functions"]} >= {
            entry.name for entry in conn.inspect(f"listed-{name}").exports
        }
    for name in names:
        conn.remove(f"listed-{name}")


def test_rpyc_558_a_description_of_a_later_host_is_shown_and_never_an_exception() -> None:
    """Shapes that this package has never heard of are shown as far as they can be, and hide nothing of the rest."""
    known = {"name": "add", "signature": {"parameters": [{"name": "a", "type": "u8"}], "result": "u8"}}
    exotic: list[Any] = [
        {"name": "streams", "signature": {"parameters": [{"name": "s", "type": {"stream": "u8"}}], "result": "string"}},
        {"name": "later", "signature": {"parameters": [], "result": {"quantum": {"of": ["u8", 5]}}}},
        {"name": "odd", "signature": {"parameters": [{"name": "x", "type": {"record": "not a list"}}]}},
        {"name": "[async method]thing.later", "signature": {"parameters": [], "later": True}},
        {"name": "[getter]thing.size", "signature": {"parameters": [{"name": "self", "type": {"borrow": "thing"}}]}},
        {"name": "__class__", "signature": {"parameters": []}},
        {"name": "", "signature": {"parameters": []}},
    ]
    with Hostile() as host:
        host.on[REQUEST] = lambda id, body: {
            "functions": [known, *exotic],
            "resources": [{"name": "thing"}],
            "later": 1,
        }
        host.on[CALL] = lambda id, header, arguments: 7
        with host.connect() as conn:
            module = conn.modules.any
            assert "add" in dir(module) and module.add(1) == 7
            for member in dir(module):
                if not member.startswith("_"):
                    found = getattr(module, member)
                    assert repr(found) and isinstance(found.__doc__, str)
            assert isinstance(module.__doc__, str)
            for name in ("streams", "later", "odd"):
                if name in dir(module):
                    with pytest.raises(rpc_host.ArgumentError):
                        module[name](object())
            assert module.add(1) == 7


def test_rpyc_558_a_proxy_that_is_dropped_while_it_comes_again_is_not_lost() -> None:
    """The race between what is dropped and what arrives: the same handle comes again and again, from a host that
    counts, while the collector takes the last proxy of it. It is never let go of more often than it came, and never
    used after that; in the end all is let go of."""
    counts: dict[int, int] = {}
    wrong: list[str] = []
    sent_lock = threading.Lock()
    numbers = list(range(1, 9))
    functions = [
        {
            "interface": "test:things/things@0.1.0",
            "name": name,
            "signature": {"parameters": parameters, "result": result},
        }
        for name, parameters, result in [
            ("again", [{"name": "which", "type": "u32"}], {"own": "thing"}),
            ("[method]thing.poke", [{"name": "self", "type": {"borrow": "thing"}}], "u32"),
        ]
    ]

    def called(id: int, header: Any, arguments: list[Any]) -> Any:
        if header["function"].endswith("again"):
            number = numbers[arguments[0]]
            with sent_lock:
                counts[number] = counts.get(number, 0) + 1
            return cbor2.CBORTag(OF_HOST, number)
        if counts.get(arguments[0].value, 0) <= 0:
            wrong.append(f"{arguments[0].value} was used after it was let go of")
        return 7

    def released(id: int, body: Any) -> Any:
        for number, count in body["handles"]:
            with sent_lock:
                counts[number] = counts.get(number, 0) - count
                if counts[number] < 0:
                    wrong.append(f"{number} was let go of too often")
        return None if id == 0 else b"\xf6"

    with Hostile() as host:
        host.on[REQUEST] = lambda id, body: {"functions": functions}
        host.on[CALL] = called
        host.on[RELEASE] = released
        with host.connect() as conn:
            things = conn.modules.things
            times = scaled(100_000, 1_000) // 4
            stop = threading.Event()

            def collect() -> None:
                while not stop.is_set():
                    gc.collect(0)
                    time.sleep(0.001)

            collector = threading.Thread(target=collect)
            collector.start()

            def storm(seed: int) -> None:
                rng = random.Random(seed)
                for _ in range(times):
                    proxy = things.again(rng.randrange(len(numbers)))
                    if rng.random() < 0.5:
                        assert proxy.poke() == 7
                    if rng.random() < 0.2:
                        # Only the collector can take it.
                        proxy = [proxy]
                        proxy.append(proxy)
                    elif rng.random() < 0.1:
                        proxy.close()
                    del proxy

            try:
                together(4, storm, patience=300)
            finally:
                stop.set()
                collector.join(10)
            gc.collect()
            eventually("nothing is held here", lambda: conn.held_objects == 0)
            eventually("nor there", lambda: not any(counts.values()))
            assert wrong == []


def test_rpyc_558_nor_with_a_real_host(conn: Any) -> None:
    """The same with objects of a real host that are dropped in every way there is, while others come."""
    conn.upload_module(component("counter"), name="case-558", instancing="session")
    module = conn.modules["case-558"]
    times = scaled(100_000, 1_000) // 4

    def storm(seed: int) -> None:
        rng = random.Random(seed)
        for number in range(times):
            counters = module.make([number] * rng.randrange(1, 4))
            last = counters.pop()
            future = async_call(last.value)
            del last
            if counters:
                module.keep(counters.pop())
                taken = module.take()
                assert taken is not None and taken.value() >= 0
            assert future.result(20) == number

    together(4, storm, patience=300)
    gc.collect()
    eventually("nothing is held here", lambda: conn.held_objects == 0)
    eventually("nor there", lambda: module.live() == 0)


STREAMS = """
import sys, rpc_host
before = (sys.stdin, sys.stdout, sys.stderr)
conn = rpc_host.Connection.from_streams({reader}, {writer})
try:
    print(conn.tenant, file=sys.stderr)
    {during}
finally:
    conn.close()
assert (sys.stdin, sys.stdout, sys.stderr) == before
assert not any(stream.closed for stream in (*before, sys.__stdin__, sys.__stdout__, sys.__stderr__))
sys.stdout.write("")
sys.stdout.flush()
print("still here", file=sys.stderr)
"""


@pytest.mark.parametrize("streams", [("sys.stdin.buffer", "sys.stdout.buffer"), ("0", "1")], ids=["objects", "numbers"])
@pytest.mark.parametrize("end", ["it closes", "the host dies"])
def test_rpyc_558_the_streams_of_a_process_are_borrowed(tmp_path: Path, streams: tuple[str, str], end: str) -> None:
    """A program that speaks over its own standard streams has them afterwards, open and as they were; also when it was
    the other side that ended."""
    command = [str(BINARY), "serve", "--stdio", "--data", str(tmp_path / "data")]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert host.stdin is not None and host.stdout is not None
    during = "pass" if end == "it closes" else DIES
    program = subprocess.Popen(
        [sys.executable, "-c", STREAMS.format(reader=streams[0], writer=streams[1], during=during)],
        stdin=host.stdout,
        stdout=host.stdin,
        stderr=subprocess.PIPE,
        text=True,
    )
    host.stdin.close()
    host.stdout.close()
    try:
        assert program.stderr is not None
        assert program.stderr.readline() == "default\n"
        if end == "the host dies":
            host.kill()
        assert program.stderr.read() == "still here\n"
        assert program.wait(10) == 0
        assert host.wait(10) == (0 if end == "it closes" else -9)
    finally:
        for process in (host, program):
            process.kill()
            process.wait()


DIES = """
    import time
    try:
        while True:
            conn.list()
            time.sleep(0.01)
    except rpc_host.Error:
        pass
""".strip()


def test_rpyc_558_the_streams_of_a_host_are_its_own(tmp_path: Path) -> None:
    """The other side of it: the host serves over what it was given as standard input and output, and neither its log
    nor what guests print comes upon the wire; it ends with them."""
    with rpc_host.connect_stdio(
        [str(BINARY), "serve", "--stdio", "--data", str(tmp_path / "data")], stderr=subprocess.DEVNULL
    ) as conn:
        conn.upload_module(component("wasi-probe"), name="probe")
        for number in range(100):
            conn.modules.probe.print(f"line {number}")
        process = conn.process
        assert conn.modules.probe.print("end")
    assert process is not None and process.returncode == 0
