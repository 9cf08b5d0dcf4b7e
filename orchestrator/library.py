"""The orchestrator as a Python library: one object, one coroutine, a state that says everything."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.budget import Budget
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import UsageError
from orchestrator.events import Event, EventType, ProjectEventBus
from orchestrator.hierarchy import BudgetHierarchy
from orchestrator.hooks import Hook, Hooks
from orchestrator.metrics import MetricsExporter
from orchestrator.optimization import OptimizationBackend
from orchestrator.output import OutputFolder
from orchestrator.policy import PolicySet, combine
from orchestrator.prediction import CostPredictor
from orchestrator.providers.base import Provider
from orchestrator.sections import BudgetSpec
from orchestrator.specs import JobSpec, narrow, spec_from_text
from orchestrator.state import ProjectState
from orchestrator.strict import argument
from orchestrator.telemetry import Telemetry
from orchestrator.titles import new_run_id


class Orchestrator:
    """Builds projects under one budget and one set of policies.

    `budget` caps each run in USD and seconds, and is never changed: what a run spent is in its state's own `budget`.
    `budget_hierarchy` caps all runs together, charged for `team` and `job`. `cost_predictor` learns from every run.
    `policy_set` rules which models may be used, `max_concurrency` is how many tasks are worked on at once. Keys and
    the place of state come from the environment (`env`, the process's own by default); `providers` replaces the
    vendors' endpoints, for tests and for models of one's own.
    `optimization_backend` ranks the models, the cheapest that is good enough by default.

    Runs may follow each other or go on at once. Each has its own budget and its own event bus; hooks hear all of
    them, and `telemetry` counts them together.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        policy_set: PolicySet | None = None,
        budget_hierarchy: BudgetHierarchy | None = None,
        team: str | None = None,
        job: str | None = None,
        cost_predictor: CostPredictor | None = None,
        max_concurrency: int = 3,
        env: Mapping[str, str] | None = None,
        providers: Mapping[str, Provider] | None = None,
        optimization_backend: OptimizationBackend | None = None,
    ) -> None:
        self.budget = Budget() if budget is None else budget
        self._policies = PolicySet() if policy_set is None else policy_set
        argument("budget", self.budget, Budget, "Budget(max_usd=5.0)")
        argument("policy_set", self._policies, PolicySet, "PolicySet(policies=[Policy(...)])")
        if not isinstance(max_concurrency, int) or max_concurrency < 1:
            raise UsageError(
                f"max_concurrency must be a whole number from 1 up, not {max_concurrency!r}.", hint="The default is 3."
            )
        if cost_predictor is not None:
            argument("cost_predictor", cost_predictor, CostPredictor, "CostPredictor(alpha=0.1)")
        if budget_hierarchy is not None:
            argument("budget_hierarchy", budget_hierarchy, BudgetHierarchy, "BudgetHierarchy(org_max_usd=100.0)")
            budget_hierarchy.caps(team, job)  # a team or job that it does not know is an error from the start
        self._hierarchy, self._team, self._job = budget_hierarchy, team, job
        self._predictor = cost_predictor
        self._max_concurrency = max_concurrency
        self._env = env
        self._providers = providers
        self._backend = _backend(optimization_backend)
        self.telemetry = Telemetry()
        self._hooks = Hooks()
        self._exporter: MetricsExporter | None = None
        self._bus = ProjectEventBus()
        self._bus_taken = False

    def set_optimization_backend(self, backend: OptimizationBackend | None) -> None:
        """Have the next runs rank models by this backend; None is greedy, as at the start."""
        self._backend = _backend(backend)

    def run_project(
        self,
        project_description: str,
        success_criteria: str = "",
        *,
        project_id: str | None = None,
        app_type: str | None = None,
        output_dir: str | os.PathLike[str] | None = None,
    ) -> Coroutine[Any, Any, ProjectState]:
        """Build a project and return its state; with the id of a run that exists, go on with it.

        With `output_dir` the files are written there; without, they are kept in the store. Raises `UsageError` for
        what cannot be used, and `BudgetHierarchyExceeded` (a `ValueError`) before anything is spent when the budget
        does not fit into what is left of the hierarchy; how the run went is in the state's `status` and `outcome`.
        """

        def job() -> JobSpec:
            spec = narrow(spec_from_text(project_description, success_criteria), app_type=app_type)
            return replace(spec, budget=BudgetSpec(self.budget.max_usd, self.budget.max_time_seconds))

        return self._begin(job, project_id, output_dir)

    def run_job(
        self,
        job: JobSpec,
        project_id: str | None = None,
        output_dir: str | os.PathLike[str] | None = None,
    ) -> Coroutine[Any, Any, ProjectState]:
        """Run a job as `run_project` runs a text, and return its state.

        The lower of the job's caps and the orchestrator's holds, and the policies of both bind.
        """
        return self._begin(lambda: job, project_id, output_dir)

    def add_hook(self, event_type: EventType | str, hook: Hook) -> None:
        """Call `hook` with the data of every event of that type, in every run, as keywords.

        It may be a function or a coroutine function, and takes `**_` for data that it does not need. The run never
        waits for it before its end; when it fails, that is logged once a run, and the run goes on. Raises
        `UsageError` for an unknown event.
        """
        self._hooks.add(event_type, hook)

    def remove_hook(self, event_type: EventType | str, hook: Hook) -> None:
        """Call `hook` no longer for events of that type; raises `UsageError` when it was not added."""
        self._hooks.remove(event_type, hook)

    def get_event_bus(self) -> ProjectEventBus:
        """Return the bus of the run that was asked for last, whether it has begun, goes on or has ended.

        Before the first run it is that run's. Of several runs at once, take each bus right after calling
        `run_project`, before calling it again. Subscribers end by themselves when their run ends, however it ends.
        """
        return self._bus

    def set_metrics_exporter(self, exporter: MetricsExporter) -> None:
        """Have `export_metrics` use this exporter."""
        if isinstance(exporter, type) or not callable(getattr(exporter, "export", None)):
            raise UsageError(
                f"A metrics exporter must be an object that exports, not {exporter!r}.", hint="Give ConsoleExporter()."
            )
        self._exporter = exporter

    def export_metrics(self) -> None:
        """Export what all runs of this orchestrator did so far; raises `UsageError` when no exporter is set."""
        if self._exporter is None:
            raise UsageError(
                "No metrics exporter is set.",
                hint="Call set_metrics_exporter(ConsoleExporter()) first; orchestrator.metrics has others.",
            )
        self._exporter.export(self.telemetry)

    def _begin(
        self, job: Callable[[], JobSpec], project_id: str | None, output_dir: str | os.PathLike[str] | None
    ) -> Coroutine[Any, Any, ProjectState]:
        """Return the run as a coroutine; its bus is there before its first step."""
        if self._bus_taken:
            self._bus = ProjectEventBus()
        self._bus_taken = True
        return _Closing(self._run(job, project_id, output_dir, self._bus), self._bus)

    async def _run(
        self,
        wanted: Callable[[], JobSpec],
        project_id: str | None,
        output_dir: str | os.PathLike[str] | None,
        bus: ProjectEventBus,
    ) -> ProjectState:
        job = narrow(wanted(), max_usd=self.budget.max_usd, max_time_seconds=self.budget.max_time_seconds)
        charged = replace(job.budget, team=job.budget.team or self._team, job=job.budget.job or self._job)
        job = replace(job, budget=charged, policies=combine(self._policies, job.policies))
        call_hooks = self._hooks.follower()

        async def follow(event: Event) -> None:
            self.telemetry.take(event)
            await call_hooks(event)

        env = os.environ if self._env is None else self._env
        async with ControlPlane.open(env, concurrency=self._max_concurrency, providers=self._providers) as plane:
            known = await plane.state(project_id) if project_id else None
            return await plane.submit(
                job,
                run_id=project_id or new_run_id(job.title),
                output=OutputFolder.at(output_dir) if output_dir is not None else None,
                retry_failed=known is not None,
                backend=self._backend,
                on_event=follow,
                bus=bus,
                budget_hierarchy=self._hierarchy,
                cost_predictor=self._predictor,
            )


