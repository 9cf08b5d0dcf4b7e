"""Every endpoint of GitHub that the product uses x what can go wrong with a request: nothing lost, nothing twice.

| fault          | once                                | for ever                                            |
| -------------- | ----------------------------------- | --------------------------------------------------- |
| slow           | every endpoint                      | a third of the endpoints                            |
| 429            | every endpoint                      |                                                     |
| 403 secondary  | every read; writes stand elsewhere  |                                                     |
| 500            | every endpoint                      |                                                     |
| 502            | every read; writes stand elsewhere  | a third                                             |
| dropped before | every endpoint                      | a third                                             |
| dropped after  | every read; writes stand elsewhere  |                                                     |
| malformed      | every endpoint                      |                                                     |
| page           | every endpoint                      |                                                     |
| truncated      | every endpoint                      |                                                     |

The endpoints are those of undisturbed conversations, by their own record. Elsewhere is `test_every_write_fails_once`.
A conversation meets several faults, each of another kind at another endpoint. The App's own endpoints, which belong to
no conversation, are in `tests/unit/orchestrator/github/api/test_app_faults.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.conversing import conversable, revise_twice_and_review
from tests.e2e.end_state import Scenario, end_state, ended, run, unlike
from tests.e2e.endpoints import ELSEWHERE, FAULTS, break_at, endpoints, is_write
from tests.e2e.stage import Bot, House, Scene, Stage, open_stage, until
from tests.loopback import Script

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

Cells = Mapping[str, str]
"""Faults by the endpoints that meet them."""

AT_ONCE = 6
GROUPS = 5
"""With some seven endpoints in each, no conversation meets the same fault twice."""
EDITS = frozenset({"GET /issues/comments/N", "PATCH /issues/comments/N"})
"""What a conversation does without where another fault keeps the status comment from being there before its end."""
MOST_TRIES = 5
"""How often one call is tried; git asks once more by itself where a connection that it has kept is closed."""
GATE = "GET /collaborators/maria/permission"
"""An error there denies (SECURITY 6): the command is over, with one reaction and nothing else."""
SAYS = re.compile(
    r"(Unreachable|AmbiguousWrite): GitHub( could not be reached to | would not | answered 502 while we tried to |"
    r"'s answer was lost while we tried to )\w+"
)
"""What the log says when an attempt is over."""
FOR_EVER = ("502", "dropped before", "slow")


def operator(folder: Path) -> dict[str, str]:
    """Return an environment in which one maintainer may start as many runs as there are faults, for as many owners."""
    config = folder / "operator.yaml"
    owners = ", ".join(f"octo{number}" for number in range(1, 1000))
    config.write_text(f"runs_per_hour: 10000\nruns_at_once: 100\ninstallations: [{owners}]\n")
    return {"ORCHESTRATOR_CONFIG": str(config)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house for as many conversations as there are rows of cells."""
    folder = tmp_path_factory.mktemp("house")
    async with open_stage(folder) as opened, opened.bot(operator(folder)) as bot:
        yield House(opened, bot)


async def set_up(stage: Stage, scenario: Scenario) -> Scene:
    """Make a repository of a new owner, whose installation no other scene shares."""
    stage.models.script = Script(tasks=1) if scenario is run else conversable()
    return await stage.scene(owner=f"octo{len(stage.scenes) + 1}")


def rows(found: Sequence[str], group: int, groups: int) -> list[Cells]:
    """Return what the conversations of a group meet: every endpoint of it meets every fault in one of them."""
    kinds, chosen = list(FAULTS), found[group::groups]
    return [
        {
            endpoint: kind
            for place, endpoint in enumerate(chosen)
            if (kind := kinds[(number + place) % len(kinds)]) not in ELSEWHERE or not is_write(endpoint)
        }
        for number in range(len(kinds))
    ]


