"""How candidates are ranked: greedy, weighted sum, or Pareto front and knee.

A backend is a pure function over candidates; `routing` has filtered them, and takes the first as the choice and the
rest as the fallback chain.

Terms have different units (USD, milliseconds, shares of one), so that the two backends that weigh them scale each one
over the candidates of the call: s(x) = (x - min) / (max - min), from 0 for the worst to 1 for the best, and 1 for all
where they are equal. Cost and latency enter negated, so that more is better for every term.
Source of the scaling: Marler and Arora 2004, "Survey of multi-objective optimization methods for engineering",
doi:10.1007/s00158-003-0368-6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.catalog import ModelProfile


@dataclass(frozen=True, slots=True)
class Candidate:
    """One eligible model for one call.

    `cost_usd` is the forecast of the call in USD; `quality` and `trust` are from 0 to 1; `latency_ms` in milliseconds;
    `good_enough` says whether the quality reaches what the call needs; `preferred` is False where a SOFT policy
    advises against the model, and then the router puts it behind those that are preferred, whatever the backend says.
    `violations` are the sentences of the SOFT and MONITOR policies that speak against it, for the report.
    """

    model: ModelProfile
    cost_usd: float
    quality: float
    trust: float
    latency_ms: float
    good_enough: bool
    preferred: bool = True
    violations: tuple[str, ...] = ()


class OptimizationBackend(Protocol):
    """Orders candidates, the best first; `name` stands in the report."""

    @property
    def name(self) -> str:
        """The word for reports: greedy, weighted_sum or pareto."""
        ...

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return all candidates, the best first."""
        ...


@dataclass(frozen=True, slots=True)
class GreedyBackend:
    """The cheapest that is good enough; then the others by falling quality. Ties go to quality, then to the name.

    choice = argmin cost_usd over the candidates with quality >= what the call needs (`routing.NEEDED_QUALITY`), where
    cost_usd = list price of (estimated input + output limit) tokens, in USD a call. What is good enough stands before
    what is not at any price: a cheap answer that fails its review is paid twice.
    Source: the cost-first cascade of Chen, Zaharia and Zou 2023, "FrugalGPT", https://arxiv.org/abs/2305.05176.
    """

    name: str = "greedy"

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Order by (good enough, cost), and those that are not by quality."""

        def key(candidate: Candidate) -> tuple[bool, float, float, str]:
            first = candidate.cost_usd if candidate.good_enough else 0.0
            return (not candidate.good_enough, first, -candidate.quality, candidate.model.id)

        return sorted(candidates, key=key)


@dataclass(frozen=True, slots=True)
class WeightedSumBackend:
    """The highest weighted sum of quality, cheapness and trust, each scaled to 0..1 over the candidates.

    score = w_quality * s(quality) + w_cost * s(-cost_usd) + w_trust * s(trust), without a unit. Quality and trust are
    shares from 0 to 1, cost_usd is in USD a call; latency does not count. Only the weights' proportions matter: each is
    finite and from 0 up, and `ValueError` is raised when none is above 0. A heavier weight never chooses less of its
    term. Source: Marler and Arora 2010, "The weighted sum method for multi-objective optimization: new insights",
    doi:10.1007/s00158-009-0460-7.
    """

    w_quality: float = 0.6
    w_cost: float = 0.2
    w_trust: float = 0.2
    name: str = "weighted_sum"

    def __post_init__(self) -> None:
        weights = (self.w_quality, self.w_cost, self.w_trust)
        if any(not 0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
            raise ValueError(f"weights must be from 0 up with a positive sum, not {weights}")

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Order by falling score, then by name."""
        quality = _scaled([candidate.quality for candidate in candidates])
        cheapness = _scaled([-candidate.cost_usd for candidate in candidates])
        trust = _scaled([candidate.trust for candidate in candidates])
        scores = {
            candidate.model.id: self.w_quality * q + self.w_cost * c + self.w_trust * t
            for candidate, q, c, t in zip(candidates, quality, cheapness, trust, strict=True)
        }
        return sorted(candidates, key=lambda candidate: (-scores[candidate.model.id], candidate.model.id))


@dataclass(frozen=True, slots=True)
class ParetoBackend:
    """The knee of the front that no candidate dominates in quality, cost, latency and trust.

    a dominates b when a is as good in quality (0..1), cost (USD a call), latency (ms) and trust (0..1), and better in
    one. The knee is the point of the front with the least distance = sqrt(sum over the four terms of (1 - s)^2), which
    has no unit: it is nearest to an ideal that is best in everything, where no weights say otherwise. The rest of the
    front follows by distance, then the dominated ones likewise; ties go to the name.
    Sources: dominance, Deb et al. 2002, "NSGA-II", doi:10.1109/4235.996017; knees, Branke et al. 2004,
    doi:10.1007/978-3-540-30217-9_73; the point nearest to the ideal, Yu 1973, doi:10.1287/mnsc.19.8.936.
    """

    name: str = "pareto"

    def rank(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Order by (on the front, distance to the ideal point), then by name."""
        points = list(zip(*(_scaled(column) for column in zip(*map(_merits, candidates), strict=True)), strict=True))
        distance = {
            candidate.model.id: math.dist(point, (1.0,) * len(point))
            for candidate, point in zip(candidates, points, strict=True)
        }
        front = {
            candidate.model.id
            for candidate in candidates
            if not any(_dominates(_merits(other), _merits(candidate)) for other in candidates)
        }
        return sorted(
            candidates,
            key=lambda candidate: (candidate.model.id not in front, distance[candidate.model.id], candidate.model.id),
        )


def _merits(candidate: Candidate) -> tuple[float, float, float, float]:
    return (candidate.quality, -candidate.cost_usd, -candidate.latency_ms, candidate.trust)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))


def _scaled(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]
