"""What people read on GitHub about a run: pure Markdown from its state, within GitHub's limits.

Every text of a model or a stranger is put on one line and its cell marks are escaped; the publisher makes it inert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import SpecFinding
from orchestrator.github.checks import (
    MAX_ANNOTATIONS,
    CheckRun,
    annotations_for,
    architecture_verdict,
    budget_verdict,
    open_findings,
    ran,
    review_verdict,
    validation_verdict,
)
from orchestrator.github.markdown import cell, code, duration, fit, one_line, table, usd
from orchestrator.state import (
    CallRecord,
    ProjectState,
    ProjectStatus,
    Task,
    TaskResult,
    TaskStatus,
    ValidationResult,
    ValidationStatus,
)

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
_VALIDATION_WORDS = {
    ValidationStatus.PASSED: "✅ passed",
    ValidationStatus.FAILED: "❌ failed",
    ValidationStatus.NOT_RUN: "⚠️ not run",
}


def status_mark(run_id: str) -> str:
    """Return the mark of a run's status comment."""
    return f"<!-- orchestrator:status run={run_id} -->"


def report_mark(run_id: str) -> str:
    """Return the mark of a run's report comment."""
    return f"<!-- orchestrator:report run={run_id} -->"


def note_mark(run_id: str) -> str:
    """Return the mark of a run's answer: a refusal, a broken spec, help."""
    return f"<!-- orchestrator:note run={run_id} -->"


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


# the status comment on the issue


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
        parts.append(_task_table(state))
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
    left = [task.id for task in state.tasks if _status_of(state, task) is not TaskStatus.COMPLETED]
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


def _task_table(state: ProjectState) -> str:
    rows = []
    for task in state.tasks:
        result = state.results.get(task.id)
        model = f"`{code(result.model)}`" if result and result.model else ""
        cost = usd(result.cost_usd) if result else ""
        score = f"{result.score:.2f}" if result and result.review else ""
        rows.append(
            [_GLYPHS[_status_of(state, task)], f"`{code(task.id)}`", cell(task.title), model, score, cost]
        )  # fmt: skip
    return table(["", "Task", "What", "Model", "Review", "Cost"], rows)


def _status_of(state: ProjectState, task: Task) -> TaskStatus:
    result = state.results.get(task.id)
    return result.status if result else TaskStatus.PENDING


# the report comment on the pull request


def report_comment(state: ProjectState, notes: Sequence[str] = ()) -> str:
    """Return the report: budget, review, architecture and validation."""
    head = [f"**{ENDINGS.get(state.status, 'Running')}.** {one_line(state.outcome.reason)}".rstrip()]
    if state.offline:
        head.append(OFFLINE_NOTE)
    sections = [
        f"## Budget\n\n{budget_section(state)}",
        f"## Review\n\n{review_section(state)}",
        f"## Architecture\n\n{architecture_section(state)}",
        f"## Validation\n\n{validation_section(state)}",
    ]
    tail = [f"- {one_line(note)}" for note in (*state.notes, *notes)]
    return fit("\n\n".join([*head, *sections, *(["### Notes\n\n" + "\n".join(tail)] if tail else [])]))


def budget_section(state: ProjectState) -> str:
    """Return forecast against actual, then per purpose, per model and per task."""
    forecast = f"{usd(state.forecast.low_usd)} to {usd(state.forecast.high_usd)}" if state.forecast else "none"
    lines = [
        f"Spent {usd(state.budget.spent_usd)} of {usd(state.budget.max_usd)}; forecast {forecast}; "
        f"{duration(state.budget.elapsed_seconds)} of {duration(state.budget.max_time_seconds)}; "
        f"{len(state.calls)} answers."
    ]
    if any(call.estimated for call in state.calls):
        lines.append("Some answers were lost in a crash and count at what was reserved for them.")
    for title, key in _GROUPS:
        if state.calls:
            lines.append(_spending(title, state.calls, key))
    return "\n\n".join(lines)


_GROUPS: tuple[tuple[str, Callable[[CallRecord], str]], ...] = (
    ("Purpose", lambda call: call.purpose.value),
    ("Model", lambda call: f"{call.provider}/{call.model}"),
    ("Task", lambda call: call.task_id or "(whole run)"),
)


def _spending(title: str, calls: Iterable[CallRecord], key: Callable[[CallRecord], str]) -> str:
    groups: dict[str, list[CallRecord]] = defaultdict(list)
    for call in calls:
        groups[key(call)].append(call)
    rows = [
        [
            f"`{code(name)}`",
            str(len(found)),
            f"{sum(call.input_tokens for call in found):,}",
            f"{sum(call.output_tokens for call in found):,}",
            usd(sum(call.cost_usd for call in found)),
        ]
        for name, found in groups.items()
    ]
    return table([title, "Calls", "Tokens in", "Tokens out", "Cost"], rows)


