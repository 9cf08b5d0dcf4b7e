"""Policies: what each rule rules out, and that the strictest of several wins."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, FlatPrice, ModelProfile, load_catalog
from orchestrator.policy import (
    PROVIDERS,
    EnforcementMode,
    Policy,
    PolicySet,
    combine,
    judge,
    resolutions,
)

EUROPEAN = ModelProfile(
    id="Euro-1",
    provider="google",
    price=FlatPrice(1, 2),
    context_tokens=1000,
    max_output_tokens=100,
    quality=0.8,
    latency_ms=1000,
    structured="json_schema",
    regions=("eu", "us"),
    trains_on_data=False,
)
TRAINING = ModelProfile(
    id="train-2",
    provider="deepseek",
    price=FlatPrice(1, 2),
    context_tokens=1000,
    max_output_tokens=100,
    quality=0.9,
    latency_ms=9000,
    structured="json_object",
    regions=("cn",),
    trains_on_data=True,
)
CATALOG = Catalog({"Euro-1": EUROPEAN, "train-2": TRAINING}, {"euro": "Euro-1"})


def rules(model: ModelProfile, policy: Policy, cost_usd: float = 0.1) -> list[str]:
    return [found.rule for found in judge(model, PolicySet([policy]), CATALOG, cost_usd=cost_usd).violations]


@pytest.mark.parametrize(
    ("policy", "european", "training"),
    [
        (Policy(), [], []),
        (Policy(allowed_models=["euro"]), [], ["allowed_models"]),
        (Policy(allowed_models=[]), ["allowed_models"], ["allowed_models"]),
        (Policy(blocked_models=["euro"]), ["blocked_models"], []),
        (Policy(blocked_models=["euro-1", "no-such-model"]), ["blocked_models"], []),
        (Policy(allowed_providers=["google"]), [], ["allowed_providers"]),
        (Policy(blocked_providers=["google"]), ["blocked_providers"], []),
        (Policy(allowed_regions=["EU", "global"]), [], ["allowed_regions"]),
        (Policy(allowed_regions=[]), ["allowed_regions"], ["allowed_regions"]),
        (Policy(allow_training_on_output=False), [], ["allow_training_on_output"]),
        (Policy(pii_allowed=False), [], ["pii_allowed"]),
        (Policy(max_latency_ms=5000.0), [], ["max_latency_ms"]),
        (Policy(min_quality_score=0.85), ["min_quality_score"], []),
        (Policy(max_cost_per_task_usd=0.1), [], []),
        (Policy(max_cost_per_task_usd=0.09), ["max_cost_per_task_usd"], ["max_cost_per_task_usd"]),
    ],
)
def test_each_rule_rules_out_what_it_says(policy: Policy, european: list[str], training: list[str]) -> None:
    assert rules(EUROPEAN, policy) == european
    assert rules(TRAINING, policy) == training


def test_a_cost_that_is_no_number_breaks_a_cap() -> None:
    assert rules(EUROPEAN, Policy(max_cost_per_task_usd=1.0), cost_usd=float("nan")) == ["max_cost_per_task_usd"]


@pytest.mark.parametrize(
    ("mode", "allowed", "preferred"),
    [
        (EnforcementMode.HARD, False, False),
        (EnforcementMode.SOFT, True, False),
        (EnforcementMode.MONITOR, True, True),
    ],
)
def test_the_mode_decides_between_forbidding_preferring_and_reporting(
    mode: EnforcementMode, allowed: bool, preferred: bool
) -> None:
    policy = Policy(name="eu", allowed_regions=["eu"], enforcement_mode=mode)

    verdict = judge(TRAINING, PolicySet([policy]), CATALOG, cost_usd=0)

    assert (verdict.allowed, verdict.preferred) == (allowed, preferred)
    assert [(found.policy, found.mode, found.message) for found in verdict.violations] == [
        ("eu", mode, "train-2 is served in cn, not in eu")
    ]


def test_the_strictest_of_several_policies_wins() -> None:
    soft = Policy(name="a", blocked_models=["euro"], enforcement_mode=EnforcementMode.SOFT)
    hard = Policy(name="b", blocked_models=["euro"])

    verdict = judge(EUROPEAN, PolicySet([soft, hard]), CATALOG, cost_usd=0)

    assert not verdict.allowed
    assert [found.policy for found in verdict.violations] == ["a", "b"]


def test_the_guides_gdpr_example_leaves_candidates_of_the_built_in_catalog() -> None:
    catalog = load_catalog()
    policies = PolicySet(
        policies=[
            Policy(
                name="gdpr",
                allowed_regions=["eu", "global"],
                allow_training_on_output=False,
                enforcement_mode=EnforcementMode.HARD,
            ),
            Policy(
                name="cost_cap",
                max_cost_per_task_usd=0.50,
                max_latency_ms=5000.0,
                enforcement_mode=EnforcementMode.SOFT,
            ),
        ]
    )

    left = {
        model.provider for model in catalog.models.values() if judge(model, policies, catalog, cost_usd=0.1).allowed
    }

    assert left == {"openai", "anthropic", "google", "offline"}


def test_the_guides_quality_first_recipe_leaves_the_best_model_and_says_which_models_its_families_are() -> None:
    catalog = load_catalog()
    policies = PolicySet(
        [Policy(name="quality_first", allowed_models=["claude-opus", "gpt-4o"], min_quality_score=0.95)]
    )

    left = [model.id for model in catalog.models.values() if judge(model, policies, catalog, cost_usd=0.1).allowed]

    assert left == ["claude-opus-4-8"]
    assert resolutions(policies, catalog) == (
        "policy quality_first: claude-opus is claude-opus-4-8",
        "policy quality_first: gpt-4o is gpt-4o",
    )


def test_an_exact_id_needs_no_explanation() -> None:
    policies = PolicySet([Policy(allowed_models=["Euro-1"], blocked_models=["euro", "gone"])])

    assert resolutions(policies, CATALOG) == ("policy policy: euro is Euro-1",)


def test_the_cap_has_a_second_name_as_a_keyword_too() -> None:
    assert Policy(cost_cap_usd=0.5) == Policy(max_cost_per_task_usd=0.5)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="cost_cap_usd"):
        Policy(cost_cap_usd=0.5, max_cost_per_task_usd=0.5)  # type: ignore[call-arg]


def test_the_providers_of_policies_are_those_of_the_catalog() -> None:
    raw = yaml.safe_load(resources.files("orchestrator").joinpath("catalog.yaml").read_text(encoding="utf-8"))

    assert list(PROVIDERS) == list(raw["providers"])


@pytest.mark.parametrize(
    ("mode", "reviewed"),
    [(EnforcementMode.HARD, True), (EnforcementMode.SOFT, True), (EnforcementMode.MONITOR, False)],
)
def test_documents_are_reviewed_where_a_policy_that_binds_asks_for_it(mode: EnforcementMode, reviewed: bool) -> None:
    asks = Policy(review_documents=True, enforcement_mode=mode)
    assert PolicySet([Policy(), asks]).reviews_documents is reviewed
    assert PolicySet([Policy()]).reviews_documents is False


def test_a_rate_limit_is_the_lowest_of_the_hard_ones() -> None:
    soft = Policy(rate_limit=1, enforcement_mode=EnforcementMode.SOFT)

    assert PolicySet([Policy(rate_limit=9), Policy(rate_limit=5), soft]).rate_limit == 5
    assert PolicySet([soft]).rate_limit is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"allowed_providers": ["opnai"]},
        {"allowed_models": "gpt-4o"},
        {"max_cost_per_task_usd": -1},
        {"max_cost_per_task_usd": float("nan")},
        {"min_quality_score": 2},
        {"enforcement_mode": "hrd"},
        {"pii_allowed": "no"},
        {"no_such_rule": 1},
    ],
)
def test_a_policy_that_cannot_be_is_refused_when_it_is_made(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Policy(**arguments)  # type: ignore[arg-type]


NAMES = st.none() | st.lists(st.sampled_from(["euro", "Euro-1", "train-2", "gone"]), max_size=3)
PROVIDER_LISTS = st.none() | st.lists(st.sampled_from(PROVIDERS), max_size=3)
POLICIES = st.builds(
    Policy,
    allowed_models=NAMES,
    blocked_models=NAMES,
    allowed_providers=PROVIDER_LISTS,
    blocked_providers=PROVIDER_LISTS,
    allowed_regions=st.none() | st.lists(st.sampled_from(["eu", "us", "cn"]), max_size=2),
    allow_training_on_output=st.booleans(),
    pii_allowed=st.booleans(),
    max_cost_per_task_usd=st.none() | st.floats(0, 1),
    max_latency_ms=st.none() | st.floats(0, 10_000),
    min_quality_score=st.none() | st.floats(0, 1),
    enforcement_mode=st.sampled_from(EnforcementMode),
)
SETS = st.lists(POLICIES, max_size=4).map(PolicySet)


@given(SETS, POLICIES, st.sampled_from([EUROPEAN, TRAINING]), st.floats(0, 1))
def test_a_model_that_one_hard_policy_rules_out_is_never_allowed(
    others: PolicySet, policy: Policy, model: ModelProfile, cost: float
) -> None:
    joined = combine(others, PolicySet([policy]))

    alone = judge(model, PolicySet([policy]), CATALOG, cost_usd=cost)
    together = judge(model, joined, CATALOG, cost_usd=cost)

    if policy.enforcement_mode is EnforcementMode.HARD and alone.violations:
        assert not together.allowed
    assert together.allowed == all(
        judge(model, PolicySet([each]), CATALOG, cost_usd=cost).allowed for each in joined.policies
    )


@given(SETS, SETS, st.sampled_from([EUROPEAN, TRAINING]), st.floats(0, 1))
def test_joining_policies_only_narrows(base: PolicySet, extra: PolicySet, model: ModelProfile, cost: float) -> None:
    if judge(model, combine(base, extra), CATALOG, cost_usd=cost).allowed:
        assert judge(model, base, CATALOG, cost_usd=cost).allowed
        assert judge(model, extra, CATALOG, cost_usd=cost).allowed
