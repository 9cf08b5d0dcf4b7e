"""How a run shows itself on a terminal or in a pipe: pure texts, and one follower for each."""

from __future__ import annotations

import textwrap
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.budget import dollars
from orchestrator.control_plane import OnEvent
from orchestrator.events import Event, EventType
from orchestrator.sections import BudgetSpec
from orchestrator.state import ProjectState, TaskStatus

DEFAULT_USD = BudgetSpec().max_usd
_BLOCK_COLUMNS = 78


def line(event: Event) -> str:
    """Return an event as one line for a pipe or a log; what models wrote into it steers no terminal."""
    return plain(_said(event))


def plain(text: str) -> str:
    """Return a text as one line without control, format and direction characters."""
    kept = (character for character in " ".join(text.split()) if unicodedata.category(character)[0] != "C")
    return "".join(kept)


def architecture_block(event: Event) -> str:
    """Return the summary of a decided architecture for people; an empty text for every other event."""
    if event.type is not EventType.ARCHITECTURE_DECIDED:
        return ""
    data = event.data
    values = {
        "Structural pattern": data["structural_pattern"],
        "Topology": data["topology"],
        "API paradigm": data["api_paradigm"],
        "Data paradigm": data["data_paradigm"],
        "Rationale": data["rationale"],
    }
    lines = ["🏗 Architecture"]
    for name, value in values.items():
        head = f"   {name + ':':<20}"
        wrapped = textwrap.wrap(plain(str(value)), _BLOCK_COLUMNS - len(head)) or ["-"]
        lines.append(head + f"\n{' ' * len(head)}".join(wrapped))
    return "\n".join(lines)


