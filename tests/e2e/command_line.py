"""The command line as a process of its own, pointed at a loopback model server, with a home and a folder of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.counts import KILLS, count
from tests.loopback import Answer, Asked, ModelServer, Script
from tests.loopback.library import plan
from tests.reports import read_report

SECONDS = 60
# Both speak OpenAI's format: one SDK is loaded, and each reviews what the other wrote.
PROVIDERS = ("openai", "deepseek")
SPEC = """\
project:
  title: Sample library
  description: Write a sample library of pure functions.
  app_type: library
validation:
  validators: [python_syntax]
"""


def two_modules() -> Script:
    """Return a script whose plan has two tasks, one after the other, in a project that declares no dependencies.

    Nothing is to be installed then, which saves each process some seconds.
    """

    def decompose(_: Asked) -> Answer:
        tasks = plan(2, 1)["tasks"]
        for task in tasks:
            task["files"] = [path for path in task["files"] if path != "pyproject.toml"]
        return Answer({"tasks": tasks})

    return Script(answers={"decompose": decompose})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit status and what it wrote."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One user's command line: `root` holds the home, the spec and the output folder."""

    root: Path
    server: ModelServer
    within: Sequence[str] = ()
    """A command that becomes the one after it."""
    more: Mapping[str, str] = field(default_factory=dict)
    """What else is in the user's environment."""

    @property
    def results(self) -> Path:
        """The output folder."""
        return self.root / "results"

    def prepare(self) -> dict[str, str]:
        """Write the spec unless it is there, and return the user's environment."""
        spec = self.root / "spec.yaml"
        if not spec.exists():
            spec.write_text(SPEC, encoding="utf-8")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        own = {"HOME": str(self.root), "ORCHESTRATOR_HOME": str(self.root / "home")}
        return {**kept, **own, **self.server.environment(PROVIDERS), **self.more}

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start it with these flags."""
        return subprocess.Popen(
            [*self.within, sys.executable, "-m", "orchestrator", *flags],
            cwd=self.root,
            env=self.prepare(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags: str) -> Ended:
        """Run it to its end."""
        return ended(self.start(*flags))

    def build(self, *flags: str) -> subprocess.Popen[str]:
        """Start a new run named `sample` from the spec."""
        return self.start("--file", "spec.yaml", "--output-dir", str(self.results), "--project-id", "sample", *flags)

    def report(self) -> dict[str, Any]:
        """Return report.json."""
        return read_report(self.results / ".orchestrator" / "report.json")

    def files(self) -> dict[str, str]:
        """Return the built files by path."""
        return {
            path.relative_to(self.results).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(self.results.rglob("*"))
            if path.is_file() and ".orchestrator" not in path.parts
        }

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds in the database of the home."""
        connection = sqlite3.connect(self.root / "home" / "state.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def accounts(self) -> dict[str, tuple[int, int]]:
        """Return (spent, reserved) of each account in picodollars."""
        return {
            account: (spent, held) for account, spent, held in self.rows("SELECT id, spent, reserved FROM accounts")
        }


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process to end by itself; one that does not is killed, and `TimeoutExpired` raised."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, out, err)


def killed(process: subprocess.Popen[str]) -> None:
    """Kill a process as the system does when memory runs out."""
    count(KILLS)
    process.kill()
    process.communicate(timeout=SECONDS)


def list_price(call: Any) -> float:
    """Return what a call of the server's journal costs in USD by the prices that these tests expect."""
    sent, answered = PRICES[call.model]
    return float(call.input_tokens * sent + call.output_tokens * answered) / 10**6


def list_price_bound(call: Any) -> float:
    """Return what a call in flight could still cost in USD."""
    sent, answered = PRICES[call.model]
    return float(call.could_bill_input * sent + call.max_output_tokens * answered) / 10**6


# USD per million tokens of input and output, November 2026.
PRICES = {
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4o": (2.5, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5.4-mini": (0.75, 4.5),
    "gpt-5.4": (2.5, 15.0),
    "deepseek-chat": (0.27, 1.1),
    "deepseek-reasoner": (0.55, 2.19),
}


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; raises `TimeoutError` when it does not within `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {SECONDS} s")
        time.sleep(0.01)
