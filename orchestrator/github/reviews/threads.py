"""The threads of a pull request's reviews: read, answered and resolved; and a draft made ready.

Only GraphQL knows which threads are resolved, resolves them and makes a draft ready; all else is REST.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from github import GithubException
from github.Repository import Repository

from orchestrator.github.api.client import RepositoryClient

MAX_THREADS = 1_000
"""Beyond this many threads nobody reads them all, and neither do we."""

_COMMENTS = """
      pageInfo { hasNextPage endCursor }
      nodes { fullDatabaseId body createdAt author { __typename login } }
"""
THREADS = f"""
query ReviewThreads($owner: String!, $name: String!, $number: Int!, $after: String) {{
  repository(owner: $owner, name: $name) {{
    pullRequest(number: $number) {{
      reviewThreads(first: 50, after: $after) {{
        pageInfo {{ hasNextPage endCursor }}
        nodes {{ id isResolved isOutdated path line comments(first: 50) {{ {_COMMENTS} }} }}
      }}
    }}
  }}
}}
"""
MORE_COMMENTS = f"""
query ReviewThreadComments($thread: ID!, $after: String) {{
  node(id: $thread) {{
    ... on PullRequestReviewThread {{ comments(first: 100, after: $after) {{ {_COMMENTS} }} }}
  }}
}}
"""
RESOLVE = """
mutation ResolveThread($thread: ID!) {
  resolveReviewThread(input: {threadId: $thread}) { thread { id isResolved } }
}
"""
MARK_READY = """
mutation MarkReady($pullRequest: ID!) {
  markPullRequestReadyForReview(input: {pullRequestId: $pullRequest}) { pullRequest { id isDraft } }
}
"""
_STATUSES = {"NOT_FOUND": 404, "FORBIDDEN": 403, "INSUFFICIENT_SCOPES": 403, "RATE_LIMITED": 403}


@dataclass(frozen=True, slots=True)
class ThreadComment:
    """A comment on a line; `author` is the login as REST has it (`name[bot]` for an App), empty for a gone account."""

    id: int
    author: str
    body: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ReviewThread:
    """A thread with its comments, the oldest first; `line` is None for a whole file, and once the line is gone."""

    id: str
    path: str
    line: int | None
    resolved: bool
    outdated: bool
    comments: tuple[ThreadComment, ...]


async def review_threads(client: RepositoryClient, number: int) -> tuple[ReviewThread, ...]:
    """Return the threads of a pull request, the oldest first, with all their comments."""
    return await client.read("read the review threads", lambda repository: _threads(repository, number))


async def resolve_thread(client: RepositoryClient, thread_id: str) -> None:
    """Resolve a thread; one that is resolved stays so."""

    def write(repository: Repository) -> None:
        _asked(repository, RESOLVE, {"thread": thread_id})

    await client.write("resolve a review thread", write, idempotent=True)


async def reply_to_thread(client: RepositoryClient, number: int, comment_id: int, body: str) -> int:
    """Answer the thread that begins with a comment, and return the answer's id; `AmbiguousWrite` if that was lost."""

    def write(repository: Repository) -> int:
        return repository.get_pull(number).create_review_comment_reply(comment_id, body).id

    return await client.write("answer a review thread", write)


async def mark_ready(client: RepositoryClient, number: int) -> None:
    """Make a draft ready for review; one that is ready stays so."""

    def write(repository: Repository) -> None:
        pull = repository.get_pull(number)
        if pull.draft:
            _asked(repository, MARK_READY, {"pullRequest": pull.node_id})

    await client.write("mark the pull request as ready", write, idempotent=True)


# GraphQL


def _threads(repository: Repository, number: int) -> tuple[ReviewThread, ...]:
    owner, _, name = repository.full_name.partition("/")
    found: list[ReviewThread] = []
    after: str | None = None
    while len(found) < MAX_THREADS:
        given = {"owner": owner, "name": name, "number": number, "after": after}
        page = _asked(repository, THREADS, given)["repository"]["pullRequest"]["reviewThreads"]
        found += [_thread(repository, node) for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    return tuple(found)


def _thread(repository: Repository, node: Mapping[str, Any]) -> ReviewThread:
    page = node["comments"]
    comments = [_comment(it) for it in page["nodes"]]
    while page["pageInfo"]["hasNextPage"]:
        given = {"thread": node["id"], "after": page["pageInfo"]["endCursor"]}
        page = _asked(repository, MORE_COMMENTS, given)["node"]["comments"]
        comments += [_comment(it) for it in page["nodes"]]
    return ReviewThread(
        id=node["id"],
        path=node["path"],
        line=node["line"],
        resolved=node["isResolved"],
        outdated=node["isOutdated"],
        comments=tuple(comments),
    )


def _comment(node: Mapping[str, Any]) -> ThreadComment:
    author = node["author"] or {"__typename": "User", "login": ""}
    suffix = "[bot]" if author["__typename"] == "Bot" else ""
    return ThreadComment(int(node["fullDatabaseId"]), f"{author['login']}{suffix}", node["body"], node["createdAt"])


def _asked(repository: Repository, query: str, variables: Mapping[str, Any]) -> Any:
    """Return the data that GraphQL answers; what it refuses with 200 gets the status that REST would refuse it with."""
    try:
        _, answer = repository.requester.graphql_query(query, dict(variables))
    except GithubException as error:
        raise _with_status(error) from error
    return answer["data"]


def _with_status(error: GithubException) -> GithubException:
    data = error.data if isinstance(error.data, dict) else {}
    errors = [it for it in data.get("errors") or () if isinstance(it, dict)]
    if error.status != 400 or not errors:
        return error
    message = str(errors[0].get("message", ""))
    status = _STATUSES.get(str(errors[0].get("type")), 400)
    if message.startswith("Something went wrong while executing your query"):
        status = 502
    return GithubException(status, {"message": message}, error.headers)
