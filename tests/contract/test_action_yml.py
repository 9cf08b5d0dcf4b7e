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
DOCUMENTED = sorted((ROOT / "docs/workflows").glob("*.yml"))
WORKFLOWS = [*sorted((ROOT / ".github/workflows").glob("*.yml")), *DOCUMENTED]
PINNED = re.compile(
    r"(?:actions/(?:setup-python|checkout|upload-artifact|download-artifact)|OWNER/multi-llm-orchestrator)"
    r"@[0-9a-f]{40}\Z"
)


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


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_sec_24_what_zizmor_is_told_to_ignore_has_its_reason_beside_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    ignored = [number for number, line in enumerate(lines) if "zizmor: ignore" in line]
    for number in ignored:
        reason = lines[number].rpartition("]")[2].strip()
        assert reason or lines[number - 1].lstrip().startswith("#"), lines[number]


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return jobs


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_workflow_begins_without_permissions_ends_in_time_and_keeps_no_credentials(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {}
    for job in _jobs(path).values():
        assert 0 < job["timeout-minutes"] <= 120
        assert job["permissions"]
        checkouts = [it for it in job["steps"] if it.get("uses", "").startswith("actions/checkout@")]
        assert all(it["with"]["persist-credentials"] is False for it in checkouts)


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.name)
def test_a_documented_workflow_starts_for_commands_only_and_never_cancels_itself(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "concurrency" not in workflow
    first = next(iter(workflow["jobs"].values()))
    assert "contains(github.event.comment.body, '/orchestrate')" in first["if"]
    assert "github.event.comment.user.type != 'Bot'" in first["if"]
    for job in workflow["jobs"].values():
        assert job["concurrency"]["cancel-in-progress"] is False
        group = job["concurrency"]["group"]
        assert "github.event.issue.number || github.run_id" in group
        # The association decides who waits with whom, and never who may (SECURITY 6).
        assert "github.event.comment.author_association" in group
        assert "github.event.comment.user.id" in group
        assert "author_association" not in job["if"]
    if path.name == "comment.yml":
        assert "startsWith(github.event.comment.body, '/orchestrate cancel')" in group
        assert "startsWith(github.event.comment.body, '/orchestrate status')" in group


def test_the_documented_jobs_hold_either_keys_or_a_token_that_writes_and_use_inputs_that_exist() -> None:
    (comment, two) = (_jobs(path) for path in DOCUMENTED)
    steps = [it for job in (*comment.values(), *two.values()) for it in job["steps"] if "OWNER/" in it["uses"]]
    assert [it for it in steps if set(it["with"]) - set(ACTION["inputs"])] == []
    assert [it["with"].get("command") for it in steps] == [None, "generate", "publish"]
    generate, publish = two["generate"], two["publish"]
    assert "write" not in generate["permissions"].values()
    assert "secrets." not in str(publish)
    # Only what revises reads logs of failed jobs.
    assert {"actions": "read", **publish["permissions"]} == comment["orchestrate"]["permissions"]
    handed = [step["with"] for job in (generate, publish) for step in job["steps"] if "-artifact@" in step["uses"]]
    assert [it["path"] for it in handed] == ["${{ runner.temp }}/orchestrator-bundle"] * 2


def test_the_readme_names_the_documented_workflows() -> None:
    assert [path.name for path in DOCUMENTED if f"(docs/workflows/{path.name})" not in README] == []


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
