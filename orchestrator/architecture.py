"""The architect: one decision before anything is planned, which every later prompt repeats."""

from __future__ import annotations

from orchestrator.run import Asking, Run
from orchestrator.state import ArchitectureDecision, Purpose
from orchestrator.wire import ArchitectureReply


async def decide(run: Run) -> ArchitectureDecision:
    """Ask for the architecture of the run's job.

    Raises `BudgetExhausted`, `NoModel` or `UnusableAnswers` as the gateway does.
    """
    answer, _ = await run.ask(
        Purpose.ARCHITECTURE,
        {"repository": run.repository(f"{run.job.title}\n{run.job.description}"), "feedback": ""},
        ArchitectureReply,
        Asking(),
    )
    reply = answer.reply
    return ArchitectureDecision(
        structural_pattern=reply.structural_pattern.value,
        topology=reply.topology.value,
        api_paradigm=reply.api_paradigm.value,
        data_paradigm=reply.data_paradigm.value,
        rationale=reply.rationale,
    )


def adr(decision: ArchitectureDecision, title: str) -> str:
    """Return the decision as an architecture decision record in Markdown.

    Form: https://cognitect.com/blog/2011/11/15/documenting-architecture-decisions
    """
    return (
        f"# 1. Architecture of {title}\n\n"
        "## Status\n\nAccepted\n\n"
        f"## Context\n\nThe job: {title}.\n\n"
        "## Decision\n\n"
        f"- Structural pattern: {decision.structural_pattern}\n"
        f"- Topology: {decision.topology}\n"
        f"- API paradigm: {decision.api_paradigm}\n"
        f"- Data paradigm: {decision.data_paradigm}\n\n"
        f"## Consequences\n\n{decision.rationale}\n"
    )
