"""The status comment of a run: its first line is the answer, whatever stage the run is at; pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.github.markdown import cell, code, duration, fit, one_line, table, usd
from orchestrator.state import ProjectState, ProjectStatus, Task, TaskStatus

OFFLINE_NOTE = "Built by the **offline model** from tested starter projects; no language model was asked."

ENDINGS = {
    ProjectStatus.COMPLETED: "Done",
    ProjectStatus.PARTIAL: "Partly done",
    ProjectStatus.BUDGET_EXHAUSTED: "Stopped: the budget is used up",
    ProjectStatus.TIMED_OUT: "Stopped: the time is up",
    ProjectStatus.FAILED: "Failed",
    ProjectStatus.CANCELLED: "Cancelled",
    ProjectStatus.INTERRUPTED: "Interrupted",
}
_LIVING = {
    ProjectStatus.QUEUED: "Queued",
    ProjectStatus.PLANNING: "Planning",
    ProjectStatus.WAITING: "Waiting for approval",
}
_GLYPHS = {
    TaskStatus.COMPLETED: "✅",
    TaskStatus.FAILED: "❌",
    TaskStatus.SKIPPED: "⏭️",
    TaskStatus.RUNNING: "⏳",
    TaskStatus.PENDING: "·",
}


@dataclass(frozen=True, slots=True)
class Links:
    """Where the result is; `number` is the pull request's, `note` what hindered it.

    `resumable` tells whether `/orchestrate resume` finds the run again.
    """

    number: int | None = None
    url: str = ""
    branch: str = ""
    note: str = ""
    resumable: bool = False


def status_comment(state: ProjectState, links: Links | None = None) -> str:
    """Return the status comment: its first line is the answer, then the tasks."""
    links = links or Links()
    cancelled = state.status is ProjectStatus.CANCELLED
    parts = [f"{status_line(state, links)}. {how_to_go_on(state, links)}" if cancelled else status_line(state, links)]
    if state.offline:
        parts.append(OFFLINE_NOTE)
    if state.status.ended and state.outcome.reason and not cancelled:
        parts.append(one_line(state.outcome.reason))
    if links.note:
        parts.append(one_line(links.note))
    if links.number is None and links.url:
        parts.append(f"Branch `{links.branch}`: [open a pull request]({links.url})")
    if state.tasks:
        parts.append(task_table(state))
    if not cancelled and (how := how_to_go_on(state, links)):
        parts.append(how)
    return fit("\n\n".join(parts))


def status_line(state: ProjectState, links: Links | None = None) -> str:
    """Return one line: what came out or how far it is, money and time."""
    done = sum(1 for result in state.results.values() if result.status is TaskStatus.COMPLETED)
    tasks = [f"{done}/{len(state.tasks)} tasks"] if state.tasks else []
    money = f"{usd(state.budget.spent_usd)} of {usd(state.budget.max_usd)}"
    if not state.status.ended:
        lead = [] if state.status is ProjectStatus.RUNNING else [_LIVING[state.status]]
        return " · ".join([*lead, *tasks, money])
    target = [f"#{links.number}"] if links and links.number is not None else []
    ending = ENDINGS[state.status]
    if state.status is ProjectStatus.CANCELLED and state.outcome.reason:
        ending = one_line(state.outcome.reason).rstrip(".")
    return f"{ending}: " + " · ".join([*target, *tasks, money, duration(state.budget.elapsed_seconds)])


def how_to_go_on(state: ProjectState, links: Links) -> str:
    """Return what is left undone and the very edit and command that go on, for a run that stopped early."""
    if state.status not in (
        ProjectStatus.BUDGET_EXHAUSTED, ProjectStatus.TIMED_OUT, ProjectStatus.PARTIAL, ProjectStatus.FAILED,
        ProjectStatus.INTERRUPTED, ProjectStatus.CANCELLED,
    ):  # fmt: skip
        return ""
    left = [task.id for task in state.tasks if status_of(state, task) is not TaskStatus.COMPLETED]
    undone = f"Left undone: {', '.join(f'`{code(name)}`' for name in left)}. " if left else ""
    if links.resumable:
        return undone + _RESUMES.get(state.status, "To go on, comment `/orchestrate resume`.")
    first = f"close or merge #{links.number}, then " if links.number is not None else ""
    if state.status is ProjectStatus.BUDGET_EXHAUSTED:
        return (
            f"{undone}To go on, {first}raise `budget.max_usd` in `.orchestrator.yaml` if it caps the run, and comment "
            "`/orchestrate --budget USD` with the amount to spend."
        )
    if state.status is ProjectStatus.TIMED_OUT:
        edit = "raise `budget.max_time_seconds` in `.orchestrator.yaml` and comment `/orchestrate`."
        return f"{undone}To go on, {first}{edit}"
    return f"{undone}To try again, {first}comment `/orchestrate` with a hint about what to do otherwise."


_RESUMES = {
    ProjectStatus.BUDGET_EXHAUSTED: (
        "To go on, raise `budget.max_usd` in `.orchestrator.yaml` if it caps the run, and comment "
        "`/orchestrate resume --budget USD` with the amount that the whole run may spend."
    ),
    ProjectStatus.TIMED_OUT: (
        "To go on, raise `budget.max_time_seconds` in `.orchestrator.yaml` and comment `/orchestrate resume`."
    ),
}


def task_table(state: ProjectState) -> str:
    """Return the tasks as a table."""
    rows = []
    for task in state.tasks:
        result = state.results.get(task.id)
        model = f"`{code(result.model)}`" if result and result.model else ""
        cost = usd(result.cost_usd) if result else ""
        score = f"{result.score:.2f}" if result and result.review else ""
        rows.append(
            [_GLYPHS[status_of(state, task)], f"`{code(task.id)}`", cell(task.title), model, score, cost]
        )  # fmt: skip
    return table(["", "Task", "What", "Model", "Review", "Cost"], rows)


def status_of(state: ProjectState, task: Task) -> TaskStatus:
    """Return how a task stands; one that nobody began is pending."""
    result = state.results.get(task.id)
    return result.status if result else TaskStatus.PENDING
