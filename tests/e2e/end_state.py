"""Conversations that can be repeated with something going wrong, and what a repository looks like after them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bot.localhub.faults import RecordedRequest
from bot.localhub.git import Git
from tests.e2e.endpoints import endpoint_of, is_write
from tests.e2e.stage import Scene, until

Scenario = Callable[[Scene], Awaitable[object]]
"""What people say on one new repository, and what they wait for; it ends when the bot has nothing left to do."""

EndState = dict[str, Any]

_MASKS = (
    (re.compile(r"\b[0-9a-f]{7,40}\b"), "SHA"),
    (re.compile(r"\br-[a-z2-7]{16}\b"), "RUN"),
    (re.compile(r"\b(run[= /]|Orchestrator-Run: |/runs/)[\w-]+"), r"\1RUN"),
    (re.compile(r"127\.0\.0\.1:[0-9]+"), "HOST"),
    (re.compile(r"\b(octo[0-9]*|stranger)/demo-[0-9]+"), r"REPOSITORY"),
    (re.compile(r"\$[0-9.]+"), "$"),
    (re.compile(r"\b[0-9.,]+ ?(s|ms|min|h|tokens?|%)(?![\w-])"), r"N \1"),
    (re.compile(r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}(T[0-9:Z]+)?"), "DAY"),
    (re.compile(r"(?<=[| ])[0-9,]{3,}(?=[| ])"), "N"),
)
"""What two runs of one conversation may differ in: names, addresses, times, and what the length of a name costs."""


@dataclass(frozen=True, slots=True)
class Write:
    """The `turn`-th write of a kind in a conversation, such as `POST /issues/N/comments`; counted from 1."""

    shape: str
    turn: int


async def run(scene: Scene) -> None:
    """One command on a new issue, until its run has ended."""
    asked = await scene.command("/orchestrate")
    await asked.reacted("rocket")
    await ended(scene)


async def plan_approve_and_ask(scene: Scene) -> None:
    """A plan, its approval, and two questions."""
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")
    for text in ("/orchestrate approve", "/orchestrate status", "/orchestrate help"):
        asked = await scene.answered(plan.issue, scene.comment(plan.issue, text))
        await asked.reacted("rocket")
    await ended(scene)


async def ended(scene: Scene) -> None:
    """Wait until the bot has nothing left to do in the scene's repository."""
    query = f"SELECT DISTINCT state FROM deliveries WHERE repository = '{scene.repository}'"
    await until(
        lambda: {state for (state,) in scene.stage.rows(query)} <= {"done", "ignored"},
        f"the end of all work on {scene.repository}",
    )


def write_of(scene: Scene, request: RecordedRequest) -> str | None:
    """Return the endpoint of a write of ours to GitHub that is about the scene, or None for any other request."""
    endpoint = endpoint_of(scene, request)
    return endpoint if endpoint and is_write(endpoint) else None


def writes(scene: Scene) -> list[Write]:
    """Return every write that the scene has seen, in order."""
    turns: dict[str, int] = {}
    found = []
    for request in scene.hub.requests:
        if shape := write_of(scene, request):
            turns[shape] = turns.get(shape, 0) + 1
            found.append(Write(shape, turns[shape]))
    return found


def masked(text: str | None) -> str:
    """Return a text without what may differ between two runs of one conversation."""
    plain = text or ""
    for pattern, mask in _MASKS:
        plain = pattern.sub(mask, plain)
    return plain


async def end_state(scene: Scene) -> EndState:
    """Return all that stands in the scene's repository, in the order in which it was made."""
    hub, name = scene.hub, scene.repository
    repo = hub.repository(name)
    branches = await hub.branches(name)
    heads = {sha: branch for branch, sha in branches.items()}
    return {
        "branches": {
            branch: {path: masked(content.decode()) for path, content in (await hub.files(name, branch)).items()}
            for branch in branches
        },
        "issues": [
            {
                "title": issue.title,
                "body": masked(issue.body),
                "state": issue.state,
                "labels": [label.name for label in issue.labels],
                "reactions": sorted((it.user.login, it.content) for it in issue.reactions),
                "comments": [
                    (it.user.login, masked(it.body), sorted((r.user.login, r.content) for r in it.reactions))
                    for it in issue.comments
                ],
            }
            for issue in repo.issues.values()
        ],
        "pull requests": [
            {
                "from": pull.head_ref,
                "to": pull.base_ref,
                "draft": pull.draft,
                "commits": [
                    (masked(it.message), it.sha in repo.signed_commits)
                    for it in await Git(repo.path).log(f"{pull.base_sha}..{pull.head_sha}")
                ],
                "reviewers": [it.login for it in pull.reviewers],
                "reviews": [(it.user.login, it.state, masked(it.body)) for it in pull.reviews],
                "comments": [
                    (it.user.login, it.path, it.line, masked(it.body), it.resolved_by.login if it.resolved_by else "")
                    for it in pull.comments
                ],
            }
            for issue in repo.issues.values()
            if (pull := issue.pull)
        ],
        "check runs": sorted(
            (
                heads.get(it.head_sha, "an older head"),
                it.name,
                it.status,
                it.conclusion,
                masked(it.title),
                masked(it.summary),
                [note["message"] for note in it.annotations],
                it.actions,
            )
            for it in repo.check_runs.values()
        ),
        "statuses": sorted((it.context, it.state) for it in repo.statuses),
    }


def unlike(expected: object, actual: object) -> tuple[object, object]:
    """Return what of two values is not alike, of lists the items that are not in both."""
    if not isinstance(expected, list) or not isinstance(actual, list):
        return expected, actual
    missing, more = ([it for it in one if it not in other] for one, other in ((expected, actual), (actual, expected)))
    return (missing, more) if missing or more else (expected, actual)
