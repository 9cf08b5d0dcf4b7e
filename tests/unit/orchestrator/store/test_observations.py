"""What is learned: per scope and prompt version, forgotten when old, never lost between processes, frozen for a run."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import RunLost
from orchestrator.prediction import Attempt, Observation, Paid, Work
from orchestrator.state import Purpose
from orchestrator.store import Database, ObservationStore, RunStore
from tests.unit.orchestrator.store.conftest import Clock

WORK = Work("m", Purpose.GENERATE, "code_generation")
PLANNING = Work("m", Purpose.DECOMPOSE, "")
PAID = Paid(1.0, 100, 10, 2.0)
ONCE = Observation(WORK, calls=1, cost_usd=1.0, input_tokens=100.0, output_tokens=10.0, seconds=2.0)
DAY = 86_400


def store(database: Database, scope: str = "", version: str = "v1") -> ObservationStore:
    return ObservationStore(database, scope, dict.fromkeys(Purpose, version))


async def test_calls_and_first_attempts_of_one_kind_of_work_are_one_row(database: Database) -> None:
    known = store(database)
    await known.add([(WORK, PAID)], 0.1)
    await known.add([(WORK, Attempt(True, 0.9))], 0.1)
    await known.add([(PLANNING, PAID)], 0.1)
    found = await known.read()
    assert [(one.work.purpose.value, one.calls, one.tried) for one in found] == [
        ("decompose", 1, 0),
        ("generate", 1, 1),
    ]
    assert (found[1].cost_usd, found[1].passed, found[1].score) == (1.0, 1.0, 0.9)


async def test_an_installation_learns_nothing_from_another_one(database: Database) -> None:
    await store(database, "one").add([(WORK, PAID)], 0.1)
    assert await store(database, "other").read() == ()
    assert await store(database).read() == ()
    assert await store(database, "one").read() == (ONCE,)


async def test_what_another_version_of_the_prompt_did_does_not_count(database: Database) -> None:
    await store(database, version="v1").add([(WORK, PAID)], 0.1)
    assert await store(database, version="v2").read() == ()
    await store(database, version="v2").add([(WORK, Paid(9.0, 1, 1, 1.0))], 0.1)
    assert [one.cost_usd for one in await store(database, version="v2").read()] == [9.0]
    assert await store(database, version="v1").read() == (ONCE,)


async def test_what_was_not_seen_for_ninety_days_is_gone(database: Database, clock: Clock) -> None:
    await store(database).add([(WORK, PAID)], 0.1)
    clock.now += 60 * DAY
    await store(database).add([(PLANNING, PAID)], 0.1)
    clock.now += 30 * DAY
    assert len(await store(database).read()) == 2
    clock.now += 1
    assert [one.work for one in await store(database).read()] == [PLANNING]
    await store(database, "other").add([(PLANNING, PAID)], 0.1)
    clock.now -= 60 * DAY
    assert [one.work for one in await store(database).read()] == [PLANNING]


async def test_an_uninstalled_app_leaves_nothing_learned(database: Database) -> None:
    await store(database, "one").add([(WORK, PAID)], 0.1)
    await store(database, "other").add([(WORK, PAID)], 0.1)
    await store(database, "one").forget()
    assert await store(database, "one").read() == ()
    assert await store(database, "other").read() == (ONCE,)


async def test_nothing_that_two_processes_learn_at_once_is_lost(database_url: str) -> None:
    async with Database.open(database_url) as one, Database.open(database_url) as other:
        await asyncio.gather(*(store(each).add([(WORK, PAID)], 0.1) for each in (one, other) for _ in range(10)))
        found = await store(one).read()
    assert [seen.calls for seen in found] == [20]
    assert found[0].cost_usd == pytest.approx(1.0)


async def test_what_a_run_chooses_by_stays_as_it_was_frozen(database: Database) -> None:
    # given
    runs, known = RunStore(database), store(database)
    await runs.create("r", title="r", job={}, source="", output_dir="")
    old = await runs.claim("r")
    assert await known.frozen("r") is None
    # when
    await known.freeze("r", old, (ONCE,))
    await known.add([(WORK, PAID)], 0.1)
    # then
    assert await known.frozen("r") == (ONCE,)
    # and a process that lost the run freezes nothing
    await runs.claim("r")
    with pytest.raises(RunLost):
        await known.freeze("r", old, ())
