"""Findings in what JavaScript's tools print: tsc, ESLint, Next.js, Vite, Jest, Vitest and `node --test`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath

from orchestrator.state import Finding
from orchestrator.validators.plan import FOREIGN_FOLDERS, line_number, tail

# Of what a failed test says, this much before its place; its name comes on top.
_SAID = 1200
# Whoever wrote the tests wrote the output too. Searching may take the square of a line's length, and holds up every
# other run meanwhile; no tool puts a place further to the right.
_LETTERS = 500
# Of each kind, so many places are looked at: most are named several times, and few are reported.
_MATCHES = 1000
_MODULES = "node_modules/"

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FILE = r"(?P<path>[^\s:()'\"]+\.[A-Za-z]{1,5})"
# tsc: `src/a.ts(3,7): error TS2322: …`, and in its pretty form `src/a.ts:3:7 - error TS2322: …`.
_TSC = re.compile(rf"^{_FILE}(?:\((?P<row>\d+),\d+\):|:(?P<line>\d+):\d+ -) error (?P<message>TS\d+: .*)$")
# ESLint: a line with the file, then `  3:7  error  Message  rule`.
_ESLINT_FILE = re.compile(rf"^{_FILE}$")
_ESLINT = re.compile(r"^\s+(?P<line>\d+):\d+\s+(?P<kind>error|warning)\s+(?P<message>\S.*)$")
# Next.js: `./app/page.tsx:3:7`, and what is wrong on the lines below.
_NEXT = re.compile(rf"^\.?/?{_FILE}:(?P<line>\d+):\d+$")
# Vite and Rolldown: `╭─[ src/a.ts:3:7 ]`, and what is wrong on the line above.
_VITE = re.compile(rf"\[[ \t]*{_FILE}:(?P<line>\d+):\d+[ \t]*\]")
# Jest begins a failed test with ●, Vitest with FAIL or ×, `node --test` with ✖ and `not ok`.
_TEST = re.compile(r"^\s*(?:● |FAIL  |✖ |not ok \d+ - )(?P<name>\S.*)$")
_PLACE = re.compile(rf"(?:^|[\s(❯'\"]){_FILE}:(?P<line>\d+):\d+")
_SUMMARY = re.compile(
    r"[ \t]*(?:Tests:?[ \t]+(?P<tests>\d.*(?:passed|failed|total).*)|# pass (?P<pass>\d+)|ℹ pass (?P<info>\d+)"
    r"|(?P<added>added \d+ packages?.*)|(?P<same>up to date.*))\Z"
)


def findings_in(output: str, root: Path) -> tuple[Finding, ...]:
    """Return what the output says about files of the project, each place once; paths are relative to `root`."""
    lines = _lines(output)
    kinds = (_compilers(lines, root), _linters(lines, root), _tests(lines, root))
    found = [one for kind in kinds for one in islice(kind, _MATCHES)]
    places = {(one.path, one.line, one.message.partition("\n")[0]): one for one in reversed(found)}
    return tuple(reversed(places.values()))


def summary_in(output: str) -> str:
    """Return the line in which a tool sums up: how many tests passed, or how many packages were added."""
    match = next((match for line in _lines(output) if (match := _SUMMARY.match(line))), None)
    if not match:
        return ""
    passed = match["pass"] or match["info"]
    return f"{passed} passed" if passed else (match["tests"] or match["added"] or match["same"]).strip()


def _lines(output: str) -> list[str]:
    """Cut the output into lines without colours, each no longer than what is searched of it."""
    return [line[:_LETTERS] for line in _ANSI.sub("", output).splitlines()]


def _compilers(lines: list[str], root: Path) -> Iterator[Finding]:
    above = ""
    for number, line in enumerate(lines):
        if match := _TSC.match(line):
            path = _inside(match["path"], root)
            if path:
                yield Finding(path, line_number(match["row"] or match["line"]), match["message"])
        elif match := _NEXT.match(line):
            path, below = (
                _inside(match["path"], root),
                [text for text in lines[number + 1 : number + 12] if text.strip()],
            )
            if path and below:
                yield Finding(path, line_number(match["line"]), tail("\n".join(below)))
        elif match := _VITE.search(line):
            path = _inside(match["path"], root)
            if path and above:
                yield Finding(
                    path, line_number(match["line"]), tail("\n".join([above, *lines[number + 1 : number + 8]]))
                )
        above = line if line.strip() else above


def _linters(lines: list[str], root: Path) -> Iterator[Finding]:
    path = ""
    for line in lines:
        if match := _ESLINT_FILE.match(line):
            path = _inside(match["path"], root)
        elif path and (match := _ESLINT.match(line)):
            yield Finding(
                path, line_number(match["line"]), f"{match['kind']}: {re.sub(r'  +', '  ', match['message'])}"
            )


def _tests(lines: list[str], root: Path) -> Iterator[Finding]:
    """Cut the output at each failed test, and place it where its own trace enters the project first."""
    starts = [number for number, line in enumerate(lines) if _TEST.match(line)]
    for start, end in pairwise([*starts, len(lines)]):
        for number in range(start, end):
            match = _PLACE.search(lines[number])
            path = _inside(match["path"], root) if match else ""
            if match and path:
                said = [text for text in lines[start + 1 : number + 1] if text.strip() and _MODULES not in text]
                yield Finding(
                    path, line_number(match["line"]), f"{lines[start].strip()}\n{tail(_joined(said), _SAID)}".strip()
                )
                break


def _joined(lines: list[str]) -> str:
    return "\n".join(lines)


def _inside(path: str, root: Path) -> str:
    """Return a path relative to the project when it is a file there that nobody else made; else an empty string."""
    name = path.removeprefix("file://").removeprefix("/workspace/")
    if name.startswith("/"):
        name = name.removeprefix(f"{root.resolve()}/")
    name = name.removeprefix("./")
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or FOREIGN_FOLDERS & set(parts):
        return ""
    whole = root / name
    try:
        return name if whole.is_file() and not whole.is_symlink() else ""
    except OSError:
        return ""  # a name that no file can have, such as one that is too long
