"""What one command works with, and how it says on GitHub that it goes on or has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.codes import Code
from orchestrator.control_plane import Change, Source
from orchestrator.errors import GitHubError, OrchestratorError, RunCancelled, RunLost, SpecFinding, StoreError
from orchestrator.events import Event
from orchestrator.github.api.client import NoRoom, RepositoryClient, Unreachable, Urgency
from orchestrator.github.api.publisher import Effects, Publisher, Reaction
from orchestrator.github.rendering import rounds
from orchestrator.github.rendering.checks import NAMES, Conclusion, spec_check
from orchestrator.github.rendering.markdown import one_line
from orchestrator.github.rendering.marks import note_mark, status_mark
from orchestrator.github.rendering.notes import failure_comment, refusal_comment, spec_comment
from orchestrator.github.rendering.plan import plan_comment
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.rendering.status import ENDINGS, Links, status_comment
from orchestrator.github.runs.live import end_rounds, show_round
from orchestrator.github.runs.rehearsal import StagedEffects
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState, ProjectStatus

STEPS = ("spec", "access", "accepted", "pinned", "cloned", "built", "committed", "opened", "reported", "ended")
SECONDS_BETWEEN_EDITS = 15.0


class Plane(Protocol):
    """What the story needs of the control plane."""

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
        """Run a job to its end, or go on with the run of that id; `retry_failed` re-opens one that has ended."""
        ...

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
        """Have a change reviewed by two providers, as a run of its own, or go on with the one of that id."""
        ...

    async def changes(self, run_id: str) -> Mapping[str, bytes | None]:
        """Return what a run changed: content by path, None for a deleted file."""
        ...

    async def state(self, run_id: str) -> ProjectState | None:
        """Return what is known of a run."""
        ...

    async def cancel(self, run_id: str, actor: str) -> None:
        """Have a run stop before its next call, whoever works on it."""
        ...

    async def cancelled_by(self, run_id: str) -> str | None:
        """Return who cancelled a run, or None."""
        ...

    async def withdraw_cancel(self, run_id: str) -> None:
        """Let a run that was cancelled go on."""
        ...

    async def forget_plan(self, run_id: str) -> None:
        """Forget what a run that waits has planned, so that it plans anew."""
        ...

    async def end_cancelled(self, run_id: str, actor: str) -> ProjectState:
        """End a run that nobody works on as cancelled."""
        ...

    async def job(self, run_id: str) -> JobSpec | None:
        """Return the job a run was submitted with, or None when it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """A step that is done; `step` is one of `STEPS`."""

    run_id: str
    step: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HandledRun:
    """How it ended; `status` is a run's, or `planned`, `answered`, `refused`, `denied` or `spec_invalid`.

    `code` is one of `orchestrator.codes`: the run's outcome, or what kept its result from being published.
    """

    run_id: str
    status: str
    reason: str = ""
    state: ProjectState | None = None
    code: str = ""
    branch: str = ""
    base_sha: str = ""
    head_sha: str = ""
    pull_request: int | None = None
    pull_request_url: str = ""
    report: str = ""
    spec_findings: tuple[SpecFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class Root:
    """The run that a pull request of ours belongs to; a round of `revise` publishes under its marks.

    `issue` is None where it began without one. `authors` are those whose words the round's models see besides the
    command's own. `before` are the rounds with a commit on the branch before this one, the oldest first. `standing` is
    the run or round that made the newest of our commits before this one, where it is known.
    """

    run_id: str
    pull: int
    issue: int | None
    authors: tuple[str, ...] = ()
    before: tuple[rounds.Round, ...] = ()
    standing: ProjectState | None = None


@dataclass(slots=True)
class Desk:
    """What one command works with: the trigger, who writes, who builds, who is told.

    `resumable` tells whether a later command finds the run again, `revisable` whether rounds work here. `payer` is who
    goes on with the run of another one. A round has a `root`, in whose name `publisher` writes.
    """

    trigger: Trigger
    command: Command
    run_id: str
    client: RepositoryClient
    publisher: Publisher
    plane: Plane
    effects: Effects
    redactor: Redactor
    tell: Callable[[Progress], Awaitable[None]] | None
    resumable: bool = False
    payer: str = ""
    root: Root | None = None
    revisable: bool = True

    @classmethod
    def of(
        cls,
        trigger: Trigger,
        command: Command,
        publisher: Publisher,
        plane: Plane,
        *,
        tell: Callable[[Progress], Awaitable[None]] | None = None,
        resumable: bool = False,
        revisable: bool = True,
    ) -> Desk:
        """Return the desk of a command whose run has no root: `publisher` writes in its own name."""
        return cls(
            trigger=trigger,
            command=command,
            run_id=publisher.run_id,
            client=publisher.client,
            publisher=publisher,
            plane=plane,
            effects=publisher.effects,
            redactor=publisher.redactor,
            tell=tell,
            resumable=resumable,
            revisable=revisable,
        )

    @property
    def marks(self) -> str:
        """The id of the run in whose name everything about the pull request is published."""
        return self.root.run_id if self.root else self.run_id

    @property
    def standing(self) -> ProjectState | None:
        """What a round's head was made by, where that is known."""
        return self.root.standing if self.root else None

    async def said(self, step: str, detail: str = "") -> None:
        """Tell whoever listens that a step is done."""
        if self.tell:
            await self.tell(Progress(self.run_id, step, detail))

    async def react(self, content: Reaction, *, urgency: Urgency = "final") -> None:
        """React to the command."""
        trigger = self.trigger
        if trigger.issue is not None:
            await self.publisher.react(trigger.issue, trigger.comment_id, content, event=trigger.event, urgency=urgency)

    async def comment(self, mark: str, body: str, *, urgency: Urgency = "final") -> None:
        """Keep one comment on the issue."""
        if self.trigger.issue is not None:
            await self.publisher.upsert_comment(self.trigger.issue, mark, body, urgency=urgency)

    async def show(self, state: ProjectState, links: Links | None = None, *, urgency: Urgency = "final") -> None:
        """Bring the status comment up to date."""
        known = replace(links or Links(), resumable=self.resumable, revisable=self.revisable)
        parts = (status_comment(state, known), self.about_rounds(state))
        await self.show_text("\n\n".join(part for part in parts if part), urgency=urgency)

    async def show_text(self, text: str, *, urgency: Urgency = "final") -> None:
        """Make the status comment say a text: that of the issue, which a round finds by its root."""
        issue = self.root.issue if self.root else self.trigger.issue
        if issue is not None:
            await self.publisher.upsert_comment(issue, status_mark(self.marks), text, urgency=urgency)

    def about_rounds(self, state: ProjectState) -> str:
        """Return the section about the pull request's rounds; empty where there is none."""
        if self.root is None:
            return ""
        return rounds.section(self.root.pull, self.root.before, state, self.trigger.actor)

    async def remember(self, kind: str, value: str) -> str:
        """Return what this run once decided of a kind, else decide `value`."""
        state, known = await self.effects.begin(kind, "decided")
        if state == "done":
            return known
        await self.effects.done(kind, "decided", value)
        return value


@dataclass(frozen=True, slots=True)
class Earlier:
    """The run that a command is about: its id, what asked for it, and what it has left on GitHub.

    Of a round `root` is the run that its pull request belongs to, where that is known.
    """

    run_id: str
    trigger: Trigger
    command: Command
    effects: Effects
    root: Earlier | None = None

    def staged(self) -> Earlier:
        """Return the run with effects on the stage, where nothing is written."""
        root = self.root.staged() if self.root else None
        return replace(self, effects=StagedEffects(self.effects), root=root)

    def desk(self, desk: Desk, *, reacts_to: Trigger, budget_usd: float | None = None) -> Desk:
        """Return the desk of this run: its trigger and marks, with the reactions going where `reacts_to` came from.

        A repository that turned private is private from here on, and its default branch is that of the command.
        """
        trigger = replace(
            self.trigger,
            comment_id=reacts_to.comment_id,
            event=reacts_to.event,
            private=self.trigger.private or desk.trigger.private,
            default_branch=desk.trigger.default_branch,
        )
        return Desk(
            trigger=trigger,
            command=replace(self.command, budget_usd=budget_usd or self.command.budget_usd),
            run_id=self.run_id,
            client=desk.client,
            publisher=desk.publisher.of_run(self.run_id, self.effects),
            plane=desk.plane,
            effects=self.effects,
            redactor=desk.redactor,
            tell=desk.tell,
            resumable=desk.resumable,
            payer=desk.trigger.actor,
            revisable=desk.revisable,
        )


# following a run


@asynccontextmanager
async def followed(
    desk: Desk, *, head: str = "", names: Sequence[str] = NAMES
) -> AsyncIterator[Callable[[Event], Awaitable[None]]]:
    """Keep the status comment up to date while the block runs, at most every 15 seconds.

    A round that works on a `head` shows there too, in the check runs `names` of the publisher's run, which are in
    progress until they are concluded, or `end_rounds` ends them.
    """
    happened, over = asyncio.Event(), asyncio.Event()

    async def on_event(_: Event) -> None:
        happened.set()

    async def follow() -> None:
        while True:
            await happened.wait()
            happened.clear()
            if over.is_set():
                return
            state = await desk.plane.state(desk.run_id)
            if state is not None and not state.status.ended:
                await _show_if_possible(desk, state, head, names)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SECONDS_BETWEEN_EDITS)

    async def end() -> BaseException | None:
        # A write under way is awaited: cut off, it could arrive after the next look, and make a second comment.
        over.set()
        happened.set()
        await asyncio.wait({follower})
        return follower.exception()

    follower = asyncio.create_task(follow())
    try:
        yield on_event
    except BaseException as error:
        # A run that is lost is lost to both: the block's own error counts, and the follower's goes with it.
        if also := await end():
            error.add_note(f"Following the run failed too: {type(also).__name__}: {also}")
        raise
    if alone := await end():
        raise alone


