"""The control plane as the step's inputs bend it: the criteria, and the folder instead of a pull request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from orchestrator.control_plane import Change, ControlPlane, Source
from orchestrator.events import Event
from orchestrator.output import OutputFolder
from orchestrator.progress import line
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState


@dataclass(frozen=True, slots=True)
class InputPlane:
    """Hands jobs on to `plane`; `tell` gets one line for every event.

    With `output` a new project is built into that folder: the repository's files are no part of it, and nothing is
    left for a pull request.
    """

    plane: ControlPlane
    tell: Callable[[str], None]
    criteria: str = ""
    output: OutputFolder | None = None

    async def submit(
        self,
        job: JobSpec,
        *,
        run_id: str,
        source: Source | None = None,
        plan_only: bool = False,
        retry_failed: bool = False,
        on_event: Callable[[Event], Awaitable[None]] | None = None,
    ) -> ProjectState:
        """Run a job to its end, or go on with the run of that id."""

        async def told(event: Event) -> None:
            self.tell(line(event))
            if on_event is not None:
                await on_event(event)

        return await self.plane.submit(
            replace(job, criteria=self.criteria) if self.criteria else job,
            run_id=run_id,
            source=source if self.output is None else None,
            output=self.output,
            plan_only=plan_only,
            retry_failed=retry_failed,
            on_event=told,
        )

    async def review(
        self,
        job: JobSpec,
        change: Change,
        *,
        run_id: str,
        repository: str,
        user: str = "",
        on_event: Callable[[Event], Awaitable[None]] | None = None,
    ) -> ProjectState:
        """Have a change reviewed by two providers."""

        async def told(event: Event) -> None:
            self.tell(line(event))
            if on_event is not None:
                await on_event(event)

        return await self.plane.review(job, change, run_id=run_id, repository=repository, user=user, on_event=told)

    async def changes(self, run_id: str) -> Mapping[str, bytes | None]:
        """Return what belongs onto a branch: nothing when the folder has it."""
        return {} if self.output is not None else await self.plane.changes(run_id)

    async def state(self, run_id: str) -> ProjectState | None:
        """Return what is known of a run."""
        return await self.plane.state(run_id)

    async def job(self, run_id: str) -> JobSpec | None:
        """Return the job a run was submitted with, or None when it is not known."""
        return await self.plane.job(run_id)

    async def cancel(self, run_id: str, actor: str) -> None:
        """Have a run stop before its next call, whichever job works on it."""
        await self.plane.cancel(run_id, actor)

    async def cancelled_by(self, run_id: str) -> str | None:
        """Return who cancelled a run, or None."""
        return await self.plane.cancelled_by(run_id)

    async def withdraw_cancel(self, run_id: str) -> None:
        """Let a run that was cancelled go on."""
        await self.plane.withdraw_cancel(run_id)

    async def forget_plan(self, run_id: str) -> None:
        """Forget what a run that waits has planned, so that it plans anew."""
        await self.plane.forget_plan(run_id)

    async def end_cancelled(self, run_id: str, actor: str) -> ProjectState:
        """End a run that no job works on as cancelled."""
        return await self.plane.end_cancelled(run_id, actor)
