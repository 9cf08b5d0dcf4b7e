"""With only the six packages of the guide's list installed, the command line says what is missing and how to get it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.missing import MODULES
from tests.certificates import certificates

ROOT = Path(__file__).resolve().parents[2]
SIX = ("openai", "anthropic", "google-genai", "aiosqlite", "pyyaml", "python-dotenv")

# Some of what a machine with the six lacks; a `sitecustomize` whose finders do not find them stands for that machine.
LACKING = ["fastapi", "genai-prices", "gitpython", "jinja2", "jsonschema", "sqlalchemy"]
BLOCKER = f"""\
import sys


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        lacking = name.partition(".")[0] in {tuple(MODULES[package] for package in LACKING)}
        return None if lacking else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def said(python: str | Path, *flags: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": f"{path}:{ROOT}".strip(":")}
    command = [str(python), "-m", "orchestrator", *flags]
    return subprocess.run(
        command, cwd=folder, env=certificates() | environment, capture_output=True, text=True, timeout=60
    )


def named(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the packages of the one line that it says; raises when it is not that line."""
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    found = re.fullmatch(
        r"orchestrator: These packages are not installed: (.*)\. Install them with: (\S+) -m pip install -e (\S+)", line
    )
    assert found, line
    assert (found[2], found[3]) == (ended.args[0], str(ROOT))
    return found[1].split(", ")


@pytest.mark.parametrize("flags", [[], ["--project", "A library"], ["--list-projects"]])
def test_where_packages_are_missing_it_exits_2_and_names_each_with_the_command_for_them(
    flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    assert named(said(sys.executable, *flags, folder=tmp_path, path=str(tmp_path))) == LACKING


def test_the_version_needs_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    assert said(sys.executable, "--version", folder=tmp_path, path=str(tmp_path)).stdout == "orchestrator 0.1.0\n"


def test_every_declared_package_has_its_module() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(MODULES) == sorted(re.split(r"[\[>=<~! ]", one)[0] for one in declared)


@pytest.mark.slow
def test_with_the_six_packages_of_the_guide_and_no_others_it_exits_2_and_names_the_rest(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *SIX], check=True, timeout=300)

    ended = said(python, folder=tmp_path)

    brought = {*SIX, "cryptography", "httpx2", "pydantic", "requests"}
    assert named(ended) == sorted(set(MODULES) - brought)
    assert said(python, "--version", folder=tmp_path).stdout == "orchestrator 0.1.0\n"
