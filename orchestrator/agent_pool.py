"""Several orchestrators at once: each runs its own job, the best result is named, their telemetry added up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.library import Orchestrator
from orchestrator.specs import JobSpec
from orchestrator.state import REPAIR_PREFIX, ProjectState, ProjectStatus, TaskStatus
from orchestrator.strict import nearest
from orchestrator.telemetry import Telemetry, merge_telemetry

_PASSED = TaskStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class AgentResult:
    """How one agent's run ended: its state, or the error that kept it from having one."""

    state: ProjectState | None = None
    error: BaseException | None = None

    @property
    def status(self) -> ProjectStatus:
        """How the run ended; failed for one that has no state."""
        return self.state.status if self.state else ProjectStatus.FAILED

    @property
    def passed_share(self) -> float:
        """The share of the planned tasks that passed, from 0 to 1; 0 when none was planned."""
        if self.state is None:
            return 0.0
        planned = [task.id for task in self.state.tasks if not task.id.startswith(REPAIR_PREFIX)]
        passed = [one for one in planned if one in self.state.results and self.state.results[one].status is _PASSED]
        return len(passed) / len(planned) if planned else 0.0

    @property
    def score(self) -> float:
        """The final evaluation's score, from 0 to 1."""
        return self.state.score if self.state else 0.0

    @property
    def spent_usd(self) -> float:
        """What the run spent, in USD."""
        return self.state.budget.spent_usd if self.state else 0.0


class AgentPool:
    """Orchestrators by name, which work at once and apart: each has its own budget, policies and way of choosing."""

    def __init__(self) -> None:
        self._agents: dict[str, Orchestrator] = {}

    def add_agent(self, name: str, orchestrator: Orchestrator) -> None:
        """Add an agent; raises `UsageError` when its name is taken."""
        if name in self._agents:
            raise UsageError(f"There is already an agent {name!r}.", hint="Give each agent a name of its own.")
        self._agents[name] = orchestrator

    async def run_parallel(self, specs: Mapping[str, str | JobSpec]) -> dict[str, AgentResult]:
        """Run each named agent on its text or job, all at once, and return their results by name.

        An agent that fails does so alone, and its result holds the error. When this is cancelled, every agent is, and
        all of them have ended before it returns. Raises `UsageError` for a name that no agent has, before any starts.
        """
        for name in specs:
            if name not in self._agents:
                known = nearest(name, self._agents) if self._agents else "; the pool is empty"
                raise UsageError(f"There is no agent {name!r}{known}", hint="Add it with add_agent first.")
        runs = (self._run(self._agents[name], spec) for name, spec in specs.items())
        # It waits for all of them, also when it is cancelled.
        ended = await asyncio.gather(*runs, return_exceptions=True)
        return {
            name: AgentResult(error=one) if isinstance(one, BaseException) else AgentResult(one)
            for name, one in zip(specs, ended, strict=True)
        }

    async def _run(self, orchestrator: Orchestrator, spec: str | JobSpec) -> ProjectState:
        return await (orchestrator.run_job(spec) if isinstance(spec, JobSpec) else orchestrator.run_project(spec))

    def best_result(self, results: Mapping[str, AgentResult]) -> str:
        """Return the name of the best result: highest share of passed tasks, then score, then lowest cost, then name.

        Raises `OrchestratorError` that says why when no agent had a task that passed.
        """
        passed = [name for name, result in results.items() if result.passed_share > 0]
        if not passed:
            reasons = "; ".join(f"{name}: {_reason(result)}" for name, result in sorted(results.items()))
            raise OrchestratorError(
                f"No agent has a result: {reasons or 'none was run'}.", hint="Mend what they name, and run them again."
            )

        def rank(name: str) -> tuple[float, float, float, str]:
            result = results[name]
            return -result.passed_share, -result.score, result.spent_usd, name

        return min(passed, key=rank)

    def merge_telemetry(self) -> Telemetry:
        """Return what all agents did so far, as if one had done it: exact counts, sums and means, and percentiles."""
        different = {id(one): one for one in self._agents.values()}
        return merge_telemetry(one.telemetry for one in different.values())


def _reason(result: AgentResult) -> str:
    if result.state is not None:
        return f"{result.state.status.value}, {result.state.outcome.reason}".rstrip(" .,")
    return f"{type(result.error).__name__}, {result.error}" if result.error else "no result"
