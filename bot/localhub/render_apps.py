"""GitHub's JSON shapes of what an App sees of itself: its installations, their tokens, and its hook's deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from bot.localhub.render import API, repository, stamp, user
from bot.localhub.state import JSON, Delivery, Installation, Repository, Token


def installation(base: str, it: Installation) -> JSON:
    """Return an `installation`."""
    url = f"{base}{API}/app/installations/{it.id}"
    # The description of the list asks of an account what it asks of a user and of an enterprise.
    since = stamp(it.account.created_at)
    enterprise = {"name": it.account.login, "slug": it.account.login, "created_at": since, "updated_at": since}
    return {
        "id": it.id,
        "account": user(base, it.account) | enterprise,
        "repository_selection": "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "repositories_url": f"{base}{API}/installation/repositories",
        "html_url": f"{base}/settings/installations/{it.id}",
        "app_id": it.app.id,
        "app_slug": it.app.slug,
        "client_id": f"Iv1.{it.app.id:016x}",
        "target_id": it.account.id,
        "target_type": it.account.type,
        "permissions": it.permissions,
        "events": list(it.app.events),
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.created_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": None,
        "suspended_at": stamp(it.suspended_at),
    }


def installation_token(base: str, token: Token, repositories: Sequence[Repository]) -> JSON:
    """Return an `installation-token`."""
    return {
        "token": token.value,
        "expires_at": stamp(token.expires_at),
        "permissions": token.permissions,
        "repository_selection": "selected",
        "repositories": [repository(base, repo) for repo in repositories],
    }


def delivery(it: Delivery) -> JSON:
    """Return a `hook-delivery-item`."""
    return {
        "id": it.id,
        "guid": it.guid,
        "delivered_at": stamp(it.delivered_at),
        "redelivery": it.redelivery,
        "duration": round(it.duration, 2),
        "status": it.status,
        "status_code": it.status_code,
        "event": it.event,
        "action": it.action,
        "installation_id": it.installation_id,
        "repository_id": it.repository_id,
        "throttled_at": None,
    }
