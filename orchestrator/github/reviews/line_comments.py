"""The one writer of comments on lines: looked for before written, all of a round in one review, resolved when gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from github.Repository import Repository

from orchestrator.diff import FileDiff
from orchestrator.github.api.client import AmbiguousWrite, Refused, RepositoryClient
from orchestrator.github.api.publisher import Publisher
from orchestrator.github.reviews.inline import Kind, LineComment, Looked, Placed, Remark, place
from orchestrator.github.reviews.pull_diff import diff_between, ends_of
from orchestrator.github.reviews.threads import resolve_thread, review_threads
from orchestrator.state import ProjectState, ProjectStatus, ValidationStatus


async def comment_on_lines(
    client: RepositoryClient,
    publisher: Publisher,
    number: int,
    head_sha: str,
    *,
    remarks: Sequence[Remark],
    files: Sequence[FileDiff],
    kind: Kind,
    looked: Looked,
    lead: str,
) -> tuple[Placed, tuple[str, ...]]:
    """Bring the comments on a pull request's lines up to date; return what was placed, and notes on what was refused.

    What is there already is not written again, after a crash or a lost answer neither. The review comments, and never
    approves or asks for changes (SECURITY 28). Raises `Unreachable` when GitHub is down.
    """

    async def compared() -> Placed:
        threads = await review_threads(client, number)
        return place(remarks, files, threads, kind=kind, login=publisher.login, safe=publisher.safe, looked=looked)

    try:
        placed = await compared()
    except Refused as error:
        return Placed(()), (f"The comments on lines could not be looked for, so none was made: {error.said}",)
    notes = []
    if placed.comments:
        try:
            await _review(client, number, head_sha, publisher.safe(lead), placed.comments)
        except AmbiguousWrite:
            if (await compared()).comments:
                raise
        except Refused as error:
            notes.append(f"GitHub took no comments on lines, so the findings stand in the text only: {error.said}")
    for thread in placed.gone:
        try:
            await resolve_thread(client, thread)
        except Refused as error:
            notes.append(f"A comment on a line whose finding is gone could not be resolved: {error.said}")
            break
    return placed, tuple(notes)


async def remark_on_lines(
    client: RepositoryClient, publisher: Publisher, number: int, head_sha: str, state: ProjectState
) -> tuple[str, ...]:
    """Put what a run found in what it built at the lines of its pull request, and resolve what it no longer finds.

    Returns notes on what was refused. A pull request that is closed is left alone.
    """
    try:
        pull = await ends_of(client, number)
        if pull.state != "open":
            return ()
        files = await diff_between(client, pull.base_sha, head_sha)
    except Refused as error:
        return (f"The diff could not be read, so no finding stands at its line: {error.said}",)
    _, notes = await comment_on_lines(
        client,
        publisher,
        number,
        head_sha,
        remarks=own_remarks(state),
        files=files,
        kind="run",
        looked=looked_at(state),
        lead="Findings at their lines. The report's comment lists them all, and says who made them.",
    )
    return notes


def looked_at(state: ProjectState) -> Looked:
    """Return what a run has looked at when it ended by itself: the files that it wrote, and by its validators; pure."""
    if state.status not in (ProjectStatus.COMPLETED, ProjectStatus.PARTIAL):
        return Looked()
    ran = [it.validator for it in state.validation if it.status is not ValidationStatus.NOT_RUN]
    return Looked(frozenset(state.files), frozenset(ran))


def own_remarks(state: ProjectState) -> tuple[Remark, ...]:
    """Return a run's open findings: each task's last review's, and the final validation's; pure."""
    reviews = [result.review for result in state.results.values() if result.review]
    reviewed = [Remark(finding, review.provider) for review in reviews for finding in review.findings]
    checked = [Remark(finding, it.validator) for it in state.validation for finding in it.findings]
    return tuple(dict.fromkeys([*reviewed, *checked]))


async def _review(
    client: RepositoryClient, number: int, head_sha: str, body: str, comments: Sequence[LineComment]
) -> None:
    given = {
        "commit_id": head_sha,
        "event": "COMMENT",
        "body": body,
        "comments": [_as_sent(comment) for comment in comments],
    }

    def write(repository: Repository) -> None:
        # Without PyGithub's objects, each of which would be read first.
        repository.requester.requestJsonAndCheck("POST", f"{repository.url}/pulls/{number}/reviews", input=given)

    await client.write("comment on lines", write)


def _as_sent(comment: LineComment) -> dict[str, Any]:
    several = {} if comment.start is None else {"start_line": comment.start, "start_side": "RIGHT"}
    return {"path": comment.path, "line": comment.line, "side": "RIGHT", "body": comment.body, **several}
