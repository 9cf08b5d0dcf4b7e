"""The story of one re-run: the check runs of a head that GitHub waits for are concluded again, whatever happens.

GitHub puts their suite back to queued and leaves them as they are, so each is written, also one that ends the same.
Source: https://docs.github.com/en/rest/checks/runs#rerequest-a-check-run
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from github.Repository import Repository

from orchestrator.github.api.access import may_command
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import RepositoryClient
from orchestrator.github.api.clone import clone
from orchestrator.github.api.publisher import Effects
from orchestrator.github.api.repository import head_of
from orchestrator.github.rendering.checks import SPEC_CHECK, CheckRun
from orchestrator.github.rendering.commits import CI_TRAILER, ROUND_TRAILER, RUN_TRAILER, trailer
from orchestrator.github.rendering.summaries import check_runs
from orchestrator.github.runs.desk import Desk, Earlier, HandledRun, Plane
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews, StagedEffects, rehearse_where_asked
from orchestrator.github.stories.build import superseded
from orchestrator.github.stories.follow import resume, why_not_resumed
from orchestrator.github.stories.handler import rules_of
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import SPEC_PATH
from orchestrator.state import ProjectState, ValidationResult

# The check runs that say what the validators found: of these a re-run runs them again.
_VALIDATED = ("orchestrator/validation", "orchestrator/run")
FORGOTTEN = "What was kept of the run is gone. Give the command again that made it."
MAX_FINDINGS = 100
MAX_FINDINGS_LETTERS = 20_000


class RerunPlane(Plane, Protocol):
    """What a re-run needs of the control plane."""

    async def validate(self, run_id: str, root: Path) -> tuple[ValidationResult, ...]:
        """Run the validators of a run on a folder that holds what it built."""
        ...


async def rerun(
    trigger: Trigger,
    earlier: Earlier,
    refusal: str,
    *,
    github: GitHubConnection,
    plane: RerunPlane,
    effects: Effects,
    operator: OperatorConfig,
    secrets: Iterable[str] = (),
    previews: Previews | None = None,
    round_of: Callable[[str], Awaitable[Earlier | None]] | None = None,
) -> HandledRun:
    """Conclude the check runs of a head again: from a resume, from validators that run anew, or as they were.

    `earlier` is the run that they are published for, `round_of` finds the round that made the head by its id. `refusal`
    says why whoever pressed may have no more of it, or is empty. A run that stopped early goes on, as `resume` does, as
    long as nothing is on top of the head; of one that is completed the validators run again, which asks no model; of
    one that the store has forgotten they say so. To somebody without the permission nothing is commented, and the check
    runs are concluded as they stand. Raises what `handle` raises.
    """
    run_id = run_id_for(trigger.repository_id, trigger.source, "resume")
    client = github.repository(trigger.repository, trigger.installation_id)
    async with aclosing(client):
        staged = await rehearse_where_asked(client, github, previews or MemoryPreviews(), trigger.installation_id)
        if staged:
            effects, earlier = StagedEffects(effects), earlier.staged()
        buttons = github.app is not None
        publisher = await github.publisher(
            client, run_id=run_id, effects=effects, secrets=secrets, requester=trigger.actor, buttons=buttons
        )
        desk = Desk.of(trigger, Command("resume"), publisher, plane, resumable=True)
        theirs = publisher.of_run(earlier.run_id, earlier.effects)

        # 1. Which check runs are asked for, and what is known of the run.
        names = [trigger.check_name] if trigger.check_name else await _own_names(client, trigger.head_sha, earlier)
        round_ = await _round_of(client, trigger.head_sha, earlier, round_of)
        made = earlier if round_ is None else round_.staged() if staged else round_
        state = await plane.state(made.run_id)
        if not names:
            return HandledRun(run_id, "ignored", "there is no check run of the run on this commit")

        # 2. Somebody without the permission, or above the limits, changes nothing.
        rules = await rules_of(client, SPEC_PATH, trigger.default_branch, trigger.pull, operator)
        spec = rules.spec
        access = await may_command(client, trigger.actor, spec.github.trigger_permission)
        if not access.granted:
            for name in names:
                await theirs.repeat_check_run(trigger.head_sha, name, shared=False)
            return HandledRun(run_id, "denied", access.reason, state)
        handled = HandledRun(run_id, "answered", state=state)
        if state is None:
            handled = HandledRun(run_id, "refused", FORGOTTEN)
        elif refusal:
            handled = HandledRun(run_id, "refused", refusal, state)

        # 3. What stopped early goes on; what is completed is validated again.
        elif not why_not_resumed(state):
            on_top = await head_of(client, trigger.head_branch) if trigger.head_branch else None
            newest = on_top in (None, trigger.head_sha)
            if spec.enabled and not rules.findings and rules.head is not None and newest:
                handled = await resume(desk, spec, made, operator)
                state = await plane.state(made.run_id) or state
        elif spec.enabled and state.status.ended and set(names) & set(_VALIDATED):
            state = replace(state, validation=await _validated(client, trigger, made.run_id, plane))

        # 4. Concluded again, also where nothing has changed: GitHub waits for it.
        newer = await _newer(client, trigger, earlier.run_id, made.run_id if round_ else "")
        checks = concluded(state, names) if state else tuple(_again(name, FORGOTTEN) for name in names)
        if newer:
            checks = tuple(CheckRun(name, "cancelled", *superseded(newer)) for name in names)
        for check in checks:
            await theirs.upsert_check_run(trigger.head_sha, check, again=True)
        return handled


async def give_up_rerun(
    trigger: Trigger,
    earlier: Earlier,
    reason: str,
    *,
    github: GitHubConnection,
    secrets: Iterable[str] = (),
    previews: Previews | None = None,
) -> None:
    """Conclude the check runs of a re-run that keeps failing as failure (SECURITY 36)."""
    client = github.repository(trigger.repository, trigger.installation_id)
    async with aclosing(client):
        if await rehearse_where_asked(client, github, previews or MemoryPreviews(), trigger.installation_id):
            earlier = earlier.staged()
        publisher = await github.publisher(client, run_id=earlier.run_id, effects=earlier.effects, secrets=secrets)
        names = [trigger.check_name] if trigger.check_name else await _own_names(client, trigger.head_sha, earlier)
        for name in names:
            check = CheckRun(name, "failure", "It could not be run again", reason)
            await publisher.upsert_check_run(trigger.head_sha, check, again=True)


def concluded(state: ProjectState, names: Collection[str]) -> tuple[CheckRun, ...]:
    """Return the check runs of these names as a run's state has them; one that it lacks asks to be made anew."""
    known = {check.name: check for single in (False, True) for check in check_runs(state, single=single)}
    asks = "This check is not part of the run. Give the command again that made it."
    return tuple(known.get(name) or _again(name, asks) for name in names)


