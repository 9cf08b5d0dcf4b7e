"""One round of `revise`: the feedback on a pull request of ours, built on its head and brought onto its branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.context import ContextRules
from orchestrator.github.api.access import Access
from orchestrator.github.api.client import Refused
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.api.pull_requests import opened, updated
from orchestrator.github.api.repository import Moved, commit_files, head_of
from orchestrator.github.rendering.commits import commit_message
from orchestrator.github.rendering.markdown import code, fit, one_line
from orchestrator.github.rendering.marks import note_mark
from orchestrator.github.rendering.report import pull_request_body
from orchestrator.github.rendering.rounds import Round
from orchestrator.github.rendering.status import Links, how_to_go_on
from orchestrator.github.reviews.feedback import gather, open_threads
from orchestrator.github.reviews.threads import reply_to_thread, review_threads
from orchestrator.github.runs.conventions import in_template, requested_by, trailers
from orchestrator.github.runs.desk import Desk, Earlier, HandledRun, Root, refuse
from orchestrator.github.runs.early import end_early, goes_on, in_name_of
from orchestrator.github.runs.live import end_rounds
from orchestrator.github.runs.ours import Ours, OwnCommit, issue_of, ours
from orchestrator.github.runs.untrusted import held_back
from orchestrator.github.stories.build import (
    MAX_BODY,
    build,
    ended,
    holds_ci_back,
    job_of,
    made_ready,
    note_delivered,
    refuse_leaks,
)
from orchestrator.hidden import visible
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import Feedback, JobSpec
from orchestrator.state import ProjectState, ProjectStatus

MAX_REPLIES = 20
LEAD = "Not revised"
NOT_PUSHED = "Not pushed"
NO_NEW_COMMIT = ("The round ended without a new commit", "What came of it stands in the status comment.")


async def revise(
    desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig, access: Access
) -> HandledRun:
    """Begin a round, or go on with one that a crash interrupted; `earlier` is the pull request's run, where known."""
    found = await ours(desk, earlier.run_id if earlier else "")
    if isinstance(found, str):
        return await _gone(desk, earlier, found)
    state = await desk.plane.state(found.run_id)
    begun = await desk.plane.state(desk.run_id) is not None
    if state is not None and not state.status.final and not begun:
        return await refuse(
            desk,
            "the run of this pull request is not finished. Wait for its end, or comment `/orchestrate cancel` first.",
            LEAD,
        )
    return await go_on(desk, spec, earlier, operator, access, found=found)


async def go_on(
    desk: Desk,
    spec: JobSpec,
    earlier: Earlier | None,
    operator: OperatorConfig,
    access: Access,
    *,
    found: Ours | None = None,
    resumed_by: str = "",
    retry: bool = False,
) -> HandledRun:
    """Work on a round until it ends; `retry` re-opens one that has ended, for the command whose source is given."""
    known = found or await ours(desk, earlier.run_id if earlier else "")
    if isinstance(known, str):
        return await _gone(desk, earlier, known)

    # 1. The head is pinned, and the round belongs to its pull request's run from here on.
    await join_round(desk, known, earlier)
    mine = own_commits(desk, known)
    base_sha = await desk.remember("base", mine[0].parent if mine else known.pull.head.sha)
    branch = await desk.remember("branch", known.branch)
    on_top = {base_sha} if not mine else {mine[-1].sha}
    if known.pull.head.sha not in on_top and (resumed_by or not mine):
        return await _moved(desk, branch, base_sha)

    # 2. What is to be answered is read once: a round that goes on must ask its models the same.
    before = await desk.plane.job(desk.run_id)
    job = job_of_round(spec, desk, earlier, operator, await _app_type(desk))
    rules = ContextRules(job.context.include, job.context.exclude)
    feedback = before.feedback if before else None
    if feedback is None:
        feedback = await gather(
            desk.client,
            desk.trigger,
            base_sha,
            rules,
            login=desk.publisher.login,
            authors=[it.author for it in known.commits],
        )
    return await build(
        desk,
        replace(job, feedback=feedback),
        access,
        resumed_by=resumed_by,
        retry=retry,
        delivering=deliver_round,
    )


async def _gone(desk: Desk, root: Earlier | None, why: str) -> HandledRun:
    """Refuse a round whose pull request is not there to be revised, and end one that had begun."""
    state = await desk.plane.state(desk.run_id)
    if goes_on(state):
        return await end_early(desk, root, why.removesuffix("."))
    if state is not None and root is not None:
        await in_name_of(desk, root)
        await end_rounds(desk.publisher, "cancelled", *NO_NEW_COMMIT, desk.standing)
    return await refuse(desk, why, LEAD)


