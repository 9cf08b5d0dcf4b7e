"""A change on GitHub as its diff, read through the API between two pinned commits; nothing of it is cloned."""

from __future__ import annotations

from dataclasses import dataclass

from github.Repository import Repository

from orchestrator.diff import FileDiff
from orchestrator.github.api.client import RepositoryClient

MAX_FILES = 300
"""The most that GitHub lists: https://docs.github.com/en/rest/commits/commits#compare-two-commits"""


@dataclass(frozen=True, slots=True)
class PullRequestEnds:
    """A pull request as it is at one moment: its state, its two ends, and the repository that its head is in.

    `head_repository` is empty where a fork is gone.
    """

    state: str
    base_sha: str
    head_sha: str
    head_repository: str
    url: str


async def ends_of(client: RepositoryClient, number: int) -> PullRequestEnds:
    """Return where a pull request's ends are now."""

    def read(repository: Repository) -> PullRequestEnds:
        pull = repository.get_pull(number)
        head = pull.head
        owner = head.repo.full_name if head.repo else ""
        return PullRequestEnds(pull.state, pull.base.sha, head.sha, owner, pull.html_url)

    return await client.read("read the pull request", read)


async def diff_between(client: RepositoryClient, base_sha: str, head_sha: str) -> tuple[FileDiff, ...]:
    """Return the files that a head changes since it left a base, as a pull request shows them.

    The head of a fork's pull request is known to its base repository, which is the only one that is asked.
    """

    def read(repository: Repository) -> tuple[FileDiff, ...]:
        return tuple(
            FileDiff(it.filename, it.status, it.patch or "", it.previous_filename or "")
            for it in repository.compare(base_sha, head_sha).files
        )

    return await client.read("read the diff", read)
