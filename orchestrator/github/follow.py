"""Commands about a run that exists: whether it can be approved, cancelled or resumed, and waiting until it stops."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, dataclass, replace

from orchestrator.github import report
from orchestrator.github.command import Command
from orchestrator.github.desk import Desk
from orchestrator.github.publisher import Effects
from orchestrator.github.trigger import Trigger
from orchestrator.specs import JobSpec, to_json
from orchestrator.state import ProjectState, ProjectStatus

NO_RUN = "there is no run for this issue yet. To start one, comment `/orchestrate`."

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_STOP = 10.0
"""Whoever works on a run looks for its cancellation several times a second; after this nobody does any more."""
SECONDS_AT_REST = 2.0
"""A run between two of its steps looks like one that nobody works on, for a moment."""
_AT_REST = (ProjectStatus.WAITING, ProjectStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run that a command is about: its id, what asked for it, and what it has left on GitHub."""

    run_id: str
    trigger: Trigger
    command: Command
    effects: Effects

    def desk(self, desk: Desk, *, reacts_to: int | None, budget_usd: float | None = None) -> Desk:
        """Return the desk of this run: its trigger and marks, with the reactions going to the comment `reacts_to`."""
        return Desk(
            trigger=replace(self.trigger, comment_id=reacts_to),
            command=replace(self.command, budget_usd=budget_usd or self.command.budget_usd),
            run_id=self.run_id,
            client=desk.client,
            publisher=desk.publisher.of_run(self.run_id, self.effects),
            plane=desk.plane,
            effects=self.effects,
            redactor=desk.redactor,
            tell=desk.tell,
            resumable=desk.resumable,
        )


def binding(state: ProjectState, job: JobSpec, base_sha: str) -> str:
    """Return what an approval is for: the hashes of plan and job, spec included, and the base commit (SECURITY 16)."""
    plan = [asdict(state.architecture) if state.architecture else None, *(asdict(task) for task in state.tasks)]
    hashes = (hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for part in (plan, to_json(job)))
    return ":".join([*hashes, base_sha])


def why_not_approved(state: ProjectState | None) -> str:
    """Return why there is nothing to approve, or an empty string."""
    if state is None:
        return "there is no plan of this issue yet. To make one, comment `/orchestrate plan`."
    if state.status is ProjectStatus.WAITING and state.tasks:
        return ""
    if state.status.ended:
        return f"the run has ended already ({report.ENDINGS[state.status].lower()}). {_next(state)}"
    return "the run does not wait for an approval."


def why_not_cancelled(state: ProjectState | None, cancelled_by: str | None) -> str:
    """Return why a run cannot be cancelled, or an empty string; one that was cancelled already may be again."""
    if state is None or not state.status.final or cancelled_by is not None:
        return ""
    return f"the run has ended already ({report.ENDINGS[state.status].lower()}). {_next(state)}"


def why_not_resumed(state: ProjectState | None) -> str:
    """Return why a run cannot go on, or an empty string."""
    if state is None:
        return "the run of this issue has not begun yet."
    if state.status is ProjectStatus.COMPLETED:
        return f"the run is completed, and nothing is left to do. {_next(state)}"
    if state.status is ProjectStatus.WAITING:
        return "the run of this issue is a plan. To build it, comment `/orchestrate approve`."
    if not state.status.ended:
        return (
            "the run is not finished yet. Wait for its end; if nobody works on it any more, comment "
            "`/orchestrate cancel` first."
        )
    return ""


def _next(state: ProjectState) -> str:
    if state.status is ProjectStatus.COMPLETED:
        return "Once its pull request is merged or closed, `/orchestrate` with what else to do begins a new one."
    return "To go on with it, comment `/orchestrate resume`."


async def stopped(desk: Desk, run_id: str) -> ProjectState | None:
    """Wait until a run that was cancelled has ended, and return its state as it is then; None if it never began."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        state = await desk.plane.state(run_id)
        if state is not None and state.status.final:
            return state
        patience = SECONDS_AT_REST if state is not None and state.status in _AT_REST else SECONDS_TO_STOP
        if clock() - began > patience:
            return state
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
