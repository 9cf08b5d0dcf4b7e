"""The small Python library that the default script plans and writes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

FILES_HEADING = "Files of this task"

ARCHITECTURE = {
    "structural_pattern": "layered",
    "topology": "library",
    "api_paradigm": "none",
    "data_paradigm": "none",
    "rationale": "A library of pure functions needs no more.",
}

_PYPROJECT = """\
[project]
name = "sample-library"
version = "0.1.0"
description = "A sample library."
requires-python = ">=3.11"
dependencies = []

[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
packages = []
"""

_MODULE = '''\
"""The {name} part of the sample library."""


def {name}(value: int) -> int:
    """Return the value plus one."""
    return value + 1
'''

_TEST = '''\
"""The tests of one part of the sample library."""


def {name}() -> None:
    """Adding one gives the next number."""
    assert 1 + 1 == 2
'''


def plan(tasks: int, chains: int, *, tested: bool = True, installs: bool = True) -> dict[str, Any]:
    """Return a plan of tasks in independent chains; each task depends on the one before it in its chain.

    Without tests no runner of tests is needed, and what `installs` nothing declares no package either: that takes most
    of a run's time.
    """
    numbers = range(1, tasks + 1)
    return {"tasks": [_task(number, chains, tasks, tested=tested, installs=installs) for number in numbers]}


def _task(number: int, chains: int, tasks: int, *, tested: bool, installs: bool) -> dict[str, Any]:
    before = number - chains
    files = [f"sample_library/part_{number}.py"]
    if tested:
        files.append(f"tests/test_part_{number}.py")
    if number == 1:
        files = [*(["pyproject.toml"] if installs else []), "sample_library/__init__.py", *files]
    if number == tasks:
        files.append("README.md")
    return {
        "id": f"part-{number}",
        "title": f"Write part {number}",
        "type": "code_generation",
        "description": f"Write part {number} of the sample library, with its test.",
        "depends_on": [f"part-{before}"] if before > 0 else [],
        "files": files,
        "critical": number == 1,
    }


def changes(prompt: str, turn: int) -> dict[str, Any]:
    """Return the files that a prompt names under its heading, or one file of our own choice."""
    paths = files_named(prompt) or [f"src_{turn + 1}.py"]
    files = [{"path": path, "content": content(path)} for path in paths]
    return {"files": files, "edits": [], "deletions": [], "renames": [], "notes": f"Wrote {len(files)} files."}


def files_named(prompt: str) -> list[str]:
    """Return the paths listed as `- path` after the last heading of that name, up to the next line of another kind."""
    _, heading, rest = prompt.rpartition(FILES_HEADING)
    if not heading:
        return []
    paths = []
    for line in rest.splitlines()[1:]:
        item = re.match(r"\s*[-*]\s+`?([^\s`]+)`?", line)
        if item:
            paths.append(item[1])
        elif line.strip() and not line.startswith("<paths "):
            break
    return paths


def content(path: str) -> str:
    """Return what a file of that path holds: real Python, a valid project file, or a paragraph."""
    name = PurePosixPath(path).name
    stem = _identifier(PurePosixPath(path).stem)
    if name == "pyproject.toml":
        return _PYPROJECT
    if name in ("__init__.py", "conftest.py"):
        return '"""The sample library."""\n'
    if name.startswith("test_") and name.endswith(".py"):
        return _TEST.format(name=stem)
    if name.endswith(".py"):
        return _MODULE.format(name=stem)
    if name.endswith(".md"):
        return "# Sample library\n\nA small library of pure functions, written by a scripted model.\n"
    if name.endswith(".json"):
        return "{}\n"
    return "# Written by a scripted model.\n"


def _identifier(stem: str) -> str:
    word = re.sub(r"\W", "_", stem).lower()
    return word if word.isidentifier() and word not in ("class", "import", "global") else f"part_{word}"
