"""The rounds of a pull request of ours, as its status comment and its report list them; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.github.rendering.markdown import code, table, usd
from orchestrator.github.rendering.status import ENDINGS
from orchestrator.state import ProjectState


@dataclass(frozen=True, slots=True)
class Round:
    """A round whose commit is on the branch; `state` is None where nobody knows its run any more."""

    run_id: str
    sha: str
    state: ProjectState | None = None


def section(pull: int, before: Sequence[Round], state: ProjectState, asked_by: str) -> str:
    """Return which round this is, who asked for it, and a table of all that changed the branch, this one the last."""
    number = len(before) + 1
    rows = [
        [str(place), f"`{code(one.sha[:12])}`", ending(one.state), usd(one.state.budget.spent_usd) if one.state else ""]
        for place, one in enumerate(before, 1)
    ]
    rows.append([str(number), f"`{code(state.project_id)}`", ending(state), usd(state.budget.spent_usd)])
    said = f"Round {number} of `/orchestrate revise` on #{pull}, asked for by `{code(asked_by)}`."
    return f"## Rounds\n\n{said}\n\n{table(['Round', 'Commit or run', 'Ending', 'Cost'], rows)}"


def ending(state: ProjectState | None) -> str:
    """Return how a round ended, or that it works."""
    if state is None:
        return "not known here"
    return ENDINGS.get(state.status, "at work")
