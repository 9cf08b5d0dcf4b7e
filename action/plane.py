"""The control plane as the step's inputs bend it: the criteria, and the folder instead of a pull request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from orchestrator.control_plane import ControlPlane, Source
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
            on_event=told,
        )

    async def changes(self, run_id: str) -> Mapping[str, bytes | None]:
        """Return what belongs onto a branch: nothing when the folder has it."""
        return {} if self.output is not None else await self.plane.changes(run_id)

    async def state(self, run_id: str) -> ProjectState | None:
        """Return what is known of a run."""
        return await self.plane.state(run_id)
