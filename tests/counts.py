"""What a test run has tried, by name: added up over all workers and printed when it ends."""

from __future__ import annotations

import re
from collections import Counter

COUNTS: Counter[str] = Counter()
DELIVERIES = "deliveries"
FAULTS = "faults injected"
INPUTS = "inputs tried"
KILLS = "kills"

_EXAMPLES = re.compile(r"([0-9]+) (?:passing|failing|invalid)\b")


def count(name: str, n: int = 1) -> None:
    """Add to the count of a name."""
    COUNTS[name] += n


def examples(statistics: str) -> int:
    """Return how many inputs a property was tried on, by Hypothesis' own words about it."""
    return sum(int(found) for found in _EXAMPLES.findall(statistics))


def summary() -> list[str]:
    """Return one line for each name, in alphabetical order."""
    return [f"{name}: {number:,}" for name, number in sorted(COUNTS.items())]
