"""Without a key: the offline model builds real projects of every kind that pass their own tests and lint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import certificates
from tests.reports import read_report


def build(folder: Path, project: str, *flags: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--offline", "--project", project, "--json", *flags],
        cwd=folder,
        env={
            **certificates(),
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ORCHESTRATOR_HOME": str(folder / "state"),
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr
    assert "offline model" in ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert report == read_report(folder / "results" / ".orchestrator" / "report.json")
    return report


def check_completed(report: dict[str, Any], app_type: str, *validators: str) -> None:
    """Check that a run completed, that nothing failed on the way, and that these validators ran and passed."""
    assert (report["status"], report["app_type"], report["offline"]) == ("completed", app_type, True)
    assert report["budget"]["spent_usd"] == 0
    assert {task["status"] for task in report["tasks"]} == {"completed"}
    assert {task["attempts"] for task in report["tasks"]} == {1}
    passed = {one["validator"]: one["passed"] for one in report["validation"]}
    assert set(validators) <= set(passed)
    assert set(passed.values()) == {True}


@pytest.mark.slow
def test_what_nobody_recognises_is_built_as_a_small_program(tmp_path: Path) -> None:
    report = build(tmp_path, "Count the whales that pass by")

    check_completed(report, "generic", "ruff", "pytest")
    assert "whales" in (tmp_path / "results" / "README.md").read_text()
    assert report["evaluation"]["score"] == 0.5


@pytest.mark.slow
def test_a_command_line_tool_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A command line tool for todos")

    check_completed(report, "cli", "ruff", "pytest")
    assert "entries" in report["evaluation"]["reason"]


@pytest.mark.slow
def test_a_landing_page_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A landing page for a cafe")

    check_completed(report, "html", "ruff", "pytest")
    assert {"index.html", "contact.html", "assets/style.css"} <= set(report["files"])


@pytest.mark.slow
def test_a_library_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A rate limiter library")

    check_completed(report, "library", "ruff", "pytest")
    assert "README.md" in report["files"]
    assert "pyproject.toml" in report["files"]


@pytest.mark.slow
def test_a_fastapi_service_with_all_features_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A FastAPI service with JWT authentication, persistence and a WebSocket")

    check_completed(report, "fastapi", "ruff", "pytest")
    assert {"app/main.py", "app/tokens.py", "app/migrations.py", "app/routes/live.py"} <= set(report["files"])
    assert "jwt, persistence, websocket" in report["evaluation"]["reason"]
