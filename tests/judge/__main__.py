"""`python -m tests.judge FOLDER`: judge the journals in a folder by GitHub's descriptions; 1 for any mistake."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.judge.descriptions import descriptions
from tests.judge.verdict import judge

LEAST = {"exchange": 1000, "webhook": 100}
"""A journal of the end-to-end tests with fewer is not complete."""


def main(folder: Path) -> int:
    """Print the verdict, and return the exit status."""
    verdict = judge(folder, *descriptions())
    print(verdict)
    missing = {kind: least for kind, least in LEAST.items() if verdict.judged[kind] < least}
    for kind, least in missing.items():
        print(f"Expected at least {least} of kind {kind}; was LOCALHUB_JOURNAL set when the tests ran?")
    return 1 if verdict.mistakes or missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
