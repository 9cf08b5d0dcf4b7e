"""Policies filter, a backend ranks, what is to be avoided comes last, and every choice is explained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, FlatPrice, ModelProfile, load_catalog
from orchestrator.errors import NoModel, NoReviewer
from orchestrator.optimization import GreedyBackend, OptimizationBackend, ParetoBackend, WeightedSumBackend
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.prediction import Standing
from orchestrator.providers.registry import KEY_VARIABLES
from orchestrator.routing import Need, Router, no_model
from orchestrator.state import Purpose


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
    prefer: tuple[str, ...] = (),
    impartial: bool = False,
) -> Need:
    return Need(purpose, 2_000, 8_000, critical, avoid_provider, avoid_models, prefer=prefer, impartial=impartial)


def chain(of: Router, asked: Need) -> list[str]:
    return [one.id for one in of.route(asked).chain]


def test_a_preferred_model_is_asked_first_where_it_is_eligible_and_no_policy_advises_against_it() -> None:
    asked = need(Purpose.ARCHITECTURE, prefer=("absent", "dear", "other"))
    assert chain(router(), asked)[:3] == ["dear", "other", "cheap"]
    assert router().route(asked).choice.reason == "preferred for architecture: first of 4 eligible"
    assert chain(router(Policy(blocked_models=["dear"])), asked)[:2] == ["other", "cheap"]
    advised = Policy(blocked_models=["dear"], enforcement_mode=EnforcementMode.SOFT)
    assert chain(router(advised), asked)[-1] == "dear"
    assert chain(router(available=frozenset({"google", "openai"})), asked)[0] == "dear"


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


@pytest.mark.parametrize("mode", [EnforcementMode.SOFT, EnforcementMode.MONITOR])
def test_what_soft_and_monitor_policies_say_against_the_model_that_answered_stands_in_its_route(
    mode: EnforcementMode,
) -> None:
    own = Policy(name="own-data", allow_training_on_output=False, enforcement_mode=mode)
    fast = Policy(name="fast", max_latency_ms=1, enforcement_mode=mode)
    route = router(own, fast).route(need())
    assert route.choice.violations == ()
    assert route.answered(CATALOG.models["weak"]).violations == (
        f"{mode} policy own-data: deepseek trains on API data",
        f"{mode} policy fast: weak takes 1000 ms, above 1 ms",
    )
    assert route.answered(CATALOG.models["dear"]).violations == (f"{mode} policy fast: dear takes 1000 ms, above 1 ms",)


def test_a_monitor_policy_changes_no_order() -> None:
    policy = Policy(blocked_models=["cheap"], enforcement_mode=EnforcementMode.MONITOR)
    assert chain(router(policy), need()) == chain(router(), need())


def test_an_exclusion_names_the_hard_rules_only() -> None:
    hard = Policy(name="hard", blocked_models=["cheap"])
    soft = Policy(name="soft", blocked_models=["cheap"], enforcement_mode=EnforcementMode.SOFT)
    assert dict(router(hard, soft).route(need()).choice.excluded)["cheap"] == "cheap is blocked (policy hard)"


def test_changing_the_backend_changes_the_choice() -> None:
    def choice(backend: OptimizationBackend) -> str:
        return Router(REAL, frozenset(PROVIDERS) - {"offline"}, PolicySet(), backend).route(need()).choice.model

    assert choice(GreedyBackend()) == "deepseek-chat"
    assert choice(ParetoBackend()) == "gemini-3-flash-preview"
    assert choice(WeightedSumBackend(1.0, 0.0, 0.0)) == "claude-opus-4-8"
    assert choice(WeightedSumBackend(0.0, 1.0, 0.0)) == "gemini-2.5-flash-lite"


def impartial(*wrote: str) -> Need:
    return Need(Purpose.EVALUATE, 2_000, 1_000, avoid_models=frozenset(wrote), impartial=True)


def test_an_impartial_call_never_asks_a_model_to_avoid_where_another_one_is_eligible() -> None:
    route = router().route(impartial("cheap", "other"))
    assert [one.id for one in route.chain] == ["small", "dear", "weak"]
    assert dict(route.choice.excluded)["cheap"] == "it wrote what is judged"


def test_nobody_reviews_himself_because_the_others_contexts_are_too_small() -> None:
    # given: google is allowed besides, and its only model holds 9,000 tokens
    asked = replace(need(Purpose.REVIEW, avoid_provider="openai", impartial=True), independent=True)
    of = router(Policy(allowed_providers=["openai", "google"]))
    # when
    with pytest.raises(
        NoReviewer, match=r"google is allowed.*needs 10000 tokens: .* that of small, holds 9000"
    ) as caught:
        of.route(asked)
    # then
    assert "block google by a policy" in caught.value.hint
    assert chain(of, replace(asked, input_tokens=500)) == ["small"]
    assert chain(router(Policy(allowed_providers=["openai"])), asked) == ["cheap", "dear"]


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


def test_a_review_never_asks_the_writers_provider_where_another_one_is_allowed() -> None:
    route = router().route(need(Purpose.REVIEW, avoid_provider="anthropic", impartial=True))
    assert [one.id for one in route.chain] == ["cheap", "dear", "weak"]
    assert dict(route.choice.excluded)["other"] == "its provider wrote what is reviewed"
    assert route.choice.reason == "greedy: first of 3 eligible"


def test_where_only_the_writers_provider_is_allowed_it_reviews_itself() -> None:
    policy = Policy(allowed_providers=["anthropic"])
    assert chain(router(policy), need(Purpose.REVIEW, avoid_provider="anthropic", impartial=True)) == ["other"]


def test_a_model_that_failed_is_asked_last() -> None:
    route = router().route(need(avoid_models=frozenset({"cheap"})))
    assert [one.id for one in route.chain] == ["other", "dear", "weak", "cheap"]
    assert dict(route.choice.excluded)["cheap"] == "it failed at this task before"


def test_without_an_eligible_model_the_error_names_every_exclusion() -> None:
    with pytest.raises(NoModel) as caught:
        router(Policy(name="closed", allowed_providers=[])).route(need())
    assert set(caught.value.excluded) == {"cheap", "dear", "other", "small", "weak"}
    assert "closed" in caught.value.message


def standing(quality: float, trust: float, attempts: int) -> Standing:
    return Standing(quality, trust, attempts, float(attempts))


def test_a_model_whose_first_attempts_are_worth_little_is_no_longer_good_enough_and_the_report_says_so() -> None:
    # given: (10 * 0.82 + 10 * 0.5) / 20 = 0.66, below the 0.80 that writing needs; 0.90 and ten good ones stay above
    seen = {("cheap", "code_generation"): standing(0.5, 0.3, 10), ("other", "code_generation"): standing(0.9, 0.9, 10)}
    observing = replace(router(), standings=seen)
    # when
    route = observing.route(replace(need(), task_type="code_generation"))
    # then
    assert [one.id for one in route.chain] == ["other", "dear", "cheap", "weak"]
    assert route.choice.reason == "greedy: first of 4 eligible; quality 0.90 after 10 first attempts seen"


def test_what_was_seen_of_one_type_of_task_and_of_writing_says_nothing_of_others() -> None:
    observing = replace(router(), standings={("cheap", "code_generation"): standing(0.0, 0.0, 100)})
    assert chain(observing, replace(need(), task_type="creative_writing"))[0] == "cheap"
    assert chain(observing, replace(need(Purpose.REVIEW), task_type="code_generation"))[0] == "cheap"


def test_a_few_bad_attempts_do_not_outweigh_the_catalog() -> None:
    # given: (10 * 0.90 + 1 * 0.5) / 11 = 0.86
    observing = replace(router(), standings={("other", "code_generation"): standing(0.5, 0.0, 1)})
    assert chain(observing, replace(need(critical=True), task_type="code_generation"))[0] == "other"


def test_a_policy_goes_by_the_catalogs_quality_whatever_was_seen() -> None:
    observing = replace(
        router(Policy(min_quality_score=0.9)), standings={("cheap", "code_generation"): standing(1.0, 1.0, 1000)}
    )
    assert "cheap" not in chain(observing, replace(need(), task_type="code_generation"))


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


AVAILABLE = st.frozensets(st.sampled_from(PROVIDERS), min_size=1)
WEIGHT = st.sampled_from([0.1, 0.5, 1.0, 3.0])


def _costs(asked: Need) -> dict[str, int]:
    estimate = -(-asked.input_tokens // 250) * 250
    return {
        one.id: one.price.cost(estimate, min(asked.output_tokens, one.max_output_tokens))
        for one in REAL.models.values()
    }


@given(AVAILABLE, st.integers(100, 20_000), st.booleans())
def test_greedy_routes_to_the_cheapest_of_those_that_are_good_enough(
    available: frozenset[str], tokens: int, critical: bool
) -> None:
    asked = Need(Purpose.GENERATE, tokens, 8_000, critical)
    cost = _costs(asked)
    models = Router(REAL, available, PolicySet(), GreedyBackend()).route(asked).chain
    good = [one for one in models if one.quality >= (0.85 if critical else 0.80)]
    if good:
        assert cost[models[0].id] == min(cost[one.id] for one in good)
        assert models[0] in good
    else:
        assert models[0].quality == max(one.quality for one in models)


@given(AVAILABLE, st.integers(100, 20_000), WEIGHT, WEIGHT, WEIGHT, WEIGHT)
def test_a_heavier_weight_on_cost_never_routes_to_a_dearer_model(
    available: frozenset[str], tokens: int, quality: float, cost: float, more: float, trust: float
) -> None:
    asked = Need(Purpose.GENERATE, tokens, 8_000)

    def choice(weight: float) -> str:
        return (
            Router(REAL, available, PolicySet(), WeightedSumBackend(quality, weight, trust)).route(asked).choice.model
        )

    assert _costs(asked)[choice(cost + more)] <= _costs(asked)[choice(cost)]


@given(AVAILABLE, st.integers(100, 20_000))
def test_pareto_never_routes_to_a_model_that_another_one_dominates(available: frozenset[str], tokens: int) -> None:
    asked = Need(Purpose.GENERATE, tokens, 8_000)
    cost = _costs(asked)
    first, *others = Router(REAL, available, PolicySet(), ParetoBackend()).route(asked).chain
    merits = [(one.quality, -cost[one.id], -one.latency_ms, one.trust) for one in (first, *others)]
    for other in merits[1:]:
        assert other == merits[0] or any(theirs < ours for theirs, ours in zip(other, merits[0], strict=True))


def test_without_any_provider_every_key_that_would_help_is_named_and_the_way_without_one() -> None:
    hint = no_model(Purpose.GENERATE, (), []).hint
    for variables in KEY_VARIABLES.values():
        assert variables[0] in hint
    assert "LOCAL_LLM_MODEL" in hint
    assert "ORCHESTRATOR_OFFLINE=1" in hint
