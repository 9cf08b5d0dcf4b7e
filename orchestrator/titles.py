"""Names made from titles: slugs, and ids of new runs."""

from __future__ import annotations

import re
import secrets

SLUG_CHARACTERS = 40


def slug(title: str, fallback: str = "build") -> str:
    """Return a title as `[a-z0-9-]`, at most 40 characters; the fallback where nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:SLUG_CHARACTERS].rstrip("-") or fallback


def new_run_id(title: str) -> str:
    """Return an id for a new run: the title's slug and a random suffix."""
    return f"{slug(title, 'run')}-{secrets.token_hex(3)}"
