"""The dashboard's pages, from plain data to HTML; every value is escaped, because titles are strangers' text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.github.staging.preview import Shown
from orchestrator.state import ProjectState, ProjectStatus, Task, TaskResult, TaskStatus

REFRESH_SECONDS = 5

_TONES = {
    ProjectStatus.COMPLETED: "good",
    ProjectStatus.PARTIAL: "mixed",
    ProjectStatus.BUDGET_EXHAUSTED: "mixed",
    ProjectStatus.TIMED_OUT: "mixed",
    ProjectStatus.INTERRUPTED: "mixed",
    ProjectStatus.FAILED: "bad",
    ProjectStatus.CANCELLED: "bad",
}


@dataclass(frozen=True, slots=True)
class RunLine:
    """One line of the list of runs; `tasks_done` of `tasks` are completed, amounts are in USD."""

    id: str
    title: str
    status: ProjectStatus
    score: float = 0.0
    tasks_done: int = 0
    tasks: int = 0
    spent_usd: float = 0.0
    max_usd: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task beside how it stands."""

    task: Task
    result: TaskResult


def runs_page(lines: Sequence[RunLine], *, page: int, more: bool) -> str:
    """Return the list of runs; `page` counts from 1, `more` says that older ones follow."""
    live = any(not line.status.ended for line in lines)
    return _render("runs.html", lines=lines, page=page, more=more, refresh=REFRESH_SECONDS if live else 0)


def run_page(state: ProjectState, previews: Sequence[Shown] = ()) -> str:
    """Return one run's page, with what a staged one would have written; while the run lives it reloads itself."""
    lines = [
        TaskLine(task, state.results.get(task.id, TaskResult(task.id, TaskStatus.PENDING))) for task in state.tasks
    ]
    refresh = 0 if state.status.ended else REFRESH_SECONDS
    return _render("run.html", state=state, lines=lines, previews=previews, refresh=refresh)


def previews_page(run_id: str, previews: Sequence[Shown]) -> str:
    """Return the page of what was answered or linted on a stage without a run."""
    return _render("previews.html", run_id=run_id, previews=previews, refresh=0)


def queued_page(run_id: str) -> str:
    """Return the page of a run that is accepted and has not begun."""
    return _render("queued.html", run_id=run_id, refresh=REFRESH_SECONDS)


def unknown_page(run_id: str) -> str:
    """Return the page for a run that is not known."""
    return _render("unknown.html", run_id=run_id, refresh=0)


def sign_in_page(*, wrong: bool) -> str:
    """Return the form that asks for the dashboard's token; `wrong` says that the one given is not it."""
    return _render("sign_in.html", wrong=wrong, refresh=0)


def setup_page(**values: object) -> str:
    """Return the set-up page: the form that registers an App, and what to set instead; `nonce` lets its style in."""
    return _render("setup.html", style=stylesheet(), **values)


def registered_page(**values: object) -> str:
    """Return the page that ends the set-up: the App's name, its owner, and where to install it."""
    return _render("registered.html", style=stylesheet(), **values)


@cache
def stylesheet() -> str:
    """Return the dashboard's own CSS."""
    return (resources.files("bot.dashboard") / "dashboard.css").read_text(encoding="utf-8")


def moment(seconds: float) -> str:
    """Return a time in seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def usd(amount: float) -> str:
    """Return an amount in USD: whole cents, and four places for what is less than a dollar."""
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def percent(part: float, whole: float) -> int:
    """Return how many hundredths of `whole` the part is, from 0 to 100."""
    return max(0, min(100, round(100 * part / whole))) if whole > 0 else 0


def words(name: str) -> str:
    """Return a status or purpose as words."""
    return name.replace("_", " ")


def _tone(status: ProjectStatus) -> str:
    return _TONES.get(status, "live")


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bot.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": usd,
        "duration": duration,
        "moment": moment,
        "words": words,
        "tone": _tone,
    }
    environment.globals |= {"percent": percent}
    return environment