async def _show_if_possible(desk: Desk, state: ProjectState, head: str, names: Sequence[str]) -> None:
    """Show progress, which is a courtesy: what must be said is said at the end, and fails there if it must."""
    try:
        await desk.show(state, urgency="progress")
        if head and (note := await show_round(desk.publisher, state, head, names)):
            await desk.said("accepted", note)
    except NoRoom as full:
        await desk.said("accepted", full.message)
    except GitHubError as error:
        await desk.said("accepted", f"progress could not be shown: {error.message}")


# other endings


async def answer(desk: Desk, body: str) -> HandledRun:
    """Answer with a comment and no run."""
    await desk.comment(note_mark(desk.run_id), body)
    await desk.react("rocket")
    await desk.said("ended", "answered")
    return HandledRun(desk.run_id, "answered", code=Code.ANSWERED, report=body)


async def refuse(desk: Desk, message: str, lead: str = "Not started", code: Code = Code.REFUSED) -> HandledRun:
    """Say why nothing was started, and what to do."""
    body = refusal_comment(message, lead, code)
    await desk.comment(note_mark(desk.run_id), body)
    await desk.react("confused")
    await desk.said("ended", "refused")
    return HandledRun(desk.run_id, "refused", message, code=code, report=body)


async def refuse_spec(desk: Desk, findings: tuple[SpecFinding, ...], head: str | None, branch: str) -> HandledRun:
    """Say what is wrong in the spec at the head of a branch, on the issue and at its lines."""
    body = spec_comment(findings, "" if branch == desk.trigger.default_branch else branch)
    if head is not None:
        await desk.publisher.upsert_check_run(head, spec_check(findings))
    await desk.comment(note_mark(desk.run_id), body)
    await desk.react("confused")
    await desk.said("ended", "spec_invalid")
    return HandledRun(
        desk.run_id,
        "spec_invalid",
        findings[0].message,
        code=Code.SPEC_INVALID,
        base_sha=head or "",
        report=body,
        spec_findings=findings,
    )


