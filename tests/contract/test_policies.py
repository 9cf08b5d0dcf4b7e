"""Under hard policies no request leaves to what they forbid, whoever asks: planner, writer, reviewer or fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, FlatPrice, ModelProfile
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import ProviderRejected, ProviderUnavailable, UsageError
from orchestrator.operator_config import OperatorConfig
from orchestrator.pace import Pace
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted, ScriptedProvider
from orchestrator.runtime import Runtime
from orchestrator.state import ProjectState, Purpose
from orchestrator.store import Database, RunStore
from tests.unit.orchestrator.models import AT_ONCE, Models, a_job, sent_back

VENDORS = ("openai", "anthropic", "google", "deepseek")
REGIONS = ("eu", "us", "cn", "global")
ALIASES = {"family-0": "m0", "family-1": "m1"}


def _model(number: int, provider: str, regions: list[str], trains: bool, quality: float, usd: float) -> ModelProfile:
    return ModelProfile(
        id=f"m{number}",
        provider=provider,
        price=FlatPrice(usd, usd),
        context_tokens=200_000,
        max_output_tokens=8_000,
        quality=quality,
        latency_ms=quality * 5_000,
        structured="json_schema",
        regions=tuple(regions),
        trains_on_data=trains,
    )


MODEL_FACTS = st.tuples(
    st.sampled_from(VENDORS),
    st.lists(st.sampled_from(REGIONS), min_size=1, max_size=2, unique=True),
    st.booleans(),
    st.sampled_from([0.6, 0.8, 0.85, 0.95]),
    st.sampled_from([0.1, 1.0, 5.0]),
)
CATALOGS = st.lists(MODEL_FACTS, min_size=4, max_size=8).map(
    lambda facts: Catalog({f"m{number}": _model(number, *one) for number, one in enumerate(facts)}, ALIASES)
)


def _seldom(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Leave a rule out mostly: with all of them at once nothing would be left, and no run would get far."""
    return st.none() | st.none() | st.none() | values


POLICIES = st.builds(
    Policy,
    allowed_models=_seldom(
        st.lists(st.sampled_from(["m0", "M1", "m2", "m3", "family-0", "family-1", "gone"]), min_size=2, max_size=5)
    ),
    blocked_models=_seldom(st.lists(st.sampled_from(["m0", "M1", "family-0", "gone"]), max_size=2)),
    allowed_providers=_seldom(st.lists(st.sampled_from(VENDORS), min_size=1, max_size=3)),
    blocked_providers=_seldom(st.lists(st.sampled_from(VENDORS), max_size=2)),
    allowed_regions=_seldom(st.lists(st.sampled_from(REGIONS), min_size=1, max_size=3)),
    allow_training_on_output=st.sampled_from([True, True, False]),
    pii_allowed=st.sampled_from([True, True, False]),
    max_cost_per_task_usd=_seldom(st.sampled_from([0.0005, 0.01, 1.0])),
    max_latency_ms=_seldom(st.sampled_from([3_500.0, 4_500.0])),
    min_quality_score=_seldom(st.sampled_from([0.7, 0.82, 0.9])),
    enforcement_mode=st.sampled_from([EnforcementMode.HARD, EnforcementMode.HARD, EnforcementMode.SOFT]),
)


def _forbids(policy: Policy, model: ModelProfile) -> bool:
    """Say in the guide's words, not in the router's, whether a policy forbids a model; its cost left out."""
    own_names = {model.id, *(name for name, stands_for in ALIASES.items() if stands_for == model.id)}

    def named(names: tuple[str, ...] | None) -> bool:
        return any(name.lower() in own_names for name in names or ())

    return policy.enforcement_mode is EnforcementMode.HARD and (
        (policy.allowed_models is not None and not named(tuple(policy.allowed_models)))
        or named(tuple(policy.blocked_models or ()))
        or (policy.allowed_providers is not None and model.provider not in policy.allowed_providers)
        or model.provider in (policy.blocked_providers or ())
        or (policy.allowed_regions is not None and not set(model.regions) & set(policy.allowed_regions))
        or (model.trains_on_data and not (policy.allow_training_on_output and policy.pii_allowed))
        or (policy.max_latency_ms is not None and model.latency_ms > policy.max_latency_ms)
        or (policy.min_quality_score is not None and model.quality < policy.min_quality_score)
    )


def _faulty(models: Models, faults: Iterator[str]) -> ScriptedProvider:
    """Answer as a good model would, but for the first calls, which fail so that the fallbacks are asked."""

    def answer(request: CompletionRequest) -> Scripted:
        good = models.answer(request)
        provider, name = request.model.provider, request.model.id
        match next(faults, "good"):
            case "down":
                return ProviderUnavailable("down", provider=provider, model=name)
            case "rejected":
                return ProviderRejected("no", provider=provider, model=name, status=400)
            case "unusable":
                return "{"
            case "sent back" if request.purpose is Purpose.REVIEW:
                return sent_back("wrong")
        return good

    return ScriptedProvider(answer)


async def _run(
    home: Path,
    catalog: Catalog,
    available: frozenset[str],
    policies: PolicySet,
    faults: list[str],
    pace: Pace | None = None,
) -> tuple[ProjectState | None, list[CompletionRequest]]:
    """Run a job on a catalog; without a state when the policies were refused."""
    models = Models()
    failing = iter(faults)
    providers = {name: _faulty(models, failing) for name in available}
    async with Database.open(f"sqlite:///{home / 'state.db'}") as database:
        operator = OperatorConfig(sandbox="limits")
        runtime = Runtime(home, operator, database, RunStore(database), catalog, providers, pace or Pace())
        plane = ControlPlane.over(runtime, concurrency=2, persistence=AT_ONCE)
        try:
            return await plane.submit(a_job(policies=policies), run_id="r"), models.asked
        except UsageError:
            return None, models.asked


