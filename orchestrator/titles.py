"""Names made from titles: slugs, and ids of new runs."""

from __future__ import annotations

import re
import secrets

from orchestrator.errors import UsageError

SLUG_CHARACTERS = 40
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def slug(title: str, fallback: str = "build") -> str:
    """Return a title as `[a-z0-9-]`, at most 40 characters; the fallback where nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:SLUG_CHARACTERS].rstrip("-") or fallback


def new_run_id(title: str) -> str:
    """Return an id for a new run: the title's slug and a random suffix."""
    return f"{slug(title, 'run')}-{secrets.token_hex(3)}"


def checked_run_id(given: str) -> str:
    """Return an id that somebody gave; raises `UsageError` when it cannot name a run."""
    if not _RUN_ID.fullmatch(given):
        raise UsageError(
            f"{given!r} cannot name a run.", hint="Use up to 100 letters, digits, dots, hyphens and underscores."
        )
    return given
