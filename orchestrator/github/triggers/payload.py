"""Reading a webhook's payload, of which nothing is sure to be there or of the right type; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FULL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,100}\Z")


def at(payload: Mapping[str, Any], *path: str) -> Any:
    """Return what stands at a path of keys, or None."""
    value: Any = payload
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def text(payload: Mapping[str, Any], *path: str) -> str:
    """Return the text at a path of keys, or an empty one."""
    value = at(payload, *path)
    return value if isinstance(value, str) else ""


def number(payload: Mapping[str, Any], *path: str) -> int | None:
    """Return the whole number above 0 at a path of keys, or None."""
    value = at(payload, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
