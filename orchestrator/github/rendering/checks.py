"""The check runs of a run: what each concludes, says and annotates; pure.

A conclusion is success, failure, cancelled, timed_out or action_required, never neutral or skipped, since those
satisfy a required check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import SpecFinding
from orchestrator.github.rendering.findings import open_reviews, superseded
from orchestrator.state import Finding, ProjectState, ProjectStatus, Severity, TaskStatus, ValidationStatus
from orchestrator.task_types import is_critical
from orchestrator.validators.plan import DEPENDENCIES, NPM_TEST, PYTEST, VALIDATORS

Conclusion = Literal["success", "failure", "cancelled", "timed_out", "action_required"]
Level = Literal["notice", "warning", "failure"]

SPEC_CHECK = "orchestrator/spec"
MAX_TEXT = 65_535
"""Bytes of a summary as UTF-8: GitHub refuses more with "exceeds a maximum bytesize of 65535"."""
ANNOTATIONS_A_REQUEST = 50
"""https://docs.github.com/en/rest/checks/runs#update-a-check-run"""
MAX_ANNOTATIONS = 1_000
NAMES = ("orchestrator/budget", "orchestrator/review", "orchestrator/architecture", "orchestrator/validation")
SINGLE_NAME = "orchestrator/run"
"""What `checks: one` puts in their place."""

_LEVELS: dict[Severity, Level] = {
    Severity.ERROR: "failure",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
}
_NO_TESTS = frozenset({*VALIDATORS, DEPENDENCIES} - {PYTEST, NPM_TEST})
_STOPPED: dict[ProjectStatus, Conclusion] = {
    ProjectStatus.CANCELLED: "cancelled",
    ProjectStatus.TIMED_OUT: "timed_out",
}


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark at a line; lines count from 1."""

    path: str
    line: int
    level: Level
    message: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """What a completed check run offers; a press comes back as `check_run.requested_action` with the identifier.

    GitHub allows 20 letters for the label, 40 for the description and 20 for the identifier, and three buttons.
    Source: https://docs.github.com/en/rest/checks/runs#create-a-check-run
    """

    label: str
    description: str
    identifier: str


RETRY_FAILED = Button("Retry failed", "Go on with what is not done yet", "retry_failed")
REVISE_FINDINGS = Button("Revise with findings", "Another round with these findings", "revise_findings")


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A finished check run; `summary` is Markdown, cut where it is published; `buttons` are shown where they are heard.

    A `shared` one is about the commit alone: there is one of its name, whichever run or delivery made it.
    """

    name: str
    conclusion: Conclusion
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    shared: bool = False
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningCheck:
    """A check run in progress: how far the round that works on its commit is."""

    name: str
    title: str
    summary: str


def ran(state: ProjectState) -> bool:
    """Tell whether at least one validator ran on the whole result."""
    return any(it.status is not ValidationStatus.NOT_RUN for it in state.validation)


def open_findings(state: ProjectState) -> tuple[Finding, ...]:
    """Return the findings of each task's last review, each once with its code, errors first."""
    return tuple(it.finding for it in open_reviews(state))


def budget_verdict(state: ProjectState) -> tuple[Conclusion, str]:
    """Return the conclusion of `orchestrator/budget` and its title."""
    money = f"${state.budget.spent_usd:.2f} of ${state.budget.max_usd:.2f}"
    if state.status in _STOPPED:
        return _STOPPED[state.status], f"{money}, stopped"
    if state.status is ProjectStatus.BUDGET_EXHAUSTED or state.budget.spent > state.budget.max_usd * 10**12:
        return "failure", f"{money}: the budget is used up"
    return "success", f"{money} spent"


def review_verdict(state: ProjectState) -> tuple[Conclusion, str]:
    """Return the conclusion of `orchestrator/review` and its title."""
    errors = [it for it in open_findings(state) if it.severity is Severity.ERROR]
    wanted = _counted(state)
    built = [it for it in state.results.values() if it.status is TaskStatus.COMPLETED]
    judged = {task.id for task in state.tasks if not is_critical(task)}
    approved = [it for it in built if (it.review and it.review.approved) or (it.evaluation and it.task_id in judged)]
    if state.status is ProjectStatus.CANCELLED:
        return "cancelled", "cancelled before every task was reviewed"
    if errors:
        return "failure", f"{len(errors)} open error{'s' if len(errors) > 1 else ''}"
    if not approved or len(approved) < wanted:
        return "failure", f"{len(approved)} of {wanted} tasks approved"
    if any(it.review and it.review.same_provider for it in built):
        return "success", f"{len(approved)} tasks approved, by the provider that wrote them: no other is allowed"
    return "success", f"{len(approved)} of {wanted} tasks approved"


