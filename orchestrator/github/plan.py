"""The plan comment: what would be built, by which models and for how much; pure."""

from __future__ import annotations

from orchestrator.github.markdown import cell, code, fit, one_line, table, usd
from orchestrator.github.report import architecture_section
from orchestrator.github.status import ENDINGS, OFFLINE_NOTE
from orchestrator.state import ProjectState


def plan_comment(state: ProjectState, *, approvable: bool = False) -> str:
    """Return the plan: architecture, tasks and what it is expected to cost; an `approvable` one is built on a word."""
    lead = "Plan" if state.tasks else ENDINGS.get(state.status, "No plan")
    cost = f" · forecast {usd(state.forecast.low_usd)} to {usd(state.forecast.high_usd)}" if state.forecast else ""
    parts = [f"{lead}: {len(state.tasks)} tasks{cost} · {usd(state.budget.spent_usd)} spent on planning"]
    if state.offline:
        parts.append(OFFLINE_NOTE)
    if state.outcome.reason:
        parts.append(one_line(state.outcome.reason))
    parts.append(architecture_section(state))
    if state.tasks:
        rows = []
        for task in state.tasks:
            low, high = state.forecast.by_task.get(task.id, (0.0, 0.0)) if state.forecast else (0.0, 0.0)
            chosen = state.forecast.models.get(task.id, "") if state.forecast else ""
            model = f"`{code(chosen)}`" if chosen else ""
            price = f"{usd(low)} to {usd(high)}" if state.forecast else ""
            rows.append([f"`{code(task.id)}`", cell(task.title), cell(", ".join(task.depends_on)), model, price])
        parts.append(table(["Task", "What", "After", "Model", "Forecast"], rows))
        word = "/orchestrate approve" if approvable else "/orchestrate"
        parts.append(f"Nothing was built. To build it, comment `{word}`.")
    return fit("\n\n".join(parts))
