"""What reviewers and checks found in a run, over all attempts: what is open, what was resolved, who disagreed; pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from orchestrator.state import (
    REPAIR_PREFIX,
    Finding,
    ProjectState,
    Review,
    Severity,
    TaskResult,
    TaskStatus,
    ValidationStatus,
)

FAR_APART = 0.25
"""Two scores of one result that differ by this much are no longer the same opinion: a quarter of the scale."""


@dataclass(frozen=True, slots=True)
class Found:
    """One finding with the task it is about and who found it: a model, or a validator."""

    task_id: str
    by: str
    finding: Finding


def last_review(result: TaskResult) -> Review | None:
    """Return the last review that a task had, though a later version of it failed its checks and had none."""
    return result.review or next((it.review for it in reversed(result.earlier) if it.review), None)


def superseded(state: ProjectState) -> frozenset[str]:
    """Return the repairs that failed before a later one passed: nothing that they wrote is in the result."""
    repairs = [task.id for task in state.tasks if task.id.startswith(REPAIR_PREFIX) and task.id in state.results]
    passed = [place for place, one in enumerate(repairs) if state.results[one].status is TaskStatus.COMPLETED]
    before = repairs[: passed[-1]] if passed else []
    return frozenset(one for one in before if state.results[one].status is TaskStatus.FAILED)


def open_reviews(state: ProjectState) -> tuple[Found, ...]:
    """Return what the last review found of each task that counts, each finding once, errors first."""
    gone = superseded(state)
    found = [
        Found(result.task_id, review.model, finding)
        for result in state.results.values()
        if result.task_id not in gone and (review := last_review(result))
        for finding in review.coded
    ]
    first = {it.finding: it for it in reversed(found)}
    return tuple(
        sorted(first.values(), key=lambda it: (_WEIGHT[it.finding.severity], it.finding.path, it.finding.line))
    )


def resolved(state: ProjectState) -> tuple[Found, ...]:
    """Return what earlier reviews and checks of a task found and later ones no longer did, each finding once."""
    found = [it for result in state.results.values() for it in (*_reviewed(result), *_checked(result))]
    return tuple({(it.task_id, _same(it.finding)): it for it in reversed(found)}.values())[::-1]


def disagreements(state: ProjectState) -> tuple[tuple[str, str], ...]:
    """Return who contradicts whom, and about what, as a heading and a sentence of plain text."""
    return (*_reviewers(state), *_reviewer_and_checks(state), *_reviewer_and_judge(state))


_WEIGHT = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def _same(finding: Finding) -> tuple[str, str]:
    """Return what makes two findings the same one: lines move from version to version."""
    return finding.path, finding.message


def _reviewed(result: TaskResult) -> Iterator[Found]:
    last = last_review(result)
    still = {_same(finding) for finding in last.findings} if last else set()
    for attempt in result.earlier:
        if attempt.review and attempt.review is not last:
            for finding in attempt.review.coded:
                if _same(finding) not in still:
                    yield Found(result.task_id, attempt.review.model, finding)


def _checked(result: TaskResult) -> Iterator[Found]:
    still = {_same(finding) for check in result.validation for finding in check.findings}
    ran = {check.validator for check in result.validation if check.status is not ValidationStatus.NOT_RUN}
    for attempt in result.earlier:
        for check in attempt.validation:
            if check.validator in ran:
                for finding in check.coded:
                    if _same(finding) not in still:
                        yield Found(result.task_id, check.validator, finding)


def _reviewers(state: ProjectState) -> Iterator[tuple[str, str]]:
    """Yield where two reviewers of one task, each of its own version, came to opposite verdicts."""
    for result in state.results.values():
        reviews = [it.review for it in result.earlier if it.review]
        reviews += [result.review] if result.review else []
        for one, other in pairwise(reviews):
            if one.model != other.model and one.approved != other.approved:
                said = f"{one.model} {_verdict(one)}, {other.model} {_verdict(other)} the next version"
                yield "Two reviewers", f"{result.task_id}: {said}"


def _verdict(review: Review) -> str:
    return f"{'approved' if review.approved else 'sent back'} ({review.score:.2f})"


def _reviewer_and_checks(state: ProjectState) -> Iterator[tuple[str, str]]:
    failed = [
        (check.validator, finding)
        for check in state.validation
        if check.status is ValidationStatus.FAILED
        for finding in check.findings
    ]
    for task in state.tasks:
        result = state.results.get(task.id)
        if result is None or result.review is None:
            continue
        review = result.review
        if review.approved:
            for validator, finding in failed:
                if finding.path in task.files:
                    said = f"{task.id}: {review.model} approved it, {validator} fails at {finding.path}:{finding.line}"
                    yield "Reviewer and checks", said
                    break
        elif result.status is TaskStatus.FAILED and any(check.passed for check in result.validation):
            passed = ", ".join(check.validator for check in result.validation if check.passed)
            yield "Reviewer and checks", f"{task.id}: {passed} passed, {review.model} {_verdict(review)} it"


def _reviewer_and_judge(state: ProjectState) -> Iterator[tuple[str, str]]:
    scores = [result.review.score for result in state.results.values() if result.review]
    if not scores or state.evaluation is None:
        return
    mean, judged = fmean(scores), state.evaluation.score
    if abs(mean - judged) >= FAR_APART:
        said = f"the reviews score {mean:.2f} on average, the final evaluation {judged:.2f}"
        yield "Reviewers and evaluator", said
