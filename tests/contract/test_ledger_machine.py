"""A state machine over the real ledger and budget on a real SQLite file: whatever happens, every cap holds."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import select

from orchestrator.budget import Budget, Reservation
from orchestrator.errors import BudgetExhausted, RunLost
from orchestrator.state import Purpose
from orchestrator.store import Database, Ledger, LedgerCall, RunStore
from orchestrator.store.schema import accounts, calls

PICO = 10**12
# Two runs of one team, one of them with a job of its own, and a third that only the organisation caps.
CHARGED = {
    "a": ("run:a", "org", "team:eng", "job:j"),
    "b": ("run:b", "org", "team:eng"),
    "c": ("run:c", "org"),
}
CAPS = {"run:a": 6, "run:b": 6, "run:c": 4, "org": 10, "team:eng": 8, "job:j": 3}
RUNS = st.sampled_from(sorted(CHARGED))
AMOUNTS = st.integers(0, 3 * PICO)


@dataclass(slots=True)
class Process:
    """A process that holds a run, or held it: its view of the ledger, and its budget."""

    run: str
    fence: int
    ledger: Ledger
    budget: Budget


@dataclass(frozen=True, slots=True)
class Held:
    """A call in flight, and the process that made it."""

    run: str
    process: Process
    reservation: Reservation
    call: LedgerCall


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that the tables say about money."""

    accounts: dict[str, tuple[int, int, int]]
    calls: tuple[tuple[Any, ...], ...]
    completions: int


@dataclass(slots=True)
class World:
    """The database, opened and claimed by the processes that live."""

    folder: Path
    database: Database
    stack: AsyncExitStack
    processes: dict[str, Process] = field(default_factory=dict)
    ever: list[Process] = field(default_factory=list)

    async def claim(self, run: str) -> None:
        """Let a new process take a run over, as the engine does at its start."""
        runs = RunStore(self.database)
        await runs.create(run, title=run, job={}, source="", output_dir="")
        fence = await runs.claim(run)
        ledger = Ledger(self.database, run, fence)
        await ledger.open_accounts({account: CAPS[account] * PICO for account in CHARGED[run]})
        await ledger.recover()
        budget = Budget(CAPS[f"run:{run}"])
        budget.carry(await ledger.spent(), 0.0)
        self.processes[run] = Process(run, fence, ledger, budget)
        self.ever.append(self.processes[run])

    async def books(self) -> Books:
        """Read the tables."""
        async with self.database.reading() as connection:
            account_rows = await connection.execute(select(accounts))
            call_rows = await connection.execute(
                select(calls.c.id, calls.c.run_id, calls.c.accounts, calls.c.state, calls.c.reserved, calls.c.cost)
            )
            answers = len((await connection.execute(select(calls.c.key).where(calls.c.answer.is_not(None)))).all())
            return Books(
                {row.id: (row.cap, row.spent, row.reserved) for row in account_rows},
                tuple(tuple(row) for row in call_rows),
                answers,
            )


async def reserved(process: Process, run: str, amount: int) -> Held | None:
    """Reserve as the gateway does: in the budget, then on every account; None when a cap has no room."""
    try:
        reservation = process.budget.reserve(amount)
    except BudgetExhausted:
        return None
    try:
        call = await process.ledger.reserve(
            charged=CHARGED[run],
            task_id="t",
            purpose=Purpose.GENERATE,
            provider="p",
            model="m",
            amount=amount,
            input_tokens=1,
            output_tokens=1,
        )
    except BudgetExhausted:
        process.budget.release(reservation)
        return None
    return Held(run, process, reservation, call)


