"""Commands about a run that exists: approve, cancel and resume, and when each is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import replace

from orchestrator.codes import Code
from orchestrator.errors import GitHubError, OrchestratorError
from orchestrator.github.api.access import Access, may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.publisher import MemoryEffects, OpenCheck, Publisher
from orchestrator.github.api.pull_requests import find_pull_request
from orchestrator.github.api.repository import head_of, is_commit_of, is_own_head, message_of
from orchestrator.github.rendering.checks import CheckRun
from orchestrator.github.rendering.commits import CI_TRAILER, ROUND_TRAILER, is_ours, trailer
from orchestrator.github.rendering.markdown import code
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.rendering.status import ENDINGS, Links
from orchestrator.github.runs.desk import (
    Desk,
    Earlier,
    HandledRun,
    Plane,
    fail,
    refuse,
)
from orchestrator.github.runs.early import in_name_of
from orchestrator.github.runs.live import end_rounds
from orchestrator.github.runs.ours import ours
from orchestrator.github.stories.build import binding, build, deliver, ended, is_delivered, job_of, note_delivered
from orchestrator.github.stories.revise import NO_NEW_COMMIT, deliver_round, go_on, join_round
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState, ProjectStatus

NO_RUN = "there is no run for this issue yet. To start one, comment `/orchestrate`."

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_STOP = 10.0
"""Whoever works on a run looks for its cancellation several times a second; after this nobody does any more."""
SECONDS_AT_REST = 2.0
"""A run between two of its steps looks like one that nobody works on, for a moment."""
SECONDS_TO_ABANDON = 5.0
"""A runner that cancels a job kills it soon after."""
_AT_REST = (ProjectStatus.WAITING, ProjectStatus.INTERRUPTED)


def why_not_approved(state: ProjectState | None) -> str:
    """Return why there is nothing to approve, or an empty string."""
    if state is None:
        return "there is no plan of this issue yet. To make one, comment `/orchestrate plan`."
    if state.status is ProjectStatus.WAITING and state.tasks:
        return ""
    if state.status.ended:
        return f"the run has ended already ({ENDINGS[state.status].lower()}). {_next(state)}"
    return "the run does not wait for an approval."


def why_not_cancelled(state: ProjectState | None, cancelled_by: str | None) -> str:
    """Return why a run cannot be cancelled, or an empty string; one that was cancelled already may be again."""
    if state is None or not state.status.final or cancelled_by is not None:
        return ""
    return f"the run has ended already ({ENDINGS[state.status].lower()}). {_next(state)}"


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


async def stopped(plane: Plane, run_id: str) -> ProjectState | None:
    """Wait until a run that was cancelled has ended, and return its state as it is then; None if it never began."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        state = await plane.state(run_id)
        if state is not None and state.status.final:
            return state
        patience = SECONDS_AT_REST if state is not None and state.status in _AT_REST else SECONDS_TO_STOP
        if clock() - began > patience:
            return state
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


# the stories


async def cancel(
    desk: Desk,
    spec: JobSpec,
    earlier: Earlier | None,
    operator: OperatorConfig,
    begin_now: Callable[[str], Awaitable[None]] | None,
) -> HandledRun:
    """Stop a run; whoever works on it delivers what was built, and where nobody does, that is done here."""
    if earlier is None:
        return await refuse(desk, NO_RUN, "Nothing to cancel", Code.NO_RUN)
    run_id, actor, source = earlier.run_id, desk.trigger.actor, desk.trigger.source
    refusal = why_not_cancelled(await desk.plane.state(run_id), await desk.plane.cancelled_by(run_id))
    if refusal:
        return await refuse(desk, refusal, "Nothing to cancel", Code.NOT_CANCELLABLE)
    await desk.plane.cancel(run_id, actor)
    if begin_now is not None:
        await begin_now(run_id)
    state = await stopped(desk.plane, run_id)
    _, taken = await earlier.effects.begin("cancel", source)
    if state is not None and (taken or not state.status.final):
        await earlier.effects.done("cancel", source, "taken over")
        if not state.status.final:
            state = await desk.plane.end_cancelled(run_id, actor)
        theirs = earlier.desk(desk, reacts_to=earlier.trigger)
        delivered = await _delivered(theirs, spec, earlier, operator, state)
        if isinstance(delivered, str):
            return await refuse(desk, f"{run_id} is cancelled, but {delivered}", "Nothing to deliver")
    elif state is not None and state.status is not ProjectStatus.CANCELLED:
        return await refuse(desk, why_not_cancelled(state, None), "Nothing to cancel", Code.NOT_CANCELLABLE)
    await desk.react("rocket")
    await desk.said("ended", "answered")
    return HandledRun(desk.run_id, "answered", f"{run_id} is cancelled", state, code=Code.ANSWERED)


