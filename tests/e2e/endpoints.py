"""The endpoints of GitHub that the product uses, read off what it did, and faults at the requests of one scene."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from bot.localhub.faults import Fault, RecordedRequest
from tests.e2e.stage import Scene

_NUMBER = re.compile(r"/(?:[0-9a-f]{40}(?:\.\.\.[0-9a-f]{40})?|[0-9]+)(?=/|$)")
_FIELD = re.compile(rb"\{\s*(\w+)\s*\(")

LIMITED = {
    "message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    "documentation_url": "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api",
}
SLOW_SECONDS = 17.0
"""More than the 15 seconds that the product gives one request."""

FAULTS: dict[str, dict[str, Any]] = {
    "slow": {"kind": "delay", "seconds": SLOW_SECONDS},
    "429": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "body": {"message": "Too many requests"}},
    "403 secondary": {"kind": "status", "status": 403, "headers": {"Retry-After": "1"}, "body": LIMITED},
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "dropped before": {"kind": "drop_before"},
    "dropped after": {"kind": "drop_after"},
    "malformed": {"kind": "malformed"},
    "page": {"kind": "page"},
    "truncated": {"kind": "truncated"},
}
ELSEWHERE = frozenset({"403 secondary", "502", "dropped after"})
"""What `test_every_write_fails_once` does to every write."""


def endpoint_of(scene: Scene, request: RecordedRequest) -> str | None:
    """Return the endpoint of one of our requests about a scene, such as `GET /issues/N`; None for any other request.

    A query of GraphQL is an endpoint by the first field that it asks for.
    """
    hub = scene.hub
    token = hub.state.tokens.get(request.headers.get("authorization", "").rpartition(" ")[2])
    repo = hub.repository(scene.repository)
    here = [it.id for it in hub.state.installations.values() if repo.id in it.repositories]
    if request.path.endswith("/graphql"):
        if token is None or token.installation is None or token.installation.id not in here:
            return None
        fields = [name.decode() for name in _FIELD.findall(request.body.replace(b"\\n", b" "))]
        return f"POST /graphql {' '.join(fields)}"
    if request.path.startswith(f"/{scene.repository}.git/"):
        return f"{request.method} .git{request.path.removeprefix(f'/{scene.repository}.git')}"
    if any(f"/app/installations/{number}/" in request.path for number in here):
        return f"{request.method} /app/installations/N/access_tokens"
    if token is None or token.installation is None:
        return None
    _, found, path = request.path.partition(f"/repos/{scene.repository}")
    return f"{request.method} {_NUMBER.sub('/N', path) or '/'}" if found else None


def endpoints(scene: Scene) -> Counter[str]:
    """Return the endpoints that a scene has seen, in the order of their first requests, and how often each."""
    return Counter(shape for request in scene.hub.requests if (shape := endpoint_of(scene, request)))


def is_write(endpoint: str) -> bool:
    """Tell whether a request of an endpoint changes something on GitHub."""
    return not endpoint.startswith(("GET", "POST .git", "POST /graphql repository"))


def break_at(scene: Scene, endpoint: str, fault: str, *, times: int = 1) -> Fault:
    """Have the next requests of a scene to an endpoint meet a fault."""
    return scene.hub.faults.add(
        path_regex="", when=lambda request: endpoint_of(scene, request) == endpoint, times=times, **FAULTS[fault]
    )
