"""Without a key and a network: the offline model builds real projects that pass their own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import certificates


def build(folder: Path, project: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--offline", "--project", project, "--json"],
        cwd=folder,
        env={
            **certificates(),
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ORCHESTRATOR_HOME": str(folder / "state"),
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    assert "offline model" in ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert report == json.loads((folder / "results" / ".orchestrator" / "report.json").read_text())
    return report


def check_completed(report: dict[str, Any], app_type: str) -> None:
    assert (report["status"], report["app_type"], report["offline"]) == ("completed", app_type, True)
    assert report["budget"]["spent_usd"] == 0
    assert {task["status"] for task in report["tasks"]} == {"completed"}
    assert {task["attempts"] for task in report["tasks"]} == {1}
    passed = {one["validator"]: one["passed"] for one in report["validation"]}
    assert passed["pytest"] is True
    assert passed["ruff"] is True
    assert set(passed.values()) == {True}


@pytest.mark.slow
def test_a_library_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A rate limiter library")
    check_completed(report, "library")
    assert "README.md" in report["files"]
    assert "pyproject.toml" in report["files"]


@pytest.mark.slow
def test_a_fastapi_service_with_jwt_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    report = build(tmp_path, "A FastAPI service with JWT authentication")
    check_completed(report, "fastapi")
    assert "app/main.py" in report["files"]
    assert "jwt" in report["evaluation"]["reason"].lower()


def test_what_the_offline_model_has_no_starter_for_ends_with_a_sentence(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--offline", "--project", "A page", "--app-type", "nextjs"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORCHESTRATOR_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 4
    assert "nextjs" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
