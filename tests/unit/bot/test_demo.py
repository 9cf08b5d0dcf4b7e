from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.demo import DemoFailed, beside
from bot.localhub.server import LocalHub

ENVIRONMENT = {"PATH": os.environ["PATH"], "ORCHESTRATOR_OFFLINE": "1"}
OF_ANOTHER_BOT = {
    "ORCHESTRATOR_CONFIG": "/no/such/file",
    "GITHUB_WEBHOOK_SECRET_PREVIOUS": "short",
    "PUBLIC_URL": "no address",
    "ORCHESTRATOR_DATABASE_URL": "mysql://h/n",
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with LocalHub(tmp_path / "hub") as hub:
        hub.create_user("octocat")
        await hub.create_repository("octo/quotes", files={"README.md": "# Quotes\n"})
        yield hub


async def test_a_bot_that_does_not_start_is_told_with_its_log(hub: LocalHub, tmp_path: Path) -> None:
    wrong = ENVIRONMENT | {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://models.example.org"}
    del wrong["ORCHESTRATOR_OFFLINE"]
    with pytest.raises(DemoFailed, match=r"(?s)The bot did not start\. The end of its log:\n.*OPENAI_BASE_URL"):
        async with beside(hub, tmp_path, wrong):
            pass


@pytest.mark.slow
async def test_a_bot_that_hears_nothing_of_another_one_and_then_ends_is_told_at_once(
    hub: LocalHub, tmp_path: Path
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(DemoFailed, match=r"The bot ended with status -9\.")):
        async with asyncio.timeout(60), beside(hub, tmp_path, ENVIRONMENT | OF_ANOTHER_BOT):
            ours = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_bot(pid, tmp_path)]
            assert len(ours) == 1
            os.kill(ours[0], signal.SIGKILL)
            await asyncio.Event().wait()


def _is_bot(pid: int, folder: Path) -> bool:
    try:
        return f"ORCHESTRATOR_HOME={folder / 'state'}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
