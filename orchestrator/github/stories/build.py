"""One run on GitHub: its commit and branch pinned, built, and delivered as commit, pull request, report and checks."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from orchestrator.codes import Code
from orchestrator.control_plane import Source
from orchestrator.errors import GitHubError
from orchestrator.events import Event
from orchestrator.github.api.access import WRITING, Access, may_command
from orchestrator.github.api.client import Refused
from orchestrator.github.api.clone import clone
from orchestrator.github.api.publisher import Effects
from orchestrator.github.api.pull_requests import (
    OpenedPullRequest,
    add_labels,
    find_pull_request,
    open_pull_request,
    opened,
)
from orchestrator.github.api.repository import branches_under, commit_files, head_of, is_commit_of
from orchestrator.github.rendering.checks import check_names
from orchestrator.github.rendering.commits import branch_name, commit_message
from orchestrator.github.rendering.markdown import code, fit, one_line
from orchestrator.github.rendering.marks import report_mark
from orchestrator.github.rendering.report import pull_request_body, report_comment
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.rendering.status import Links
from orchestrator.github.rendering.summaries import check_runs
from orchestrator.github.reviews.line_comments import remark_on_lines
from orchestrator.github.reviews.threads import mark_ready
from orchestrator.github.runs import answers
from orchestrator.github.runs.conventions import ask_for_review, in_template, requested_by, trailers
from orchestrator.github.runs.desk import (
    Desk,
    HandledRun,
    Plane,
    followed,
    planned,
    refuse,
)
from orchestrator.github.runs.live import end_rounds
from orchestrator.github.runs.untrusted import ci_paths, held_back
from orchestrator.github.triggers.command import Command, Refusal
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.hidden import visible
from orchestrator.operator_config import OperatorConfig
from orchestrator.policy import EnforcementMode, Policy, PolicySet, combine
from orchestrator.records import is_record
from orchestrator.specs import JobSpec, merge_issue, narrow, to_json
from orchestrator.state import ProjectState, ProjectStatus

MAX_BRANCHES = 50
_DELIVERED = ("delivered", "run")
_TOO_DEAR = (
    "its forecast is above `require_approval_above_usd`, so nothing was built. Ask for less in one comment, or raise "
    "the threshold in `.orchestrator.yaml`."
)
MAX_BODY = 40_000
"""Of our part of a pull request's text, in letters; with the longest template it stays within GitHub's 65,536."""
_NO_TRAINING = Policy(name="private-repository", allow_training_on_output=False, enforcement_mode=EnforcementMode.HARD)


class Delivering(Protocol):
    """How what a run built comes onto GitHub."""

    async def __call__(
        self, desk: Desk, job: JobSpec, access: Access, state: ProjectState, base_sha: str, branch: str
    ) -> HandledRun:
        """Bring what a run that has ended built onto its branch and into its pull request."""
        ...


async def build(
    desk: Desk,
    job: JobSpec,
    access: Access,
    *,
    resumed_by: str = "",
    retry: bool = False,
    delivering: Delivering | None = None,
) -> HandledRun:
    """Build a run, or go on with it; `retry` re-opens one that has ended, for the command whose source is given.

    What it built is brought onto GitHub by `delivering`, or by `deliver`.
    """
    trigger, command, run_id = desk.trigger, desk.command, desk.run_id

    # 1. The base commit and our branch are decided once and hold for the whole run.
    base_sha, branch, refusal = await pinned(desk, job)
    if refusal is not None:
        return await refuse(desk, refusal.message, code=refusal.code)

    # 2. The base commit's files go to the engine, which builds while the status comment follows.
    with tempfile.TemporaryDirectory(prefix="orchestrator-clone-") as folder:
        root = Path(folder) / "base"
        token = await desk.client.token()
        await clone(desk.client.server_url, trigger.repository, base_sha, root, token=token)
        await desk.said("cloned", base_sha)
        source = Source(root, trigger.repository, desk.payer or trigger.actor)
        head = await shown_head(desk, branch)
        async with followed(desk, head=head, names=check_names(single=job.github.checks == "one")) as on_event:
            _, approved = await desk.effects.begin("approved", "plan")
            asks = command.name == "plan" and not approved
            state, waits = await submitted(
                desk.plane, job, run_id, source, asks=asks, approved=bool(approved), retry=retry, on_event=on_event
            )
            if resumed_by:
                # Before the follower can fail: called again, what has ended must not be opened once more.
                await desk.effects.done("resume", resumed_by, "over")
    await desk.said("built", state.status.value)
    if waits and desk.root is not None and state.status is not ProjectStatus.CANCELLED:
        state = await desk.plane.end_cancelled(run_id, "its own forecast, which is above `require_approval_above_usd`")
        await end_rounds(desk.publisher, "cancelled", *superseded(""), desk.standing)
        await desk.show(state)
        return await refuse(desk, _TOO_DEAR, "Not revised")
    if (asks or waits) and state.status is not ProjectStatus.CANCELLED:
        await desk.effects.begin("plan", "shown")
        await desk.effects.done("plan", "shown", binding(state, job, base_sha))
        above_usd = job.github.require_approval_above_usd if waits else None
        handled = await planned(desk, state, base_sha, above_usd)
        if state.status.ended:
            await note_delivered(desk.effects)
        return handled
    return await (delivering or deliver)(desk, job, access, state, base_sha, branch)


async def pinned(desk: Desk, job: JobSpec) -> tuple[str, str, Refusal | None]:
    """Return a run's base commit and its branch, or why it cannot begin."""
    base = desk.command.base or desk.trigger.default_branch
    base_sha = await desk.remember("base", await head_of(desk.client, base) or "")
    if not base_sha:
        said = f"there is no branch `{code(base)}`, or it has no commit."
        return "", "", Refusal(said, code=Code.NO_BRANCH)
    branch, open_url = await _branch(desk, job.github.branch_prefix)
    if open_url:
        said = (
            f"a pull request for this issue is open: {open_url}. Ask for changes there with `/orchestrate revise`, or "
            "merge or close it to begin anew."
        )
        return base_sha, "", Refusal(said, code=Code.PULL_REQUEST_OPEN)
    await desk.said("pinned", f"{base}@{base_sha[:12]} for {branch}")
    return base_sha, branch, None


