"""Pull requests on GitHub: found by their branch before one is opened, brought up to date, labelled."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from github.PullRequest import PullRequest
from github.Repository import Repository

from orchestrator.github.api.client import AmbiguousWrite, NotFound, Refused, RepositoryClient
from orchestrator.github.rendering.template import kept

PULL_REQUEST_SETTING = "Allow GitHub Actions to create and approve pull requests"
TITLE_LETTERS = 256


@dataclass(frozen=True, slots=True)
class OpenedPullRequest:
    """The pull request of a branch; `number` is None where GitHub forbids to open one, and `url` compares instead."""

    number: int | None
    url: str
    draft: bool
    note: str = ""


async def base_of(client: RepositoryClient, number: int) -> str | None:
    """Return the branch that a pull request goes to, or None where there is none of that number."""
    try:
        return await client.read("read a pull request's base", lambda repository: repository.get_pull(number).base.ref)
    except NotFound:
        return None


async def open_pull_request(
    client: RepositoryClient, *, head: str, base: str, title: str, body: str, draft: bool
) -> OpenedPullRequest:
    """Return the open pull request of a branch, made if there is none; its text is brought up to date.

    Where drafts are not to be had it is opened as ready; where the token may not open any, the answer compares.
    """
    title = " ".join(title.split())[:TITLE_LETTERS] or head
    found = await find_pull_request(client, head=head)
    if found is not None:
        return await updated(client, found, title, body)
    try:
        return await _create(client, head, base, title, body, draft)
    except AmbiguousWrite:
        found = await find_pull_request(client, head=head)
        return opened(found) if found is not None else await _create(client, head, base, title, body, draft)
    except Refused as error:
        if error.status == 422:
            found = await find_pull_request(client, head=head)
            if found is not None:
                return opened(found)
            if draft and "draft" in error.said.lower():
                return await _create(client, head, base, title, body, draft=False)
        if error.status == 403 and "not permitted to create" in error.said.lower():
            return _compared(client, head, base)
        raise


async def find_pull_request(client: RepositoryClient, *, head: str, state: str = "open") -> PullRequest | None:
    """Return the oldest pull request of a branch of this repository in a state: open, closed or all."""

    def read(repository: Repository) -> PullRequest | None:
        # GitHub ignores a `head` that it cannot read and lists everything: the branch is compared again here.
        listed = repository.get_pulls(state=state, head=f"{client.owner}:{head}", sort="created", direction="asc")
        ours = (
            pull for pull in listed
            if pull.head.ref == head and pull.head.repo and pull.head.repo.full_name.lower() == client.name.lower()
        )  # fmt: skip
        return next(ours, None)

    return await client.read("list pull requests", read)


async def _create(
    client: RepositoryClient, head: str, base: str, title: str, body: str, draft: bool
) -> OpenedPullRequest:
    made = await client.write(
        "open a pull request",
        lambda repository: repository.create_pull(base, head, title=title, body=body, draft=draft),
    )
    return opened(made)


async def updated(client: RepositoryClient, pull: PullRequest, title: str, body: str) -> OpenedPullRequest:
    """Bring the title of a pull request up to date, and our part of its text."""
    body = kept(pull.body or "", body)
    if (pull.title, (pull.body or "").replace("\r\n", "\n").strip()) != (title, body.strip()):
        await client.write("edit the pull request", lambda _: pull.edit(title=title, body=body), idempotent=True)
    return opened(pull)


def opened(pull: PullRequest) -> OpenedPullRequest:
    """Return what is told of a pull request."""
    return OpenedPullRequest(pull.number, pull.html_url, bool(pull.draft))


def _compared(client: RepositoryClient, head: str, base: str) -> OpenedPullRequest:
    link = f"{client.server_url}/{client.name}/compare/{quote(base)}...{quote(head)}?expand=1"
    return OpenedPullRequest(
        None,
        link,
        draft=False,
        note="This token may not open pull requests. Open it by hand from the link, or switch on "
        f"“{PULL_REQUEST_SETTING}” under Settings → Actions → General.",
    )


async def add_labels(client: RepositoryClient, number: int, labels: tuple[str, ...]) -> None:
    """Put labels on an issue or pull request; those that are there stay."""
    if labels:
        await client.write(
            "label the pull request",
            # GitHub recommends an object; PyGithub sends the bare list.
            lambda repository: repository.requester.requestJsonAndCheck(
                "POST", f"{repository.url}/issues/{number}/labels", input={"labels": list(labels)}
            ),
            idempotent=True,
        )
