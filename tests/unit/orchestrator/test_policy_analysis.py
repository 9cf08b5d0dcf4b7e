"""What the analyzer says of policies: each finding in its own words, with file and line where there is a file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, load_catalog
from orchestrator.errors import SpecError, UsageError
from orchestrator.policy import EnforcementMode, Policy, PolicySet, combine, judge
from orchestrator.policy_analysis import PolicyAnalyzer, PolicyReport
from orchestrator.policy_files import parse_policy_file

CATALOG = load_catalog()
SOFT, MONITOR = EnforcementMode.SOFT, EnforcementMode.MONITOR


def of(*policies: Policy, catalog: Catalog = CATALOG, offline: bool = False) -> PolicyReport:
    return PolicyAnalyzer.analyze(PolicySet(policies), catalog, offline=offline)


def of_file(text: str, team: str | None = None, job: str | None = None) -> PolicyReport:
    return PolicyAnalyzer.analyze(parse_policy_file(text, "p.yaml").policies_for(team, job), CATALOG)


def test_no_policies_and_the_guides_examples_are_clean() -> None:
    gdpr = Policy(name="gdpr", allowed_regions=["eu", "global"], allow_training_on_output=False)
    cap = Policy(name="cost_cap", max_cost_per_task_usd=0.5, max_latency_ms=5000.0, enforcement_mode=SOFT)
    premium = Policy(name="quality_first", allowed_models=["claude-opus", "gpt-4o"], min_quality_score=0.95)

    assert of().is_clean()
    assert of(gdpr, cap).is_clean()
    assert of(premium).is_clean()


def test_the_guides_file_is_clean_on_every_combination_of_its_levels() -> None:
    text = """\
global:
  - name: gdpr
    allow_training_on_output: false
    enforcement_mode: hard
    max_cost_per_task_usd: 1.0
team:
  eng:
    - name: eu_only
      allowed_regions: [eu, global]
      cost_cap_usd: 0.50
job:
  job_001:
    - name: high_quality
      min_quality_score: 0.90
"""
    assert PolicyAnalyzer.analyze(parse_policy_file(text, "p.yaml")).is_clean()


def test_a_set_that_leaves_no_model_is_an_error_that_says_which_rules_do_it() -> None:
    report = of(
        Policy(name="eu", allowed_regions=["eu"]),
        Policy(name="best", min_quality_score=0.95),
    )

    assert report.errors == [
        "policy best: leaves no model for any task: of 18 models allowed_regions of eu rules out 18, "
        "min_quality_score of best rules out 17"
    ]
    assert report.warnings == []


@pytest.mark.parametrize("mode", [SOFT, MONITOR])
def test_what_does_not_forbid_leaves_every_model(mode: EnforcementMode) -> None:
    assert of(Policy(allowed_regions=["eu"], enforcement_mode=mode)).is_clean()


def test_a_set_that_leaves_only_weak_models_names_the_task_types_that_want_better_ones() -> None:
    assert of(Policy(name="small", allowed_models=["gpt-4o"])).warnings == [
        "policy small: leaves no model of the wanted quality for tasks of type code_generation"
    ]


def test_a_cap_that_pays_short_calls_only_is_an_error_for_the_tasks() -> None:
    # A writer's 8,000 tokens of output cost $0.0032 and more, an evaluator's 1,000 less than half of a tenth of a cent.
    assert of(Policy(name="thrifty", cost_cap_usd=0.002)).errors == [  # type: ignore[call-arg]
        "policy thrifty: leaves no model for any task: of 18 models max_cost_per_task_usd of thrifty rules out 18"
    ]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (Policy(name="p", allowed_regions=[]), "policy p: allowed_regions: is empty, which allows nothing"),
        (Policy(name="p", allowed_models=[]), "policy p: allowed_models: is empty, which allows nothing"),
        (
            Policy(name="p", allowed_models=["claude-opus", "gpt-4o"], blocked_models=["claude-opus-4-8"]),
            "policy p: allowed_models: claude-opus-4-8 also stands in blocked_models; "
            "nothing can be allowed and blocked at once",
        ),
        (
            Policy(name="p", allowed_providers=["openai", "google"], blocked_providers=["google"]),
            "policy p: allowed_providers: google also stands in blocked_providers; "
            "nothing can be allowed and blocked at once",
        ),
        (
            Policy(name="p", max_cost_per_task_usd=0.0001),
            "policy p: max_cost_per_task_usd: $0.0001 is below the cheapest possible call, "
            "$0.000425 with gemini-2.5-flash-lite",
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_an_error_when_it_is_hard_and_a_warning_when_it_is_not(
    policy: Policy, error: str
) -> None:
    assert error in of(policy).errors
    softer = of(replace(policy, enforcement_mode=SOFT))
    assert error in softer.warnings
    assert softer.errors == []


@pytest.mark.parametrize(
    ("policy", "warning"),
    [
        (
            Policy(name="p", allowed_models=["gpt-4o", "claude-opsu"]),
            "policy p: allowed_models: 'claude-opsu' is not a model of the catalog; did you mean 'claude-opus'?",
        ),
        (
            Policy(name="p", blocked_models=["gtp-4o"]),
            "policy p: blocked_models: 'gtp-4o' is not a model of the catalog; did you mean 'gpt-4o'?",
        ),
        (
            Policy(name="p", allowed_regions=["global", "glboal"]),
            "policy p: allowed_regions: 'glboal' is not a region of the catalog; did you mean 'global'?",
        ),
    ],
)
def test_a_name_that_nobody_knows_is_a_warning_with_the_nearest_one(policy: Policy, warning: str) -> None:
    assert warning in of(policy).warnings


def test_a_model_without_a_price_is_told_apart_from_one_that_nobody_knows() -> None:
    catalog = load_catalog({"gpt-99": {"provider": "openai"}})

    assert of(Policy(name="p", blocked_models=["gpt-99"]), catalog=catalog).warnings == [
        "policy p: blocked_models: 'gpt-99' has no list price and is never used; "
        "the operator can give one under `models:`"
    ]


def test_duplicates_and_shadowed_rules_are_warnings_at_the_place_of_the_later_or_the_weaker() -> None:
    report = of_file(
        """\
