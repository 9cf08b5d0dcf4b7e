"""GraphQL, as little of it as REST lacks: drafts and ready pull requests, and which of them will close an issue."""

from __future__ import annotations

import re

from starlette.responses import Response

from bot.localhub.call import Call, answer
from bot.localhub.render import node
from bot.localhub.state import JSON, Issue, Repository, now
from bot.localhub.world import closing_numbers

MUTATIONS = {"markPullRequestReadyForReview": False, "convertPullRequestToDraft": True}


def _error(kind: str, message: str) -> Response:
    return answer({"data": None, "errors": [{"type": kind, "message": message}]})


def _find(call: Call, wanted: object) -> tuple[Repository, Issue] | None:
    for repo in call.world.state.repositories.values():
        for issue in repo.issues.values():
            if issue.pull and node("PullRequest", issue.pull.id) == wanted and call.actor.sees(repo):
                return repo, issue
    return None


def _closing_pull_requests(call: Call, variables: JSON) -> Response:
    """Answer which open pull requests will close an issue: those towards the default branch whose text says so."""
    repo = call.world.state.repository(f"{variables.get('owner')}/{variables.get('name')}")
    if repo is None or not call.actor.may(repo, "read", "pull_requests", "read"):
        return _error("NOT_FOUND", "Could not resolve to a Repository with that name.")
    number = variables.get("number")
    if number not in repo.issues:
        return _error("NOT_FOUND", f"Could not resolve to an Issue with the number of {number}.")
    nodes = [
        {"url": f"{call.base}/{repo.full_name}/pull/{it.number}", "state": "OPEN", "headRefName": it.pull.head_ref}
        for it in repo.issues.values()
        if it.pull and it.state == "open" and it.pull.base_ref == repo.default_branch
        and number in closing_numbers(it.body or "")
    ]  # fmt: skip
    issue = {"closedByPullRequestsReferences": {"nodes": nodes}}
    return answer({"data": {"repository": {"issue": issue}}})


async def answer_query(call: Call) -> Response:
    """Answer one of the known mutations; any other query is an error, as an unknown field is on GitHub."""
    user = call.user()
    query, variables = call.needed("query", str), call.field("variables", dict) or {}
    if "closedByPullRequestsReferences" in query:
        return _closing_pull_requests(call, variables)
    name = next((it for it in MUTATIONS if re.search(rf"\b{it}\s*\(", query)), None)
    if name is None:
        return _error("undefinedField", "The local GitHub knows only: " + ", ".join(MUTATIONS))
    given = variables.get("input") or {}
    found = _find(call, given.get("pullRequestId") or given.get("pull_request_id"))
    if found is None:
        return _error("NOT_FOUND", "Could not resolve to a node with the global id.")
    repo, issue = found
    allowed = call.actor.may(repo, "write", "pull_requests", "write") or issue.user is user
    if issue.pull is None or not allowed:
        return _error("FORBIDDEN", f"{user.login} does not have the correct permissions to execute `{name}`")
    if issue.pull.draft != MUTATIONS[name]:
        issue.pull.draft, issue.updated_at = MUTATIONS[name], now()
        action = "converted_to_draft" if issue.pull.draft else "ready_for_review"
        call.world.pull_event(repo, call.actor, issue, action)
    pull = {"id": node("PullRequest", issue.pull.id), "isDraft": issue.pull.draft}
    return answer({"data": {name: {"clientMutationId": given.get("clientMutationId"), "pullRequest": pull}}})
