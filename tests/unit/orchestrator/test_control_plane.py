"""The one door: with or without an open plane, what is submitted is checked before anything is spent."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import Budget, ControlPlane, JobSpec, Policy, PolicySet, ProjectStatus
from orchestrator.artifacts import Changes
from orchestrator.control_plane import Source
from orchestrator.errors import RunCancelled, UsageError
from orchestrator.events import Event
from orchestrator.output import OutputFolder
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.sections import BudgetSpec, ValidationSpec
from orchestrator.specs import spec_from_text
from orchestrator.state import ProjectState, Purpose
from tests.loopback import ModelServer
from tests.reports import read_report
from tests.unit.orchestrator.models import AT_ONCE, Models, a_job


def plane_of(models: Models, home: Path) -> ControlPlane:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return ControlPlane({"ORCHESTRATOR_HOME": str(home)}, providers=providers, persistence=AT_ONCE)


async def test_a_plane_that_nobody_opened_opens_what_it_needs_for_each_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    plane = plane_of(Models(), tmp_path)
    # when
    state = await plane.submit(a_job("Notes about lakes"))
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert state.project_id.startswith("notes-about-lakes-")
    assert await plane.state(state.project_id) == state
    assert [row.id for row in await plane.list()] == [state.project_id]
    assert (await plane.changes(state.project_id))["a.md"] == b"# a.md\n"
    job = await plane.job(state.project_id)
    assert job is not None
    assert job.description == "Notes about lakes"
    assert capsys.readouterr() == ("", "")


async def test_without_arguments_it_works_with_what_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer() as server:
        for name, value in {**server.environment(["openai"]), "ORCHESTRATOR_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        state = await ControlPlane().submit(JobSpec(description="Notes"), Policy(blocked_models=["gpt-4o"]), run_id="n")
        models = {call.model for call in server.journal}
    assert state.project_id == "n"
    assert state.built
    assert models
    assert "gpt-4o" not in models


async def test_a_text_is_a_job_and_a_policy_binds_besides_the_jobs_own(tmp_path: Path) -> None:
    models = Models(names=("openai", "anthropic", "google"))
    plane = plane_of(models, tmp_path)
    state = await plane.submit("Notes about lakes", Policy(allowed_providers=["openai", "google"]))
    assert state.status is ProjectStatus.COMPLETED
    asked = len(models.asked)
    own = a_job(policies=PolicySet([Policy(allowed_providers=["anthropic", "google"])]))
    await plane.submit(own, PolicySet([Policy(allowed_providers=["openai", "google"])]), run_id="both")
    assert {request.model.provider for request in models.asked[:asked]} <= {"openai", "google"}
    assert {request.model.provider for request in models.asked[asked:]} == {"google"}


async def test_a_run_that_nobody_may_write_for_is_refused_before_its_plan_is_paid(tmp_path: Path) -> None:
    # given: the cap per task leaves models for the small calls, and none for writing
    cap = Policy(name="small", max_cost_per_task_usd=0.035)
    models = Models(names=("anthropic",))
    # when
    state = await plane_of(models, tmp_path).submit(a_job(), cap)
    # then
    assert models.asked == []
    assert (state.status, state.outcome.code) == (ProjectStatus.FAILED, "no_model")
    assert "No model may answer the generate call" in state.outcome.reason
    assert "(policy small)" in state.outcome.reason


async def test_a_job_without_money_or_words_or_a_name_spends_nothing(tmp_path: Path) -> None:
    models = Models()
    plane = plane_of(models, tmp_path)
    broke = await plane.submit(JobSpec(description="Notes", budget=BudgetSpec(0.0)))
    assert broke.status is ProjectStatus.BUDGET_EXHAUSTED
    with pytest.raises(UsageError, match="no description"):
        await plane.submit(JobSpec(title="Notes"))
    with pytest.raises(UsageError, match="empty"):
        await plane.submit("  ")
    with pytest.raises(UsageError, match="cannot name a run"):
        await plane.submit("Notes", run_id="../notes")
    (tmp_path / "config.yaml").write_text("enabled: false\n")
    with pytest.raises(RunCancelled):
        await plane.submit("Notes")
    assert models.asked == []
    assert len(await plane.list()) == 1


async def test_what_only_an_open_plane_has_is_refused_with_what_to_do(tmp_path: Path) -> None:
    plane = plane_of(Models(), tmp_path)
    with pytest.raises(UsageError, match=r"async with ControlPlane\.open"):
        _ = plane.database
    async with ControlPlane.open({"ORCHESTRATOR_HOME": str(tmp_path)}, providers={}) as opened:
        assert opened.providers == ()
        assert opened.operator.tasks_at_once == 3


async def test_a_consultation_under_a_run_counts_into_what_its_build_may_spend(tmp_path: Path) -> None:
    # given
    models = Models()
    plane = plane_of(models, tmp_path)
    await plane.advise("Notes about lakes", run_id="lakes")
    before = await plane.state("lakes")
    assert before is not None
    assert before.budget.spent_usd > 0
    # when
    state = await plane.submit("Notes about lakes", run_id="lakes")
    # then
    assert len(models.of(Purpose.ARCHITECTURE)) == 1
    assert state.budget.spent_usd > before.budget.spent_usd
    assert state.budget.max_usd == Budget().max_usd


async def test_what_is_no_job_text_or_policy_is_refused_with_what_to_give(tmp_path: Path) -> None:
    models = Models()
    plane = plane_of(models, tmp_path)
    with pytest.raises(UsageError, match=r"The job must be a JobSpec, not None\."):
        await plane.submit(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"The policy must be a PolicySet, not \{'name': 'x'\}\."):
        await plane.submit("Notes", {"name": "x"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"The description must be a str, not 5\."):
        spec_from_text(5)  # type: ignore[arg-type]
    assert models.asked == []


async def test_a_runs_validators_run_again_on_a_folder_without_a_model_or_a_trace(tmp_path: Path) -> None:
    models = Models()
    plane = plane_of(models, tmp_path / "home")
    job = JobSpec(description="Notes", validation=ValidationSpec(validators=("python_syntax",)))
    state = await plane.submit(job, run_id="notes")
    asked, root = len(state.calls), tmp_path / "head"
    root.mkdir()
    (root / "broken.py").write_text("def f(:\n")

    (result,) = await plane.validate("notes", root)

    assert (result.validator, result.status.value) == ("python_syntax", "failed")
    assert [(it.path, it.line) for it in result.findings] == [("broken.py", 1)]
    after = await plane.state("notes")
    assert after == state
    assert len(state.calls) == asked
    with pytest.raises(UsageError, match="There is no run other"):
        await plane.validate("other", root)


async def test_what_a_month_leaves_is_the_cap_of_every_run_of_its_repository_and_a_refusal_says_when_it_turns(
    tmp_path: Path,
) -> None:
    config, root = tmp_path / "config.yaml", tmp_path / "base"
    config.write_text("per_repository: {usd_per_month: 0.02}\n")
    root.mkdir()
    models = Models()
    env = {"ORCHESTRATOR_HOME": str(tmp_path / "home"), "ORCHESTRATOR_CONFIG": str(config)}
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    plane = ControlPlane(env, providers=providers, persistence=AT_ONCE)

    states = [
        await plane.submit(a_job("Notes about lakes"), run_id=f"run-{number}", source=Source(root, "octo/demo", "ada"))
        for number in range(12)
    ]
    elsewhere = await plane.submit(a_job("Notes"), run_id="other", source=Source(root, "octo/other", "ada"))

    assert sum(state.budget.spent_usd for state in states) <= 0.02
    last = states[-1]
    assert last.status is ProjectStatus.BUDGET_EXHAUSTED
    assert "the budget of octo/demo for 2" in last.outcome.reason
    assert "at 00:00 UTC; before that the operator of this bot can raise the limit." in last.outcome.reason
    assert elsewhere.status is ProjectStatus.COMPLETED


async def test_a_run_whose_reader_has_left_is_delivered_all_the_same(tmp_path: Path) -> None:
    # given: a follower that writes into a pipe which nobody reads any more
    reading, writing = os.pipe()
    os.close(reading)

    async def tell(event: Event) -> None:
        os.write(writing, event.type.value.encode())

    # when
    with pytest.raises(BrokenPipeError):
        await plane_of(Models(), tmp_path / "home").submit(
            a_job(), run_id="notes", output=OutputFolder.at(tmp_path / "out"), on_event=tell
        )
    os.close(writing)
    # then
    assert (tmp_path / "out" / "a.md").read_text() == "# a.md\n"
    assert read_report(tmp_path / "out" / ".orchestrator" / "report.json")["status"] == "completed"


async def test_a_cancellation_is_heard_although_the_reader_has_left(tmp_path: Path) -> None:
    models = Models()

    async def tell(event: Event) -> None:
        raise BrokenPipeError

    def stop(_: CompletionRequest) -> str:
        submitting.cancel()
        return models.plan

    models.say = {"decompose": stop}
    submitting = asyncio.create_task(plane_of(models, tmp_path).submit(a_job(), run_id="notes", on_event=tell))
    with pytest.raises(asyncio.CancelledError):
        await submitting
    state = await plane_of(models, tmp_path).state("notes")
    assert state is not None
    assert state.status is ProjectStatus.INTERRUPTED


async def test_a_delivery_that_is_cancelled_is_over_when_the_cancellation_is_heard(tmp_path: Path) -> None:
    # given: a folder during whose delivery the run is cancelled
    over: list[bool] = []
    loop = asyncio.get_running_loop()

    @dataclass(frozen=True)
    class Watched(OutputFolder):
        def deliver(self, changes: Changes, state: ProjectState) -> None:
            loop.call_soon_threadsafe(submitting.cancel)
            for _ in range(20):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            super().deliver(changes, state)
            over.append(True)

    async with Models().plane(tmp_path / "home") as plane:
        submitting = asyncio.create_task(plane.submit(a_job(), run_id="notes", output=Watched(tmp_path / "out")))
        # when
        with pytest.raises(asyncio.CancelledError):
            await submitting
        # then
        assert over == [True]
    assert (tmp_path / "out" / "a.md").read_text() == "# a.md\n"
