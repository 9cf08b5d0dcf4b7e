"""GraphQL, as much of it as REST lacks: threads of a review, and a pull request from draft to ready and back."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from graphql import ExecutionResult, GraphQLError, GraphQLSchema, build_schema, graphql_sync
from starlette.responses import Response

from bot.localhub.call import Call, answer
from bot.localhub.render import node, stamp
from bot.localhub.state import JSON, Issue, Pull, Repository, ReviewComment, User, now

MOST_A_PAGE = 100
Found = tuple[Repository, Issue, Pull]
"""A pull request with its repository and its issue."""


class QueryError(Exception):
    """What GitHub answers instead of a field: `kind` is its `type`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@functools.cache
def schema() -> GraphQLSchema:
    """Return the part of GitHub's schema that is answered here."""
    return build_schema(files(__package__).joinpath("schema.graphql").read_text(encoding="utf-8"))


async def answer_query(call: Call) -> Response:
    """Answer a query or mutation: 200 with `errors` for what is refused, as GitHub does."""
    call.user()
    result = graphql_sync(
        schema(),
        call.needed("query", str),
        root_value=_root(call),
        variable_values=call.field("variables", dict) or {},
        operation_name=call.field("operationName", str),
    )
    return answer(_shape(result))


def _shape(result: ExecutionResult) -> JSON:
    errors = [_error(error) for error in result.errors or ()]
    # A query that is not valid has no data at all; one that ran has what it found.
    ran = result.data is not None or any("path" in error for error in errors)
    return {**({"data": result.data} if ran else {}), **({"errors": errors} if errors else {})}


def _error(error: GraphQLError) -> JSON:
    cause = error.original_error
    if cause is not None and not isinstance(cause, QueryError):
        raise cause
    return {**({"type": cause.kind} if cause else {}), **error.formatted}


# what is answered: mappings whose values are fields, or functions that make them


def _root(call: Call) -> JSON:
    return {
        "viewer": _account(call.user(), as_viewer=True),
        "repository": lambda _, owner, name, followRenames: _repository(call, f"{owner}/{name}"),  # noqa: N803
        "node": lambda _, id: _node(call, id),
        "markPullRequestReadyForReview": lambda _, input: _set_draft(call, input, draft=False),
        "convertPullRequestToDraft": lambda _, input: _set_draft(call, input, draft=True),
        "resolveReviewThread": lambda _, input: _set_resolved(call, input, resolved=True),
        "unresolveReviewThread": lambda _, input: _set_resolved(call, input, resolved=False),
    }


def _account(user: User, *, as_viewer: bool = False) -> JSON:
    # As an author a bot has its bare name here, where REST says `name[bot]`.
    bare = user.type == "Bot" and not as_viewer
    login = user.login.removesuffix("[bot]") if bare else user.login
    return {"__typename": user.type, "id": node(user.type, user.id), "login": login}


def _repository(call: Call, full_name: str) -> JSON:
    repo = call.world.state.repository(full_name)
    if repo is None or not call.actor.sees(repo):
        raise QueryError("NOT_FOUND", f"Could not resolve to a Repository with the name '{full_name}'.")

    def pull_request(_: object, number: int) -> JSON:
        issue = repo.issues.get(number)
        if issue is None or issue.pull is None:
            raise QueryError("NOT_FOUND", f"Could not resolve to a PullRequest with the number of {number}.")
        return _pull((repo, issue, issue.pull))

    return {
        "__typename": "Repository",
        "id": node("Repository", repo.id),
        "nameWithOwner": repo.full_name,
        "pullRequest": pull_request,
    }


def _pull(found: Found) -> JSON:
    _, issue, pull = found
    first = [it for it in pull.comments if it.in_reply_to is None]
    return {
        "__typename": "PullRequest",
        "id": node("PullRequest", pull.id),
        "isDraft": pull.draft,
        "number": issue.number,
        "reviewThreads": _connection("reviewThreads", [_thread(pull, it) for it in first]),
    }


def _thread(pull: Pull, first: ReviewComment) -> JSON:
    comments = [it for it in pull.comments if first.id in (it.id, it.in_reply_to)]
    return {
        "__typename": "PullRequestReviewThread",
        "id": _thread_id(first),
        "isResolved": first.resolved_by is not None,
        "isOutdated": first.outdated,
        "path": first.path,
        "line": first.line,
        "originalLine": first.original_line,
        "resolvedBy": _account(first.resolved_by) if first.resolved_by else None,
        "comments": _connection("comments", [_comment(it) for it in comments]),
    }


def _thread_id(first: ReviewComment) -> str:
    return node("PullRequestReviewThread", first.id)


