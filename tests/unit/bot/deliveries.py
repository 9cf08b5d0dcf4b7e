"""GitHub's deliveries as the tests send them: payloads, signatures and headers."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

SECRET = "a secret of the tests, long enough"
PREVIOUS = "the secret before the rotation"
NOW = 1_796_000_000.0
CREATED = "2026-11-30T00:53:20Z"
HEAD = "a" * 40
RUN = "r-abcdefghijklmnop"


def issue_comment(
    body: str = "/orchestrate",
    *,
    comment: int = 71,
    issue: int = 5,
    repository: str = "octo/demo",
    actor: str = "ada",
    created_at: str = CREATED,
) -> dict[str, Any]:
    """Return the payload of a new comment."""
    user = {"login": actor, "id": 9, "type": "User"}
    return {
        "action": "created",
        "issue": {"number": issue, "id": 500 + issue, "title": "A limiter", "body": "Build one.", "user": user},
        "comment": {"id": comment, "body": body, "user": user, "created_at": created_at},
        "repository": {"id": 33, "full_name": repository, "default_branch": "main", "private": False},
        "sender": user,
        "installation": {"id": 12},
    }


def signature(body: bytes, secret: str = SECRET) -> str:
    """Return the signature that GitHub sends with a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_request(
    payload: dict[str, Any], *, delivery: str = "d-1", event: str = "issue_comment", secret: str = SECRET
) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a delivery."""
    body = json.dumps(payload).encode()
    return body, headers(body, delivery=delivery, event=event, secret=secret)


def headers(
    body: bytes, *, delivery: str = "d-1", event: str = "issue_comment", secret: str = SECRET
) -> dict[str, str]:
    """Return the headers of a delivery with this body."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": signature(body, secret),
    }


def press(action: str, **check: Any) -> dict[str, Any]:
    """Return the payload of a press at a check run of ours; `check` changes that."""
    app = {"id": 4, "slug": "our-app"}
    pull = {"number": 8, "base": {"ref": "main", "repo": {"id": 33, "name": "demo"}}}
    run = {"id": 81, "name": "orchestrator/review", "head_sha": HEAD, "external_id": RUN, "app": app}
    run |= {"check_suite": {"head_branch": "orchestrator/5-a"}, "pull_requests": [pull]}
    about = {name: issue_comment()[name] for name in ("repository", "sender", "installation")}
    return {"action": action, "check_run": run | check, **about}
