"""Which of the requests that the local GitHub saw would have changed something."""

from __future__ import annotations

from collections.abc import Iterable

from bot.localhub.faults import RecordedRequest

READS = ("/access_tokens", "/git-upload-pack")
"""POSTs that change nothing of a repository: a token is minted, git fetches."""


def attempted_writes(requests: Iterable[RecordedRequest]) -> list[RecordedRequest]:
    """Return every request that may change something, whether it succeeded or not; of GraphQL's only mutations."""
    return [
        it
        for it in requests
        if it.method != "GET"
        and not it.path.endswith(READS)
        and not (it.path.endswith("/graphql") and b"mutation" not in it.body)
    ]
