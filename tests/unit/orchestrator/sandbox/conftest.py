"""The rungs that isolate on this machine, each forced in turn."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

import pytest

from orchestrator.errors import SandboxError
from orchestrator.sandbox import Rung, Sandbox, open_sandbox


@cache
def isolating() -> tuple[Rung, ...]:
    async def works(rung: Rung) -> bool:
        try:
            return (await open_sandbox(rung)).isolated
        except SandboxError:
            return False

    return tuple(rung for rung in Rung if asyncio.run(works(rung)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sandbox" in metafunc.fixturenames:
        metafunc.parametrize("sandbox", [Sandbox(rung) for rung in isolating()], ids=isolating())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder
