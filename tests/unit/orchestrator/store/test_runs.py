"""Runs as rows: checkpoints come back as written, the fence keeps the lost out, the store stays small."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from orchestrator.codes import Code
from orchestrator.errors import RunLost, UsageError
from orchestrator.state import (
    ArchitectureDecision,
    EarlierAttempt,
    Evaluation,
    Finding,
    Forecast,
    Outcome,
    ProjectStatus,
    Purpose,
    Review,
    RouteChoice,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.store import Database, Ledger, RunStore
from orchestrator.store.schema import runs as rows
from orchestrator.store.schema import tasks

JOB: dict[str, Any] = {"description": "d", "criteria": "c", "budget": {"max_usd": 8.0, "max_time_seconds": 60.0}}
TASKS = (
    Task("a", "A", TaskType.CODE_GENERATION, "Write a.", files=("a.py",), critical=True),
    Task("b", "B", TaskType.WRITING, "Write b.", depends_on=("a",), files=("b.md",)),
)
EXCLUDED = tuple((f"model-{number}", "needs 40000 tokens, its context holds 32768") for number in range(18))
RESULT = TaskResult(
    "a",
    TaskStatus.COMPLETED,
    score=0.9,
    model="m",
    provider="p",
    attempts=2,
    cost_usd=0.01,
    input_tokens=5,
    output_tokens=6,
    review=Review("q", "n", 0.9, True, (Finding("a.py", 3, "long", Severity.NOTE),)),
    validation=(ValidationResult("ruff", ValidationStatus.PASSED, (), "clean"),),
    routes=(RouteChoice(Purpose.GENERATE, "m", "greedy", 0.01, "n", 0.02, EXCLUDED),),
)


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url, clock=lambda: 1000.0) as opened:
        yield opened


def files_in(folder: Path) -> list[os.stat_result]:
    return [path.stat() for path in folder.iterdir()]


async def claimed(database: Database, run_id: str = "r") -> tuple[RunStore, int]:
    runs = RunStore(database)
    await runs.create(run_id, title="T", job=JOB, source="", output_dir="out")
    return runs, await runs.claim(run_id)


async def test_a_run_is_created_once(database: Database) -> None:
    runs = RunStore(database)

    made = [await runs.create("r", title=title, job=JOB, source="", output_dir="") for title in ("first", "second")]

    assert made == [True, False]
    assert [row.title for row in await runs.list()] == ["first"]


async def test_what_is_checkpointed_comes_back(database: Database) -> None:
    runs, fence = await claimed(database)
    decision = ArchitectureDecision("layered", "one", "calls", "memory", "why")
    expected = Forecast(0.1, 0.2, {"a": (0.1, 0.2)}, {"a": "m"})
    failed = ValidationResult("pytest", ValidationStatus.FAILED, (Finding("t.py", 1, "no"),), "1 failed")
    await runs.save("r", fence, architecture=decision, status="running", app_type="library", notes=["n"])
    await runs.save_plan("r", fence, TASKS, expected)
    await runs.start_task("r", fence, "a")
    await runs.finish_task("r", fence, RESULT, {"a.py": b"a = 1\n", "old.py": None}, 12.5)
    await runs.save_validation("r", fence, (failed,))
    await runs.save("r", fence, evaluation=Evaluation(0.7, "good", "m"), outcome=Outcome("changed", "all"))

    state = await runs.state("r")

    assert state is not None
    assert (state.architecture, state.forecast, state.tasks) == (decision, expected, TASKS)
    assert state.results == {"a": RESULT}
    assert (state.validation, state.evaluation) == ((failed,), Evaluation(0.7, "good", "m"))
    assert (state.outcome, state.files, state.notes) == (Outcome("changed", "all"), ("a.py",), ("n",))
    assert (state.status, state.budget.elapsed_seconds) == (ProjectStatus.RUNNING, 12.5)
    assert await runs.changes("r") == {"a.py": b"a = 1\n", "old.py": None}


async def test_a_task_that_was_running_when_its_process_died_is_pending_again(database: Database) -> None:
    runs, fence = await claimed(database)
    await runs.save_plan("r", fence, TASKS, Forecast(0, 0, {}, {}))
    await runs.start_task("r", fence, "a")
    await runs.claim("r")

    state = await runs.state("r")

    assert state is not None
    assert state.results == {}


@pytest.mark.parametrize(
    ("status", "as_a_whole"),
    [
        (ProjectStatus.PARTIAL, 1),
        (ProjectStatus.FAILED, 1),
        (ProjectStatus.BUDGET_EXHAUSTED, 0),
        (ProjectStatus.RUNNING, 0),
    ],
)
async def test_an_explicit_resume_asks_failed_and_skipped_tasks_in_a_new_round(
    database: Database, status: ProjectStatus, as_a_whole: int
) -> None:
    runs, fence = await claimed(database)
    await runs.save("r", fence, status=status.value)
    await runs.save_plan("r", fence, TASKS, Forecast(0, 0, {}, {}))
    await runs.finish_task("r", fence, TaskResult("a", TaskStatus.FAILED), {}, 1.0)
    await runs.finish_task("r", fence, TaskResult("b", TaskStatus.SKIPPED), {}, 1.0)

    await runs.retry_tasks("r", fence)

    state = await runs.state("r")
    assert state is not None
    assert state.results == {}
    assert await runs.rounds("r") == ({"a": 1, "b": 1}, as_a_whole)


async def test_what_an_earlier_round_came_to_is_kept_with_the_result_of_the_next(database: Database) -> None:
    # given: a task that failed at its second attempt
    runs, fence = await claimed(database)
    await runs.save_plan("r", fence, TASKS, Forecast(0, 0, {}, {}))
    review = Review("anthropic", "m", 0.4, False, (Finding("a.py", 3, "wrong"),))
    first = EarlierAttempt(0, 1, "w", Code.CHECKS_FAILED)
    failed = TaskResult(
        "a", TaskStatus.FAILED, 0.4, "w", attempts=2, review=review, code=Code.REVIEW_REJECTED, earlier=(first,)
    )
    await runs.finish_task("r", fence, failed, {}, 1.0)
    # when: it is asked again, and while it is, and passes
    await runs.retry_tasks("r", fence)
    await runs.start_task("r", fence, "a")
    working = await runs.state("r")
    await runs.finish_task("r", fence, TaskResult("a", TaskStatus.COMPLETED, 0.9, "w", attempts=1), {}, 2.0)
    # then
    expected = (first, EarlierAttempt(0, 2, "w", Code.REVIEW_REJECTED, review))
    assert working is not None
    assert (working.results["a"].status, working.results["a"].earlier) == (TaskStatus.RUNNING, expected)
    state = await runs.state("r")
    assert state is not None
    assert state.results["a"] == TaskResult("a", TaskStatus.COMPLETED, 0.9, "w", attempts=1, earlier=expected)


async def test_a_row_of_an_older_version_is_read_as_ever(database: Database) -> None:
    runs, fence = await claimed(database)
    await runs.save_plan("r", fence, TASKS, Forecast(0, 0, {}, {}))
    old = '{"task_id":"a","status":"failed","review":{"provider":"p","model":"m","score":0.5,"approved":false,'
    old += '"findings":[{"path":"a.py","line":1,"message":"x","severity":"error"}],"same_provider":false}}'
    async with database.transaction() as connection:
        await connection.execute(update(tasks).where(tasks.c.id == "a").values(status="failed", result=old))
        await connection.execute(update(rows).values(outcome='{"code":"incomplete","reason":"old"}'))

    state = await runs.state("r")

    assert state is not None
    assert state.outcome == Outcome("incomplete", "old")
    assert state.results["a"].review is not None
    assert state.results["a"].review.coded == (Finding("a.py", 1, "x", code=Code.REVIEW_ERROR),)


async def test_a_process_that_lost_the_run_changes_nothing(database: Database) -> None:
    runs, old = await claimed(database)
    await runs.save_plan("r", old, TASKS, Forecast(0, 0, {}, {}))
    await runs.claim("r")
    before = await runs.state("r")

    for write in (
        runs.save("r", old, status="failed"),
        runs.save_plan("r", old, (), Forecast(0, 0, {}, {})),
        runs.start_task("r", old, "a"),
        runs.finish_task("r", old, RESULT, {"a.py": b"x"}, 1.0),
        runs.retry_tasks("r", old),
        runs.save_validation("r", old, ()),
        runs.add_files("r", old, {"x": b"x"}),
        runs.replace_job("r", old, {}),
    ):
        with pytest.raises(RunLost, match="Another process has taken over run r"):
            await write

    assert await runs.state("r") == before


async def test_a_write_that_began_is_made_although_its_caller_is_cancelled(database: Database) -> None:
    runs, fence = await claimed(database)
    outcomes = []
    for turn in range(25):
        writing = asyncio.create_task(runs.save("r", fence, app_type=f"kind-{turn}"))
        for _ in range(turn):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        state = await runs.state("r")
        assert state is not None
        outcomes.append((turn == 0, state.app_type == f"kind-{turn}"))

    # Cancelled before its first turn it never began; from then on it always arrives.
    assert outcomes == [(True, False)] + [(False, True)] * 24


async def test_the_state_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = os.umask(0)
    try:
        async with Database.open(f"sqlite:///{path}") as opened:
            await claimed(opened)
            modes = {stat.S_IMODE(one.st_mode) for one in files_in(tmp_path)}
    finally:
        os.umask(old)

    assert modes == {0o600}


@pytest.mark.parametrize("url", ["mysql://x/y", "no url"])
async def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="ORCHESTRATOR_DATABASE_URL"):
        async with Database.open(url):
            pass


@pytest.mark.parametrize("count", [80, pytest.param(800, marks=pytest.mark.slow)])
async def test_800_tasks_with_two_kilobytes_each_stay_under_ten_megabytes(tmp_path: Path, count: int) -> None:
    plan = tuple(
        Task(f"task-{number}", "Write a part", TaskType.CODE_GENERATION, "d" * 300, files=(f"p/part_{number}.py",))
        for number in range(count)
    )
    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}") as opened:
        runs, fence = await claimed(opened)
        ledger = Ledger(opened, "r", fence)
        await ledger.open_accounts({"run:r": 10**13})
        await runs.save_plan("r", fence, plan, Forecast(0, 0, {one.id: (0.1, 0.2) for one in plan}, {}))
        for one in plan:
            await runs.start_task("r", fence, one.id)
            for purpose, answer in ((Purpose.GENERATE, "x" * 2_000), (Purpose.REVIEW, "y" * 100)):
                call = await ledger.reserve(
                    charged=("run:r",),
                    task_id=one.id,
                    purpose=purpose,
                    provider="p",
                    model="m",
                    amount=10,
                    input_tokens=1,
                    output_tokens=1,
                )
                key = f"{one.id}:{purpose}".ljust(64, "0")
                await ledger.settle(call, cost=5, input_tokens=1, output_tokens=1, key=key, answer=answer)
            changes: dict[str, bytes | None] = {one.files[0]: b"x" * 2_000}
            result = TaskResult(one.id, TaskStatus.COMPLETED, 0.9, routes=RESULT.routes * 2)
            await runs.finish_task("r", fence, result, changes, 1.0)

    size = sum(one.st_size for one in files_in(tmp_path))
    assert size < 10 * 1024 * 1024 * count / 800
