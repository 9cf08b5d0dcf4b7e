"""Scripted models of two providers, and a control plane around them, for the tests of the core."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.control_plane import ControlPlane, Source
from orchestrator.events import Event
from orchestrator.output import OutputFolder
from orchestrator.persistence import Persistence
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted, ScriptedProvider
from orchestrator.report import report
from orchestrator.specs import JobSpec, narrow, spec_from_text
from orchestrator.state import ProjectState, Purpose
from tests.reports import valid

Say = Callable[[CompletionRequest], Scripted]

ARCHITECTURE = {
    "structural_pattern": "layered",
    "topology": "library",
    "api_paradigm": "none",
    "data_paradigm": "none",
    "rationale": "Nothing larger is needed.",
}
APPROVED = {"score": 0.9, "verdict": "approve", "findings": []}
JUDGED = {"score": 0.8, "reason": "Every criterion is met."}
DRAFTED = {
    "job": {"budget": {"max_usd": 2.0, "max_time_seconds": None}},
    "policy": {"name": "eu_only", "allowed_regions": ["eu"]},
    "rationale": "Two dollars, and the EU only.",
}
AT_ONCE = Persistence(tries=1, first_wait=0.0, call_seconds=5.0)


def task(
    name: str, *needs: str, files: Sequence[str] | None = None, title: str = "", description: str = ""
) -> dict[str, Any]:
    return {
        "id": name,
        "title": title or f"Write {name}",
        "type": "code_generation",
        "description": description or f"Everything about {name}.",
        "depends_on": list(needs),
        "files": [f"{name}.md"] if files is None else list(files),
        "critical": False,
    }


def plan(*tasks: Mapping[str, Any]) -> str:
    return json.dumps({"tasks": list(tasks)})


def files(**named: str) -> str:
    return json.dumps({"files": [{"path": path, "content": text} for path, text in named.items()], "notes": ""})


def changes(**parts: Any) -> str:
    return json.dumps({"notes": "", **parts})


def sent_back(message: str, path: str = "a.md", severity: str = "error") -> str:
    finding = {"path": path, "line": 3, "severity": severity, "message": message}
    return json.dumps({"score": 0.3, "verdict": "request_changes", "findings": [finding]})


def task_of(request: CompletionRequest) -> str:
    found = re.search(r"^Task: (\S+)$", request.prompt, re.MULTILINE)
    return found[1] if found else ""


def listed(request: CompletionRequest, heading: str = "Files of this task") -> list[str]:
    _, _, rest = request.prompt.partition(f"{heading}\n")
    return [line[2:] for line in rest.split("\n\n", 1)[0].splitlines() if line.startswith("- ")]


def written(request: CompletionRequest) -> str:
    return files(**{path: f"# {path}\n" for path in listed(request)})


def in_turn(*answers: Scripted | Say) -> Say:
    """Give one answer after the other, then the last for ever."""
    left = list(answers)

    def say(request: CompletionRequest) -> Scripted:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer(request) if callable(answer) else answer

    return say


@dataclass
class Models:
    """Two providers that answer alike; `asked` holds every request in order."""

    plan: str = field(default_factory=lambda: plan(task("a")))
    say: Mapping[str, Say] = field(default_factory=dict)
    names: tuple[str, ...] = ("openai", "anthropic")
    delay_seconds: float = 0.0
    asked: list[CompletionRequest] = field(default_factory=list)

    def answer(self, request: CompletionRequest) -> Scripted:
        self.asked.append(request)
        say = self.say.get(request.purpose.value)
        if say is not None:
            return say(request)
        match request.purpose:
            case Purpose.ARCHITECTURE:
                return json.dumps(ARCHITECTURE)
            case Purpose.DECOMPOSE:
                return self.plan
            case Purpose.GENERATE | Purpose.REVISE:
                return written(request)
            case Purpose.REVIEW:
                return json.dumps(APPROVED)
            case Purpose.EVALUATE:
                return json.dumps(JUDGED)
            case Purpose.DRAFT:
                return json.dumps(DRAFTED)

    def of(self, purpose: Purpose, name: str | None = None) -> list[CompletionRequest]:
        asked = [request for request in self.asked if request.purpose is purpose]
        return [request for request in asked if name is None or task_of(request) == name]

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for request in self.asked:
            found[request.purpose.value] = found.get(request.purpose.value, 0) + 1
        return found

    @asynccontextmanager
    async def plane(self, home: Path, *, concurrency: int = 3, **env: str) -> AsyncIterator[ControlPlane]:
        providers = {name: ScriptedProvider(self.answer, delay_seconds=self.delay_seconds) for name in self.names}
        environment = {"ORCHESTRATOR_HOME": str(home), **env}
        async with ControlPlane.open(
            environment, concurrency=concurrency, providers=providers, persistence=AT_ONCE
        ) as plane:
            yield plane

    async def run(
        self,
        home: Path,
        *,
        run_id: str = "run-1",
        job: JobSpec | None = None,
        source: Path | None = None,
        output: Path | None = None,
        concurrency: int = 3,
        plan_only: bool = False,
        retry_failed: bool = False,
        events: list[Event] | None = None,
    ) -> ProjectState:
        """Run a job to its end on the scripted models."""

        async def note(event: Event) -> None:
            if events is not None:
                events.append(event)

        async with self.plane(home, concurrency=concurrency) as plane:
            state = await plane.submit(
                job or a_job(),
                run_id=run_id,
                source=Source(source, "sample/repository") if source else None,
                output=OutputFolder.at(output) if output else None,
                plan_only=plan_only,
                retry_failed=retry_failed,
                on_event=note,
            )
        valid(report(state))
        return state


def a_job(
    text: str = "Notes about lakes", *, max_usd: float = 8.0, max_time_seconds: float = 600.0, **named: Any
) -> JobSpec:
    return replace(narrow(spec_from_text(text), max_usd=max_usd, max_time_seconds=max_time_seconds), **named)
