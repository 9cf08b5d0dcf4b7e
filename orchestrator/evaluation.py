"""The final judgement: how far the whole result meets the success criteria."""

from __future__ import annotations

from orchestrator.prompts import fence
from orchestrator.reviewer import checks_section
from orchestrator.run import Asking, Run
from orchestrator.state import Evaluation, ProjectState, Purpose
from orchestrator.wire import EvaluationReply


async def evaluate(run: Run, state: ProjectState) -> Evaluation:
    """Ask for the evaluation of a run whose tasks and checks are done; raises what the gateway raises."""
    tasks = []
    for task in state.tasks:
        result = state.results.get(task.id)
        if result:
            tasks.append(f"- {task.id} ({task.title}): {result.status}, review score {result.score:.2f}")
    answer, _ = await run.ask(
        Purpose.EVALUATE,
        {
            "files": fence("\n".join(f"- {path}" for path in state.files), run.nonce, "files"),
            "tasks": fence("\n".join(tasks), run.nonce, "tasks"),
            "checks": fence(checks_section(state.validation), run.nonce, "checks"),
        },
        EvaluationReply,
        Asking(),
    )
    return Evaluation(answer.reply.score, answer.reply.reason, answer.model.id)