def _comment(it: ReviewComment) -> JSON:
    return {
        "__typename": "PullRequestReviewComment",
        "id": node("ReviewComment", it.id),
        "fullDatabaseId": str(it.id),
        "body": it.body,
        "createdAt": stamp(it.created_at),
        "author": _account(it.user),
    }


def _connection(name: str, items: Sequence[JSON]) -> Callable[..., JSON]:
    """Return the function that makes one page of a connection; cursors are opaque to whoever asks."""

    def page(
        _: object,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> JSON:
        if (first is None) == (last is None):
            message = f"You must provide a `first` or `last` value to properly paginate the `{name}` connection."
            raise QueryError("MISSING_PAGINATION_BOUNDARIES", message)
        size = first if last is None else last
        if size is None or not 0 < size <= MOST_A_PAGE:
            message = f"Requesting {size} records on the `{name}` connection exceeds the limit of 100 records."
            raise QueryError("EXCESSIVE_PAGINATION", message)
        begin, end = _position(after, 0), _position(before, len(items) + 1) - 1
        end = len(items) if before is None else end
        begin, end = (begin, min(end, begin + size)) if last is None else (max(begin, end - size), end)
        shown = items[begin:end]
        return {
            "nodes": shown,
            "totalCount": len(items),
            "pageInfo": {
                "startCursor": _cursor(begin + 1) if shown else None,
                "endCursor": _cursor(end) if shown else None,
                "hasNextPage": end < len(items),
                "hasPreviousPage": begin > 0,
            },
        }

    return page


def _cursor(position: int) -> str:
    return base64.b64encode(f"cursor:{position}".encode()).decode()


def _position(cursor: str | None, default: int) -> int:
    if cursor is None:
        return default
    known = base64.b64decode(cursor, validate=False).decode(errors="replace").removeprefix("cursor:")
    if not known.isdecimal():
        raise QueryError("INVALID_CURSOR_ARGUMENTS", f"`{cursor}` does not appear to be a valid cursor.")
    return int(known)


# nodes


def _pulls(call: Call) -> list[Found]:
    return [
        (repo, issue, issue.pull)
        for repo in call.world.state.repositories.values()
        for issue in repo.issues.values()
        if issue.pull and call.actor.sees(repo)
    ]


def _unknown(wanted: str) -> QueryError:
    return QueryError("NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted}'")


def _pull_of(call: Call, wanted: str) -> Found:
    for found in _pulls(call):
        if node("PullRequest", found[2].id) == wanted:
            return found
    raise _unknown(wanted)


def _thread_of(call: Call, wanted: str) -> tuple[Repository, Pull, ReviewComment]:
    for repo, _, pull in _pulls(call):
        for comment in pull.comments:
            if comment.in_reply_to is None and _thread_id(comment) == wanted:
                return repo, pull, comment
    raise _unknown(wanted)


def _node(call: Call, wanted: str) -> JSON:
    kind = base64.b64decode(wanted, validate=False).decode(errors="replace").partition(":")[0]
    if kind == "PullRequestReviewThread":
        _, pull, first = _thread_of(call, wanted)
        return _thread(pull, first)
    return _pull(_pull_of(call, wanted))


# mutations


def _set_draft(call: Call, given: Mapping[str, Any], *, draft: bool) -> JSON:
    found = repo, issue, pull = _pull_of(call, given["pullRequestId"])
    name = "convertPullRequestToDraft" if draft else "markPullRequestReadyForReview"
    if not (call.actor.may(repo, "write", "pull_requests", "write") or issue.user is call.user()):
        raise _forbidden(call, name)
    if pull.draft != draft:
        pull.draft, issue.updated_at = draft, now()
        call.world.pull_event(repo, call.actor, issue, "converted_to_draft" if draft else "ready_for_review")
    return {"clientMutationId": given.get("clientMutationId"), "pullRequest": _pull(found)}


def _set_resolved(call: Call, given: Mapping[str, Any], *, resolved: bool) -> JSON:
    repo, pull, first = _thread_of(call, given["threadId"])
    # An App needs to write contents for it, beside pull requests.
    permissions = ("contents", "pull_requests") if call.installation() else ("pull_requests",)
    if not all(call.actor.may(repo, "write", it, "write") for it in permissions):
        raise _forbidden(call, "resolveReviewThread" if resolved else "unresolveReviewThread")
    first.resolved_by = call.user() if resolved else None
    return {"clientMutationId": given.get("clientMutationId"), "thread": _thread(pull, first)}


def _forbidden(call: Call, name: str) -> QueryError:
    if call.installation():
        return QueryError("FORBIDDEN", "Resource not accessible by integration")
    return QueryError("FORBIDDEN", f"{call.user().login} does not have the correct permissions to execute `{name}`")
