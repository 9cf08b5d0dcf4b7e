"""Findings as comments on the lines of a pull request's diff: which, in what words, and which are gone; pure.

Each comment carries a mark with the finding's fingerprint, by which it is known again in every later round: of
the path, the words and the text of the line, never of the line's number.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.consensus import same_fault
from orchestrator.diff import FileDiff
from orchestrator.github.rendering.markdown import fit
from orchestrator.github.reviews.threads import ReviewThread
from orchestrator.hidden import visible
from orchestrator.state import Finding, Severity, Suggestion

MAX_COMMENTS = 10
MAX_SUGGESTED_LINES = 20
LIKE_THE_LINE = 0.4
"""How much of a line a reviewer's replacement for it must keep, as `difflib` counts; less is about another line."""

Kind = Literal["run", "diff"]
"""Whose findings: `run` what a run found in what it built itself, `diff` what `/orchestrate review` found."""

_MARK = re.compile(r"<!-- orchestrator:finding (?P<kind>[rd])(?P<hash>[0-9a-f]{16}) -->\s*\Z")
_FENCED = re.compile(
    r"^[ \t]*(?P<marks>`{3,}|~{3,})suggestion[^\n]*\n(?P<text>.*?)\n?[ \t]*(?P=marks)[ \t]*$", re.M | re.S
)
_LABELS = {Severity.ERROR: "Error", Severity.WARNING: "Warning", Severity.NOTE: "Note"}


@dataclass(frozen=True, slots=True)
class Remark:
    """A finding with who made it: a provider, several, or a validator."""

    finding: Finding
    by: str = ""


@dataclass(frozen=True, slots=True)
class LineComment:
    """A comment as it is to be written; `start` is the first line where it is about several, else None."""

    path: str
    line: int
    body: str
    fingerprint: str
    start: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """What becomes of findings: new comments, threads to resolve, and findings that have no place in the diff."""

    comments: tuple[LineComment, ...]
    gone: tuple[str, ...] = ()
    elsewhere: tuple[Remark, ...] = ()
    beyond: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Looked:
    """What a round looked at again, so that a finding of before that it does not make is gone.

    `paths` are files that it wrote or read, None all of them; `by` are validators that ran on the whole.
    """

    paths: Collection[str] | None = ()
    by: Collection[str] = ()


def mark_of(fingerprint: str, kind: Kind) -> str:
    """Return the hidden mark of a comment about a finding."""
    return f"<!-- orchestrator:finding {kind[0]}{fingerprint} -->"


def fingerprint(finding: Finding, line_text: str) -> str:
    """Return what a finding is known by, wherever its line has moved to."""
    words = " ".join(re.sub(r"\d+", "#", said(finding.message).lower()).split())
    parts = "\0".join((finding.path, words, " ".join(line_text.split())))
    return hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:16]


def said(message: str) -> str:
    """Return a reviewer's words without a suggestion that they hold."""
    return _FENCED.sub("", message).strip()


def place(
    remarks: Sequence[Remark],
    files: Sequence[FileDiff],
    threads: Sequence[ReviewThread],
    *,
    kind: Kind,
    login: str,
    safe: Callable[[str], str],
    looked: Looked,
) -> Placed:
    """Return what is to be written and resolved, so that a second look at the result changes nothing.

    `threads` are all of the pull request's, of which those by `login` with our mark count. A run's own findings are
    placed on lines that the change made, those about somebody's diff on every line that it shows.
    """
    lines = {it.path: it.changed_lines() if kind == "run" else it.shown_lines() for it in files}
    ours = _ours(threads, login)
    placed: dict[str, tuple[Remark, LineComment]] = {}
    elsewhere: list[Remark] = []
    alive: set[str] = set()
    order = list(Severity)
    for remark in sorted(remarks, key=lambda it: order.index(it.finding.severity)):
        finding = remark.finding
        shown = lines.get(finding.path, {})
        known = fingerprint(finding, shown.get(finding.line, ""))
        there = [thread for thread in ours if _is_about(thread, finding, known)]
        alive |= {thread.id for thread in there}
        if finding.line not in shown:
            elsewhere.append(remark)
        elif not there and known not in placed:
            placed[known] = remark, _comment(remark, shown, known, kind, safe)
    unsaid = [it for it in ours if it.kind == kind and not it.resolved and it.id not in alive]
    gone = [it.id for it in unsaid if _is_gone(it, looked, lines)]
    new = list(placed.values())
    return Placed(
        comments=tuple(comment for _, comment in new[:MAX_COMMENTS]),
        gone=tuple(gone),
        elsewhere=tuple(elsewhere),
        beyond=tuple(remark for remark, _ in new[MAX_COMMENTS:]),
    )