def _backend(backend: OptimizationBackend | None) -> OptimizationBackend | None:
    """Return the backend; raises `UsageError` for a name or a class in its place."""
    if backend is not None and (isinstance(backend, type) or not callable(getattr(backend, "rank", None))):
        raise UsageError(
            f"An optimization backend must be an object that ranks, not {backend!r}.", hint="Give ParetoBackend()."
        )
    return backend


class _Closing(Coroutine[Any, Any, ProjectState]):
    """A run whose bus is closed however it ends: also one that is cancelled before its first step, or never started.

    A coroutine that was not started runs no `finally`, and a task keeps its coroutine for as long as it lives.
    """

    def __init__(self, run: Coroutine[Any, Any, ProjectState], bus: ProjectEventBus) -> None:
        self._run = run
        self._bus = bus
        weakref.finalize(self, bus.close).atexit = False

    def send(self, value: Any) -> Any:
        try:
            return self._run.send(value)
        except BaseException:  # the last step: a result leaves as an exception too
            self._bus.close()
            raise

    def throw(self, *error: Any) -> Any:
        try:
            return self._run.throw(*error)
        except BaseException:
            self._bus.close()
            raise

    def close(self) -> None:
        self._run.close()
        self._bus.close()

    def __await__(self) -> Generator[Any, Any, ProjectState]:
        try:
            return (yield from self._run.__await__())
        finally:
            self._bus.close()
