"""Runs as rows: created once, claimed by one process at a time, checkpointed piece by piece, read back as state.

Each checkpoint writes only what is new: a plan is a row per task, a finished task updates its row and adds its files,
so that the store grows with the work and not with the number of checkpoints.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.budget import Budget, to_pico
from orchestrator.state import (
    REPAIR_PREFIX,
    ArchitectureDecision,
    EarlierAttempt,
    Evaluation,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Task,
    TaskResult,
    TaskStatus,
    ValidationResult,
)
from orchestrator.store.columns import columns_of, dump, load, must
from orchestrator.store.database import Database
from orchestrator.store.ledger import billed_calls
from orchestrator.store.schema import artifacts, calls, runs, tasks, validations
from orchestrator.store.uninterrupted import uninterrupted

# Built once: building a statement costs as much as running it.
_TASK = update(tasks).where(tasks.c.run_id == bindparam("of_run"), tasks.c.id == bindparam("task_id"))


_FELL_SHORT = (ProjectStatus.PARTIAL, ProjectStatus.FAILED, ProjectStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of the list of runs; `spent_usd` in USD, times in seconds since the epoch."""

    id: str
    title: str
    status: ProjectStatus
    score: float
    spent_usd: float
    created_at: float
    updated_at: float


@uninterrupted
class RunStore:
    """All runs; what changes one goes through the fence that `claim` returned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, run_id: str, *, title: str, job: Mapping[str, Any], source: str, output_dir: str) -> bool:
        """Add a queued run; returns False, and changes nothing, when the id exists."""
        now = self._database.clock()
        async with self._database.transaction() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            fresh = await connection.execute(
                dialect.insert(runs)
                .values(
                    id=run_id,
                    title=title,
                    status=ProjectStatus.QUEUED.value,
                    job=json.dumps(job),
                    app_type="",
                    nonce=secrets.token_hex(16),
                    fence=0,
                    resumes=0,
                    sandbox="",
                    notes="[]",
                    source=source,
                    output_dir=output_dir,
                    elapsed_seconds=0.0,
                    created_at=now,
                    updated_at=now,
                )
                .on_conflict_do_nothing()
                .returning(runs.c.id)
            )
            return fresh.first() is not None

    async def claim(self, run_id: str) -> int:
        """Take the run over and return the fencing number that its writes must carry from now on.

        Tasks that a dead process left running are pending again.
        """
        async with self._database.transaction() as connection:
            fence = (
                await connection.execute(
                    update(runs)
                    .where(runs.c.id == run_id)
                    .values(fence=runs.c.fence + 1, updated_at=self._database.clock())
                    .returning(runs.c.fence)
                )
            ).scalar_one()
            await _put_back(connection, run_id)
            return int(fence)

    async def job(self, run_id: str) -> dict[str, Any] | None:
        """Return the job as it was stored, or None when the run is not known."""
        row = await self._row(run_id)
        return None if row is None else dict(json.loads(row.job))

    async def knows(self, run_id: str) -> bool:
        """Tell whether a run exists that is not forgotten."""
        return await self._row(run_id) is not None

    async def output_dir(self, run_id: str) -> str | None:
        """Return the folder the run delivers to, or None when the run is not known."""
        row = await self._row(run_id)
        return None if row is None else str(row.output_dir)

    async def source(self, run_id: str) -> str:
        """Return the repository the run is about; empty where it has none or is not known."""
        row = await self._row(run_id)
        return "" if row is None else str(row.source)

    async def nonce(self, run_id: str) -> str:
        """Return the run's random word, which fences untrusted text in its prompts."""
        row = await self._row(run_id)
        if row is None:
            raise LookupError(run_id)
        return str(row.nonce)

    async def replace_job(self, run_id: str, fence: int, job: Mapping[str, Any]) -> None:
        """Store the job with what a resume changed: its caps."""
        await self.save(run_id, fence, job=json.dumps(job))

    async def save(self, run_id: str, fence: int, **columns: Any) -> None:
        """Checkpoint columns of the run; values that are not plain are stored as JSON."""
        async with self._database.fenced(run_id, fence, columns=columns_of(columns)):
            pass

    async def conclude(self, run_id: str, fence: int, **columns: Any) -> None:
        """Checkpoint how the run ended; tasks that were stopped in the middle are pending again, for a resume."""
        async with self._database.fenced(run_id, fence, columns=columns_of(columns)) as connection:
            await _put_back(connection, run_id)

    async def save_plan(self, run_id: str, fence: int, plan: Sequence[Task], forecast: Forecast) -> None:
        """Checkpoint the plan: a row per task."""
        async with self._database.fenced(run_id, fence, columns={"forecast": dump(forecast)}) as connection:
            await connection.execute(delete(tasks).where(tasks.c.run_id == run_id))
            await connection.execute(
                insert(tasks),
                [
                    {
                        "run_id": run_id,
                        "id": task.id,
                        "ordinal": ordinal,
                        "definition": dump(task),
                        "status": TaskStatus.PENDING.value,
                        "round": 0,
                        "result": None,
                    }
                    for ordinal, task in enumerate(plan)
                ],
            )

    async def forget_plan(self, run_id: str, fence: int) -> None:
        """Forget architecture, plan and files, so that the run plans anew in a new round; what it spent stays."""
        nothing = {"architecture": None, "forecast": None, "evaluation": None}
        async with self._database.fenced(run_id, fence, columns=nothing) as connection:
            await connection.execute(update(runs).where(runs.c.id == run_id).values(resumes=runs.c.resumes + 1))
            for table in (tasks, artifacts, validations):
                await connection.execute(delete(table).where(table.c.run_id == run_id))

    async def start_task(self, run_id: str, fence: int, task_id: str) -> None:
        """Checkpoint that a task is being worked on."""
        async with self._database.fenced(run_id, fence) as connection:
            await connection.execute(_TASK, {"of_run": run_id, "task_id": task_id, "status": TaskStatus.RUNNING.value})

    async def finish_task(
        self,
        run_id: str,
        fence: int,
        result: TaskResult,
        changes: Mapping[str, bytes | None],
        elapsed: float,
        *,
        added: Task | None = None,
    ) -> None:
        """Checkpoint how a task ended together with its files and the run's seconds so far.

        `added` is a task that was not in the plan: a repair.
        """
        async with self._database.fenced(run_id, fence, columns={"elapsed_seconds": elapsed}) as connection:
            if added is not None:
                last = select(func.max(tasks.c.ordinal)).where(tasks.c.run_id == run_id).scalar_subquery()
                await connection.execute(
                    insert(tasks).values(
                        run_id=run_id, id=added.id, ordinal=last + 1, definition=dump(added), status="", round=0
                    )
                )
            mine = (tasks.c.run_id == run_id, tasks.c.id == result.task_id)
            before = (await connection.execute(select(tasks.c.result, tasks.c.round).where(*mine))).one_or_none()
            result = _after(before.result, before.round, result) if before else result
            ended = {"status": result.status.value, "result": dump(result)}
            await connection.execute(_TASK, {"of_run": run_id, "task_id": result.task_id, **ended})
            await _write_artifacts(connection, run_id, result.task_id, changes)

    async def retry_tasks(self, run_id: str, fence: int) -> None:
        """Make every task that failed or was skipped pending again, in a new round, for a resume.

        What their rejected attempts wrote is forgotten, and so is what the result was judged at: it will be another.

        Only a run that ended short of its job begins a new round as a whole. One that was cut off, by a signal, its
        money or its time, goes on in its old one, where the answers it has paid for are found again.
        """
        short = (
            tasks.c.run_id == run_id,
            tasks.c.status.in_((TaskStatus.FAILED.value, TaskStatus.SKIPPED.value)),
        )
        async with self._database.fenced(run_id, fence, columns={"evaluation": None}) as connection:
            await connection.execute(
                delete(artifacts).where(
                    artifacts.c.run_id == run_id, artifacts.c.task_id.in_(select(tasks.c.id).where(*short))
                )
            )
            await connection.execute(
                update(tasks).where(*short).values(status=TaskStatus.PENDING.value, round=tasks.c.round + 1)
            )
            await connection.execute(
                delete(tasks).where(
                    tasks.c.run_id == run_id,
                    tasks.c.id.startswith(REPAIR_PREFIX),
                    tasks.c.status == TaskStatus.PENDING.value,
                )
            )
            await connection.execute(
                update(runs)
                .where(runs.c.id == run_id, runs.c.status.in_([status.value for status in _FELL_SHORT]))
                .values(resumes=runs.c.resumes + 1)
            )

    async def rounds(self, run_id: str) -> tuple[dict[str, int], int]:
        """Return how often each task was asked anew by an explicit resume, and how often the run as a whole was."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(tasks.c.id, tasks.c.round).where(tasks.c.run_id == run_id))
            resumes = await connection.execute(select(runs.c.resumes).where(runs.c.id == run_id))
            return {row.id: row.round for row in rows}, int(resumes.scalar_one())

    async def save_validation(
        self,
        run_id: str,
        fence: int,
        results: Sequence[ValidationResult],
    ) -> None:
        """Checkpoint the final validation."""
        async with self._database.fenced(run_id, fence) as connection:
            await connection.execute(delete(validations).where(validations.c.run_id == run_id))
            if results:
                await connection.execute(
                    insert(validations),
                    [
                        {"run_id": run_id, "ordinal": ordinal, "result": dump(result)}
                        for ordinal, result in enumerate(results)
                    ],
                )

    async def add_files(self, run_id: str, fence: int, changes: Mapping[str, bytes | None]) -> None:
        """Checkpoint files that no task wrote: the record of the architecture."""
        async with self._database.fenced(run_id, fence) as connection:
            await _write_artifacts(connection, run_id, "", changes)

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        """Return every file the run wrote so far: path to content, None for a deletion."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(artifacts.c.path, artifacts.c.content)
                .where(artifacts.c.run_id == run_id)
                .order_by(artifacts.c.path)
            )
            return {row.path: row.content for row in rows}

    async def writers(self, run_id: str) -> dict[str, str]:
        """Return which task wrote each file so far: path to task id, an empty one for the run's own records."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(artifacts.c.path, artifacts.c.task_id).where(artifacts.c.run_id == run_id)
            )
            return {row.path: row.task_id for row in rows}

    async def state(self, run_id: str) -> ProjectState | None:
        """Read the whole run back, or None when it is not known."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(runs).where(runs.c.id == run_id))).one_or_none()
            if row is None:
                return None
            task_rows = (
                await connection.execute(select(tasks).where(tasks.c.run_id == run_id).order_by(tasks.c.ordinal))
            ).all()
            validation_rows = (
                await connection.execute(
                    select(validations).where(validations.c.run_id == run_id).order_by(validations.c.ordinal)
                )
            ).all()
            billed = await billed_calls(connection, run_id)
            written = await connection.execute(
                select(artifacts.c.path)
                .where(artifacts.c.run_id == run_id, artifacts.c.content.is_not(None))
                .order_by(artifacts.c.path)
            )
            job = json.loads(row.job)
            budget = Budget(job["budget"]["max_usd"], job["budget"]["max_time_seconds"])
            budget.carry(sum(to_pico(call.cost_usd) for call in billed), row.elapsed_seconds)
            return ProjectState(
                project_id=row.id,
                title=row.title,
                description=job["description"],
                criteria=job["criteria"],
                budget=budget,
                status=ProjectStatus(row.status),
                app_type=row.app_type,
                architecture=load(ArchitectureDecision, row.architecture),
                tasks=tuple(must(Task, task.definition) for task in task_rows),
                results={task.id: _result(task) for task in task_rows if task.status != TaskStatus.PENDING.value},
                calls=billed,
                validation=tuple(must(ValidationResult, one.result) for one in validation_rows),
                evaluation=load(Evaluation, row.evaluation),
                forecast=load(Forecast, row.forecast),
                outcome=load(Outcome, row.outcome) or Outcome("", ""),
                files=tuple(written.scalars()),
                sandbox=row.sandbox,
                offline=any(call.provider == "offline" for call in billed),
                notes=tuple(json.loads(row.notes)),
                created_at=row.created_at,
            )

    async def begun_within(self, owner: str, seconds: float) -> int:
        """Return how many runs of a repository, or of all repositories of an account, began in the last `seconds`."""
        source, name = func.lower(runs.c.source), owner.lower()
        theirs = source == name if "/" in name else source.startswith(f"{name}/", autoescape=True)
        now = self._database.clock()
        # What is noted for much later comes of a clock that was wrong, and would count for as long as it was ahead.
        since = runs.c.created_at.between(now - seconds, now + seconds)
        async with self._database.reading() as connection:
            count = await connection.execute(select(func.count()).select_from(runs).where(theirs, since))
            return int(count.scalar_one())

    async def forget_answers(self, account: str) -> None:
        """Remove the models' answers that runs in an account's repositories keep for a replay; what they cost stays."""
        theirs = select(runs.c.id).where(func.lower(runs.c.source).startswith(f"{account.lower()}/", autoescape=True))
        async with self._database.transaction() as connection:
            await connection.execute(update(calls).where(calls.c.run_id.in_(theirs)).values(key=None, answer=None))

    async def list(self, limit: int = 1000) -> tuple[RunRow, ...]:
        """Return the newest runs, at most `limit`."""
        async with self._database.reading() as connection:
            found = (
                await connection.execute(select(runs).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit))
            ).all()
            spent: dict[str, int] = {}
            for call in await connection.execute(
                select(calls.c.run_id, calls.c.cost).where(calls.c.run_id.in_([row.id for row in found]))
            ):
                spent[call.run_id] = spent.get(call.run_id, 0) + call.cost
            return tuple(_run_row(row, spent.get(row.id, 0)) for row in found)

    async def totals(self) -> tuple[dict[ProjectStatus, int], float]:
        """Return how many runs have each status, and what all of them spent in USD."""
        async with self._database.reading() as connection:
            counted = await connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status))
            by_status = {ProjectStatus(status): count for status, count in counted}
            spent = (await connection.execute(select(func.sum(calls.c.cost)))).scalar_one() or 0
            return by_status, int(spent) / 10**12

    async def _row(self, run_id: str) -> Row[Any] | None:
        async with self._database.reading() as connection:
            return (await connection.execute(select(runs).where(runs.c.id == run_id))).one_or_none()


