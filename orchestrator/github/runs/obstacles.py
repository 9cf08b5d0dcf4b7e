"""What stands in the way of a new run of an issue, looked at before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from github.Repository import Repository

from orchestrator.codes import Code
from orchestrator.github.api.client import Refused, RepositoryClient
from orchestrator.github.api.publisher import Effects
from orchestrator.github.api.pull_requests import find_pull_request
from orchestrator.github.rendering.marks import status_mark
from orchestrator.github.triggers.command import Refusal
from orchestrator.state import ProjectStatus

_LINKED = (
    "query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) { "
    "issue(number: $number) { closedByPullRequestsReferences(first: 20, includeClosedPrs: false) { "
    "nodes { url state headRefName } } } } }"
)
"""https://docs.github.com/en/graphql/reference/objects#issue"""
_FORCE = "To start all the same, add `--force`."


@dataclass(frozen=True, slots=True)
class LinkedPullRequest:
    """An open pull request that will close the issue, and the branch it comes from."""

    url: str
    branch: str


@dataclass(frozen=True, slots=True)
class IssueNow:
    """An issue as it is at the moment; `assignees` are logins, `note` says what GitHub did not tell."""

    is_open: bool
    locked: bool
    assignees: tuple[str, ...] = ()
    linked: tuple[LinkedPullRequest, ...] = ()
    note: str = ""


async def issue_now(client: RepositoryClient, number: int) -> IssueNow:
    """Return the issue as it is now; a token that may not see its linked pull requests sees none."""

    def read(repository: Repository) -> dict[str, Any]:
        return dict(repository.get_issue(number).raw_data)

    def read_linked(repository: Repository) -> list[dict[str, Any]]:
        values = {"owner": client.owner, "name": client.name.partition("/")[2], "number": number}
        _, answer = repository.requester.graphql_query(_LINKED, values)
        issue = ((answer.get("data") or {}).get("repository") or {}).get("issue") or {}
        return list((issue.get("closedByPullRequestsReferences") or {}).get("nodes") or [])

    issue = await client.read("read the issue", read)
    note = ""
    try:
        nodes = await client.read("list the pull requests that would close the issue", read_linked)
    except Refused as error:
        nodes, note = [], error.message
    linked = [LinkedPullRequest(it["url"], it["headRefName"]) for it in nodes if it and it["state"] == "OPEN"]
    assignees = tuple(str(it["login"]) for it in issue.get("assignees") or ())
    return IssueNow(issue["state"] == "open", bool(issue.get("locked")), assignees, tuple(linked), note)


def why_not_begun(now: IssueNow, actor: str, own_branches: str) -> Refusal | None:
    """Return why nobody should begin a run of an issue, or None; `--force` says to begin all the same.

    What comes from a branch under `own_branches` is ours, and told apart by its own rule.
    """
    if not now.is_open:
        return Refusal(f"the issue is closed. Open it again first. {_FORCE}", code=Code.ISSUE_CLOSED)
    if now.locked:
        return Refusal(f"the issue is locked. Unlock it first. {_FORCE}", code=Code.ISSUE_LOCKED)
    if now.assignees and actor.lower() not in (login.lower() for login in now.assignees):
        others = ", ".join(f"`{login}`" for login in now.assignees)
        said = f"the issue is assigned to {others}, and not to whoever asks. {_FORCE}"
        return Refusal(said, code=Code.ISSUE_ASSIGNED)
    foreign = [pull.url for pull in now.linked if not pull.branch.startswith(own_branches)]
    if foreign:
        said = f"an open pull request will close the issue: {', '.join(foreign)}. {_FORCE}"
        return Refusal(said, code=Code.PULL_REQUEST_OPEN)
    return None


def why_not_second(status: ProjectStatus, link: str) -> Refusal:
    """Return why no second run of an issue begins beside one with this status."""
    seen = f" ({link})" if link else ""
    after = "Ask for changes with `/orchestrate revise` on its pull request, once that is open."
    if status is ProjectStatus.WAITING:
        return Refusal(
            f"a plan of this issue waits{seen}. Comment `/orchestrate approve` to build it, or "
            f"`/orchestrate cancel` to plan anew. {after}",
            code=Code.RUN_UNFINISHED,
        )
    return Refusal(
        f"a run of this issue is not finished{seen}. Wait for its end, or comment `/orchestrate cancel` to begin "
        f"anew. {after}",
        code=Code.RUN_UNFINISHED,
    )


async def link_to(client: RepositoryClient, issue: int, run_id: str, effects: Effects) -> str:
    """Return the address of a run's open pull request, else of its status comment, else an empty string."""
    _, branch = await effects.begin("branch", "decided")
    pull = await find_pull_request(client, head=branch) if branch else None
    if pull is not None:
        return pull.html_url
    _, comment = await effects.begin("comment", f"{issue}:{status_mark(run_id)}")
    return f"{client.server_url}/{client.name}/issues/{issue}#issuecomment-{comment}" if comment else ""
