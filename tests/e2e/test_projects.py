"""The example specs: each is valid for parser and editor, they cover every kind of app, and each is built offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet
from jsonschema import Draft202012Validator

from orchestrator.sections import APP_TYPES
from orchestrator.specs import json_schema, load_project_file
from tests.certificates import certificates

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted((ROOT / "projects").glob("*.yaml"))
BUILD_SECONDS = 900


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.stem)
def test_an_example_is_valid_for_the_parser_and_for_editors(path: Path) -> None:
    assert load_project_file(path).job.description
    assert Draft202012Validator(json_schema()).is_valid(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../orchestrator.schema.json\n")


def test_the_examples_cover_every_kind_of_app_and_only_one_is_in_the_older_form() -> None:
    files = {path.name: load_project_file(path) for path in PROJECTS}
    assert len(files) >= 8
    assert {file.job.app_type for file in files.values()} >= set(APP_TYPES)
    assert [name for name, file in files.items() if file.note] == ["legacy_flat.yaml"]


def _marked(path: Path) -> ParameterSet:
    kind = load_project_file(path).job.app_type
    marks = [pytest.mark.slow, *([pytest.mark.node] if kind in ("nextjs", "react-vite") else [])]
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", list(map(_marked, PROJECTS)))
def test_an_example_is_built_offline_and_passes_its_own_checks(path: Path, tmp_path: Path) -> None:
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORCHESTRATOR_HOME": str(tmp_path / "state")}
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--offline", "--file", str(path), "--json"],
        cwd=tmp_path,
        env=certificates() | own | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    wanted = load_project_file(path).job
    assert (report["status"], report["offline"]) == ("completed", True)
    assert report["app_type"] == (wanted.app_type or "library")
    assert {task["status"] for task in report["tasks"]} == {"completed"}
    assert [one["validator"] for one in report["validation"] if not one["passed"]] == []
    assert ("this flat form is deprecated" in ended.stderr) == (path.name == "legacy_flat.yaml")
    assert (tmp_path / "results" / report["files"][0]).is_file()
