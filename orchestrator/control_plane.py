"""The one door that command line, bot and Action use: what is submitted is checked before anything is spent."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from orchestrator.app_types import detect_app_type
from orchestrator.artifacts import clashes
from orchestrator.checks import Checker
from orchestrator.codes import Code
from orchestrator.diff_review import Change
from orchestrator.engine import Engine, Source, Submission
from orchestrator.errors import OutputConflict, RunCancelled, UsageError
from orchestrator.events import Event, ProjectEventBus
from orchestrator.hierarchy import BudgetHierarchy
from orchestrator.operator_config import OperatorConfig, bind
from orchestrator.optimization import OptimizationBackend
from orchestrator.output import OutputFolder
from orchestrator.persistence import Persistence
from orchestrator.policy import Policy, PolicySet, combine
from orchestrator.policy_analysis import PolicyAnalyzer, PolicyReport
from orchestrator.prediction import CostPredictor
from orchestrator.providers.base import Provider
from orchestrator.run import Run
from orchestrator.runtime import Runtime
from orchestrator.specs import JobSpec, from_json, spec_from_text, title_of
from orchestrator.state import (
    REPAIR_PREFIX,
    ArchitectureDecision,
    Outcome,
    ProjectState,
    ProjectStatus,
    TaskStatus,
    ValidationResult,
)
from orchestrator.store import CancellationStore, Database, HoldStore, Ledger, RunRow, finished
from orchestrator.strict import argument
from orchestrator.telemetry import Telemetry
from orchestrator.titles import checked_run_id, new_run_id
from orchestrator.tracing import Tracer, tracer_for
from orchestrator.workspace import Workspace

__all__ = ["Change", "ControlPlane", "OnEvent", "Source"]

OnEvent = Callable[[Event], Awaitable[None]]
Said = TypeVar("Said")


class ControlPlane:
    """Submits jobs and reads runs back; `telemetry` counts what all runs submitted here did.

    `ControlPlane()` opens what the environment names for each call, and closes it again: right for a script. A process
    that makes many calls opens it once with `ControlPlane.open`. Keys and the place of state come from the environment
    (`env`, the process's own by default). `concurrency` is how many tasks of a run are worked on at once; the
    operator's `tasks_at_once` by default. `providers` replaces the vendors' endpoints.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        concurrency: int | None = None,
        providers: Mapping[str, Provider] | None = None,
        persistence: Persistence | None = None,
    ) -> None:
        self.telemetry = Telemetry()
        self._tracer: Tracer | None = None
        self._env = env
        self._concurrency = concurrency
        self._providers = providers
        self._persistence = persistence
        self._opened: Runtime | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        env: Mapping[str, str],
        *,
        concurrency: int | None = None,
        providers: Mapping[str, Provider] | None = None,
        persistence: Persistence | None = None,
    ) -> AsyncIterator[ControlPlane]:
        """Open what the environment names, once for all calls: database, providers, operator's configuration.

        Raises `UsageError` for what cannot be used.
        """
        async with Runtime.open(env, providers=providers) as runtime:
            plane = cls.over(runtime, concurrency=concurrency, persistence=persistence)
            plane._tracer = tracer_for(env)
            yield plane

    @classmethod
    def over(
        cls, runtime: Runtime, *, concurrency: int | None = None, persistence: Persistence | None = None
    ) -> ControlPlane:
        """Return a plane over what somebody else has opened, and closes."""
        plane = cls(concurrency=concurrency, persistence=persistence)
        plane._opened = runtime
        return plane

    @property
    def database(self) -> Database:
        """The database that holds runs, money, deliveries and effects; of an open plane only."""
        return self._open_runtime().database

    @property
    def operator(self) -> OperatorConfig:
        """The operator's configuration, its kill switch as it stands now; of an open plane only."""
        return self._open_runtime().operator_now()

    @property
    def providers(self) -> tuple[str, ...]:
        """The ids of the available providers; of an open plane only."""
        return tuple(self._open_runtime().providers)

    async def submit(
        self,
        job: JobSpec | str,
        policy: Policy | PolicySet | None = None,
        *,
        run_id: str | None = None,
        source: Source | None = None,
        output: OutputFolder | None = None,
        plan_only: bool = False,
        retry_failed: bool = False,
        budget_hierarchy: BudgetHierarchy | None = None,
        cost_predictor: CostPredictor | None = None,
        on_event: OnEvent | None = None,
        backend: OptimizationBackend | None = None,
        bus: ProjectEventBus | None = None,
    ) -> ProjectState:
        """Run a job to its end, or go on with the run of that id, and return its state.

        A job may be a text that says what to build; `policy` binds besides the job's own, and the operator's caps and
        policies are laid over both. The id is made from the title when none is given. With `output` the files are
        written into that folder, unless it holds files of the user (`OutputConflict`). A run that has ended is
        returned as it is, unless `retry_failed` asks for its open and failed tasks again. Job, policies, budget and
        providers are checked before anything is spent.

        Events go to `on_event`, for which the end of the run waits, and to `bus`, which is closed at the end. `backend`
        ranks the models instead of the one that the job's routing names. Under a `budget_hierarchy` the run is admitted
        with its whole cap or refused with `BudgetHierarchyExceeded`; under the operator's budgets alone it gets what is
        left, and ends `budget_exhausted`. `cost_predictor` learns from the run, on top of what the store knows.

        Raises `UsageError` when the job, its policies, the id or the folder cannot be used, `RunCancelled` when the
        operator or the repository has switched the orchestrator off, `RunLost` when another process takes the run over.
        """
        async with self._runtime() as runtime:
            bound = _checked(job, policy, runtime)
            chosen = _run_id(run_id, bound)
            if output is not None and not plan_only:
                await asyncio.to_thread(output.prepare)
            prior = await runtime.runs.state(chosen)
            if prior is not None and prior.status.final and not retry_failed:
                return prior
            if prior is not None and prior.status.ended and prior.results and plan_only:
                return prior  # its plan was built, well or not: how that ended stays
            foreign = await asyncio.to_thread(output.foreign) if output else frozenset()
            if prior is not None and prior.status.ended and output is not None and not plan_only:
                _refuse_clashes(prior, await runtime.runs.writers(chosen), output, foreign)
            submission = Submission(
                run_id=chosen,
                job=bound,
                app_type=_app_type(bound, source),
                source=source,
                output_dir=str(output.root) if output else "",
                foreign=foreign,
                concurrency=self._concurrency or runtime.operator.tasks_at_once,
                plan_only=plan_only,
                retry_failed=retry_failed,
                backend=backend,
                hierarchy=budget_hierarchy,
                predictor=cost_predictor,
            )
            bus = bus or ProjectEventBus()
            async with self._watching(bus), _following(bus, on_event):
                state = await self._engine(runtime).run_project(submission, bus)
                # Before a follower's failure is heard: a run whose reader has left is delivered all the same.
                if output is not None and not plan_only:
                    await _deliver(runtime, state, output)
            return state

    async def review(
        self,
        job: JobSpec,
        change: Change,
        *,
        run_id: str,
        repository: str,
        user: str = "",
        retry_failed: bool = False,
        on_event: OnEvent | None = None,
    ) -> ProjectState:
        """Have a change to a repository reviewed by two providers, as a run whose tasks are their reviews.

        The job is what the change says of itself, within whose caps and policies it is reviewed; nothing is built, run
        or written. A run that has ended is returned as it is, unless `retry_failed` asks for what is missing. Raises
        what `submit` raises.
        """
        async with self._runtime() as runtime:
            bound = _checked(job, None, runtime)
            chosen = checked_run_id(run_id)
            prior = await runtime.runs.state(chosen)
            if prior is not None and prior.status.final and not retry_failed:
                return prior
            bus = ProjectEventBus()
            # The change is all that is read: nothing of the repository lies in this folder.
            with tempfile.TemporaryDirectory(prefix="orchestrator-review-") as folder:
                submission = Submission(
                    run_id=chosen,
                    job=bound,
                    app_type=bound.app_type or "generic",
                    source=Source(Path(folder), repository, user=user),
                    concurrency=self._concurrency or runtime.operator.tasks_at_once,
                    retry_failed=retry_failed,
                )
                async with self._watching(bus), _following(bus, on_event):
                    return await self._engine(runtime).review(submission, bus, change)

    async def advise(
        self, job: JobSpec | str, policy: Policy | PolicySet | None = None, *, run_id: str | None = None
    ) -> ArchitectureDecision:
        """Decide a job's architecture and stop there.

        The call is accounted for as a run of its own, which `list` shows and which a `submit` with its id goes on
        with. Raises what `submit` raises, and `BudgetError`, `NoModel` or `UnusableAnswers` when nothing was decided.
        """
        async with self._runtime() as runtime:
            submission = await _question(job, policy, run_id, runtime)
            return await self._engine(runtime).advise(submission, ProjectEventBus())

    async def consult(
        self,
        job: JobSpec | str,
        policy: Policy | PolicySet | None = None,
        *,
        run_id: str | None = None,
        question: Callable[[Run], Awaitable[Said]],
        outcome: Outcome,
    ) -> Said:
        """Have `question` ask models about a job, accounted for as `advise` is, and return what it returns.

        `outcome` is how the run ends that stands for it. Raises what `advise` raises.
        """
        async with self._runtime() as runtime:
            submission = await _question(job, policy, run_id, runtime)
            return await self._engine(runtime).consult(submission, ProjectEventBus(), question, outcome)

    def policy_report(self, policies: PolicySet) -> PolicyReport:
        """Return what is wrong with policies, over the whole catalog; of an open plane only.

        `submit` refuses a job whose policies have errors.
        """
        return _policy_report(policies, self._open_runtime())

    @asynccontextmanager
    async def _watching(self, bus: ProjectEventBus) -> AsyncIterator[None]:
        """Count and trace what the block publishes."""
        trace = self._tracer.run() if self._tracer else None

        async def watch(event: Event) -> None:
            self.telemetry.take(event)
            if trace is not None:
                trace.take(event)

        try:
            async with _following(bus, watch):
                yield
        finally:
            if self._tracer is not None and trace is not None:
                trace.close()
                await self._tracer.flush()

    async def validate(self, run_id: str, root: Path) -> tuple[ValidationResult, ...]:
        """Run the validators of a run on a folder that holds what it built; no model is asked, and nothing is kept.

        Raises `UsageError` when the run is not known.
        """
        async with self._runtime() as runtime:
            stored = await runtime.runs.job(run_id)
            if stored is None:
                raise UsageError(f"There is no run {run_id}.", hint="List the known ones.")
            async with Checker.open(await runtime.sandbox(), from_json(stored).validation) as checker:
                return await checker.check(Workspace(root), None)

    async def deliver(self, run_id: str, output: OutputFolder) -> ProjectState | None:
        """Write what a run has built so far, and its report, into a folder; None when the run is not known."""
        async with self._runtime() as runtime:
            state = await runtime.runs.state(run_id)
            if state is not None:
                await _deliver(runtime, state, output)
            return state

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        """Return the files a run wrote so far: path to content, None for a deletion."""
        async with self._runtime() as runtime:
            return await runtime.runs.changes(run_id)

    async def state(self, run_id: str) -> ProjectState | None:
        """Return a run's state, or None when it is not known."""
        async with self._runtime() as runtime:
            return await runtime.runs.state(run_id)

    async def cancel(self, run_id: str, actor: str) -> None:
        """Have a run stop before its next call, whoever works on it; one that nobody has begun yet never begins."""
        async with self._runtime() as runtime:
            await CancellationStore(runtime.database).ask(run_id, actor)

    async def cancelled_by(self, run_id: str) -> str | None:
        """Return who cancelled a run, or None."""
        async with self._runtime() as runtime:
            return await CancellationStore(runtime.database).actor(run_id)

    async def withdraw_cancel(self, run_id: str) -> None:
        """Let a run that was cancelled go on when it is submitted again."""
        async with self._runtime() as runtime:
            await CancellationStore(runtime.database).withdraw(run_id)

    async def forget_plan(self, run_id: str) -> None:
        """Forget what a run that waits has planned, so that it plans anew when it is submitted again."""
        async with self._runtime() as runtime:
            await runtime.runs.forget_plan(run_id, await runtime.runs.claim(run_id))

    async def end_cancelled(self, run_id: str, actor: str) -> ProjectState:
        """End a run that nobody works on, or that whoever did has lost, as cancelled."""
        return await self._end(run_id, ProjectStatus.CANCELLED, Outcome(Code.CANCELLED, f"Cancelled by {actor}"))

    async def end_failed(self, run_id: str, reason: str) -> ProjectState:
        """End a run that nobody works on, or that whoever did has lost, as failed."""
        return await self._end(run_id, ProjectStatus.FAILED, Outcome(Code.FAILED, reason))

    async def _end(self, run_id: str, status: ProjectStatus, outcome: Outcome) -> ProjectState:
        """End a run from outside: calls in flight count as spent, and what it was promised is given back."""
        async with self._runtime() as runtime:
            fence = await runtime.runs.claim(run_id)
            await Ledger(runtime.database, run_id, fence).recover()
            await runtime.runs.conclude(run_id, fence, status=status.value, outcome=outcome)
            await HoldStore(runtime.database).release(run_id, fence)
            state = await runtime.runs.state(run_id)
            if state is None:
                raise AssertionError(f"run {run_id} was claimed and must exist")
            return state

    async def job(self, run_id: str) -> JobSpec | None:
        """Return the job a run was submitted with, or None when it is not known."""
        async with self._runtime() as runtime:
            stored = await runtime.runs.job(run_id)
            return None if stored is None else from_json(stored)

    async def output_dir(self, run_id: str) -> str:
        """Return the folder a run delivers to; empty where it has none or is not known."""
        async with self._runtime() as runtime:
            return await runtime.runs.output_dir(run_id) or ""

    async def list(self) -> tuple[RunRow, ...]:
        """Return the known runs, the newest first."""
        async with self._runtime() as runtime:
            return await runtime.runs.list()

    @asynccontextmanager
    async def _runtime(self) -> AsyncIterator[Runtime]:
        """Yield what is open, or open it for the time of the block."""
        if self._opened is not None:
            yield self._opened
            return
        env = os.environ if self._env is None else self._env
        self._tracer = tracer_for(env)
        async with Runtime.open(env, providers=self._providers) as runtime:
            yield runtime

    def _open_runtime(self) -> Runtime:
        if self._opened is None:
            raise UsageError(
                "This control plane opens what it needs for each call, and nothing is open now.",
                hint="Use `async with ControlPlane.open(os.environ) as plane`.",
            )
        return self._opened

    def _engine(self, runtime: Runtime) -> Engine:
        return Engine(runtime, persistence=self._persistence)


