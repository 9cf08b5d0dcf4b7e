"""REST: reviews of pull requests, comments on lines of their diffs, and reactions to those."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from bot.localhub import render, render_code
from bot.localhub.call import ApiError, Call, Routes, answer, invalid, not_found
from bot.localhub.git import Git
from bot.localhub.rest_issues import checked_reaction
from bot.localhub.rest_pulls import PULL, PULLS, find_pull, fork_point
from bot.localhub.state import Issue, Pull, Repository, Review, ReviewComment, now

routes = Routes()

LINE_COMMENT = PULLS + "/comments/{id:int}"
REVIEW_STATES = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


@routes("GET", PULL + "/reviews")
async def list_reviews(call: Call) -> Response:
    """List the reviews, the oldest first."""
    repo, issue, pull = find_pull(call)
    return call.page(pull.reviews, lambda review: render_code.review(call.base, repo, issue.number, review))


@routes("POST", PULL + "/reviews")
async def create_review(call: Call) -> Response:
    """Review a pull request, with comments on lines; nobody approves what is their own."""
    repo, issue, pull = find_pull(call)
    event, body = call.field("event", str, "COMMENT") or "COMMENT", call.field("body", str, "") or ""
    if event not in REVIEW_STATES:
        raise invalid("PullRequestReview", "event")
    if event != "COMMENT" and issue.user is call.user():
        words = {"APPROVE": "approve", "REQUEST_CHANGES": "request changes on"}
        raise ApiError(422, "Unprocessable Entity", [f"Can not {words[event]} your own pull request"])
    if event == "REQUEST_CHANGES" and not body:
        raise ApiError(422, "Unprocessable Entity", ["You need to leave a comment indicating the requested changes."])
    sha = call.field("commit_id", str) or pull.head_sha
    review = Review(call.world.state.next_id(), call.user(), body, REVIEW_STATES[event], sha)
    git = call.git(repo)
    lines = await _diff_lines(git, pull)
    comments = [_line_comment(call, lines, entry, sha, review.id) for entry in call.field("comments", list) or []]
    call.world.submit_review(repo, call.actor, issue, review, comments)
    return answer(render_code.review(call.base, repo, issue.number, review))


async def _diff_lines(git: Git, pull: Pull) -> dict[str, dict[str, dict[int, str]]]:
    changes = await git.changes(await fork_point(git, pull), pull.head_sha)
    return {change.path: commentable_lines(change.patch or "") for change in changes}


def commentable_lines(patch: str) -> dict[str, dict[int, str]]:
    """Return for LEFT and RIGHT the line numbers that a patch shows, each with the header of its hunk."""
    shown: dict[str, dict[int, str]] = {"LEFT": {}, "RIGHT": {}}
    old = new = 0
    header = ""
    for line in patch.split("\n"):
        if line.startswith("@@ "):
            header = line
            old, new = (abs(int(part.split(",")[0])) for part in line.split(" ")[1:3])
        elif line.startswith("+"):
            shown["RIGHT"][new] = header
            new += 1
        elif line.startswith("-"):
            shown["LEFT"][old] = header
            old += 1
        elif not line.startswith("\\"):
            shown["LEFT"][old] = shown["RIGHT"][new] = header
            old, new = old + 1, new + 1
    return shown


def _line_comment(
    call: Call, lines: dict[str, dict[str, dict[int, str]]], entry: Any, sha: str, review: int | None
) -> ReviewComment:
    if not isinstance(entry, dict) or not isinstance(entry.get("body"), str) or not isinstance(entry.get("path"), str):
        raise ApiError(422, "Invalid request.\n\nA comment needs a path and a body.")
    path, side = entry["path"], entry.get("side") or "RIGHT"
    line = entry.get("line") or entry.get("position")
    if path not in lines:
        raise ApiError(422, "Unprocessable Entity", ["Path could not be resolved"])
    if entry.get("subject_type") == "file":
        line = None
    elif not isinstance(line, int) or side not in lines[path] or line not in lines[path][side]:
        raise ApiError(422, "Unprocessable Entity", ["Line could not be resolved"])
    return ReviewComment(
        call.world.state.next_id(),
        call.user(),
        entry["body"],
        app=call.actor.through_app,
        path=path,
        line=line,
        original_line=line,
        side=side,
        start_line=entry.get("start_line"),
        commit_sha=sha,
        original_sha=sha,
        review_id=review,
        diff_hunk=lines[path][side][line] if line else "",
    )


@routes("GET", PULL + "/comments")
async def list_line_comments(call: Call) -> Response:
    """List the comments on lines, the oldest first."""
    repo, issue, pull = find_pull(call)
    return call.page(pull.comments, lambda it: render_code.review_comment(call.base, repo, issue.number, it))


@routes("POST", PULL + "/comments")
async def create_line_comment(call: Call) -> Response:
    """Comment on a line of the diff, or answer such a comment with `in_reply_to`."""
    repo, issue, pull = find_pull(call)
    earlier = call.field("in_reply_to", int)
    if earlier is not None:
        return _reply(call, repo, issue, pull, earlier)
    sha = call.needed("commit_id", str)
    comment = _line_comment(call, await _diff_lines(call.git(repo), pull), call.body(), sha, None)
    call.world.add_review_comment(repo, call.actor, issue, comment)
    return answer(render_code.review_comment(call.base, repo, issue.number, comment), 201)


@routes("POST", PULL + "/comments/{id:int}/replies")
async def reply_to_line_comment(call: Call) -> Response:
    """Answer a comment on a line."""
    return _reply(call, *find_pull(call), call.number("id"))


def _reply(call: Call, repo: Repository, issue: Issue, pull: Pull, earlier: int) -> Response:
    first = next((comment for comment in pull.comments if comment.id == earlier), None)
    if first is None:
        raise not_found()
    if first.in_reply_to is not None:
        # https://docs.github.com/en/rest/pulls/comments#create-a-reply-for-a-review-comment
        raise ApiError(422, "Replies to replies are not supported.")
    comment = ReviewComment(
        call.world.state.next_id(),
        call.user(),
        call.needed("body", str),
        app=call.actor.through_app,
        path=first.path,
        line=first.line,
        original_line=first.original_line,
        side=first.side,
        commit_sha=first.commit_sha,
        original_sha=first.original_sha,
        diff_hunk=first.diff_hunk,
        in_reply_to=first.id,
        review_id=first.review_id,
    )
    call.world.add_review_comment(repo, call.actor, issue, comment)
    return answer(render_code.review_comment(call.base, repo, issue.number, comment), 201)


def _line_comment_of(call: Call) -> tuple[Repository, Issue, Pull, ReviewComment]:
    repo = call.repo("read", "pull_requests")
    for issue in repo.issues.values():
        for comment in issue.pull.comments if issue.pull else ():
            if issue.pull and comment.id == call.number("id"):
                return repo, issue, issue.pull, comment
    raise not_found()


def _own(call: Call, repo: Repository, comment: ReviewComment) -> None:
    if comment.user is not call.user() and not call.actor.may(repo, "write", "pull_requests", "write"):
        raise ApiError(403, "Must have admin rights to Repository.")


@routes("GET", PULLS + "/comments")
async def list_all_line_comments(call: Call) -> Response:
    """List the comments on lines of all pull requests of the repository."""
    repo = call.repo(permission="pull_requests")
    pairs = [(issue.number, comment) for issue in repo.issues.values() if issue.pull for comment in issue.pull.comments]
    return call.page(pairs, lambda pair: render_code.review_comment(call.base, repo, *pair))


@routes("GET", LINE_COMMENT)
async def get_line_comment(call: Call) -> Response:
    """Answer with one comment on a line."""
    repo, issue, _, comment = _line_comment_of(call)
    return answer(render_code.review_comment(call.base, repo, issue.number, comment))


@routes("PATCH", LINE_COMMENT)
async def update_line_comment(call: Call) -> Response:
    """Change the text of a comment on a line."""
    repo, issue, _, comment = _line_comment_of(call)
    _own(call, repo, comment)
    comment.body, comment.updated_at = call.needed("body", str), now()
    return answer(render_code.review_comment(call.base, repo, issue.number, comment))


@routes("DELETE", LINE_COMMENT)
async def delete_line_comment(call: Call) -> Response:
    """Remove a comment on a line."""
    repo, _, pull, comment = _line_comment_of(call)
    _own(call, repo, comment)
    pull.comments.remove(comment)
    return answer(status=204)


@routes("GET", LINE_COMMENT + "/reactions")
async def list_line_reactions(call: Call) -> Response:
    """List the reactions to a comment on a line."""
    *_, comment = _line_comment_of(call)
    return call.page(comment.reactions, lambda reaction: render.reaction(call.base, reaction))


@routes("POST", LINE_COMMENT + "/reactions")
async def create_line_reaction(call: Call) -> Response:
    """React to a comment on a line: 201, or 200 with the reaction that was there."""
    *_, comment = _line_comment_of(call)
    return checked_reaction(call, comment.reactions)


@routes("DELETE", LINE_COMMENT + "/reactions/{reaction:int}")
async def delete_line_reaction(call: Call) -> Response:
    """Take a reaction to a comment on a line back."""
    *_, comment = _line_comment_of(call)
    for reaction in comment.reactions:
        if reaction.id == call.number("reaction") and reaction.user is call.user():
            comment.reactions.remove(reaction)
            return answer(status=204)
    raise not_found()
