"""When a run's spending warns: the thresholds of its phases and of the whole, each told once.

Shares and thresholds are whole percent, amounts picodollars, so that a threshold is reached exactly or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.budget import PHASE_PERCENT, Phase, to_usd

TOTAL = "total"
PHASE_THRESHOLDS = (80, 100)
TOTAL_THRESHOLDS = (50, 80, 95)


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """One threshold that spending has reached: `phase` is a phase's name or `total`, `threshold` a share from 0 to 1.

    `ratio` is what is spent of that phase's or the whole budget: 1 is all of it, and a phase, whose share is soft, can
    pass it. `spent_usd` and `budget_usd` are that phase's or the whole's.
    """

    phase: str
    ratio: float
    threshold: float
    spent_usd: float
    budget_usd: float


@dataclass(slots=True)
class Meter:
    """What a run has spent by phase, against a cap in picodollars.

    Made with what was spent before, it warns of what is reached from there on only: a resumed run repeats nothing,
    while one that is resumed under another cap is warned of that cap's thresholds.
    """

    cap: int
    spent: dict[Phase, int]

    def add(self, phase: Phase, cost: int) -> list[BudgetWarning]:
        """Count what a call cost, in picodollars, and return the thresholds it reached, the lowest first."""
        before, whole_before = self.spent.get(phase, 0), self.total
        self.spent[phase] = before + cost
        share = PHASE_PERCENT[phase]
        return [
            *_reached(phase.value, PHASE_THRESHOLDS, before, self.spent[phase], self.cap, share),
            *_reached(TOTAL, TOTAL_THRESHOLDS, whole_before, self.total, self.cap, 100),
        ]

    @property
    def total(self) -> int:
        """What all phases spent, in picodollars."""
        return sum(self.spent.values())


def _reached(
    name: str, thresholds: Iterable[int], before: int, after: int, cap: int, share: int
) -> list[BudgetWarning]:
    budget = cap * share  # in hundredths of a picodollar; a threshold in percent makes it ten thousandths
    return [
        BudgetWarning(name, after * 100 / budget, threshold / 100, to_usd(after), to_usd(budget) / 100)
        for threshold in thresholds
        if before * 10_000 < budget * threshold <= after * 10_000
    ]
