"""`python -m tests.judge FOLDER`: judge the journals in a folder by GitHub's descriptions; 1 for any mistake."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.judge.descriptions import descriptions
from tests.judge.verdict import Verdict, judge

LEAST = {"exchange": 2000, "webhook": 400, "graphql": 1}
"""A journal of the end-to-end tests with fewer is not complete."""


def shortfalls(verdict: Verdict) -> list[str]:
    """Return what a verdict lacks to be one on all end-to-end tests."""
    return [
        f"Judged {verdict.judged[kind]} of kind {kind}, expected {least}: was LOCALHUB_JOURNAL set when the tests ran?"
        for kind, least in LEAST.items()
        if verdict.judged[kind] < least
    ]


def main(folder: Path) -> int:
    """Print the verdict, and return the exit status."""
    verdict = judge(folder, *descriptions())
    print(verdict)
    missing = shortfalls(verdict)
    print(*missing, sep="\n")
    return 1 if verdict.mistakes or missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