def review_section(state: ProjectState) -> str:
    """Return who wrote and who reviewed, and every finding that is still open."""
    rows, alone = [], False
    for task in state.tasks:
        result = state.results.get(task.id)
        if result is None or not result.model:
            continue
        alone = alone or bool(result.review and result.review.same_provider)
        writer = f"`{code(result.model)}` ({cell(result.provider)})"
        rows.append([f"`{code(task.id)}`", writer, *_judgement(result), str(result.attempts)])
    parts = [table(["Task", "Written by", "Reviewed by", "Score", "Verdict", "Attempts"], rows)] if rows else []
    if alone:
        parts.append("No other provider is allowed, so the writer's own model reviewed its work.")
    findings = open_findings(state)
    listed = [f"- {f.severity.value} · `{code(f.path)}:{f.line}` {one_line(f.message)}" for f in findings]
    parts.append("Open findings:\n\n" + "\n".join(listed) if listed else "No open findings.")
    if state.evaluation:
        parts.append(f"Against the criteria: {state.evaluation.score:.2f}. {one_line(state.evaluation.reason)}")
    return "\n\n".join(parts if rows else ["Nothing was reviewed.", *parts[:-1]])


def _judgement(result: TaskResult) -> list[str]:
    """Return who reviewed a task's last version, or judged the document that it is, the score and the verdict."""
    if review := result.review:
        verdict = "approved" if review.approved else "changes requested"
        return [f"`{code(review.model)}` ({cell(review.provider)})", f"{review.score:.2f}", verdict]
    if judged := result.evaluation:
        return [f"`{code(judged.model)}`", f"{judged.score:.2f}", "a document: judged, not reviewed"]
    return ["nobody", "", "not reviewed"]


def architecture_section(state: ProjectState) -> str:
    """Return the decision, its rationale and the graph of tasks."""
    parts = ["No architecture was decided."]
    if decision := state.architecture:
        rows = [
            ["Structural pattern", cell(decision.structural_pattern)],
            ["Topology", cell(decision.topology)],
            ["API paradigm", cell(decision.api_paradigm)],
            ["Data paradigm", cell(decision.data_paradigm)],
        ]
        parts = [table(["Decision", ""], rows), one_line(decision.rationale)]
    if state.tasks:
        parts.append(task_graph(state.tasks))
    return "\n\n".join(part for part in parts if part)


def task_graph(tasks: Sequence[Task]) -> str:
    """Return the tasks as a Mermaid graph; node names are ours, titles quoted without Mermaid's own marks."""
    names = {task.id: f"t{number}" for number, task in enumerate(tasks, 1)}
    lines = ["```mermaid", "graph TD"]
    for task in tasks:
        lines.append(f'    {names[task.id]}["{_mermaid(task.id)}: {_mermaid(task.title)}"]')
    for task in tasks:
        lines += [f"    {names[before]} --> {names[task.id]}" for before in task.depends_on if before in names]
    return "\n".join([*lines, "```"])


def _mermaid(text: str) -> str:
    flat = "".join(letter if letter.isalnum() or letter in " .,_/()-:" else " " for letter in " ".join(text.split()))
    return " ".join(flat.split())[:80]


def validation_section(state: ProjectState) -> str:
    """Return what ran, where, what did not and why, and every finding."""
    rung = f"Sandbox: {cell(state.sandbox).rstrip('.')}." if state.sandbox else "No sandbox was used."
    if not state.validation:
        return f"Nothing was validated. {rung}"
    rows = [[f"`{code(it.validator)}`", _VALIDATION_WORDS[it.status], cell(it.detail)] for it in state.validation]
    parts = [table(["Validator", "Result", "Detail"], rows), rung]
    if not ran(state):
        parts.append("No validator ran, so nothing is known to work.")
    parts += [_validator_findings(it) for it in state.validation if it.findings]
    return "\n\n".join(parts)


def _validator_findings(result: ValidationResult) -> str:
    listed = [f"- `{code(f.path)}:{f.line}` {one_line(f.message)}" for f in result.findings]
    return f"`{code(result.validator)}`:\n\n" + "\n".join(listed)


def pull_request_body(state: ProjectState, issue: int | None, notes: Sequence[str] = ()) -> str:
    """Return the pull request's own text: the summary, and `Closes #N` only when the run is completed."""
    done = state.status is ProjectStatus.COMPLETED
    parts = [one_line(state.title), status_line(state)]
    if issue is not None:
        parts.append(f"{'Closes' if done else 'Part of'} #{issue}")
    if not done and state.outcome.reason:
        parts.append(f"Not finished: {one_line(state.outcome.reason)}")
    if state.offline:
        parts.append(OFFLINE_NOTE)
    parts += [one_line(note) for note in notes]
    if state.tasks:
        parts.append(_task_table(state))
    parts.append("Budget, review, architecture and validation are in the report comment and the checks.")
    return fit("\n\n".join(parts))