async def _delivered(
    theirs: Desk, spec: JobSpec, earlier: Earlier, operator: OperatorConfig, state: ProjectState
) -> HandledRun | str:
    """Bring what a run that has ended built onto GitHub without any model; return why there is nowhere to bring it."""
    job = job_of(spec, theirs.trigger, theirs.command, operator)
    delivering = deliver
    if earlier.command.name == "revise":
        delivering = deliver_round
        found = await ours(theirs, earlier.root.run_id if earlier.root else "")
        if isinstance(found, str):
            if earlier.root is not None:
                await in_name_of(theirs, earlier.root)
            await end_rounds(theirs.publisher, "cancelled", *NO_NEW_COMMIT, theirs.standing)
            await theirs.show(state)
            return found
        await join_round(theirs, found, earlier.root)
    _, base_sha = await theirs.effects.begin("base", "decided")
    _, branch = await theirs.effects.begin("branch", "decided")
    try:
        if base_sha and branch:
            return await delivering(theirs, job, await _access(theirs), state, base_sha, branch)
        return await ended(theirs, job, state, base_sha)
    except OrchestratorError as error:
        return await fail(theirs, error)


async def approve(desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig) -> HandledRun:
    """Build the plan that waits, if it is still the one that was shown; else plan anew, and ask again."""
    if earlier is None:
        return await refuse(desk, why_not_approved(None), "Not approved", Code.NO_RUN)
    run_id, source, effects = earlier.run_id, desk.trigger.source, earlier.effects
    theirs = earlier.desk(desk, reacts_to=desk.trigger)
    job = job_of(spec, theirs.trigger, theirs.command, operator)
    _, stage = await effects.begin("approve", source)
    if not stage:
        state = await desk.plane.state(run_id)
        refusal = why_not_approved(state)
        if state is None or refusal:
            if state is not None and (await effects.begin("approved", "plan"))[1]:
                await desk.react("rocket" if state.status is ProjectStatus.COMPLETED else "confused")
                return HandledRun(desk.run_id, "answered", "the plan was approved before", state, code=Code.ANSWERED)
            return await refuse(desk, refusal, "Not approved", Code.NOT_APPROVABLE)
        if refusal := await _blocked(desk, earlier):
            return await refuse(desk, refusal, "Not approved", Code.BRANCH_TAKEN)
        _, shown = await effects.begin("plan", "shown")
        _, base_sha = await effects.begin("base", "decided")
        if shown == binding(state, job, base_sha):
            await effects.begin("approved", "plan")
            await effects.done("approved", "plan", shown)
            stage = "approved"
        else:
            stage = "asks again"
            base = await head_of(desk.client, theirs.command.base or theirs.trigger.default_branch)
            await effects.done("base", "decided", base or base_sha)
        # Before the plan goes: called again after a crash, a plan that nobody has seen must not pass for approved.
        await effects.done("approve", source, stage)
        if stage == "asks again":
            await desk.plane.forget_plan(run_id)
    elif stage == "approved":
        # What was approved is built, whatever the spec says by now (SECURITY 16).
        job = await desk.plane.job(run_id) or job
    if stage == "asks again":
        theirs = replace(theirs, command=replace(theirs.command, name="plan"))
    try:
        return await build(theirs, job, await _access(theirs))
    except OrchestratorError as error:
        return await fail(theirs, error)


