"""The report of a run for programs and for people: `report.json` and `report.md` (CONTRACT section 2)."""

from __future__ import annotations

from typing import Any

from orchestrator.budget import dollars
from orchestrator.limits import (
    MAX_FINDINGS,
    MAX_MESSAGE_CHARACTERS,
    MAX_RATIONALE_CHARACTERS,
    MAX_REASON_CHARACTERS,
    clipped,
)
from orchestrator.state import (
    EarlierAttempt,
    Evaluation,
    Finding,
    Forecast,
    ProjectState,
    RouteChoice,
    TaskResult,
    TaskStatus,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.task_types import is_critical, threshold


def report(state: ProjectState) -> dict[str, Any]:
    """Return the report as plain JSON values; amounts in USD, times in seconds."""
    decision = state.architecture
    return {
        "project_id": state.project_id,
        "title": state.title,
        "status": state.status.value,
        "app_type": state.app_type,
        "score": state.score,
        "offline": state.offline,
        "budget": {
            "max_usd": state.budget.max_usd,
            "spent_usd": sum(call.cost_usd for call in state.calls),
            "max_time_seconds": state.budget.max_time_seconds,
            "elapsed_seconds": state.budget.elapsed_seconds,
            "left_usd": max(0.0, state.budget.max_usd - sum(call.cost_usd for call in state.calls)),
            "phases": {
                phase.value: {"share_usd": share, "spent_usd": state.spent_by_phase[phase]}
                for phase, share in state.budget.phases.items()
            },
        },
        "architecture": {
            "structural_pattern": decision.structural_pattern if decision else "",
            "topology": decision.topology if decision else "",
            "api_paradigm": decision.api_paradigm if decision else "",
            "data_paradigm": decision.data_paradigm if decision else "",
            "rationale": clipped(decision.rationale, MAX_RATIONALE_CHARACTERS) if decision else "",
        },
        "forecast": _forecast(state.forecast or Forecast(0.0, 0.0, {}, {})),
        "tasks": [_task(state, index) for index in range(len(state.tasks))],
        "calls": [
            {
                "task_id": call.task_id,
                "purpose": call.purpose.value,
                "provider": call.provider,
                "model": call.model,
                "input_tokens": call.input_tokens,
                "output_tokens": call.output_tokens,
                "cost_usd": call.cost_usd,
                **({"estimated": True} if call.estimated else {}),
            }
            for call in state.calls
        ],
        "validation": [_validation(result) for result in state.validation],
        "sandbox": state.sandbox,
        "evaluation": {"score": state.score, "reason": _reason(state.evaluation)},
        "outcome": {"code": state.outcome.code, "reason": state.outcome.reason},
        "notes": list(state.notes),
        "files": list(state.files),
    }


def _forecast(expected: Forecast) -> dict[str, Any]:
    return {
        "low_usd": expected.low_usd,
        "estimated_usd": expected.estimated_total_usd,
        "high_usd": expected.high_usd,
        "risk_level": expected.risk_level.value,
        "critical_path_seconds": expected.critical_path_seconds,
        "phases": {
            phase: {"low_usd": low, "estimated_usd": expected.estimated_by_phase.get(phase, low), "high_usd": high}
            for phase, (low, high) in expected.by_phase.items()
        },
        "tasks": {
            name: {
                "low_usd": low,
                "estimated_usd": expected.estimated_by_task.get(name, low),
                "high_usd": high,
                "model": expected.models.get(name, ""),
                "routing": [_choice(choice) for choice in expected.routes.get(name, ())],
            }
            for name, (low, high) in expected.by_task.items()
        },
    }


def _task(state: ProjectState, index: int) -> dict[str, Any]:
    task = state.tasks[index]
    result = state.results.get(task.id) or TaskResult(task.id, TaskStatus.PENDING)
    calls = [call for call in state.calls if call.task_id == task.id]
    return {
        "id": task.id,
        "title": task.title,
        "type": task.type.value,
        "status": result.status.value,
        "depends_on": list(task.depends_on),
        "files": list(task.files),
        "critical": is_critical(task),
        "threshold": threshold(task),
        "score": result.score,
        "model": result.model,
        "provider": result.provider,
        "reviewer_model": result.reviewer_model,
        "reviewer_provider": result.review.provider if result.review else "",
        "reviewed_by_own_provider": result.review.same_provider if result.review else False,
        "judged_by": result.evaluation.model if result.evaluation else "",
        "judgement": _reason(result.evaluation),
        "attempts": result.attempts,
        "cost_usd": sum(call.cost_usd for call in calls),
        "input_tokens": sum(call.input_tokens for call in calls),
        "output_tokens": sum(call.output_tokens for call in calls),
        "code": result.code or "",
        "reason": result.reason,
        "findings": [_finding(one) for one in (result.review.coded[:MAX_FINDINGS] if result.review else ())],
        "earlier": [_earlier(attempt) for attempt in result.earlier],
        "routing": [_choice(choice) for choice in result.routes],
    }


def _earlier(attempt: EarlierAttempt) -> dict[str, Any]:
    review, judged = attempt.review, attempt.evaluation
    failed = [one for check in attempt.validation if check.status is ValidationStatus.FAILED for one in check.coded]
    return {
        "round": attempt.round,
        "attempt": attempt.number,
        "model": attempt.model,
        "code": attempt.code.value,
        "reviewer_model": review.model if review else "",
        "reviewer_provider": review.provider if review else "",
        "judged_by": judged.model if judged else "",
        "score": review.score if review else judged.score if judged else 0.0,
        "findings": [_finding(one) for one in [*failed, *(review.coded if review else ())][:MAX_FINDINGS]],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "path": one.path,
        "line": one.line,
        "severity": one.severity.value,
        "code": one.code or "",
        "rule": one.rule,
        "message": clipped(one.message, MAX_MESSAGE_CHARACTERS),
    }


def _choice(choice: RouteChoice) -> dict[str, Any]:
    return {
        "purpose": choice.purpose.value,
        "model": choice.model,
        "reason": choice.reason,
        "forecast_usd": choice.forecast_usd,
        "next_model": choice.next_model,
        "next_forecast_usd": choice.next_forecast_usd,
        "excluded": [{"model": model, "reason": reason} for model, reason in choice.excluded],
        "violations": list(choice.violations),
    }


def _reason(evaluation: Evaluation | None) -> str:
    return clipped(evaluation.reason, MAX_REASON_CHARACTERS) if evaluation else ""


def _validation(result: ValidationResult) -> dict[str, Any]:
    return {
        "validator": result.validator,
        "passed": result.passed,
        "status": result.status.value,
        "detail": result.detail,
        "findings": [_finding(one) for one in result.coded],
    }


def report_markdown(state: ProjectState) -> str:
    """Return the report for people, with the same content."""
    spent = sum(call.cost_usd for call in state.calls)
    done = sum(result.status is TaskStatus.COMPLETED for result in state.results.values())
    lines = [
        f"# {_cell(state.title)}",
        "",
        f"**{state.status.value}** · {done}/{len(state.tasks)} tasks · ${spent:.4f} of "
        f"{dollars(state.budget.max_usd)} · {state.budget.elapsed_seconds:.0f} s · run `{state.project_id}`",
        "",
        f"{_cell(state.outcome.reason)}{_code(state.outcome.code)}",
        "",
    ]
    if state.offline:
        lines += ["Written by the built-in offline model from its scaffolds; no vendor's model was asked.", ""]
    lines += [
        "## Tasks",
        "",
        "| task | status | score | model | reviewer | attempts | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in state.tasks:
        result = state.results.get(task.id) or TaskResult(task.id, TaskStatus.PENDING)
        cost = sum(call.cost_usd for call in state.calls if call.task_id == task.id)
        lines.append(
            f"| {_cell(task.id)}: {_cell(task.title)} | {result.status.value} | {result.score:.2f} | {result.model} | "
            f"{_reviewer(result)} | {result.attempts} | ${cost:.4f} |"
        )
    lines += _open_findings(state)
    if state.architecture:
        decision = state.architecture
        lines += [
            "",
            "## Architecture",
            "",
            f"{decision.structural_pattern}, {decision.topology}, {decision.api_paradigm}, {decision.data_paradigm}",
            "",
            decision.rationale,
        ]
    lines += ["", "## Validation", "", f"Sandbox: {state.sandbox or 'not opened'}", ""]
    for check in state.validation:
        lines.append(f"- {check.validator}: {check.status.value.replace('_', ' ')} {_cell(check.detail)}".rstrip())
        lines += [f"  - {_found(one)}" for one in check.coded]
    if state.evaluation:
        lines += ["", "## Evaluation", "", f"{state.evaluation.score:.2f}: {_cell(state.evaluation.reason)}"]
    if state.notes:
        lines += ["", "## Notes", "", *(f"- {_cell(note)}" for note in state.notes)]
    lines += ["", "## Files", "", *(f"- `{path}`" for path in state.files)]
    return "\n".join(lines) + "\n"


def _open_findings(state: ProjectState) -> list[str]:
    """Return why tasks did not complete, and what their last reviews still find."""
    lines = []
    for name, result in state.results.items():
        if result.code:
            first = result.reason.strip().splitlines()[0] if result.reason.strip() else ""
            lines.append(f"- {_cell(name)}: {_cell(first)}{_code(result.code)}")
        lines += [f"- {_cell(name)}: {_found(one)}" for one in (result.review.coded if result.review else ())]
    return ["", "## Findings", "", *lines] if lines else []


def _found(one: Finding) -> str:
    return f"`{one.path}:{one.line}` {_cell(one.message)}{_code(one.code or '')}"


def _code(code: str) -> str:
    return f" (code `{code}`)" if code else ""


def _reviewer(result: TaskResult) -> str:
    """Return who judged a task's last version, with what people should know about it."""
    if result.review:
        return (
            f"{result.review.model} (the writer's own provider)" if result.review.same_provider else result.review.model
        )
    return f"{result.evaluation.model} (judged, not reviewed)" if result.evaluation else ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
