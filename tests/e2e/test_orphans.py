"""Killed in the middle of a check, command line and bot leave no process behind: not one of those they started."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.e2e.command_line import SPEC, CommandLine, killed, two_modules, wait_for
from tests.e2e.napping import napping
from tests.e2e.stage import Stage, open_stage, until
from tests.loopback import ModelServer, Script

GONE_WITHIN_SECONDS = 5.0


def asleep(nap: str) -> bool:
    """Tell whether the check and what it started are at work, and not still being set up."""
    return [words.strip() for words in napping(nap)].count(f"sleep {nap}") == 2


def command(nap: str) -> str:
    """Return a check that starts one more process in a session of its own, and waits for long."""
    return f"setsid sleep {nap} & exec sleep {nap}"


@pytest.mark.parametrize(
    "moment", [asleep, pytest.param(napping, marks=pytest.mark.slow)], ids=["at work", "being set up"]
)
def test_a_command_line_that_is_killed_in_the_middle_of_a_check_leaves_no_process(
    tmp_path: Path, nap: str, moment: Callable[[str], object]
) -> None:
    (tmp_path / "spec.yaml").write_text(f"{SPEC}  commands: ['{command(nap)}']\n")
    with ModelServer(two_modules()) as server:
        process = CommandLine(tmp_path, server).build()
        wait_for(lambda: bool(moment(nap)))
        killed(process)
        deadline = time.monotonic() + GONE_WITHIN_SECONDS
        while napping(nap) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert napping(nap) == []


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=1)) as opened:
        yield opened


@pytest.mark.slow
async def test_a_bot_that_is_killed_in_the_middle_of_a_check_leaves_no_process(stage: Stage, nap: str) -> None:
    scene = await stage.scene(
        f"version: 1\nvalidation:\n  validators: [python_syntax]\n  commands: ['{command(nap)}']\n"
    )
    async with stage.bot() as bot:
        await scene.command()
        await until(lambda: asleep(nap), "the check")
        await bot.kill()
        await until(lambda: not napping(nap), "the end of all that it started", GONE_WITHIN_SECONDS)
