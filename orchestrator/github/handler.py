"""The story of one command: from the delivery to the pull request with its report.

Each step is looked up before it is written, so that `handle`, called again with the same trigger and command after a
crash at any point, makes what is missing and nothing twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from orchestrator.artifacts import PROTECTED_PATHS
from orchestrator.control_plane import Source
from orchestrator.errors import GitHubError, OrchestratorError, RunLost, SpecError, SpecFinding
from orchestrator.github import answers, report
from orchestrator.github.access import Access, may_command
from orchestrator.github.auth import GitHubConnection
from orchestrator.github.client import RepositoryClient, Unreachable
from orchestrator.github.clone import clone
from orchestrator.github.command import Command, Refusal
from orchestrator.github.desk import (
    STEPS,
    Desk,
    HandledRun,
    Plane,
    Progress,
    answer,
    fail,
    followed,
    planned,
    refuse,
    refuse_spec,
)
from orchestrator.github.follow import (
    NO_RUN,
    Earlier,
    binding,
    stopped,
    why_not_approved,
    why_not_cancelled,
    why_not_resumed,
)
from orchestrator.github.publisher import Effects, Publisher
from orchestrator.github.repository import (
    OpenedPullRequest,
    add_labels,
    branch_name,
    branches_under,
    commit_files,
    commit_message,
    find_pull_request,
    head_of,
    is_commit_of,
    open_pull_request,
    opened,
    read_text,
)
from orchestrator.github.sanitize import Redactor
from orchestrator.github.trigger import Trigger, run_id_for
from orchestrator.github.untrusted import ci_paths
from orchestrator.hidden import visible
from orchestrator.operator_config import OperatorConfig, bind
from orchestrator.policy import EnforcementMode, Policy, PolicySet, combine
from orchestrator.specs import SPEC_PATH, JobSpec, merge_issue, narrow, parse_spec
from orchestrator.state import ProjectState, ProjectStatus
from orchestrator.verdict import ADR_PATH

__all__ = ["STEPS", "Earlier", "HandledRun", "Plane", "Progress", "handle"]

MAX_BRANCHES = 50
_NO_TRAINING = Policy(name="private-repository", allow_training_on_output=False, enforcement_mode=EnforcementMode.HARD)


async def handle(
    trigger: Trigger,
    command: Command | Refusal,
    *,
    github: GitHubConnection,
    plane: Plane,
    effects: Effects,
    operator: OperatorConfig,
    secrets: Iterable[str] = (),
    spec_path: str = SPEC_PATH,
    progress: Callable[[Progress], Awaitable[None]] | None = None,
    earlier: Earlier | None = None,
    resumable: bool = False,
    begin_now: Callable[[str], None] | None = None,
) -> HandledRun:
    """Do what a command asks, and say on GitHub how it ended.

    `secrets` are all keys and tokens of this process, to be redacted. `earlier` is the run that the command is about,
    where it is about one; `resumable` tells whether later commands will find this command's run; `begin_now` has a
    queued run begin at once, so that it ends when it was cancelled. Raises `Unreachable` when GitHub is down (call
    again later), `Refused` when we may not even read or comment, and `RunLost`; everything else that goes wrong is
    said on GitHub and returned.
    """
    name = command.name if isinstance(command, Command) else "refused"
    asked = command if isinstance(command, Command) else Command("help")
    run_id = run_id_for(trigger.repository_id, trigger.source, name)
    client = github.repository(trigger.repository, trigger.installation_id)
    redactor = Redactor([*secrets, github.given_token])
    async with aclosing(client):
        publisher = Publisher(
            client,
            run_id=run_id,
            redactor=redactor,
            effects=effects,
            login=await github.login(client),
            requester=trigger.actor,
        )
        desk = Desk(trigger, asked, run_id, client, publisher, plane, effects, redactor, progress, resumable)

        # 1. The rules come from the default branch as it is now, through the API.
        default_head = await head_of(client, trigger.default_branch)
        spec, findings = await _read_spec(client, spec_path, default_head, operator)
        await desk.said("spec", f"{len(findings)} findings")

        # 2. Somebody without the permission gets one reaction and nothing else.
        access = await may_command(client, trigger.actor, spec.github.trigger_permission)
        await desk.said("access", access.reason)
        if not access.granted:
            await desk.react("confused")
            return HandledRun(run_id, "denied", access.reason)
        await desk.react("eyes")
        await desk.said("accepted", name)

        # 3. What needs no run is answered at once.
        if isinstance(command, Refusal):
            return await refuse(desk, command.message)
        if command.name == "help":
            return await answer(desk, report.help_comment())
        if command.name == "status":
            known = await plane.state(earlier.run_id) if earlier else None
            links = report.Links(resumable=resumable)
            told = report.status_comment(known, links) if known else await answers.status(publisher, plane, trigger)
            return await answer(desk, told)
        if command.name == "cancel":
            return await _cancel(desk, spec, earlier, operator, begin_now)
        if findings:
            return await refuse_spec(desk, findings, default_head)
        if refusal := answers.refusal(command, spec, default_head, trigger):
            return await refuse(desk, refusal)

        # 4. Everything else is a run, whose failures are said on GitHub too.
        if command.name == "approve":
            return await _approve(desk, spec, earlier, operator)
        if command.name == "resume":
            return await _resume(desk, spec, earlier, operator)
        try:
            return await _run(desk, _job(spec, trigger, command, operator), access)
        except (Unreachable, RunLost):
            raise
        except OrchestratorError as error:
            return await fail(desk, error)


async def _cancel(
    desk: Desk,
    spec: JobSpec,
    earlier: Earlier | None,
    operator: OperatorConfig,
    begin_now: Callable[[str], None] | None,
) -> HandledRun:
    """Stop a run; whoever works on it delivers what was built, and where nobody does, that is done here."""
    if earlier is None:
        return await refuse(desk, NO_RUN, "Nothing to cancel")
    run_id, actor, source = earlier.run_id, desk.trigger.actor, desk.trigger.source
    refusal = why_not_cancelled(await desk.plane.state(run_id), await desk.plane.cancelled_by(run_id))
    if refusal:
        return await refuse(desk, refusal, "Nothing to cancel")
    await desk.plane.cancel(run_id, actor)
    if begin_now is not None:
        begin_now(run_id)
    state = await stopped(desk, run_id)
    _, taken = await earlier.effects.begin("cancel", source)
    if state is not None and (taken or not state.status.final):
        await earlier.effects.done("cancel", source, "taken over")
        if not state.status.final:
            state = await desk.plane.end_cancelled(run_id, actor)
        theirs = earlier.desk(desk, reacts_to=earlier.trigger.comment_id)
        job = _job(spec, earlier.trigger, earlier.command, operator)
        _, base_sha = await theirs.effects.begin("base", "decided")
        _, branch = await theirs.effects.begin("branch", "decided")
        if base_sha and branch:
            await _deliver(theirs, job, await _access(theirs), state, base_sha, branch)
        else:
            await _ended(theirs, job, state, base_sha)
    elif state is not None and state.status is not ProjectStatus.CANCELLED:
        return await refuse(desk, why_not_cancelled(state, None), "Nothing to cancel")
    await desk.react("rocket")
    await desk.said("ended", "answered")
    return HandledRun(desk.run_id, "answered", f"{run_id} is cancelled", state)


async def _approve(desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig) -> HandledRun:
    """Build the plan that waits, if it is still the one that was shown; else plan anew, and ask again."""
    if earlier is None:
        return await refuse(desk, why_not_approved(None), "Not approved")
    run_id, source, effects = earlier.run_id, desk.trigger.source, earlier.effects
    theirs = earlier.desk(desk, reacts_to=desk.trigger.comment_id)
    job = _job(spec, theirs.trigger, theirs.command, operator)
    _, stage = await effects.begin("approve", source)
    if not stage:
        state = await desk.plane.state(run_id)
        refusal = why_not_approved(state)
        if state is None or refusal:
            if state is not None and (await effects.begin("approved", "plan"))[1]:
                await desk.react("rocket" if state.status is ProjectStatus.COMPLETED else "confused")
                return HandledRun(desk.run_id, "answered", "the plan was approved before", state)
            return await refuse(desk, refusal, "Not approved")
        if refusal := await _blocked(desk, earlier):
            return await refuse(desk, refusal, "Not approved")
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
    if stage == "asks again":
        theirs = replace(theirs, command=replace(theirs.command, name="plan"))
    try:
        return await _run(theirs, job, await _access(theirs))
    except (Unreachable, RunLost):
        raise
    except OrchestratorError as error:
        return await fail(theirs, error)


async def _resume(desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig) -> HandledRun:
    """Go on with a run that stopped early: its branch, its comments, its pull request; a new cap replaces the old."""
    if earlier is None:
        return await refuse(desk, NO_RUN, "Not resumed")
    run_id, source = earlier.run_id, desk.trigger.source
    state = await desk.plane.state(run_id)
    _, stage = await earlier.effects.begin("resume", source)
    if not stage:
        if refusal := why_not_resumed(state) or await _blocked(desk, earlier):
            return await refuse(desk, refusal, "Not resumed")
        await desk.plane.withdraw_cancel(run_id)
        await earlier.effects.done("resume", source, "going on")
    budget = desk.command.budget_usd
    _, before = await earlier.effects.begin("budget", "resumed")
    if budget is not None:
        await earlier.effects.done("budget", "resumed", str(budget))
    theirs = earlier.desk(
        desk, reacts_to=desk.trigger.comment_id, budget_usd=budget or (float(before) if before else None)
    )
    job = _job(spec, theirs.trigger, theirs.command, operator)
    retry = stage != "over" and state is not None and state.status.final
    try:
        return await _run(theirs, job, await _access(theirs), resumed_by=source, retry=retry)
    except (Unreachable, RunLost):
        raise
    except OrchestratorError as error:
        return await fail(theirs, error)


async def _blocked(desk: Desk, earlier: Earlier) -> str:
    """Return why nothing more may go onto a run's branch, or an empty string: what people did there stays."""
    _, branch = await earlier.effects.begin("branch", "decided")
    head = await head_of(desk.client, branch) if branch else None
    if head is not None and not await is_commit_of(desk.client, head, earlier.run_id):
        return f"the branch `{report.code(branch)}` holds commits that are not this run's, which stay as they are."
    if not branch or await find_pull_request(desk.client, head=branch) is not None:
        return ""
    closed = await find_pull_request(desk.client, head=branch, state="closed")
    if closed is None or not await is_commit_of(desk.client, closed.head.sha, earlier.run_id):
        return ""
    return f"its pull request {closed.html_url} is closed. Open it again, or begin anew with `/orchestrate`."


