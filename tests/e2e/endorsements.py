"""What no request of ours may ever do: approve a pull request, merge it, or let it merge by itself (SECURITY 28)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.localhub.faults import RecordedRequest

_MERGES = re.compile(r"/(?:pulls/\d+/merge|merges|merge-upstream)\Z")
_REVIEWS = re.compile(r"/pulls/\d+/reviews(?:/\d+(?:/events)?)?\Z")
_MUTATIONS = re.compile(
    rb"enablePullRequestAutoMerge|mergePullRequest|mergeBranch|enqueuePullRequest|"
    rb"(?:add|submit)PullRequestReview\b.*APPROVE",
    re.DOTALL,
)


def endorsements(requests: Iterable[RecordedRequest]) -> list[str]:
    """Return the requests made with a token of an App or a workflow that endorse a change."""
    return [
        f"{it.method} {it.path}"
        for it in requests
        if "ghs_" in it.headers.get("authorization", "")
        and it.method != "GET"
        and (
            _MERGES.search(it.path)
            or (_REVIEWS.search(it.path) and b"APPROVE" in it.body)
            or (it.path.endswith("/graphql") and _MUTATIONS.search(it.body))
        )
    ]
