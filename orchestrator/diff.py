"""A change as its diff: each file's hunks, the lines that they show, and parts that a model can read; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.hidden import shown

PART_BYTES = 60_000
"""What one part shows at most: some 20,000 tokens, which every model of the catalog has room for."""
MAX_PARTS = 4
"""A change of more parts is one that nobody reviews well, at the price of as many calls for each reviewer."""

_HUNK = re.compile(r"@@ -(?P<old>\d+)(?:,\d+)? \+(?P<new>[0-9]{1,9})(?:,\d+)? @@")
_PLAIN = re.compile(r"[\t\n\x20-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a hunk: `mark` is `+`, `-` or a space; `number` counts in the new file, None for a removed line."""

    mark: str
    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One changed file; `patch` holds its hunks, and nothing for a binary file, a mere rename or too large a change.

    `status` is GitHub's word: added, removed, modified, renamed or another. `cut` tells that the patch is not whole.
    """

    path: str
    status: str
    patch: str
    previous_path: str = ""
    cut: bool = False

    def lines(self) -> tuple[DiffLine, ...]:
        """Return the lines that the hunks show, in their order."""
        return lines_of(self.patch)

    def shown_lines(self) -> dict[int, str]:
        """Return the lines of the new file that the diff shows, by their numbers: where GitHub takes a comment."""
        return {line.number: line.text for line in self.lines() if line.number is not None}

    def changed_lines(self) -> dict[int, str]:
        """Return the lines of the new file that the change added or replaced, by their numbers."""
        return {line.number: line.text for line in self.lines() if line.mark == "+" and line.number is not None}


@dataclass(frozen=True, slots=True)
class Cut:
    """A change in parts; `left` are the paths that no part holds, and `short` those of which only the begin is."""

    parts: tuple[tuple[FileDiff, ...], ...]
    left: tuple[str, ...] = ()
    short: tuple[str, ...] = ()


def lines_of(patch: str) -> tuple[DiffLine, ...]:
    """Return the lines of a patch's hunks; what stands before the first hunk is none."""
    found: list[DiffLine] = []
    number: int | None = None
    for text in patch.split("\n"):
        if hunk := _HUNK.match(text):
            number = int(hunk["new"])
        elif number is None or text.startswith("\\"):
            continue
        elif text.startswith("-"):
            found.append(DiffLine("-", None, text[1:]))
        elif text.startswith(("+", " ")):
            found.append(DiffLine(text[0], number, text[1:]))
            number += 1
    return tuple(found)


def cut(files: Sequence[FileDiff]) -> Cut:
    """Return the files with a diff in at most `MAX_PARTS` parts, each within `PART_BYTES`, in their order.

    A file that does not fit a part of its own keeps its first lines only.
    """
    parts: list[list[FileDiff]] = []
    left, short = [], []
    room = 0
    for file in files:
        if not file.patch:
            left.append(file.path)
            continue
        kept = _shortened(file)
        size = len(rendered(kept).encode())
        if not parts or size > room:
            if len(parts) == MAX_PARTS:
                left.append(file.path)
                continue
            parts.append([])
            room = PART_BYTES
        parts[-1].append(kept)
        room -= size
        if kept.cut:
            short.append(file.path)
    return Cut(tuple(tuple(part) for part in parts), tuple(left), tuple(short))


def rendered(file: FileDiff) -> str:
    """Return a file's diff as a model reads it: every line with its number, and without what is hidden in it."""
    named = f"{file.previous_path} -> {file.path}" if file.previous_path else file.path
    lines = file.lines()
    texts = _visible(file.path, [line.text for line in lines])
    body: list[str] = []
    before: int | None = None
    for line, text in zip(lines, texts, strict=True):
        if before is not None and line.number is not None and line.number > before + 1:
            body.append("   ...")
        body.append(f"{line.number if line.number is not None else '':>6} {line.mark} {text}".rstrip())
        before = line.number if line.number is not None else before
    tail = ["   ... the rest is left out"] if file.cut else []
    return "\n".join([f"File {named} ({file.status})", *body, *tail])


def _visible(path: str, texts: Sequence[str]) -> list[str]:
    """Return lines without what a reader would not see; no line goes, or their numbers would be wrong."""
    if not texts:
        return []
    whole = "\n".join(text.replace("\r", "") for text in texts)
    if _PLAIN.match(whole) and "<!--" not in whole:
        return whole.split("\n")
    kept = set(shown(path, whole).places)
    return "".join(letter for place, letter in enumerate(whole) if letter == "\n" or place in kept).split("\n")


def _shortened(file: FileDiff) -> FileDiff:
    if len(rendered(file).encode()) <= PART_BYTES:
        return file
    # Every line is rendered with at most ten bytes more than it has.
    room = PART_BYTES - len(file.path.encode()) - len(file.previous_path.encode()) - 100
    kept: list[str] = []
    for line in file.patch.split("\n"):
        room -= len(line.encode()) + 10
        if room < 0:
            break
        kept.append(line)
    return replace(file, patch="\n".join(kept), cut=True)
