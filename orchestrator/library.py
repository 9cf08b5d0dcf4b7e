"""The orchestrator as a Python library: one object, one coroutine, a state that says everything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.app_builder import OutputFolder
from orchestrator.budget import Budget
from orchestrator.control_plane import ControlPlane
from orchestrator.optimization import OptimizationBackend
from orchestrator.policy import PolicySet
from orchestrator.providers.base import Provider
from orchestrator.specs import BudgetSpec, narrow, spec_from_text
from orchestrator.state import ProjectState
from orchestrator.titles import new_run_id


class Orchestrator:
    """Builds projects under one budget and one set of policies.

    `budget` caps each run in USD and seconds, `policy_set` rules which models may be used, `max_concurrency` is how
    many tasks are worked on at once. Keys and the place of state come from the environment (`env`, the process's own
    by default); `providers` replaces the vendors' endpoints, for tests and for models of one's own.
    `optimization_backend` ranks the models, the cheapest that is good enough by default.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        policy_set: PolicySet | None = None,
        max_concurrency: int = 3,
        env: Mapping[str, str] | None = None,
        providers: Mapping[str, Provider] | None = None,
        optimization_backend: OptimizationBackend | None = None,
    ) -> None:
        self.budget = budget or Budget()
        self._policies = policy_set or PolicySet()
        self._max_concurrency = max_concurrency
        self._env = env
        self._providers = providers
        self._backend = optimization_backend

    def set_optimization_backend(self, backend: OptimizationBackend | None) -> None:
        """Have the next runs rank models by this backend; None is greedy, as at the start."""
        self._backend = backend

    async def run_project(
        self,
        project_description: str,
        success_criteria: str = "",
        *,
        project_id: str | None = None,
        app_type: str | None = None,
        output_dir: str | os.PathLike[str] | None = None,
    ) -> ProjectState:
        """Build a project and return its state; with the id of a run that exists, go on with it.

        With `output_dir` the files are written there; without, they are kept in the store. Raises `UsageError` for
        what cannot be used; how the run went is in the state's `status` and `outcome`.
        """
        spec = spec_from_text(project_description, success_criteria)
        job = replace(
            narrow(spec, app_type=app_type),
            budget=BudgetSpec(self.budget.max_usd, self.budget.max_time_seconds),
            policies=self._policies,
        )
        env = os.environ if self._env is None else self._env
        async with ControlPlane.open(env, concurrency=self._max_concurrency, providers=self._providers) as plane:
            known = await plane.state(project_id) if project_id else None
            return await plane.submit(
                job,
                run_id=project_id or new_run_id(spec.title),
                output=OutputFolder.at(output_dir) if output_dir is not None else None,
                retry_failed=known is not None,
                backend=self._backend,
            )
