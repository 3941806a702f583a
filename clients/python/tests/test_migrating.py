"""The page for those who come from RPyC: all of its code is run, or is what stands in the repository.

*Before* is run against RPyC's own server, *after* against a node, both over TLS and started by the page's commands.
Of what stands there, only the addresses are changed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import rpyc
from conftest import BINARY, PATIENCE, ROOT, component, eventually

import rpc_host

PAGE = ROOT / "clients/python/MIGRATING.md"


# ----------------------------------------------------------------------------------------------------------- the page


@dataclass
class Block:
    """What stands between two fences."""

    language: str
    text: str
    #: That of the opening fence.
    line: int

    def file(self) -> tuple[str, bool] | None:
        """The name of the file that it is, if it is one, and whether it lies on the server."""
        found = re.match(r"# (\w+\.py)(, on the server)?\n", self.text)
        return None if found is None else (found[1], found[2] is not None)


@dataclass
class Task:
    title: str
    sides: dict[str, list[Block]] = field(default_factory=dict)

    def blocks(self, side: str, *languages: str) -> list[Block]:
        return [block for block in self.sides.get(side, []) if block.language in languages]


def read() -> tuple[list[Task], list[Block]]:
    """The tasks, and the blocks that belong to none."""
    tasks: list[Task] = []
    others: list[Block] = []
    side: list[Block] = others
    block: Block | None = None
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if block is not None:
            if line.startswith("```"):
                side.append(block)
                block = None
            else:
                block.text += line
        elif line.startswith("```"):
            block = Block(line[3:].strip(), "", number)
        elif line.startswith("## "):
            side = others
            if re.match(r"## \d+\. ", line):
                tasks.append(Task(line[3:].strip()))
        elif found := re.match(r"\*\*(Before|After)\*\*$", line):
            side = tasks[-1].sides.setdefault(found[1], [])
    assert block is None
    return tasks, others


TASKS, OTHERS = read()


# ------------------------------------------------------------------------------------------------------ how it is run


class _Shown(ast.NodeTransformer):
    """Hands each expression that has a comment at the end of its line to a function, with the comment."""

    def __init__(self, source: str) -> None:
        self.comments: dict[int, str] = {}
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and not token.line.lstrip().startswith("#"):
                self.comments[token.start[0]] = token.string.lstrip("# ")

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        comment = self.comments.pop(node.end_lineno or 0, None)
        if comment is None:
            return node
        call = ast.parse("_shows(lambda: 0, '')").body[0]
        assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
        function, text = call.value.args
        assert isinstance(function, ast.Lambda) and isinstance(text, ast.Constant)
        function.body, text.value = node.value, comment
        for part in ast.walk(call):
            if isinstance(part, (ast.expr, ast.stmt)) and part not in ast.walk(node):
                ast.copy_location(part, node)
        return call

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    # What is in there runs at another time.
    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _leave


class Side:
    """Names and a directory in which blocks are run."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self._addresses = addresses
        self._printed = io.StringIO()

    def run(self, block: Block) -> None:
        source = block.text
        for written, real in self._addresses.items():
            source = source.replace(written, real)
        shown = _Shown(source)
        tree = ast.fix_missing_locations(shown.visit(ast.parse(source)))
        assert not shown.comments, f"line {block.line}: comments that nothing holds to: {shown.comments}"
        ast.increment_lineno(tree, block.line)
        self.names["_shows"] = self._shows
        with contextlib.redirect_stdout(self._printed):
            exec(compile(tree, str(PAGE), "exec"), self.names)

    def _shows(self, run: Callable[[], Any], comment: str) -> None:
        """What the expression gives or prints is what the comment says."""
        before = len(self._printed.getvalue())
        if comment.startswith("raises "):
            name, _, text = comment.removeprefix("raises ").partition(": ")
            with pytest.raises(eval(name, self.names)) as raised:
                run()
            assert str(raised.value).startswith(text)
            return
        value = run()
        printed = self._printed.getvalue()[before:].removesuffix("\n")
        assert (printed if value is None else printed + repr(value)) == comment

    def close(self) -> None:
        """Closes the connections that the blocks have opened."""
        for value in self.names.values():
            if isinstance(value, (rpyc.Connection, rpc_host.Connection)):
                value.close()


# ------------------------------------------------------------------------------------------------------------- servers


@dataclass
class Node:
    """A node that the page's commands have made and started."""

    directory: Path
    address: str

    @property
    def data(self) -> Path:
        return self.directory / "rpc-host-data"

    def believes(self) -> bool:
        certificate, key = self.directory / "alice.pem", self.directory / "alice.key"
        try:
            rpc_host.connect(self.address, ca=self.data / "ca.pem", certificate=certificate, key=key).close()
        except rpc_host.AuthenticationError:
            return False
        return True


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("node")
    serve, make = TASKS[0].blocks("After", "sh")
    assert serve.text.startswith("rpc-host serve --listen ")
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0"], cwd=directory, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        ready = re.fullmatch(r"listening on (\S+)\n", process.stdout.readline())
        assert ready, (directory / "log").read_text()
        made = Node(directory, ready[1])
        (directory / "bin").mkdir()
        (directory / "bin/rpc-host").symlink_to(BINARY)
        path = f"{directory / 'bin'}:{os.environ['PATH']}"
        subprocess.run(["sh", "-ec", make.text], cwd=directory, env={**os.environ, "PATH": path}, check=True)
        eventually("the node believes the certificate", made.believes)
        yield made
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


