"""Budgets above a run, of the organisation, a team and a job, as the accounts that runs are charged to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.budget import to_pico
from orchestrator.errors import UsageError
from orchestrator.strict import nearest

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class BudgetHierarchy:
    """Caps over many runs, in USD: for the organisation, by team and by job; None caps nothing.

    What runs spend adds up in the store, across processes: two hierarchies over one store share its accounts, and a
    run stays under the lower of its own caps and the latest run's. A run whose own cap does not fit into what is left
    is refused before it spends anything (`BudgetHierarchyExceeded`, a `ValueError`); what it was admitted with stays
    promised to it until it ends. Raises `ValueError` for an amount that is no number from 0 up, and for a name that is
    not of letters, digits, `.`, `_`, `-`.
    """

    org_max_usd: float | None = None
    team_budgets: Mapping[str, float] = field(default_factory=dict)
    job_budgets: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {f"team_budgets[{name!r}]": usd for name, usd in self.team_budgets.items()}
        named |= {f"job_budgets[{name!r}]": usd for name, usd in self.job_budgets.items()}
        if self.org_max_usd is not None:
            named["org_max_usd"] = self.org_max_usd
        for what, usd in named.items():
            if not isinstance(usd, int | float) or not 0 <= usd < float("inf"):
                raise ValueError(f"{what} must be a number from 0 up, not {usd!r}")
        for name in (*self.team_budgets, *self.job_budgets):
            if not _NAME.fullmatch(name):
                raise ValueError(f"a team or job is named by up to 100 letters, digits, '.', '_' and '-', not {name!r}")

    def caps(self, team: str | None = None, job: str | None = None) -> dict[str, int]:
        """Return the accounts that a run of this team and job is charged to, with their caps in picodollars.

        Raises `UsageError` for a team or job that has no budget here, with the nearest one that has.
        """
        caps = {} if self.org_max_usd is None else {"org": to_pico(self.org_max_usd)}
        for level, name, budgets in (("team", team, self.team_budgets), ("job", job, self.job_budgets)):
            if name is None:
                continue
            if name not in budgets:
                known = nearest(name, budgets) if budgets else f"; it names no {level}"
                raise UsageError(
                    f"The budget hierarchy has no {level} {name!r}{known}",
                    hint=f"Give the {level} a budget, or leave `{level}` away.",
                )
            caps[f"{level}:{name}"] = to_pico(budgets[name])
        return caps
