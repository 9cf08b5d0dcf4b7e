"""What is learned of models: moving averages, what they are worth, and what to expect between them and the catalog."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import CostPredictor
from orchestrator.prediction import Attempt, Observation, Paid, Standing, Work
from orchestrator.state import Purpose

WORK = Work("m", Purpose.GENERATE, "code_generation")
ALPHAS = st.floats(0.01, 1.0)


def paid(usd: float) -> Paid:
    return Paid(usd, 100, 10, 2.0)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_alpha_is_above_zero_and_at_most_one(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be above 0 and at most 1"):
        CostPredictor(alpha=alpha)


def test_the_first_call_is_the_average_and_each_later_one_moves_it_by_alpha() -> None:
    # given
    predictor = CostPredictor(alpha=0.1)
    # when
    predictor.observe(WORK, Paid(1.0, 1000, 100, 4.0))
    predictor.observe(WORK, Paid(2.0, 2000, 300, 8.0))
    # then
    seen = predictor.predict("m", Purpose.GENERATE, "code_generation")
    assert seen is not None
    assert seen.calls == 2
    assert [seen.cost_usd, seen.input_tokens, seen.output_tokens, seen.seconds] == pytest.approx([1.1, 1100, 120, 4.4])
    assert seen.cost_variance == pytest.approx(0.09)  # of 1 with weight 0.9 and 2 with weight 0.1


def test_what_was_never_seen_is_not_predicted() -> None:
    predictor = CostPredictor()
    predictor.observe(WORK, paid(1.0))
    predictor.observe(Work("n", Purpose.GENERATE, "code_generation"), Attempt(True, 0.9))
    assert predictor.predict("m", Purpose.REVIEW, "code_generation") is None
    assert predictor.predict("m", Purpose.GENERATE, "creative_writing") is None
    assert predictor.predict("n", Purpose.GENERATE, "code_generation") is None


@given(ALPHAS, st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_an_average_stays_between_the_least_and_the_most_that_was_paid(alpha: float, costs: list[float]) -> None:
    predictor = CostPredictor(alpha)
    for usd in costs:
        predictor.observe(WORK, paid(usd))
    seen = predictor.predict("m", Purpose.GENERATE, "code_generation")
    assert seen is not None
    assert min(costs) - 1e-9 <= seen.cost_usd <= max(costs) + 1e-9
    assert seen.cost_variance >= -1e-9


@given(ALPHAS, st.integers(1, 60))
def test_attempts_weigh_what_kish_says_of_the_weights_of_a_moving_average(alpha: float, count: int) -> None:
    # given: the weights written out, the oldest first
    weights = [(1 - alpha) ** (count - 1)] + [alpha * (1 - alpha) ** (count - 1 - k) for k in range(1, count)]
    predictor = CostPredictor(alpha)
    # when
    for _ in range(count):
        predictor.observe(WORK, Attempt(True, 0.9))
    # then
    standing = predictor.standings()[("m", "code_generation")]
    assert sum(weights) == pytest.approx(1)
    assert standing.weight == pytest.approx(1 / sum(weight**2 for weight in weights))
    assert standing.tried == count


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.5, 1000))
def test_what_to_expect_lies_between_the_catalogs_word_and_what_was_seen(
    prior: float, seen: float, weight: float
) -> None:
    expected = Standing(seen, seen, 1, weight).quality_over(prior)
    assert min(prior, seen) - 1e-12 <= expected <= max(prior, seen) + 1e-12


def test_the_catalogs_word_counts_as_ten_attempts() -> None:
    standing = Standing(quality=0.6, trust=0.0, tried=10, weight=10.0)
    assert standing.quality_over(0.8) == pytest.approx(0.7)
    assert standing.trust_over(0.8) == pytest.approx(0.4)


def test_with_alpha_one_only_the_newest_call_counts() -> None:
    predictor = CostPredictor(alpha=1)
    predictor.observe(WORK, paid(1.0))
    predictor.observe(WORK, paid(5.0))
    seen = predictor.predict("m", Purpose.GENERATE, "code_generation")
    assert seen is not None
    assert (seen.cost_usd, seen.cost_variance) == (5.0, 0.0)


def test_what_rests_on_more_is_taken_over_and_what_rests_on_less_is_not() -> None:
    # given
    predictor = CostPredictor()
    predictor.observe(WORK, paid(1.0))
    predictor.observe(WORK, paid(1.0))
    # when
    predictor.load([Observation(WORK, calls=1, cost_usd=9.0)])
    # then
    assert predictor.observations()[0].cost_usd == 1.0
    # when
    predictor.load([Observation(WORK, calls=2, cost_usd=3.0), Observation(Work("n", Purpose.REVIEW, ""), calls=1)])
    # then
    assert [(one.work.model, one.cost_usd) for one in predictor.observations()] == [("m", 3.0), ("n", 0.0)]
    assert math.isclose(predictor.alpha, 0.1)
