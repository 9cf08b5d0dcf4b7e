"""Why each model was chosen, and who was excluded by which rule, as tables; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.github.rendering.markdown import cell, code, listed, table, usd
from orchestrator.state import RouteChoice

MAX_ROWS = 60
"""Rows shown of one table: beyond that nobody reads on; the run's report.json holds all."""
MAX_RULES = 15
_LETTERS = 160


def choices_section(routes: Mapping[str, Sequence[RouteChoice]]) -> str:
    """Return who was chosen for each task's calls and why, then the rules that excluded others; empty without any."""
    chosen = [(name, choice) for name, choices in routes.items() for choice in dict.fromkeys(choices)]
    if not chosen:
        return ""
    rows = [
        [
            f"`{code(name)[:80]}`",
            choice.purpose.value,
            f"`{code(choice.model)}`",
            cell(choice.reason, _LETTERS),
            usd(choice.forecast_usd),
            f"`{code(choice.next_model)}` {usd(choice.next_forecast_usd)}" if choice.next_model else "nobody",
        ]
        for name, choice in chosen[:MAX_ROWS]
    ]
    parts = [table(["Task", "Call", "Model", "Why", "At most", "The next one"], rows)]
    if len(chosen) > MAX_ROWS:
        parts.append(f"And {len(chosen) - MAX_ROWS} more calls.")
    if rules := _rules(choice for _, choice in chosen):
        parts.append(f"Excluded, by rule:\n\n{listed(rules, MAX_RULES)}")
    violations = dict.fromkeys(said for _, choice in chosen for said in choice.violations)
    if violations:
        parts.append(f"Policies that only warn:\n\n{listed([cell(said) for said in violations], MAX_RULES)}")
    return "\n\n".join(parts)


def _rules(choices: Iterable[RouteChoice]) -> list[str]:
    """Return each rule with the models that it excluded, the rule that excluded most first."""
    models: dict[str, dict[str, None]] = defaultdict(dict)
    for choice in choices:
        for model, reason in choice.excluded:
            models[reason.removeprefix(f"{model} ")][model] = None
    ranked = sorted(models.items(), key=lambda it: (-len(it[1]), it[0]))
    lines = []
    for reason, found in ranked:
        shown = ", ".join(f"`{code(model)}`" for model in list(found)[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        lines.append(f"{cell(reason, 300)}: {shown}{more}")
    return lines
