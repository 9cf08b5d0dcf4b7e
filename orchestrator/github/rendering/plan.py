"""The plan comment: what would be built, by which models and for how much, and the words that go on; pure."""

from __future__ import annotations

from orchestrator.github.rendering.choices import choices_section
from orchestrator.github.rendering.graph import task_graph
from orchestrator.github.rendering.markdown import cell, code, fit, folded, one_line, shown_code, table, usd
from orchestrator.github.rendering.report import decision_section
from orchestrator.github.rendering.status import ENDINGS, OFFLINE_NOTE
from orchestrator.state import ProjectState, RouteChoice

_TITLE = 80


def plan_comment(state: ProjectState, *, approvable: bool = False, waits_above_usd: float | None = None) -> str:
    """Return the plan: architecture, tasks, who would write each and why, and what it is expected to cost.

    An `approvable` one is built on a word; one whose forecast is above `waits_above_usd` waits for it.
    """
    lead = "Plan" if state.tasks else ENDINGS.get(state.status, "No plan")
    known, cap = state.forecast, usd(state.budget.max_usd)
    cost = f" · forecast {usd(known.low_usd)} to {usd(known.high_usd)} of {cap}" if known else ""
    waits = " · waits for approval" if waits_above_usd is not None and approvable else ""
    parts = [f"{lead}: {len(state.tasks)} tasks{cost}{waits} · {usd(state.budget.spent_usd)} spent on planning"]
    reason = _how_to_go_on(approvable, waits_above_usd) if state.tasks else one_line(state.outcome.reason)
    parts.append(f"{reason} {shown_code(state.outcome.code)}".strip())
    if state.offline:
        parts.append(OFFLINE_NOTE)
    if state.tasks:
        parts.append(_tasks(state))
        parts.append(task_graph(state.tasks))
    parts.append(f"### Architecture\n\n{decision_section(state)}")
    if state.forecast and (why := choices_section(state.forecast.routes)):
        parts.append(folded("Why these models", why))
    return fit("\n\n".join(parts))


def _tasks(state: ProjectState) -> str:
    rows = []
    for task in state.tasks:
        known = state.forecast
        low, high = known.by_task.get(task.id, (0.0, 0.0)) if known else (0.0, 0.0)
        model = f"`{code(known.models[task.id])}`" if known and task.id in known.models else ""
        why = _why(known.routes.get(task.id, ())) if known else ""
        price = f"{usd(low)} to {usd(high)}" if known else ""
        name = f"`{code(task.id)[:_TITLE]}` {cell(task.title, _TITLE)}".rstrip()
        rows.append([name, cell(", ".join(task.depends_on), _TITLE), model, why, price])
    if known := state.forecast:
        rows.append(
            ["**In total**", "", "", "with planning and checks", f"{usd(known.low_usd)} to {usd(known.high_usd)}"]
        )
    return table(["Task", "After", "Model", "Why", "Forecast"], rows)


def _why(routes: tuple[RouteChoice, ...]) -> str:
    """Return why a task's writer is the one, and who would review it, for a table's cell."""
    if not routes:
        return ""
    said = cell(routes[0].reason, 120)
    return f"{said}; reviewed by `{code(routes[1].model)}`" if len(routes) > 1 else said


def _how_to_go_on(approvable: bool, waits_above_usd: float | None) -> str:
    """Return the exact words to build the plan, and to ask for less."""
    first = "comment `/orchestrate cancel`, then" if approvable else "comment"
    less = (
        f"To ask for less, {first} `/orchestrate plan` with what to leave out, or `/orchestrate plan --budget USD` "
        "with what it may cost."
    )
    if waits_above_usd is None:
        word = "/orchestrate approve" if approvable else "/orchestrate"
        return f"Nothing was built. To build it, comment `{word}`. {less}"
    above = f"The forecast is above `require_approval_above_usd` ({usd(waits_above_usd)})"
    if approvable:
        return (
            f"{above}, so it waits. To build this very plan on this base commit, somebody who may start runs comments "
            f"`/orchestrate approve`. {less}"
        )
    return f"{above}, so nothing was built. Raise it in `.orchestrator.yaml`, or ask for less. {less}"