async def resume(desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig) -> HandledRun:
    """Go on with a run that stopped early: its branch, its comments, its pull request; a new cap replaces the old."""
    if earlier is None:
        return await refuse(desk, NO_RUN, "Not resumed", Code.NO_RUN)
    if earlier.command.name == "review":
        said = "a review does not go on. To ask again, comment `/orchestrate review`."
        return await refuse(desk, said, "Not resumed", Code.NOT_RESUMABLE)
    run_id, source = earlier.run_id, desk.trigger.source
    state = await desk.plane.state(run_id)
    _, stage = await earlier.effects.begin("resume", source)
    if not stage:
        built = state is not None and state.status is ProjectStatus.COMPLETED
        undelivered = built and not await is_delivered(earlier.effects)
        if not undelivered and (refusal := why_not_resumed(state)):
            return await refuse(desk, refusal, "Not resumed", Code.NOT_RESUMABLE)
        blocked = "" if earlier.command.name == "revise" else await _blocked(desk, earlier)
        if blocked:
            return await refuse(desk, blocked, "Not resumed", Code.BRANCH_TAKEN)
        stage = "delivers" if undelivered else ""
        if not undelivered:
            await desk.plane.withdraw_cancel(run_id)
            await note_delivered(earlier.effects, "")
        await earlier.effects.done("resume", source, stage or "going on")
    if stage == "delivers" and state is not None:
        delivered = await _delivered(earlier.desk(desk, reacts_to=desk.trigger), spec, earlier, operator, state)
        return await refuse(desk, delivered, "Not resumed") if isinstance(delivered, str) else delivered
    budget = desk.command.budget_usd
    _, before = await earlier.effects.begin("budget", "resumed")
    if budget is not None:
        await earlier.effects.done("budget", "resumed", str(budget))
    theirs = earlier.desk(desk, reacts_to=desk.trigger, budget_usd=budget or (float(before) if before else None))
    job = job_of(spec, theirs.trigger, theirs.command, operator)
    retry = stage != "over" and state is not None and state.status.final
    access = await _access(theirs)
    try:
        if earlier.command.name == "revise":
            return await go_on(theirs, spec, earlier.root, operator, access, resumed_by=source, retry=retry)
        return await build(theirs, job, access, resumed_by=source, retry=retry)
    except OrchestratorError as error:
        return await fail(theirs, error)


async def show_again(desk: Desk, earlier: Earlier, state: ProjectState) -> None:
    """Bring the status comment of a run that goes on up to date; one that ends meanwhile is shown as it has ended."""
    theirs = earlier.desk(desk, reacts_to=earlier.trigger)
    if earlier.root is not None:
        await in_name_of(theirs, earlier.root)
    await theirs.show(state)
    now = await desk.plane.state(earlier.run_id)
    if now is None or not now.status.final:
        return
    # Whoever worked on it may have said so just before this wrote over it.
    _, branch = await earlier.effects.begin("branch", "decided")
    pull = await find_pull_request(desk.client, head=branch) if branch else None
    await theirs.show(now, Links(pull.number, pull.html_url, branch) if pull else None)


async def abandon(
    github: GitHubConnection, trigger: Trigger, open_checks: Collection[OpenCheck], redactor: Redactor, reason: str
) -> str:
    """End as failure the check runs that `handle` has left open and that nobody takes up; return why one stays open."""
    if not open_checks:
        return ""
    client = github.repository(trigger.repository, trigger.installation_id)
    async with aclosing(client):
        try:
            async with asyncio.timeout(SECONDS_TO_ABANDON):
                for run_id, head_sha, name in sorted(open_checks):
                    publisher = Publisher(client, run_id=run_id, redactor=redactor, effects=MemoryEffects(), login="")
                    check = CheckRun(name, "failure", "The round ended early", reason)
                    await publisher.end_check_run(head_sha, check)
        except (GitHubError, TimeoutError) as error:
            return f"A check run may be left open: {error}"
    return ""


async def _blocked(desk: Desk, earlier: Earlier) -> str:
    """Return why nothing more may go onto a run's branch, or an empty string: what people did there stays."""
    _, branch = await earlier.effects.begin("branch", "decided")
    head = await head_of(desk.client, branch) if branch else None
    _, base_sha = await earlier.effects.begin("base", "decided")
    if head is not None and not await is_own_head(
        desk.client, head, run_id=earlier.run_id, base_sha=base_sha, pushes=earlier.effects
    ):
        message = await message_of(desk.client, head)
        if is_ours(message, earlier.run_id) and trailer(message, ROUND_TRAILER):
            return "its pull request has been revised since. To go on, comment `/orchestrate revise` there."
        if is_ours(message, earlier.run_id) and trailer(message, CI_TRAILER):
            return "CI was let run on its pull request since. To go on, comment `/orchestrate revise` there."
        return f"the branch `{code(branch)}` holds commits that are not this run's, which stay as they are."
    if not branch or await find_pull_request(desk.client, head=branch) is not None:
        return ""
    closed = await find_pull_request(desk.client, head=branch, state="closed")
    if closed is None or not await is_commit_of(desk.client, closed.head.sha, earlier.run_id):
        return ""
    return f"its pull request {closed.html_url} is closed. Open it again, or begin anew with `/orchestrate`."


async def _access(desk: Desk) -> Access:
    """Return what whoever asked for a run may do now: their words reached the models."""
    return await may_command(desk.client, desk.trigger.actor, "write")
