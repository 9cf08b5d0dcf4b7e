"""A pytest plugin that prints what failed, with path and line, as one JSON object; runs inside the sandbox.

The object follows the word in ORCHESTRATOR_REPORT on the last line: `{"passed": n, "failed": n, "skipped": n,
"findings": [{"path", "line", "message"}]}`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

MESSAGE_CHARACTERS = 1500
FINDINGS = 50
PLACE = re.compile(r"^(?:E[ \t]+)?(?:File \")?([^\s\"':]+\.py)(?:\", line |:)(\d+)", re.MULTILINE)


class Findings:
    """Collects reports of the main process; with xdist, those that the workers send there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = {"passed": 0, "failed": 0, "skipped": 0}
        self.findings: list[dict[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by what kept it from being called."""
        if report.failed or report.when == "call" or (report.when == "setup" and report.skipped):
            self.count[report.outcome] += 1
        if report.failed:
            self.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported counts as failed."""
        if report.failed:
            self.count["failed"] += 1
            self.add(report)

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep what a failed report says, at the innermost place inside the project."""
        if len(self.findings) >= FINDINGS:
            return
        text = str(report.longrepr)
        path, line = self.place(report.nodeid, getattr(report, "location", None), text)
        crash = getattr(report.longrepr, "reprcrash", None)
        message = f"{report.nodeid}: {crash.message if crash else ''}".rstrip(": ")[:MESSAGE_CHARACTERS]
        room = MESSAGE_CHARACTERS - len(message)
        message = f"{message}\n{text[-room:] if room else ''}".strip()
        self.findings.append({"path": path, "line": line, "message": message})

    def place(self, nodeid: str, location: tuple[str, int | None, str] | None, text: str) -> tuple[str, int]:
        """Find the last place in a traceback that lies in the project, else where the test stands."""
        for found, line in reversed(PLACE.findall(text)):
            path = Path(os.path.normpath(self.root / found))
            if path.is_relative_to(self.root) and path.is_file():
                return path.relative_to(self.root).as_posix(), int(line)
        if location:
            return location[0], (location[1] or 0) + 1
        return nodeid.partition("::")[0] or ".", 1

    def pytest_unconfigure(self) -> None:
        """Print the object when pytest no longer captures anything."""
        word = os.environ.get("ORCHESTRATOR_REPORT", "")
        print(f"\n{word}{json.dumps({**self.count, 'findings': self.findings})}", file=sys.__stdout__, flush=True)


def pytest_configure(config: pytest.Config) -> None:
    """Register the collector in the main process."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Findings(Path.cwd()), "orchestrator-findings")
