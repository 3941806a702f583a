"""The manual does what it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import COMPONENTS

MANUAL = Path(__file__).resolve().parents[1] / "README.md"


def test_the_examples_of_the_manual_work(own_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = own_host()
    here = tmp_path / "here"
    (here / "rpc-host-data").mkdir(parents=True)
    shutil.copy(host.profile, here / "rpc-host-data/client.toml")
    for name in ("calc", "kitchen-sink", "trap", "counter", "app", "text"):
        shutil.copy(COMPONENTS / f"{name}.wasm", here)
    monkeypatch.chdir(here)
    monkeypatch.delenv("RPC_HOST_PROFILE", raising=False)
    blocks = MANUAL.read_text(encoding="utf-8").split("```python\n")[1:]
    names: dict[str, Any] = {}
    try:
        for number, block in enumerate(blocks, 1):
            exec(compile(block.partition("```")[0], f"example {number}", "exec"), names)
        assert len(blocks) >= 8
    finally:
        if "conn" in names:
            names["conn"].close()
