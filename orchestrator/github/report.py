"""The report on a pull request, of what a run cost, reviewed, decided and checked: pure Markdown from its state.

Every text of a model or a stranger is put on one line and its cell marks are escaped; the publisher makes it inert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from orchestrator.github.checks import open_findings, ran
from orchestrator.github.graph import task_graph
from orchestrator.github.markdown import cell, code, duration, fit, one_line, table, usd
from orchestrator.github.status import ENDINGS, OFFLINE_NOTE, status_line, task_table
from orchestrator.state import (
    CallRecord,
    ProjectState,
    ProjectStatus,
    TaskResult,
    ValidationResult,
    ValidationStatus,
)

_VALIDATION_WORDS = {
    ValidationStatus.PASSED: "✅ passed",
    ValidationStatus.FAILED: "❌ failed",
    ValidationStatus.NOT_RUN: "⚠️ not run",
}


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
        parts.append(task_table(state))
    parts.append("Budget, review, architecture and validation are in the report comment and the checks.")
    return fit("\n\n".join(parts))
