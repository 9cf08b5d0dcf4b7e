"""REST: issues, their comments, labels, assignees and reactions."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response

from bot.localhub import render
from bot.localhub.call import ApiError, Call, Routes, answer, invalid, not_found
from bot.localhub.state import REACTIONS, Comment, Issue, Reaction, Repository, User, now

routes = Routes()

ISSUES = "/repos/{owner}/{repo}/issues"
ISSUE = ISSUES + "/{number:int}"
COMMENT = ISSUES + "/comments/{id:int}"

LONGEST_BODY = 65_536
"""Characters of an issue's or a comment's text."""


def checked_body(body: str | None, resource: str) -> str | None:
    """Return `body`; 422 when it is longer than GitHub takes."""
    if body is not None and len(body) > LONGEST_BODY:
        raise invalid(resource, "body", "unprocessable", f"body is too long (maximum is {LONGEST_BODY} characters)")
    return body


def people(call: Call, logins: list[str]) -> list[User]:
    """Return the accounts of these names; 422 for one that does not exist."""
    found = [(login, call.world.state.user(login)) for login in logins]
    for login, user in found:
        if user is None:
            raise ApiError(
                422,
                "Validation Failed",
                [{"resource": "Issue", "field": "assignees", "code": "invalid", "value": login}],
            )
    return [user for _, user in found if user is not None]


def texts(call: Call, name: str) -> list[str] | None:
    """Return a list of names in the body, or the body itself if it is a list; labels may be objects with a name."""
    body = call.parsed()
    values = body if isinstance(body, list) else call.field(name, list)
    if values is None:
        return None
    found = [value.get("name") if isinstance(value, dict) else value for value in values]
    names = [value for value in found if isinstance(value, str) and value]
    if len(names) < len(found):
        raise ApiError(422, f"Invalid request.\n\nFor 'items' of '{name}', a string is expected.")
    return names


def since(call: Call) -> datetime | None:
    """Return the `since` parameter; 422 when it is no time."""
    text = call.query("since")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(422, f"Invalid request.\n\n{text!r} is not a valid date-time.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=now().tzinfo)


def _changes_allowed(call: Call, repo: Repository, author: User) -> None:
    permission = "issues"
    own = author is call.actor.user
    if not own and not call.actor.may(repo, "write", permission, "write"):
        raise ApiError(403, "Must have admin rights to Repository.")


# issues


@routes("GET", ISSUES)
async def list_issues(call: Call) -> Response:
    """List issues and pull requests, the newest first, by state, labels, creator and assignee."""
    repo = call.repo(permission="issues")
    state, moment = call.query("state", "open"), since(call)
    labels = [name.lower() for name in call.query("labels").split(",") if name]
    creator, assignee = call.query("creator").lower(), call.query("assignee").lower()

    def wanted(issue: Issue) -> bool:
        names = {label.name.lower() for label in issue.labels}
        logins = {user.login.lower() for user in issue.assignees}
        return (
            state in ("all", issue.state)
            and names.issuperset(labels)
            and creator in ("", issue.user.login.lower())
            and (assignee in ("", "*") or assignee in logins)
            and (moment is None or issue.updated_at >= moment)
        )

    newest_first = call.query("direction", "desc") == "desc"
    found = sorted(filter(wanted, repo.issues.values()), key=lambda issue: issue.number, reverse=newest_first)
    return call.page(found, lambda issue: render.issue(call.base, repo, issue))


@routes("POST", ISSUES)
async def create_issue(call: Call) -> Response:
    """Open an issue; labels and assignees of somebody without triage rights are silently left out, as on GitHub."""
    repo = call.repo("read", "issues")
    title = call.needed("title", str)
    if not title.strip():
        raise invalid("Issue", "title", "missing_field")
    body = checked_body(call.field("body", str), "Issue")
    may = call.actor.may(repo, "triage", "issues", "write")
    labels, assignees = texts(call, "labels") or [], people(call, texts(call, "assignees") or [])
    call.user()
    issue = call.world.open_issue(repo, call.actor, title, body, labels if may else (), assignees if may else ())
    return answer(render.issue(call.base, repo, issue), 201)


@routes("GET", ISSUE)
async def get_issue(call: Call) -> Response:
    """Answer with one issue or pull request."""
    repo = call.repo(permission="issues")
    return answer(render.issue(call.base, repo, call.issue(repo)))


@routes("PATCH", ISSUE)
async def update_issue(call: Call) -> Response:
    """Change title, text, state, labels or assignees."""
    repo = call.repo("read", "issues")
    issue = call.issue(repo)
    _changes_allowed(call, repo, issue.user)
    title, state = call.field("title", str), call.field("state", str)
    labels, assignees = texts(call, "labels"), texts(call, "assignees")
    if state not in (None, "open", "closed"):
        raise invalid("Issue", "state")
    body = checked_body(call.field("body", str, issue.body), "Issue")
    issue.title, issue.body, issue.updated_at = title or issue.title, body, now()
    if assignees is not None:
        issue.assignees = people(call, assignees)
    if labels is not None:
        _replace_labels(call, repo, issue, labels)
    if state:
        call.world.set_state(repo, call.actor, issue, state, call.field("state_reason", str))
    return answer(render.issue(call.base, repo, issue))


@routes("PUT", ISSUE + "/lock")
async def lock_issue(call: Call) -> Response:
    """Lock the discussion of an issue or pull request."""
    call.issue(call.repo("write", "issues")).locked = True
    return answer(status=204)


@routes("DELETE", ISSUE + "/lock")
async def unlock_issue(call: Call) -> Response:
    """Open the discussion again."""
    call.issue(call.repo("write", "issues")).locked = False
    return answer(status=204)


# comments


def _find(repo: Repository, number: int) -> tuple[Issue, Comment]:
    for issue in repo.issues.values():
        for comment in issue.comments:
            if comment.id == number:
                return issue, comment
    raise not_found()


@routes("GET", ISSUES + "/comments")
async def list_all_comments(call: Call) -> Response:
    """List the comments of all issues of the repository."""
    repo, moment = call.repo(permission="issues"), since(call)
    pairs = [(issue, comment) for issue in repo.issues.values() for comment in issue.comments]
    pairs = [pair for pair in pairs if moment is None or pair[1].updated_at >= moment]
    pairs.sort(key=lambda pair: pair[1].id, reverse=call.query("direction") == "desc")
    return call.page(pairs, lambda pair: render.comment(call.base, repo, *pair))


@routes("GET", ISSUE + "/comments")
async def list_comments(call: Call) -> Response:
    """List the comments of an issue, the oldest first."""
    repo, moment = call.repo(permission="issues"), since(call)
    issue = call.issue(repo)
    comments = [comment for comment in issue.comments if moment is None or comment.updated_at >= moment]
    return call.page(comments, lambda comment: render.comment(call.base, repo, issue, comment))


@routes("POST", ISSUE + "/comments")
async def create_comment(call: Call) -> Response:
    """Comment on an issue or pull request."""
    repo = call.repo("read", "issues")
    issue = call.issue(repo)
    body = checked_body(call.needed("body", str), "IssueComment") or ""
    if not body.strip():
        raise invalid("IssueComment", "body", "missing_field", "Body can't be blank")
    call.user()
    return answer(render.comment(call.base, repo, issue, call.world.comment(repo, call.actor, issue, body)), 201)


@routes("GET", COMMENT)
async def get_comment(call: Call) -> Response:
    """Answer with one comment."""
    repo = call.repo(permission="issues")
    return answer(render.comment(call.base, repo, *_find(repo, call.number("id"))))


@routes("PATCH", COMMENT)
async def update_comment(call: Call) -> Response:
    """Change the text of a comment."""
    repo = call.repo("read", "issues")
    issue, comment = _find(repo, call.number("id"))
    _changes_allowed(call, repo, comment.user)
    body = checked_body(call.needed("body", str), "IssueComment") or ""
    call.world.edit_comment(repo, call.actor, issue, comment, body)
    return answer(render.comment(call.base, repo, issue, comment))


@routes("DELETE", COMMENT)
async def delete_comment(call: Call) -> Response:
    """Remove a comment."""
    repo = call.repo("read", "issues")
    issue, comment = _find(repo, call.number("id"))
    _changes_allowed(call, repo, comment.user)
    call.world.delete_comment(repo, call.actor, issue, comment)
    return answer(status=204)


# labels and assignees


def _replace_labels(call: Call, repo: Repository, issue: Issue, names: list[str]) -> None:
    keep = {name.lower() for name in names}
    for label in [label for label in issue.labels if label.name.lower() not in keep]:
        call.world.remove_label(repo, call.actor, issue, label)
    call.world.add_labels(repo, call.actor, issue, names)


def _labels(call: Call, repo: Repository, issue: Issue) -> Response:
    return answer([render.label(call.base, repo, label) for label in issue.labels])


def _label_names(call: Call) -> list[str]:
    return texts(call, "labels") or []


@routes("GET", ISSUE + "/labels")
async def list_issue_labels(call: Call) -> Response:
    """List the labels of an issue."""
    repo = call.repo(permission="issues")
    return call.page(call.issue(repo).labels, lambda label: render.label(call.base, repo, label))


@routes("POST", ISSUE + "/labels")
async def add_issue_labels(call: Call) -> Response:
    """Add labels to an issue, making those that are new."""
    repo = call.repo("triage", "issues")
    issue = call.issue(repo)
    call.world.add_labels(repo, call.actor, issue, _label_names(call))
    return _labels(call, repo, issue)


@routes("PUT", ISSUE + "/labels")
async def set_issue_labels(call: Call) -> Response:
    """Give an issue exactly these labels."""
    repo = call.repo("triage", "issues")
    issue = call.issue(repo)
    _replace_labels(call, repo, issue, _label_names(call))
    return _labels(call, repo, issue)


@routes("DELETE", ISSUE + "/labels/{name:path}")
async def remove_issue_label(call: Call) -> Response:
    """Take one label off an issue."""
    repo = call.repo("triage", "issues")
    issue = call.issue(repo)
    label = next((entry for entry in issue.labels if entry.name.lower() == call.params["name"].lower()), None)
    if label is None:
        raise ApiError(404, "Label does not exist")
    call.world.remove_label(repo, call.actor, issue, label)
    return _labels(call, repo, issue)


@routes("POST", ISSUE + "/assignees")
async def add_assignees(call: Call) -> Response:
    """Add people to an issue."""
    repo = call.repo("triage", "issues")
    issue = call.issue(repo)
    issue.assignees += [user for user in people(call, texts(call, "assignees") or []) if user not in issue.assignees]
    return answer(render.issue(call.base, repo, issue), 201)


@routes("DELETE", ISSUE + "/assignees")
async def remove_assignees(call: Call) -> Response:
    """Take people off an issue."""
    repo = call.repo("triage", "issues")
    issue = call.issue(repo)
    gone = people(call, texts(call, "assignees") or [])
    issue.assignees = [user for user in issue.assignees if user not in gone]
    return answer(render.issue(call.base, repo, issue))


# reactions


def _target(call: Call, repo: Repository) -> list[Reaction]:
    if "id" in call.params:
        return _find(repo, call.number("id"))[1].reactions
    return call.issue(repo).reactions


@routes("GET", COMMENT + "/reactions")
@routes("GET", ISSUE + "/reactions")
async def list_reactions(call: Call) -> Response:
    """List the reactions to an issue or a comment, of one kind if asked."""
    repo = call.repo(permission="issues")
    content = call.query("content")
    found = [reaction for reaction in _target(call, repo) if content in ("", reaction.content)]
    return call.page(found, lambda reaction: render.reaction(call.base, reaction))


@routes("POST", COMMENT + "/reactions")
@routes("POST", ISSUE + "/reactions")
async def create_reaction(call: Call) -> Response:
    """React to an issue or a comment: 201, or 200 with the reaction that was there."""
    return checked_reaction(call, _target(call, call.repo("read", "issues")))


def checked_reaction(call: Call, reactions: list[Reaction]) -> Response:
    """Add the reaction of the body to `reactions` and answer with it."""
    content = call.needed("content", str)
    if content not in REACTIONS:
        raise invalid("Reaction", "content")
    call.user()
    reaction, new = call.world.react(call.actor, reactions, content)
    return answer(render.reaction(call.base, reaction), 201 if new else 200)


@routes("DELETE", COMMENT + "/reactions/{reaction:int}")
@routes("DELETE", ISSUE + "/reactions/{reaction:int}")
async def delete_reaction(call: Call) -> Response:
    """Take a reaction back."""
    repo = call.repo("read", "issues")
    reactions, wanted = _target(call, repo), call.number("reaction")
    for reaction in reactions:
        if reaction.id == wanted:
            _changes_allowed(call, repo, reaction.user)
            reactions.remove(reaction)
            return answer(status=204)
    raise not_found()
