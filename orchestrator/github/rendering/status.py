"""The status comment of a run: its first line is the answer, then the tasks, then what to look at; pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.codes import Code
from orchestrator.github.rendering.checks import open_findings
from orchestrator.github.rendering.markdown import (
    cell,
    code,
    duration,
    fit,
    folded,
    listed,
    one_line,
    shown_code,
    table,
    usd,
)
from orchestrator.state import Finding, ProjectState, ProjectStatus, Severity, Task, TaskStatus, ValidationStatus

OFFLINE_NOTE = "Built by the **offline model** from tested starter projects; no language model was asked."
MAX_ROWS = 25
"""Tasks that show at once; a phone's screen holds fewer, and the others are one tap away."""
MAX_LINES = 5
_TITLE = 60

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
    ProjectStatus.RUNNING: "Running",
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

    `resumable` tells whether `/orchestrate resume` finds the run again, `revisable` whether `revise` works here.
    """

    number: int | None = None
    url: str = ""
    branch: str = ""
    note: str = ""
    resumable: bool = False
    revisable: bool = True


def status_comment(state: ProjectState, links: Links | None = None) -> str:
    """Return the status comment: the answer, the tasks, what to look at, and everything else folded away."""
    links = links or Links()
    cancelled = state.status is ProjectStatus.CANCELLED
    how = how_to_go_on(state, links)
    parts = [f"{answer_line(state, links)}. {how}" if cancelled else answer_line(state, links)]
    if state.tasks:
        parts.append(task_table(state))
    parts += _reasons(state, links, cancelled=cancelled)
    if looks := _to_look_at(state):
        parts.append(f"**Look at**\n\n{listed(looks, len(looks))}")
    if how and not cancelled:
        parts.append(how)
    parts.append(folded("Details", _details(state)))
    return fit("\n\n".join(parts))


def answer_line(state: ProjectState, links: Links | None = None) -> str:
    """Return the first line: what came out or how far it is, the pull request, tasks, money and time."""
    if state.status.ended:
        return status_line(state, links)
    target = [f"#{links.number}"] if links and links.number is not None else []
    facts = [*target, *_progress(state), duration(state.budget.elapsed_seconds)]
    return f"{_LIVING[state.status]}: {' · '.join(facts)}"


def status_line(state: ProjectState, links: Links | None = None) -> str:
    """Return one line: what came out with money and time, or while a run works how far it is."""
    if not state.status.ended:
        lead = [] if state.status is ProjectStatus.RUNNING else [_LIVING[state.status]]
        return " · ".join([*lead, *_progress(state)])
    target = [f"#{links.number}"] if links and links.number is not None else []
    ending = ENDINGS[state.status]
    if state.status is ProjectStatus.CANCELLED and state.outcome.reason:
        ending = one_line(state.outcome.reason).rstrip(".")
    return f"{ending}: " + " · ".join([*target, *_progress(state), duration(state.budget.elapsed_seconds)])


def _progress(state: ProjectState) -> list[str]:
    done = sum(1 for result in state.results.values() if result.status is TaskStatus.COMPLETED)
    tasks = [f"{done}/{len(state.tasks)} tasks"] if state.tasks else []
    return [*tasks, f"{usd(state.budget.spent_usd)} of {usd(state.budget.max_usd)}"]


def how_to_go_on(state: ProjectState, links: Links) -> str:
    """Return what is left undone and the very edit and command that go on, for a run that stopped early."""
    if state.status not in (
        ProjectStatus.BUDGET_EXHAUSTED, ProjectStatus.TIMED_OUT, ProjectStatus.PARTIAL, ProjectStatus.FAILED,
        ProjectStatus.INTERRUPTED, ProjectStatus.CANCELLED,
    ):  # fmt: skip
        return ""
    left = [f"`{code(task.id)[:_TITLE]}`" for task in state.tasks if status_of(state, task) is not TaskStatus.COMPLETED]
    more = f" and {len(left) - MAX_ROWS} more" if len(left) > MAX_ROWS else ""
    undone = f"Left undone: {', '.join(left[:MAX_ROWS])}{more}. " if left else ""
    if links.resumable:
        return undone + _RESUMES.get(state.status, "To go on, comment `/orchestrate resume`.")
    if links.number is not None and links.revisable:
        return f"{undone}To go on, comment `/orchestrate revise` on #{links.number} with what is left to do."
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
    """Return the tasks as a table that a phone can show, those beyond the first `MAX_ROWS` folded away."""
    rows = [_task_row(state, task) for task in state.tasks]
    head = ["", "Task", "Review", "Cost"]
    shown = table(head, rows[:MAX_ROWS])
    if len(rows) <= MAX_ROWS:
        return shown
    return f"{shown}\n\n{folded(f'{len(rows) - MAX_ROWS} more tasks', table(head, rows[MAX_ROWS:]))}"


def _task_row(state: ProjectState, task: Task) -> list[str]:
    result = state.results.get(task.id)
    judged = (result.review or result.evaluation) if result else None
    cost = usd(result.cost_usd) if result else ""
    name = f"`{code(task.id)[:_TITLE]}` {cell(task.title, _TITLE)}".rstrip()
    return [_GLYPHS[status_of(state, task)], name, f"{judged.score:.2f}" if judged else "", cost]


def status_of(state: ProjectState, task: Task) -> TaskStatus:
    """Return how a task stands; one that nobody began is pending."""
    result = state.results.get(task.id)
    return result.status if result else TaskStatus.PENDING


# what to look at


def _reasons(state: ProjectState, links: Links, *, cancelled: bool) -> list[str]:
    """Return why the run ended as it did, and what kept its pull request from being opened."""
    parts = []
    if state.status.ended and state.outcome.reason and not cancelled:
        parts.append(f"{one_line(state.outcome.reason)} {shown_code(state.outcome.code)}".rstrip())
    if state.offline:
        parts.append(OFFLINE_NOTE)
    if links.note:
        code_ = shown_code(Code.MISSING_PERMISSION) if links.number is None else ""
        parts.append(f"{one_line(links.note)} {code_}".rstrip())
    if links.number is None and links.url:
        parts.append(f"Branch `{code(links.branch)}`: [open a pull request]({links.url})")
    return parts


def _to_look_at(state: ProjectState) -> list[str]:
    """Return what failed, what reviews still find and what did not run, the worst of each first."""
    failed = [
        f"❌ `{code(task.id)[:_TITLE]}`: {_first_line(result.reason)} {shown_code(result.code or '')}".rstrip()
        for task in state.tasks
        if (result := state.results.get(task.id)) and result.status is TaskStatus.FAILED
    ]
    checks = [
        f"❌ `{code(it.validator)[:_TITLE]}` failed: {_first_line(it.detail)}" + (f", first {at}" if at else "")
        for it in state.validation
        if it.status is ValidationStatus.FAILED
        for at in [_place(it.findings[0]) if it.findings else ""]
    ]
    missed = [
        f"⚠️ `{code(it.validator)[:_TITLE]}` did not run: {_first_line(it.detail)}"
        for it in state.validation
        if it.status is ValidationStatus.NOT_RUN
    ]
    lines = []
    for group in (failed, checks, missed):
        lines += group[:MAX_LINES]
        lines += [f"and {len(group) - MAX_LINES} more of these"] if len(group) > MAX_LINES else []
    found = open_findings(state)
    if grave := [it for it in found if it.severity is not Severity.NOTE]:
        first = f"{_place(grave[0])} {cell(grave[0].message, 160)} {shown_code(grave[0].code or '')}".rstrip()
        lines.append(f"🔎 {len(grave)} open finding{'s' if len(grave) > 1 else ''}, the first at {first}")
    return lines


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return cell(lines[0], 200) if lines else "no reason was given"


def _place(finding: Finding) -> str:
    return f"`{code(finding.path)}:{finding.line}`"


# everything else


def _details(state: ProjectState) -> str:
    budget, known, decision = state.budget, state.forecast, state.architecture
    lines = [f"Run `{code(state.project_id)}`"]
    if known:
        above = ", which was too low" if budget.spent_usd > known.high_usd else ""
        lines.append(f"Forecast {usd(known.low_usd)} to {usd(known.high_usd)}{above}")
    if decision:
        words = (decision.structural_pattern, decision.topology, decision.api_paradigm, decision.data_paradigm)
        lines.append(f"Architecture: {', '.join(cell(word, 80) for word in words)}")
    models = dict.fromkeys(f"`{code(call.provider)}/{code(call.model)}`" for call in state.calls)
    if models:
        lines.append(f"Models: {', '.join(list(models)[:12])}")
    if state.sandbox:
        lines.append(f"Sandbox: {cell(state.sandbox, 160)}")
    lines += [cell(note, 200) for note in state.notes[:MAX_LINES]]
    if len(state.notes) > MAX_LINES:
        lines.append(f"and {len(state.notes) - MAX_LINES} more notes in the report")
    return listed(lines, len(lines))
