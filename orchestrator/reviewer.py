"""The reviewer: a model of another provider judges what one wrote; its errors block, and so does a low score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.prompts import fence
from orchestrator.run import Asking, Run
from orchestrator.state import (
    ArchitectureDecision,
    Finding,
    Purpose,
    Review,
    RouteChoice,
    Severity,
    Task,
    ValidationResult,
)
from orchestrator.task_types import threshold
from orchestrator.wire import ReviewReply


async def review(
    run: Run,
    task: Task,
    decision: ArchitectureDecision,
    *,
    written: Mapping[str, bytes | None],
    plan: str,
    dependencies: str,
    checks: Sequence[ValidationResult],
    writer_provider: str,
    label: str,
) -> tuple[Review, RouteChoice]:
    """Have another provider review one attempt; where only one is allowed, it reviews itself and the review says so.

    Approved means three things at once: the verdict, no error among the findings, and a score that the task needs.
    Raises what the gateway raises.
    """
    answer, choice = await run.ask(
        Purpose.REVIEW,
        {
            "architecture": run.architecture_section(decision),
            "plan": plan,
            "repository": run.repository("")[0],
            "task_id": task.id,
            "task": run.task_section(task),
            "dependencies": dependencies,
            "current": run.files_section(written),
            "findings": fence(checks_section(checks), run.nonce, "checks"),
            "threshold": f"{threshold(task):.2f}",
        },
        ReviewReply,
        Asking(
            task_id=task.id,
            label=label,
            critical=task.critical,
            avoid_provider=writer_provider,
            task_type=task.type.value,
        ),
    )
    reply = answer.reply
    findings = tuple(Finding(one.path, max(1, one.line), one.message, Severity(one.severity)) for one in reply.findings)
    blocked = any(finding.severity is Severity.ERROR for finding in findings)
    return (
        Review(
            provider=answer.model.provider,
            model=answer.model.id,
            score=reply.score,
            approved=reply.verdict == "approve" and not blocked and reply.score >= threshold(task),
            findings=findings,
            same_provider=answer.model.provider == writer_provider,
        ),
        choice,
    )


def checks_section(checks: Sequence[ValidationResult]) -> str:
    """Return one line per check and one per finding."""
    lines = []
    for check in checks:
        lines.append(f"{check.validator}: {check.status.value.replace('_', ' ')} {check.detail}".rstrip())
        lines += [f"  {finding.path}:{finding.line}: {finding.message}" for finding in check.findings]
    return "\n".join(lines) or "no check applied"
