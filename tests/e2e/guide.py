"""A guide as something that runs: its fenced blocks, what each of them lacks, and a place to run them in.

Nothing of a block is changed but what its `Supplied` says: imports that are missing, names that earlier blocks made,
what stands for each `...`, and paths and addresses that this machine lends. `program` does that mechanically, and
refuses an entry that no longer fits its block.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from orchestrator.control_plane import ControlPlane
from orchestrator.state import ProjectState, ProjectStatus
from tests.certificates import certificates
from tests.loopback import Answer, Asked, Call, ModelServer, Script
from tests.loopback.collector import Collector

ROOT = Path(__file__).resolve().parents[2]
ORIGINAL = ROOT / "tests/e2e/data/usage_guide.md"
OURS = ROOT / "docs/usage_guide.md"
SECONDS = 300
# What stands for the `...` of a call: one small project, whose only file needs no sandbox to be checked.
JOB = '"Write notes about lakes", "One file of notes"'


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `id` is its heading's slug and its number below that heading."""

    id: str
    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Supplied:
    """What a block lacks.

    `imports` are lines before it, `before` are statements of earlier blocks that it builds on, `fills` replace its
    `...`, `lent` replaces a path or address by one of this machine ("{folder}" and "{collector}" are the
    place's), and `loop` gives
    an event loop to an `await` outside of any function.
    """

    imports: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    fills: tuple[tuple[str, str], ...] = ()
    lent: tuple[tuple[str, str], ...] = ()
    loop: bool = False


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document, in its order."""
    found: list[Block] = []
    section, number, heading = "", 0, False
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type == "inline" and heading:
            section, number = _slug(token.content), 0
        heading = token.type == "heading_open"
        if token.type == "fence":
            number += 1
            assert token.map
            found.append(Block(f"{section}/{number}", token.info.strip(), token.content, token.map[0] + 1))
    return found


def _slug(heading: str) -> str:
    """Return `example-3` for `Example 3: Multi-Objective Optimization`, and the whole as a slug for other headings."""
    numbered = re.match(r"((?:Example|Recipe) \d+):", heading)
    return re.sub(r"[^a-z0-9]+", "-", (numbered[1] if numbered else heading).lower()).strip("-")


def program(text: str, supplied: Supplied, place: Place) -> str:
    """Return a block with what it lacks; raises `AssertionError` when a replacement or an ellipsis is left over."""
    lends = {"{folder}": str(place.folder), "{collector}": place.collector.url}
    for old, new in (*supplied.fills, *supplied.lent):
        assert old in text, f"nothing to replace: {old!r}"
        text = text.replace(old, re.sub(r"\{(folder|collector)\}", lambda name: lends[name[0]], new))
    loose = re.sub(r"\"\"\".*?\"\"\"|'[^'\n]*'|\"[^\"\n]*\"", "", text, flags=re.DOTALL)
    assert "..." not in re.sub(r"#.*", "", loose), f"an ellipsis is left in:\n{text}"
    return "\n".join([*supplied.imports, *supplied.before, text])


def plan_of(*files: str) -> Answer:
    """Return a plan with one task that writes these files."""
    return Answer({"tasks": [task("notes", *files)]})


def task(name: str, *files: str, after: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return one task of a plan."""
    return {
        "id": name,
        "title": f"Write {name}",
        "type": "creative_writing",
        "description": f"Write {', '.join(files)}.",
        "depends_on": list(after),
        "files": list(files),
        "critical": True,
    }


def notes(*files: str, **answers: Callable[[Asked], Answer]) -> Script:
    """Return models that plan and write Markdown, which needs no sandbox to be checked."""
    planned: dict[str, Any] = {"decompose": lambda _: plan_of(*(files or ("notes.md",)))}
    return Script(answers=planned | answers)


@dataclass
class Place:
    """Where one block runs: its folder, its home, the models, and what it left behind."""

    folder: Path
    models: ModelServer
    environment: dict[str, str]
    collector: Collector
    out: str = ""
    status: int = 0
    names: dict[str, Any] = field(default_factory=dict)
    interpreter: str = sys.executable

    @property
    def calls(self) -> list[Call]:
        """Every request that reached the models."""
        return self.models.journal

    @property
    def lines(self) -> list[str]:
        """What was printed, line by line."""
        return self.out.splitlines()

    def providers(self) -> set[str]:
        """Return the providers that were asked."""
        return {call.provider for call in self.calls}

    def of(self, purpose: str) -> list[Call]:
        """Return the requests of one purpose."""
        return [call for call in self.calls if call.purpose == purpose]

    def states(self) -> list[ProjectState]:
        """Return every run that the home knows, the newest first, as the store holds it."""

        async def read() -> list[ProjectState]:
            async with ControlPlane.open(self.environment, providers={}) as plane:
                states = [await plane.state(row.id) for row in await plane.list()]
            return [state for state in states if state is not None]

        return asyncio.run(read())

    def python(self, code: str) -> None:
        """Run Python in this process; an `await` outside of any function gets an event loop."""
        compiled = compile(code, "<guide>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        said = io.StringIO()
        with redirect_stdout(said):
            made = eval(compiled, self.names)
            if inspect.iscoroutine(made):
                asyncio.run(made)
        self.out = said.getvalue()

    def bash(self, text: str) -> None:
        """Run a script by bash with the repository as `python`'s module path; its status and output are kept."""
        programs = self.folder.parent / "bin"
        programs.mkdir(exist_ok=True)
        for name, words in {"python": [self.interpreter], "pip": [self.interpreter, "-m", "pip"]}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (programs / name).chmod(0o755)
        environment = self.environment | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=self.folder,
            env=certificates() | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.status, self.out = ended.returncode, ended.stdout + ended.stderr
        assert "Traceback" not in self.out, self.out


def environment(models: ModelServer, home: Path, providers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment with the keys of the vendors on loopback, and a home of its own."""
    own = {"HOME": str(home), "ORCHESTRATOR_HOME": str(home / "state"), "LANG": "C.UTF-8"}
    return own | (models.environment() if providers is None else dict(providers))


TEXT = {block.id: block.text for block in blocks(ORIGINAL)}


def completed(place: Place, runs: int = 1) -> None:
    """Every run of the place has ended well, and was paid for within its cap."""
    states = place.states()
    assert [state.status for state in states] == [ProjectStatus.COMPLETED] * runs
    assert all(0 < state.budget.spent_usd <= state.budget.max_usd for state in states)


def run_it(place: Place, name: str = "orch") -> None:
    """Run the sample job by the orchestrator that a block has made."""
    place.python(f"import asyncio\nasyncio.run({name}.run_project({JOB}))")
