"""Each starter project, built in a fresh environment from nothing but what it declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import scaffolds
from tests.unit.orchestrator.scaffolds.starters import PYTHON, STARTERS, with_dependencies, write

pytestmark = pytest.mark.slow

INSTALL_SECONDS = 300
RUN_SECONDS = 120
PASSED, NO_TESTS_YET = 0, 5


@pytest.mark.parametrize("name", sorted(name for name, (app_type, _) in STARTERS.items() if app_type in PYTHON))
def test_a_starter_passes_its_own_checks_in_a_fresh_environment(name: str, tmp_path: Path) -> None:
    app_type, text = STARTERS[name]
    tasks = scaffolds.plan(app_type, text)
    project = tmp_path / "project"
    write(project, app_type, text, tasks)
    python = _environment(tmp_path, project)

    tests = _run(python, project, "-m", "pytest", "-q", "-W", "error")
    lint = _run(python, project, "-m", "ruff", "check")

    assert tests.returncode == PASSED, tests.stdout
    assert lint.returncode == 0, lint.stdout
    # A task is checked when it is done, with nothing there but what it depends on.
    for task in tasks:
        halfway = tmp_path / task.id
        write(halfway, app_type, text, with_dependencies(tasks, task))
        done = _run(python, halfway, "-m", "pytest", "-q", "-W", "error")
        has_tests = any(path.startswith("tests/test_") for path in task.files)
        assert done.returncode in ((PASSED,) if has_tests else (PASSED, NO_TESTS_YET)), done.stdout


def test_a_command_line_tool_is_installed_with_its_command(tmp_path: Path) -> None:
    app_type, text = STARTERS["cli"]
    write(tmp_path / "project", app_type, text, scaffolds.plan(app_type, text))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=INSTALL_SECONDS)

    installed = _run(python, tmp_path, "-m", "pip", "install", "-q", str(tmp_path / "project"))
    command = [str(python.with_name("text-tools")), "--file", str(tmp_path / "entries.json"), "add", "buy", "milk"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)

    assert installed.returncode == 0, installed.stderr
    assert (said.returncode, said.stdout) == (0, "Added 1.\n")


@pytest.mark.parametrize("name", ["library", "library-rate-limiter", "cli", "generic"])
def test_a_package_can_be_installed_with_its_types(name: str, tmp_path: Path) -> None:
    app_type, text = STARTERS[name]
    package = scaffolds.choose(app_type, text).package
    write(tmp_path / "project", app_type, text, scaffolds.plan(app_type, text))

    target = tmp_path / "installed"
    command = ["-m", "pip", "install", "-q", "--target", str(target), str(tmp_path / "project")]
    done = _run(Path(sys.executable), tmp_path, *command)

    assert done.returncode == 0, done.stderr
    assert (target / package / "py.typed").is_file()
    assert (target / package / "__init__.py").is_file()


def _environment(folder: Path, project: Path) -> Path:
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=INSTALL_SECONDS)
    files = [argument for path in sorted(project.glob("requirements*.txt")) for argument in ("-r", str(path))]
    install = [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", *files]
    subprocess.run(install, check=True, timeout=INSTALL_SECONDS)
    return python


def _run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)
