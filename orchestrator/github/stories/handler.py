"""The story of one command: from the delivery to the pull request with its report.

Each step is looked up before it is written, so that `handle`, called again with the same trigger and command after a
crash at any point, makes what is missing and nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from orchestrator.codes import Code
from orchestrator.errors import GitHubError, OrchestratorError, SpecError, SpecFinding
from orchestrator.github.api.access import Access, may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import LATER, NoRoom, RepositoryClient, Unreachable
from orchestrator.github.api.publisher import Effects, OpenCheck
from orchestrator.github.api.pull_requests import base_of
from orchestrator.github.api.repository import head_of, read_text
from orchestrator.github.rendering.notes import help_comment
from orchestrator.github.rendering.permissions import TO_DELIVER, cannot_deliver, lacking
from orchestrator.github.rendering.status import Links, status_comment
from orchestrator.github.runs import answers, obstacles
from orchestrator.github.runs.desk import (
    STEPS,
    Desk,
    Earlier,
    HandledRun,
    Plane,
    Progress,
    answer,
    fail,
    refuse,
    refuse_spec,
)
from orchestrator.github.runs.early import end_early, goes_on
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews, StagedEffects, rehearse, says_staged
from orchestrator.github.stories.build import build, job_of
from orchestrator.github.stories.ci import let_ci_run
from orchestrator.github.stories.follow import approve, cancel, resume, show_again
from orchestrator.github.stories.review import review
from orchestrator.github.stories.revise import revise
from orchestrator.github.triggers.command import Command, Refusal
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.operator_config import OperatorConfig, bind
from orchestrator.sections import MAX_GLOBS
from orchestrator.specs import SPEC_PATH, JobSpec, parse_spec, to_json

DELIVERING = ("run", "approve", "resume", "revise")
"""The commands that bring a commit to a branch, and its pull request."""

__all__ = ["STEPS", "Earlier", "HandledRun", "Plane", "Progress", "handle"]


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
    revisable: bool = True,
    begin_now: Callable[[str], Awaitable[None]] | None = None,
    previews: Previews | None = None,
    staged: bool = False,
    open_checks: set[OpenCheck] | None = None,
) -> HandledRun:
    """Do what a command asks, and say on GitHub how it ended.

    `secrets` are all keys and tokens of this process, to be redacted. `earlier` is the run that the command is about,
    where it is about one and the store knows it, and for `run` and `plan` the issue's unfinished run beside which none
    begins. `resumable` tells whether later commands will find this command's run, `revisable` whether `revise` and
    `review` work here; `begin_now` has a queued run begin at once, so that it ends when it was cancelled. With
    `staged`, or where the repository's spec says so, nothing is written on GitHub: all that would be goes to
    `previews`, those of this run. `open_checks` gets the check runs that this has in progress, for `abandon` where
    nobody calls again. Raises `Unreachable` when GitHub is down (call again later), `Refused` when we may
    not even read or comment, `RunLost`, and `StoreError` where the run is found again once there is room; everything
    else that goes wrong is said on GitHub and returned.
    """
    name = command.name if isinstance(command, Command) else "refused"
    asked = command if isinstance(command, Command) else Command("help")
    run_id = run_id_for(trigger.repository_id, trigger.source, name)
    client = github.repository(trigger.repository, trigger.installation_id)
    async with aclosing(client):
        # 1. The rules come from the default branch, of a pull request from its base, as it is now, through the API.
        rules = await rules_of(client, spec_path, trigger.default_branch, trigger.pull, operator)
        spec, findings = rules.spec, rules.findings
        on_stage = staged or spec.github.staged
        if on_stage:
            await rehearse(client, github, previews or MemoryPreviews(), trigger.installation_id)
            effects = StagedEffects(effects)
            earlier = earlier.staged() if earlier else None
        buttons = resumable and github.app is not None
        publisher = await github.publisher(
            client,
            run_id=run_id,
            effects=effects,
            secrets=secrets,
            requester=trigger.actor,
            buttons=buttons,
            open_checks=open_checks,
        )
        desk = Desk.of(trigger, asked, publisher, plane, tell=progress, resumable=resumable, revisable=revisable)
        await desk.said("spec", f"{len(findings)} findings, sha256 {fingerprint(spec)}")

        # 2. Somebody without the permission gets one reaction and nothing else.
        access = await may_command(client, trigger.actor, spec.github.trigger_permission)
        await desk.said("access", access.reason)
        if access.unknown and await _begun(desk, earlier):
            raise Unreachable(access.reason, hint=LATER)
        if not access.granted:
            if begun := await _begun(desk, earlier):
                return await end_early(*begun, access.reason, Code.DENIED)
            # Whom nobody let in takes no room from those who may, and holds up nothing.
            with suppress(NoRoom):
                await desk.react("confused", urgency="progress")
            return HandledRun(run_id, "denied", access.reason, code=Code.DENIED)
        await desk.react("eyes")
        await desk.said("accepted", name)

        # 3. What needs no run is answered at once, and what cannot become one is refused before it costs anything.
        if isinstance(command, Refusal):
            return await refuse(desk, command.message, code=command.code)
        if command.name == "help":
            return await answer(desk, help_comment(resumable=resumable, revisable=revisable))
        if command.name == "status":
            return await answer(desk, await _standing(desk, earlier))
        if command.name == "cancel":
            return await cancel(desk, spec, earlier, operator, begin_now)
        if findings:
            if begun := await _begun(desk, earlier):
                return await end_early(*begun, f"`{spec_path}` has errors", Code.SPEC_INVALID)
            return await refuse_spec(desk, findings, rules.head, rules.branch)
        if refusal := await _refusal(desk, spec, rules.head, earlier, on_stage=on_stage, previews=previews):
            if begun := await _begun(desk, earlier):
                return await end_early(*begun, refusal.message.removesuffix("."), refusal.code)
            return await refuse(desk, refusal.message, code=refusal.code)

        # 4. Everything else is a run, or writes as one does: its failures are said on GitHub too.
        return await _run(desk, spec, earlier, operator, access)


async def _begun(desk: Desk, earlier: Earlier | None) -> tuple[Desk, Earlier | None] | None:
    """Return desk and root of the run that an earlier attempt at this command began and that goes on, or None."""
    name, theirs, root = desk.command.name, desk, None
    if name in ("approve", "resume"):
        if earlier is None or not (await earlier.effects.begin(name, desk.trigger.source))[1]:
            return None
        theirs, root = earlier.desk(desk, reacts_to=desk.trigger), earlier.root
    elif name == "revise":
        root = earlier
    return (theirs, root) if goes_on(await desk.plane.state(theirs.run_id)) else None


async def _standing(desk: Desk, earlier: Earlier | None) -> str:
    """Return what `status` is answered: the run that it is about, else what the issue's comments say.

    The status comment of a run that goes on is brought up to date: nobody else may, where its process was stopped.
    """
    known = await desk.plane.state(earlier.run_id) if earlier else None
    if known is not None:
        if earlier is not None and goes_on(known):
            await show_again(desk, earlier, known)
        return status_comment(known, Links(resumable=desk.resumable, revisable=desk.revisable))
    return await answers.status(desk.publisher, desk.plane, desk.trigger)


async def _refusal(
    desk: Desk,
    spec: JobSpec,
    rules_head: str | None,
    earlier: Earlier | None,
    *,
    on_stage: bool,
    previews: Previews | None,
) -> Refusal | None:
    """Return why a command becomes no run, or None; the first reason is told."""
    name = desk.command.name
    if refusal := answers.refusal(spec, rules_head, desk.trigger):
        return refusal
    if name in ("run", "plan") and (refusal := await not_begun(desk, spec, earlier)):
        return refusal
    if on_stage:
        return None
    if name in DELIVERING and (refusal := await _undeliverable(desk)):
        return refusal
    if name in ("approve", "resume") and previews and await previews.kept():
        said = "the run was staged, and what it decided is not there. Give the command anew."
        return Refusal(said, code=Code.NO_RUN)
    return None


async def _run(
    desk: Desk, spec: JobSpec, earlier: Earlier | None, operator: OperatorConfig, access: Access
) -> HandledRun:
    """Tell the story of a command that is a run, or writes as one does."""
    name = desk.command.name
    if name == "approve":
        return await approve(desk, spec, earlier, operator)
    if name == "resume":
        return await resume(desk, spec, earlier, operator)
    try:
        if name == "ci":
            return await let_ci_run(desk, earlier, access)
        if name == "revise":
            return await revise(desk, spec, earlier, operator, access)
        job = job_of(spec, desk.trigger, desk.command, operator)
        if name == "review":
            return await review(desk, job, operator.index_hosts)
        return await build(desk, job, access)
    except OrchestratorError as error:
        return await fail(desk, error)


async def not_begun(desk: Desk, spec: JobSpec, earlier: Earlier | None) -> Refusal | None:
    """Return why a run does not begin, or None; one that has begun goes on, whatever happens meanwhile."""
    trigger = desk.trigger
    state, _ = await desk.effects.begin("start", "admitted")
    if trigger.issue is None or state == "done":
        return None
    standing = await desk.plane.state(earlier.run_id) if earlier else None
    if earlier is not None and standing is not None and not standing.status.final:
        link = await obstacles.link_to(desk.client, trigger.issue, earlier.run_id, earlier.effects)
        return obstacles.why_not_second(standing.status, link)
    if not desk.command.force:
        now = await obstacles.issue_now(desk.client, trigger.issue)
        if now.note:
            await desk.said("accepted", now.note)
        own_branches = f"{spec.github.branch_prefix}{trigger.issue}-"
        if refusal := obstacles.why_not_begun(now, trigger.actor, own_branches):
            return refusal
    await desk.effects.done("start", "admitted", "")
    return None


async def _undeliverable(desk: Desk) -> Refusal | None:
    """Return why what a run builds could not be brought to GitHub, before it costs anything."""
    missing = lacking(await desk.client.granted(), TO_DELIVER)
    if not missing:
        return None
    said = cannot_deliver(desk.publisher.login, desk.client.server_url, missing)
    return Refusal(said, code=Code.MISSING_PERMISSION)


def fingerprint(spec: JobSpec) -> str:
    """Return the hash of the rules that a command is handled under."""
    return hashlib.sha256(json.dumps(to_json(spec), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a command is handled under: a spec below the operator's word, and the branch whose head holds it."""

    branch: str
    head: str | None
    spec: JobSpec
    findings: tuple[SpecFinding, ...]


