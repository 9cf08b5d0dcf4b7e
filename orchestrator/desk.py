"""A run on the desk: created or claimed, with its accounts opened, and what its stages share laid out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.artifacts import PROTECTED_IN_NEW_FOLDER, PROTECTED_PATHS
from orchestrator.budget import Budget, to_pico
from orchestrator.catalog import ModelProfile
from orchestrator.events import EventType, ProjectEventBus
from orchestrator.gateway import Gateway, Persistence
from orchestrator.optimization import OptimizationBackend
from orchestrator.policy import resolutions
from orchestrator.routing import Router
from orchestrator.run import Run
from orchestrator.runtime import Runtime
from orchestrator.slots import Slots
from orchestrator.specs import JobSpec, to_json
from orchestrator.state import ProjectState, ProjectStatus, Purpose
from orchestrator.store import Ledger
from orchestrator.strategy import backend_for
from orchestrator.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Source:
    """An existing repository that a run builds on: the files of its base commit, its name, and what stays untouched."""

    root: Path
    name: str
    protected_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """One run as it is handed to the engine; `foreign` are the user's own files in `output_dir`.

    `backend` ranks the models instead of the one that the job's routing section names.
    """

    run_id: str
    job: JobSpec
    app_type: str
    source: Source | None = None
    output_dir: str = ""
    foreign: frozenset[str] = frozenset()
    concurrency: int = 3
    plan_only: bool = False
    retry_failed: bool = False
    backend: OptimizationBackend | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """One claimed run: its fence, the state it was found in, lost calls, and the clock of this process.

    `started` is monotonic, `before` are the seconds that other processes spent on it.
    """

    run: Run
    fence: int
    state: ProjectState
    lost: int
    started: float
    before: float

    def elapsed(self) -> float:
        """Seconds spent on the run, in this process and those before it."""
        return self.before + time.monotonic() - self.started

    def seconds_left(self) -> float:
        """Seconds until the run's time limit."""
        return max(0.0, self.run.gateway.budget.max_time_seconds - self.elapsed())

    def policy_notes(self) -> tuple[str, ...]:
        """What the report says of policies: the models that family names stand for, and what was not as preferred."""
        router = self.run.router
        return (*resolutions(router.policies, router.catalog), *self.run.violations, *self.run.gateway.overruns)


async def open_desk(runtime: Runtime, persistence: Persistence, submission: Submission, bus: ProjectEventBus) -> Desk:
    """Create or claim the run, take over what it spent, and lay out what its stages share."""
    job, run_id, runs = submission.job, submission.run_id, runtime.runs
    source = submission.source.name if submission.source else ""
    created = await runs.create(
        run_id, title=job.title, job=to_json(job), source=source, output_dir=submission.output_dir
    )
    fence = await runs.claim(run_id)
    if not created:
        await runs.replace_job(run_id, fence, to_json(job))
        if submission.retry_failed:
            await runs.retry_tasks(run_id, fence)
    await runs.save(run_id, fence, app_type=submission.app_type, status=ProjectStatus.PLANNING.value)
    ledger = Ledger(runtime.database, run_id, fence)
    caps = _caps(runtime, job, run_id)
    await ledger.open_accounts(caps)
    lost = await ledger.recover()
    state = await runs.state(run_id)
    if state is None:
        raise AssertionError(f"run {run_id} was claimed and must exist")
    budget = Budget(job.budget.max_usd, job.budget.max_time_seconds)
    budget.carry(await ledger.spent(), state.budget.elapsed_seconds)
    protected: tuple[str, ...] = PROTECTED_IN_NEW_FOLDER
    if submission.source:
        protected = (*PROTECTED_PATHS, *submission.source.protected_paths)
    run = Run(
        id=run_id,
        job=job,
        app_type=submission.app_type,
        nonce=await runs.nonce(run_id),
        router=Router(
            runtime.catalog,
            frozenset(runtime.providers),
            job.policies,
            submission.backend or backend_for(job.routing),
        ),
        gateway=Gateway(
            providers=runtime.providers,
            budget=budget,
            ledger=ledger,
            charged=tuple(caps),
            slots=Slots(submission.concurrency),
            persistence=persistence,
            pace=runtime.pace,
            calls_per_minute=job.policies.rate_limit,
            advised_rates=job.policies.advised_rates,
        ),
        workspace=Workspace(submission.source.root if submission.source else None, await runs.changes(run_id)),
        bus=bus,
        protected=protected,
        foreign=submission.foreign,
    )
    run.gateway.on_settled = _spend_teller(run)
    return Desk(run, fence, state, lost, started=time.monotonic(), before=budget.elapsed_seconds)


def _caps(runtime: Runtime, job: JobSpec, run_id: str) -> dict[str, int]:
    """Return the accounts that pay for a run and their caps in picodollars."""
    budgets = runtime.operator.budgets
    caps = {f"run:{run_id}": to_pico(job.budget.max_usd)}
    if budgets.org is not None:
        caps["org"] = to_pico(budgets.org)
    team, name = job.budget.team, job.budget.job
    if team is not None and team in budgets.teams:
        caps[f"team:{team}"] = to_pico(budgets.teams[team])
    if name is not None and name in budgets.jobs:
        caps[f"job:{name}"] = to_pico(budgets.jobs[name])
    return caps


def _spend_teller(run: Run) -> Callable[[str, Purpose, ModelProfile, float], Awaitable[None]]:
    async def tell(task_id: str, purpose: Purpose, model: ModelProfile, cost_usd: float) -> None:
        run.tell(
            EventType.CALL_SETTLED,
            task_id=task_id,
            purpose=purpose.value,
            model=model.id,
            cost_usd=cost_usd,
            spent_usd=run.gateway.budget.spent_usd,
        )

    return tell
