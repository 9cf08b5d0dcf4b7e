"""What `action.yml` and the workflows promise, held by the linters, by the README and by the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from action import inputs, outputs
from tests.contract.test_docs import README, table

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"actions/(?:setup-python|checkout)@[0-9a-f]{40}\Z")


def _run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_action_and_the_workflows_follow_githubs_schemas() -> None:
    checked = [
        _run("check-jsonschema", "--builtin-schema", "vendor.github-actions", ROOT / "action.yml"),
        _run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS),
    ]
    assert [ran.returncode for ran in checked] == [0, 0], "\n".join(ran.stdout for ran in checked)


def test_sec_24_zizmor_finds_nothing() -> None:
    ran = _run("zizmor", "--offline", "--no-config", "--color", "never", ROOT / "action.yml", *WORKFLOWS)
    assert ran.returncode == 0, ran.stdout


def test_the_readme_lists_the_inputs_and_outputs_word_for_word() -> None:
    documented = {row[0].strip("`"): (row[1], row[2].strip("`")) for row in table(README, "input")}
    assert documented == {
        name: (given["description"], given["default"] or "none") for name, given in ACTION["inputs"].items()
    }
    assert {row[0].strip("`"): row[1] for row in table(README, "output")} == {
        name: given["description"] for name, given in ACTION["outputs"].items()
    }


def test_the_code_knows_exactly_these_inputs_and_outputs() -> None:
    assert tuple(ACTION["inputs"]) == inputs.NAMES
    assert tuple(ACTION["outputs"]) == outputs.NAMES
    passed = ACTION["runs"]["steps"][-1]["env"]
    assert passed == {inputs.variable(name): f"${{{{ inputs.{name} }}}}" for name in inputs.NAMES}
    assert {name: given["value"] for name, given in ACTION["outputs"].items()} == {
        name: f"${{{{ steps.run.outputs.{name} }}}}" for name in outputs.NAMES
    }


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_sec_24_no_script_holds_an_expression_and_what_is_used_is_pinned_by_hash(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = document.get("jobs", {"action": document.get("runs", {})})
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []
    used = [step["uses"] for step in steps if step.get("uses", "./") != "./"]
    assert [name for name in used if not PINNED.match(name)] == []


def test_sec_24_the_action_uses_nothing_but_what_sets_up_python() -> None:
    assert [step["uses"].partition("@")[0] for step in ACTION["runs"]["steps"] if "uses" in step] == [
        "actions/setup-python"
    ]
    assert 'python" -P -m action\n' in ACTION["runs"]["steps"][-1]["run"]


def test_sec_38_every_requirement_is_pinned_with_hashes_and_names_no_registry() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert [one for one in requirements if not re.match(r"[a-z0-9-]+==\S+[^\n]*\\\n +--hash=sha256:", one)] == []
    assert "://" not in text
    assert "index" not in text