async def rules_of(
    client: RepositoryClient, path: str, default_branch: str, pull: int | None, operator: OperatorConfig
) -> Rules:
    """Return the rules of the default branch, on a pull request those of its base, as they are now (SECURITY 14).

    Whoever may push to another base can neither undo the default branch's switch there, nor its hold on CI.
    """
    head = await head_of(client, default_branch)
    spec, findings = await read_spec(client, path, head, operator)
    base = default_branch if pull is None else await base_of(client, pull) or default_branch
    if base == default_branch:
        return Rules(base, head, spec, findings)
    head = await head_of(client, base)
    own, findings = await read_spec(client, path, head, operator)
    hold_ci = own.github.hold_ci or spec.github.hold_ci
    own = replace(own, enabled=own.enabled and spec.enabled, github=replace(own.github, hold_ci=hold_ci))
    return Rules(base, head, own, findings)


async def read_spec(
    client: RepositoryClient, path: str, sha: str | None, operator: OperatorConfig
) -> tuple[JobSpec, tuple[SpecFinding, ...]]:
    """Return the repository's spec under the operator's word; a broken one counts as all defaults for the gate.

    The file itself is protected under whatever name it has (SECURITY 17).
    """
    text = None
    try:
        text = await read_text(client, path, sha) if sha else None
        return bind(_protecting(path, parse_spec(text or "", path, require_project=False)), operator), ()
    except SpecError as error:
        spec = JobSpec()
        # Who asked for previews must not get real writes because of a slip elsewhere in the file.
        spec = replace(spec, github=replace(spec.github, staged=says_staged(text or "")))
        return bind(spec, operator), error.findings
    except Unreachable:
        raise
    except GitHubError as error:
        return bind(JobSpec(), operator), (SpecFinding(path, 1, 1, "file", error.message),)


def _protecting(path: str, spec: JobSpec) -> JobSpec:
    if path == SPEC_PATH:
        return spec
    own = spec.github.protected_paths
    if len(own) >= MAX_GLOBS:
        said = f"holds {len(own)} globs; the file's own path is one more, and {MAX_GLOBS} is the most"
        raise SpecError((SpecFinding(path, 1, 1, "github.protected_paths", said),))
    return replace(spec, github=replace(spec.github, protected_paths=(*own, path)))
