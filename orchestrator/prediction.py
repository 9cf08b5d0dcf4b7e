"""What is learned of models from what they really did: averages of cost, time and first attempts, and what to expect.

Averages are exponential moving ones (EMA): the first value stands as it is, each later one moves the average by
`alpha` of the difference. Source: https://www.itl.nist.gov/div898/handbook/pmc/section4/pmc431.htm
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from orchestrator.state import Purpose

DEFAULT_ALPHA = 0.1
# How many first attempts the catalog's own word counts as, when it is weighed against what was observed.
PRIOR_ATTEMPTS = 10.0


class Work(NamedTuple):
    """A kind of work by one model: `task_type` is empty for calls that serve the whole run."""

    model: str
    purpose: Purpose
    task_type: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What was observed of one kind of work: averages over `calls` settled calls and over `tried` first attempts.

    `cost_usd` with its `cost_variance` (USD²), tokens and `seconds` are for one call. `passed` is the share of first
    attempts that completed their task, `score` what they were worth, both from 0 to 1.
    """

    work: Work
    calls: int = 0
    cost_usd: float = 0.0
    cost_variance: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    seconds: float = 0.0
    tried: int = 0
    passed: float = 0.0
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Paid:
    """One settled call: USD, tokens as billed, and the seconds until its answer."""

    cost_usd: float
    input_tokens: int
    output_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a task's first attempt went: whether it completed the task, and what it was worth from 0 to 1."""

    passed: bool
    score: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What first attempts say of a model: quality and trust from 0 to 1, and the `weight` of what was observed.

    `weight` is the number of equally weighted attempts that the moving average is worth (Kish's effective sample size,
    the square of the sum of the weights over the sum of their squares). Source: Kish 1965, "Survey Sampling", 11.7.
    """

    quality: float
    trust: float
    tried: int
    weight: float

    def quality_over(self, prior: float) -> float:
        """Return the quality to expect where the catalog says `prior`."""
        return _shrunken(prior, self.quality, self.weight)

    def trust_over(self, prior: float) -> float:
        """Return the share of first attempts to expect to complete where the catalog says `prior`."""
        return _shrunken(prior, self.trust, self.weight)


def _shrunken(prior: float, observed: float, weight: float) -> float:
    """Return the observed mean, drawn towards the prior the more the less was seen: (n₀·prior + n·mean) / (n₀ + n).

    The posterior mean of a share under a beta prior that is worth n₀ = `PRIOR_ATTEMPTS` attempts.
    Source: Gelman et al. 2013, "Bayesian Data Analysis", 3rd edition, section 2.4.
    """
    return (PRIOR_ATTEMPTS * prior + weight * observed) / (PRIOR_ATTEMPTS + weight)


def after_call(before: Observation, paid: Paid, alpha: float) -> Observation:
    """Return the averages with one more call.

    The variance follows Finch 2009, "Incremental calculation of weighted mean and variance", section 9.
    """
    share = alpha if before.calls else 1.0
    moved = share * (paid.cost_usd - before.cost_usd)
    variance = (1 - share) * (before.cost_variance + moved * (paid.cost_usd - before.cost_usd))
    return replace(
        before,
        calls=before.calls + 1,
        cost_usd=before.cost_usd + moved,
        cost_variance=variance,
        input_tokens=before.input_tokens + share * (paid.input_tokens - before.input_tokens),
        output_tokens=before.output_tokens + share * (paid.output_tokens - before.output_tokens),
        seconds=before.seconds + share * (paid.seconds - before.seconds),
    )


def after_attempt(before: Observation, attempt: Attempt, alpha: float) -> Observation:
    """Return the averages with one more first attempt."""
    share = alpha if before.tried else 1.0
    return replace(
        before,
        tried=before.tried + 1,
        passed=before.passed + share * (attempt.passed - before.passed),
        score=before.score + share * (attempt.score - before.score),
    )


class CostPredictor:
    """Predicts what calls will cost from what such calls really cost, per model, purpose and task type.

    `alpha`, above 0 and at most 1, is how much the newest call moves an average; 1 keeps only the newest. Raises
    `ValueError` for another one. An orchestrator tells it of every settled call and finished task, and keeps what it
    learned in the store for the runs to come.
    """

    def __init__(self, alpha: float = DEFAULT_ALPHA) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be above 0 and at most 1, not {alpha!r}")
        self.alpha = alpha
        self._seen: dict[Work, Observation] = {}

    def observe(self, work: Work, seen: Paid | Attempt) -> None:
        """Learn from one settled call or from one first attempt."""
        self._seen[work] = learned(self._seen.get(work, Observation(work)), seen, self.alpha)

    def predict(self, model: str, purpose: Purpose, task_type: str = "") -> Observation | None:
        """Return the averages of such calls, or None when none was ever settled."""
        seen = self._seen.get(Work(model, purpose, task_type))
        return seen if seen is not None and seen.calls else None

    def standings(self) -> dict[tuple[str, str], Standing]:
        """Return what first attempts say, by model and task type."""
        return {
            (work.model, work.task_type): Standing(one.score, one.passed, one.tried, _weight(one.tried, self.alpha))
            for work, one in self._seen.items()
            if one.tried
        }

    def observations(self) -> tuple[Observation, ...]:
        """Return everything learned, in a stable order."""
        return tuple(self._seen[work] for work in sorted(self._seen))

    def load(self, observations: Iterable[Observation]) -> None:
        """Take over what was learned elsewhere, wherever that rests on no less than what is known here."""
        for one in observations:
            known = self._seen.get(one.work)
            if known is None or one.calls + one.tried >= known.calls + known.tried:
                self._seen[one.work] = one


def learned(before: Observation, seen: Paid | Attempt, alpha: float) -> Observation:
    """Return the averages with one more call or first attempt."""
    return after_call(before, seen, alpha) if isinstance(seen, Paid) else after_attempt(before, seen, alpha)


def _weight(count: int, alpha: float) -> float:
    first = (1 - alpha) ** (2 * (count - 1))
    rest = alpha * (1 - first) / (2 - alpha)  # the geometric series of alpha² · (1 - alpha)^(2k)
    return 1 / (first + rest)
