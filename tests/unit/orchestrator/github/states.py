"""States of runs as the engine leaves them, for rendering and publishing."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.budget import Budget, to_pico
from orchestrator.state import (
    ArchitectureDecision,
    CallRecord,
    Evaluation,
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
    ValidationResult,
    ValidationStatus,
)

TASKS = (
    Task("core", "Token bucket", TaskType.CODE_GENERATION, "Write it", (), ("limiter.py",)),
    Task("tests", "Tests | of it", TaskType.CODE_GENERATION, "Test it", ("core",), ("test_limiter.py",)),
)
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
        forecast=Forecast(0.9, 2.4, {"core": (0.5, 1.4), "tests": (0.4, 1.0)}, {"core": "gpt-x", "tests": "gpt-x"}),
        outcome=Outcome("changed", "Every task and the final validation passed."),
        files=("limiter.py", "test_limiter.py"),
        sandbox="bubblewrap",
    )


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
