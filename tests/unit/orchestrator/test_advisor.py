"""The architecture advisor: a decision without a build, under a cap of its own, and nothing printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ArchitectureAdvisor, Budget, Orchestrator, Policy, PolicySet, ProjectStatus
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import BudgetError, NoModel, OutOfTime, UsageError
from orchestrator.gateway import UnusableAnswers
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.specs import spec_from_text
from orchestrator.state import Purpose
from orchestrator.store import Ledger, RunStore
from tests.loopback import ModelServer
from tests.unit.orchestrator.models import ARCHITECTURE, Models

EDITOR = "Real-time collaborative document editor with conflict resolution"


def environment(home: Path) -> dict[str, str]:
    return {"ORCHESTRATOR_HOME": str(home)}


def advisor(models: Models, home: Path, **given: Any) -> ArchitectureAdvisor:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return ArchitectureAdvisor(env=environment(home), providers=providers, **given)


async def test_a_decision_comes_without_a_plan_a_file_or_a_printed_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    models = Models()
    # when
    decision = await advisor(models, tmp_path / "home").analyze(description=EDITOR, criteria="Low latency")
    # then
    assert f"{decision.structural_pattern} {decision.topology}" == "layered library"
    assert decision.rationale == ARCHITECTURE["rationale"]
    assert models.counts() == {"architecture": 1}
    assert "Low latency" in models.asked[0].prompt
    assert list(folder.iterdir()) == []
    assert capsys.readouterr() == ("", "")


async def test_over_the_wire_deepseek_is_asked_first(tmp_path: Path) -> None:
    with ModelServer() as server:
        env = {**server.environment(), **environment(tmp_path)}
        decision = await ArchitectureAdvisor(env=env).analyze(EDITOR)
        await ArchitectureAdvisor(env=env).analyze(" ".join(["lakes"] * 51))
        assert [(call.provider, call.model) for call in server.journal] == [
            ("deepseek", "deepseek-chat"),
            ("deepseek", "deepseek-reasoner"),
        ]
    assert decision.structural_pattern == "layered"


async def test_an_analysis_is_a_run_in_the_ledger_and_on_the_list(tmp_path: Path) -> None:
    await advisor(Models(), tmp_path).analyze(EDITOR, project_id="advice-1")
    plane = ControlPlane(environment(tmp_path))
    state = await plane.state("advice-1")
    (row,) = await plane.list()
    assert state is not None
    assert (state.status, state.outcome.code) == (ProjectStatus.WAITING, "decided")
    assert [call.purpose for call in state.calls] == [Purpose.ARCHITECTURE]
    assert row.spent_usd == state.calls[0].cost_usd > 0
    assert state.budget.max_usd == 0.5


async def test_its_cap_and_its_policies_hold_before_anything_is_asked(tmp_path: Path) -> None:
    models = Models()
    with pytest.raises(BudgetError):
        await advisor(models, tmp_path, budget=Budget(0.0001)).analyze(EDITOR)
    closed = PolicySet([Policy(name="nobody", allowed_providers=["moonshot"])])
    with pytest.raises(NoModel, match="policy nobody"):
        await advisor(models, tmp_path, policy_set=closed).analyze(EDITOR)
    with pytest.raises(UsageError):
        await advisor(models, tmp_path).analyze("  ")
    assert models.asked == []
    assert [row.status.value for row in await ControlPlane(environment(tmp_path)).list()] == [
        "failed",
        "budget_exhausted",
    ]


async def test_answers_that_stay_wrong_are_paid_for_and_raised(tmp_path: Path) -> None:
    models = Models(say={"architecture": lambda _: json.dumps({**ARCHITECTURE, "api_paradigm": "soap"})})
    with pytest.raises(UnusableAnswers, match="api_paradigm"):
        await advisor(models, tmp_path).analyze(EDITOR, project_id="advice-1")
    state = await ControlPlane(environment(tmp_path)).state("advice-1")
    assert state is not None
    assert state.status is ProjectStatus.FAILED
    assert len(state.calls) == len(models.asked) > 0


async def test_a_decision_that_comes_too_late_is_an_error_and_the_run_is_timed_out(tmp_path: Path) -> None:
    models = Models()
    slow = {name: ScriptedProvider(models.answer, delay_seconds=60.0) for name in models.names}
    late = ArchitectureAdvisor(env=environment(tmp_path), providers=slow, budget=Budget(1.0, 1.5))
    with pytest.raises(OutOfTime, match="The time limit of 2 s is reached"):
        await late.analyze(EDITOR)
    (row,) = await ControlPlane(environment(tmp_path)).list()
    assert row.status is ProjectStatus.TIMED_OUT
    assert row.spent_usd > 0


async def test_the_operators_cap_over_all_runs_counts_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("budgets: {org: 0.0001}\n")
    models = Models()
    with pytest.raises(BudgetError, match="org"):
        await advisor(models, tmp_path).analyze(EDITOR)
    assert models.asked == []


async def test_a_call_that_a_crash_lost_counts_at_its_reservation_when_the_id_is_given_again(tmp_path: Path) -> None:
    # given: a process died after it had reserved the call
    await advisor(Models(), tmp_path).analyze(EDITOR, project_id="advice-1")
    async with ControlPlane.open(environment(tmp_path), providers={}) as plane:
        fence = await RunStore(plane.database).claim("advice-1")
        await Ledger(plane.database, "advice-1", fence).reserve(
            charged=("run:advice-1",), task_id="", purpose=Purpose.ARCHITECTURE, provider="openai", model="gpt-4o",
            amount=3 * 10**10, input_tokens=10, output_tokens=10,
        )  # fmt: skip
    # when
    models = Models()
    await advisor(models, tmp_path).analyze(EDITOR, project_id="advice-1")
    # then: the lost call counts, and the kept answer is not paid for again
    state = await ControlPlane(environment(tmp_path)).state("advice-1")
    assert state is not None
    assert [call.estimated for call in state.calls] == [False, True]
    assert state.calls[1].cost_usd == 0.03
    assert models.asked == []


async def test_a_build_with_the_id_of_an_analysis_goes_on_with_what_was_decided(tmp_path: Path) -> None:
    models = Models()
    await advisor(models, tmp_path).analyze("Notes about lakes", project_id="lakes")
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    state = await Orchestrator(env=environment(tmp_path), providers=providers).run_project(
        "Notes about lakes", project_id="lakes"
    )
    assert state.status is ProjectStatus.COMPLETED
    assert models.counts()["architecture"] == 1
    assert "docs/adr/0001-architecture.md" in state.files


async def test_a_run_that_has_a_plan_is_not_asked_about_again(tmp_path: Path) -> None:
    models = Models()
    built = await models.run(tmp_path, run_id="built", job=spec_from_text("Notes about lakes"))
    with pytest.raises(UsageError, match="already has a plan"):
        await advisor(models, tmp_path).analyze(EDITOR, project_id="built")
    assert await ControlPlane(environment(tmp_path)).state("built") == built
