"""What ends runs or moves them: something was closed, the App was taken away, a repository has another name; pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from orchestrator.github.triggers.payload import FULL_NAME, at, number, text
from orchestrator.github.triggers.trigger import Ignored

Kind = Literal["issue", "pull_request", "uninstalled", "suspended", "removed", "moved"]
_KINDS: dict[tuple[str, str], Kind] = {
    ("issues", "closed"): "issue",
    ("pull_request", "closed"): "pull_request",
    ("installation", "deleted"): "uninstalled",
    ("installation", "suspend"): "suspended",
    ("installation_repositories", "removed"): "removed",
    ("repository", "renamed"): "moved",
    ("repository", "transferred"): "moved",
}
_PREFIX = "close-"
_ID_LETTERS = 16


@dataclass(frozen=True, slots=True)
class Closing:
    """One such event; `number` is the issue's or pull request's, `account` the installation's.

    `repositories` are those that the App no longer sees. Of one that has moved `repository` is the new name.
    """

    delivery_id: str
    event: str
    kind: Kind
    actor: str
    repository: str = ""
    repository_id: int = 0
    number: int = 0
    default_branch: str = "main"
    installation_id: int = 0
    account: str = ""
    repositories: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What its work and its effects are kept under."""
        digest = hashlib.sha256(self.delivery_id.encode()).digest()
        return _PREFIX + base64.b32encode(digest).decode().lower()[:_ID_LETTERS]

    @property
    def said(self) -> str:
        """Who did what, as the end of the sentence "Cancelled by …"."""
        done = {
            "issue": "closed the issue",
            "pull_request": "closed the pull request",
            "uninstalled": "uninstalled the App",
            "suspended": "suspended the App",
            "removed": "took the repository from the App",
            "moved": "moved the repository",
        }
        return f"{self.actor[:60]}, who {done[self.kind]}"

    def to_json(self) -> str:
        """Return the event as one JSON object, for the store."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, kept: str) -> Closing:
        """Read what `to_json` wrote; raises `ValueError` for anything else."""
        value = json.loads(kept)
        if not isinstance(value, dict) or not set(value) <= {field.name for field in fields(cls)}:
            raise ValueError("this is no closing")
        try:
            return cls(**value | {"repositories": tuple(value.get("repositories", ()))})
        except TypeError as error:
            raise ValueError(f"this is no closing: {error}") from error


def is_closing(run_id: str) -> bool:
    """Tell whether an id is that of a `Closing` and not of a run."""
    return run_id.startswith(_PREFIX)


def closing_from_event(event: str, payload: Mapping[str, Any], *, delivery_id: str = "") -> Closing | Ignored | None:
    """Return what was closed, taken away or moved, why it is ignored, or None for any other event; never raises.

    Whoever did it had GitHub's permission to: nothing is spent by it.
    """
    kind = _KINDS.get((event, text(payload, "action")))
    if kind is None:
        return None
    actor = text(payload, "sender", "login")
    if not actor:
        return Ignored("the delivery names nobody who did it")
    known: dict[str, Any] = {"delivery_id": delivery_id, "event": event, "actor": actor, "kind": kind}
    known |= {"installation_id": number(payload, "installation", "id") or 0}
    if kind in ("uninstalled", "suspended", "removed"):
        account = text(payload, "installation", "account", "login")
        if not FULL_NAME.match(f"{account}/x"):
            return Ignored("the delivery names no account")
        listed = at(payload, "repositories_removed") if kind == "removed" else ()
        names = [text(it, "full_name") for it in listed] if isinstance(listed, list) else []
        return Closing(**known, account=account, repositories=tuple(it for it in names if FULL_NAME.match(it)))
    repository, repository_id = text(payload, "repository", "full_name"), number(payload, "repository", "id")
    if not FULL_NAME.match(repository) or repository_id is None:
        return Ignored("the delivery names no repository")
    place = number(payload, "pull_request" if kind == "pull_request" else "issue", "number")
    if kind != "moved" and place is None:
        return Ignored("the delivery names no issue")
    branch = text(payload, "repository", "default_branch") or "main"
    return Closing(
        **known, repository=repository, repository_id=repository_id, number=place or 0, default_branch=branch
    )