def _policy_report(policies: PolicySet, runtime: Runtime) -> PolicyReport:
    return PolicyAnalyzer.analyze(policies, runtime.catalog, offline="offline" in runtime.providers)


def _checked(job: JobSpec | str, policy: Policy | PolicySet | None, runtime: Runtime) -> JobSpec:
    """Return the job under the policies and the operator's word; raises for what must not even begin."""
    spec = spec_from_text(job) if isinstance(job, str) else job
    argument("The job", spec, JobSpec, "a JobSpec, or a text that says what to build")
    given = PolicySet((policy,)) if isinstance(policy, Policy) else PolicySet() if policy is None else policy
    argument("The policy", given, PolicySet, "a Policy or a PolicySet")
    bound = bind(replace(spec, policies=combine(spec.policies, given)), runtime.operator_now())
    if not bound.enabled:
        raise RunCancelled(
            "The orchestrator is switched off here.",
            hint="Set `enabled: true` in .orchestrator.yaml, and in the operator's configuration.",
        )
    if not bound.description.strip():
        raise UsageError("There is nothing to build: the job has no description.", hint="Say what to build.")
    _policy_report(bound.policies, runtime).refuse()
    return bound


def _refuse_clashes(
    prior: ProjectState, writers: Mapping[str, str], output: OutputFolder, foreign: frozenset[str]
) -> None:
    """Raise `OutputConflict` before a run that has ended is touched: how it ended stays as it is."""
    done = {"", *(one for one, result in prior.results.items() if result.status is TaskStatus.COMPLETED)}
    planned = {path for task in prior.tasks if not task.id.startswith(REPAIR_PREFIX) for path in task.files}
    wanted = planned | {path for path, task_id in writers.items() if task_id in done}
    taken = sorted(path for path in wanted if clashes(path, foreign))
    if taken:
        raise OutputConflict(str(output.root), tuple(taken))


