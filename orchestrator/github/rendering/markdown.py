"""The parts that comments on GitHub are made of: amounts, times, tables, and texts that can break out of none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from orchestrator.github.rendering.sanitize import JOINER

MAX_COMMENT = 60_000
CUT_NOTE = "\n\n… cut here: GitHub takes no longer text. The run's page and the pull request hold the rest."


_TAG = re.compile(r"<(?=[!/?A-Za-z])(?!https?://)")
_BAR = re.compile(r"\\+\|")
_TICK = re.compile(r"(?<!`)`(?!`)")
_FOLD, _UNFOLD = "<details>", "</details>"
_CLOSING = 4 + 3 * (2 + len(_UNFOLD))
"""Letters for closing what a cut leaves open: a fence, and folds three deep, more than any text of ours has."""


def usd(amount: float) -> str:
    """Return an amount in USD with cents, or as many places as a smaller one needs to be more than zero."""
    return f"${amount:.4f}" if 0 < amount < 0.01 else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """Return a time as people say it: `45 s`, `6 min`, `1 h 30 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are taken as they are."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def one_line(text: str) -> str:
    """Return a text on one line, at most 2,000 letters, so that it can open no block or tag of its own."""
    flat = _TAG.sub(f"<{JOINER}", " ".join(text.split()))
    flat = flat if len(flat) <= 2000 else f"{flat[:1999]}…"
    flat = _TICK.sub("'", flat) if len(_TICK.findall(flat)) % 2 else flat  # an odd one would pair with one of ours
    return f"\\{flat}" if flat[:1] in ("#", ">", "-", "+", "*", "|", "`", "~", "=") else flat


def cell(text: str, limit: int = 500) -> str:
    """Return a text for a table's cell, of so many letters at most."""
    # Renderers disagree on what a backslash before an escaped bar escapes.
    flat = _BAR.sub("|", one_line(text)).replace("`", "'")
    flat = flat if len(flat) <= limit else f"{flat[: limit - 1]}…"
    return flat.rstrip("\\").replace("|", "\\|")


def code(text: str) -> str:
    """Return a text for a code span: on one line, without marks that would end it or its cell, and without tags."""
    return _TAG.sub(f"<{JOINER}", " ".join(text.split())).replace("`", "'").replace("|", "¦")[:300] or " "


def shown_code(name: str) -> str:
    """Return a published code as people see it, small and last; an empty text where there is none."""
    return f"(code `{name}`)" if name else ""


def listed(lines: Sequence[str], most: int) -> str:
    """Return lines as a list, at most so many, and how many more there are."""
    shown = [f"- {line}" for line in lines[:most]]
    return "\n".join([*shown, f"- and {len(lines) - most} more"] if len(lines) > most else shown)


def folded(summary: str, text: str) -> str:
    """Return a text that shows when somebody opens it; the summary is a text of ours."""
    return f"{_FOLD}\n<summary>{summary}</summary>\n\n{text}\n\n{_UNFOLD}"


def fit(text: str, limit: int = MAX_COMMENT, note: str = CUT_NOTE) -> str:
    """Return a text within a limit of letters, cut at a line with a note that says so; what is open is closed."""
    return text if len(text) <= limit else _closed(text[: limit - len(note) - _CLOSING], note)


def fit_bytes(text: str, limit: int, note: str = CUT_NOTE) -> str:
    """Return a text within a limit of bytes as UTF-8, cut as `fit` cuts."""
    encoded = text.encode(errors="surrogatepass")
    if len(encoded) <= limit:
        return text
    return _closed(encoded[: limit - len(note.encode()) - _CLOSING].decode(errors="ignore"), note)


def _closed(cut: str, note: str) -> str:
    cut = cut[: cut.rindex("\n")] if "\n" in cut else cut
    fenced, folds = False, 0
    for line in cut.split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            folds += (line == _FOLD) - (line == _UNFOLD)
    fence = "\n```" if fenced else ""
    return f"{cut}{fence}{f'{chr(10)}{chr(10)}{_UNFOLD}' * folds}{note}"
