"""What a run remembers of its bills, and the caps that it was opened with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import select

from orchestrator.errors import BudgetExhausted
from orchestrator.state import Purpose
from orchestrator.store import Database, Ledger, LedgerCall, RunStore
from orchestrator.store.schema import runs

PICO = 10**12


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as opened:
        yield opened


async def opened(database: Database, run: str, caps: dict[str, int]) -> Ledger:
    runs = RunStore(database)
    await runs.create(run, title=run, job={}, source="", output_dir="")
    ledger = Ledger(database, run, await runs.claim(run))
    await ledger.open_accounts({f"run:{run}": 100 * PICO, **caps})
    return ledger


async def reserved(ledger: Ledger, run: str, amount: int, task: str = "t") -> LedgerCall:
    return await ledger.reserve(
        charged=(f"run:{run}", "org"),
        task_id=task,
        purpose=Purpose.GENERATE,
        provider="p",
        model="m",
        amount=amount,
        input_tokens=1,
        output_tokens=1,
    )


async def test_a_bill_that_comes_while_the_others_are_read_counts_once(database: Database) -> None:
    ledger = await opened(database, "r", {"org": 100 * PICO})
    for number in range(60):
        # given: whatever was known is to be read anew, since an answer was lost
        await ledger.lose(await reserved(ledger, "r", 10, f"lost-{number}"))
        call = await reserved(ledger, "r", 10, f"t{number}")
        # when
        await asyncio.gather(
            ledger.settle(call, cost=7, input_tokens=5, output_tokens=3, key=f"k{number}", answer="said"),
            ledger.task_cost("another"),
        )
        # then
        assert await ledger.task_cost(f"t{number}") == (7, 5, 3)
        assert await ledger.answer(f"k{number}") == "said"


async def test_a_run_keeps_under_its_own_cap_of_an_account_that_a_later_run_raises(database: Database) -> None:
    # given: an account with two dollars for the first run, and five for a second one
    low = await opened(database, "low", {"org": 2 * PICO})
    high = await opened(database, "high", {"org": 5 * PICO})
    # when
    await reserved(low, "low", 2 * PICO)
    # then
    assert await low.room(("run:low", "org")) == {"run:low": (98 * PICO, 2 * PICO), "org": (0, 2 * PICO)}
    assert await high.room(("run:high", "org")) == {"run:high": (100 * PICO, 0), "org": (3 * PICO, 2 * PICO)}
    with pytest.raises(BudgetExhausted, match=r"the budget of org has \$0\.0000 of \$2\.00 left"):
        await reserved(low, "low", 1)
    await reserved(high, "high", 3 * PICO)


async def test_a_run_keeps_under_the_cap_that_a_later_run_lowers(database: Database) -> None:
    high = await opened(database, "high", {"org": 5 * PICO})
    await opened(database, "low", {"org": 2 * PICO})
    with pytest.raises(BudgetExhausted, match=r"the budget of org has \$2\.0000 of \$2\.00 left"):
        await reserved(high, "high", 3 * PICO)


async def test_a_run_notes_how_many_calls_all_processes_that_died_have_left_in_flight(database: Database) -> None:
    notes = []
    # given: two processes that die one after the other, the first with two calls in flight
    for calls in (2, 1, 0):
        ledger = await opened(database, "r", {"org": 100 * PICO})
        # when
        await ledger.recover()
        # then
        async with database.reading() as connection:
            notes.append(json.loads((await connection.execute(select(runs.c.notes))).scalar_one()))
        for number in range(calls):
            await reserved(ledger, "r", 10, f"t{number}")
    assert notes == [
        [],
        ["2 call(s) were in flight when a process died; each counts at its reservation."],
        ["3 call(s) were in flight when a process died; each counts at its reservation."],
    ]
