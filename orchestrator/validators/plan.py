"""What shall be validated, and what validation works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.state import ValidationResult, ValidationStatus

PYTHON_SYNTAX = "python_syntax"
JSON_SYNTAX = "json_syntax"
YAML_SYNTAX = "yaml_syntax"
TOML_SYNTAX = "toml_syntax"
JSON_SCHEMA = "json_schema"
LENGTH = "length"
RUFF = "ruff"
PYTEST = "pytest"
DEPENDENCIES = "dependencies"
NPM_INSTALL = "npm_install"
NPM_LINT = "npm_lint"
NPM_BUILD = "npm_build"
NPM_TEST = "npm_test"

# What each parser looks at; the program in the sandbox takes the same endings.
ENDINGS: dict[str, tuple[str, ...]] = {
    PYTHON_SYNTAX: (".py", ".pyi"),
    JSON_SYNTAX: (".json",),
    YAML_SYNTAX: (".yaml", ".yml"),
    TOML_SYNTAX: (".toml",),
    JSON_SCHEMA: (".json", ".yaml", ".yml"),
    LENGTH: ("",),
}
SYNTAX = tuple(ENDINGS)
# Run where the spec names them only: an existing repository's own long or empty files are no fault of a task.
ON_REQUEST = frozenset({LENGTH})
# The script of package.json that each runs, in the order of the stages.
SCRIPTS = {NPM_LINT: "lint", NPM_BUILD: "build", NPM_TEST: "test"}
NPM = (NPM_INSTALL, *SCRIPTS)
VALIDATORS = (*SYNTAX, RUFF, PYTEST, *NPM)

# Folders that hold what others made: never validated, never searched for tests.
FOREIGN_FOLDERS = frozenset(
    {".git", ".hg", ".orchestrator", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__", "site-packages"}
)
MESSAGE_CHARACTERS = 1500
FINDINGS = 50
_LAST_LINE = 10_000_000


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """What the spec asks for: `validators` by name, None to detect them; `commands` for `sh -c` in the sandbox."""

    validators: tuple[str, ...] | None = None
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """The installed dependencies of a project, None when nothing is installed.

    `path` is a folder for Python's module search path, or for npm the folder that holds `node_modules`. `key`
    identifies what was declared; while `requirement_key` or `npm_key` gives the same, it can be used again.
    """

    path: Path | None
    results: tuple[ValidationResult, ...]
    key: str = ""


def tail(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Keep the end of a text, where programs say what went wrong."""
    text = text.strip()
    return text if len(text) <= limit else f"[…] {text[-limit:]}"


def line_of(text: str, part: str) -> int:
    """Return the line where a part of a text begins, the first where it does not stand in it."""
    before, found, _ = text.partition(part)
    return before.count("\n") + 1 if found else 1


def line_number(said: str) -> int:
    """Return the line that a program printed, as one that a file can have: whoever wrote the tests may have printed it.

    Raises `ValueError` for what is no number.
    """
    return min(max(1, int(said)), _LAST_LINE)


def table_in(value: object) -> dict[str, Any]:
    """Return a table of a parsed file, an empty one where something else stands."""
    return value if isinstance(value, dict) else {}


def not_run(validator: str, reason: str) -> ValidationResult:
    """Return the result of a validator that could not run, which never counts as passed."""
    return ValidationResult(validator, ValidationStatus.NOT_RUN, (), reason)


def without(result: ValidationResult, key: str) -> Environment:
    """Return the environment of a project whose dependencies are not installed, for the reason of a result."""
    return Environment(None, (result,), key)