def plan_comment(state: ProjectState, *, approvable: bool = False) -> str:
    """Return the plan: architecture, tasks and what it is expected to cost; an `approvable` one is built on a word."""
    lead = "Plan" if state.tasks else ENDINGS.get(state.status, "No plan")
    cost = f" · forecast {usd(state.forecast.low_usd)} to {usd(state.forecast.high_usd)}" if state.forecast else ""
    parts = [f"{lead}: {len(state.tasks)} tasks{cost} · {usd(state.budget.spent_usd)} spent on planning"]
    if state.offline:
        parts.append(OFFLINE_NOTE)
    if state.outcome.reason:
        parts.append(one_line(state.outcome.reason))
    parts.append(architecture_section(state))
    if state.tasks:
        rows = []
        for task in state.tasks:
            low, high = state.forecast.by_task.get(task.id, (0.0, 0.0)) if state.forecast else (0.0, 0.0)
            chosen = state.forecast.models.get(task.id, "") if state.forecast else ""
            model = f"`{code(chosen)}`" if chosen else ""
            price = f"{usd(low)} to {usd(high)}" if state.forecast else ""
            rows.append([f"`{code(task.id)}`", cell(task.title), cell(", ".join(task.depends_on)), model, price])
        parts.append(table(["Task", "What", "After", "Model", "Forecast"], rows))
        word = "/orchestrate approve" if approvable else "/orchestrate"
        parts.append(f"Nothing was built. To build it, comment `{word}`.")
    return fit("\n\n".join(parts))


# answers without a run


def help_comment() -> str:
    """Return the commands, and which of them this version answers."""
    rows = [
        [
            "`/orchestrate [run] [--budget USD] [--app-type X] [--base BRANCH] [text]`",
            "plans, builds, opens a pull request",
        ],
        ["`/orchestrate plan`", "architecture, tasks and forecast; builds nothing"],
        ["`/orchestrate approve`", "builds a plan that waits; when the spec has changed since, plans and asks again"],
        ["`/orchestrate status`", "brings the run's status comment up to date"],
        ["`/orchestrate cancel`", "stops the run; what was built so far becomes a draft pull request"],
        ["`/orchestrate resume [--budget USD]`", "goes on with a run that stopped early, on the same branch"],
        ["`/orchestrate revise TEXT`", "on a pull request of ours: another round with TEXT as feedback, on its branch"],
        ["`/orchestrate ci`", "on a pull request of ours: lets the repository's CI run on its head"],
        ["`/orchestrate help`", "this list"],
    ]
    return "Commands, at the start of a line:\n\n" + table(["Command", "Effect"], rows)


def refusal_comment(message: str, lead: str = "Not started") -> str:
    """Return a refusal: what is wrong, and what to write instead."""
    return f"{lead}: {message}\n\n`/orchestrate help` lists the commands."


def spec_comment(findings: Sequence[SpecFinding]) -> str:
    """Return what is wrong in the spec file, at its lines."""
    lines = [f"- `{code(f.path)}:{f.line}` `{code(f.field)}`: {one_line(f.message)}" for f in findings]
    path = code(findings[0].path) if findings else ".orchestrator.yaml"
    return fit(
        f"Not started: `{path}` has errors. Correct them on the default branch and ask again.\n\n" + "\n".join(lines)
    )


# the check runs, whose summaries are the report's sections


def check_runs(state: ProjectState, *, single: bool = False) -> tuple[CheckRun, ...]:
    """Return the four check runs of an ended run, or with `single` all in `orchestrator/run`."""
    validation = [finding for it in state.validation for finding in it.findings]
    parts = (
        ("budget", budget_verdict(state), budget_section(state), ()),
        ("review", review_verdict(state), review_section(state), annotations_for(open_findings(state), "review")),
        ("architecture", architecture_verdict(state), architecture_section(state), ()),
        ("validation", validation_verdict(state), validation_section(state), annotations_for(validation, "validation")),
    )
    said = f"{OFFLINE_NOTE}\n\n" if state.offline else ""
    runs = tuple(
        CheckRun(f"orchestrator/{name}", verdict[0], verdict[1][:255], fit(said + text), notes)
        for name, verdict, text, notes in parts
    )
    if not single:
        return runs
    worst = max((run.conclusion for run in runs), key=_SEVERITY.index)
    titles = "; ".join(f"{run.name.removeprefix('orchestrator/')}: {run.title}" for run in runs)
    summary = "\n\n".join(f"## {run.name.removeprefix('orchestrator/').title()}\n\n{run.summary}" for run in runs)
    notes = tuple(note for run in runs for note in run.annotations)[:MAX_ANNOTATIONS]
    return (CheckRun("orchestrator/run", worst, titles[:255], fit(summary), notes),)


_SEVERITY = ("success", "action_required", "cancelled", "timed_out", "failure")
