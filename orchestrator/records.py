"""Where a repository records its architecture, and what goes there: the next number, in the folder's own style.

A new project gets `ADR_PATH`. An existing one gets a record only where it keeps such a folder, and only for a change
that decides something.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Protocol

from orchestrator.artifacts import check_path
from orchestrator.errors import ChangeError
from orchestrator.state import ArchitectureDecision, Task
from orchestrator.titles import slug

ADR_PATH = "docs/adr/0001-architecture.md"
FOLDERS = (
    "docs/adr",
    "doc/adr",
    "docs/decisions",
    "docs/architecture/decisions",
    "doc/architecture/decisions",
    "docs/adrs",
    "adr",
)
"""Where teams keep theirs: https://github.com/npryce/adr-tools and https://adr.github.io/madr use the first four."""
POINTER = ".adr-dir"
"""A file of adr-tools that names the folder."""
NEW_FILES = 2
"""A plan in which fewer tasks make new files is a small change: it follows the architecture, and decides none."""

_NUMBERED = re.compile(r"(?P<lead>(?:adr[-_])?)(?P<number>\d{1,5})(?P<gap>[-_])(?P<title>.+)\.md\Z", re.IGNORECASE)
_STATED = re.compile(
    r"^- Structural pattern: (?P<structural_pattern>.+)\n"
    r"- Topology: (?P<topology>.+)\n"
    r"- API paradigm: (?P<api_paradigm>.+)\n"
    r"- Data paradigm: (?P<data_paradigm>.+)$",
    re.MULTILINE,
)
_OURS = re.compile(r"^# (?:\d+\. )?Architecture of .", re.MULTILINE)
_MADR = re.compile(r"^## (?:Context and Problem Statement|Decision Outcome)\s*$", re.MULTILINE)
_DATED = re.compile(r"^Date: \d{4}-\d{2}-\d{2}\s*$", re.MULTILINE)


class Files(Protocol):
    """The files of a repository before the run."""

    def base_paths(self) -> tuple[str, ...]:
        """Return the paths of all files in the base, sorted."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is no file that can be read."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of records: its path, and the numbered files in it by their numbers, the newest last."""

    path: str
    names: tuple[str, ...] = ()


def record_folder(files: Files) -> Folder | None:
    """Return the folder in which a repository keeps its records, or None where it keeps none."""
    paths = files.base_paths()
    named = (files.read(POINTER) or b"").decode("utf-8", "replace").strip().removeprefix("./").rstrip("/")
    for path in (named, *FOLDERS):
        names = [PurePosixPath(one).name for one in paths if path and str(PurePosixPath(one).parent) == path]
        numbered = sorted((name for name in names if _NUMBERED.match(name)), key=_number)
        if numbered or (path == named and path and _may_be(path)):
            return Folder(path, tuple(numbered))
    return None


def due(files: Files, folder: Folder, decision: ArchitectureDecision, tasks: Sequence[Task]) -> bool:
    """Tell whether a change decides something that the folder does not say yet.

    It does not where fewer than `NEW_FILES` tasks make new files, where a task writes into the folder itself, and where
    the newest of our records there says the same.
    """
    there = set(files.base_paths())
    planned = [set(task.files) for task in tasks]
    if any(path.startswith(f"{folder.path}/") for paths in planned for path in paths):
        return False
    if sum(bool(paths - there) for paths in planned) < NEW_FILES:
        return False
    said = [stated for name in folder.names if (stated := _STATED.search(_text(files, folder, name)))]
    return not said or any(value.strip() != getattr(decision, name) for name, value in said[-1].groupdict().items())


def record(
    files: Files, folder: Folder, decision: ArchitectureDecision, title: str, created_at: float
) -> dict[str, bytes]:
    """Return the next record of a folder by its path; `created_at` is the run's time in seconds since 1970."""
    newest = folder.names[-1] if folder.names else ""
    style = _NUMBERED.match(newest)
    number = _number(newest) + 1 if newest else 1
    lead, gap = (style["lead"], style["gap"]) if style else ("", "-")
    width = len(style["number"]) if style else 4
    name = f"{lead}{number:0{width}}{gap}{slug(f'architecture of {title}').replace('-', gap)}.md"
    model = _text(files, folder, newest) if newest else ""
    day = datetime.fromtimestamp(created_at, UTC).date().isoformat()
    return {f"{folder.path}/{name}": _like(model, decision, title, number, day).encode()}


def is_record(path: str, content: bytes | None) -> bool:
    """Tell whether a changed file is the record that a run makes of its architecture: alone it is no result."""
    if path == ADR_PATH:
        return True
    if content is None or not _NUMBERED.match(PurePosixPath(path).name):
        return False
    text = content[:4096].decode("utf-8", "replace")
    return bool(_OURS.search(text) and _STATED.search(text))


def adr(decision: ArchitectureDecision, title: str, number: int = 1, day: str = "") -> str:
    """Return the decision as an architecture decision record in Markdown.

    Form: https://cognitect.com/blog/2011/11/15/documenting-architecture-decisions
    """
    dated = f"Date: {day}\n\n" if day else ""
    return (
        f"# {number}. Architecture of {title}\n\n{dated}"
        "## Status\n\nAccepted\n\n"
        f"## Context\n\nThe job: {title}.\n\n"
        f"## Decision\n\n{_values(decision)}\n\n"
        f"## Consequences\n\n{decision.rationale}\n"
    )


def _like(model: str, decision: ArchitectureDecision, title: str, number: int, day: str) -> str:
    """Return the record in the form of another one of the folder: MADR with or without its header, else Nygard's."""
    if not _MADR.search(model):
        return adr(decision, title, number, day if _DATED.search(model) else "")
    # Form: https://adr.github.io/madr/
    header = f"---\nstatus: accepted\ndate: {day}\n---\n\n" if model.startswith("---\n") else ""
    return (
        f"{header}# Architecture of {title}\n\n"
        f"## Context and Problem Statement\n\nThe job: {title}.\n\n"
        f"## Decision Outcome\n\n{_values(decision)}\n\n"
        f"### Consequences\n\n{decision.rationale}\n"
    )


def _values(decision: ArchitectureDecision) -> str:
    return (
        f"- Structural pattern: {decision.structural_pattern}\n"
        f"- Topology: {decision.topology}\n"
        f"- API paradigm: {decision.api_paradigm}\n"
        f"- Data paradigm: {decision.data_paradigm}"
    )


def _number(name: str) -> int:
    found = _NUMBERED.match(name)
    return int(found["number"]) if found else 0


def _text(files: Files, folder: Folder, name: str) -> str:
    return (files.read(f"{folder.path}/{name}") or b"").decode("utf-8", "replace").replace("\r\n", "\n")


def _may_be(path: str) -> bool:
    try:
        return check_path(f"{path}/0001-x.md") != ""
    except ChangeError:
        return False
