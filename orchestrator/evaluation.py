"""Judgements by a model that did not write what it judges: of the whole result, and of documents without a review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.prompts import fence
from orchestrator.reviewer import checks_section
from orchestrator.run import Asking, Run
from orchestrator.state import (
    Evaluation,
    ProjectState,
    Purpose,
    RouteChoice,
    Task,
    TaskStatus,
    ValidationResult,
)
from orchestrator.wire import EvaluationReply


async def evaluate(run: Run, state: ProjectState) -> Evaluation:
    """Ask for the evaluation of a run whose tasks and checks are done; raises what the gateway raises.

    No model that wrote for an accepted task judges, where another one is allowed.
    """
    tasks = []
    for task in state.tasks:
        result = state.results.get(task.id)
        if result:
            tasks.append(f"- {task.id} ({task.title}): {result.status}, score {result.score:.2f}")
    listed = "\n".join(f"- {path}" for path in state.files)
    sections = (
        f"Files of the result\n{fence(listed, run.nonce, 'files')}",
        f"Tasks, with the scores of their reviews\n{fence(chr(10).join(tasks), run.nonce, 'tasks')}",
    )
    evaluation, _ = await _judge(
        run, "\n\n".join(sections), state.validation, Asking(avoid_models=_writers(state), impartial=True)
    )
    return evaluation


async def evaluate_task(
    run: Run,
    task: Task,
    *,
    written: Mapping[str, bytes | None],
    checks: Sequence[ValidationResult],
    writers: frozenset[str],
    label: str,
) -> tuple[Evaluation, RouteChoice]:
    """Ask a model that is none of the writers, where another one is allowed, how far a document does its task.

    Raises what the gateway raises.
    """
    result = f"Task: {task.id}\n{run.task_section(task)}\n\nWhat was written\n{run.files_section(written)}"
    asking = Asking(task_id=task.id, label=label, avoid_models=writers, impartial=True)
    return await _judge(run, result, checks, asking)


async def _judge(
    run: Run, result: str, checks: Sequence[ValidationResult], asking: Asking
) -> tuple[Evaluation, RouteChoice]:
    answer, choice = await run.ask(
        Purpose.EVALUATE,
        {"result": result, "checks": fence(checks_section(checks), run.nonce, "checks")},
        EvaluationReply,
        asking,
    )
    return Evaluation(answer.reply.score, answer.reply.reason, answer.model.id), choice


def _writers(state: ProjectState) -> frozenset[str]:
    """Return every model that was paid to write for a task that was accepted."""
    accepted = {one for one, result in state.results.items() if result.status is TaskStatus.COMPLETED}
    return frozenset(
        call.model
        for call in state.calls
        if call.task_id in accepted and call.purpose in (Purpose.GENERATE, Purpose.REVISE)
    )