async def otherwise(stage: Stage, scenario: Scenario, cells: Sequence[Cells], expected: Mapping[str, object]) -> object:
    """Have each conversation meet its faults; return of each that ends otherwise its faults and what is not alike."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(scene: Scene, faults: Cells) -> object:
        async with places:
            waiting = {endpoint: break_at(scene, endpoint, fault) for endpoint, fault in faults.items()}
            await scenario(scene)
        actual = await end_state(scene)
        found: dict[str, object] = {
            part: unlike(expected[part], actual[part]) for part in expected if expected[part] != actual[part]
        }
        never = [endpoint for endpoint, fault in waiting.items() if fault.hits != 1]
        return found | ({"never met": never} if never else {})

    scenes = [await set_up(stage, scenario) for _ in cells]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(scene, faults)) for scene, faults in zip(scenes, cells, strict=True)]
    return [(faults, found) for faults, task in zip(cells, tasks, strict=True) if (found := task.result())]


@pytest.mark.parametrize("group", range(GROUPS + 1))
async def test_every_endpoint_of_a_run_meets_every_fault_once_and_the_end_is_the_same(house: House, group: int) -> None:
    # given
    undisturbed = await set_up(house.stage, run)
    await run(undisturbed)
    seen = endpoints(undisturbed)
    assert (len(seen), len([it for it in seen if is_write(it)])) == (35, 11)
    cells = rows(sorted(seen.keys() - EDITS), group, GROUPS) if group < GROUPS else rows(sorted(EDITS), 0, 1)
    before = len(house.stage.scenes)
    # when
    found = await otherwise(house.stage, run, cells, await end_state(undisturbed))
    # then
    assert found == []
    counted = [sum(endpoints(scene).values()) for scene in house.stage.scenes[before:]]
    assert max(counted) <= 3 * seen.total(), counted
    assert house.stage.reserved() == 0


async def test_what_only_a_longer_conversation_uses_meets_every_fault_once_and_the_end_is_the_same(
    house: House,
) -> None:
    # given
    short, long = await set_up(house.stage, run), await set_up(house.stage, revise_twice_and_review)
    await run(short)
    house.stage.models.script = conversable()
    await revise_twice_and_review(long)
    more = sorted(endpoints(long).keys() - endpoints(short).keys())
    assert len(more) == 9
    # when
    found = await otherwise(house.stage, revise_twice_and_review, rows(more, 0, 1), await end_state(long))
    # then
    assert found == []
    assert house.stage.reserved() == 0


@pytest.mark.parametrize("group", range(len(FOR_EVER)))
async def test_an_endpoint_that_fails_for_ever_is_tried_a_few_times_and_what_was_asked_is_done_when_it_works_again(
    tmp_path: Path, group: int
) -> None:
    async with open_stage(tmp_path) as stage:
        async with stage.bot(operator(tmp_path)) as bot:
            # given
            undisturbed = await set_up(stage, run)
            await run(undisturbed)
            expected, seen = await end_state(undisturbed), sorted(endpoints(undisturbed))[group :: len(FOR_EVER)]
            scenes = {endpoint: await set_up(stage, run) for endpoint in seen}
            faults = {
                endpoint: break_at(scene, endpoint, FOR_EVER[place % len(FOR_EVER)], times=10_000)
                for place, (endpoint, scene) in enumerate(scenes.items())
            }
            # when
            async with asyncio.TaskGroup() as commands:
                tasks = {
                    endpoint: commands.create_task(scene.command("/orchestrate")) for endpoint, scene in scenes.items()
                }
            await first_attempts(stage, bot, scenes.values())
            # then
            assert failures(bot)
            for endpoint, scene in scenes.items():
                told = failures(bot).get(scene.repository, [])
                assert faults[endpoint].hits >= 1, endpoint
                assert all(SAYS.search(it) for it in told), told
                tries = MOST_TRIES * (2 if ".git/" in endpoint else 1)
                assert faults[endpoint].hits <= tries * (len(told) + 1), (endpoint, faults[endpoint].hits, told)
                known = await bot.get(f"/api/runs/{tasks[endpoint].result().run_id}")
                assert known.status_code == (404 if endpoint == GATE else 200), endpoint
        # when
        stage.hub.faults.waiting = [replace(fault, times=fault.hits) for fault in stage.hub.faults.waiting]
        async with stage.bot(operator(tmp_path)):
            for scene in scenes.values():
                await ended(scene)
        # then
        if denied := scenes.pop(GATE, None):
            assert (denied.reactions(denied.hub.comments(denied.repository, 1)[0]["id"]), denied.ours(1)) == (
                ["confused"],
                [],
            )
        ends = {endpoint: await end_state(scene) for endpoint, scene in scenes.items()}
        differing = {
            endpoint: {part: unlike(expected[part], it[part]) for part in expected if expected[part] != it[part]}
            for endpoint, it in ends.items()
        }
        assert {endpoint: found for endpoint, found in differing.items() if found} == {}
        assert stage.reserved() == 0


def failures(bot: Bot) -> dict[str, list[str]]:
    """Return the errors that ended attempts, by repository."""
    found: dict[str, list[str]] = {}
    for line in bot.logged():
        if line["event"] == "failed":
            found.setdefault(line["repository"], []).append(str(line["error"]))
    return found


async def first_attempts(stage: Stage, bot: Bot, scenes: Iterable[Scene]) -> None:
    """Wait until the first attempt of each scene has failed, or has ended all the same."""
    query = "SELECT DISTINCT repository FROM deliveries WHERE state NOT IN ('done', 'ignored')"
    names = {scene.repository for scene in scenes}

    def over() -> bool:
        return not (names & {str(name) for (name,) in stage.rows(query)} - failures(bot).keys())

    await until(over, "the end of every first attempt", 900)
