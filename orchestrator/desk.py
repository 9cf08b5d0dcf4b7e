"""A run on the desk: created or claimed, with its accounts opened, and what its stages share laid out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from orchestrator.artifacts import PROTECTED_IN_NEW_FOLDER, Protection
from orchestrator.budget import Budget, to_pico, to_usd
from orchestrator.codes import Code
from orchestrator.events import EventType, ProjectEventBus
from orchestrator.experience import Experience
from orchestrator.gateway import BookedCall, Failure, Gateway
from orchestrator.hierarchy import BudgetHierarchy
from orchestrator.optimization import OptimizationBackend
from orchestrator.persistence import Persistence
from orchestrator.phases import BudgetWarning, Meter
from orchestrator.policy import resolutions
from orchestrator.prediction import CostPredictor
from orchestrator.prompts import version
from orchestrator.routing import Router
from orchestrator.run import Run
from orchestrator.runtime import Runtime
from orchestrator.slots import Slots
from orchestrator.specs import JobSpec, to_json
from orchestrator.state import REPAIR_PREFIX, Outcome, ProjectState, ProjectStatus, Purpose, phase_of
from orchestrator.store import HoldStore, Ledger, ObservationStore
from orchestrator.strategy import backend_for
from orchestrator.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Source:
    """An existing repository that a run builds on: the files of its base commit, its name, and who is charged."""

    root: Path
    name: str
    user: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """One run as it is handed to the engine; `foreign` are the user's own files in `output_dir`.

    `backend` ranks the models instead of the one that the job's routing section names.
    Under a `hierarchy` of the submitter the run is admitted with its whole cap or refused; `predictor` learns from it.
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
    hierarchy: BudgetHierarchy | None = None
    predictor: CostPredictor | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """One claimed run: its fence, the state it was found in, what it learns, and the clock of this process.

    `warnings` are the thresholds reached by calls that a dead process left in flight. `started` is monotonic, `before`
    are the seconds that other processes spent on it.
    """

    run: Run
    fence: int
    state: ProjectState
    experience: Experience
    warnings: tuple[BudgetWarning, ...]
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
    """Create or claim the run, take over what it spent, and lay out what its stages share.

    Raises `BudgetHierarchyExceeded` before it does when the submitter's hierarchy has no room for the run's cap.
    What stops it after that leaves the run interrupted, and what it was promised given back.
    """
    job, run_id, runs = submission.job, submission.run_id, runtime.runs
    caps = _caps(runtime, submission)
    if submission.hierarchy is not None:
        await _admit(runtime, submission, caps)
    source = submission.source.name if submission.source else ""
    created = await runs.create(
        run_id, title=job.title, job=to_json(job), source=source, output_dir=submission.output_dir
    )
    fence = await runs.claim(run_id)
    try:
        return await _laid_out(runtime, persistence, submission, bus, caps, fence, created=created)
    except BaseException:
        outcome = Outcome(Code.INTERRUPTED, "The run was interrupted before it went on.")
        await runs.conclude(run_id, fence, status=ProjectStatus.INTERRUPTED.value, outcome=outcome)
        await HoldStore(runtime.database).release(run_id, fence)
        raise


async def _laid_out(
    runtime: Runtime,
    persistence: Persistence,
    submission: Submission,
    bus: ProjectEventBus,
    caps: Mapping[str, int],
    fence: int,
    *,
    created: bool,
) -> Desk:
    job, run_id, runs = submission.job, submission.run_id, runtime.runs
    if not created:
        await runs.replace_job(run_id, fence, to_json(job))
        if submission.retry_failed:
            await runs.retry_tasks(run_id, fence)
    await runs.save(run_id, fence, app_type=submission.app_type, status=ProjectStatus.PLANNING.value)
    ledger = Ledger(runtime.database, run_id, fence)
    await ledger.open_accounts(caps)
    # A run that was just created has spent, lost, written and retried nothing: nothing is looked up for it.
    spent_before = {} if created else await ledger.spent_by_phase()
    if not created:
        await ledger.recover()
    state = await runs.state(run_id)
    if state is None:
        raise AssertionError(f"run {run_id} was claimed and must exist")
    budget = Budget(job.budget.max_usd, job.budget.max_time_seconds)
    budget.carry(state.budget.spent, state.budget.elapsed_seconds)
    experience = Experience(
        submission.predictor or CostPredictor(),
        ObservationStore(runtime.database, scope_of(submission.source), {one: version(one) for one in Purpose}),
    )
    standings = await experience.recall(run_id, fence)
    protection = Protection(PROTECTED_IN_NEW_FOLDER)
    if submission.source:
        exceptions = runtime.operator_now().protected_path_exceptions
        protection = Protection(own=job.github.protected_paths, exceptions=exceptions)
    task_cap = job.policies.task_cap_usd
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
            standings,
        ),
        gateway=Gateway(
            providers=runtime.providers,
            budget=budget,
            ledger=ledger,
            charged=tuple(caps),
            slots=Slots(submission.concurrency),
            task_cap=None if task_cap is None else to_pico(task_cap),
            persistence=persistence,
            pace=runtime.pace,
            breaker=runtime.breaker,
            calls_per_minute=job.policies.rate_limit,
            advised_rates=job.policies.advised_rates,
            may_call=partial(runtime.stops.recall, run_id),
        ),
        workspace=Workspace(
            submission.source.root if submission.source else None, {} if created else await runs.changes(run_id)
        ),
        bus=bus,
        protection=protection,
        foreign=submission.foreign,
        claims={} if created else _claims(await runs.writers(run_id)),
        round=0 if created else (await runs.rounds(run_id))[1],
    )
    meter = Meter(to_pico(job.budget.max_usd), spent_before)
    warnings = [
        warning
        for phase, spent in ({} if created else await ledger.spent_by_phase()).items()
        for warning in meter.add(phase, spent - meter.spent.get(phase, 0))
    ]
    run.gateway.on_failed = _failure_teller(run)
    run.gateway.on_booked = _teller(run, meter, experience)
    return Desk(
        run,
        fence,
        state,
        experience,
        tuple(warnings),
        started=time.monotonic(),
        before=budget.elapsed_seconds,
    )


