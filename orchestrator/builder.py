"""The app builder: from a description to a folder with an app, its architecture shown on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from orchestrator.budget import Budget
from orchestrator.control_plane import ControlPlane
from orchestrator.events import Event
from orchestrator.output import OutputFolder
from orchestrator.policy import PolicySet
from orchestrator.progress import architecture_block, show
from orchestrator.providers.base import Provider
from orchestrator.sections import BudgetSpec
from orchestrator.specs import narrow, spec_from_text
from orchestrator.state import ProjectState, ProjectStatus
from orchestrator.strict import argument


@dataclass(frozen=True, slots=True)
class AppProfile:
    """What kind of app was built and in which shape; empty words where no architecture was decided."""

    app_type: str
    structural_pattern: str = ""
    topology: str = ""
    api_paradigm: str = ""
    data_paradigm: str = ""
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class Assembly:
    """What was put together: `files_written` are the built files in `output_dir`, sorted."""

    output_dir: Path
    files_written: list[Path]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """How a build went: `success` is True exactly when every task and check passed; `state` says everything."""

    success: bool
    profile: AppProfile
    assembly: Assembly
    state: ProjectState


class AppBuilder:
    """Builds apps into folders, and prints the architecture when it is decided.

    `budget` caps each build in USD and seconds, `policy_set` rules which models may be used, `max_concurrency` is how
    many tasks are worked on at once. `stream` takes the summary block, standard output by default. Keys and the place
    of state come from the environment (`env`, the process's own by default); `providers` replaces the vendors'
    endpoints.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        policy_set: PolicySet | None = None,
        max_concurrency: int = 3,
        stream: TextIO | None = None,
        env: Mapping[str, str] | None = None,
        providers: Mapping[str, Provider] | None = None,
    ) -> None:
        self.budget = Budget() if budget is None else budget
        self._policies = PolicySet() if policy_set is None else policy_set
        argument("budget", self.budget, Budget, "Budget(max_usd=5.0)")
        argument("policy_set", self._policies, PolicySet, "PolicySet(policies=[Policy(...)])")
        self._stream = stream
        self._plane = ControlPlane(env, concurrency=max_concurrency, providers=providers)

    async def build(
        self,
        description: str,
        criteria: str = "",
        output_dir: str | os.PathLike[str] = "./results",
        app_type: str | None = None,
        *,
        project_id: str | None = None,
    ) -> BuildResult:
        """Build an app into a folder; with the id of a run that exists, go on with it.

        The app type is detected when none is given. Raises `UsageError` for what cannot be used, files of the user in
        the folder included; how the build went is in the result.
        """
        job = replace(
            narrow(spec_from_text(description, criteria), app_type=app_type),
            budget=BudgetSpec(self.budget.max_usd, self.budget.max_time_seconds),
        )
        output = OutputFolder.at(output_dir)
        known = await self._plane.state(project_id) if project_id else None
        state = await self._plane.submit(
            job,
            self._policies,
            run_id=project_id,
            output=output,
            retry_failed=known is not None,
            on_event=self._print,
        )
        return _result(state, output.root)

    async def _print(self, event: Event) -> None:
        block = architecture_block(event)
        if block:
            show(block, self._stream or sys.stdout)


def _result(state: ProjectState, root: Path) -> BuildResult:
    decision = state.architecture
    profile = AppProfile(state.app_type)
    if decision is not None:
        profile = AppProfile(
            state.app_type,
            decision.structural_pattern,
            decision.topology,
            decision.api_paradigm,
            decision.data_paradigm,
            decision.rationale,
        )
    written = Assembly(root, [root / path for path in sorted(state.files)])
    return BuildResult(state.status is ProjectStatus.COMPLETED, profile, written, state)
