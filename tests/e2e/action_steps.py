"""A runner for the steps of `action.yml`: it resolves their expressions and runs their scripts, as GitHub's does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.reports import read_report

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
LAST = "Orchestrate"

_EXPRESSION = re.compile(r"\$\{\{\s*(?P<name>[\w.-]+)\s*\}\}")
_HEREDOC = re.compile(r"^(?P<name>[\w-]+)<<(?P<delimiter>.+)\n(?P<value>(?:.*\n)*?)(?P=delimiter)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """What one step did."""

    status: int
    log: str


@dataclass
class StepRunner:
    """One job with the Action as its only user; `inputs` are those of its `with:`."""

    folder: Path
    token: str
    env: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (self.workspace, self.temp, self.folder / "home"):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    @property
    def summary(self) -> str:
        path = self.temp / "summary.md"
        return path.read_text() if path.exists() else ""

    def has_report(self) -> bool:
        """Tell whether the output `report-path` is a file; one that is holds what the published schema allows."""
        path = Path(self.outputs()["report-path"])
        return path.is_file() and bool(read_report(path))

    def outputs(self) -> dict[str, str]:
        """Return the Action's outputs as a later step of the caller's job sees them."""
        return {name: self._resolve(output["value"]) for name, output in ACTION["outputs"].items()}

    def use_this_interpreter(self) -> None:
        """Stand in for the steps before the last one: what runs the tests has everything installed."""
        program = self.temp / "orchestrator-action" / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    async def run_all(self) -> list[Ran]:
        """Run every step in order; those that set up Python stand on what runs the tests."""
        self.steps["python"] = {"python-path": sys.executable}
        ran = []
        for step in ACTION["runs"]["steps"]:
            if "run" in step:
                ran.append(await self.run(step["name"]))
        return ran

    async def run(self, name: str, *, interrupt: Callable[[], None] | None = None, **more: str) -> Ran:
        """Run one step in the workspace, with the shell's options that GitHub sets.

        With `interrupt` it gets SIGINT, as on a cancelled job, once that (blocking) call has returned.
        """
        (step,) = (it for it in ACTION["runs"]["steps"] if it.get("name") == name)
        script = self.temp / "script.sh"
        script.write_text(step["run"])
        output = self.temp / "output"
        output.write_text("")
        given = {key: self._resolve(value) for key, value in step.get("env", {}).items()}
        process = await asyncio.create_subprocess_exec(
            "bash", "--noprofile", "--norc", "-eo", "pipefail", str(script),
            cwd=self.workspace,
            env={**self._environment(output), **self.env, **given, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        if interrupt is not None:
            await asyncio.to_thread(interrupt)
            process.send_signal(signal.SIGINT)
        log, _ = await process.communicate()
        if "id" in step:
            self.steps[step["id"]] = _outputs(output.read_text())
        assert process.returncode is not None
        return Ran(process.returncode, log.decode())

    def event(self, name: str, payload: Mapping[str, Any]) -> None:
        """Set the event that started the workflow."""
        (self.temp / "event.json").write_text(json.dumps(payload))
        self.env = {**self.env, "GITHUB_EVENT_NAME": name}

    def _environment(self, output: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))}
        return {
            **kept,
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
            "GITHUB_EVENT_PATH": str(self.temp / "event.json"),
            "GITHUB_RUN_ID": "4711",
            "GITHUB_JOB": "orchestrate",
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
        }

    def _resolve(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            match match["name"].split("."):
                case ["inputs", name]:
                    return self.inputs.get(name, self._resolve(ACTION["inputs"][name]["default"]))
                case ["steps", step, "outputs", name]:
                    return self.steps.get(step, {}).get(name, "")
                case ["github", "token"]:
                    return self.token
            raise AssertionError(f"{match[0]} is an expression that this runner does not know")

        return _EXPRESSION.sub(value, text)


def _outputs(text: str) -> dict[str, str]:
    found = {match["name"]: match["value"].removesuffix("\n") for match in _HEREDOC.finditer(text)}
    assert _HEREDOC.sub("", text) == "", f"GITHUB_OUTPUT holds more than outputs: {text!r}"
    return found
