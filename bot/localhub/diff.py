"""A patch as rows that a page can show, with what was said about a line right below it; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.localhub.git import FileChange
from bot.localhub.state import JSON, CheckRun, ReviewComment

LARGE = 400
"""Files with more changed lines are folded, as on GitHub."""

_HUNK = re.compile(r"@@ -([0-9]+)(?:,[0-9]+)? \+([0-9]+)(?:,[0-9]+)? @@")

Kind = Literal["hunk", "add", "del", "same", "note"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a patch without its sign, and its numbers in the old and the new file where it is there."""

    kind: Kind
    old: int | None
    new: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation of a check run."""

    check: CheckRun
    level: str
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Thread:
    """A review comment and its replies; `original` are the lines of the new file that it is about, if it shows them."""

    comments: tuple[ReviewComment, ...]
    original: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A changed file; `below` holds what was said by row, `elsewhere` what is about lines that the patch lacks."""

    file: FileChange
    rows: tuple[Row, ...]
    below: dict[int, list[Thread | Note]]
    elsewhere: tuple[Thread | Note, ...]

    @property
    def large(self) -> bool:
        """True for a file that is better folded."""
        return self.file.additions + self.file.deletions > LARGE


def rows(patch: str | None) -> tuple[Row, ...]:
    """Return the rows of a patch, which begins with its first hunk; None has none."""
    return tuple(_rows(patch or ""))


def _rows(patch: str) -> Iterator[Row]:
    old = new = 0
    # Only a line feed ends a line of a patch.
    for line in patch.removesuffix("\n").split("\n") if patch else ():
        sign, text = line[:1], line[1:]
        if found := _HUNK.match(line):
            old, new = int(found[1]), int(found[2])
            yield Row("hunk", None, None, line)
        elif sign == "+":
            yield Row("add", None, new, text)
            new += 1
        elif sign == "-":
            yield Row("del", old, None, text)
            old += 1
        elif sign == "\\":
            yield Row("note", None, None, text.strip())
        else:
            yield Row("same", old, new, text)
            old, new = old + 1, new + 1


def shown(
    changes: Iterable[FileChange], comments: Sequence[ReviewComment] = (), checks: Sequence[CheckRun] = ()
) -> list[Shown]:
    """Return changed files with the review comments and annotations about them."""
    return [_file(change, comments, checks) for change in changes]


def _file(change: FileChange, comments: Sequence[ReviewComment], checks: Sequence[CheckRun]) -> Shown:
    lines = rows(change.patch)
    places: dict[tuple[str, int], int] = {}
    for index, row in enumerate(lines):
        if row.new is not None:
            places["RIGHT", row.new] = index
        if row.old is not None:
            places["LEFT", row.old] = index
    texts = {row.new: row.text for row in lines if row.new is not None}
    below: dict[int, list[Thread | Note]] = {}
    elsewhere: list[Thread | Note] = []

    def put(item: Thread | Note, side: str, line: int | None) -> None:
        index = places.get((side, line)) if line is not None else None
        (elsewhere if index is None else below.setdefault(index, [])).append(item)

    for first in comments:
        if first.path == change.path and first.in_reply_to is None:
            replies = (it for it in comments if it.in_reply_to == first.id)
            put(Thread((first, *replies), _original(first, texts)), first.side, first.line)
    for check in checks:
        for said in check.annotations:
            if said.get("path") == change.path:
                put(_note(check, said), "RIGHT", said.get("end_line"))
    return Shown(change, lines, below, tuple(elsewhere))


def _note(check: CheckRun, said: JSON) -> Note:
    return Note(check, said.get("annotation_level", ""), said.get("title") or check.name, said.get("message", ""))


def _original(comment: ReviewComment, texts: dict[int, str]) -> tuple[str, ...]:
    if comment.line is None or comment.side != "RIGHT":
        return ()
    return tuple(texts[at] for at in range(comment.start_line or comment.line, comment.line + 1) if at in texts)
