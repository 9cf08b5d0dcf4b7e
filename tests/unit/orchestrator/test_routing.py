"""Policies filter, a backend ranks, what is to be avoided comes last, and every choice is explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, FlatPrice, ModelProfile, load_catalog
from orchestrator.cost import forecast
from orchestrator.errors import NoModel
from orchestrator.optimization import GreedyBackend, ParetoBackend, WeightedSumBackend
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.routing import Need, Router
from orchestrator.state import Purpose, Task, TaskType


def model(
    name: str, provider: str, price: float, quality: float, *, context: int = 100_000, trains: bool = False
) -> ModelProfile:
    return ModelProfile(
        id=name,
        provider=provider,
        price=FlatPrice(price, price),
        context_tokens=context,
        max_output_tokens=8_000,
        quality=quality,
        latency_ms=1000,
        structured="json_schema",
        regions=("us",),
        trains_on_data=trains,
    )


CATALOG = Catalog(
    {
        one.id: one
        for one in (
            model("cheap", "openai", 1, 0.82),
            model("dear", "openai", 10, 0.95),
            model("other", "anthropic", 2, 0.90),
            model("small", "google", 0.5, 0.90, context=9_000),
            model("weak", "deepseek", 0.1, 0.50, trains=True),
        )
    },
    {},
)
ALL = frozenset({"openai", "anthropic", "google", "deepseek"})


def router(*policies: Policy, available: frozenset[str] = ALL) -> Router:
    return Router(CATALOG, available, PolicySet(list(policies)), GreedyBackend())


def need(
    purpose: Purpose = Purpose.GENERATE,
    *,
    critical: bool = False,
    avoid_provider: str = "",
    avoid_models: frozenset[str] = frozenset(),
) -> Need:
    return Need(purpose, 2_000, 8_000, critical, avoid_provider, avoid_models)


def chain(of: Router, asked: Need) -> list[str]:
    return [one.id for one in of.route(asked).chain]


def test_the_cheapest_good_enough_model_is_first_and_the_rest_is_the_fallback_chain() -> None:
    route = router().route(need())
    assert [one.id for one in route.chain] == ["cheap", "other", "dear", "weak"]
    assert route.choice.model == "cheap"
    assert route.choice.reason == "greedy: first of 4 eligible"
    assert route.choice.forecast_usd == pytest.approx(0.01)
    assert route.choice.next_model == "other"
    assert route.choice.next_forecast_usd == pytest.approx(0.02)
    assert route.choice.excluded == (("small", "needs 10000 tokens, its context holds 9000"),)


def test_a_critical_task_gets_a_better_model() -> None:
    assert chain(router(), need(critical=True))[0] == "other"


def test_models_of_providers_that_are_not_available_are_no_candidates() -> None:
    route = router(available=frozenset({"anthropic"})).route(need())
    assert [one.id for one in route.chain] == ["other"]
    assert route.choice.excluded == ()


def test_a_hard_policy_excludes_with_its_name_and_reason() -> None:
    policy = Policy(name="own-data", allow_training_on_output=False, blocked_models=["cheap"])
    route = router(policy).route(need())
    excluded = dict(route.choice.excluded)
    assert [one.id for one in route.chain] == ["other", "dear"]
    assert excluded["cheap"].endswith("(policy own-data)")
    assert excluded["weak"].endswith("(policy own-data)")


def test_a_soft_policy_moves_a_model_back_and_keeps_it() -> None:
    policy = Policy(blocked_models=["cheap"], enforcement_mode=EnforcementMode.SOFT)
    assert chain(router(policy), need()) == ["other", "dear", "weak", "cheap"]


def impartial(*wrote: str) -> Need:
    return Need(Purpose.EVALUATE, 2_000, 1_000, avoid_models=frozenset(wrote), impartial=True)


def test_an_impartial_call_never_asks_a_model_to_avoid_where_another_one_is_eligible() -> None:
    route = router().route(impartial("cheap", "other"))
    assert [one.id for one in route.chain] == ["small", "dear", "weak"]
    assert dict(route.choice.excluded)["cheap"] == "it wrote what is judged"


def test_an_impartial_call_asks_a_model_to_avoid_where_no_other_one_is_eligible() -> None:
    only = Policy(allowed_models=["cheap", "other"])
    assert chain(router(only), impartial("cheap", "other")) == ["cheap", "other"]


@given(
    wrote=st.sets(st.sampled_from(sorted(CATALOG.models))),
    allowed=st.sets(st.sampled_from(sorted(CATALOG.models)), min_size=1),
)
def test_the_judge_is_a_writer_only_where_every_allowed_model_is_one(wrote: set[str], allowed: set[str]) -> None:
    asked = set(chain(router(Policy(allowed_models=sorted(allowed))), impartial(*wrote)))
    assert asked == (allowed - wrote or allowed)


def test_a_review_asks_the_writers_provider_only_when_no_other_one_answers() -> None:
    route = router().route(need(Purpose.REVIEW, avoid_provider="anthropic"))
    assert [one.id for one in route.chain] == ["cheap", "dear", "weak", "other"]
    assert dict(route.choice.excluded)["other"] == "its provider wrote what is reviewed"
    assert route.choice.reason == "greedy: first of 3 eligible"


def test_where_only_the_writers_provider_is_allowed_it_reviews_itself() -> None:
    policy = Policy(allowed_providers=["anthropic"])
    assert chain(router(policy), need(Purpose.REVIEW, avoid_provider="anthropic")) == ["other"]


def test_a_model_that_failed_is_asked_last() -> None:
    route = router().route(need(avoid_models=frozenset({"cheap"})))
    assert [one.id for one in route.chain] == ["other", "dear", "weak", "cheap"]
    assert dict(route.choice.excluded)["cheap"] == "it failed at this task before"


def test_without_an_eligible_model_the_error_names_every_exclusion() -> None:
    with pytest.raises(NoModel) as caught:
        router(Policy(name="closed", allowed_providers=[])).route(need())
    assert set(caught.value.excluded) == {"cheap", "dear", "other", "small", "weak"}
    assert "closed" in caught.value.message


def test_the_forecast_is_the_price_of_the_chosen_models() -> None:
    # given: writer "cheap" at $1 and reviewer "other" at $2 a million tokens, one file
    task = Task("a", "", TaskType.CODE_GENERATION, "", (), ("a.py",))
    # when
    expected = forecast([task], router())
    # then: one round of short calls, three rounds of long ones
    assert expected.models == {"a": "cheap"}
    low = (1_500 + 600) * 1e-6 + (1_500 + 600 + 200) * 2e-6
    high = 3 * ((12_000 + 3_000) * 1e-6 + (12_000 + 3_000 + 1_500) * 2e-6)
    assert expected.by_task["a"] == pytest.approx((low, high))
    assert expected.low_usd == pytest.approx(low)
    assert expected.high_usd == pytest.approx(high)


REAL = load_catalog({})
PROVIDERS = sorted({one.provider for one in REAL.models.values()})


@given(
    st.frozensets(st.sampled_from(PROVIDERS), min_size=1),
    st.sampled_from([GreedyBackend(), WeightedSumBackend(), ParetoBackend()]),
    st.sampled_from(list(Purpose)),
    st.sampled_from(["", *PROVIDERS]),
    st.frozensets(st.sampled_from(sorted(REAL.models)), max_size=4),
    st.integers(100, 200_000),
    st.booleans(),
)
def test_the_chain_is_a_permutation_of_the_eligible_models_and_what_is_avoided_comes_last(
    available: frozenset[str],
    backend: GreedyBackend | WeightedSumBackend | ParetoBackend,
    purpose: Purpose,
    avoid_provider: str,
    avoid_models: frozenset[str],
    tokens: int,
    critical: bool,
) -> None:
    # given
    asked = Need(purpose, tokens, 1_000, critical, avoid_provider, avoid_models)
    fits = {
        one.id for one in REAL.models.values() if one.provider in available and tokens + 1_000 <= one.context_tokens
    }
    # when
    try:
        route = Router(REAL, available, PolicySet(), backend).route(asked)
    except NoModel:
        # then
        assert not fits
        return
    chosen = [one.id for one in route.chain]
    assert sorted(chosen) == sorted(fits)
    avoided = [one.provider == avoid_provider or one.id in avoid_models for one in route.chain]
    assert avoided == sorted(avoided)
    assert route.choice.model == chosen[0]