async def submitted(
    plane: Plane,
    job: JobSpec,
    run_id: str,
    source: Source,
    *,
    asks: bool,
    approved: bool = False,
    retry: bool = False,
    on_event: Callable[[Event], Awaitable[None]] | None = None,
) -> tuple[ProjectState, bool]:
    """Plan, and build unless only a plan is asked for; tell too whether the plan waits for an approval."""
    planning = not approved and (asks or job.github.require_approval_above_usd is not None)
    state = await plane.submit(
        job, run_id=run_id, source=source, plan_only=planning, retry_failed=retry, on_event=on_event
    )
    waits = not approved and _above_threshold(job, state)
    if planning and not asks and not waits and state.tasks:
        state = await plane.submit(job, run_id=run_id, source=source, on_event=on_event)
    return state, waits


async def deliver(
    desk: Desk, job: JobSpec, access: Access, state: ProjectState, base_sha: str, branch: str
) -> HandledRun:
    """Bring what a run that has ended built onto its branch and into its pull request."""
    trigger, run_id = desk.trigger, desk.run_id
    base = desk.command.base or trigger.default_branch

    # 3. A pull request of ours that a person closed meanwhile stays closed.
    closed = await find_pull_request(desk.client, head=branch, state="closed")
    if closed is not None and await is_commit_of(desk.client, closed.head.sha, run_id):
        return await ended(desk, job, state, base_sha, branch, closed.head.sha, opened(closed))

    # 4. What was built becomes one verified commit on our branch; the record of the architecture alone does not count.
    changes = await desk.plane.changes(run_id)
    if all(is_record(path, content) for path, content in changes.items()):
        return await ended(desk, job, state, base_sha)
    refuse_leaks(changes, desk.redactor)
    skip_checks, why = await holds_ci_back(desk, job, changes, access, (trigger.author,))
    title = desk.publisher.safe(visible(trigger.title or state.title, plain=True), plain=True)
    message = commit_message(
        title,
        desk.publisher.safe(_summary(state), plain=True),
        run_id,
        skip_checks=skip_checks,
        trailers=[
            desk.publisher.safe(it, plain=True) for it in await trailers(desk.client, job.commit, trigger.actor, state)
        ],
    )
    head = await commit_files(
        desk.client,
        base_sha=base_sha,
        branch=branch,
        changes=changes,
        message=message,
        run_id=run_id,
        pushes=desk.effects,
    )
    await desk.said("committed", f"{branch}@{head[:12]}")

    # 5. The pull request, then its report and its checks.
    completed = state.status is ProjectStatus.COMPLETED
    notes = [note for note in (why, await answers.moved(desk.client, base, base_sha)) if note]
    body = fit(pull_request_body(state, trigger.issue, [requested_by(trigger.actor), *notes]), MAX_BODY)
    pull = await open_pull_request(
        desk.client,
        head=branch,
        base=base,
        title=title,
        body=await in_template(desk, body, closes=trigger.issue if completed else None),
        draft=job.github.draft or not completed,
    )
    pull = await made_ready(desk, pull, completed and not job.github.draft)
    await desk.said("opened", pull.url)
    if pull.number is not None and (alone := await ask_for_review(desk, pull.number)):
        notes.append(alone)
    return await ended(desk, job, state, base_sha, branch, head, pull, notes)