def _claims(writers: Mapping[str, str]) -> dict[str, str]:
    """Return which planned task a path belongs to; what a repair mended belongs to the whole project."""
    return {path: task for path, task in writers.items() if task and not task.startswith(REPAIR_PREFIX)}


def scope_of(source: Source | None) -> str:
    """Return whose experience a run shares: that of the account that owns the repository, and installs the App."""
    return source.name.partition("/")[0] if source else ""


def _caps(runtime: Runtime, submission: Submission) -> dict[str, int]:
    """Return the accounts that pay for a run and their caps in picodollars: the lowest that anybody sets.

    Those of the operator's days and months are of the moment at which the run is begun or taken up.

    A team or job without a budget of the operator's is uncapped; one that the submitter's own hierarchy lacks is an
    error.
    """
    budgets, job = runtime.operator.budgets, submission.job.budget
    caps = {f"run:{submission.run_id}": to_pico(job.max_usd)}
    caps |= BudgetHierarchy(budgets.org, budgets.teams, budgets.jobs).caps(
        job.team if job.team in budgets.teams else None, job.job if job.job in budgets.jobs else None
    )
    if source := submission.source:
        quotas = runtime.operator.quotas(source.user, source.name, runtime.database.clock())
        caps |= {quota.account: to_pico(quota.usd) for quota in quotas}
    if submission.hierarchy is not None:
        for account, cap in submission.hierarchy.caps(job.team, job.job).items():
            caps[account] = min(cap, caps.get(account, cap))
    return caps


async def _admit(runtime: Runtime, submission: Submission, caps: Mapping[str, int]) -> None:
    own = f"run:{submission.run_id}"
    await HoldStore(runtime.database).admit(
        submission.run_id,
        caps={account: cap for account, cap in caps.items() if account != own},
        amount=caps[own],
        seconds=submission.job.budget.max_time_seconds,
    )


def _teller(run: Run, meter: Meter, experience: Experience) -> Callable[[BookedCall], Awaitable[None]]:
    """Return what hears of every call that was booked: events, the warnings of its phase, and what is learned."""

    async def tell(call: BookedCall) -> None:
        asked, usage = call.question, call.usage
        about: dict[str, object] = {
            "task_id": asked.task_id,
            "purpose": asked.purpose.value,
            "model": call.model.id,
            "provider": call.model.provider,
            "cost_usd": to_usd(call.cost),
            "spent_usd": run.gateway.budget.spent_usd,
            "latency_seconds": call.seconds,
        }
        if usage is None:
            run.tell(EventType.CALL_LOST, **about)
        else:
            run.tell(
                EventType.CALL_SETTLED,
                **about,
                input_tokens=usage.input_tokens,
                cached_input_tokens=usage.cached_input_tokens,
                output_tokens=usage.output_tokens,
                finish=call.finish.value if call.finish else "",
            )
        for warning in meter.add(phase_of(asked.purpose, asked.task_id), call.cost):
            run.tell(EventType.BUDGET_WARNING, **asdict(warning))
        experience.booked(call)

    return tell


def _failure_teller(run: Run) -> Callable[[Failure], None]:
    def tell(failure: Failure) -> None:
        about = {
            "task_id": failure.task_id,
            "purpose": failure.purpose.value,
            "model": failure.model.id,
            "provider": failure.model.provider,
            "kind": failure.kind,
            "retried": failure.retried,
        }
        if failure.latency_seconds is None:
            run.tell(EventType.ANSWER_REJECTED, **about)
        else:
            run.tell(EventType.CALL_FAILED, **about, latency_seconds=failure.latency_seconds)

    return tell
