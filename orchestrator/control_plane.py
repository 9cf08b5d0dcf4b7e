"""The one door that command line, bot and Action use: what is submitted is checked before anything is spent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.app_builder import OutputFolder, detect_app_type
from orchestrator.engine import Engine, Source, Submission
from orchestrator.errors import RunCancelled, UsageError
from orchestrator.events import Event, ProjectEventBus
from orchestrator.gateway import Persistence
from orchestrator.hierarchy import BudgetHierarchy
from orchestrator.operator_config import OperatorConfig, bind
from orchestrator.optimization import OptimizationBackend
from orchestrator.policy import PolicySet
from orchestrator.policy_analysis import PolicyAnalyzer, PolicyReport
from orchestrator.prediction import CostPredictor
from orchestrator.providers.base import Provider
from orchestrator.runtime import Runtime
from orchestrator.specs import JobSpec, from_json
from orchestrator.state import ProjectState
from orchestrator.store import Database, RunRow
from orchestrator.telemetry import Telemetry
from orchestrator.tracing import Tracer, tracer_for
from orchestrator.workspace import Workspace

__all__ = ["ControlPlane", "OnEvent", "Source"]

OnEvent = Callable[[Event], Awaitable[None]]


class ControlPlane:
    """Submits jobs and reads runs back; one per process. `telemetry` counts what all runs submitted here did."""

    def __init__(
        self, runtime: Runtime, *, concurrency: int, persistence: Persistence | None, tracer: Tracer | None = None
    ) -> None:
        self.telemetry = Telemetry()
        self._tracer = tracer
        self._runtime = runtime
        self._concurrency = concurrency
        self._engine = Engine(runtime, persistence=persistence)

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
        """Open what the environment names: database, providers, operator's configuration.

        `concurrency` is how many tasks of a run are worked on at once; the operator's `tasks_at_once` by default.
        `providers` replaces those that keys make available. Raises `UsageError` for what cannot be used.
        """
        tracer = tracer_for(env)
        async with Runtime.open(env, providers=providers) as runtime:
            tasks_at_once = concurrency or runtime.operator.tasks_at_once
            yield cls(runtime, concurrency=tasks_at_once, persistence=persistence, tracer=tracer)

    @property
    def database(self) -> Database:
        """The database that holds runs, money, deliveries and effects."""
        return self._runtime.database

    @property
    def operator(self) -> OperatorConfig:
        """The operator's configuration."""
        return self._runtime.operator

    @property
    def providers(self) -> tuple[str, ...]:
        """The ids of the available providers."""
        return tuple(self._runtime.providers)

    async def submit(
        self,
        job: JobSpec,
        *,
        run_id: str,
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

        The operator's caps and policies are laid over the job. With `output` the files are written into that folder,
        unless it holds files of the user (`OutputConflict`). A run that has ended is returned as it is, unless
        `retry_failed` asks for its open and failed tasks again. Events go to `on_event`, for which the end of the run
        waits, and to `bus`, which is closed at the end. `backend` ranks the models instead of the one that the job's
        routing names. Under a `budget_hierarchy` the run is admitted with its whole cap or refused with
        `BudgetHierarchyExceeded`; under the operator's budgets alone it gets what is left, and ends `budget_exhausted`.
        `cost_predictor` learns from the run, on top of what the store knows. Raises `UsageError` when the job, its
        policies or the folder cannot be used, `RunCancelled` when the operator or the repository has switched the
        orchestrator off, `RunLost` when another process takes the run over.
        """
        bound = bind(job, self._runtime.operator)
        if not bound.enabled:
            raise RunCancelled(
                "The orchestrator is switched off here.",
                hint="Set `enabled: true` in .orchestrator.yaml, and in the operator's configuration.",
            )
        if not bound.description.strip():
            raise UsageError("There is nothing to build: the job has no description.", hint="Say what to build.")
        self.policy_report(bound.policies).refuse()
        if output is not None and not plan_only:
            await asyncio.to_thread(output.prepare)
        prior = await self.state(run_id)
        if prior is not None and prior.status.final and not retry_failed:
            return prior
        submission = Submission(
            run_id=run_id,
            job=bound,
            app_type=_app_type(bound, source),
            source=source,
            output_dir=str(output.root) if output else "",
            foreign=await asyncio.to_thread(output.foreign) if output else frozenset(),
            concurrency=self._concurrency,
            plan_only=plan_only,
            retry_failed=retry_failed,
            backend=backend,
            hierarchy=budget_hierarchy,
            predictor=cost_predictor,
        )
        bus = bus or ProjectEventBus()
        async with self._watching(bus), _following(bus, on_event):
            state = await self._engine.run_project(submission, bus)
        if output is not None and not plan_only:
            await asyncio.to_thread(output.deliver, await self.changes(run_id), state)
        return state

    def policy_report(self, policies: PolicySet) -> PolicyReport:
        """Return what is wrong with policies, over the whole catalog; `submit` refuses a job whose have errors."""
        return PolicyAnalyzer.analyze(policies, self._runtime.catalog, offline="offline" in self._runtime.providers)

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

    async def deliver(self, run_id: str, output: OutputFolder) -> ProjectState | None:
        """Write what a run has built so far, and its report, into a folder; None when the run is not known."""
        state = await self.state(run_id)
        if state is not None:
            await asyncio.to_thread(output.deliver, await self.changes(run_id), state)
        return state

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        """Return the files a run wrote so far: path to content, None for a deletion."""
        return await self._runtime.runs.changes(run_id)

    async def state(self, run_id: str) -> ProjectState | None:
        """Return a run's state, or None when it is not known."""
        return await self._runtime.runs.state(run_id)

    async def job(self, run_id: str) -> JobSpec | None:
        """Return the job a run was submitted with, or None when it is not known."""
        stored = await self._runtime.runs.job(run_id)
        return None if stored is None else from_json(stored)

    async def output_dir(self, run_id: str) -> str:
        """Return the folder a run delivers to; empty where it has none or is not known."""
        return await self._runtime.runs.output_dir(run_id) or ""

    async def list(self) -> tuple[RunRow, ...]:
        """Return the known runs, the newest first."""
        return await self._runtime.runs.list()


@asynccontextmanager
async def _following(bus: ProjectEventBus, on_event: OnEvent | None) -> AsyncIterator[None]:
    """Hand every event to the follower, until the block has ended and the follower has seen the last one."""
    follower = asyncio.create_task(_forward(bus, on_event)) if on_event else None
    try:
        yield
    finally:
        bus.close()
        if follower is not None:
            await follower


async def _forward(bus: ProjectEventBus, on_event: OnEvent) -> None:
    async for event in bus.subscribe():
        await on_event(event)


def _app_type(job: JobSpec, source: Source | None) -> str:
    if job.app_type is not None:
        return job.app_type
    paths = Workspace(Path(source.root)).base_paths() if source else ()
    return detect_app_type(f"{job.title}\n{job.description}\n{job.criteria}", paths)
