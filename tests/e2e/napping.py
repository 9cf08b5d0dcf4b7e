"""Processes that a test can tell from all others of this machine: each sleeps for a number that is its own."""

from __future__ import annotations

from pathlib import Path


def napping(nap: str) -> list[str]:
    """Return the command lines of all processes that were told that number."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().decode(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if f"sleep {nap}" in words:
            found.append(words)
    return found