async def _access(desk: Desk) -> Access:
    """Return what whoever asked for a run may do now: their words reached the models."""
    return await may_command(desk.client, desk.trigger.actor, "write")


async def _run(desk: Desk, job: JobSpec, access: Access, *, resumed_by: str = "", retry: bool = False) -> HandledRun:
    trigger, command, run_id = desk.trigger, desk.command, desk.run_id

    # 1. The base commit and our branch are decided once and hold for the whole run.
    base = command.base or trigger.default_branch
    base_sha = await desk.remember("base", await head_of(desk.client, base) or "")
    if not base_sha:
        return await refuse(desk, f"there is no branch `{report.code(base)}`, or it has no commit.")
    branch, open_url = await _branch(desk, job.github.branch_prefix)
    if open_url:
        return await refuse(desk, f"a pull request for this issue is open: {open_url}. Merge or close it first.")
    await desk.said("pinned", f"{base}@{base_sha[:12]} for {branch}")

    # 2. The base commit's files go to the engine, which builds while the status comment follows.
    with tempfile.TemporaryDirectory(prefix="orchestrator-clone-") as folder:
        root = Path(folder) / "base"
        token = await desk.client.token()
        await clone(desk.client.server_url, trigger.repository, base_sha, root, token=token)
        await desk.said("cloned", base_sha)
        source = Source(root, trigger.repository, (*PROTECTED_PATHS, *job.github.protected_paths))
        async with followed(desk) as on_event:
            _, approved = await desk.effects.begin("approved", "plan")
            asks = command.name == "plan" and not approved
            planning = not approved and (asks or job.github.require_approval_above_usd is not None)
            state = await desk.plane.submit(
                job, run_id=run_id, source=source, plan_only=planning, retry_failed=retry, on_event=on_event
            )
            waits = not approved and _above_threshold(job, state)
            if planning and not asks and not waits and state.tasks:
                state = await desk.plane.submit(job, run_id=run_id, source=source, on_event=on_event)
    if resumed_by:
        await desk.effects.done("resume", resumed_by, "over")
    await desk.said("built", state.status.value)
    if (asks or waits) and state.status is not ProjectStatus.CANCELLED:
        await desk.effects.begin("plan", "shown")
        await desk.effects.done("plan", "shown", binding(state, job, base_sha))
        return await planned(desk, state, base_sha, waits)
    return await _deliver(desk, job, access, state, base_sha, branch)


