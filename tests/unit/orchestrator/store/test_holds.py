"""Who is admitted under the budgets above a run: with its whole cap or not at all."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import BudgetHierarchyExceeded
from orchestrator.state import Purpose
from orchestrator.store import Database, HoldStore, Ledger, RunStore
from tests.unit.orchestrator.store.conftest import Clock

PICO = 10**12
ORG = {"org": 10 * PICO}


async def admitted(database: Database, run: str, usd: int, caps: dict[str, int] | None = None) -> bool:
    try:
        await HoldStore(database).admit(run, caps=caps or ORG, amount=usd * PICO, seconds=3600)
    except BudgetHierarchyExceeded:
        return False
    return True


async def begun(database: Database, run: str, usd: int) -> tuple[Ledger, int]:
    runs = RunStore(database)
    await runs.create(run, title=run, job={}, source="", output_dir="")
    fence = await runs.claim(run)
    ledger = Ledger(database, run, fence)
    await ledger.open_accounts({f"run:{run}": usd * PICO, **ORG})
    return ledger, fence


async def spend(ledger: Ledger, run: str, usd: int) -> None:
    call = await ledger.reserve(
        charged=(f"run:{run}", "org"),
        task_id="t",
        purpose=Purpose.GENERATE,
        provider="p",
        model="m",
        amount=usd * PICO,
        input_tokens=1,
        output_tokens=1,
    )
    await ledger.settle(call, cost=usd * PICO, input_tokens=1, output_tokens=1, key=run, answer="{}")


async def test_of_two_runs_for_which_there_is_room_for_one_the_second_is_refused_with_what_is_left(
    database: Database,
) -> None:
    assert await admitted(database, "a", 6)
    with pytest.raises(BudgetHierarchyExceeded) as caught:
        await HoldStore(database).admit("b", caps=ORG, amount=6 * PICO, seconds=3600)
    assert caught.value.account == "org"
    assert caught.value.message == (
        "The run may spend $6.00, and the budget of org has $4.00 of $10.00 left, "
        "besides $6.00 promised to runs under way."
    )
    assert await admitted(database, "b", 4)


async def test_what_an_admitted_run_spends_counts_once(database: Database) -> None:
    # given: six dollars promised, five of them spent
    assert await admitted(database, "a", 6)
    ledger, _ = await begun(database, "a", 6)
    await spend(ledger, "a", 5)
    # then
    assert not await admitted(database, "b", 5)
    assert await admitted(database, "b", 4)


async def test_a_run_that_ended_gives_back_what_it_did_not_spend(database: Database) -> None:
    assert await admitted(database, "a", 9)
    ledger, fence = await begun(database, "a", 9)
    await spend(ledger, "a", 2)
    await HoldStore(database).release("a", fence)
    assert not await admitted(database, "b", 9)
    assert await admitted(database, "b", 8)


async def test_a_run_that_goes_on_needs_room_for_what_it_may_still_spend(database: Database) -> None:
    # given
    assert await admitted(database, "a", 6)
    ledger, _ = await begun(database, "a", 6)
    await spend(ledger, "a", 5)
    assert await admitted(database, "b", 4)
    # then: its own hold does not stand in its way, the other's does
    assert await admitted(database, "a", 6)
    assert not await admitted(database, "a", 7)


async def test_a_hold_that_a_dead_process_left_ends_with_the_runs_time(database: Database, clock: Clock) -> None:
    assert await admitted(database, "dead", 10)
    clock.now += 3600
    assert not await admitted(database, "b", 1)
    clock.now += 601
    assert await admitted(database, "b", 10)


async def test_a_run_that_is_refused_by_one_account_holds_nothing_on_the_others(database: Database) -> None:
    both = {**ORG, "team:eng": 2 * PICO}
    assert not await admitted(database, "a", 3, both)
    assert await admitted(database, "b", 10)


async def test_of_many_that_ask_at_once_as_many_are_admitted_as_there_is_room_for(database_url: str) -> None:
    async with Database.open(database_url) as one, Database.open(database_url) as other:
        asked = [
            admitted(each, f"{name}-{number}", 3) for name, each in (("a", one), ("b", other)) for number in (1, 2, 3)
        ]
        assert sum(await asyncio.gather(*asked)) == 3
