"""Every write to GitHub fails once and in each way: the repository ends as if nothing had happened.

The writes of a run fail one at a time; of the longer conversations each meets several.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from bot.localhub.faults import RecordedRequest
from tests.e2e.conversing import conversable, plan_approve_cancel_and_resume, revise_twice_and_review
from tests.e2e.end_state import (
    EndState,
    Scenario,
    Write,
    end_state,
    plan_approve_and_ask,
    run,
    unlike,
    write_of,
    writes,
)
from tests.e2e.endpoints import FAULTS
from tests.e2e.stage import House, Scene, open_stage
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = {
    "502 without effect": FAULTS["502"],
    "connection dropped after effect": FAULTS["dropped after"],
    "403 secondary rate limit": FAULTS["403 secondary"],
}
SCENARIOS: list[Scenario] = [run, plan_approve_and_ask, plan_approve_cancel_and_resume, revise_twice_and_review]
Writes = tuple[Write, ...]
AT_ONCE = 4
"""As many as the bot works on at once: most of their time is waiting."""
ALONE: list[Scenario] = [plan_approve_cancel_and_resume]
"""Those that hold the models."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house in which one maintainer may start as many runs as there are faults, for as many owners."""
    folder = tmp_path_factory.mktemp("house")
    config = folder / "operator.yaml"
    owners = ", ".join(f"octo{number}" for number in range(1, 1000))
    config.write_text(f"runs_per_hour: 10000\ninstallations: [{owners}]\n")
    async with open_stage(folder) as opened, opened.bot({"ORCHESTRATOR_CONFIG": str(config)}) as bot:
        yield House(opened, bot)


class Turn:
    """True for one write of a scene, the first time that it comes."""

    def __init__(self, scene: Scene, write: Write) -> None:
        self._scene = scene
        self._write = write
        self._seen = 0

    def __call__(self, request: RecordedRequest) -> bool:
        """Count the writes of this shape, and tell whether this is the one."""
        if write_of(self._scene, request) != self._write.shape:
            return False
        self._seen += 1
        return self._seen == self._write.turn


async def set_up(house: House, scenario: Scenario) -> Scene:
    """Make a repository of a new owner: what models did is learned for an owner, and changes what is asked of them."""
    script = Script(tasks=1, tested=False) if scenario in (run, plan_approve_and_ask) else conversable()
    return await house.scene(script=script, owner=f"octo{len(house.stage.scenes) + 1}")


async def undisturbed(house: House, scenario: Scenario) -> tuple[EndState, list[Write]]:
    """Return how the scenario ends, and the writes that it takes."""
    scene = await set_up(house, scenario)
    await scenario(scene)
    return await end_state(scene), writes(scene)


def broken(made: Sequence[Write], scenario: Scenario) -> list[Writes]:
    """Return the writes that fail in each conversation: one in a run's, else those of one turn, no two of a shape."""
    if scenario is run:
        return [(write,) for write in made]
    turns = sorted({write.turn for write in made})
    return [tuple(write for write in made if write.turn == turn) for turn in turns]


async def disturbed(scene: Scene, scenario: Scenario, failing: Writes, kind: str) -> EndState:
    """Return how the scenario ends on a new scene when each of some writes fails once."""
    faults = {it: scene.hub.faults.add(path_regex="", when=Turn(scene, it), **KINDS[kind]) for it in failing}
    await scenario(scene)
    assert {write: fault.hits for write, fault in faults.items()} == dict.fromkeys(failing, 1)
    return await end_state(scene)


async def differences(
    house: House, scenario: Scenario, expected: EndState, faults: Sequence[tuple[Writes, str]]
) -> dict[tuple[Writes, str], dict[str, tuple[object, object]]]:
    """Return for each conversation what ends otherwise, as (expected, actual); nothing when all is well."""
    places = asyncio.Semaphore(1 if scenario in ALONE else AT_ONCE)

    async def one(scene: Scene, failing: Writes, kind: str) -> dict[str, tuple[object, object]]:
        async with places:
            actual = await disturbed(scene, scenario, failing, kind)
        return {part: unlike(expected[part], actual[part]) for part in expected if expected[part] != actual[part]}

    scenes = [await set_up(house, scenario) for _ in faults]
    async with asyncio.TaskGroup() as group:
        tasks = {fault: group.create_task(one(scene, *fault)) for scene, fault in zip(scenes, faults, strict=True)}
    return {fault: found for fault, task in tasks.items() if (found := task.result())}


@pytest.mark.slow
async def test_a_sample_of_writes_fails_once_and_the_end_is_the_same(house: House) -> None:
    expected, made = await undisturbed(house, run)
    assert [len(expected[part]) for part in ("branches", "pull requests", "check runs")] == [2, 1, 4]
    assert len(made) > 15
    sample = [
        ((Write("POST /pulls", 1),), "connection dropped after effect"),
        ((Write("POST /issues/N/comments", 1),), "502 without effect"),
        ((Write("POST /check-runs", 2),), "403 secondary rate limit"),
    ]

    assert await differences(house, run, expected, sample) == {}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda it: it.__name__)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_write_of_a_conversation_fails_once_and_the_end_is_the_same(
    house: House, scenario: Scenario, kind: str
) -> None:
    expected, made = await undisturbed(house, scenario)
    assert len(made) > 15

    assert await differences(house, scenario, expected, [(it, kind) for it in broken(made, scenario)]) == {}
