"""A change on GitHub as its diff, read through the API between two pinned commits; nothing of it is cloned."""

from __future__ import annotations

from github.Repository import Repository

from orchestrator.diff import FileDiff
from orchestrator.github.client import RepositoryClient

MAX_FILES = 300
"""The most that GitHub lists: https://docs.github.com/en/rest/commits/commits#compare-two-commits"""


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
