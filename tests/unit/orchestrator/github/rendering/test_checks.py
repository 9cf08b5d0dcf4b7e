from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.github.rendering import report
from orchestrator.github.rendering.checks import RETRY_FAILED, REVISE_FINDINGS, check_names, validation_verdict
from orchestrator.github.rendering.summaries import check_runs, running_checks
from orchestrator.state import (
    Finding,
    ProjectState,
    ProjectStatus,
    Review,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from tests.unit.orchestrator.github.states import completed, failing, running


@pytest.mark.parametrize(
    ("results", "conclusion", "title"),
    [
        ((("python_syntax", "passed"),), "failure", "no test ran; passed: python_syntax"),
        (
            (("ruff", "passed"), ("pytest", "not_run")),
            "failure",
            "no test ran; passed: ruff; not run: pytest",
        ),
        (
            (("dependencies", "passed"), ("npm_build", "passed")),
            "failure",
            "no test ran; passed: dependencies, npm_build",
        ),
        ((("pytest", "passed"),), "success", "passed: pytest"),
        ((("npm_test", "passed"), ("npm_lint", "not_run")), "success", "passed: npm_test; not run: npm_lint"),
        ((("python_syntax", "passed"), ("make test", "passed")), "success", "passed: python_syntax, make test"),
        ((("make test", "failed"),), "failure", "failed: make test"),
        ((), "failure", "nothing ran"),
    ],
)
def test_validation_fails_when_no_test_ran_and_the_specs_commands_are_tests(
    results: tuple[tuple[str, str], ...], conclusion: str, title: str
) -> None:
    shown = tuple(ValidationResult(name, ValidationStatus(status), (), "") for name, status in results)
    assert validation_verdict(replace(completed(), validation=shown)) == (conclusion, title)


def test_the_report_says_what_to_do_when_no_test_ran() -> None:
    syntax = ValidationResult("python_syntax", ValidationStatus.PASSED, (), "3 files")
    said = report.validation_section(replace(completed(), validation=(syntax,)))
    assert said.endswith(
        "No test ran, so nothing shows that it works: add a test, or name a command in `validation.commands`."
    )


def test_check_runs_offer_a_retry_where_something_is_left_and_a_revision_where_there_are_findings() -> None:
    offered = {run.name: [it.identifier for it in run.buttons] for run in check_runs(failing())}
    assert offered == {
        "orchestrator/budget": ["retry_failed"],
        "orchestrator/review": ["retry_failed", "revise_findings"],
        "orchestrator/architecture": ["retry_failed"],
        "orchestrator/validation": ["retry_failed", "revise_findings"],
    }
    # Both finished tasks have a note of the reviewer's.
    assert [run.name for run in check_runs(completed()) if run.buttons] == ["orchestrator/review"]
    assert [it.identifier for it in check_runs(failing(), single=True)[0].buttons] == [
        "retry_failed",
        "revise_findings",
    ]


def test_buttons_keep_githubs_limits() -> None:
    for button in (RETRY_FAILED, REVISE_FINDINGS):
        assert (len(button.label) <= 20, len(button.description) <= 40, len(button.identifier) <= 20) == (True,) * 3


def test_a_check_run_in_progress_is_titled_with_tasks_and_money() -> None:
    shown = running_checks(running())
    assert [it.name for it in shown] == [
        "orchestrator/budget",
        "orchestrator/review",
        "orchestrator/architecture",
        "orchestrator/validation",
    ]
    assert {it.title for it in shown} == {"1/2 tasks · $0.91 of $5.00"}
    assert "`core`" in shown[0].summary
    planning = replace(running(), tasks=(), status=ProjectStatus.PLANNING)
    (single,) = running_checks(planning, check_names(single=True))
    assert (single.name, single.title) == ("orchestrator/run", "Planning · $0.91 of $5.00")
    assert single.summary == "The tasks are not planned yet."


def repaired(first: TaskStatus, second: TaskStatus) -> ProjectState:
    """Return a completed run after two repairs, the first of which its reviewer sent back."""
    state = completed()
    tasks = [Task(f"repair-{it}", "Mend it", TaskType.CODE_GENERATION, "Mend it") for it in (1, 2)]
    wrong = Review("anthropic", "claude-x", 0.2, False, (Finding("limiter.py", 9, "spoils it", Severity.ERROR),))
    right = Review("anthropic", "claude-x", 0.9, True, ())
    state.tasks = (*state.tasks, *tasks)
    state.results |= {
        "repair-1": TaskResult("repair-1", first, 0.2, "gpt-x", "openai", 1, review=wrong),
        "repair-2": TaskResult("repair-2", second, 0.9, "gpt-x", "openai", 1, review=right),
    }
    return state


def test_a_repair_that_failed_before_another_one_passed_fails_no_check() -> None:
    state = repaired(TaskStatus.FAILED, TaskStatus.COMPLETED)
    assert [(run.name, run.conclusion, run.title) for run in check_runs(state)][1:3] == [
        ("orchestrator/review", "success", "3 of 3 tasks approved"),
        ("orchestrator/architecture", "success", "layered, 3 tasks"),
    ]
    assert "spoils it" not in [note.message for run in check_runs(state) for note in run.annotations]


def test_a_repair_that_failed_last_fails_its_checks() -> None:
    state = replace(repaired(TaskStatus.COMPLETED, TaskStatus.FAILED), status=ProjectStatus.PARTIAL)
    assert [(run.name, run.conclusion) for run in check_runs(state)][1:3] == [
        ("orchestrator/review", "failure"),
        ("orchestrator/architecture", "failure"),
    ]