async def _deliver(
    desk: Desk, job: JobSpec, access: Access, state: ProjectState, base_sha: str, branch: str
) -> HandledRun:
    """Bring what a run that has ended built onto its branch and into its pull request."""
    trigger, run_id = desk.trigger, desk.run_id
    base = desk.command.base or trigger.default_branch

    # 3. A pull request of ours that a person closed meanwhile stays closed.
    closed = await find_pull_request(desk.client, head=branch, state="closed")
    if closed is not None and await is_commit_of(desk.client, closed.head.sha, run_id):
        return await _ended(desk, job, state, base_sha, branch, closed.head.sha, opened(closed))

    # 4. What was built becomes one verified commit on our branch; the record of the architecture alone does not count.
    changes = await desk.plane.changes(run_id)
    if not changes.keys() - {ADR_PATH}:
        return await _ended(desk, job, state, base_sha)
    if leaks := [path for path, content in changes.items() if content and desk.redactor.finds(content)]:
        raise GitHubError(
            f"A secret stands in generated files, so nothing was pushed: {', '.join(leaks)}.",
            hint="Ask again and say that no key may be written; rotate the key if it is real.",
        )
    skip_checks, why = await _holds_ci_back(desk, changes, access)
    title = desk.publisher.safe(visible(trigger.title or state.title))
    message = commit_message(title, desk.publisher.safe(_summary(state)), run_id, skip_checks=skip_checks)
    head = await commit_files(
        desk.client, base_sha=base_sha, branch=branch, changes=changes, message=message, run_id=run_id
    )
    await desk.said("committed", f"{branch}@{head[:12]}")

    # 5. The pull request, then its report and its checks.
    completed = state.status is ProjectStatus.COMPLETED
    notes = [note for note in (why, await answers.moved(desk.client, base, base_sha)) if note]
    body = report.pull_request_body(state, trigger.issue, notes)
    pull = await open_pull_request(
        desk.client,
        head=branch,
        base=base,
        title=title,
        body=desk.publisher.safe(body, closes=trigger.issue if completed else None),
        draft=job.github.draft or not completed,
    )
    await desk.said("opened", pull.url)
    return await _ended(desk, job, state, base_sha, branch, head, pull, notes)


