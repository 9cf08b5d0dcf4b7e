"""What GitHub lets our App do, where it is installed, and where its hook points: as GitHub says it, and what lacks.

Source: https://docs.github.com/en/rest/apps/apps
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.hook import on_app
from orchestrator.github.api.registration import APP_EVENTS, APP_PERMISSIONS

PAGE_SIZE = 100
_LEVELS = ("", "read", "write", "admin")


@dataclass(frozen=True, slots=True)
class Grants:
    """What the App asks for, or an installation grants: what our commands need beyond it, as `name: level` and events.

    `account` is empty for the App itself.
    """

    account: str
    missing_permissions: tuple[str, ...]
    missing_events: tuple[str, ...]
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the App's hook points, empty for nowhere; GitHub does not show its secret, but whether there is one."""

    url: str
    has_secret: bool
    is_json: bool
    verifies_tls: bool


async def grants_of_app(github: GitHubConnection) -> Grants:
    """Return what the App as it is registered lacks. Raises `GitHubError` when GitHub does not say, as all here do."""
    found: Grants = await on_app(github, "say what the App may do", _of_app, "/app")
    return found


async def grants_of_installations(github: GitHubConnection) -> tuple[Grants, ...]:
    """Return what each installation lacks, of the first hundred."""
    path = f"/app/installations?per_page={PAGE_SIZE}"
    found: tuple[Grants, ...] = await on_app(github, "list the installations", _of_installations, path)
    return found


async def hook_of_app(github: GitHubConnection) -> Hook:
    """Return where the App's hook points."""
    found = await on_app(github, "say where the hook points", _read, "/app/hook/config")
    return Hook(
        str(found.get("url") or ""),
        bool(found.get("secret")),
        found.get("content_type") == "json",
        str(found.get("insecure_ssl", "0")) == "0",
    )


def missing(granted: Mapping[str, str]) -> tuple[str, ...]:
    """Return what our commands need beyond what is granted, as `name: level`."""
    return tuple(
        f"{name}: {level}"
        for name, level in APP_PERMISSIONS.items()
        if _LEVELS.index(granted.get(name, "")) < _LEVELS.index(level)
    )


def _read(requester: Any, path: str) -> Any:
    return requester.requestJsonAndCheck("GET", path)[1]


def _of_app(requester: Any, path: str) -> Grants:
    return _grants("", _read(requester, path))


def _of_installations(requester: Any, path: str) -> tuple[Grants, ...]:
    found = _read(requester, path)
    return tuple(_grants(str(it["account"].get("login") or it["account"]["slug"]), it) for it in found)


def _grants(account: str, found: Mapping[str, Any]) -> Grants:
    events = tuple(event for event in APP_EVENTS if event not in found["events"])
    return Grants(account, missing(found["permissions"]), events, bool(found.get("suspended_at")))
