"""The reviewer: a model of another provider judges what one wrote; its errors block, and so does a low score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.catalog import Catalog
from orchestrator.errors import NoModel, NoReviewer, OrchestratorError
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
    Raises `NoReviewer` when another provider is allowed and none answered or can read that much, and else
    what the gateway raises.
    """
    values = {
        "architecture": run.architecture_section(decision),
        "plan": plan,
        "repository": (await run.repository(""))[0],
        "task_id": task.id,
        "task": run.task_section(task),
        "dependencies": dependencies,
        "current": run.files_section(written),
        "findings": fence(checks_section(checks), run.nonce, "checks"),
        "threshold": f"{threshold(task):.2f}",
    }
    asking = Asking(
        task_id=task.id,
        label=label,
        critical=task.critical,
        avoid_provider=writer_provider,
        task_type=task.type.value,
        impartial=True,
        independent=True,
    )
    try:
        answer, choice = await run.ask(Purpose.REVIEW, values, ReviewReply, asking)
    except NoModel as error:
        raise _unreviewed(run.router.catalog, task, writer_provider, error) from error
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


def _unreviewed(catalog: Catalog, task: Task, writer_provider: str, error: NoModel) -> OrchestratorError:
    """Return what it means that nobody answered: the writer's own provider was asked only if no other is allowed."""
    asked = sorted({catalog.models[one].provider for one in error.excluded})
    if writer_provider in asked:
        return error
    others = " or ".join(asked)
    return NoReviewer(
        f"Task {task.id} was written by {writer_provider}, which may not approve its own work while another provider "
        f"is allowed, and {others} did not answer. {error.message}",
        hint=f"Go on with the run once {others} answers: what is written is kept. Or block {others} by a policy: then "
        f"{writer_provider} reviews itself, and the report says so.",
    )


def checks_section(checks: Sequence[ValidationResult]) -> str:
    """Return one line per check and one per finding."""
    lines = []
    for check in checks:
        lines.append(f"{check.validator}: {check.status.value.replace('_', ' ')} {check.detail}".rstrip())
        lines += [f"  {finding.path}:{finding.line}: {finding.message}" for finding in check.findings]
    return "\n".join(lines) or "no check applied"
