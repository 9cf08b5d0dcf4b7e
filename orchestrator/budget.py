"""Money: the unit, a run's budget, and the rule that nothing is called before it is reserved.

Amounts are whole picodollars (1e-12 USD) inside, so that sums are exact and the store can compare them in one atomic
statement; 64 bits hold 9.2 million dollars. Outside they are USD as float.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from orchestrator.errors import BudgetExhausted

PICO = 10**12
DEFAULT_MAX_USD = 8.0
DEFAULT_MAX_TIME_SECONDS = 5400.0


def to_pico(usd: float | Decimal | str) -> int:
    """Convert USD to whole picodollars, rounding up, so that a price is never understated."""
    return int((Decimal(str(usd)) * PICO).to_integral_value(rounding=ROUND_CEILING))


def to_usd(pico: int) -> float:
    """Convert picodollars to USD."""
    return pico / PICO


def dollars(usd: float) -> str:
    """Return a cap as people write it: in cents, or with four digits where it is no whole number of cents."""
    return f"${usd:.2f}" if round(usd, 2) == usd else f"${usd:.4f}"


class Phase(StrEnum):
    """What a part of a run's money is for; shares are soft: passing one warns and stops nothing."""

    DECOMPOSITION = "decomposition"
    GENERATION = "generation"
    CROSS_REVIEW = "cross_review"
    EVALUATION = "evaluation"
    RESERVE = "reserve"


# In whole percent, so that shares in picodollars compare exactly. Source: the usage guide's phases.
PHASE_PERCENT = {
    Phase.DECOMPOSITION: 5,
    Phase.GENERATION: 45,
    Phase.CROSS_REVIEW: 25,
    Phase.EVALUATION: 15,
    Phase.RESERVE: 10,
}


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call; `amount` is in picodollars."""

    id: int
    amount: int


@dataclass(slots=True)
class Budget:
    """A hard cap on what one run spends and how long it takes.

    `max_usd` is in USD, `max_time_seconds` in seconds. `reserve` before a call, then `settle` with what it really cost
    or `release` when it was not billed. At every moment spent plus reserved is at most the cap, unless a provider
    bills more than the list price of the upper bound, which `settle` records as it is.
    """

    max_usd: float = DEFAULT_MAX_USD
    max_time_seconds: float = DEFAULT_MAX_TIME_SECONDS
    elapsed_seconds: float = 0.0
    _spent: int = 0
    _reserved: dict[int, int] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=itertools.count, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("max_usd", self.max_usd), ("max_time_seconds", self.max_time_seconds)):
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number from 0 up, not {value!r}")

    @property
    def phases(self) -> dict[Phase, float]:
        """What each phase may take before a warning says so, in USD; the five shares make up the cap."""
        return {phase: self.max_usd * percent / 100 for phase, percent in PHASE_PERCENT.items()}

    @property
    def spent_usd(self) -> float:
        """What settled calls cost, in USD."""
        return to_usd(self._spent)

    @property
    def reserved_usd(self) -> float:
        """What calls in flight could still cost, in USD."""
        return to_usd(self.reserved)

    @property
    def remaining_usd(self) -> float:
        """What may still be reserved, in USD."""
        return to_usd(max(0, self.remaining))

    @property
    def spent(self) -> int:
        """What settled calls cost, in picodollars."""
        return self._spent

    @property
    def reserved(self) -> int:
        """What calls in flight could still cost, in picodollars."""
        return sum(self._reserved.values())

    @property
    def remaining(self) -> int:
        """What may still be reserved, in picodollars; negative when a provider billed above its list price."""
        return to_pico(self.max_usd) - self._spent - self.reserved

    def reserve(self, amount: int) -> Reservation:
        """Set `amount` picodollars aside; raises `BudgetExhausted` when the cap has no room for them."""
        if amount < 0:
            raise ValueError(f"a reservation cannot be negative: {amount}")
        if amount > self.remaining:
            raise BudgetExhausted(
                f"The next call could cost ${to_usd(amount):.4f}, and ${self.remaining_usd:.4f} "
                f"of {dollars(self.max_usd)} is left."
            )
        reservation = Reservation(next(self._ids), amount)
        self._reserved[reservation.id] = amount
        return reservation

    def settle(self, reservation: Reservation, cost: int) -> None:
        """Replace a reservation by what the call cost, in picodollars."""
        if cost < 0:
            raise ValueError(f"a cost cannot be negative: {cost}")
        del self._reserved[reservation.id]
        self._spent += cost

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the call was not billed."""
        del self._reserved[reservation.id]

    def carry(self, spent: int, elapsed_seconds: float) -> None:
        """Take over what an earlier process spent on this run: picodollars and seconds."""
        self._spent = spent
        self.elapsed_seconds = elapsed_seconds