async def join_round(desk: Desk, found: Ours, earlier: Earlier | None) -> None:
    """Have a desk be a round's: from here on it publishes in the name of its pull request's run."""
    effects = earlier.effects if earlier else MemoryEffects()
    await effects.begin("round", desk.run_id)
    await effects.done("round", desk.run_id, str(found.number))
    issue = earlier.trigger.issue if earlier else await issue_of(desk, found)
    authors = (earlier.trigger.author, earlier.trigger.actor) if earlier else ()
    before = [
        Round(it.round, it.sha, await desk.plane.state(it.round))
        for it in {one.round: one for one in found.commits if one.run == found.run_id and one.round}.values()
        if it.round != desk.run_id
    ]
    desk.publisher = desk.publisher.of_run(found.run_id, effects)
    standing = before[-1].state if before else await desk.plane.state(found.run_id)
    desk.root = Root(found.run_id, found.number, issue, authors, tuple(before), standing)


def own_commits(desk: Desk, found: Ours) -> list[OwnCommit]:
    """Return the commits that this round has made on the branch, the oldest first."""
    return [it for it in found.commits if it.round == desk.run_id]


def job_of_round(
    spec: JobSpec, desk: Desk, earlier: Earlier | None, operator: OperatorConfig, app_type: str | None
) -> JobSpec:
    """Return what is asked: the command's text, within the caps of operator, spec and the pull request's run.

    What that run was asked for is background.
    """
    caps = [desk.command.budget_usd or (earlier.command.budget_usd if earlier else None)]
    command = replace(desk.command, budget_usd=caps[0], app_type=app_type)
    job = job_of(spec, replace(desk.trigger, body=""), command, operator)
    if earlier is None:
        return job
    asked = (earlier.trigger.title, earlier.trigger.body, earlier.command.text)
    began = "\n\n".join(part for part in (visible(text).strip() for text in asked) if part)
    background = "\n\n".join(part for part in (job.background, f"The change began with this job:\n{began}") if part)
    return replace(job, background=background)


async def _app_type(desk: Desk) -> str | None:
    state = await desk.plane.state(desk.marks)
    return state.app_type or None if state else None


async def deliver_round(
    desk: Desk, job: JobSpec, access: Access, state: ProjectState, base_sha: str, branch: str
) -> HandledRun:
    """Bring what a round built onto the branch, and its pull request, report, checks and comments up to date."""
    found = await ours(desk, desk.marks)
    if isinstance(found, str):
        await end_rounds(desk.publisher, "cancelled", *NO_NEW_COMMIT, desk.standing)
        await desk.show_text(f"{NOT_PUSHED}: {found}")
        return await refuse(desk, found, NOT_PUSHED)
    pull = opened(found.pull)

    # 3. What was built becomes one more verified commit, unless the branch moved meanwhile.
    changes = await desk.plane.changes(desk.run_id)
    mine = own_commits(desk, found)
    if not changes:
        return await _unchanged(desk, state, found, base_sha)
    refuse_leaks(changes, desk.redactor)
    root = desk.root
    if root is None:
        raise AssertionError("a round has a root")
    if mine and found.pull.head.sha != mine[-1].sha:
        # People went on from this round's commit before it could be reported: theirs stays on top.
        head, why = mine[-1].sha, ""
    else:
        skip_checks, why = await _holds_back(desk, job, changes, access, found, base_sha)
        title = desk.publisher.safe(visible(state.title or found.pull.title, plain=True), plain=True)
        message = commit_message(
            f"Revise: {title}",
            desk.publisher.safe("\n".join(f"- {one_line(task.title)}" for task in state.tasks[:50]), plain=True),
            root.run_id,
            skip_checks=skip_checks,
            round_id=desk.run_id,
            trailers=[
                desk.publisher.safe(it, plain=True)
                for it in await trailers(desk.client, job.commit, desk.trigger.actor, state)
            ],
        )
        try:
            head = await commit_files(
                desk.client,
                base_sha=base_sha,
                branch=branch,
                changes=changes,
                message=message,
                run_id=desk.run_id,
                pushes=desk.effects,
                expected_head=base_sha,
            )
        except Moved:
            return await _moved(desk, branch, base_sha)
    if head == base_sha:
        return await _unchanged(desk, state, found, base_sha)
    await desk.said("committed", f"{branch}@{head[:12]}")

    # 4. The same pull request: its title stays, its text tells of this round.
    completed = state.status is ProjectStatus.COMPLETED
    asked = await _feedback(desk, job)
    notes = [*([why] if why else []), *(asked.notes if asked else ())]
    body = pull_request_body(state, root.issue, [requested_by(desk.trigger.actor), *notes])
    text = await in_template(desk, fit(body, MAX_BODY), closes=root.issue if completed else None)
    pull = await updated(desk.client, found.pull, found.pull.title, text)
    pull = await made_ready(desk, pull, completed and not job.github.draft)
    await desk.said("opened", pull.url)
    if completed:
        notes += await _answer_threads(desk, root.pull, head, changes)
    return await ended(desk, job, state, base_sha, branch, head, pull, notes)


