"""`python -m bot.demo --once`: what a newcomer sees first."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.stage import plain_environment


@pytest.mark.slow
async def test_the_demo_ends_with_a_pull_request_its_report_and_four_checks_without_any_key(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot.demo", "--once"),
        env=plain_environment(tmp_path) | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(600):
        said, _ = await process.communicate()

    text = said.decode()
    assert process.returncode == 0, text
    assert "so the built-in offline model is used" in text
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("orchestrator/")] == [
        "orchestrator/architecture: success",
        "orchestrator/budget: success",
        "orchestrator/review: success",
        "orchestrator/validation: success",
    ]
    assert "Report comment there" in text
    assert "/octo/quotes/pull/2" in text
    assert [name for name in os.listdir(tmp_path) if name.startswith("orchestrator-demo-")] == []
