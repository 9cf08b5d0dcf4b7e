"""Registering a GitHub App from a manifest: what is asked for, and the credentials that a code is exchanged for.

Source: https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from github import Auth, Github, GithubException, GithubIntegration

from orchestrator.errors import GitHubError

APP_PERMISSIONS = {
    "actions": "read",
    "checks": "write",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "write",
}
"""The least that every command needs; workflows are never among it (SECURITY 17)."""

APP_EVENTS = (
    "check_run",
    "check_suite",
    "issue_comment",
    "issues",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "repository",
)
"""The events of CONTRACT section 4; `installation*` and `ping` come to every App without being asked for."""

NAME_LETTERS = 34
"""https://docs.github.com/en/apps/creating-github-apps/registering-a-github-app/registering-a-github-app"""
MIN_SECRET_CHARACTERS = 16
_ORGANIZATION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})\Z")
_CODE = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
_REQUEST_SECONDS = 15


def manifest(name: str, public_url: str, redirect_url: str) -> dict[str, Any]:
    """Return the manifest of a private App whose hook is the bot at `public_url`.

    GitHub sends the person who creates the App back to `redirect_url`, with a code.
    """
    return {
        "name": name[:NAME_LETTERS],
        "url": public_url,
        "hook_attributes": {"url": f"{public_url}/webhook", "active": True},
        "redirect_url": redirect_url,
        "public": False,
        "default_permissions": dict(APP_PERMISSIONS),
        "default_events": list(APP_EVENTS),
    }


def new_app_url(server_url: str, state: str, organization: str = "") -> str:
    """Return where a manifest is posted to, for the person's own account or an organisation.

    Raises `ValueError` when that is no organisation's name.
    """
    if organization and not _ORGANIZATION.match(organization):
        raise ValueError(f"{organization!r} is no organisation's name")
    owner = f"/organizations/{organization}" if organization else ""
    return f"{server_url}{owner}/settings/apps/new?state={quote(state, safe='')}"


@dataclass(frozen=True, slots=True)
class RegisteredApp:
    """An App that GitHub has just made, with what it needs to act; `webhook_secret_previous` may be empty."""

    app_id: str
    slug: str
    owner: str
    html_url: str
    private_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_secret_previous: str = field(default="", repr=False)

    @property
    def install_url(self) -> str:
        """Return the page where the App is installed on repositories."""
        return f"{self.html_url}/installations/new"


async def register(api_url: str, code: str) -> RegisteredApp:
    """Exchange the code that GitHub sent a browser back with for the App's credentials; it works once, for an hour.

    The webhook gets a secret of 32 random bytes (SECURITY 1); where GitHub does not take it, its own one stays. Client
    id and client secret are not needed, and forgotten. Raises `GitHubError` when there is nothing to be had for the
    code.
    """
    if not _CODE.match(code):
        raise GitHubError("The code that came back from GitHub is none.", hint="Begin anew with the set-up page.")
    return await asyncio.to_thread(_registered, api_url, code)


def _registered(api_url: str, code: str) -> RegisteredApp:
    made = _converted(api_url, code)
    try:
        app_id, private_key = str(int(made["id"])), str(made["pem"])
        slug, html_url, owner = str(made["slug"]), str(made["html_url"]), str(made["owner"].get("login", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GitHubError(
            "GitHub's answer to the code holds no App.", hint="Check GITHUB_API_URL, and begin anew."
        ) from error
    given, ours = str(made.get("webhook_secret") or ""), secrets.token_hex(32)
    if _secret_is_taken(api_url, app_id, private_key, ours):
        return RegisteredApp(app_id, slug, owner, html_url, private_key, ours)
    if len(given) < MIN_SECRET_CHARACTERS:
        raise GitHubError(
            f"The App {slug} was made, but its webhook has no secret of {MIN_SECRET_CHARACTERS} characters, and GitHub "
            "did not take one.",
            hint=f"Delete the App at {html_url}, and begin anew.",
        )
    # An answer that was lost may mean that ours was taken: either one verifies.
    return RegisteredApp(app_id, slug, owner, html_url, private_key, given, ours)


def _converted(api_url: str, code: str) -> dict[str, Any]:
    github = Github(base_url=api_url, timeout=_REQUEST_SECONDS, retry=None, seconds_between_writes=0)
    try:
        _, made = github.requester.requestJsonAndCheck("POST", f"/app-manifests/{quote(code, safe='')}/conversions")
    except GithubException as error:
        raise GitHubError(
            f"GitHub gave nothing for the code: {error.status}.",
            hint="A code works once, and for an hour. Begin anew with the set-up page.",
        ) from error
    except requests.RequestException as error:
        raise GitHubError(
            f"GitHub could not be reached for the App's credentials ({type(error).__name__}).",
            hint="Check the network and GITHUB_API_URL. If GitHub lists the App already, delete it there; begin anew.",
        ) from error
    finally:
        github.close()
    if not isinstance(made, dict):
        raise GitHubError("GitHub's answer to the code holds no App.", hint="Check GITHUB_API_URL, and begin anew.")
    return made


def _secret_is_taken(api_url: str, app_id: str, private_key: str, secret: str) -> bool:
    try:
        integration = GithubIntegration(
            auth=Auth.AppAuth(int(app_id), private_key), base_url=api_url, timeout=_REQUEST_SECONDS, retry=None
        )
    except ValueError as error:
        raise GitHubError("GitHub's answer to the code holds no private key.", hint="Begin anew.") from error
    try:
        integration.requester.requestJsonAndCheck(
            "PATCH", "/app/hook/config", input={"secret": secret, "content_type": "json"}
        )
    except (GithubException, requests.RequestException):
        return False
    finally:
        integration.close()
    return True
