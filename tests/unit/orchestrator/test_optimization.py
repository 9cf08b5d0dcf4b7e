"""The three backends on candidates whose order was worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import FlatPrice, ModelProfile
from orchestrator.optimization import (
    Candidate,
    GreedyBackend,
    OptimizationBackend,
    ParetoBackend,
    WeightedSumBackend,
)
from orchestrator.sections import RoutingSpec, Weights
from orchestrator.strategy import backend_for


def candidate(
    name: str,
    cost: float,
    quality: float,
    *,
    trust: float = 0.8,
    latency: float = 1000,
    good_enough: bool = True,
) -> Candidate:
    model = ModelProfile(
        id=name,
        provider="openai",
        price=FlatPrice(1, 1),
        context_tokens=1000,
        max_output_tokens=100,
        quality=quality,
        latency_ms=latency,
        structured="json_schema",
        regions=("eu",),
        trains_on_data=False,
        trust=trust,
    )
    return Candidate(model, cost, quality, trust, latency, good_enough)


def names(ranked: list[Candidate]) -> list[str]:
    return [one.model.id for one in ranked]


def test_greedy_takes_the_cheapest_that_is_good_enough_then_the_rest_by_quality() -> None:
    candidates = [
        candidate("weak", 0.001, 0.6, good_enough=False),
        candidate("weaker", 0.0005, 0.5, good_enough=False),
        candidate("dear", 0.3, 0.95),
        candidate("cheap", 0.01, 0.82),
        candidate("equal", 0.01, 0.85),
    ]
    assert names(GreedyBackend().rank(candidates)) == ["equal", "cheap", "dear", "weak", "weaker"]


def test_the_weighted_sum_adds_scaled_quality_cheapness_and_trust() -> None:
    # quality 0.6, 0.8, 1.0 -> 0, 0.5, 1; cost 0.1, 0.2, 0.5 -> 1, 0.75, 0; trust is equal -> 1
    candidates = [candidate("low", 0.1, 0.6), candidate("middle", 0.2, 0.8), candidate("high", 0.5, 1.0)]
    # 0.6q + 0.2c + 0.2: low 0.40, middle 0.65, high 0.80
    assert names(WeightedSumBackend().rank(candidates)) == ["high", "middle", "low"]
    # 0.2q + 0.8c: low 0.80, middle 0.70, high 0.20
    assert names(WeightedSumBackend(0.2, 0.8, 0.0).rank(candidates)) == ["low", "middle", "high"]
    # 0.5q + 0.5c: low 0.50, middle 0.625, high 0.50; the tie goes to the name
    assert names(WeightedSumBackend(0.5, 0.5, 0.0).rank(candidates)) == ["middle", "high", "low"]


@pytest.mark.parametrize("weights", [(-1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (float("nan"), 1.0, 1.0), (float("inf"), 1, 1)])
def test_weights_that_weigh_nothing_are_refused(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        WeightedSumBackend(*weights)


def test_pareto_takes_the_knee_of_the_front_then_the_front_then_the_dominated() -> None:
    # latency and trust are equal. (quality, cheapness) scaled: cheap (0, 1), knee (0.75, 0.75), best (1, 0),
    # dominated (0.5, 0.5). Distances to (1, 1): 1, 0.354, 1, 0.707.
    candidates = [
        candidate("cheap", 0.1, 0.6),
        candidate("knee", 0.2, 0.9),
        candidate("best", 0.5, 1.0),
        candidate("dominated", 0.3, 0.8),
    ]
    assert names(ParetoBackend().rank(candidates)) == ["knee", "best", "cheap", "dominated"]


def test_a_faster_or_more_trusted_candidate_is_on_the_front_too() -> None:
    candidates = [
        candidate("plain", 0.1, 0.9),
        candidate("fast", 0.1, 0.8, latency=100),
        candidate("trusted", 0.1, 0.8, trust=1.0),
        candidate("worse", 0.1, 0.8),
    ]
    assert names(ParetoBackend().rank(candidates))[-1] == "worse"


def test_the_spec_names_the_backend() -> None:
    assert backend_for(RoutingSpec()) == GreedyBackend()
    assert backend_for(RoutingSpec(strategy="pareto")) == ParetoBackend()
    weighted = RoutingSpec(strategy="weighted_sum", weights=Weights(quality=0.1, cost=0.2, trust=0.7))
    assert backend_for(weighted) == WeightedSumBackend(0.1, 0.2, 0.7)


SHARE = st.floats(0, 1)
CANDIDATES = st.lists(
    st.builds(
        lambda cost, quality, trust, latency, enough: (cost, quality, trust, latency, enough),
        st.floats(0, 10),
        SHARE,
        SHARE,
        st.floats(1, 10_000),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("backend", [GreedyBackend(), WeightedSumBackend(), ParetoBackend()])
@given(CANDIDATES)
def test_every_backend_keeps_all_candidates_whatever_their_order(
    backend: OptimizationBackend, given_: list[tuple[float, float, float, float, bool]]
) -> None:
    candidates = [
        candidate(f"m{number}", cost, quality, trust=trust, latency=latency, good_enough=enough)
        for number, (cost, quality, trust, latency, enough) in enumerate(given_)
    ]
    ranked = names(backend.rank(candidates))
    assert sorted(ranked) == sorted(one.model.id for one in candidates)
    assert names(backend.rank(candidates[::-1])) == ranked


@given(CANDIDATES)
def test_nothing_dominates_what_pareto_takes_first(given_: list[tuple[float, float, float, float, bool]]) -> None:
    candidates = [
        candidate(f"m{number}", cost, quality, trust=trust, latency=latency)
        for number, (cost, quality, trust, latency, _) in enumerate(given_)
    ]
    first = ParetoBackend().rank(candidates)[0]
    for other in candidates:
        better = (
            other.quality >= first.quality
            and other.cost_usd <= first.cost_usd
            and other.latency_ms <= first.latency_ms
            and other.trust >= first.trust
        )
        assert not better or (other.quality, other.cost_usd, other.latency_ms, other.trust) == (
            first.quality,
            first.cost_usd,
            first.latency_ms,
            first.trust,
        )
