"""The project's own tests under pytest, and the commands of its spec."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.codes import Code
from orchestrator.sandbox import Finished, Limits, Places, Sandbox
from orchestrator.state import Finding, ValidationResult, ValidationStatus
from orchestrator.validators.plan import FINDINGS, FOREIGN_FOLDERS, PYTEST, line_number, tail
from orchestrator.workspace import walk_files

_INSIDE = Path(__file__).parent / "inside"
_LIMITS = Limits(seconds=300)
_NO_TESTS = 5
SPEC_FILE = ".orchestrator.yaml"


def is_test(path: str) -> bool:
    """Tell whether pytest collects a file of this name by default."""
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def test_files(root: Path) -> tuple[str, ...]:
    """Name the test files of a project, as relative POSIX paths in order."""
    return tuple(path for path in walk_files(root, FOREIGN_FOLDERS) if is_test(path))


async def run_pytest(root: Path, sandbox: Sandbox, packages: Path | None, paths: Sequence[str]) -> ValidationResult:
    """Run the tests in the given files, or with no paths all that pytest finds."""
    read_only = [_INSIDE, *([packages] if packages else [])]
    places = sandbox.places(root, read_only)
    word = secrets.token_hex(16)
    argv = [places.python, "-m", "pytest", "-p", "no:cacheprovider", "-p", "orchestrator_pytest", "-q", "--color=no"]
    finished = await sandbox.run(
        [*argv, "--", *paths] if paths else argv,
        workspace=root,
        read_only=read_only,
        limits=_LIMITS,
        environment=_variables(places) | {"ORCHESTRATOR_REPORT": word},
    )
    return read_pytest(finished, word)


def read_pytest(finished: Finished, word: str) -> ValidationResult:
    """Read what the plugin printed; only a run that ended well and in which a test passed counts as passed."""
    report = _report(finished.output, word)
    output = finished.output.partition(word)[0]
    if finished.passed(_LIMITS) or report is None:
        return _failed(f"pytest {_ending(finished)}.\n{tail(output)}")
    detail = ", ".join(f"{report[name]} {name}" for name in ("passed", "failed", "skipped") if report[name])
    findings = tuple(report["findings"])
    if finished.status == _NO_TESTS:
        return _failed("No tests ran. Write tests in files named test_*.py.", Code.NO_TESTS)
    if findings or finished.status != 0:
        if not findings:
            return _failed(f"pytest {_ending(finished)}.\n{tail(output)}")
        return ValidationResult(PYTEST, ValidationStatus.FAILED, findings, detail)
    if not report["passed"]:
        return ValidationResult(PYTEST, ValidationStatus.NOT_RUN, (), f"No test ran to its end: {detail}.")
    return ValidationResult(PYTEST, ValidationStatus.PASSED, (), detail)


async def run_command(root: Path, sandbox: Sandbox, packages: Path | None, command: str) -> ValidationResult:
    """Run one command of the spec by `sh -c`; a status other than zero fails."""
    read_only = [packages] if packages else []
    places = sandbox.places(root, read_only)
    finished = await sandbox.run(
        ["/bin/sh", "-c", command],
        workspace=root,
        read_only=read_only,
        limits=_LIMITS,
        environment=_variables(places, first=0),
    )
    if finished.status == 0 and not finished.passed(_LIMITS):
        return ValidationResult(command, ValidationStatus.PASSED, (), "exit status 0")
    message = f"`{command}` {_ending(finished)}.\n{tail(finished.output)}".strip()
    return ValidationResult(command, ValidationStatus.FAILED, (Finding(SPEC_FILE, 1, message),), _ending(finished))


def _variables(places: Places, first: int = 1) -> dict[str, str]:
    """Search modules in our plugin's folder, the dependencies, the project and its src; programs in the second too."""
    packages = places.read_only[first:]
    modules = [*places.read_only, places.workspace, f"{places.workspace}/src"]
    programs = [f"{path}/bin" for path in packages]
    return {"PYTHONPATH": ":".join(modules), "PATH": ":".join([*programs, places.search_path])}


def _report(output: str, word: str) -> dict[str, Any] | None:
    """Read the object after the last word, which a test that ended the process itself may have written."""
    _, found, rest = output.rpartition(f"\n{word}")
    if not found:
        return None
    try:
        report = json.loads(rest.splitlines()[0])
        counts = {name: int(report[name]) for name in ("passed", "failed", "skipped")}
        findings = [
            Finding(str(item["path"]), line_number(item["line"]), tail(str(item["message"])))
            for item in report["findings"][:FINDINGS]
        ]
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return {**counts, "findings": findings}


def _ending(finished: Finished) -> str:
    return finished.passed(_LIMITS) or f"ended with status {finished.status}"


def _failed(message: str, code: Code | None = None) -> ValidationResult:
    finding = Finding("tests", 1, message, code=code)
    return ValidationResult(PYTEST, ValidationStatus.FAILED, (finding,), message.splitlines()[0])
