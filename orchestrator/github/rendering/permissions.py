"""What to tell people whose token or App may not write what it should: the very line or page that adds it; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

WORKFLOW_LOGIN = "github-actions[bot]"
"""Who a workflow's own token acts as; it may not ask for its own name."""
TO_DELIVER = ("contents", "pull_requests")
"""What a run needs to write, or nothing that it builds could be brought to GitHub."""


def lacking(granted: Mapping[str, str] | None, needed: Collection[str]) -> tuple[str, ...]:
    """Return what of the needed permissions is not granted for writing; nothing where nobody said what is granted."""
    return () if granted is None else tuple(name for name in needed if granted.get(name) != "write")


def cannot_deliver(login: str, server_url: str, missing: Sequence[str]) -> str:
    """Return why nothing is started by an account that could not write what it builds."""
    named = " and ".join(_line(name) for name in missing)
    return f"what is built could not be brought here: {named} is not granted. {advice(login, server_url, missing)}"


def missing_permission(login: str, server_url: str, missing: Sequence[str]) -> str:
    """Return what a token that acts as `login` lacks to write check runs, and the very line or page that adds it."""
    named = " and ".join(_line(name) for name in missing)
    shown = "commit statuses" if len(missing) == 1 else "missing: see the report and, in the Action, its annotations"
    lead = f"The token lacks the permission {named}, so the check runs are {shown}."
    if login != WORKFLOW_LOGIN and not login.endswith("[bot]"):
        return f"{lead} Personal tokens may not write checks: use an App, or a workflow's own token with {named}."
    return f"{lead} {advice(login, server_url, missing)}"


def advice(login: str, server_url: str, missing: Sequence[str]) -> str:
    """Return where permissions to write are added for an account."""
    return _added(login, server_url, " and ".join(_line(name) for name in missing))


def cannot_read_logs(login: str, server_url: str) -> str:
    """Return why a round was not told what failed workflow jobs printed, and the very line or page that changes it."""
    named = _line("actions", "read")
    return f"The logs of failed jobs were not read: {named} is not granted. {_added(login, server_url, named)}"


def _added(login: str, server_url: str, named: str) -> str:
    if login == WORKFLOW_LOGIN:
        return f"Add {named} under `permissions:` of the workflow."
    page = f"{server_url}/settings/apps/{login.removesuffix('[bot]')}/permissions"
    return f"Grant the App {named} at {page}, and accept that where it is installed."


def _line(name: str, level: str = "write") -> str:
    return f"`{name}: {level}`"