def show(text: str, out: TextIO) -> None:
    """Print a text at once; a character that the stream cannot hold is shown as a question mark."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=out, flush=True)


def _said(event: Event) -> str:
    data = event.data
    match event.type:
        case EventType.PROJECT_STARTED:
            return f"started: {data['title']} ({data['app_type']})"
        case EventType.ARCHITECTURE_DECIDED:
            return f"architecture: {data['structural_pattern']}, {data['topology']}"
        case EventType.PLAN_READY:
            return f"plan: {len(data['tasks'])} tasks, ${data['low_usd']:.4f} to ${data['high_usd']:.4f}"
        case EventType.TASK_STARTED:
            return f"task {data['task_id']}: started"
        case EventType.TASK_COMPLETED:
            return f"task {data['task_id']}: completed, score {data['score']:.2f}, ${data['cost_usd']:.4f}"
        case EventType.TASK_FAILED:
            return f"task {data['task_id']}: failed: {_first_line(data['reason'])}"
        case EventType.TASK_SKIPPED:
            return f"task {data['task_id']}: skipped: {data['reason']}"
        case EventType.CALL_SETTLED:
            where = f" for {data['task_id']}" if data["task_id"] else ""
            return (
                f"call: {data['purpose']}{where} by {data['model']}, "
                f"${data['cost_usd']:.4f}, ${data['spent_usd']:.4f} spent"
            )
        case EventType.CALL_LOST:
            where = f" for {data['task_id']}" if data["task_id"] else ""
            return (
                f"call: {data['purpose']}{where} by {data['model']}, its answer was lost, counted at "
                f"${data['cost_usd']:.4f}, ${data['spent_usd']:.4f} spent"
            )
        case EventType.CALL_FAILED | EventType.ANSWER_REJECTED:
            where = f" for {data['task_id']}" if data["task_id"] else ""
            then = ", asked again" if data["retried"] else ""
            return f"call: {data['purpose']}{where} by {data['model']} failed: {data['kind'].replace('_', ' ')}{then}"
        case EventType.BUDGET_WARNING:
            whole = "the budget" if data["phase"] == "total" else f"the share of {data['phase']}"
            return f"budget: {data['ratio']:.0%} of {whole} used, ${data['spent_usd']:.4f}"
        case EventType.VALIDATION_COMPLETED:
            said = ", ".join(f"{name} {status.replace('_', ' ')}" for name, status in data["results"].items())
            return f"{_checked(data['task_id'])}: checked: {said or 'no check applied'}"
        case EventType.VALIDATION_FAILED:
            return f"{_checked(data['task_id'])}: checks failed: {', '.join(data['validators'])}"
        case EventType.REPAIR_STARTED:
            return f"{data['task_id']}: the whole project fails {', '.join(data['validators'])}"
        case EventType.PROJECT_COMPLETED:
            return f"ended: {data['status']}, ${data['spent_usd']:.4f} spent"


@dataclass(slots=True)
class Picture:
    """What the live display shows; fed by events, drawn as a table."""

    budget: BudgetSpec
    started: float = field(default_factory=time.monotonic)
    tasks: dict[str, tuple[str, str]] = field(default_factory=dict)
    spent: float = 0.0
    stage: str = "starting"

    def take(self, event: Event) -> None:
        """Update the picture by one event."""
        data = event.data
        task_id = str(data.get("task_id", ""))
        match event.type:
            case EventType.PLAN_READY:
                self.tasks = {one["id"]: (one["title"], "pending") for one in data["tasks"]}
                self.stage = "building"
            case EventType.TASK_STARTED | EventType.REPAIR_STARTED:
                self.tasks[task_id] = (str(data.get("title", "repair")), "running")
            case EventType.TASK_COMPLETED:
                self.tasks[task_id] = (str(data["title"]), f"completed {data['score']:.2f}")
            case EventType.TASK_FAILED | EventType.TASK_SKIPPED:
                title = self.tasks.get(task_id, (task_id, ""))[0]
                self.tasks[task_id] = (title, "failed" if event.type is EventType.TASK_FAILED else "skipped")
            case EventType.CALL_SETTLED | EventType.CALL_LOST:
                self.spent = float(data["spent_usd"])
            case EventType.PROJECT_COMPLETED:
                self.stage = str(data["status"])
                self.spent = float(data["spent_usd"])
            case _:
                self.stage = line(event)

    def __rich__(self) -> Group:
        left = max(0.0, self.budget.max_time_seconds - (time.monotonic() - self.started))
        done = sum(state.startswith("completed") for _, state in self.tasks.values())
        head = (
            f"{done}/{len(self.tasks)} tasks · ${self.spent:.2f} of {dollars(self.budget.max_usd)} · "
            f"{left / 60:.0f} min left · {self.stage}"
        )
        table = Table(show_header=False, box=None)
        for title, state in self.tasks.values():
            table.add_row(Text(state), Text(plain(title)))
        return Group(Text(head), table)


@asynccontextmanager
async def follow(out: TextIO, budget: BudgetSpec) -> AsyncIterator[OnEvent]:
    """Yield what follows a run's events: a live table on a terminal, else one line per event.

    The architecture is shown as a block besides, when it is decided.
    """
    if not out.isatty():

        async def write(event: Event) -> None:
            print(line(event), file=out, flush=True)
            if block := architecture_block(event):
                show(block, out)

        yield write
        return
    picture = Picture(budget)
    with Live(picture, console=Console(file=out), refresh_per_second=4) as live:

        async def draw(event: Event) -> None:
            picture.take(event)
            if block := architecture_block(event):
                live.console.print(Text(block))

        yield draw


def summary(state: ProjectState, folder: str) -> str:
    """Return what a person reads at the end: the answer first, then what to look at."""
    done = sum(result.status is TaskStatus.COMPLETED for result in state.results.values())
    lines = [
        f"{state.status.value}: {done}/{len(state.tasks)} tasks · ${state.budget.spent_usd:.4f} of "
        f"{dollars(state.budget.max_usd)} · {state.budget.elapsed_seconds:.0f} s",
        "\n".join(map(plain, state.outcome.reason.splitlines())),
        f"{len(state.files)} files in {folder}; report: {folder}/.orchestrator/report.md",
    ]
    if state.status.value in ("budget_exhausted", "timed_out", "partial", "interrupted", "failed"):
        more = {
            "budget_exhausted": f" --budget {state.budget.max_usd * 2 or DEFAULT_USD:g}",
            "timed_out": f" --max-time {state.budget.max_time_seconds * 2:g}",
        }.get(state.status.value, "")
        lines.append(f"Go on with: python -m orchestrator --resume {state.project_id}{more}")
    return "\n".join(lines)


def plan_text(state: ProjectState) -> str:
    """Return a plan for people: architecture, tasks with model and forecast, total."""
    lines = []
    if state.architecture:
        one = state.architecture
        lines.append(
            plain(f"Architecture: {one.structural_pattern}, {one.topology}, {one.api_paradigm}, {one.data_paradigm}")
            + f"\n{plain(one.rationale)}"
        )
    if state.forecast is None:
        return "\n".join([*lines, state.outcome.reason])
    for task in state.tasks:
        low, high = state.forecast.by_task.get(task.id, (0.0, 0.0))
        after = f" after {', '.join(task.depends_on)}" if task.depends_on else ""
        model = state.forecast.models.get(task.id, "")
        lines.append(f"- {task.id}: {plain(task.title)}{after} [{model}, ${low:.4f} to ${high:.4f}]")
    lines.append(
        f"Forecast: ${state.forecast.low_usd:.4f} to ${state.forecast.high_usd:.4f}, about "
        f"${state.forecast.estimated_total_usd:.4f} ({state.forecast.risk_level} risk); "
        f"${state.budget.spent_usd:.4f} spent on planning"
    )
    return "\n".join(lines)


def _checked(task_id: str) -> str:
    return f"task {task_id}" if task_id else "the whole project"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
