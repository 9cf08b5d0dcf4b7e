"""Budgets above runs hold across runs and processes: a run fits, or is refused before it spends anything."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from orchestrator import Budget, BudgetHierarchy, Orchestrator, ProjectStatus
from orchestrator.errors import BudgetHierarchyExceeded, UsageError
from orchestrator.providers.base import Completion, CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose
from orchestrator.store import Database, HoldStore, Ledger, LedgerCall, RunStore
from orchestrator.store.schema import accounts
from tests.unit.orchestrator.models import Models

PICO = 10**12
HIERARCHY = BudgetHierarchy(org_max_usd=20.0, team_budgets={"eng": 12.0}, job_budgets={"job_001": 9.0})


def orchestrator(
    models: Models,
    home: Path,
    *,
    usd: float = 8.0,
    hierarchy: BudgetHierarchy | None = HIERARCHY,
    team: str | None = None,
    job: str | None = None,
) -> Orchestrator:
    return Orchestrator(
        Budget(usd),
        budget_hierarchy=hierarchy,
        team=team,
        job=job,
        env={"ORCHESTRATOR_HOME": str(home)},
        providers={name: ScriptedProvider(models.answer) for name in models.names},
    )


def spent_by_account(home: Path) -> dict[str, int]:
    connection = sqlite3.connect(home / "state.db")
    rows = connection.execute("SELECT id, spent FROM accounts WHERE reserved = 0").fetchall()
    connection.close()
    return dict(rows)


async def test_a_run_is_charged_to_every_budget_above_it_and_gives_back_what_it_did_not_spend(tmp_path: Path) -> None:
    # when: two runs of one job, each with a cap that takes most of its budget
    states = [
        await orchestrator(Models(), tmp_path, team="eng", job="job_001").run_project("Notes", project_id=name)
        for name in ("one", "two")
    ]
    # then
    assert [state.status for state in states] == [ProjectStatus.COMPLETED] * 2
    spent = spent_by_account(tmp_path)
    both = spent["run:one"] + spent["run:two"]
    assert both > 0
    assert {name: spent[name] for name in ("org", "team:eng", "job:job_001")} == {
        "org": both,
        "team:eng": both,
        "job:job_001": both,
    }


@pytest.mark.parametrize(
    ("usd", "team", "job", "account"),
    [(21.0, None, None, "org"), (13.0, "eng", None, "team:eng"), (10.0, "eng", "job_001", "job:job_001")],
)
async def test_a_run_that_exceeds_any_budget_above_it_is_a_value_error_before_anything_is_spent(
    tmp_path: Path, usd: float, team: str | None, job: str | None, account: str
) -> None:
    models = Models()
    with pytest.raises(ValueError, match=f"the budget of {account} has") as caught:
        await orchestrator(models, tmp_path, usd=usd, team=team, job=job).run_project("Notes", project_id="one")
    assert isinstance(caught.value, BudgetHierarchyExceeded)
    assert models.asked == []
    async with models.plane(tmp_path) as plane:
        assert await plane.list() == ()


async def test_what_earlier_runs_spent_counts(tmp_path: Path) -> None:
    # given
    state = await orchestrator(Models(), tmp_path).run_project("Notes", project_id="one")
    assert 0 < state.budget.spent_usd < 0.5
    # then
    with pytest.raises(BudgetHierarchyExceeded):
        await orchestrator(Models(), tmp_path, usd=20.0).run_project("Notes", project_id="two")
    again = await orchestrator(Models(), tmp_path, usd=19.5).run_project("Notes", project_id="three")
    assert again.status is ProjectStatus.COMPLETED


async def test_a_run_under_way_keeps_what_it_was_admitted_with(tmp_path: Path) -> None:
    # given: a run that thinks until the other one was refused
    reached, over = asyncio.Event(), asyncio.Event()

    class Waiting(ScriptedProvider):
        async def complete(self, request: CompletionRequest) -> Completion:
            reached.set()
            await over.wait()
            return await super().complete(request)

    first, second = Models(), Models()
    slow = Orchestrator(
        Budget(12.0),
        budget_hierarchy=HIERARCHY,
        env={"ORCHESTRATOR_HOME": str(tmp_path)},
        providers={name: Waiting(first.answer) for name in first.names},
    )
    # when
    async with asyncio.TaskGroup() as group:
        running = group.create_task(slow.run_project("Notes", project_id="one"))
        await reached.wait()
        with pytest.raises(BudgetHierarchyExceeded, match=r"\$8\.00 of \$20\.00 left, besides \$1[12]\.\d\d promised"):
            await orchestrator(second, tmp_path, usd=9.0).run_project("Notes", project_id="two")
        over.set()
    # then
    assert running.result().status is ProjectStatus.COMPLETED
    assert second.asked == []


def test_a_team_that_the_hierarchy_does_not_know_is_an_error_from_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'eng'"):
        orchestrator(Models(), tmp_path, team="egn")


async def test_under_the_operators_budgets_a_run_gets_what_is_left_and_ends_exhausted(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("budgets: {org: 0.000001, teams: {eng: 5.0}}\n")
    models = Models()
    # a team that the operator gave no budget is no error
    state = await orchestrator(models, tmp_path, hierarchy=None, team="sales").run_project("Notes", project_id="one")
    assert state.status is ProjectStatus.BUDGET_EXHAUSTED
    assert "the budget of org" in state.outcome.reason
    assert models.asked == []


async def test_of_the_operators_and_the_submitters_budget_the_lower_one_holds(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("budgets: {org: 5.0}\n")
    with pytest.raises(BudgetHierarchyExceeded, match=r"\$5\.00 of \$5\.00 left"):
        await orchestrator(Models(), tmp_path).run_project("Notes")


async def test_the_budget_that_was_given_stays_as_it_is_and_the_state_has_its_own(tmp_path: Path) -> None:
    budget = Budget(max_usd=3.0)
    models = Models()
    one = Orchestrator(
        budget,
        env={"ORCHESTRATOR_HOME": str(tmp_path)},
        providers={name: ScriptedProvider(models.answer) for name in models.names},
    )
    states = [await one.run_project("Notes") for _ in range(2)]
    assert budget == Budget(max_usd=3.0)
    assert [state.budget.max_usd for state in states] == [3.0, 3.0]
    assert all(0 < state.budget.spent_usd == pytest.approx(sum(c.cost_usd for c in state.calls)) for state in states)


ASKING = """
import asyncio, sys
from orchestrator.errors import BudgetHierarchyExceeded
from orchestrator.store import Database, HoldStore

