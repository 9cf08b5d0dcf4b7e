from __future__ import annotations

from dataclasses import replace

from orchestrator.github.reviews.review_text import remarks_of, review_check, review_comment, review_lead
from orchestrator.state import (
    CallRecord,
    Finding,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Review,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
)
from tests.unit.orchestrator.github.states import budget

HEAD = "0123456789abcdef"
ZERO = Finding("a.py", 5, "Divides the sum by zero.\n\n```suggestion\nreturn 1\n```")
ZERO_TOO = Finding("a.py", 6, "The sum is divided by zero here.", Severity.WARNING)
NAME = Finding("a.py", 9, "Reads | like\n# a heading", Severity.NOTE)


def _result(name: str, provider: str, *findings: Finding, approved: bool = True, score: float = 0.9) -> TaskResult:
    review = Review(provider, f"{provider}-x", score, approved, findings)
    return TaskResult(name, TaskStatus.COMPLETED, score, f"{provider}-x", provider, 1, review=review)


def _state(*results: TaskResult, status: ProjectStatus = ProjectStatus.COMPLETED, reason: str = "") -> ProjectState:
    tasks = tuple(Task(it.task_id, it.task_id, TaskType.CODE_REVIEW, "Review the diff.") for it in results)
    calls = tuple(
        CallRecord(it.task_id, Purpose.REVIEW, it.provider, it.model, 900, 100, 0.02) for it in results if it.review
    )
    return ProjectState(
        project_id="r-aaaaaaaaaaaaaaaa",
        title="Add a mean",
        description="It adds one.",
        criteria="",
        budget=budget(0.04, 61.0),
        status=status,
        tasks=tasks,
        results={it.task_id: it for it in results},
        calls=calls,
        forecast=Forecast(0.02, 0.09, {}, {}),
        outcome=Outcome("reviewed", reason),
        notes=("GitHub shows no text of these changes, so that nobody reviewed them: logo.png.",),
    )


DIVIDED = _state(
    _result("first", "openai", ZERO, NAME, approved=False, score=0.4), _result("second", "anthropic", ZERO_TOO)
)


def test_the_comment_says_who_said_what_where_they_disagree_and_what_it_cost() -> None:
    assert review_comment(DIVIDED, HEAD, ["The head has moved since; this is about 0123456789ab."]) == (
        "Reviewed: openai requests changes, anthropic approves: 2 findings, 1 of them by both"
        " · $0.04 of $5.00 · 1 min\n\n"
        "**They disagree**: openai requests changes, anthropic approves.\n\n"
        "| Provider | Model | Verdict | Score | Findings |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| openai | `openai-x` | requests changes | 0.40 | 2 |\n"
        "| anthropic | `anthropic-x` | approves | 0.90 | 1 |\n\n"
        "### Found by both\n\n"
        "- error · `a.py:5` Divides the sum by zero.\n\n"
        "### Found by openai only\n\n"
        "- note · `a.py:9` Reads | like # a heading\n\n"
        "### Notes\n\n"
        "- GitHub shows no text of these changes, so that nobody reviewed them: logo.png.\n"
        "- The head has moved since; this is about 0123456789ab.\n\n"
        "## Budget\n\n"
        "Spent $0.04 of $5.00; forecast $0.02 to $0.09; 2 answers.\n\n"
        "| Model | Tokens in | Tokens out | Cost |\n"
        "| --- | --- | --- | --- |\n"
        "| `openai/openai-x` | 900 | 100 | $0.02 |\n"
        "| `anthropic/anthropic-x` | 900 | 100 | $0.02 |\n\n"
        "Of the commit 0123456789ab; nothing of the change was run, and nothing was pushed. "
        "To ask again, comment `/orchestrate review`."
    )
    assert [(it.by, it.finding.line) for it in remarks_of(DIVIDED)] == [("openai and anthropic", 5), ("openai", 9)]
    assert review_lead(DIVIDED).startswith("openai requests changes, anthropic approves: 2 findings")


def test_the_check_fails_where_one_requests_changes_and_annotates_every_finding() -> None:
    check = review_check(DIVIDED)
    assert (check.name, check.conclusion, check.shared) == ("orchestrator/review", "failure", True)
    assert [(it.path, it.line, it.level, it.message) for it in check.annotations] == [
        ("a.py", 5, "failure", "Divides the sum by zero."),
        ("a.py", 9, "notice", "Reads | like\n# a heading"),
    ]


def test_the_check_passes_only_when_everybody_approves_of_the_whole_change() -> None:
    both = (_result("first", "openai"), _result("second", "anthropic"))
    skipped = TaskResult("second", TaskStatus.SKIPPED, reason="Only openai may be asked here.")
    states = {
        "success": _state(*both),
        "action_required": _state(*both, status=ProjectStatus.PARTIAL),
        "failure": _state(status=ProjectStatus.FAILED),
        "cancelled": _state(both[0], status=ProjectStatus.CANCELLED),
        "timed_out": _state(both[0], status=ProjectStatus.TIMED_OUT),
    }
    assert {name: review_check(state).conclusion for name, state in states.items()} == {name: name for name in states}
    alone = _state(both[0], skipped)
    assert review_check(alone).conclusion == "success"
    assert "Only openai may be asked here." in review_comment(alone, HEAD)


def test_a_review_that_did_not_end_well_says_why_and_an_offline_one_what_it_is() -> None:
    failed = _state(status=ProjectStatus.FAILED, reason="No model may answer the review call.")
    assert "\n\nNo model may answer the review call.\n\n" in review_comment(failed, HEAD)
    offline = _state(_result("first", "offline"))
    offline.offline = True
    assert "no language model read the change" in review_comment(offline, HEAD)
    assert "no language model read the change" in review_check(offline).summary
    nothing = replace(Outcome("", ""), code="nothing_to_do", reason="The change has no text to review.")
    empty = _state()
    empty.outcome = nothing
    assert review_check(empty).conclusion == "action_required"