async def _ended(
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
    told = list(notes)
    if head:
        for check in report.check_runs(state, single=job.github.checks == "one"):
            note = await desk.publisher.upsert_check_run(head, check)
            if note and note not in told:
                told.append(note)
    text = report.report_comment(state, told)
    if pull and pull.number is not None:
        await add_labels(desk.client, pull.number, job.github.labels)
        await desk.publisher.upsert_comment(pull.number, report.report_mark(desk.run_id), text)
    await desk.said("reported", state.status.value)
    links = report.Links(pull.number, pull.url, branch, pull.note) if pull else None
    await desk.show(state, links)
    await desk.react("rocket" if state.status is ProjectStatus.COMPLETED else "confused")
    await desk.said("ended", state.status.value)
    return HandledRun(
        desk.run_id,
        state.status.value,
        state.outcome.reason,
        state,
        branch=branch if head else "",
        base_sha=base_sha,
        head_sha=head,
        pull_request=pull.number if pull else None,
        pull_request_url=pull.url if pull else "",
        report=text,
    )


# the rules


async def _read_spec(
    client: RepositoryClient, path: str, sha: str | None, operator: OperatorConfig
) -> tuple[JobSpec, tuple[SpecFinding, ...]]:
    """Return the repository's spec under the operator's word; a broken one counts as all defaults for the gate."""
    try:
        text = await read_text(client, path, sha) if sha else None
        return bind(parse_spec(text or "", path, require_project=False), operator), ()
    except SpecError as error:
        return bind(JobSpec(), operator), error.findings
    except Unreachable:
        raise
    except GitHubError as error:
        return bind(JobSpec(), operator), (SpecFinding(path, 1, 1, "file", error.message),)


def _job(spec: JobSpec, trigger: Trigger, command: Command, operator: OperatorConfig) -> JobSpec:
    """Return what is asked: the issue as delivered, the comment's text and options, within the rules."""
    parts = [visible(trigger.body).strip(), visible(command.text).strip()]
    description = "\n\n".join(part for part in parts if part)
    title = visible(trigger.title).strip()
    job = merge_issue(spec, title=title, description=description or title)
    job = narrow(job, max_usd=command.budget_usd, app_type=command.app_type)
    if trigger.private and not operator.allow_training_on_private:
        job = replace(job, policies=combine(PolicySet((_NO_TRAINING,)), job.policies))
    return job


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


async def _holds_ci_back(desk: Desk, changes: Mapping[str, bytes | None], access: Access) -> tuple[bool, str]:
    """Tell whether the head must carry `skip-checks`, and the sentence that says why."""
    author = desk.trigger.author
    trusted = access.role in ("write", "maintain", "admin")
    if trusted and author != desk.trigger.actor:
        trusted = (await may_command(desk.client, author, "write")).granted
    touched = ci_paths(changes)
    if trusted and not touched:
        return False, ""
    named = f"files that CI executes changed ({', '.join(touched[:5])})"
    why = named if trusted else f"text by {author or 'somebody'}, who has no write access, reached a model"
    return True, f"The repository's own CI was not started: {why}. Read the changes, then push or start it by hand."


def _above_threshold(job: JobSpec, state: ProjectState) -> bool:
    threshold = job.github.require_approval_above_usd
    return threshold is not None and state.forecast is not None and state.forecast.high_usd > threshold


def _summary(state: ProjectState) -> str:
    return "\n".join(f"- {report.one_line(task.title)}" for task in state.tasks[:50])