- name: a
  cost_cap_usd: 1
- name: b
  cost_cap_usd: 1
- name: a
  allowed_providers: [openai, google]
- name: c
  allowed_providers: [openai]
- name: d
  cost_cap_usd: 0.5
  enforcement_mode: soft
"""
    )

    assert report.errors == []
    assert report.warnings == [
        "p.yaml:3: policy b: says the same as policy a (p.yaml:1)",
        "p.yaml:5: policy a: name: is the name of policy a (p.yaml:1) too",
        "p.yaml:6: policy a: allowed_providers: has no effect: policy c (p.yaml:7) is as strict or stricter",
    ]


def test_two_policies_that_allow_and_block_the_same_are_a_warning_while_something_is_left() -> None:
    report = of(
        Policy(name="few", allowed_providers=["openai", "anthropic"]),
        Policy(name="not-them", blocked_providers=["openai"]),
    )

    assert report.errors == []
    assert report.warnings == [
        "policy not-them: allowed_providers: allows and blocks openai together with policy few; blocked it is"
    ]


WIDER = """\
global:
  - name: house
    allowed_providers: [openai, anthropic]
    blocked_models: [gpt-5.4]
    allow_training_on_output: false
    cost_cap_usd: 0.5
    min_quality_score: 0.8
team:
  narrow:
    - name: narrower
      allowed_providers: [openai]
      blocked_providers: [anthropic]
      cost_cap_usd: 0.25
  wide:
    - name: wider
      allowed_providers: [openai, google]
      allowed_models: [gpt-5.4, gpt-5-mini]
      allow_training_on_output: true
      cost_cap_usd: 2
      min_quality_score: 0.5
  other:
    - name: elsewhere
      allowed_providers: [deepseek]
