"""Documentation cannot lie: its tables are compared with the code, and its Python runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import cli, exits
from orchestrator.providers.registry import BASE_URL_VARIABLES, KEY_VARIABLES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
VARIABLE = re.compile(r"(?:(?:ORCHESTRATOR|GITHUB|LOCAL_LLM|OTEL)_[A-Z_]+|HOST|PORT|PUBLIC_URL)\Z")
NOT_FOR_USERS = {"ORCHESTRATOR_REPORT"}  # set for pytest, inside of the sandbox


def table(text: str, head: str) -> list[list[str]]:
    """Return the rows of the Markdown table whose first column has that heading."""
    _, found, rest = text.partition(f"\n| {head} |")
    assert found, f"there is no table of {head!r}"
    lines = rest.split("\n")[2:]
    rows = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_the_readme_lists_the_flags_of_the_command_line_with_their_arguments() -> None:
    flags = [
        " ".join([action.option_strings[-1], *([str(action.metavar)] if action.metavar else [])])
        for action in cli._parser()._actions
    ]
    documented = [CODE.fullmatch(row[0]) for row in table(README, "flag")]
    assert sorted(match[1] for match in documented if match) == sorted(flags)


def test_the_readme_lists_the_exit_statuses() -> None:
    statuses = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in table(README, "exit status")} == statuses


def test_the_readme_lists_every_variable_that_the_code_reads() -> None:
    read = {name for names in KEY_VARIABLES.values() for name in names} | set(BASE_URL_VARIABLES.values())
    for path in [*(ROOT / "orchestrator").rglob("*.py"), ROOT / "bot/settings.py", ROOT / "bot/__main__.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value):
                read.add(node.value)
    documented = {name for row in table(README, "variable") for name in CODE.findall(row[0])}
    assert documented == read - NOT_FOR_USERS


def test_the_readme_lists_the_commands_that_github_answers() -> None:
    from orchestrator.github.triggers.command import NAMES

    lines = [row[0] for row in table(README, "command")]
    named = r"`/orchestrate \[?(run|plan|approve|status|cancel|resume|revise|review|ci|help)\b"
    assert [re.findall(named, line)[0] for line in lines] == list(NAMES)


PACKAGES = sorted(path.parent for path in (ROOT / "orchestrator/github").glob("*/__init__.py"))
GITHUB = [f"orchestrator/github/{package.name}" for package in PACKAGES]


@pytest.mark.parametrize("folder", ["orchestrator", "orchestrator/github", *GITHUB, "bot", "action"])
def test_the_architecture_page_has_a_row_for_every_file(folder: str) -> None:
    section = ARCHITECTURE.split(f"# `{folder}/`", 1)[1]
    documented = {row[0].strip("`") for row in table(section, "file")}
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    packages = {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}
    assert documented == modules | packages


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_every_link_to_a_file_of_the_repository_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_of_the_readme_runs_offline(number: int, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ORCHESTRATOR_HOME": str(tmp_path / "home"),
        "ORCHESTRATOR_OFFLINE": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", PYTHON[number]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0].endswith("$0.00")
    assert "README.md" in ran.stdout.splitlines()


def test_there_is_python_in_the_readme() -> None:
    assert len(PYTHON) == 1