async def _holds_back(
    desk: Desk, job: JobSpec, changes: Mapping[str, bytes | None], access: Access, found: Ours, base_sha: str
) -> tuple[bool, str]:
    """Tell whether the round's commit must hold the repository's CI back, as the head below it may do already."""
    asked = await _feedback(desk, job)
    authors = (*(desk.root.authors if desk.root else ()), *(asked.authors if asked else ()))
    held, why = await holds_ci_back(desk, job, changes, access, authors)
    below = next((it for it in found.commits if it.sha == base_sha), None)
    if not held and job.github.hold_ci and below is not None and below.holds_ci:
        return True, held_back("it was held back on the commit below, and nobody has let it run")
    return held, why


async def _feedback(desk: Desk, job: JobSpec) -> Feedback | None:
    """Return what the round was told: a command that ends it, such as `cancel`, has it from the store."""
    asked = job if job.feedback else await desk.plane.job(desk.run_id)
    return asked.feedback if asked else None


async def _answer_threads(desk: Desk, number: int, head: str, changes: Mapping[str, bytes | None]) -> list[str]:
    """Say on each thread of a person whose file this round changed where to look; resolving it is theirs.

    A thread on which we spoke last, be it before a crash, is left alone. Returns a note where GitHub refuses answers.
    """
    login = desk.publisher.login
    threads = await review_threads(desk.client, number)
    waiting = {it.id for it in threads if it.comments and it.comments[-1].author != login}
    told = await open_threads(desk.client, threads, before=desk.trigger.created_at, login=login)
    theirs = [it for it in told if it.path in changes and it.comments[0].author != login and it.id in waiting]
    # GitHub takes answers to a thread's first comment alone, whoever wrote that one.
    first = {it.id: it.comments[0].id for it in threads if it.comments}
    refused = []
    for thread in theirs[:MAX_REPLIES]:
        body = f"{head} changes this file. Is the point met? If it is, please resolve the thread."
        try:
            await reply_to_thread(desk.client, number, first[thread.id], desk.publisher.safe(body))
        except Refused as error:
            refused.append(f"A review thread was not answered: {error.message}")
    return refused[:1]


async def _unchanged(desk: Desk, state: ProjectState, found: Ours, base_sha: str) -> HandledRun:
    """Say that a round changed nothing, and why; the pull request stays as it is."""
    links = Links(found.number, found.pull.html_url, found.branch, resumable=desk.resumable)
    why = one_line(state.outcome.reason).rstrip(".") or "nothing was built"
    if state.outcome.code in ("nothing_to_do", "changed"):
        hint = "The offline model changes only what it knows by name." if state.offline else ""
    elif desk.resumable:
        hint = how_to_go_on(state, links)
    else:
        hint = "To try again, comment `/orchestrate revise` with a hint about what to do otherwise."
    body = f"Nothing was changed: {why}. {hint}".rstrip()
    await end_rounds(desk.publisher, "cancelled", *NO_NEW_COMMIT, desk.standing)
    await desk.show(state, links)
    await desk.comment(note_mark(desk.run_id), body)
    await desk.react("confused")
    await note_delivered(desk.effects)
    await desk.said("ended", state.status.value)
    return HandledRun(
        desk.run_id,
        state.status.value,
        state.outcome.reason,
        state,
        branch=found.branch,
        base_sha=base_sha,
        pull_request=found.number,
        pull_request_url=links.url,
        report=body,
    )


async def _moved(desk: Desk, branch: str, base_sha: str) -> HandledRun:
    """Say that the branch has moved while the round worked, and what to do."""
    now = await head_of(desk.client, branch)
    said = (
        f"the branch `{code(branch)}` has moved from {base_sha[:12]} to {now[:12] if now else 'nowhere'} while this "
        "round worked, and what others push is never overwritten. Comment `/orchestrate revise` again: the next round "
        "works on the new head."
    )
    await end_rounds(desk.publisher, "cancelled", *NO_NEW_COMMIT, desk.standing)
    await desk.show_text(f"{NOT_PUSHED}: {said}")
    return await refuse(desk, said, NOT_PUSHED)