"""


def test_a_lower_level_may_narrow() -> None:
    assert of_file(WIDER, "narrow").is_clean()


def test_a_lower_level_that_would_widen_is_told_at_each_rule() -> None:
    above = "policy house (p.yaml:2) of the level above, which holds"
    report = of_file(WIDER, "wide")

    assert report.errors == []
    assert report.warnings == [
        f"p.yaml:16: policy wider: allowed_providers: google is not allowed by {above}",
        f"p.yaml:17: policy wider: allowed_models: gpt-5.4 is blocked by {above}",
        f"p.yaml:18: policy wider: allow_training_on_output: true is wider than the false of {above}",
        f"p.yaml:19: policy wider: max_cost_per_task_usd: 2 is wider than the 0.5 of {above}",
        f"p.yaml:20: policy wider: min_quality_score: 0.5 is wider than the 0.8 of {above}",
    ]


def test_a_lower_level_of_which_a_higher_one_leaves_nothing_is_an_error() -> None:
    errors = of_file(WIDER, "other").errors

    assert errors[0] == (
        "p.yaml:23: policy elsewhere: allowed_providers: deepseek is not allowed by policy house (p.yaml:2) "
        "of the level above, which holds; nothing that both allow is left"
    )
    assert errors[1].startswith("p.yaml:22: policy elsewhere: leaves no model for any task: ")


def test_regions_of_two_levels_may_differ_while_a_model_is_served_in_both() -> None:
    joined = combine(
        PolicySet([Policy(name="house", allowed_regions=["us"])]),
        PolicySet([Policy(name="team", allowed_regions=["global"])]),
    )
    report = PolicyAnalyzer.analyze(joined, CATALOG)

    assert report.errors == []
    assert report.warnings == [
        "policy team: allowed_regions: global is not allowed by policy house of the level above, which holds"
    ]


def test_a_hierarchy_is_analysed_on_all_its_levels_and_each_finding_told_once() -> None:
    report = PolicyAnalyzer.analyze(parse_policy_file(WIDER, "p.yaml"), CATALOG, teams=["narrow", "wide", "othr"])

    assert len(set(report.errors)) == len(report.errors) == 2
    assert report.warnings[0] == (
        "p.yaml:22: policy elsewhere: team: 'other' is no team of the operator's budgets; did you mean 'othr'?"
    )


def test_a_softer_policy_of_the_same_name_does_not_soften_the_one_above() -> None:
    joined = combine(
        PolicySet([Policy(name="a", rate_limit=5)]),
        PolicySet([Policy(name="a", rate_limit=5, enforcement_mode=SOFT)]),
    )

    assert PolicyAnalyzer.analyze(joined, CATALOG).warnings == [
        "policy a: enforcement_mode: soft is weaker than the hard of policy a of the level above, which holds"
    ]


@pytest.mark.parametrize(("providers", "offline"), [(["offline"], False), (["local"], False), (["openai"], True)])
def test_a_provider_that_is_not_there_now_is_no_fault_of_a_policy(providers: list[str], offline: bool) -> None:
    assert of(Policy(allowed_providers=providers), offline=offline).errors == []


def test_the_offline_model_counts_only_where_it_may_answer() -> None:
    best = Policy(name="perfect", min_quality_score=0.99)

    assert of(best, offline=True).errors == []
    assert len(of(best).errors) == 1


def test_a_report_with_errors_refuses_at_file_and_line_and_one_without_lets_pass() -> None:
    with pytest.raises(SpecError) as placed:
        of_file("name: p\nallowed_regions: []\n").refuse()
    assert str(placed.value.findings[0]) == ("p.yaml:2:1: policy p: allowed_regions: is empty, which allows nothing")
    with pytest.raises(UsageError, match="policy p: allowed_regions: is empty") as unplaced:
        of(Policy(name="p", allowed_regions=[])).refuse()
    assert not isinstance(unplaced.value, SpecError)
    of(Policy(name="p", allowed_models=["gpt-4o"])).refuse()


NAMES = st.none() | st.lists(st.sampled_from(["gpt-4o", "claude-opus", "kimi", "gone", "GLM-4.7"]), max_size=3)
PROVIDER_LISTS = st.none() | st.lists(st.sampled_from(["openai", "google", "zhipu", "deepseek"]), max_size=3)
POLICIES = st.builds(
    Policy,
    name=st.sampled_from(["a", "b", "c"]),
    allowed_models=NAMES,
    blocked_models=NAMES,
    allowed_providers=PROVIDER_LISTS,
    blocked_providers=PROVIDER_LISTS,
    allowed_regions=st.none() | st.lists(st.sampled_from(["eu", "us", "cn", "mars"]), max_size=2),
    allow_training_on_output=st.booleans(),
    max_cost_per_task_usd=st.none() | st.sampled_from([0.0, 0.002, 0.02, 1.0]),
    min_quality_score=st.none() | st.floats(0, 1),
    rate_limit=st.none() | st.integers(1, 100),
    enforcement_mode=st.sampled_from(EnforcementMode),
)


@given(st.lists(st.lists(POLICIES, max_size=3).map(PolicySet), max_size=3))
def test_a_set_without_errors_leaves_a_model_that_may_write(levels: list[PolicySet]) -> None:
    """Writers have the longest answers: 8,000 tokens, or what the model can."""
    joined = combine(*levels)
    report = PolicyAnalyzer.analyze(joined, CATALOG)

    left = [
        model
        for model in CATALOG.models.values()
        if model.provider != "offline"
        and judge(
            model,
            joined,
            CATALOG,
            cost_usd=model.price.cost(250, min(8_000, model.max_output_tokens)) / 10**12,
        ).allowed
    ]
    assert any(one.kind == "no_model" and one.error for one in report.findings) == (not left)
    assert len(report.errors) + len(report.warnings) == len(report.findings)