async def _put_back(connection: AsyncConnection, run_id: str) -> None:
    """Make the tasks pending that nobody works on any more."""
    await connection.execute(
        update(tasks)
        .where(tasks.c.run_id == run_id, tasks.c.status == TaskStatus.RUNNING.value)
        .values(status=TaskStatus.PENDING.value)
    )


async def _write_artifacts(
    connection: AsyncConnection, run_id: str, task_id: str, changes: Mapping[str, bytes | None]
) -> None:
    if not changes:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(artifacts)
    fresh = {"task_id": statement.excluded.task_id, "content": statement.excluded.content}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[artifacts.c.run_id, artifacts.c.path], set_=fresh),
        [{"run_id": run_id, "path": path, "task_id": task_id, "content": content} for path, content in changes.items()],
    )


def _run_row(row: Row[Any], spent: int) -> RunRow:
    evaluation = load(Evaluation, row.evaluation)
    return RunRow(
        id=row.id,
        title=row.title,
        status=ProjectStatus(row.status),
        score=evaluation.score if evaluation else 0.0,
        spent_usd=spent / 10**12,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _result(row: Row[Any]) -> TaskResult:
    """Return a task's result; one that is being worked on anew keeps what its earlier rounds came to."""
    result, status = load(TaskResult, row.result), TaskStatus(row.status)
    return result if result and result.status is status else _after(row.result, row.round, TaskResult(row.id, status))


def _after(before: str | None, round_: int, result: TaskResult) -> TaskResult:
    """Return a task's result in a round with the attempts before it, given what the row held of the last round."""
    was = load(TaskResult, before)
    if was is None or was.code is None or not was.attempts:
        return result
    last = EarlierAttempt(round_ - 1, was.attempts, was.model, was.code, was.review, was.evaluation, was.validation)
    return replace(result, earlier=(*was.earlier, last, *result.earlier))
