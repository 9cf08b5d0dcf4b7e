"""The parts that comments on GitHub are made of: amounts, times, tables, and texts that can break out of none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MAX_COMMENT = 60_000
CUT_NOTE = "\n\n… cut here: GitHub takes no longer text. The run's page and the pull request hold the rest."


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
    """Return a text on one line, at most 2,000 letters, so that it can open no block of its own."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= 2000 else f"{flat[:1999]}…"
    return f"\\{flat}" if flat[:1] in ("#", ">", "-", "+", "*", "|", "`", "~", "=") else flat


def cell(text: str) -> str:
    """Return a text for a table's cell."""
    return one_line(text).replace("\\|", "|").replace("|", "\\|").replace("`", "'")[:500]


def code(text: str) -> str:
    """Return a text for a code span: on one line, without marks that would end it or its cell."""
    return " ".join(text.split()).replace("`", "'").replace("|", "¦")[:300] or " "


def shown_code(name: str) -> str:
    """Return a published code as people see it, small and last; an empty text where there is none."""
    return f"(code `{name}`)" if name else ""


def fit(text: str, limit: int = MAX_COMMENT) -> str:
    """Return a text within a limit of letters, cut at a line with a note that says so; an open block is closed."""
    if len(text) <= limit:
        return text
    cut = text[: limit - len(CUT_NOTE) - 10]
    cut = cut[: cut.rindex("\n")] if "\n" in cut else cut
    fence = "\n```" if sum(line.startswith("```") for line in cut.split("\n")) % 2 else ""
    return f"{cut}{fence}{CUT_NOTE}"
