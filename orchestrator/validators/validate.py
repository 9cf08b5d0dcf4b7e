"""The order of validation: parse, lint, tests, npm, the spec's commands; what broke makes later stages pointless."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

from orchestrator.sandbox import Sandbox
from orchestrator.state import ValidationResult, ValidationStatus
from orchestrator.strict import nearest
from orchestrator.validators.lint import run_ruff
from orchestrator.validators.npm import give_modules, run_scripts, wanted
from orchestrator.validators.plan import (
    ENDINGS,
    FOREIGN_FOLDERS,
    ON_REQUEST,
    PYTEST,
    PYTHON_SYNTAX,
    RUFF,
    SYNTAX,
    VALIDATORS,
    Environment,
    ValidationPlan,
    not_run,
)
from orchestrator.validators.syntax import check_syntax
from orchestrator.validators.tests import is_test, run_command, run_pytest, test_files
from orchestrator.workspace import drop_links_out, walk_files, written

_NO_ISOLATION = "Generated code does not run without isolation, and this machine offers none."


async def validate(
    root: Path,
    sandbox: Sandbox,
    plan: ValidationPlan,
    *,
    environment: Environment | None,
    packages: Environment | None = None,
    paths: Collection[str] | None = None,
) -> tuple[ValidationResult, ...]:
    """Validate the whole project, or only the files in `paths`, and give the results in the order of the stages.

    Hand in a throw-away copy: tests and commands may leave files in `root`. `environment` is what the project declares
    for Python, `packages` what it declares for npm, whose scripts run on the whole project only. `paths` are relative
    POSIX paths; those that do not exist are left out, and the spec's commands, which are about the whole, do not run.
    A validator that was detected and finds nothing to look at is absent.
    """
    if not sandbox.isolated:
        await written(lambda _: drop_links_out(root))
    files = None if paths is None else tuple(sorted(path for path in paths if (root / path).is_file()))
    asked = plan.validators
    results = [_unknown(name) for name in asked or () if name not in VALIDATORS]

    # 1. Parse.
    whole = await asyncio.to_thread(lambda: tuple(walk_files(root, FOREIGN_FOLDERS))) if files is None else ()
    present = whole if files is None else files
    wanted = [name for name in SYNTAX if (name in asked if asked is not None else name not in ON_REQUEST)]
    syntax = [name for name in wanted if _concerned(name, present)]
    checked = await check_syntax(root, sandbox, syntax, files) if syntax else {}
    results += [result for name, (result, count) in checked.items() if count or asked or not _ran(result)]
    broken = _not_passed(checked, PYTHON_SYNTAX)

    # 2. Lint.
    python = tuple(path for path in present if path.endswith((".py", ".pyi")))
    if RUFF in asked if asked is not None else python:
        results.append(await run_ruff(root, sandbox, python if files is not None else ()))

    # 3. Tests.
    tests = tuple(path for path in present if is_test(path))
    if PYTEST in asked and (files is None or tests) if asked is not None else tests:
        reason = broken or _obstacle(sandbox, environment)
        only = tests if files is not None else ()
        installed = environment.path if environment else None
        results.append(not_run(PYTEST, reason) if reason else await run_pytest(root, sandbox, installed, only))

    # 4. What package.json declares: install, lint, build, test.
    if files is None:
        await give_modules(packages, root)
        if packages is not None or asked is not None:
            results += await run_scripts(root, sandbox, packages, asked)

    # 5. The spec's commands.
    for command in plan.commands if files is None else ():
        if sandbox.runs_untrusted:
            results.append(await run_command(root, sandbox, environment.path if environment else None, command))
        else:
            results.append(not_run(command, _NO_ISOLATION))
    return tuple(results)


def nothing_to_check(plan: ValidationPlan, paths: Collection[str] | None) -> bool:
    """Say whether no detected validator would look at any of these files, so that nobody need lay them out."""
    if paths is None or plan.validators is not None:
        return False
    return not any(_concerned(name, paths) for name in SYNTAX if name not in ON_REQUEST)


def needs_environment(root: Path, plan: ValidationPlan, paths: Collection[str] | None) -> bool:
    """Say whether `validate` would run the project's own code, and so needs what the project declares."""
    if paths is None and plan.commands:
        return True
    if plan.validators is not None and PYTEST not in plan.validators:
        return False
    return bool(test_files(root)) if paths is None else any(is_test(path) for path in paths)


def needs_packages(root: Path, plan: ValidationPlan, paths: Collection[str] | None) -> bool:
    """Say whether `validate` would run scripts of npm or commands, and so needs what package.json declares."""
    return paths is None and wanted(root, plan.validators, commands=bool(plan.commands))


def _concerned(validator: str, files: Collection[str]) -> bool:
    """Say whether a parser has anything to look at: starting the sandbox for nothing costs every task its time."""
    return any(path.endswith(ENDINGS[validator]) for path in files)


def _not_passed(checked: dict[str, tuple[ValidationResult, int]], name: str) -> str:
    result = checked[name][0] if name in checked else None
    if result is None or result.passed:
        return ""
    return f"Not run because {name} {'failed' if _ran(result) else 'did not run'}."


def _obstacle(sandbox: Sandbox, environment: Environment | None) -> str:
    """Say why tests cannot run here; an empty string when they can."""
    if not sandbox.runs_untrusted:
        return _NO_ISOLATION
    if environment is None:
        return "Not run because the dependencies were not installed."
    reasons = [f"{result.validator}: {result.detail}" for result in environment.results if not result.passed]
    return f"Not run because of {reasons[0]}" if reasons else ""


def _ran(result: ValidationResult) -> bool:
    return result.status is not ValidationStatus.NOT_RUN


def _unknown(name: str) -> ValidationResult:
    return not_run(name, f"There is no validator of this name{nearest(name, VALIDATORS)}")
