"""What the step does with the command it was given: both halves of a run at once, or one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from action.audit import AuditFile
from action.event import Asked, origin
from action.inputs import Inputs, Runner
from action.outputs import Ending
from action.plane import InputPlane
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import OrchestratorError, RunLost
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.publisher import OpenCheck
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.audit_trail import Audit, AuditTrail
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews
from orchestrator.github.staging.preview import Preview
from orchestrator.github.stories.follow import abandon
from orchestrator.github.stories.halves import generate, publish
from orchestrator.github.stories.handler import Earlier, HandledRun, Progress, handle
from orchestrator.github.triggers.command import Command
from orchestrator.operator_config import OperatorConfig
from orchestrator.output import OutputFolder
from orchestrator.store import AuditStore, DeliveryStore, EffectStore, PreviewStore

INTERRUPTED = (
    "The job was cancelled. Run it again; with a shared ORCHESTRATOR_DATABASE_URL it goes on where it stopped."
)

PAUSES = (5.0, 15.0, 45.0, 120.0)
"""Seconds between attempts while GitHub is down, beyond what each request waits by itself."""

OnProgress = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Step:
    """A command and what it is handled with; `tell` prints a line, `shared` says that other jobs see the database."""

    asked: Asked
    inputs: Inputs
    runner: Runner
    github: GitHubConnection
    operator: OperatorConfig
    secrets: tuple[str, ...] = field(repr=False)
    redactor: Redactor
    tell: Callable[[str], None]
    shared: bool = False
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, plane: ControlPlane) -> Ending:
        """Do both halves of what was asked."""
        earlier = await self._earlier(plane) if self.shared else None
        run_id = earlier.run_id if earlier else self.asked.run_id
        previews, out = PreviewStore(plane.database, run_id), self.inputs.output_dir
        async with self._audited(run_id, *([AuditStore(plane.database, run_id)] if self.shared else [])) as trail:
            output = OutputFolder.at(out) if out is not None else None
            if self.shared and not self.asked.follows:
                await DeliveryStore(plane.database).record(self.asked.delivery(self._said))
            async with self._ended() as open_checks:
                handled = await self._reached(
                    trail, lambda: self._handle(plane, earlier, previews, trail, output, open_checks)
                )
            await trail.handled(handled)
        folder = out.relative_to(self.runner.workspace.resolve()).as_posix() if out else ""
        return _staged(Ending.of(handled, requester=self.asked.trigger.actor, folder=folder), await previews.kept())

    @property
    def _said(self) -> str:
        """The input `command` as a comment would say it, or an empty text."""
        command = self.inputs.command
        return command and f"/orchestrate {command.removeprefix('/orchestrate').strip()}"

    async def generate(self, plane: ControlPlane) -> Ending:
        """Do the half that has keys, and leave what it built for the other one."""
        asked = self.asked
        async with self._audited(asked.run_id) as trail:
            handled = await self._reached(
                trail,
                lambda: generate(
                    asked.trigger,
                    asked.command,
                    self.runner.bundle,
                    github=self.github,
                    plane=InputPlane(plane, self.tell, self.inputs.criteria),
                    effects=EffectStore(plane.database, asked.run_id),
                    operator=self.operator,
                    secrets=self.secrets,
                    spec_path=self.inputs.spec,
                    progress=self._telling(trail),
                ),
            )
            await trail.handled(handled)
        return Ending.of(handled, requester=asked.trigger.actor, unpublished=True)

    async def publish(self) -> Ending:
        """Do the half that may write, with what the other one left."""
        asked, previews = self.asked, MemoryPreviews()
        async with self._audited(asked.run_id) as trail:
            handled = await self._reached(
                trail,
                lambda: publish(
                    asked.trigger,
                    asked.command,
                    self.runner.bundle,
                    github=self.github,
                    operator=self.operator,
                    secrets=self.secrets,
                    spec_path=self.inputs.spec,
                    progress=self._telling(trail),
                    previews=previews,
                ),
            )
            await trail.handled(handled)
        return _staged(Ending.of(handled, requester=asked.trigger.actor), await previews.kept())

    async def _reached(self, trail: AuditTrail, attempt: Callable[[], Awaitable[HandledRun]]) -> HandledRun:
        """Return how a command ended, tried again while GitHub is down: what a job has built is gone with it.

        An attempt makes what is missing and pays nothing twice; the last one raises `Unreachable`.
        """
        for pause in PAUSES:
            try:
                return await attempt()
            except Unreachable as error:
                self.tell(f"{error.message} Trying again in {pause:g} s.")
                await trail.note("unreachable", {"run": self.asked.run_id, "reason": error.message, "pause": pause})
                await self.sleep(pause)
        return await attempt()

    @asynccontextmanager
    async def _ended(self) -> AsyncIterator[set[OpenCheck]]:
        """End the check runs that are left open: nobody takes up by itself what a job leaves (SECURITY 36).

        Those of a run that was lost are left to the job that has it.
        """
        open_checks: set[OpenCheck] = set()
        reason = "The job ran into an internal failure; its log says more."
        try:
            yield open_checks
        except asyncio.CancelledError:
            reason = INTERRUPTED
            raise
        except RunLost:
            open_checks.clear()
            raise
        except OrchestratorError as error:
            reason = str(error)
            raise
        finally:
            if left := await abandon(self.github, self.asked.trigger, open_checks, self.redactor, reason):
                self.tell(left)

    @asynccontextmanager
    async def _audited(self, run_id: str, *more: Audit) -> AsyncIterator[AuditTrail]:
        """Keep what was asked, and that it broke off if it does."""
        asked, folder = self.asked, self.runner.reports or self.runner.state
        redactor = Redactor([*self.secrets, self.github.given_token])
        trail = AuditTrail([AuditFile(folder, run_id), *more], asked.delivery_id, asked.trigger.actor, redactor)
        await trail.asked(asked.trigger, asked.name)
        try:
            yield trail
        except OrchestratorError as error:
            await trail.note("failed", {"run": run_id, "code": error.code})
            raise
        except asyncio.CancelledError:
            await trail.note("interrupted", {"run": run_id})
            raise

    def _telling(self, trail: AuditTrail) -> OnProgress:
        async def told(progress: Progress) -> None:
            self.tell(f"{progress.step}: {progress.detail}")
            await trail.step(progress)

        return told

    async def _handle(
        self,
        plane: ControlPlane,
        earlier: Earlier | None,
        previews: Previews,
        trail: AuditTrail,
        output: OutputFolder | None,
        open_checks: set[OpenCheck],
    ) -> HandledRun:
        asked, inputs = self.asked, self.inputs
        return await handle(
            asked.trigger,
            asked.command,
            github=self.github,
            plane=InputPlane(plane, self.tell, inputs.criteria, output),
            effects=EffectStore(plane.database, asked.run_id),
            operator=self.operator,
            secrets=self.secrets,
            spec_path=inputs.spec,
            progress=self._telling(trail),
            earlier=earlier,
            resumable=self.shared,
            previews=previews,
            open_checks=open_checks,
        )

    async def _earlier(self, plane: ControlPlane) -> Earlier | None:
        """Return the run that a command is about, as the job that began it left it in the shared database.

        To a new run of an issue that is one which is not finished.
        """
        asked = self.asked
        if not isinstance(asked.command, Command):
            return None
        trigger, store, run_id = asked.trigger, DeliveryStore(plane.database), None
        if asked.on_ours:
            run_id = await store.run_of_pull_request(trigger.repository, trigger.issue or 0)
        elif asked.follows:
            run_id = await store.run_about(
                trigger.repository,
                trigger.issue or 0,
                pull_request=trigger.is_pull_request,
                unfinished=asked.command.name == "cancel",
            )
        elif asked.command.name in ("run", "plan") and trigger.issue is not None:
            run_id = await store.standing_run_of(trigger.repository, trigger.issue, besides=asked.run_id)
        return await _known(plane, run_id) if run_id else None


async def _known(plane: ControlPlane, run_id: str) -> Earlier | None:
    """Return what the database knows of a run and what asked for it; of a round also its pull request's run."""
    store = DeliveryStore(plane.database)
    kept = await store.origin(run_id)
    found = origin(kept) if kept else None
    if found is None:
        return None
    root = await store.root_of(run_id)
    return Earlier(run_id, *found, EffectStore(plane.database, run_id), await _known(plane, root) if root else None)


def _staged(ending: Ending, kept: Iterable[str]) -> Ending:
    """Return the ending with its previews, if any: what is only staged is there for nobody, nor for a later step."""
    previews = tuple(map(Preview.from_json, kept))
    return replace(ending, branch="", pull_request=None, pull_request_url="", previews=previews) if previews else ending
