"""What a run learns, whom it tells, and that a run which is gone on with still chooses as it began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import Budget, CostPredictor, Orchestrator, ProjectStatus
from orchestrator.events import Event, EventType
from orchestrator.prediction import Attempt, Observation, Work
from orchestrator.prompts import version
from orchestrator.providers.base import Completion, CompletionRequest, Usage
from orchestrator.providers.scripted import Scripted, ScriptedProvider
from orchestrator.report import report
from orchestrator.state import Purpose
from orchestrator.store import Database, ObservationStore
from tests.unit.orchestrator.models import (
    APPROVED,
    JUDGED,
    Models,
    Say,
    a_job,
    files,
    in_turn,
    plan,
    sent_back,
    task,
    task_of,
    written,
)

CODE = "code_generation"


def known(database: Database, scope: str = "") -> ObservationStore:
    return ObservationStore(database, scope, {purpose: version(purpose) for purpose in Purpose})


async def seen(models: Models, home: Path, scope: str = "") -> dict[Work, Observation]:
    async with models.plane(home) as plane:
        return {one.work: one for one in await known(plane.database, scope).read()}


def using(text: Say, usage: Usage) -> Say:
    def say(request: CompletionRequest) -> Scripted:
        answer = text(request)
        assert isinstance(answer, str)
        return Completion(answer, usage)

    return say


def reviewing_badly(name: str) -> Say:
    def review(request: CompletionRequest) -> str:
        return sent_back("wrong") if task_of(request) == name else json.dumps(APPROVED)

    return review


def warnings(events: list[Event]) -> list[tuple[str, float]]:
    return [(event.data["phase"], event.data["threshold"]) for event in events if event.type == "BudgetWarning"]


async def test_a_run_learns_what_its_calls_cost_and_how_first_attempts_went(tmp_path: Path) -> None:
    # given
    models = Models(plan=plan(task("a"), task("b")), say={"generate": using(written, Usage(1_000, 200))})
    # when
    state = await models.run(tmp_path)
    # then
    found = await seen(models, tmp_path)
    writer, reviewer = state.results["a"].model, state.results["a"].reviewer_model
    written_by = found[Work(writer, Purpose.GENERATE, CODE)]
    assert (written_by.calls, written_by.input_tokens, written_by.output_tokens) == (2, 1_000, 200)
    assert (written_by.tried, written_by.passed, written_by.score) == (2, 1.0, 0.9)
    assert found[Work(reviewer, Purpose.REVIEW, CODE)].calls == 2
    assert {work.purpose.value for work in found if not work.task_type} == {"architecture", "decompose", "evaluate"}
    paid = sum(one.cost_usd * one.calls for one in found.values())
    assert paid == pytest.approx(state.budget.spent_usd)


@pytest.mark.parametrize(
    ("say", "attempt"),
    [
        ({"review": in_turn(sent_back("wrong"), json.dumps(APPROVED))}, Attempt(False, 0.3)),
        (
            {"generate": lambda _: files(**{"a.json": "{"}), "revise": lambda _: files(**{"a.json": "{}"})},
            Attempt(False, 0.5),
        ),
        (
            {"generate": lambda _: files(**{"../a": "x"}), "revise": lambda _: files(**{"a.json": "{}"})},
            Attempt(False, 0.0),
        ),
        ({"generate": lambda _: files(), "revise": lambda _: files(**{"a.json": "{}"})}, Attempt(False, 0.0)),
    ],
    ids=["sent back", "failed its checks", "could not be applied", "changed nothing"],
)
async def test_a_first_attempt_that_does_not_pass_is_worth_less_and_counts_once(
    tmp_path: Path, say: dict[str, Say], attempt: Attempt
) -> None:
    # given
    models = Models(
        plan=plan(task("a", files=["a.json"])), say={"generate": lambda _: files(**{"a.json": "{}"}), **say}
    )
    models.say = {**models.say, "revise": models.say.get("revise", lambda _: files(**{"a.json": "[]"}))}
    # when
    state = await models.run(tmp_path)
    # then
    assert (state.status, state.results["a"].attempts) == (ProjectStatus.COMPLETED, 2)
    one = (await seen(models, tmp_path))[Work(state.results["a"].model, Purpose.GENERATE, CODE)]
    assert (one.tried, one.passed, one.score) == (1, attempt.passed, attempt.score)


async def test_a_model_whose_answers_are_of_no_use_has_failed_and_the_next_one_is_judged_by_its_own(
    tmp_path: Path,
) -> None:
    # given: the first model that is asked to write answers with no JSON, however often
    first: list[str] = []

    def generate(request: CompletionRequest) -> str:
        first.append(request.model.id)
        return "no JSON" if request.model.id == first[0] else written(request)

    models = Models(say={"generate": generate})
    # when
    state = await models.run(tmp_path)
    # then
    found = await seen(models, tmp_path)
    failed = found[Work(first[0], Purpose.GENERATE, CODE)]
    assert (failed.tried, failed.passed, failed.score) == (1, 0.0, 0.0)
    assert found[Work(state.results["a"].model, Purpose.GENERATE, CODE)].score == 0.9


async def test_the_next_run_forecasts_from_what_was_paid(tmp_path: Path) -> None:
    # given: writing costs a hundred times what list prices of a small file would
    models = Models(say={"generate": using(written, Usage(100_000, 50_000))})
    before = (await models.run(tmp_path, run_id="one")).forecast
    # when
    after = (await models.run(tmp_path, run_id="two", plan_only=True)).forecast
    # then
    assert before is not None
    assert after is not None
    paid = (await seen(models, tmp_path))[Work(after.models["a"], Purpose.GENERATE, CODE)].cost_usd
    assert before.estimated_by_phase["generation"] < paid / 2
    assert paid <= after.estimated_by_phase["generation"] < paid * 1.5


async def test_the_users_predictor_learns_from_the_run_and_from_what_the_store_knew(tmp_path: Path) -> None:
    # given
    models = Models()
    await models.run(tmp_path, run_id="one")
    predictor = CostPredictor(alpha=0.5)
    environment = {"ORCHESTRATOR_HOME": str(tmp_path)}
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    # when
    state = await Orchestrator(Budget(5.0), cost_predictor=predictor, env=environment, providers=providers).run_project(
        "Notes about lakes"
    )
    # then
    mine = predictor.predict(state.results["a"].model, Purpose.GENERATE, CODE)
    assert mine is not None
    assert (mine.calls, mine.tried) == (2, 2)
    assert predictor.observations() == tuple((await seen(models, tmp_path)).values())


async def test_a_run_that_is_gone_on_with_asks_the_models_it_began_with_and_pays_nothing_twice(tmp_path: Path) -> None:
    # given: everything but the last word was said, then the process died, and meanwhile others saw the writer fail
    models = Models()
    writer = (await models.run(tmp_path)).results["a"].model
    async with models.plane(tmp_path) as plane:
        for _ in range(100):
            await known(plane.database).add([(Work(writer, Purpose.GENERATE, CODE), Attempt(False, 0.0))], 0.1)
        async with plane.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE tasks SET status = 'running', result = NULL")
            await connection.exec_driver_sql("UPDATE runs SET status = 'running', evaluation = NULL")
            await connection.exec_driver_sql("DELETE FROM artifacts WHERE path = 'a.md'")
    asked = len(models.asked)
    # when
    state = await models.run(tmp_path)
    # then
    assert len(models.asked) == asked
    assert (state.status, state.results["a"].model) == (ProjectStatus.COMPLETED, writer)
    # and a new run is warned by what others saw
    other = await models.run(tmp_path, run_id="run-2")
    assert other.results["a"].model != writer


async def test_what_is_learned_on_a_repository_stays_with_its_owner(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("# Sample\n")
    models = Models()
    await models.run(tmp_path / "home", source=base)
    assert await seen(models, tmp_path / "home") == {}
    assert len(await seen(models, tmp_path / "home", "sample")) == 5


async def test_spending_warns_once_by_phase_and_for_the_whole_also_when_the_run_is_gone_on_with(tmp_path: Path) -> None:
    # given: two files take a little more than what 46% of the budget gives to writing, and one of them is sent back
    writing = using(written, Usage(10, 8_000))
    probe = await Models(say={"generate": writing}).run(tmp_path / "probe")
    cost = next(call.cost_usd for call in probe.calls if call.purpose is Purpose.GENERATE)
    job = a_job(max_usd=2 * cost / 0.46)
    events: list[Event] = []
    models = Models(plan=plan(task("a"), task("b", "a")), say={"generate": writing, "review": reviewing_badly("b")})
    # when
    state = await models.run(tmp_path, job=job, events=events)
    # then
    assert state.status is ProjectStatus.PARTIAL
    told = warnings(events)
    assert [threshold for phase, threshold in told if phase == "generation"] == [0.8, 1.0]
    assert len(told) == len(set(told))
    phases = report(state)["budget"]["phases"]
    assert {phase for phase, _ in told} - {"total"} == {
        phase for phase, one in phases.items() if one["spent_usd"] >= 0.8 * one["share_usd"]
    }
    # when: the file that was sent back is written anew
    models.say = {"generate": writing}
    again: list[Event] = []
    state = await models.run(tmp_path, job=job, events=again, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert [*told, *warnings(again)].count(("total", 0.5)) == 1
    assert set(warnings(again)) & set(told) == set()


async def test_what_a_crash_lost_warns_when_the_run_goes_on(tmp_path: Path) -> None:
    # given: a call of three dollars was in flight when the process died; writing has $3.60 of the eight
    models = Models()
    await models.run(tmp_path, plan_only=True)
    async with models.plane(tmp_path) as plane, plane.database.transaction() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO calls (run_id, task_id, purpose, provider, model, state, accounts, reserved, cost,"
            " input_tokens, output_tokens, created_at) VALUES ('run-1', 'a', 'generate', 'openai', 'm', 'reserved',"
            " '[\"run:run-1\"]', 3000000000000, 0, 1, 1, 0)"
        )
        await connection.exec_driver_sql("UPDATE accounts SET reserved = 3000000000000 WHERE id = 'run:run-1'")
    # when
    events: list[Event] = []
    state = await models.run(tmp_path, events=events)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert [event.type for event in events[:2]] == [EventType.PROJECT_STARTED, EventType.BUDGET_WARNING]
    assert warnings(events) == [("generation", 0.8)]
    assert events[1].data["ratio"] == pytest.approx(3.0 / 3.6)
    assert events[1].data["spent_usd"] == 3.0


async def test_the_report_shows_each_phase_and_the_whole_forecast(tmp_path: Path) -> None:
    shown = report(await Models().run(tmp_path))
    phases = shown["budget"]["phases"]
    assert phases["generation"]["share_usd"] == pytest.approx(3.6)
    assert sum(one["spent_usd"] for one in phases.values()) == pytest.approx(shown["budget"]["spent_usd"])
    assert phases["reserve"]["spent_usd"] == 0.0
    expected = shown["forecast"]
    assert expected["low_usd"] <= expected["estimated_usd"] <= expected["high_usd"]
    assert expected["risk_level"] == "low"
    assert sum(one["estimated_usd"] for one in expected["phases"].values()) == pytest.approx(expected["estimated_usd"])
    assert JUDGED["score"] == shown["score"]