async def made_ready(desk: Desk, pull: OpenedPullRequest, wanted: bool) -> OpenedPullRequest:
    """Turn a draft whose run has completed into a pull request that is ready; one that may not be says so."""
    if pull.number is None or not pull.draft or not wanted:
        return pull
    try:
        await mark_ready(desk.client, pull.number)
    except Refused as error:
        if error.status != 403:
            raise
        return replace(pull, note="This token may not mark the pull request as ready for review. Do it by hand.")
    return replace(pull, draft=False)


async def ended(
    desk: Desk,
    job: JobSpec,
    state: ProjectState,
    base_sha: str,
    branch: str = "",
    head: str = "",
    pull: OpenedPullRequest | None = None,
    notes: Sequence[str] = (),
) -> HandledRun:
    """Publish checks, report, status and reaction; a run that built nothing has the last two only."""
    told, missing = list(notes), ""
    if head:
        for check in check_runs(state, single=job.github.checks == "one"):
            note = await desk.publisher.upsert_check_run(head, check)
            missing = note or missing
        told += [missing] if missing else []
        if pull and pull.number is not None:
            told += await remark_on_lines(desk.client, desk.publisher, pull.number, head, state)
    await end_rounds(desk.publisher, "cancelled", *superseded(head), desk.standing)
    tree_url = f"{desk.client.server_url}/{desk.trigger.repository}/blob/{quote(branch)}" if head else ""
    text = "\n\n".join(
        part for part in (report_comment(state, told, tree_url=tree_url), desk.about_rounds(state)) if part
    )
    if pull and pull.number is not None:
        await add_labels(desk.client, pull.number, job.github.labels)
        await desk.publisher.upsert_comment(pull.number, report_mark(desk.marks), text)
    await desk.said("reported", state.status.value)
    links = Links(pull.number, pull.url, branch, f"{pull.note} {missing}".strip()) if pull else None
    await desk.show(state, links)
    await desk.react("rocket" if state.status is ProjectStatus.COMPLETED else "confused")
    await note_delivered(desk.effects)
    await desk.said("ended", state.status.value)
    unopened = pull is not None and pull.number is None
    return HandledRun(
        desk.run_id,
        state.status.value,
        pull.note if pull and unopened else state.outcome.reason,
        state,
        code=Code.MISSING_PERMISSION if unopened else state.outcome.code,
        branch=branch if head else "",
        base_sha=base_sha,
        head_sha=head,
        pull_request=pull.number if pull else None,
        pull_request_url=pull.url if pull else "",
        report=text,
    )


async def shown_head(desk: Desk, branch: str) -> str:
    """Return the commit that a run's work is shown on, or an empty string.

    It is where the branch stands if the run that we publish for made it; of a round only where it is known what stands
    there, since a round that changes nothing puts that back.
    """
    if desk.root is not None and desk.root.standing is None:
        return ""
    head = await head_of(desk.client, branch)
    return head if head is not None and await is_commit_of(desk.client, head, desk.publisher.run_id) else ""


async def note_delivered(effects: Effects, over: str = "over") -> None:
    """Note that nothing that a run built is left to be brought to GitHub, or with an empty `over` that it goes on."""
    await effects.begin(*_DELIVERED)
    await effects.done(*_DELIVERED, over)


async def is_delivered(effects: Effects) -> bool:
    """Tell whether all that a run built stands on GitHub."""
    return (await effects.begin(*_DELIVERED))[1] == "over"


