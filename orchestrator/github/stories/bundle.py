"""What one job generates and another publishes: one JSON file, which its reader takes for hostile.

The job that writes it holds keys and runs what models wrote, the job that reads it holds the token that may write. So
nothing in it is believed that decides where anything goes: repository, issue, branch and requester are the event's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from orchestrator.artifacts import check_path
from orchestrator.atomic import write_atomically
from orchestrator.budget import Budget
from orchestrator.errors import ChangeError, GitHubError
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.limits import MAX_FILE_BYTES
from orchestrator.state import ProjectState

FILE = "bundle.json"
VERSION = 1
MAX_BYTES = 48 * 1024 * 1024
"""Of the whole file; a third of it is what base64 adds to the contents."""
MAX_FILES = 2_000
MAX_DIGITS = 18

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_RUN = re.compile(r"r-[a-z2-7]{16}\Z")
_BUDGET = ("max_usd", "max_time_seconds", "elapsed_seconds", "spent")
_HINT = "Let the job that runs `command: generate` upload its folder again, in the same workflow run."


class BundleError(GitHubError):
    """A bundle that is not there, not ours, or not for this request; nothing of it is published."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint=_HINT)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A run that was generated: its state, its changes to the base commit, and the request that it answers.

    `failure` is a sentence where the run could not even end by itself; there is no `state` then.
    """

    run_id: str
    request: str
    base_sha: str = ""
    state: ProjectState | None = None
    changes: Mapping[str, bytes | None] = field(default_factory=dict)
    failure: str = ""


def request_of(trigger: Trigger, command: Command) -> str:
    """Return the hash of what was asked: both jobs compute it from the event, which neither can change."""
    asked = [replace(trigger, delivery_id="").to_json(), json.dumps(asdict(command), sort_keys=True)]
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()


# writing


def write_bundle(folder: Path, bundle: Bundle, redactor: Redactor) -> Path:
    """Write a bundle into a folder and return the file's path; raises `BundleError` for one that is too large.

    Secrets are taken out of all texts; files must be free of them.
    """
    if len(bundle.changes) > MAX_FILES:
        raise BundleError(f"The run changed {len(bundle.changes)} files; at most {MAX_FILES} go into a bundle.")
    said = {"failure": bundle.failure, "state": None if bundle.state is None else _plain_state(bundle.state)}
    content = {
        "version": VERSION,
        "run_id": bundle.run_id,
        "request": bundle.request,
        "base_sha": bundle.base_sha,
        **_redacted(said, redactor),
        "changes": {
            path: None if content is None else base64.b64encode(content).decode()
            for path, content in bundle.changes.items()
        },
    }
    written = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    if len(written) > MAX_BYTES:
        raise BundleError(f"The run's files are too large for a bundle of {MAX_BYTES} bytes.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    write_atomically(path, written)
    return path


def _redacted(value: Any, redactor: Redactor) -> Any:
    """Return plain data with every text of it redacted by itself: across texts a hit would tear the JSON apart."""
    if isinstance(value, str):
        return redactor(value)
    if isinstance(value, list):
        return [_redacted(item, redactor) for item in value]
    return (
        {_redacted(k, redactor): _redacted(v, redactor) for k, v in value.items()} if isinstance(value, dict) else value
    )


def _plain_state(state: ProjectState) -> dict[str, Any]:
    plain = {name: adapter.dump_python(getattr(state, name), mode="json") for name, adapter in _adapters().items()}
    return plain | {"budget": {name: getattr(state.budget, name) for name in _BUDGET}}


# reading


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle as hostile input (SECURITY 17, 18); raises `BundleError` that says what is wrong with it."""
    content = _parsed(_read(folder / FILE))
    if content.get("version") != VERSION:
        raise BundleError("The bundle is of another version of the orchestrator; pin both jobs to the same one.")
    texts = [_text(content, name) for name in ("run_id", "request", "base_sha", "failure")]
    run_id, request, base_sha, failure = texts
    if not _RUN.match(run_id) or (base_sha and not _SHA.match(base_sha)):
        raise BundleError("The bundle names no run, or its base is no commit.")
    given = content.get("state")
    state = None if given is None else _state(given)
    if state is not None and state.project_id != run_id:
        raise BundleError("The bundle's state is another run's.")
    if state is None and not failure:
        raise BundleError("The bundle holds neither a state nor the reason why there is none.")
    return Bundle(run_id, request, base_sha, state, _changes(content.get("changes")), failure)


def _read(path: Path) -> bytes:
    """Return a plain file's bytes; a link, a pipe and a folder are none."""
    if path.parent.is_symlink():
        raise BundleError("The bundle's folder is a link, which is not followed.")
    try:
        # Without O_NONBLOCK a pipe in its place would hold us for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BundleError(f"There is no bundle in {path.parent}.") from error
    except OSError as error:
        raise BundleError("The bundle is no plain file.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError("The bundle is no plain file.")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BundleError(f"The bundle is larger than {MAX_BYTES} bytes.")
    return content


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_no_number, parse_float=_float, parse_int=_int)
        # An escaped half of a character could be written nowhere.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise BundleError("The bundle is not JSON as we write it.") from error
    if not isinstance(value, dict):
        raise BundleError("The bundle is not JSON as we write it.")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise BundleError(f"The bundle's {name} is no text.")
    return value


def _state(given: Any) -> ProjectState:
    if not isinstance(given, dict) or set(given) != {*_adapters(), "budget"}:
        raise BundleError("The bundle's state lacks fields, or has some that nobody knows.")
    try:
        kept = {name: float(given["budget"][name]) for name in _BUDGET}
        budget = Budget(kept["max_usd"], kept["max_time_seconds"])
        budget.carry(int(given["budget"]["spent"]), kept["elapsed_seconds"])
        known = {name: adapter.validate_python(given[name]) for name, adapter in _adapters().items()}
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError("The bundle's state is not as we write it.") from error
    return ProjectState(budget=budget, **known)


def _changes(given: Any) -> dict[str, bytes | None]:
    if not isinstance(given, dict) or len(given) > MAX_FILES:
        raise BundleError(f"The bundle's changes are no list of at most {MAX_FILES} files.")
    changes: dict[str, bytes | None] = {}
    for name, content in given.items():
        try:
            path = check_path(name)
            changes[path] = None if content is None else base64.b64decode(content, validate=True)
        except ChangeError as error:
            raise BundleError(f"The bundle holds a path that is never written: {error.message}") from error
        except (binascii.Error, TypeError, ValueError) as error:
            raise BundleError(f"The bundle's content of {path} is not as we write it.") from error
        if len(changes[path] or b"") > MAX_FILE_BYTES:
            raise BundleError(f"The bundle's {path} is larger than {MAX_FILE_BYTES} bytes.")
    return changes


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """Return how each field of a run's state is read and written; its budget is told by four numbers."""
    hints = get_type_hints(ProjectState)
    return {name: TypeAdapter(hint) for name, hint in hints.items() if name != "budget"}