class Money(RuleBasedStateMachine):
    """Three runs under shared caps, with calls that succeed, fail and get lost, and processes that die."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.world = self.runner.run(self._open())
        self.keys = 0

    async def _open(self) -> World:
        stack = AsyncExitStack()
        database = await stack.enter_async_context(Database.open(f"sqlite:///{self.folder / 'state.db'}"))
        world = World(self.folder, database, stack)
        for run in CHARGED:
            await world.claim(run)
        return world

    def alive(self, one: Held) -> bool:
        return self.world.processes[one.run] is one.process

    @rule(target=held, run=RUNS, amount=AMOUNTS)
    def a_call_is_reserved(self, run: str, amount: int) -> Any:
        before = self.runner.run(self.world.books())
        one = self.runner.run(reserved(self.world.processes[run], run, amount))
        if one is None:
            assert self.runner.run(self.world.books()) == before
            return multiple()
        return one

    @rule(target=held, wanted=st.lists(st.tuples(RUNS, AMOUNTS), min_size=2, max_size=8))
    def many_are_reserved_at_once(self, wanted: list[tuple[str, int]]) -> Any:
        async def together() -> list[Held | None]:
            return await asyncio.gather(*(reserved(self.world.processes[run], run, amount) for run, amount in wanted))

        return multiple(*(one for one in self.runner.run(together()) if one is not None))

    @rule(one=consumes(held), percent=st.integers(0, 100))
    def a_call_is_settled(self, one: Held, percent: int) -> None:
        cost = one.call.reserved * percent // 100
        self.keys += 1

        async def settle() -> None:
            await one.process.ledger.settle(
                one.call, cost=cost, input_tokens=1, output_tokens=1, key=f"key-{self.keys}", answer="{}"
            )
            one.process.budget.settle(one.reservation, cost)

        self._booked(one, settle())

    @rule(one=consumes(held))
    def a_call_fails_unbilled(self, one: Held) -> None:
        async def release() -> None:
            await one.process.ledger.release(one.call)
            one.process.budget.release(one.reservation)

        self._booked(one, release())

    @rule(one=consumes(held))
    def a_call_is_lost(self, one: Held) -> None:
        async def lose() -> None:
            await one.process.ledger.lose(one.call)
            one.process.budget.settle(one.reservation, one.call.reserved)

        self._booked(one, lose())

    def _booked(self, one: Held, booking: Any) -> None:
        if self.alive(one):
            self.runner.run(booking)
            return
        before = self.runner.run(self.world.books())
        with pytest.raises(RunLost):
            self.runner.run(booking)
        assert self.runner.run(self.world.books()) == before

    @rule(run=RUNS)
    def a_process_is_killed_and_another_one_takes_over(self, run: str) -> None:
        self.runner.run(self.world.claim(run))
        process = self.world.processes[run]
        assert process.budget.reserved == 0
        assert process.budget.spent == self.runner.run(self.world.books()).accounts[f"run:{run}"][1]

    @rule()
    def the_machine_dies_and_all_start_anew(self) -> None:
        async def reopened() -> World:
            await self.world.stack.aclose()
            world = await self._open()
            # What a process of before still wants to book arrives late, at the database as it is now.
            for process in self.world.ever:
                process.ledger = Ledger(world.database, process.run, process.fence)
            world.ever += self.world.ever
            return world

        self.world = self.runner.run(reopened())

    @rule(run=RUNS, amount=AMOUNTS)
    def a_stale_process_cannot_reserve(self, run: str, amount: int) -> None:
        stale = self.world.processes[run]
        self.runner.run(self.world.claim(run))
        before = self.runner.run(self.world.books())
        with pytest.raises(RunLost):
            self.runner.run(reserved(Process(run, stale.fence, stale.ledger, Budget(100.0)), run, amount))
        with pytest.raises(RunLost):
            self.runner.run(stale.ledger.open_accounts({f"run:{run}": 10**18}))
        with pytest.raises(RunLost):
            self.runner.run(stale.ledger.recover())
        assert self.runner.run(self.world.books()) == before

    @invariant()
    def every_cap_holds_and_the_accounts_are_the_sums_of_the_calls(self) -> None:
        books = self.runner.run(self.world.books())
        for account, (cap, spent, held) in books.accounts.items():
            mine = [row for row in books.calls if account in json.loads(row[2])]
            assert spent + held <= cap
            assert spent == sum(row[5] for row in mine)
            assert held == sum(row[4] for row in mine if row[3] == "reserved")
        for run, process in self.world.processes.items():
            _, spent, held = books.accounts[f"run:{run}"]
            assert (process.budget.spent, process.budget.reserved) == (spent, held)
        assert books.completions == sum(row[3] == "settled" for row in books.calls)

    def teardown(self) -> None:
        async def ended() -> Books:
            for run in CHARGED:
                await self.world.claim(run)
            books = await self.world.books()
            await self.world.stack.aclose()
            return books

        try:
            books = self.runner.run(ended())
            assert {reserved for _, _, reserved in books.accounts.values()} == {0}
            assert {row[3] for row in books.calls} <= {"settled", "lost", "released"}
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)


TestMoney = Money.TestCase
TestMoney.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