def superseded(head: str) -> tuple[str, str]:
    """Return title and summary of check runs that a round has left open on an earlier head."""
    if not head:
        return "The round ended without a new commit", "What came of it stands in the status comment."
    return f"Superseded by {head[:12]}", f"The checks of this pull request are those of {head}."


def job_of(spec: JobSpec, trigger: Trigger, command: Command, operator: OperatorConfig) -> JobSpec:
    """Return what is asked: the issue as delivered, the comment's text and options, within the rules."""
    parts = [visible(trigger.body).strip(), visible(command.text).strip()]
    description = "\n\n".join(part for part in parts if part)
    title = visible(trigger.title, plain=True).strip()
    job = merge_issue(spec, title=title, description=description or title)
    job = narrow(job, max_usd=command.budget_usd, app_type=command.app_type)
    if trigger.private and not operator.allow_training_on_private:
        job = replace(job, policies=combine(PolicySet((_NO_TRAINING,)), job.policies))
    return job


def refuse_leaks(changes: Mapping[str, bytes | None], redactor: Redactor) -> None:
    """Raise `GitHubError` when a secret stands in what would be pushed (SECURITY 31)."""
    if leaks := [path for path, content in changes.items() if content and redactor.finds(content)]:
        raise GitHubError(
            f"A secret stands in generated files, so nothing was pushed: {', '.join(leaks)}.",
            hint="Ask again and say that no key may be written; rotate the key if it is real.",
            code=Code.SECRET_FOUND,
        )


async def _branch(desk: Desk, prefix: str) -> tuple[str, str]:
    """Return this run's branch, and the address of an open pull request of the issue that stands in its way."""
    trigger = desk.trigger
    state, known = await desk.effects.begin("branch", "decided")
    if state == "done":
        return known, ""
    if trigger.issue is not None:
        for branch in await branches_under(desk.client, f"{prefix}{trigger.issue}-"):
            pull = await find_pull_request(desk.client, head=branch)
            if pull is not None and not await is_commit_of(desk.client, pull.head.sha, desk.run_id):
                return branch, pull.html_url
    for round_ in range(1, MAX_BRANCHES + 1):
        name = branch_name(prefix, trigger.issue, trigger.title, desk.run_id, round_=round_)
        head = await head_of(desk.client, name)
        if head is None:
            merged = await find_pull_request(desk.client, head=name, state="all")
            head = merged.head.sha if merged else None
        if head is None or await is_commit_of(desk.client, head, desk.run_id):
            await desk.effects.done("branch", "decided", name)
            return name, ""
    raise GitHubError(f"{MAX_BRANCHES} branches of this issue exist already.", hint="Delete those that are done with.")


async def holds_ci_back(
    desk: Desk, job: JobSpec, changes: Mapping[str, bytes | None], access: Access, authors: Sequence[str]
) -> tuple[bool, str]:
    """Tell whether the head must carry `skip-checks`, and the sentence that says why (SECURITY 27).

    `authors` are those whose words reached a model besides the actor's, whose role is `access`.
    """
    if not job.github.hold_ci:
        return False, ""
    strangers = [] if access.role in WRITING else [desk.trigger.actor]
    for author in dict.fromkeys(authors):
        if author != desk.trigger.actor and not (await may_command(desk.client, author, "write")).granted:
            strangers.append(author)
    touched = ci_paths(changes)
    if not strangers and not touched:
        return False, ""
    named = f"files that CI executes changed ({', '.join(touched[:5])})"
    why = f"text by {strangers[0] or 'somebody'}, who has no write access, reached a model" if strangers else named
    return True, held_back(why)


def _above_threshold(job: JobSpec, state: ProjectState) -> bool:
    threshold = job.github.require_approval_above_usd
    return threshold is not None and state.forecast is not None and state.forecast.high_usd > threshold


def _summary(state: ProjectState) -> str:
    return "\n".join(f"- {one_line(task.title)}" for task in state.tasks[:50])


def binding(state: ProjectState, job: JobSpec, base_sha: str) -> str:
    """Return what an approval is for: the hashes of plan and job, spec included, and the base commit (SECURITY 16)."""
    plan = [asdict(state.architecture) if state.architecture else None, *(asdict(task) for task in state.tasks)]
    hashes = (hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest() for part in (plan, to_json(job)))
    return ":".join([*hashes, base_sha])
