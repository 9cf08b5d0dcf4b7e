"""Which kind of app a job asks for, by the files that are there and by its words; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first kind whose words stand in the job wins; source of the order: the more specific framework first.
_SIGNS = (
    ("nextjs", r"next\.?js"),
    ("react-vite", r"\bvite\b|\breact\b"),
    ("fastapi", r"fast\s?api|rest(ful)? api|web service|http service|\bendpoints?\b|microservice"),
    ("cli", r"command[- ]line|\bcli\b"),
    ("html", r"landing page|static (web)?site|\bhtml\b"),
    ("library", r"\blibrary\b|\bpackage\b|\bdecorators?\b|\bmodule\b|rate limiter"),
)
_SIGN_FILES = (
    ("nextjs", ("next.config.js", "next.config.mjs", "next.config.ts")),
    ("react-vite", ("vite.config.js", "vite.config.ts")),
)


def detect_app_type(text: str, paths: Iterable[str] = ()) -> str:
    """Return the kind of app a job asks for: by the repository's own files, then by the job's words, else `generic`."""
    present = set(paths)
    for app_type, signs in _SIGN_FILES:
        if present & set(signs):
            return app_type
    lowered = text.lower()
    for app_type, pattern in _SIGNS:
        if re.search(pattern, lowered):
            return app_type
    return "library" if "pyproject.toml" in present else "generic"