#: Runs a program that serves by RPyC, at whatever ports are free, and tells which those are.
ANYWHERE = """
import runpy, sys
from rpyc.utils.server import Server

begin, listen = Server.__init__, Server._listen

def begin_anywhere(self, *arguments, port, hostname=None, **options):
    begin(self, *arguments, port=0, hostname="127.0.0.1", **options)
    self.meant = port

def listen_and_tell(self):
    listen(self)
    sys.stdout.write(f"{self.meant} {self.port}\\n")
    sys.stdout.flush()

Server.__init__, Server._listen = begin_anywhere, listen_and_tell
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
if sys.argv[0] == "rpyc_classic":
    from rpyc.cli.rpyc_classic import main
    main()
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextlib.contextmanager
def served(directory: Path, command: list[str], servers: int) -> Iterator[dict[str, str]]:
    """Serves by RPyC, and gives which port is which."""
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", ANYWHERE, *command], cwd=directory, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        told = [process.stdout.readline().split() for _ in range(servers)]
        assert all(told), (directory / "log").read_text()
        yield {meant: real for meant, real in told}
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


# --------------------------------------------------------------------------------------------------------------- tests


@pytest.fixture
def here(tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client is: a directory with what lets it in."""
    here = tmp_path / "client"
    here.mkdir()
    for path in (node.data / "ca.pem", node.data / "client.toml", node.directory / "alice.pem"):
        shutil.copy(path, here)
    shutil.copy(node.directory / "alice.key", here)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    return here


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_before(task: Task, here: Path, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "server"
    there.mkdir()
    for name in ("server.pem", "server.key"):
        # Both are in the one file.
        shutil.copy(node.data / "server.pem", there / name)
    shutil.copy(node.data / "clients/ca.pem", there / "clients.pem")
    programs = []
    for block in task.blocks("Before", "python"):
        if file := block.file():
            name, is_there = file
            ((there if is_there else here) / name).write_text(block.text)
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
            if is_there and "ThreadedServer(" in block.text:
                programs.append((["./" + name], block.text.count("ThreadedServer(")))
    (classic,) = TASKS[0].blocks("Before", "sh")
    programs.insert(0, (shlex.split(classic.text), 1))
    with contextlib.ExitStack() as servers:
        addresses = {"server.example": "127.0.0.1"}
        for command, count in programs:
            addresses |= servers.enter_context(served(there, command, count))
        side = Side(addresses)
        servers.callback(side.close)
        if task is not TASKS[0]:
            side.run(TASKS[0].blocks("Before", "python")[0])
        for block in task.blocks("Before", "python"):
            if block.file() is None:
                side.run(block)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.title)
def test_after(task: Task, here: Path, node: Node) -> None:
    side = Side({"server.example": node.address})
    blocks = task.blocks("After", "python")
    if task is not TASKS[0]:
        blocks.insert(0, TASKS[0].blocks("After", "python")[0])
    for name in {name for block in blocks for name in re.findall(r'"([\w-]+)\.wasm"', block.text)}:
        os.symlink(component(name), here / f"{name}.wasm")
    try:
        for block in blocks:
            side.run(block)
    finally:
        side.close()


def test_a_comment_that_is_not_so_is_found() -> None:
    side = Side({"other": "1"})
    side.run(Block("python", "a = other\na + 1   # 2\nprint(a)    # 1\nb   # raises NameError: name 'b'\n", 1))
    for wrong in ("2   # 1", "print(2)    # 1", "None    # 1", "a   # raises NameError", "1 / 0   # raises NameError"):
        with pytest.raises((AssertionError, ZeroDivisionError, pytest.fail.Exception)):
            side.run(Block("python", wrong + "\n", 1))
    with pytest.raises(AssertionError, match="comments that nothing holds to: {1: '3'}"):
        side.run(Block("python", "b = 2   # 3\n", 1))


def test_what_is_shown_of_modules_stands_in_them() -> None:
    for task in TASKS:
        for block in task.blocks("After", "rust", "wit"):
            first, *shown = [line.strip() for line in block.text.splitlines() if line.strip()]
            source = (ROOT / first.removeprefix("// ")).read_text(encoding="utf-8")
            lines = [line.strip() for line in source.splitlines() if line.strip()]
            at = 0
            for part in "\n".join(shown).split("\n// …\n"):
                wanted = part.split("\n")
                while lines[at : at + len(wanted)] != wanted:
                    assert at < len(lines), f"{PAGE.name}:{block.line}: {first} has no {part!r}"
                    at += 1
                at += len(wanted)


def test_every_task_has_both_sides_and_every_block_a_test() -> None:
    assert [task.title.partition(".")[0] for task in TASKS] == [str(number + 1) for number in range(10)]
    assert OTHERS == []
    for task in TASKS:
        assert list(task.sides) == ["Before", "After"], task.title
        for side in task.sides:
            assert any(block.file() is None for block in task.blocks(side, "python")), task.title
        # The first task's commands start the servers.
        tested = {"python", "sh"} if task is TASKS[0] else {"python"}
        assert {block.language for block in task.sides["Before"]} <= tested, task.title
        assert {block.language for block in task.sides["After"]} <= tested | {"rust", "wit"}, task.title