def architecture_verdict(state: ProjectState) -> tuple[Conclusion, str]:
    """Return the conclusion of `orchestrator/architecture` and its title."""
    wanted = _counted(state)
    done = sum(1 for it in state.results.values() if it.status is TaskStatus.COMPLETED)
    if state.architecture is None or not state.tasks:
        return _STOPPED.get(state.status, "failure"), "nothing was planned"
    if done < wanted:
        return _STOPPED.get(state.status, "failure"), f"{done} of {wanted} tasks built"
    return "success", " ".join(f"{state.architecture.structural_pattern}, {wanted} tasks".split())


def _counted(state: ProjectState) -> int:
    """Return how many tasks a run's result is made of."""
    return len(state.tasks) - len(superseded(state))


def check_names(*, single: bool) -> tuple[str, ...]:
    """Return the names of a run's check runs; `single` is what `checks: one` asks for."""
    return (SINGLE_NAME,) if single else NAMES


def tested(state: ProjectState) -> bool:
    """Tell whether a test ran to its end on the whole result; the spec's own commands count as tests."""
    over = (ValidationStatus.PASSED, ValidationStatus.FAILED)
    return any(it.status in over and it.validator not in _NO_TESTS for it in state.validation)


def validation_verdict(state: ProjectState) -> tuple[Conclusion, str]:
    """Return the conclusion of `orchestrator/validation` and its title; it fails when no test ran."""
    failed = [it.validator for it in state.validation if it.status is ValidationStatus.FAILED]
    missed = [it.validator for it in state.validation if it.status is ValidationStatus.NOT_RUN]
    passed = [it.validator for it in state.validation if it.status is ValidationStatus.PASSED]
    said = f"passed: {', '.join(passed)}" + (f"; not run: {', '.join(missed)}" if missed else "")
    if failed:
        return "failure", f"failed: {', '.join(failed)}"
    if not passed:
        return _STOPPED.get(state.status, "failure"), "nothing ran"
    if not tested(state):
        return _STOPPED.get(state.status, "failure"), f"no test ran; {said}"
    if missed and state.status is not ProjectStatus.COMPLETED:
        return "action_required", f"not run: {', '.join(missed)}"
    return "success", said


def buttons_for(state: ProjectState, annotations: Sequence[Annotation]) -> tuple[Button, ...]:
    """Return the buttons of a check run: retry for a run that ended unfinished, revise where there are findings."""
    retry = state.status.ended and state.status is not ProjectStatus.COMPLETED
    return (*([RETRY_FAILED] if retry else []), *([REVISE_FINDINGS] if annotations else []))


def annotations_for(findings: Sequence[Finding], title: str = "") -> tuple[Annotation, ...]:
    """Return findings as annotations, at most 1,000."""
    return tuple(
        Annotation(it.path, max(1, it.line), _LEVELS[it.severity], it.message or title or "finding", _titled(title, it))
        for it in findings[:MAX_ANNOTATIONS]
        if it.path
    )


def _titled(title: str, finding: Finding) -> str:
    """Return an annotation's title: where it comes from, the finding's code, and the tool's own name for it."""
    said = " ".join(part for part in (finding.code, finding.rule) if part)
    return f"{title}: {said}" if title and said else title or said


def spec_check(findings: Sequence[SpecFinding]) -> CheckRun:
    """Return the check run of the spec file: every error at its line, or success."""
    if not findings:
        return CheckRun(SPEC_CHECK, "success", "The spec is valid", "Every field is known and in range.", shared=True)
    lines = "\n".join(
        f"- `{it.path}:{it.line}` `{it.field}`: {' '.join(it.message.split())} (code `{it.code}`)" for it in findings
    )
    notes = tuple(
        Annotation(it.path, max(1, it.line), "failure", it.message, it.field) for it in findings[:MAX_ANNOTATIONS]
    )
    count = f"{len(findings)} error{'s' if len(findings) > 1 else ''}"
    return CheckRun(SPEC_CHECK, "failure", f"{count} in {findings[0].path}", lines[:MAX_TEXT], notes, shared=True)
