"""A repository's own customs around a pull request: its template, its trailers, and who is asked to look.

Nothing here approves, merges or lets anything merge by itself, and nothing ever will (SECURITY 28).
"""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

from github.Repository import Repository

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import NotFound, Refused, RepositoryClient, Unreachable
from orchestrator.github.api.repository import read_text
from orchestrator.github.rendering.template import FOLDERS, NAMES, filled, prepared
from orchestrator.github.runs.desk import Desk
from orchestrator.sections import CommitSpec
from orchestrator.state import ProjectState
from orchestrator.version import VERSION

TOOL = "multi-llm-orchestrator"
_GITHUB = "github.com"


async def in_template(desk: Desk, ours: str, *, closes: int | None) -> str:
    """Return our text as a pull request's, within the repository's template if it has one, ready to be published."""
    template = await pull_request_template(desk.client, desk.trigger.default_branch)
    return filled(desk.publisher.safe(template), desk.publisher.safe(ours, closes=closes))


async def pull_request_template(client: RepositoryClient, ref: str) -> str:
    """Return what is kept of the repository's template at a commit of its default branch; empty without one."""
    for folder in FOLDERS:
        try:
            path = await client.read("look for a template", partial(_named, folder=folder, ref=ref))
            text = await read_text(client, path, ref) if path else None
        except NotFound:
            continue
        except Unreachable:
            raise
        except GitHubError:
            return ""  # too large, or no text: nothing that could be filled
        if text is not None:
            return prepared(text)
    return ""


def _named(repository: Repository, folder: str, ref: str) -> str:
    listed = repository.get_contents(folder, ref=ref)
    entries = listed if isinstance(listed, list) else []
    found = {entry.name.lower(): entry.path for entry in entries if entry.type == "file"}
    return next((found[name] for name in NAMES if name in found), "")


async def trailers(
    client: RepositoryClient, commit: CommitSpec, requester: str, state: ProjectState
) -> tuple[str, ...]:
    """Return the trailers that the repository wants besides ours.

    `Signed-off-by` is whoever commanded the run, at the address that GitHub keeps for them: they certify the origin
    (https://developercertificate.org), which no App can. `Assisted-by` names tool and model as
    https://docs.kernel.org/process/coding-assistants.html asks.
    """
    made = []
    if commit.assisted_by:
        models = dict.fromkeys(result.model for result in state.results.values() if result.model)
        made += [f"Assisted-by: {TOOL}/{VERSION}:{_plain(model)}" for model in models]
    # A bot that commands can certify no more than the App.
    if commit.sign_off and not requester.endswith("[bot]"):
        made.append(f"Signed-off-by: {await _identity(client, requester)}")
    return tuple(made)


async def _identity(client: RepositoryClient, login: str) -> str:
    """Return a person's name and noreply address, which reveals nothing that GitHub does not show."""
    account = await client.read_api(f"say who {login} is", lambda github: github.get_user(login).raw_data)
    name = _plain(str(account.get("name") or "")) or login
    host = urlsplit(client.server_url).hostname or _GITHUB
    return f"{name} <{account['id']}+{login}@users.noreply.{host}>"


def requested_by(login: str) -> str:
    """Return the line that says who commanded, and what an approval of theirs is worth (SECURITY 28)."""
    return (
        f"Requested by @{login}, whose approval alone is no second look: somebody else should read this before it is "
        "merged. The orchestrator approves and merges nothing."
    )


async def ask_for_review(desk: Desk, number: int) -> str:
    """Ask whoever commanded the run to review its pull request, once.

    Returns a note when nobody but them has approved it so far, else an empty text. That they may not review is no
    failure.
    """
    requester = desk.trigger.actor
    known, _ = await desk.effects.begin("review request", f"{number}:{requester}")
    author, involved, approvers = await desk.client.read("read the reviews", partial(_reviewers, number=number))
    who = requester.lower()
    if known != "done" and who != author and who not in involved and not who.endswith("[bot]"):
        try:
            await desk.client.write(
                "ask for a review",
                # Asking somebody again who is asked already changes nothing.
                lambda repository: repository.get_pull(number).create_review_request(reviewers=[requester]),
                idempotent=True,
            )
        except Refused as error:
            if error.status not in (403, 404, 422):
                raise
    await desk.effects.done("review request", f"{number}:{requester}", "asked")
    if approvers == {who}:
        return f"Only @{requester}, who asked for this, has approved it: nobody else has looked at it yet."
    return ""


def _reviewers(repository: Repository, number: int) -> tuple[str, set[str], set[str]]:
    """Return a pull request's author, who is or was asked or has reviewed, and whose last word is an approval."""
    pull = repository.get_pull(number)
    last: dict[str, str] = {}
    for review in pull.get_reviews():
        if review.user and review.state != "COMMENTED":
            last[review.user.login.lower()] = review.state
        elif review.user:
            last.setdefault(review.user.login.lower(), review.state)
    asked = {person.login.lower() for person in pull.requested_reviewers}
    return pull.user.login.lower(), asked | set(last), {who for who, state in last.items() if state == "APPROVED"}


def _plain(text: str) -> str:
    return " ".join("".join(letter for letter in text if letter not in "<>").split())[:100]
