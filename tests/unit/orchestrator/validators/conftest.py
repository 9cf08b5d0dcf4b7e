"""A sandbox, a project to write, and one environment that holds only pytest, installed once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.sandbox import Sandbox, open_sandbox
from orchestrator.validators import Environment, install

Write = Callable[[dict[str, str]], Path]


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return asyncio.run(open_sandbox())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def project(files: dict[str, str]) -> Path:
        root = tmp_path / "project"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return root

    return project


@pytest.fixture(scope="session")
def environment(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    root = tmp_path_factory.mktemp("declares")
    (root / "test_one.py").write_text("")
    return asyncio.run(install(root, sandbox, tmp_path_factory.mktemp("installed") / "packages"))
