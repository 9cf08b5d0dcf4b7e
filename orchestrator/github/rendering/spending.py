"""What a run was expected to cost and what it did cost, by phase, model and task; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from orchestrator.budget import Phase
from orchestrator.github.rendering.markdown import cell, code, duration, table, usd
from orchestrator.state import CallRecord, ProjectState

MAX_ROWS = 40
_NAME = 60
_WHOLE_RUN = "the whole run"
_PHASES = {
    Phase.DECOMPOSITION: "Architecture and plan",
    Phase.GENERATION: "Writing",
    Phase.CROSS_REVIEW: "Review",
    Phase.EVALUATION: "Evaluation",
    Phase.RESERVE: "Repairs",
}


def budget_section(state: ProjectState) -> str:
    """Return what was spent and left, then forecast against actual by phase and by task, and who was paid."""
    budget, known = state.budget, state.forecast
    left = max(0.0, budget.max_usd - budget.spent_usd)
    parts = [
        f"Spent {usd(budget.spent_usd)} of {usd(budget.max_usd)}; {usd(left)} left; "
        f"{duration(budget.elapsed_seconds)} of {duration(budget.max_time_seconds)}; {len(state.calls)} answers."
    ]
    if known:
        within = _verdict(budget.spent_usd, known.low_usd, known.high_usd)
        parts.append(f"Forecast {usd(known.low_usd)} to {usd(known.high_usd)}; spent {within}.")
    if any(call.estimated for call in state.calls):
        parts.append("Some answers were lost in a crash and count at what was reserved for them.")
    if state.calls or known:
        parts += [_by_phase(state), _by_task(state)]
    if state.calls:
        parts.append(_by_model(state.calls))
    return "\n\n".join(part for part in parts if part)


def _verdict(spent: float, low: float, high: float) -> str:
    if spent > high:
        return f"{usd(spent - high)} above it"
    return "below it" if spent < low else "within it"


def _by_phase(state: ProjectState) -> str:
    spent, expected = state.spent_by_phase, state.forecast.by_phase if state.forecast else {}
    rows = []
    for phase, name in _PHASES.items():
        bounds = expected.get(phase.value)
        if spent[phase] or bounds:
            rows.append([name, *_compared(bounds, spent[phase]), f"{usd(state.budget.phases[phase])}"])
    return table(["Phase", "Forecast", "Spent", "", "Share of the cap"], rows) if rows else ""


def _by_task(state: ProjectState) -> str:
    """Return low and high forecast against actual for each task, and what served the whole run."""
    spent: dict[str, float] = defaultdict(float)
    for call in state.calls:
        spent[call.task_id] += call.cost_usd
    expected = state.forecast.by_task if state.forecast else {}
    named = {task.id: f"`{code(task.id)[:_NAME]}` {cell(task.title, _NAME)}".rstrip() for task in state.tasks}
    rows = [[_WHOLE_RUN, *_compared(None, spent[""])]] if "" in spent else []
    rows += [[name, *_compared(expected.get(key), spent[key])] for key, name in named.items()]
    rows += [[f"`{code(key)[:_NAME]}`", *_compared(None, spent[key])] for key in spent.keys() - {"", *named}]
    shown = table(["Task", "Forecast", "Spent", ""], rows[:MAX_ROWS])
    return f"{shown}\n\nAnd {len(rows) - MAX_ROWS} more tasks." if len(rows) > MAX_ROWS else shown


def _compared(bounds: tuple[float, float] | None, spent: float) -> list[str]:
    """Return forecast, actual and a flag where the actual is above, as three cells."""
    if bounds is None:
        return ["", usd(spent), ""]
    return [f"{usd(bounds[0])} to {usd(bounds[1])}", usd(spent), "⚠️ above" if spent > bounds[1] else ""]


def _by_model(calls: Sequence[CallRecord]) -> str:
    groups: dict[str, list[CallRecord]] = defaultdict(list)
    for call in calls:
        groups[f"{call.provider}/{call.model}"].append(call)
    rows = [
        [
            f"`{code(name)[:_NAME]}`",
            str(len(found)),
            f"{sum(call.input_tokens for call in found):,}",
            f"{sum(call.output_tokens for call in found):,}",
            usd(sum(call.cost_usd for call in found)),
        ]
        for name, found in groups.items()
    ]
    return table(["Model", "Calls", "Tokens in", "Tokens out", "Cost"], rows[:MAX_ROWS])