async def main(path, run):
    async with Database.open("sqlite:///" + path) as database:
        try:
            await HoldStore(database).admit(run, caps={"org": 10 * 10**12}, amount=3 * 10**12, seconds=3600)
        except BudgetHierarchyExceeded:
            print("refused")
        else:
            print("admitted")

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_of_processes_that_ask_at_once_as_many_are_admitted_as_there_is_room_for(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, str(tmp_path / "state.db"), f"run-{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(5)
    ]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [err for _, err in ends] == [""] * 5
    assert sorted(out.strip() for out, _ in ends) == ["admitted"] * 3 + ["refused"] * 2


TEAMS = {"a": "team:eng", "b": "team:eng", "c": "team:research"}
CAPS = {"org": 10 * PICO, "team:eng": 7 * PICO, "team:research": 5 * PICO}
NAMES = st.sampled_from(sorted(TEAMS))


@dataclass(slots=True)
class Admitted:
    """A run under way: its ledger, its fence, its cap, and the calls in flight."""

    ledger: Ledger
    fence: int
    cap: int
    calls: list[LedgerCall]


class Admissions(RuleBasedStateMachine):
    """Runs that come, spend and go under shared budgets: every cap holds, and what was promised can be spent."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="holds-"))
        self.stack = AsyncExitStack()
        opening = self.stack.enter_async_context(Database.open(f"sqlite:///{self.folder / 'state.db'}"))
        self.database = self.runner.run(opening)
        self.living: dict[str, Admitted] = {}
        self.keys = 0

    def caps(self, name: str) -> dict[str, int]:
        return {account: CAPS[account] for account in ("org", TEAMS[name])}

    @rule(name=NAMES, usd=st.integers(0, 8))
    def a_run_comes_or_comes_again(self, name: str, usd: int) -> None:
        async def begin() -> Admitted | None:
            try:
                await HoldStore(self.database).admit(name, caps=self.caps(name), amount=usd * PICO, seconds=3600)
            except BudgetHierarchyExceeded:
                return None
            runs = RunStore(self.database)
            await runs.create(name, title=name, job={}, source="", output_dir="")
            fence = await runs.claim(name)
            ledger = Ledger(self.database, name, fence)
            await ledger.open_accounts({f"run:{name}": usd * PICO})
            await ledger.recover()
            return Admitted(ledger, fence, usd * PICO, [])

        if admitted := self.runner.run(begin()):
            self.living[name] = admitted

    @rule(name=NAMES, percent=st.integers(0, 100))
    def an_admitted_run_can_always_spend_what_is_left_of_its_cap(self, name: str, percent: int) -> None:
        if (run := self.living.get(name)) is None:
            return
        charged = (f"run:{name}", *self.caps(name))

        async def reserve() -> None:
            left = (await run.ledger.room(charged))[f"run:{name}"].left
            if left < 0:
                return  # it came again with a smaller cap than it had spent
            run.calls.append(
                await run.ledger.reserve(
                    charged=charged,
                    task_id="t",
                    purpose=Purpose.GENERATE,
                    provider="p",
                    model="m",
                    amount=left * percent // 100,
                    input_tokens=1,
                    output_tokens=1,
                )
            )

        self.runner.run(reserve())

    @rule(name=NAMES, percent=st.integers(0, 100))
    def a_call_is_settled(self, name: str, percent: int) -> None:
        if (run := self.living.get(name)) is None or not run.calls:
            return
        call = run.calls.pop()
        self.keys += 1
        settling = run.ledger.settle(
            call, cost=call.reserved * percent // 100, input_tokens=1, output_tokens=1, key=str(self.keys), answer="{}"
        )
        self.runner.run(settling)

    @rule(name=NAMES)
    def a_run_ends(self, name: str) -> None:
        if (run := self.living.get(name)) is None or run.calls:
            return
        self.runner.run(HoldStore(self.database).release(name, run.fence))
        del self.living[name]

    @invariant()
    def no_budget_is_passed(self) -> None:
        async def read() -> list[tuple[str, int, int, int]]:
            async with self.database.reading() as connection:
                return [
                    (row.id, row.cap, row.spent, row.reserved) for row in await connection.execute(select(accounts))
                ]

        for account, cap, spent, reserved in self.runner.run(read()):
            assert account.startswith("run:") or spent + reserved <= cap == CAPS[account]

    def teardown(self) -> None:
        try:
            self.runner.run(self.stack.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)


TestAdmissions = Admissions.TestCase
TestAdmissions.settings = settings(
    max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
