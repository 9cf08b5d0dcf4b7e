"""What an App's own hook has delivered, and asking for what failed once more; with the App's JWT.

Source: https://docs.github.com/en/rest/apps/webhooks
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from github import GithubException
from jwt import PyJWTError

from orchestrator.errors import GitHubError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Refused

PAGE_SIZE = 100
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of GitHub's to deliver; `delivered_at` is in seconds since the epoch."""

    id: int
    guid: str
    delivered_at: float
    status: str
    status_code: int

    @property
    def pending(self) -> bool:
        """True while the receiver has not answered."""
        return self.status == "pending"

    @property
    def arrived(self) -> bool:
        """True when the receiver has taken it."""
        return 200 <= self.status_code < 300


def failed(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Return the last attempt of each delivery of which none arrived and none is under way, the oldest first."""
    settled = {it.guid for it in attempts if it.arrived or it.pending}
    last = {it.guid: it for it in sorted(attempts, key=lambda it: it.id) if it.guid not in settled}
    return tuple(sorted(last.values(), key=lambda it: it.id))


async def attempts_after(
    github: GitHubConnection, newest: int, since: float, *, pages: int, cursor: str | None = None
) -> tuple[tuple[Attempt, ...], str | None]:
    """Return the attempts after the id `newest` and the time `since`, the newest first, from at most so many pages.

    The second value is the `cursor` at which the rest of them begin, or None when these are all. Raises `GitHubError`
    when GitHub does not list them.
    """
    found: list[Attempt] = []
    for _ in range(pages):
        page, cursor = await on_app(github, "list the deliveries", _page, cursor)
        fresh = [it for it in page if it.id > newest and it.delivered_at >= since]
        found += fresh
        if cursor is None or len(fresh) < len(page):
            return tuple(found), None
    return tuple(found), cursor


async def ask_again(github: GitHubConnection, attempt: Attempt) -> None:
    """Have GitHub deliver once more, signed and under the same id.

    Raises `Refused` when it will not deliver this one, such as one that is too old, and `GitHubError` when it does not
    answer or has had enough requests.
    """
    await on_app(github, "deliver once more", _again, attempt.id)


def _page(requester: Any, cursor: str | None) -> tuple[list[Attempt], str | None]:
    query = {"per_page": PAGE_SIZE} | ({"cursor": cursor} if cursor else {})
    headers, items = requester.requestJsonAndCheck("GET", "/app/hook/deliveries", parameters=query)
    following = _NEXT.search(headers.get("link") or "")
    after = parse_qs(urlsplit(following[1]).query).get("cursor", [None])[0] if following else None
    return [_attempt(it) for it in items], after


def _attempt(item: dict[str, Any]) -> Attempt:
    at = datetime.fromisoformat(str(item["delivered_at"])).timestamp()
    return Attempt(int(item["id"]), str(item["guid"]), at, str(item["status"]), int(item["status_code"]))


def _again(requester: Any, number: int) -> None:
    requester.requestJsonAndCheck("POST", f"/app/hook/deliveries/{number}/attempts")


async def on_app(github: GitHubConnection, what: str, call: Any, argument: Any) -> Any:
    """Return what `call` makes of a requester with the App's JWT and the argument; `what` is for the error's text."""

    def called() -> Any:
        return github.as_app(lambda integration: call(integration.requester, argument))

    try:
        return await asyncio.to_thread(called)
    except GithubException as error:
        if error.status in (400, 404, 410, 422):
            raise Refused(what, error.status, "") from error
        raise GitHubError(f"GitHub would not {what}: {error.status}.", hint="It is tried again later.") from error
    except requests.RequestException as error:
        raise GitHubError(
            f"GitHub could not be reached to {what} ({type(error).__name__}).", hint="It is tried again later."
        ) from error
    except PyJWTError as error:
        raise GitHubError("The App's private key signs nothing.", hint="Check GITHUB_APP_PRIVATE_KEY.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GitHubError(f"GitHub's answer to {what} is none that is known ({type(error).__name__}).") from error