# threads of ours


@dataclass(frozen=True, slots=True)
class _Ours:
    id: str
    kind: Kind
    hash: str
    finding: Finding
    by: str
    resolved: bool


def _ours(threads: Sequence[ReviewThread], login: str) -> list[_Ours]:
    found = []
    for thread in threads:
        first = thread.comments[0] if thread.comments else None
        mark = _MARK.search(first.body) if first and first.author.lower() == login.lower() else None
        if first and mark:
            kind: Kind = "run" if mark["kind"] == "r" else "diff"
            lead, _, text = first.body[: mark.start()].partition("\n")
            about = Finding(thread.path, thread.line or 0, said(text))
            by = lead.partition(" · ")[2]
            found.append(_Ours(thread.id, kind, mark["hash"], about, by, thread.resolved))
    return found


def _is_gone(thread: _Ours, looked: Looked, lines: Mapping[str, Mapping[int, str]]) -> bool:
    """Tell whether somebody would have found it again: in a file that was looked at, or one that changes no more."""
    path = thread.finding.path
    if looked.paths is None or path in looked.paths or thread.by in looked.by:
        return True
    return path not in lines and bool(looked.paths)


def _is_about(thread: _Ours, finding: Finding, known: str) -> bool:
    """Tell whether a thread is about a finding: the same, or the same fault in a model's other words."""
    if thread.finding.path != finding.path:
        return False
    return thread.hash == known or (thread.finding.line > 0 and same_fault(thread.finding, finding))


# a comment's text


def _comment(
    remark: Remark, shown: Mapping[int, str], known: str, kind: Kind, safe: Callable[[str], str]
) -> LineComment:
    finding = remark.finding
    by = f" · {remark.by}" if remark.by else ""
    text = safe(fit(f"**{_LABELS[finding.severity]}**{by}\n\n{said(finding.message) or 'A finding.'}", 8_000))
    suggestion = _suggestion(finding, shown, safe)
    start, line = None, finding.line
    if suggestion is not None:
        text += f"\n\n{_block(suggestion.text)}"
        line = suggestion.last_line
        start = suggestion.first_line if suggestion.first_line < line else None
    return LineComment(finding.path, line, f"{text}\n\n{mark_of(known, kind)}", known, start)


def _suggestion(finding: Finding, shown: Mapping[int, str], safe: Callable[[str], str]) -> Suggestion | None:
    """Return a replacement that may be committed from the page: of lines in the diff, the very text that was said."""
    found = finding.suggestion or _in_message(finding, shown)
    if found is None or not 0 <= found.last_line - found.first_line < MAX_SUGGESTED_LINES:
        return None
    lines = range(found.first_line, found.last_line + 1)
    old = "\n".join(shown.get(number, "") for number in lines)
    whole = all(number in shown for number in lines)
    block = _block(found.text)
    # What would have to be defused or redacted, or shows other than it is, is not what somebody should commit.
    unchanged = safe(block) == block and visible(found.text) == found.text
    return found if whole and unchanged and found.text != old else None


def _in_message(finding: Finding, shown: Mapping[int, str]) -> Suggestion | None:
    fenced = _FENCED.search(finding.message)
    old = shown.get(finding.line, "")
    if fenced is None or not fenced["text"].strip() or not old.strip():
        return None
    text = fenced["text"]
    first = text.split("\n")[0]
    # Models write the new line without its indentation where they quote it in a sentence.
    if first == first.lstrip() and old != old.lstrip():
        indent = old[: len(old) - len(old.lstrip())]
        text = "\n".join(f"{indent}{line}" if line else line for line in text.split("\n"))
    alike = max(difflib.SequenceMatcher(None, old.strip(), one.strip()).ratio() for one in text.split("\n"))
    return Suggestion(finding.line, finding.line, text) if alike >= LIKE_THE_LINE else None


def _block(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}suggestion\n{text}{chr(10) if text else ''}{marks}"
