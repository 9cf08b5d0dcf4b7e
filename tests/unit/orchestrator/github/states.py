"""States of runs as the engine leaves them, for rendering and publishing."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.budget import Budget, to_pico
from orchestrator.codes import Code
from orchestrator.state import (
    ArchitectureDecision,
    CallRecord,
    EarlierAttempt,
    Evaluation,
    Finding,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Review,
    RouteChoice,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)

TASKS = (
    Task("core", "Token bucket", TaskType.CODE_GENERATION, "Write it", (), ("limiter.py",)),
    Task("tests", "Tests | of it", TaskType.CODE_GENERATION, "Test it", ("core",), ("test_limiter.py",)),
)
ROUTES: dict[str, tuple[RouteChoice, ...]] = {
    "core": (
        RouteChoice(
            Purpose.GENERATE, "gpt-x", "greedy: first of 2 eligible", 0.05, "gemini-x", 0.08,
            (("claude-x", "claude-x costs 0.09 USD, above 0.08 (policy cheap)"),),
        ),
        RouteChoice(
            Purpose.REVIEW, "claude-x", "greedy: first of 1 eligible", 0.02,
            excluded=(("gpt-x", "its provider wrote what is reviewed"),),
        ),
    )
}  # fmt: skip
APPROVED = Review("anthropic", "claude-x", 0.91, True, (Finding("limiter.py", 3, "name it better", Severity.NOTE),))


def budget(spent: float = 1.84, elapsed: float = 360.0) -> Budget:
    made = Budget(max_usd=5.0, max_time_seconds=3600.0)
    made.carry(to_pico(spent), elapsed)
    return made


def completed() -> ProjectState:
    return ProjectState(
        project_id="r-aaaaaaaaaaaaaaaa",
        title="Rate limiter",
        description="Implement it",
        criteria="pytest passes",
        budget=budget(),
        status=ProjectStatus.COMPLETED,
        app_type="library",
        architecture=ArchitectureDecision("layered", "single package", "none", "in memory", "Small and testable."),
        tasks=TASKS,
        results={
            "core": TaskResult("core", TaskStatus.COMPLETED, 0.91, "gpt-x", "openai", 1, 1.2, 900, 400, APPROVED),
            "tests": TaskResult("tests", TaskStatus.COMPLETED, 0.88, "gpt-x", "openai", 2, 0.6, 500, 300, APPROVED),
        },
        calls=(
            CallRecord("", Purpose.ARCHITECTURE, "openai", "gpt-x", 100, 50, 0.04),
            CallRecord("core", Purpose.GENERATE, "openai", "gpt-x", 900, 400, 1.2),
            CallRecord("tests", Purpose.GENERATE, "openai", "gpt-x", 500, 300, 0.6),
        ),
        validation=(
            ValidationResult("ruff", ValidationStatus.PASSED, (), "clean"),
            ValidationResult("pytest", ValidationStatus.PASSED, (), "4 passed"),
        ),
        evaluation=Evaluation(0.93, "All criteria are met."),
        forecast=Forecast(
            0.9,
            2.4,
            {"core": (0.5, 1.1), "tests": (0.4, 1.0)},
            {"core": "gpt-x", "tests": "gpt-x"},
            routes=ROUTES,
            by_phase={"decomposition": (0.04, 0.04), "generation": (0.6, 1.5), "cross_review": (0.2, 0.6)},
        ),
        outcome=Outcome("changed", "Every task and the final validation passed."),
        files=("limiter.py", "test_limiter.py"),
        sandbox="bubblewrap",
    )


def planned() -> ProjectState:
    state = completed()
    state.status, state.results, state.validation, state.evaluation, state.files = (
        ProjectStatus.WAITING,
        {},
        (),
        None,
        (),
    )
    state.calls, state.budget = state.calls[:1], budget(0.04)
    state.outcome = Outcome("planned", "2 tasks planned; nothing was generated.")
    return state


def running() -> ProjectState:
    state = completed()
    state.status = ProjectStatus.RUNNING
    state.outcome = Outcome("", "")
    state.budget = budget(0.91)
    state.results = {"core": state.results["core"]}
    state.validation = ()
    return state


def exhausted() -> ProjectState:
    state = running()
    state.status = ProjectStatus.BUDGET_EXHAUSTED
    state.outcome = Outcome("incomplete", "The cap leaves no room for one more useful call.")
    state.budget = budget(4.99)
    return state


def failing() -> ProjectState:
    state = completed()
    state.status = ProjectStatus.PARTIAL
    state.outcome = Outcome("incomplete", "pytest fails.")
    finding = Finding("limiter.py", 7, "test_burst failed", Severity.ERROR)
    state.validation = (
        ValidationResult("ruff", ValidationStatus.NOT_RUN, (), "not installed"),
        ValidationResult("pytest", ValidationStatus.FAILED, (finding,), "1 failed"),
    )
    rejected = replace(APPROVED, approved=False, findings=(finding,))
    state.results["core"] = replace(state.results["core"], review=rejected)
    return state


def revised() -> ProjectState:
    """A run whose first task was sent back twice, by its checks and by another reviewer, and whose judge disagrees."""
    state = failing()
    state.outcome = Outcome("incomplete", "not completed: tests; checks that did not pass: pytest")
    before = Review(
        "google", "gemini-x", 0.4, False, (Finding("limiter.py", 5, "divides by zero"), APPROVED.findings[0])
    )
    syntax = ValidationResult("python_syntax", ValidationStatus.FAILED, (Finding("limiter.py", 2, "invalid syntax"),))
    state.results["core"] = replace(
        state.results["core"],
        review=APPROVED,
        attempts=3,
        routes=ROUTES["core"],
        validation=(replace(syntax, status=ValidationStatus.PASSED, findings=()),),
        earlier=(
            EarlierAttempt(0, 1, "gpt-x", Code.CHECKS_FAILED, validation=(syntax,)),
            EarlierAttempt(0, 2, "gpt-x", Code.REVIEW_REJECTED, before),
        ),
    )
    state.results["tests"] = TaskResult(
        "tests", TaskStatus.FAILED, 0.0, "gpt-x", "openai", 3, 0.6, reason="You changed nothing.\nMore of it.",
        code=Code.NOTHING_CHANGED,
    )  # fmt: skip
    state.evaluation = Evaluation(0.5, "The tests are missing.", "gemini-x")
    return state
