"""The bot, killed at its worst moments and started again, ends as if nothing had happened and makes nothing twice.

The kills are SIGKILL, as in a power cut. Each moment is one that the local GitHub or the models saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.stage import DEADLINE_SECONDS, GOOD_CHECKS, Asked, Scene, Stage, billed_usd, open_stage, until
from tests.loopback import Script
from tests.postgresql import Cluster

POSTGRESQL = pytest.param(
    "postgresql", marks=[pytest.mark.slow, pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]
)

BILLED = [
    ("", "architecture"),
    ("", "decompose"),
    ("part-1", "generate"),
    ("part-1", "review"),
    ("part-2", "generate"),
    ("part-2", "review"),
    ("", "evaluate"),
]
FILES = [
    ".orchestrator.yaml",
    "README.md",
    "docs/adr/0001-architecture.md",
    "pyproject.toml",
    "sample_library/__init__.py",
    "sample_library/part_1.py",
    "sample_library/part_2.py",
    "tests/test_part_1.py",
    "tests/test_part_2.py",
]


@dataclass(frozen=True, slots=True)
class Killed:
    """A command whose bot was killed: what was finished then, and how many calls the models had seen."""

    asked: Asked
    finished: set[str]
    calls: int


async def _killed_when(stage: Stage, scene: Scene, moment: Callable[[], object], what: str) -> Killed:
    """Give a command to a bot and kill it at a moment."""
    async with stage.bot() as bot:
        asked = await scene.command()
        assert asked.status == 202
        await until(moment, what)
        await bot.kill()
    assert "queued" in stage.delivery_states()
    return Killed(asked, stage.finished_tasks(), len(stage.models.journal))


async def _assert_it_ends_as_if_undisturbed(stage: Stage, killed: Killed, *, lost: int) -> None:
    """Start the bot again on the same state, and look at everything that could be there twice, too little or lost."""
    asked, scene = killed.asked, killed.asked.scene
    async with stage.bot() as bot:
        await asked.reacted("rocket")
        await asked.settled()
        report = await bot.report(asked.run_id)

    # The run ends the same.
    assert report["status"] == "completed"
    assert [(task["id"], task["status"], task["attempts"]) for task in report["tasks"]] == [
        ("part-1", "completed", 1),
        ("part-2", "completed", 1),
    ]
    known = [(call["task_id"], call["purpose"]) for call in report["calls"] if "estimated" not in call]
    assert known == BILLED
    assert len(report["calls"]) == len(known) + lost

    # No finished task was generated again, and what was billed is covered.
    assert killed.finished.isdisjoint(stage.generated(stage.models.journal[killed.calls :]))
    assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
    assert stage.reserved() == 0

    # There is one of everything on GitHub.
    pull, branch = asked.pull, f"orchestrator/{asked.issue}-sample-library"
    heads = await scene.hub.branches(scene.repository)
    assert heads == {"main": pull["base"]["sha"], branch: pull["head"]["sha"]}
    assert sorted(await scene.hub.files(scene.repository, branch)) == FILES
    assert scene.checks() == scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 2/2 tasks · ")
    (comment,) = scene.ours(pull["number"])
    assert comment.endswith(f"<!-- orchestrator:report run={asked.run_id} -->")
    assert sorted(scene.reactions(asked.comment)) == ["eyes", "rocket"]


@pytest.fixture(params=["sqlite", POSTGRESQL])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose state is in either database."""
    url = ""
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.new_database()
    async with open_stage(tmp_path, postgresql=url, config="takeover_seconds: 4\n") as opened:
        yield opened


@pytest.fixture
async def scene(stage: Stage) -> Scene:
    stage.models.script = Script(tasks=2)
    return await stage.scene()


async def _killed_after_answers(stage: Stage, scene: Scene, count: int) -> Killed:
    """Kill the bot when `count` answers have arrived and it waits for the next one."""
    stage.models.hold_after(count)
    killed = await _killed_when(stage, scene, lambda: len(stage.models.journal) == count + 1, f"question {count + 1}")
    stage.models.release()
    await asyncio.to_thread(stage.models.wait_for_end_of, count)
    return killed


async def test_a_bot_killed_in_the_middle_of_building_goes_on_with_the_next_task(stage: Stage, scene: Scene) -> None:
    killed = await _killed_after_answers(stage, scene, 4)

    assert killed.finished == {"part-1"}
    await _assert_it_ends_as_if_undisturbed(stage, killed, lost=1)


async def test_a_bot_killed_after_opening_the_pull_request_and_before_its_checks_finds_it_again(
    stage: Stage, scene: Scene
) -> None:
    # The first look at the head's check runs comes right before the first of them is written.
    slow = scene.hub.faults.add(method="GET", path_regex=r"/commits/\w+/check-runs$", kind="delay", seconds=1.0)

    killed = await _killed_when(stage, scene, lambda: slow.hits, "the look at the check runs")

    assert len(scene.hub.pull_requests(scene.repository)) == 1
    assert scene.checks() == {}
    await _assert_it_ends_as_if_undisturbed(stage, killed, lost=0)


@pytest.mark.slow
async def test_a_bot_killed_three_times_in_one_run_still_ends_it_once(stage: Stage, scene: Scene) -> None:
    stage.models.hold_after(3)
    killed = await _killed_when(stage, scene, lambda: len(stage.models.journal) == 4, "the fourth question")
    for more in (1, 2):
        # The question that the dead bot left is answered to nobody, and takes no part in what is counted now.
        wanted = len(stage.models.journal) + more + 1
        stage.models.release()
        await asyncio.to_thread(stage.models.wait_for_end_of, wanted - more - 2)
        stage.models.hold_after(more)
        async with stage.bot() as bot:
            await asyncio.to_thread(stage.models.wait_for_calls, wanted, DEADLINE_SECONDS)
            await bot.kill()
    finished = stage.finished_tasks()
    calls = len(stage.models.journal)
    stage.models.release()

    lost = len(stage.rows("SELECT id FROM calls WHERE state IN ('reserved', 'lost')"))
    await _assert_it_ends_as_if_undisturbed(stage, Killed(killed.asked, finished, calls), lost=lost)
