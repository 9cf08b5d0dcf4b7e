"""The orchestrator as a library: one object, one coroutine."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    AppBuilder,
    ArchitectureAdvisor,
    Budget,
    OrchestrationAgent,
    Orchestrator,
    Policy,
    PolicySet,
    ProjectEventBus,
    ProjectState,
    ProjectStatus,
)
from orchestrator.errors import UsageError
from orchestrator.hooks import EventType
from orchestrator.metrics import ConsoleExporter, JSONExporter
from orchestrator.optimization import WeightedSumBackend
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose
from orchestrator.titles import new_run_id, slug
from tests.unit.orchestrator.models import Models, a_job, plan, task


def orchestrator(models: Models, home: Path, **given_: object) -> Orchestrator:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return Orchestrator(env={"ORCHESTRATOR_HOME": str(home)}, providers=providers, **given_)  # type: ignore[arg-type]


async def test_a_project_is_built_into_a_folder(tmp_path: Path) -> None:
    state = await orchestrator(Models(), tmp_path / "home").run_project(
        "Notes about lakes", "one note", output_dir=tmp_path / "out"
    )
    assert state.status is ProjectStatus.COMPLETED
    assert (tmp_path / "out" / "a.md").read_text() == "# a.md\n"
    assert state.criteria == "one note"


async def test_its_budget_and_policies_bind(tmp_path: Path) -> None:
    models = Models()
    broke = await orchestrator(models, tmp_path, budget=Budget(0.0)).run_project("Notes")
    assert broke.status is ProjectStatus.BUDGET_EXHAUSTED
    closed = PolicySet([Policy(allowed_providers=["google"])])
    shut = await orchestrator(models, tmp_path, policy_set=closed).run_project("Notes")
    assert shut.outcome.code == "no_model"
    assert models.asked == []


async def test_the_backend_decides_who_writes(tmp_path: Path) -> None:
    async def writer(built: Orchestrator, models: Models) -> str:
        await built.run_project("Notes")
        return models.of(Purpose.GENERATE)[0].model.id

    models = [Models() for _ in range(3)]
    greedy = orchestrator(models[0], tmp_path)
    best = orchestrator(models[1], tmp_path, optimization_backend=WeightedSumBackend(1.0, 0.0, 0.0))
    cheapest = orchestrator(models[2], tmp_path)
    cheapest.set_optimization_backend(WeightedSumBackend(0.0, 1.0, 0.0))
    assert await writer(greedy, models[0]) == "gpt-5-mini"
    assert await writer(best, models[1]) == "claude-opus-4-8"
    assert await writer(cheapest, models[2]) == "gpt-4o-mini"
    cheapest.set_optimization_backend(None)
    models[2].asked.clear()
    assert await writer(cheapest, models[2]) == "gpt-5-mini"


async def test_the_id_of_a_run_that_exists_goes_on_with_it(tmp_path: Path) -> None:
    models = Models()
    await orchestrator(models, tmp_path, budget=Budget(0.0)).run_project("Notes", project_id="one")
    state = await orchestrator(models, tmp_path).run_project("Notes", project_id="one")
    assert (state.project_id, state.status) == ("one", ProjectStatus.COMPLETED)


async def test_without_a_folder_no_file_is_written_and_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # when
    state = await orchestrator(Models(), tmp_path / "home").run_project(
        project_description="Notes", success_criteria="one note", project_id="one", output_dir=None
    )
    # then
    assert state.files == ("a.md", "docs/adr/0001-architecture.md")
    assert list(folder.iterdir()) == []
    assert capsys.readouterr() == ("", "")


async def test_the_id_of_a_run_that_is_complete_pays_for_nothing_again(tmp_path: Path) -> None:
    models = Models()
    first = await orchestrator(models, tmp_path).run_project("Notes", project_id="my-project-001")
    asked = len(models.asked)
    second = await orchestrator(models, tmp_path).run_project("Notes", project_id="my-project-001")
    assert (second.project_id, second.status) == ("my-project-001", ProjectStatus.COMPLETED)
    assert second.budget.spent_usd == first.budget.spent_usd
    assert len(models.asked) == asked


async def test_without_a_description_there_is_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        await orchestrator(Models(), tmp_path).run_project("  ")


async def test_a_job_runs_under_the_lower_caps_and_the_policies_of_both(tmp_path: Path) -> None:
    models = Models()
    job = a_job("Notes about lakes", max_usd=2.0, max_time_seconds=60.0)
    state = await orchestrator(models, tmp_path, budget=Budget(5.0, 30.0)).run_job(job, "one", tmp_path / "out")
    assert (state.project_id, state.status) == ("one", ProjectStatus.COMPLETED)
    assert (state.budget.max_usd, state.budget.max_time_seconds) == (2.0, 30.0)
    assert (tmp_path / "out" / "a.md").exists()
    closed = a_job("Notes", policies=PolicySet([Policy(allowed_providers=["anthropic"])]))
    only_openai = PolicySet([Policy(allowed_providers=["openai"])])
    with pytest.raises(UsageError, match="nothing that both allow is left"):
        await orchestrator(models, tmp_path, policy_set=only_openai).run_job(closed)


async def names(bus: ProjectEventBus) -> list[str]:
    return [event.type.value async for event in bus.subscribe()]


async def test_recipe_5_a_monitor_started_beside_the_run_hears_all_of_it_and_ends_with_it(tmp_path: Path) -> None:
    # given
    said: list[str] = []

    async def monitor_events(bus: ProjectEventBus) -> None:
        async for event in bus.subscribe():
            if event.type == "TaskCompleted":
                said.append(f"{event.data['task_id']}: {event.data['score']:.3f}")
            elif event.type == "ProjectCompleted":
                said.append(f"finished: {event.data['status']}")

    orch = orchestrator(Models(), tmp_path)
    # when
    run_task = asyncio.create_task(
        orch.run_project(project_description="Build a rate limiter", success_criteria="pytest passes")
    )
    bus = orch.get_event_bus()
    monitor_task = asyncio.create_task(monitor_events(bus))
    state = await run_task
    await monitor_task
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert said == ["a: 0.900", "finished: completed"]
    # and who comes late reads the same, also after the end
    late = await names(orch.get_event_bus())
    assert (late[0], late[-1], late.count("TaskCompleted")) == ("ProjectStarted", "ProjectCompleted", 1)


async def test_the_bus_of_the_first_run_is_there_before_it_and_each_later_run_has_its_own(tmp_path: Path) -> None:
    orch = orchestrator(Models(), tmp_path)
    first = orch.get_event_bus()
    listening = asyncio.create_task(names(first))
    await orch.run_project("Notes", project_id="one")
    assert (await listening)[-1] == "ProjectCompleted"
    # Two at once: each bus is taken right after its run was asked for.
    runs = []
    buses = []
    for name in ("two", "three"):
        runs.append(asyncio.create_task(orch.run_project("Notes", project_id=name)))
        buses.append(orch.get_event_bus())
    await asyncio.gather(*runs)
    assert [{event.run_id async for event in bus.subscribe()} for bus in (first, *buses)] == [
        {"one"},
        {"two"},
        {"three"},
    ]


@pytest.mark.parametrize(
    "ending", ["raises", "raises when it is awaited", "cancelled", "cancelled before its first step", "never started"]
)
async def test_subscribers_end_however_the_run_does(tmp_path: Path, ending: str) -> None:
    # given
    orch = orchestrator(Models(), tmp_path)
    run = orch.run_project("  " if "raises" in ending else "Notes")
    listening = asyncio.create_task(names(orch.get_event_bus()))
    # when
    if ending == "never started":
        run.close()
    elif ending == "raises when it is awaited":
        with pytest.raises(UsageError):
            await run
    else:
        running = asyncio.create_task(run)
        if ending == "cancelled":
            await anext(orch.get_event_bus().subscribe())
        if ending != "raises":
            running.cancel()
        [ended] = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(ended, UsageError if ending == "raises" else asyncio.CancelledError)
    # then
    async with asyncio.timeout(10):
        heard = await listening
    assert heard[-1:] == (["ProjectCompleted"] if ending == "cancelled" else [])


async def test_hooks_hear_every_run_and_a_failing_one_fails_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # given
    said: list[str] = []

    def broken(**_: object) -> None:
        raise RuntimeError("no")

    async def later(task_id: str, **_: object) -> None:
        await asyncio.sleep(0)
        said.append(f"started {task_id}")

    orch = orchestrator(Models(plan=plan(task("a"), task("b", "a"))), tmp_path)
    orch.add_hook(EventType.TASK_COMPLETED, broken)
    orch.add_hook(
        EventType.TASK_COMPLETED,
        lambda task_id, result, **_: said.append(f"{task_id}: score={result.score:.3f}, ${result.cost_usd >= 0}"),
    )
    orch.add_hook(EventType.TASK_STARTED, later)
    # when
    with caplog.at_level(logging.ERROR):
        state = await orch.run_project("Notes")
    orch.remove_hook(EventType.TASK_STARTED, later)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert said == ["started a", "a: score=0.900, $True", "started b", "b: score=0.900, $True"]
    assert [record.getMessage().split(" failed")[0].rsplit(".", 1)[-1] for record in caplog.records] == ["broken"]
    await orch.run_project("Notes")
    assert said[4:] == ["a: score=0.900, $True", "b: score=0.900, $True"]


async def test_a_failed_check_is_told_to_hooks_with_its_task(tmp_path: Path) -> None:
    said: list[str] = []
    broken = json.dumps({"files": [{"path": "a.py", "content": "def (:\n"}], "notes": ""})
    models = Models(
        plan=plan(task("a", files=["a.py"])), say={"generate": lambda _: broken, "revise": lambda _: broken}
    )
    orch = orchestrator(models, tmp_path)
    orch.add_hook(EventType.VALIDATION_FAILED, lambda task_id, **_: said.append(task_id))
    state = await orch.run_project("Notes")
    assert state.status is not ProjectStatus.COMPLETED
    assert said[:3] == ["a", "a", "a"]
    assert "" in said  # the whole project


async def test_metrics_are_exported_wherever_the_exporter_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orch = orchestrator(Models(), tmp_path / "home")
    with pytest.raises(UsageError, match=r"No metrics exporter is set[\s\S]*set_metrics_exporter"):
        orch.export_metrics()
    orch.set_metrics_exporter(ConsoleExporter())
    state: ProjectState = await orch.run_project("Notes about lakes", output_dir=tmp_path / "out")
    orch.export_metrics()
    table = capsys.readouterr().out
    orch.set_metrics_exporter(JSONExporter(tmp_path / "metrics.json"))
    orch.export_metrics()
    exported = (tmp_path / "metrics.json").read_text()
    # What is exported is what the report bills.
    models = json.loads(exported)["models"]
    assert sum(model["calls"] for model in models) == len(state.calls) == 5
    assert sum(model["cost_usd"] for model in models) == pytest.approx(state.budget.spent_usd)
    assert {model["model"] for model in models} == {call.model for call in state.calls}
    assert all(f"{call.provider}/{call.model}" in table for call in state.calls)
    assert json.loads(exported)["runs"] == {"completed": 1}


async def test_sec_34_metrics_hold_no_text_name_or_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = Models(plan=plan(task("nightingale-task", files=["nightingale/a.md"])))
    orch = orchestrator(models, tmp_path)
    await orch.run_project("Project Nightingale", "nightingale criteria", project_id="nightingale-run")
    orch.set_metrics_exporter(ConsoleExporter())
    orch.export_metrics()
    orch.set_metrics_exporter(JSONExporter(tmp_path / "metrics.json"))
    orch.export_metrics()
    exported = capsys.readouterr().out + (tmp_path / "metrics.json").read_text()
    assert "code_generation" in exported
    assert "nightingale" not in exported.lower()


@given(st.text(max_size=80))
def test_a_slug_is_short_and_plain_and_never_empty(title: str) -> None:
    made = slug(title)
    assert 1 <= len(made) <= 40
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert made.strip("-") == made


def test_two_runs_of_one_title_get_two_ids() -> None:
    one, two = new_run_id("Lakes!"), new_run_id("Lakes!")
    assert one != two
    assert one.startswith("lakes-")
    assert new_run_id("湖").startswith("run-")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": 0}, "budget must be a Budget, not 0."),
        ({"budget": 5.0}, "budget must be a Budget, not 5.0."),
        ({"policy_set": []}, "policy_set must be a PolicySet, not []."),
        ({"policy_set": Policy()}, "policy_set must be a PolicySet, not Policy("),
        ({"max_concurrency": 0}, "max_concurrency must be a whole number from 1 up, not 0."),
        ({"max_concurrency": "6"}, "max_concurrency must be a whole number from 1 up, not '6'."),
        ({"cost_predictor": 0.1}, "cost_predictor must be a CostPredictor, not 0.1."),
        ({"budget_hierarchy": {"org": 1.0}}, "budget_hierarchy must be a BudgetHierarchy, not {'org': 1.0}."),
        ({"optimization_backend": "pareto"}, "An optimization backend must be an object that ranks, not 'pareto'."),
        ({"optimization_backend": WeightedSumBackend}, "An optimization backend must be an object that ranks, not <"),
    ],
)
def test_an_argument_of_another_kind_is_refused_before_any_run(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Orchestrator(env={}, **wrong)
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize("kind", [AppBuilder, ArchitectureAdvisor, OrchestrationAgent])
@pytest.mark.parametrize("wrong", [{"budget": 0}, {"policy_set": Policy()}])
def test_no_way_in_takes_a_number_for_a_budget_or_a_policy_for_a_set(kind: type, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"must be a (Budget|PolicySet), not"):
        kind(env={}, **wrong)


def test_a_hook_that_cannot_be_called_is_refused_when_it_is_added() -> None:
    with pytest.raises(UsageError, match=r"A hook must be a function, not 'shout'\."):
        Orchestrator(env={}).add_hook(EventType.TASK_COMPLETED, "shout")  # type: ignore[arg-type]


def test_an_exporter_that_cannot_export_is_refused_when_it_is_set() -> None:
    with pytest.raises(UsageError, match=r"A metrics exporter must be an object that exports, not 'console'\."):
        Orchestrator(env={}).set_metrics_exporter("console")  # type: ignore[arg-type]