def _again(name: str, asks: str) -> CheckRun:
    return CheckRun(name, "action_required", "It cannot be run again from here", asks)


async def findings_of(client: RepositoryClient, check_run_id: int) -> str:
    """Return what a check run found as feedback for a revise: its title, and each annotation with file and line."""

    def read(repository: Repository) -> tuple[str, str, Sequence[str]]:
        check = repository.get_check_run(check_run_id)
        notes = check.get_annotations() if check.output.annotations_count else ()
        lines = [f"- {it.path}:{it.start_line}: {' '.join((it.message or '').split())}" for it in notes]
        return check.name, check.output.title or str(check.conclusion), lines[:MAX_FINDINGS]

    name, title, lines = await client.read("read the findings of a check run", read)
    return "\n".join([f"Fix what the check {name} found: {title}", *lines])[:MAX_FINDINGS_LETTERS]


async def _round_of(
    client: RepositoryClient, sha: str, earlier: Earlier, find: Callable[[str], Awaitable[Earlier | None]] | None
) -> Earlier | None:
    """Return the round of the run `earlier` that made a commit, or None."""
    _, _, name = await _maker(client, sha)
    found = await find(name) if find and name else None
    # A message is only text: that the round is this run's stands in the store.
    return found if found and found.root and found.root.run_id == earlier.run_id else None


async def _maker(client: RepositoryClient, sha: str) -> tuple[str, str, str]:
    """Return the commit that a head's files are from, and the run and round that its message names.

    An empty commit that lets CI run carries what was said of the commit below it.
    """

    def read(repository: Repository) -> tuple[str, str, str]:
        commit = repository.get_git_commit(sha)
        while trailer(commit.message, CI_TRAILER) and commit.parents:
            commit = repository.get_git_commit(commit.parents[0].sha)
        return commit.sha, trailer(commit.message, RUN_TRAILER), trailer(commit.message, ROUND_TRAILER)

    return await client.read("read whose commit it is", read)


async def _newer(client: RepositoryClient, trigger: Trigger, run_id: str, round_id: str) -> str:
    """Return the newer commit that the maker of a head has put on its branch: what it ended as holds of that one."""
    on_top = await head_of(client, trigger.head_branch) if trigger.head_branch else None
    if on_top in (None, trigger.head_sha):
        return ""
    below, *_ = await _maker(client, trigger.head_sha)
    newest, *maker = await _maker(client, on_top)
    return on_top if newest != below and maker == [run_id, round_id] else ""


async def _own_names(client: RepositoryClient, head_sha: str, earlier: Earlier) -> list[str]:
    def read(repository: Repository) -> list[str]:
        listed = repository.get_commit(head_sha).get_check_runs(filter="all")
        ours = {run.name for run in listed if run.external_id == earlier.run_id and run.name != SPEC_CHECK}
        return sorted(ours)

    return await client.read("list check runs", read)


async def _validated(
    client: RepositoryClient, trigger: Trigger, run_id: str, plane: RerunPlane
) -> tuple[ValidationResult, ...]:
    with tempfile.TemporaryDirectory(prefix="orchestrator-rerun-") as folder:
        root = Path(folder) / "head"
        await clone(client.server_url, trigger.repository, trigger.head_sha, root, token=await client.token())
        return await plane.validate(run_id, root)
