"""The offline model's review of a change: what can be told without a language model, and nothing else; pure."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from orchestrator.wire import ReviewFinding, ReviewReply

CLEAN_SCORE = 0.8
"""A change in which checks find nothing is no perfect one: nobody has read it."""
FAULTY_SCORE = 0.3

_FILE = re.compile(r"File (?:.+ -> )?(?P<path>\S.*) \((?P<status>[a-z]+)\)\Z")
_LINE = re.compile(r" *(?P<number>\d+)? (?P<mark>[+ -])(?: (?P<text>.*))?\Z")
LEFT_OUT = "   ... the rest is left out"
_CONFLICT = re.compile(r"(?:<{7}|>{7}|\|{7})(?: |\Z)")


def review_by_checks(diff: str) -> ReviewReply:
    """Return a review of a rendered diff: marks of a merge conflict, and the syntax of Python files that are new."""
    findings = [*_conflicts(diff), *_broken(diff)]
    if findings:
        return ReviewReply(findings=findings[:50], verdict="request_changes", score=FAULTY_SCORE)
    return ReviewReply(verdict="approve", score=CLEAN_SCORE)


def _conflicts(diff: str) -> Iterator[ReviewFinding]:
    for path, _, lines in _files(diff):
        for number, mark, text in lines:
            if mark == "+" and _CONFLICT.match(text):
                message = "This is a mark of a merge conflict that nobody resolved. Remove it."
                yield ReviewFinding(path=path, line=number, severity="error", message=message)


def _broken(diff: str) -> Iterator[ReviewFinding]:
    for path, status, lines in _files(diff):
        # Of any other file the diff shows too little to be parsed.
        if status != "added" or not path.endswith(".py"):
            continue
        problem = _syntax_error("\n".join(text for _, _, text in lines) + "\n")
        if problem is not None:
            yield ReviewFinding(path=path, line=problem[0], severity="error", message=f"Python: {problem[1]}")


def _syntax_error(source: str) -> tuple[int, str] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    except (ValueError, RecursionError, MemoryError):
        return 1, "the parser does not survive this file"
    return None


def _files(diff: str) -> Iterator[tuple[str, str, list[tuple[int, str, str]]]]:
    """Yield path, status and the new file's lines of each file of a rendered diff."""
    path, status = "", ""
    lines: list[tuple[int, str, str]] = []
    for text in diff.split("\n"):
        if found := _FILE.match(text):
            if path:
                yield path, status, lines
            path, status, lines = found["path"], found["status"], []
        elif text == LEFT_OUT:
            status = "cut"
        elif (line := _LINE.match(text)) and line["number"]:
            lines.append((int(line["number"]), line["mark"], line["text"] or ""))
    if path:
        yield path, status, lines
