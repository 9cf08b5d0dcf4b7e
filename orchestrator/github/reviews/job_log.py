"""What a model is shown of a failed workflow job's log: the lines around its first error, as people read them; pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from orchestrator.hidden import shown

MAX_LINES = 100
LINES_AFTER = 10
MAX_LINE = 400
MAX_LETTERS = 6_000
"""Of one log, so that those of three jobs leave room for what people say."""
_ERROR = "##[error]"
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z ?")
# Control sequences of a terminal, with titles and links, which end in BEL or ST; source: ECMA-48, sections 5.4 and 5.6
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_JOB = re.compile(r"/actions/runs/\d{1,19}/job/(\d{1,19})/?")


def job_of_check(details_url: str, app: str, repository: str) -> int | None:
    """Return the workflow job of this repository that a check run is about, or None for a check of another kind."""
    path = urlsplit(details_url).path
    if app != "github-actions" or not path.lower().startswith(f"/{repository.lower()}/"):
        return None
    found = _JOB.fullmatch(path[len(repository) + 1 :])
    return int(found[1]) if found else None


def excerpt(log: str) -> str:
    """Return up to 100 lines around the first error of a log, the last ones where it marks none.

    Times, colours and what a reader would not see are gone; long lines are cut, and the oldest left out first.
    """
    # A log is read as it is: nothing in it is a comment that a page would hide.
    printed = (_ANSI.sub("", _TIME.sub("", line)) for line in log.lstrip("\ufeff").split("\n"))
    said = (line.rstrip() for line in shown(".log", "\n".join(printed)).text.split("\n"))
    lines = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in said]
    while lines and not lines[-1]:
        lines.pop()
    first = next((at for at, line in enumerate(lines) if line.startswith(_ERROR)), len(lines) - 1)
    end = min(len(lines), first + 1 + LINES_AFTER)
    kept: list[str] = []
    room = MAX_LETTERS
    for line in reversed(lines[max(0, end - MAX_LINES) : end]):
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(reversed(kept))
