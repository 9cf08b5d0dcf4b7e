"""The report on a pull request: what a run cost, who reviewed it, what was decided and checked; pure Markdown.

Every text of a model or a stranger is put on one line and its cell marks are escaped; the publisher makes it inert.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from orchestrator.dependencies import NEW_DEPENDENCIES
from orchestrator.github.rendering.checks import ran, tested
from orchestrator.github.rendering.choices import choices_section
from orchestrator.github.rendering.findings import Found, disagreements, open_reviews, resolved
from orchestrator.github.rendering.graph import task_graph
from orchestrator.github.rendering.markdown import cell, code, fit, folded, listed, one_line, shown_code, table
from orchestrator.github.rendering.spending import budget_section
from orchestrator.github.rendering.status import ENDINGS, OFFLINE_NOTE, status_line, status_of, task_table
from orchestrator.state import (
    Finding,
    ProjectState,
    ProjectStatus,
    TaskResult,
    ValidationResult,
    ValidationStatus,
)

MAX_SECTION = 13_500
"""Four sections of this length, their heads and the notes make one comment: a long one never pushes another out."""
MAX_FINDINGS = 30
_NAME, _MESSAGE = 80, 400
_SECTION_CUT = "\n\n… cut here: the run's report.json holds the rest."
_ADR = re.compile(r"(?:^|/)(?:adrs?|decisions|architecture-decisions)/\d{1,6}[-_][^/]+\.md\Z", re.IGNORECASE)

_VALIDATION_WORDS = {
    ValidationStatus.PASSED: "✅ passed",
    ValidationStatus.FAILED: "❌ failed",
    ValidationStatus.NOT_RUN: "⚠️ not run",
}


def report_comment(state: ProjectState, notes: Sequence[str] = (), *, tree_url: str = "") -> str:
    """Return the report: budget, review, architecture and validation.

    `tree_url` is where the branch's files are shown, without a slash at its end; empty where there is none.
    """
    said = f"{one_line(state.outcome.reason)} {shown_code(state.outcome.code)}".strip()
    head = [f"**{ENDINGS.get(state.status, 'Running')}.** {said}".rstrip()]
    if state.offline:
        head.append(OFFLINE_NOTE)
    sections = (
        ("Budget", budget_section(state)),
        ("Review", review_section(state)),
        ("Architecture", architecture_section(state, tree_url)),
        ("Validation", validation_section(state)),
    )
    parts = [f"## {title}\n\n{fit(text, MAX_SECTION, _SECTION_CUT)}" for title, text in sections]
    tail = [f"- {one_line(note)}" for note in (*notes, *state.notes)]
    return fit("\n\n".join([*head, *parts, *(["### Notes\n\n" + "\n".join(tail)] if tail else [])]))


# review


def review_section(state: ProjectState) -> str:
    """Return who wrote and who reviewed, what is open, who disagreed, what was resolved, and why these models."""
    rows, alone = [], False
    for task in state.tasks:
        result = state.results.get(task.id)
        if result is None or not result.model:
            continue
        alone = alone or bool(result.review and result.review.same_provider)
        writer = f"`{code(result.model)}` ({cell(result.provider, _NAME)})"
        rows.append([f"`{code(task.id)[:_NAME]}`", writer, *_judgement(result), str(result.attempts)])
    found, mended = open_reviews(state), resolved(state)
    parts = []
    if not rows:
        parts.append("Nothing was reviewed.")
    if alone:
        parts.append("No other provider is allowed, so the writer's own model reviewed its work.")
    if found:
        parts.append(f"Open findings ({len(found)}):\n\n{listed([_found(it) for it in found], MAX_FINDINGS)}")
    elif rows:
        parts.append("No open findings.")
    if apart := disagreements(state):
        lines = [f"**{head}**: {one_line(said)}" for head, said in apart]
        parts.append(f"Disagreements:\n\n{listed(lines, MAX_FINDINGS)}")
    if state.evaluation:
        judge = f" (`{code(state.evaluation.model)}`)" if state.evaluation.model else ""
        parts.append(f"Against the criteria: {state.evaluation.score:.2f}{judge}. {one_line(state.evaluation.reason)}")
    if rows:
        parts.append(table(["Task", "Written by", "Reviewed by", "Score", "Verdict", "Attempts"], rows))
    if mended:
        lines = [_found(it) for it in mended]
        parts.append(folded(f"Resolved on the way ({len(mended)})", listed(lines, MAX_FINDINGS)))
    if new := next((it for it in state.validation if it.validator == NEW_DEPENDENCIES), None):
        parts.append(f"New dependencies:\n\n{listed([one_line(it) for it in new.detail.splitlines()], MAX_FINDINGS)}")
    if why := choices_section({name: result.routes for name, result in state.results.items()}):
        parts.append(folded("Why these models", why))
    return "\n\n".join(parts)


def _judgement(result: TaskResult) -> list[str]:
    """Return who reviewed a task's last version, or judged the document that it is, the score and the verdict."""
    if review := result.review:
        verdict = "approved" if review.approved else "changes requested"
        return [f"`{code(review.model)}` ({cell(review.provider, _NAME)})", f"{review.score:.2f}", verdict]
    if judged := result.evaluation:
        return [f"`{code(judged.model)}`", f"{judged.score:.2f}", "a document: judged, not reviewed"]
    return ["nobody", "", "not reviewed"]