@given(
    catalog=CATALOGS,
    available=st.just(frozenset(VENDORS)) | st.sets(st.sampled_from(VENDORS), min_size=2).map(frozenset),
    policies=st.lists(POLICIES, min_size=1, max_size=3).map(PolicySet),
    faults=st.lists(st.sampled_from(["good", "good", "good", "down", "rejected", "unusable", "sent back"]), max_size=8),
)
def test_no_request_leaves_to_a_forbidden_model_and_none_at_all_when_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory,
    catalog: Catalog,
    available: frozenset[str],
    policies: PolicySet,
    faults: list[str],
) -> None:
    state, asked = asyncio.run(_run(tmp_path_factory.mktemp("run"), catalog, available, policies, faults))

    allowed = {
        model.id
        for model in catalog.models.values()
        if model.provider in available and not any(_forbids(policy, model) for policy in policies.policies)
    }
    assert {request.model.id for request in asked} <= allowed
    event("refused" if state is None else state.outcome.code)
    if not allowed:
        assert asked == []
        assert state is None or state.outcome.code == "no_model"


@pytest.mark.parametrize("fault", ["down", "rejected", "unusable"])
def test_a_writer_that_fails_is_never_followed_by_a_forbidden_model_that_would_answer(
    tmp_path: Path, fault: str
) -> None:
    # given: the only allowed model always fails, and a better and cheaper one is forbidden by its region
    catalog = Catalog(
        {
            "m0": _model(0, "openai", ["eu"], False, 0.85, 5.0),
            "m1": _model(1, "anthropic", ["us"], False, 0.95, 0.1),
        },
        {},
    )
    policies = PolicySet([Policy(name="eu", allowed_regions=["eu"])])
    # when
    state, asked = asyncio.run(_run(tmp_path, catalog, frozenset({"openai", "anthropic"}), policies, [fault] * 50))
    # then
    assert {request.model.id for request in asked} == {"m0"}
    assert state is not None
    assert state.status.value == "failed"


def test_who_mends_what_was_sent_back_is_no_forbidden_model_either(tmp_path: Path) -> None:
    # given: a reviewer that sends the first version back, and a better and cheaper model that is forbidden
    catalog = Catalog(
        {
            "m0": _model(0, "openai", ["eu"], False, 0.85, 5.0),
            "m1": _model(1, "anthropic", ["us"], False, 0.95, 0.1),
        },
        {},
    )
    policies = PolicySet([Policy(name="eu", allowed_regions=["eu"])])
    # when: architecture, plan and the first version are good
    faults = ["good", "good", "good", "sent back"]
    state, asked = asyncio.run(_run(tmp_path, catalog, frozenset({"openai", "anthropic"}), policies, faults))
    # then
    purposes = ["architecture", "decompose", "generate", "review", "revise", "review", "evaluate"]
    assert [request.purpose.value for request in asked] == purposes
    assert {request.model.id for request in asked} == {"m0"}
    assert state is not None
    assert state.status.value == "completed"


def test_the_only_allowed_provider_reviews_itself_rather_than_a_forbidden_one(tmp_path: Path) -> None:
    catalog = Catalog(
        {
            "m0": _model(0, "openai", ["eu"], False, 0.85, 5.0),
            "m1": _model(1, "anthropic", ["us"], True, 0.95, 0.1),
        },
        {},
    )
    policies = PolicySet([Policy(name="private", allow_training_on_output=False)])

    state, asked = asyncio.run(_run(tmp_path, catalog, frozenset({"openai", "anthropic"}), policies, []))

    assert [request.purpose.value for request in asked] == [
        "architecture",
        "decompose",
        "generate",
        "review",
        "evaluate",
    ]
    assert {request.model.provider for request in asked} == {"openai"}
    assert state is not None
    assert state.status.value == "completed"


def test_a_hard_rate_limit_holds_over_a_whole_run(tmp_path: Path) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    catalog = Catalog({"m0": _model(0, "openai", ["eu"], False, 0.85, 1.0)}, {})
    policies = PolicySet([Policy(name="gentle", rate_limit=2)])

    state, asked = asyncio.run(_run(tmp_path, catalog, frozenset({"openai"}), policies, [], Pace(lambda: now, sleep)))

    # Five calls, two a minute: the third waits until the second minute, the fifth until the third.
    assert len(asked) == 5
    assert now == 120.0
    assert state is not None
    assert state.status.value == "completed"


def test_a_rate_limit_that_is_not_hard_is_reported_where_it_was_not_kept(tmp_path: Path) -> None:
    catalog = Catalog({"m0": _model(0, "openai", ["eu"], False, 0.85, 1.0)}, {})
    policies = PolicySet(
        [
            Policy(name="gentle", rate_limit=2, enforcement_mode=EnforcementMode.SOFT),
            Policy(name="watch", rate_limit=60, enforcement_mode=EnforcementMode.MONITOR),
        ]
    )

    state, asked = asyncio.run(_run(tmp_path, catalog, frozenset({"openai"}), policies, [], Pace(lambda: 0.0)))

    assert len(asked) == 5
    assert state is not None
    assert state.notes == ("soft policy gentle: m0 was called more than 2 times in a minute",)
