"""`/orchestrate ci`: a person lets the repository's own CI run on a head of ours that held it back (SECURITY 27)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

from github.CommitStatus import CommitStatus
from github.Repository import Repository

from orchestrator.codes import Code
from orchestrator.github.api.access import WRITING, Access
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.api.pull_requests import updated
from orchestrator.github.api.repository import Moved, advance, commit_tree, write_commit
from orchestrator.github.rendering.checks import Annotation, CheckRun, Conclusion, Level
from orchestrator.github.rendering.commits import commit_message
from orchestrator.github.rendering.markdown import code
from orchestrator.github.rendering.marks import report_mark
from orchestrator.github.runs.desk import Desk, Earlier, HandledRun, answer, refuse
from orchestrator.github.runs.ours import Ours, ours
from orchestrator.github.runs.untrusted import released

WORKFLOW = "github-actions[bot]"
LEAD = "CI not started"
_STATUSES: dict[str, Conclusion] = {"success": "success", "failure": "failure", "error": "failure"}


async def let_ci_run(desk: Desk, earlier: Earlier | None, access: Access) -> HandledRun:
    """Put an empty commit without `skip-checks` on the head, and carry our checks over to it.

    Whoever asks must be a person with write access, whatever role or bot the spec and the operator let start runs.
    """
    if access.role not in WRITING or desk.trigger.actor_type != "User":
        return await refuse(desk, "only a person with write access lets CI run.", LEAD, Code.DENIED)
    found = await ours(desk, earlier.run_id if earlier else "")
    if isinstance(found, str):
        return await refuse(desk, found, LEAD)

    # 1. The head must be ours, held back, and at rest; a commit of this very command is found again.
    mine = next((it for it in found.commits if it.ci == desk.run_id), None)
    before = mine.parent if mine else found.pull.head.sha
    checks, at_work = await _said_on(desk, found.run_id, before)
    if mine is None and (refusal := _refusal(found, at_work=at_work)):
        return await refuse(desk, refusal, LEAD)

    # 2. The commit changes no file: what runs is exactly what was read.
    head = mine.sha if mine else ""
    if not head:
        actor = desk.publisher.safe(desk.trigger.actor, plain=True)
        message = commit_message(
            "Let the repository's CI run", f"Asked for by {actor}.", found.run_id, skip_checks=False, ci_id=desk.run_id
        )
        head = await write_commit(desk.client, message, await commit_tree(desk.client, before), before)
        try:
            await advance(desk.client, found.branch, head)
        except Moved as error:
            return await refuse(desk, f"{error.message} {error.hint}", LEAD)

    # 3. What we said of the files holds of the new head too.
    publisher = desk.publisher.of_run(found.run_id, earlier.effects if earlier else MemoryEffects())
    for check in checks:
        await publisher.upsert_check_run(head, check)
    body = released(found.pull.body or "", head, desk.trigger.actor)
    await updated(desk.client, found.pull, found.pull.title, body)
    mark = report_mark(found.run_id)
    for report in (await publisher.comments_with(found.number, mark))[:1]:
        text = report.rpartition(mark)[0].rstrip()
        await publisher.upsert_comment(found.number, mark, released(text, head, desk.trigger.actor))
    branch = code(found.branch)
    text = f"The repository's CI may run on {head}: an empty commit on `{branch}`, with our checks carried over."
    if desk.publisher.login == WORKFLOW:
        text += " A workflow's own token starts no workflows: close and reopen the pull request to start them."
    handled = await answer(desk, text)
    return replace(handled, branch=found.branch, head_sha=head, pull_request=found.number)


def _refusal(found: Ours, *, at_work: bool) -> str:
    head = found.head
    if head is None or head.run != found.run_id:
        return "the head of this pull request is not ours: CI runs on what people push."
    if not head.holds_ci:
        return "CI is not held back on the head of this pull request."
    if at_work:
        return "a round is at work on this pull request. Wait for its end, and ask again."
    return ""


async def _said_on(desk: Desk, run_id: str, sha: str) -> tuple[list[CheckRun], bool]:
    """Return what a run said on a commit in check runs, else in commit statuses, and whether it still works there."""

    def running(repository: Repository) -> list[bool]:
        listed = repository.get_commit(sha).get_check_runs(filter="all")
        return [it.status != "completed" for it in listed if it.external_id == run_id]

    at_work = await desk.client.read_if_permitted("read our checks", running)
    if any(at_work):
        return [], True
    checks = await desk.client.read_if_permitted("read our checks", lambda repository: _runs(repository, run_id, sha))
    return checks or await desk.client.read_if_permitted(
        "read our statuses", lambda repository: _statuses(repository, sha)
    ), False


def _runs(repository: Repository, run_id: str, sha: str) -> list[CheckRun]:
    listed = repository.get_commit(sha).get_check_runs(filter="all")
    ours_ = [it for it in listed if it.external_id == run_id and it.conclusion in get_args(Conclusion)]
    return [
        CheckRun(
            it.name,
            cast(Conclusion, it.conclusion),
            it.output.title or it.name,
            it.output.summary or "",
            tuple(
                Annotation(one.path, one.start_line, cast(Level, one.annotation_level), one.message, one.title or "")
                for one in (it.get_annotations() if it.output.annotations_count else ())
            ),
        )
        for it in sorted(ours_, key=lambda one: one.id)
    ]


def _statuses(repository: Repository, sha: str) -> list[CheckRun]:
    newest: dict[str, CommitStatus] = {}
    for it in repository.get_commit(sha).get_statuses():
        newest.setdefault(it.context, it)
    return [
        CheckRun(it.context, _STATUSES[it.state], (it.description or "").partition(": ")[2], "")
        for it in newest.values()
        if it.context.startswith("orchestrator/") and it.state in _STATUSES
    ]
