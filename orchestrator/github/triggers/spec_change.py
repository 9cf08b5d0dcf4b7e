"""What may have changed a repository's spec or policy files, as plain data read once from the delivery; pure.

Linted are `.orchestrator.yaml`, `policies.yaml`, `policies.yml` and `policies.json` at the top, and the YAML files that
lie directly in the folder `.orchestrator/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from orchestrator.github.rendering.checks import SPEC_CHECK
from orchestrator.github.triggers.payload import FULL_NAME, at, number, text
from orchestrator.github.triggers.trigger import Ignored
from orchestrator.specs import SPEC_PATH

POLICY_FOLDER = ".orchestrator"
MAX_PUSH_COMMITS = 2048
"""A push with more commits does not list them all.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
"""
PULL_REQUEST_ACTIONS = ("opened", "synchronize", "reopened")

_POLICY_FILE = re.compile(r"policies\.(?:yaml|yml|json)|\.orchestrator/[^/]+\.ya?ml")
_SHA = re.compile(r"[0-9a-f]{40}\Z")
_LINT = "lint-"
_ID_LETTERS = 16


@dataclass(frozen=True, slots=True)
class SpecChange:
    """One commit whose spec is to be linted; `installation_id` is 0 for a token without an App.

    Whether it touches a spec is known (`touched`), or to be asked: of the pull request `pull`, or by comparing with the
    commit `before`, empty where the branch is new. `again` is somebody's wish to see the check run once more.
    """

    delivery_id: str
    event: str
    repository: str
    repository_id: int
    head_sha: str
    actor: str
    installation_id: int = 0
    pull: int | None = None
    before: str = ""
    touched: bool = False
    again: bool = False

    @property
    def id(self) -> str:
        """What its effects are kept under: the same for whatever asks about this commit."""
        digest = hashlib.sha256(f"{self.repository_id}\n{self.head_sha}\nspec".encode()).digest()
        return _LINT + base64.b32encode(digest).decode().lower()[:_ID_LETTERS]

    def to_json(self) -> str:
        """Return the change as one JSON object, for the store."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, kept: str) -> SpecChange:
        """Read what `to_json` wrote; raises `ValueError` for anything else."""
        value = json.loads(kept)
        if not isinstance(value, dict) or not set(value) <= {field.name for field in fields(cls)}:
            raise ValueError("this is no change of a spec")
        try:
            return cls(**value)
        except TypeError as error:
            raise ValueError(f"this is no change of a spec: {error}") from error


def is_lint(run_id: str) -> bool:
    """Tell whether an id is that of a `SpecChange` and not of a run."""
    return run_id.startswith(_LINT)


def is_linted(path: str) -> bool:
    """Tell whether a path of a repository is its spec or a policy file."""
    return path == SPEC_PATH or _POLICY_FILE.fullmatch(path) is not None


def spec_change_from_event(
    event: str, payload: Mapping[str, Any], *, delivery_id: str = "", allowed_bots: Collection[str] = ()
) -> SpecChange | Ignored | None:
    """Return what a delivery may have changed, why it has not, or None for an event that is not about a spec.

    It never raises, whatever the payload lacks. Bots may change a spec; only those of `allowed_bots` may ask again.
    """
    action = text(payload, "action")
    if event == "push":
        found = _from_push(payload)
    elif event == "pull_request" and action in PULL_REQUEST_ACTIONS:
        found = _from_pull_request(payload)
    elif event == "check_run" and action == "rerequested" and text(payload, "check_run", "name") == SPEC_CHECK:
        found = {"head_sha": text(payload, "check_run", "head_sha"), "again": True}
    elif event == "check_suite" and action == "rerequested":
        found = {"head_sha": text(payload, "check_suite", "head_sha"), "again": True}
    else:
        return None
    if isinstance(found, Ignored):
        return found
    repository, repository_id = text(payload, "repository", "full_name"), number(payload, "repository", "id")
    actor = text(payload, "sender", "login")
    if not FULL_NAME.match(repository) or repository_id is None:
        return Ignored("the delivery names no repository")
    if not _SHA.match(found["head_sha"]):
        return Ignored("the delivery names no commit")
    if not actor:
        return Ignored("the delivery names nobody who did it")
    if found.get("again") and text(payload, "sender", "type") != "User" and actor not in allowed_bots:
        return Ignored(f"{actor} is no person, and the operator does not list it")
    return SpecChange(
        delivery_id=delivery_id,
        event=event,
        repository=repository,
        repository_id=repository_id,
        actor=actor[:100],
        installation_id=number(payload, "installation", "id") or 0,
        **found,
    )


def _from_push(payload: Mapping[str, Any]) -> dict[str, Any] | Ignored:
    default = text(payload, "repository", "default_branch")
    if not default or text(payload, "ref") != f"refs/heads/{default}":
        return Ignored("only pushes to the default branch are looked at")
    if at(payload, "deleted") is True:
        return Ignored("the branch was deleted")
    paths = _changed_paths(payload)
    touched = paths is not None and any(is_linted(path) for path in paths)
    if paths is not None and not touched:
        return Ignored("the push touches no spec and no policy file")
    before = text(payload, "before")
    return {
        "head_sha": text(payload, "after"),
        "before": before if _SHA.match(before) and before.strip("0") else "",
        "touched": touched,
    }


def _changed_paths(payload: Mapping[str, Any]) -> set[str] | None:
    """Return the paths that a push changes, or None where its commits do not say: a new branch, a rewritten one."""
    commits = at(payload, "commits")
    if at(payload, "created") is not False or at(payload, "forced") is not False or not isinstance(commits, list):
        return None
    if not 0 < len(commits) < MAX_PUSH_COMMITS:
        return None
    listed = [at(commit, kind) for commit in commits for kind in ("added", "modified", "removed")]
    if not all(isinstance(paths, list) for paths in listed):
        return None
    return {path for paths in listed for path in paths if isinstance(path, str)}


def _from_pull_request(payload: Mapping[str, Any]) -> dict[str, Any] | Ignored:
    pull = number(payload, "pull_request", "number")
    if pull is None:
        return Ignored("the delivery names no pull request")
    return {"head_sha": text(payload, "pull_request", "head", "sha"), "pull": pull}
