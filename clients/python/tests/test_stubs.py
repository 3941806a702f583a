"""The stubs that the command line prints are of what is there."""

from __future__ import annotations

import ast
import inspect
import subprocess
from typing import Any

import pytest
from conftest import BINARY

from rpc_host import Interface


@pytest.mark.parametrize("name", ["calc", "kitchen-sink", "counter", "text", "maps", "objects"])
def test_a_stub_has_the_names_and_parameters_that_a_module_has(
    host: Any, conn: Any, registered: Any, name: str
) -> None:
    module = conn.modules[registered(name)]
    said = subprocess.run(
        [BINARY, "describe", name, "--output", "python-stub", "--profile", host.profile],
        capture_output=True,
        text=True,
        check=True,
    )
    tree = ast.parse(said.stdout)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and not node.bases}
    members = {member: getattr(module, member) for member in dir(module)}
    is_there = {member for member, found in members.items() if not isinstance(found, Interface)}
    assert {*functions, *classes} == is_there
    for member, node in functions.items():
        assert [parameter.arg for parameter in node.args.args] == list(inspect.signature(members[member]).parameters)
    for member, node in classes.items():
        methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
        assert methods - {"__init__", "__enter__", "__exit__"} <= set(dir(members[member]))


def test_what_its_author_says_of_a_module_is_shown(conn: Any, registered: Any) -> None:
    calc = conn.modules[registered("calc")]
    assert "`a` plus `b`" in calc.add.__doc__ and "Arithmetic" in calc.__doc__
    counter = conn.modules[registered("counter")].Counter
    assert "A number that is kept between calls." in counter.__doc__
    assert "Adds one; the new value." in counter.increment.__doc__
