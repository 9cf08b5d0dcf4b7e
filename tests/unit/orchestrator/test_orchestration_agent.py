"""The orchestration agent: drafts that validate, refinements that keep what nobody touched, and every call paid for."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Budget, ControlPlane, OrchestrationAgent, ProjectStatus
from orchestrator.catalog import load_catalog
from orchestrator.errors import BudgetError, NoModel, PlanError, UsageError
from orchestrator.orchestration_agent import Draft, patched
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.sections import APP_TYPES, BudgetSpec, RoutingSpec, ValidationSpec
from orchestrator.specs import JobSpec, spec_from_text
from orchestrator.state import Purpose
from orchestrator.store import Ledger, RunStore
from orchestrator.wire import DraftJob, DraftPolicy, DraftReply, parse
from tests.loopback import ModelServer
from tests.unit.orchestrator.models import DRAFTED, Models, in_turn

INTENT = "Pipeline for code review, EU data only, max $2"
FEEDBACK = "Increase budget to $5, allow US models"


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"ORCHESTRATOR_HOME": str(home), **more}


def agent(models: Models, home: Path, **given_: Any) -> OrchestrationAgent:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return OrchestrationAgent(env=environment(home), providers=providers, **given_)


def reply(job: dict[str, Any] | None = None, policy: dict[str, Any] | None = None) -> str:
    return json.dumps({"job": job or {}, "policy": policy or {}, "rationale": "So it was asked."})


async def test_a_draft_takes_what_the_model_says_and_leaves_the_rest_as_it_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # when
    draft = await agent(Models(), tmp_path).draft(INTENT)
    # then
    assert draft.job == replace(spec_from_text(INTENT), budget=BudgetSpec(2.0))
    assert draft.policy == Policy(name="eu_only", allowed_regions=["eu"])
    assert draft.rationale == "Two dollars, and the EU only."
    assert draft.changed == ("job.budget.max_usd", "policy.name", "policy.allowed_regions")
    assert capsys.readouterr() == ("", "")


async def test_a_refinement_shows_the_present_draft_and_changes_only_what_is_answered(tmp_path: Path) -> None:
    # given: a user has edited the draft by hand, in places that no model is asked about
    second = reply({"budget": {"max_usd": 5}}, {"allowed_regions": ["eu", "us"]})
    models = Models(say={"draft": in_turn(json.dumps(DRAFTED), second)})
    own = agent(models, tmp_path)
    draft = await own.draft(INTENT)
    edited = replace(
        draft,
        job=replace(draft.job, validation=ValidationSpec(commands=("make test",)), criteria=" as it is "),
        policy=replace(draft.policy, max_latency_ms=9_000.0),
    )
    # when
    refined = await own.refine(edited, FEEDBACK)
    # then
    assert refined.job == replace(edited.job, budget=replace(edited.job.budget, max_usd=5.0))
    assert refined.policy == replace(edited.policy, allowed_regions=("eu", "us"))
    assert refined.changed == ("job.budget.max_usd", "policy.allowed_regions")
    asked = models.of(Purpose.DRAFT)[1].prompt
    assert '"max_usd": 2.0' in asked
    assert '"max_latency_ms": 9000.0' in asked
    assert FEEDBACK in asked
    assert refined.project_id == draft.project_id


async def test_a_rule_is_taken_away_by_name_only(tmp_path: Path) -> None:
    models = Models(say={"draft": lambda _: reply(policy={"remove": ["allowed_regions"], "allowed_providers": None})})
    before = Draft(spec_from_text(INTENT), Policy(allowed_regions=["eu"], allowed_providers=["google"]))
    refined = await agent(models, tmp_path).refine(before, "Any region will do")
    assert refined.policy == Policy(allowed_providers=["google"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (reply(policy={"allowed_providers": ["opnai"]}), "policy.allowed_providers[0]: 'opnai' is not a provider; did"),
        (
            reply(policy={"allowed_models": ["gpt4o"]}),
            "policy.allowed_models: 'gpt4o' is not a model of the catalog; did you mean",
        ),
        (reply(policy={"allowed_regions": ["eurp"]}), "policy.allowed_regions: 'eurp' is not a region of the catalog"),
        (reply({"budget": {"max_usd": -1}}), "budget.max_usd: must be at least 0, not -1"),
        (reply(policy={"rate_limit": 1, "remove": ["rate_limit"]}), "policy.rate_limit: is both given and removed"),
        (reply(policy={"alowed_regions": ["eu"]}), "policy.alowed_regions: Extra inputs are not permitted"),
        (reply({"app_type": "android"}), "job.app_type: Input should be 'fastapi'"),
    ],
)
async def test_what_does_not_validate_goes_back_with_the_reason(tmp_path: Path, wrong: str, said: str) -> None:
    models = Models(say={"draft": in_turn(wrong, json.dumps(DRAFTED))})
    draft = await agent(models, tmp_path).draft(INTENT)
    first, second = models.of(Purpose.DRAFT)
    assert said not in first.prompt
    assert said in second.prompt
    assert draft.policy.allowed_regions == ("eu",)


async def test_a_draft_that_never_validates_is_an_error_that_says_why(tmp_path: Path) -> None:
    models = Models(say={"draft": lambda _: reply(policy={"allowed_regions": ["mars"]})})
    with pytest.raises(PlanError, match="'mars' is not a region of the catalog; known are cn, eu"):
        await agent(models, tmp_path).draft(INTENT)
    assert len(models.asked) == 3


async def test_the_nesting_of_a_spec_file_is_read_too(tmp_path: Path) -> None:
    nested = {"project": {"title": "Reviews", "success_criteria": "It reviews."}, "budget": {"max_usd": 2}}
    draft = await agent(Models(say={"draft": lambda _: reply(nested)}), tmp_path).draft(INTENT)
    assert (draft.job.title, draft.job.criteria, draft.job.budget.max_usd) == ("Reviews", "It reviews.", 2.0)
    assert draft.job.description == INTENT


async def test_the_cap_holds_for_a_draft_and_all_its_refinements_together(tmp_path: Path) -> None:
    # given: what the first answer costs leaves no room for a second
    models = Models(names=("openai",), say={"draft": lambda _: json.dumps(DRAFTED) + " " * 30_000})
    draft = await agent(models, tmp_path, budget=Budget(0.09)).draft(INTENT)
    spent = await ControlPlane(environment(tmp_path)).state(str(draft.project_id))
    assert spent is not None
    assert spent.budget.spent_usd > 0
    # when
    tight = agent(models, tmp_path, budget=Budget(spent.budget.spent_usd + 0.001))
    with pytest.raises(BudgetError):
        await tight.refine(draft, FEEDBACK)
    # then
    assert len(models.asked) == 1
    (row,) = await ControlPlane(environment(tmp_path)).list()
    assert (row.id, row.status) == (draft.project_id, ProjectStatus.BUDGET_EXHAUSTED)
    assert row.spent_usd == pytest.approx(spent.budget.spent_usd)


async def test_policies_bind_the_agent_itself_and_blank_words_cost_nothing(tmp_path: Path) -> None:
    models = Models()
    closed = PolicySet([Policy(name="nobody", allowed_providers=["moonshot"])])
    with pytest.raises(NoModel, match="policy nobody"):
        await agent(models, tmp_path, policy_set=closed).draft(INTENT)
    with pytest.raises(UsageError):
        await agent(models, tmp_path).draft(" ")
    with pytest.raises(UsageError):
        await agent(models, tmp_path).refine(Draft(spec_from_text(INTENT), Policy()), "\n")
    assert models.asked == []


async def test_the_next_round_counts_a_call_that_a_crash_lost(tmp_path: Path) -> None:
    # given
    draft = await agent(Models(), tmp_path).draft(INTENT, project_id="draft-1")
    async with ControlPlane.open(environment(tmp_path), providers={}) as plane:
        fence = await RunStore(plane.database).claim("draft-1")
        await Ledger(plane.database, "draft-1", fence).reserve(
            charged=("run:draft-1",), task_id="", purpose=Purpose.DRAFT, provider="openai", model="gpt-4o",
            amount=2 * 10**10, input_tokens=10, output_tokens=10,
        )  # fmt: skip
    # when
    await agent(Models(), tmp_path).refine(draft, FEEDBACK)
    # then
    state = await ControlPlane(environment(tmp_path)).state("draft-1")
    assert state is not None
    assert [(call.purpose.value, call.estimated) for call in state.calls] == [
        ("draft", False),
        ("draft", True),
        ("draft", False),
    ]
    assert state.budget.spent_usd == pytest.approx(sum(call.cost_usd for call in state.calls))
    assert state.outcome.code == "drafted"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "deepseek"])
async def test_every_wire_carries_the_draft_and_its_schema(tmp_path: Path, provider: str) -> None:
    with ModelServer() as server:
        draft = await OrchestrationAgent(env={**server.environment([provider]), **environment(tmp_path)}).draft(INTENT)
        (call,) = server.journal
    assert (call.provider, call.purpose) == (provider, "draft")
    assert draft.job == spec_from_text(INTENT)
    assert draft.changed == ()


async def test_the_recipe_of_the_guide_runs_offline_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_OFFLINE", "1")
    # when
    own = OrchestrationAgent()
    draft = await own.draft(INTENT)
    refined = await own.refine(draft, FEEDBACK)
    state = await ControlPlane().submit(refined.job, refined.policy)
    # then
    assert (draft.job.budget.max_usd, draft.policy.allowed_regions) == (2.0, ("eu",))
    assert (refined.job.budget.max_usd, refined.policy.allowed_regions) == (5.0, ("eu", "us"))
    assert replace(refined.job, budget=draft.job.budget) == draft.job
    assert replace(refined.policy, allowed_regions=("eu",)) == draft.policy
    assert draft.rationale.startswith("The offline model read this by a few rules")
    assert state.status is ProjectStatus.COMPLETED
    assert state.budget.max_usd == 5.0
    assert capsys.readouterr() == ("", "")


def test_a_model_may_answer_every_rule_of_a_policy_and_every_kind_of_app() -> None:
    rules = {one.name for one in fields(Policy)}
    answered = set(DraftPolicy.model_fields)
    assert answered - {"remove"} == rules
    removable = DraftPolicy.model_json_schema()["properties"]["remove"]["items"]["enum"]
    assert set(removable) == rules - {"name", "enforcement_mode"}
    kinds = DraftJob.model_json_schema()["properties"]["app_type"]["anyOf"][0]["enum"]
    assert kinds == list(APP_TYPES)
    modes = DraftPolicy.model_json_schema()["properties"]["enforcement_mode"]["anyOf"][0]["enum"]
    assert modes == [mode.value for mode in EnforcementMode]


WORDS = st.text(alphabet="ab \n", min_size=1, max_size=12).filter(str.strip)
NAMES = st.lists(st.sampled_from(["openai", "google", "anthropic"]), min_size=1, max_size=3)
MODELS = st.lists(st.sampled_from(sorted(load_catalog().models)), min_size=1, max_size=3)
REGIONS = st.lists(st.sampled_from(["eu", "us", "global"]), min_size=1, max_size=3)
USD = st.floats(0, 1_000)
RULES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["one", "two"]),
    "allowed_models": MODELS,
    "blocked_models": MODELS,
    "allowed_providers": NAMES,
    "blocked_providers": NAMES,
    "allowed_regions": REGIONS,
    "allow_training_on_output": st.booleans(),
    "pii_allowed": st.booleans(),
    "max_cost_per_task_usd": USD,
    "max_latency_ms": USD,
    "min_quality_score": st.floats(0, 1),
    "rate_limit": st.integers(1, 100),
    "enforcement_mode": st.sampled_from(list(EnforcementMode)),
}
DRAFTS = st.builds(
    Draft,
    job=st.builds(
        JobSpec,
        title=WORDS,
        description=WORDS,
        criteria=st.text(max_size=8),
        app_type=st.sampled_from([None, *APP_TYPES]),
        budget=st.builds(BudgetSpec, USD, st.floats(1, 1_000), st.sampled_from([None, "eng"])),
        routing=st.builds(RoutingSpec, st.sampled_from(["greedy", "pareto"])),
        background=st.text(max_size=8),
    ),
    policy=st.fixed_dictionaries({}, optional=RULES).map(lambda rules: Policy(**rules)),
    intent=WORDS,
)
EMPTY = ("name", "allowed_models", "blocked_models", "allowed_providers", "blocked_providers", "allowed_regions")
MAYBE: dict[str, st.SearchStrategy[Any]] = {
    name: st.none() | values | (st.just("" if name == "name" else []) if name in EMPTY else st.nothing())
    for name, values in RULES.items()
}
ANSWERS = st.fixed_dictionaries(
    {
        "job": st.fixed_dictionaries(
            {},
            optional={
                "title": st.none() | WORDS,
                "description": st.none() | WORDS,
                "success_criteria": st.none() | WORDS,
                "app_type": st.sampled_from([None, *APP_TYPES]),
                "budget": st.none() | st.fixed_dictionaries({}, optional={"max_usd": st.none() | USD}),
            },
        ),
        "policy": st.fixed_dictionaries({}, optional=MAYBE),
        "rationale": WORDS,
    }
)


@given(DRAFTS, ANSWERS)
def test_every_field_that_an_answer_does_not_give_is_the_very_same(draft: Draft, answer: dict[str, Any]) -> None:
    # when
    refined = patched(draft, parse(json.dumps(answer), DraftReply))
    # then: what is given is taken
    job, policy = answer["job"], answer["policy"]
    usd = (job.get("budget") or {}).get("max_usd")
    names = {"title": "title", "description": "description", "success_criteria": "criteria", "app_type": "app_type"}
    asked = {ours: job[theirs] for theirs, ours in names.items() if job.get(theirs) is not None}
    expected = {name: value.strip() for name, value in asked.items()}
    budget = draft.job.budget if usd is None else replace(draft.job.budget, max_usd=usd)
    assert refined.job == replace(draft.job, **expected, budget=budget)
    # then: and all else is kept
    rules = {name: value for name, value in policy.items() if value not in (None, "", [])}
    assert refined.policy == replace(draft.policy, **rules)
    assert (refined.intent, refined.project_id) == (draft.intent, draft.project_id)


@given(DRAFTS)
def test_an_answer_of_nothing_changes_nothing(draft: Draft) -> None:
    refined = patched(draft, parse(reply(), DraftReply))
    assert replace(refined, rationale=draft.rationale) == draft