async def _deliver(runtime: Runtime, state: ProjectState, output: OutputFolder) -> None:
    """Deliver to the end, though the caller is cancelled meanwhile: a second delivery never meets the first."""
    changes = await runtime.runs.changes(state.project_id)
    await finished(asyncio.to_thread(output.deliver, changes, state))


def _run_id(given: str | None, job: JobSpec) -> str:
    return new_run_id(job.title or title_of(job.description)) if given is None else checked_run_id(given)


async def _question(
    job: JobSpec | str, policy: Policy | PolicySet | None, run_id: str | None, runtime: Runtime
) -> Submission:
    """Return the submission of a call outside of a build; raises `UsageError` for the id of a run that has a plan."""
    bound = _checked(job, policy, runtime)
    chosen = _run_id(run_id, bound)
    prior = await runtime.runs.state(chosen)
    if prior is not None and prior.tasks:
        raise UsageError(f"{chosen} is a run that already has a plan.", hint="Give another id, or none.")
    return Submission(run_id=chosen, job=bound, app_type=_app_type(bound, None))


@asynccontextmanager
async def _following(bus: ProjectEventBus, on_event: OnEvent | None) -> AsyncIterator[None]:
    """Hand every event to the follower, until the block has ended and the follower has seen the last one."""
    if on_event is None:
        try:
            yield
        finally:
            bus.close()
        return
    follower = asyncio.create_task(_forward(bus, on_event))
    try:
        yield
    except BaseException as error:
        bus.close()
        # What ended the block is what its caller must hear; that the follower failed besides stands beside it.
        (failed,) = await asyncio.gather(follower, return_exceptions=True)
        if failed is not None:
            error.add_note(f"Besides, what followed the run failed: {failed!r}")
        raise
    bus.close()
    await follower


async def _forward(bus: ProjectEventBus, on_event: OnEvent) -> None:
    async for event in bus.subscribe():
        await on_event(event)


def _app_type(job: JobSpec, source: Source | None) -> str:
    if job.app_type is not None:
        return job.app_type
    paths = Workspace(Path(source.root)).base_paths() if source else ()
    return detect_app_type(f"{job.title}\n{job.description}\n{job.criteria}", paths)