def _found(it: Found) -> str:
    return (
        f"{it.finding.severity.value} · {_line(it.finding)} · `{code(it.task_id)[:_NAME]}`, by `{code(it.by)[:_NAME]}`"
    )


def _line(finding: Finding) -> str:
    said = one_line(finding.message)
    said = said if len(said) <= _MESSAGE else f"{said[: _MESSAGE - 1]}…"
    return f"`{code(finding.path)}:{finding.line}` {said} {shown_code(finding.code or '')}".rstrip()


# architecture


def architecture_section(state: ProjectState, tree_url: str = "") -> str:
    """Return the decision, its rationale, the link to its record in the branch, and the graph of tasks."""
    parts = [decision_section(state)]
    if tree_url and (path := adr_path(state.files)):
        parts.append(f"Recorded in [`{code(path)}`]({tree_url}/{quote(path)}).")
    if state.tasks:
        parts.append(task_graph(state.tasks, {task.id: status_of(state, task) for task in state.tasks}))
    return "\n\n".join(parts)


def decision_section(state: ProjectState) -> str:
    """Return the decision and its rationale."""
    decision = state.architecture
    if decision is None:
        return "No architecture was decided."
    rows = [
        ["Structural pattern", cell(decision.structural_pattern, _NAME)],
        ["Topology", cell(decision.topology, _NAME)],
        ["API paradigm", cell(decision.api_paradigm, _NAME)],
        ["Data paradigm", cell(decision.data_paradigm, _NAME)],
    ]
    return "\n\n".join(part for part in (table(["Decision", ""], rows), one_line(decision.rationale)) if part)


def adr_path(files: Sequence[str]) -> str:
    """Return the architecture decision record among a run's files, by the names of such folders; empty without one."""
    return next((path for path in files if _ADR.search(path)), "")


# validation


def validation_section(state: ProjectState) -> str:
    """Return what ran, where, what did not and why, and every finding."""
    rung = f"Sandbox: {cell(state.sandbox).rstrip('.')}." if state.sandbox else "No sandbox was used."
    if not state.validation:
        return f"Nothing was validated. {rung}"
    rows = [
        [f"`{code(it.validator)[:_NAME]}`", _VALIDATION_WORDS[it.status], cell(it.detail, 200)]
        for it in state.validation
    ]
    parts = [table(["Validator", "Result", "Detail"], rows), rung]
    if not ran(state):
        parts.append("No validator ran, so nothing is known to work.")
    elif not tested(state):
        parts.append(
            "No test ran, so nothing shows that it works: add a test, or name a command in `validation.commands`."
        )
    parts += [_validator_findings(it) for it in state.validation if it.findings]
    return "\n\n".join(parts)


def _validator_findings(result: ValidationResult) -> str:
    return f"`{code(result.validator)}`:\n\n{listed([_line(it) for it in result.coded], MAX_FINDINGS)}"


# the pull request's own text


def pull_request_body(state: ProjectState, issue: int | None, notes: Sequence[str] = ()) -> str:
    """Return the pull request's own text: the summary, and `Closes #N` only when the run is completed."""
    done = state.status is ProjectStatus.COMPLETED
    parts = [one_line(state.title), status_line(state)]
    if issue is not None:
        parts.append(f"{'Closes' if done else 'Part of'} #{issue}")
    if not done and state.outcome.reason:
        parts.append(f"Not finished: {one_line(state.outcome.reason)} {shown_code(state.outcome.code)}".rstrip())
    if state.offline:
        parts.append(OFFLINE_NOTE)
    parts += [one_line(note) for note in notes]
    if state.tasks:
        parts.append(task_table(state))
    parts.append("Budget, review, architecture and validation are in the report comment and the checks.")
    return fit("\n\n".join(parts))