async def planned(desk: Desk, state: ProjectState, base_sha: str, above_usd: float | None) -> HandledRun:
    """Show the plan; `above_usd` is the threshold that its forecast is above, so that it waits."""
    body = plan_comment(state, approvable=desk.resumable, waits_above_usd=above_usd)
    waits = above_usd is not None
    good = bool(state.tasks) and not waits
    await desk.comment(status_mark(desk.run_id), body)
    await desk.react("rocket" if good else "confused")
    status = ProjectStatus.WAITING.value if waits else "planned" if state.tasks else state.status.value
    await desk.said("ended", status)
    return HandledRun(
        desk.run_id, status, state.outcome.reason, state, code=state.outcome.code, base_sha=base_sha, report=body
    )


async def fail(desk: Desk, error: OrchestratorError) -> HandledRun:
    """Say that the run failed, and why; raises the error where the command is handled again once it is over."""
    if isinstance(error, Unreachable | RunLost) or (desk.resumable and isinstance(error, StoreError)):
        raise error
    status = ProjectStatus.CANCELLED if isinstance(error, RunCancelled) else ProjectStatus.FAILED
    body = failure_comment(f"{ENDINGS[status]}: {one_line(error.message)}", error.hint, error.code)
    conclusion: Conclusion = "cancelled" if status is ProjectStatus.CANCELLED else "failure"
    await end_rounds(desk.publisher, conclusion, ENDINGS[status], one_line(error.message))
    if desk.trigger.is_pull_request and desk.command.name != "review":
        await desk.comment(note_mark(desk.run_id), body)
    if desk.root is not None or not desk.trigger.is_pull_request or desk.command.name == "review":
        await desk.show_text(body)
    await desk.react("confused")
    await desk.said("ended", status.value)
    state = await desk.plane.state(desk.run_id)
    return HandledRun(desk.run_id, status.value, error.message, state, code=error.code, report=body)
