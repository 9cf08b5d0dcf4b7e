"""Following a run: what fails in the block and in what follows it is raised once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.errors import RunLost
from orchestrator.events import Event, EventType
from orchestrator.github.runs.desk import Desk, followed
from orchestrator.github.triggers.command import Command
from orchestrator.state import ProjectState
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene
from tests.unit.orchestrator.github.stories.test_handler import KnownPlane

HAPPENED = Event(EventType.PROJECT_STARTED, RUN, {}, 0.0)


@dataclass
class TakenOver(KnownPlane):
    """A plane whose run belongs to another process."""

    async def state(self, run_id: str) -> ProjectState | None:
        raise RunLost("Another process has taken over.")


def _desk(scene: Scene) -> Desk:
    issue = scene.hub.create_issue(REPO, "A limiter", "Please.", user="maria")
    return Desk.of(scene.trigger(issue, "/orchestrate"), Command("run"), scene.publisher(), TakenOver())


async def test_a_run_that_is_lost_to_the_block_and_to_its_follower_is_raised_once(scene: Scene) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def build() -> None:
        async with followed(_desk(scene)) as on_event:
            await on_event(HAPPENED)
            await asyncio.sleep(0)
            raise RunLost("The block's own.")

    with pytest.raises(RunLost, match="The block's own") as caught:
        await build()
    gc.collect()

    assert complaints == []
    assert caught.value.__notes__ == ["Following the run failed too: RunLost: Another process has taken over."]


async def test_what_only_the_follower_meets_is_raised_when_the_block_ends(scene: Scene) -> None:
    async def build() -> None:
        async with followed(_desk(scene)) as on_event:
            await on_event(HAPPENED)
            await asyncio.sleep(0)

    with pytest.raises(RunLost, match="Another process"):
        await build()
