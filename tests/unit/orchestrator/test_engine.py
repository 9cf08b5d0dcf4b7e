"""How a run goes and how it ends: every status is honest, and a resume costs nothing twice."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.control_plane import ControlPlane, Source
from orchestrator.errors import OutputConflict, ProviderRejected, ProviderUnavailable, StoreError, UsageError
from orchestrator.events import Event, EventType
from orchestrator.hierarchy import BudgetHierarchy
from orchestrator.policy import EnforcementMode, Policy, PolicySet
from orchestrator.prediction import CostPredictor, Observation
from orchestrator.providers.base import Completion, CompletionRequest, Usage
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.report import report
from orchestrator.sections import ValidationSpec
from orchestrator.specs import Feedback, JobSpec
from orchestrator.state import ProjectStatus, Purpose, TaskStatus
from tests.unit.orchestrator.models import (
    APPROVED,
    ARCHITECTURE,
    JUDGED,
    Models,
    Say,
    a_job,
    changes,
    files,
    in_turn,
    plan,
    sent_back,
    task,
    task_of,
    written,
)

THREE = plan(task("a"), task("b", "a"), task("c"))


def failing(*names: str) -> dict[str, Say]:
    def review(request: CompletionRequest) -> str:
        return sent_back("wrong") if task_of(request) in names else json.dumps(APPROVED)

    return {"review": review}


async def test_a_run_whose_tasks_and_checks_pass_is_completed(tmp_path: Path) -> None:
    state = await Models(plan=THREE).run(tmp_path)
    assert state.status is ProjectStatus.COMPLETED
    assert state.outcome.code == "changed"
    assert {one: result.status.value for one, result in state.results.items()} == dict.fromkeys("abc", "completed")
    assert state.files == ("a.md", "b.md", "c.md", "docs/adr/0001-architecture.md")
    assert state.score == 0.8


async def test_a_failed_task_skips_its_dependents_only(tmp_path: Path) -> None:
    models = Models(plan=plan(task("a"), task("b", "a"), task("c"), task("d", "b")), say=failing("a"))
    state = await models.run(tmp_path)
    assert {one: result.status.value for one, result in state.results.items()} == {
        "a": "failed",
        "b": "skipped",
        "c": "completed",
        "d": "skipped",
    }
    assert state.status is ProjectStatus.PARTIAL
    assert state.outcome.code == "incomplete"
    assert state.outcome.reason == "not completed: a, b, d"


async def test_a_run_that_built_nothing_is_failed_and_says_why(tmp_path: Path) -> None:
    models = Models(say={"generate": lambda _: changes(files=[]), "revise": lambda _: changes(files=[])})
    state = await models.run(tmp_path)
    assert state.status is ProjectStatus.FAILED
    assert state.outcome.reason == "Nothing was built; a failed: You changed nothing."
    assert (state.outcome.code, state.results["a"].code) == ("nothing_to_do", "nothing_changed")


@pytest.mark.parametrize(
    "bad",
    [plan(task("a", "b"), task("b", "a")), plan(task("a", "a")), plan(task("a", "ghost"), task("b"))],
    ids=["a cycle", "a task that waits for itself", "an unknown dependency"],
)
async def test_a_plan_that_cannot_be_run_is_never_completed_and_writes_nothing(tmp_path: Path, bad: str) -> None:
    models = Models(plan=bad)
    state = await models.run(tmp_path)
    assert state.status is ProjectStatus.FAILED
    assert state.outcome.code == "no_plan"
    assert models.of(Purpose.GENERATE) == []


@pytest.mark.parametrize("verdict", ["approve", "request_changes"])
async def test_a_run_whose_reviews_all_score_low_is_never_completed(tmp_path: Path, verdict: str) -> None:
    low = json.dumps({"score": 0.1, "verdict": verdict, "findings": []})
    state = await Models(plan=THREE, say={"review": lambda _: low}).run(tmp_path)
    assert state.status is ProjectStatus.PARTIAL
    assert state.outcome.reason == "not completed: a, b, c"
    assert {name: result.score for name, result in state.results.items()} == {"a": 0.1, "b": 0.0, "c": 0.1}
    assert {result.status for result in state.results.values()} == {TaskStatus.FAILED, TaskStatus.SKIPPED}


async def test_a_deletion_alone_is_work_done(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "old.md").write_text("old")
    (base / "keep.py").write_text("VALUE = 1\n")
    models = Models(plan=plan(task("a", files=["old.md"])), say={"generate": lambda _: changes(deletions=["old.md"])})
    state = await models.run(tmp_path, source=base)
    assert state.status is ProjectStatus.COMPLETED


async def test_a_run_without_money_for_its_first_call_is_budget_exhausted(tmp_path: Path) -> None:
    models = Models()
    state = await models.run(tmp_path, job=a_job(max_usd=0.0))
    assert models.asked == []
    assert state.status is ProjectStatus.BUDGET_EXHAUSTED
    assert state.outcome.code == "budget_exhausted"


async def test_a_run_whose_money_ends_in_the_middle_is_budget_exhausted_and_nothing_is_left_running(
    tmp_path: Path,
) -> None:
    # given: what one call costs fits twice into the cap
    dear = Usage(input_tokens=10, output_tokens=20_000)

    def say(request: CompletionRequest) -> Completion:
        content = {"architecture": ARCHITECTURE, "evaluate": JUDGED, "review": APPROVED}.get(request.purpose.value)
        text = json.dumps(content) if content else THREE if request.purpose is Purpose.DECOMPOSE else written(request)
        return Completion(text, dear if request.purpose is Purpose.GENERATE else Usage(10, 10))

    models = Models(say=dict.fromkeys(("architecture", "decompose", "generate", "review", "evaluate"), say))
    # when
    state = await models.run(tmp_path, job=a_job(max_usd=0.07), concurrency=1)
    # then
    assert state.status is ProjectStatus.BUDGET_EXHAUSTED
    assert {task["status"] for task in report(state)["tasks"]} <= {"completed", "pending"}
    assert "pending" in {task["status"] for task in report(state)["tasks"]}
    spent = sum(task["cost_usd"] for task in report(state)["tasks"])
    planning = sum(call.cost_usd for call in state.calls if not call.task_id)
    assert spent + planning == pytest.approx(report(state)["budget"]["spent_usd"])


async def test_a_run_over_its_time_is_timed_out_and_nothing_is_left_running(tmp_path: Path) -> None:
    # given: every answer takes a while, and the time is over in the middle of the tasks
    models = Models(plan=THREE, delay_seconds=0.25)
    # when
    state = await models.run(tmp_path, job=a_job(max_time_seconds=0.6))
    # then
    assert state.status is ProjectStatus.TIMED_OUT
    assert state.outcome.code == "timed_out"
    assert state.outcome.reason.startswith("The time limit of ")
    assert "running" not in {task["status"] for task in report(state)["tasks"]}
    # when: it gets more time
    models.delay_seconds = 0.0
    state = await models.run(tmp_path, job=a_job(), retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED


async def test_an_interrupted_run_is_checkpointed_and_goes_on(tmp_path: Path) -> None:
    # given: the run is cancelled while the second task is written
    reached = asyncio.Event()

    def say(request: CompletionRequest) -> str:
        if task_of(request) == "b" and not reached.is_set():
            reached.set()
        return written(request)

    models = Models(plan=plan(task("a"), task("b", "a")), say={"generate": say})
    running = asyncio.create_task(models.run(tmp_path))
    await reached.wait()
    # when
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # then
    async with models.plane(tmp_path) as plane:
        state = await plane.state("run-1")
    assert state is not None
    assert state.status is ProjectStatus.INTERRUPTED
    assert [task["status"] for task in report(state)["tasks"]] == ["completed", "pending"]
    # when
    state = await models.run(tmp_path)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert len(models.of(Purpose.GENERATE, "a")) == 1
    assert len(models.of(Purpose.ARCHITECTURE)) == len(models.of(Purpose.DECOMPOSE)) == 1


async def test_without_a_provider_the_run_fails_and_names_the_variables(tmp_path: Path) -> None:
    state = await Models(names=()).run(tmp_path)
    assert state.status is ProjectStatus.FAILED
    assert state.outcome.code == "no_model"
    for word in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "DEEPSEEK_API_KEY"):
        assert word in state.outcome.reason


async def test_a_policy_that_forbids_all_models_is_named(tmp_path: Path) -> None:
    job = a_job(policies=PolicySet([Policy(name="nobody", allowed_providers=["google"])]))
    models = Models()
    state = await models.run(tmp_path, job=job)
    assert state.outcome.code == "no_model"
    assert "openai is not among google (policy nobody)" in state.outcome.reason
    assert models.asked == []


async def test_the_report_says_what_soft_policies_were_not_kept_and_what_family_names_stand_for(tmp_path: Path) -> None:
    policies = PolicySet(
        [
            Policy(name="premium", allowed_models=["claude-haiku", "gpt-5.4"]),
            Policy(name="quick", max_latency_ms=1_000, enforcement_mode=EnforcementMode.SOFT),
            Policy(name="watch", blocked_models=["claude-haiku"], enforcement_mode=EnforcementMode.MONITOR),
        ]
    )
    state = await Models().run(tmp_path, job=a_job(policies=policies))
    written_by, reviewed_by = report(state)["tasks"][0]["routing"]
    assert (written_by["model"], reviewed_by["model"]) == ("claude-haiku-4-5", "gpt-5.4")
    assert written_by["violations"] == [
        "soft policy quick: claude-haiku-4-5 takes 1500 ms, above 1000 ms",
        "monitor policy watch: claude-haiku-4-5 is blocked",
    ]
    assert reviewed_by["violations"] == ["soft policy quick: gpt-5.4 takes 5000 ms, above 1000 ms"]
    assert state.notes[:2] == (
        "policy premium: claude-haiku is claude-haiku-4-5",
        "policy watch: claude-haiku is claude-haiku-4-5",
    )
    assert "architecture: soft policy quick: claude-haiku-4-5 takes 1500 ms, above 1000 ms" in state.notes
    assert "review: soft policy quick: gpt-5.4 takes 5000 ms, above 1000 ms" in state.notes


async def test_a_resume_of_a_run_whose_plans_all_failed_asks_for_a_new_one_and_keeps_the_architecture(
    tmp_path: Path,
) -> None:
    cyclic = plan(task("a", "b"), task("b", "a"))
    models = Models(say={"decompose": in_turn(cyclic, cyclic, cyclic, plan(task("a")))})
    assert (await models.run(tmp_path)).status is ProjectStatus.FAILED

    state = await models.run(tmp_path, retry_failed=True)

    assert state.status is ProjectStatus.COMPLETED
    assert len(models.of(Purpose.DECOMPOSE)) == 4
    assert len(models.of(Purpose.ARCHITECTURE)) == 1


async def test_policies_with_errors_are_refused_before_anything_is_asked_or_kept(tmp_path: Path) -> None:
    models = Models()
    policies = PolicySet([Policy(name="nowhere", allowed_regions=[])])
    with pytest.raises(UsageError, match="policy nowhere: allowed_regions: is empty"):
        await models.run(tmp_path, job=a_job(policies=policies))
    async with models.plane(tmp_path) as plane:
        assert await plane.list() == ()
    assert models.asked == []


async def test_when_every_provider_is_down_in_the_middle_what_was_built_stays(tmp_path: Path) -> None:
    def say(request: CompletionRequest) -> str | Exception:
        if task_of(request) == "b":
            return ProviderUnavailable("down", provider="openai", model=request.model.id)
        return written(request)

    state = await Models(plan=plan(task("a"), task("b", "a")), say={"generate": say}).run(tmp_path)
    assert (state.status, state.outcome.code) == (ProjectStatus.PARTIAL, "no_model")
    assert [task["status"] for task in report(state)["tasks"]] == ["completed", "pending"]


@pytest.mark.parametrize("failure", ["key", "down"])
async def test_without_another_providers_review_nothing_is_passed_and_a_resume_goes_on_from_what_is_written(
    tmp_path: Path, failure: str
) -> None:
    # given: the provider that must review is allowed, and fails
    models = Models()

    def say(request: CompletionRequest) -> str | Exception:
        provider, model = request.model.provider, request.model.id
        if provider == models.of(Purpose.GENERATE)[0].model.provider:
            return json.dumps(APPROVED)
        if failure == "key":
            return ProviderRejected("wrong key", provider=provider, model=model, status=401)
        return ProviderUnavailable("down", provider=provider, model=model)

    # when
    models.say = {"review": say}
    state = await models.run(tmp_path)
    # then: the writer's own provider, which would approve, is not asked
    writer = models.of(Purpose.GENERATE)[0].model.provider
    assert writer not in {request.model.provider for request in models.of(Purpose.REVIEW)}
    assert (state.status, state.outcome.code) == (ProjectStatus.FAILED, "no_reviewer")
    assert [task["status"] for task in report(state)["tasks"]] == ["pending"]
    assert state.outcome.reason.startswith(f"Task a was written by {writer}, which may not approve its own work")
    assert "Go on with the run once" in state.outcome.reason
    # when: the reviewer is back
    models.say = {}
    state = await models.run(tmp_path, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert len(models.of(Purpose.GENERATE)) == 1


async def test_a_plan_only_run_generates_nothing_and_goes_on_with_the_same_plan(tmp_path: Path) -> None:
    # given
    models = Models(plan=THREE)
    # when
    state = await models.run(tmp_path, plan_only=True)
    # then
    assert models.counts() == {"architecture": 1, "decompose": 1}
    assert (state.status, state.outcome.code) == (ProjectStatus.WAITING, "planned")
    assert state.forecast is not None
    assert 0 < state.forecast.low_usd < state.forecast.high_usd
    # when
    state = await models.run(tmp_path)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert len(models.of(Purpose.DECOMPOSE)) == 1


async def test_a_resume_asks_failed_tasks_anew_and_keeps_completed_ones(tmp_path: Path) -> None:
    # given
    models = Models(plan=THREE, say=failing("a"))
    first = await models.run(tmp_path)
    assert first.status is ProjectStatus.PARTIAL
    before = len(models.of(Purpose.GENERATE, "a"))
    models.say = {"evaluate": lambda _: json.dumps({"score": 1.0, "reason": "now it is whole"})}
    # when
    state = await models.run(tmp_path, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert len(models.of(Purpose.GENERATE, "a")) == before + 1
    assert len(models.of(Purpose.GENERATE, "b")) == 1
    assert len(models.of(Purpose.GENERATE, "c")) == 1
    assert state.evaluation is not None
    assert state.evaluation.reason == "now it is whole"


async def test_a_run_that_has_ended_is_not_run_again_without_a_word(tmp_path: Path) -> None:
    models = Models()
    await models.run(tmp_path)
    asked = len(models.asked)
    assert (await models.run(tmp_path)).status is ProjectStatus.COMPLETED
    assert len(models.asked) == asked


async def test_a_resume_with_more_money_goes_on_where_it_stopped(tmp_path: Path) -> None:
    models = Models(plan=THREE)
    assert (await models.run(tmp_path, job=a_job(max_usd=0.0))).status is ProjectStatus.BUDGET_EXHAUSTED
    state = await models.run(tmp_path, job=a_job(max_usd=5.0), retry_failed=True)
    assert state.status is ProjectStatus.COMPLETED


async def test_the_whole_project_is_repaired_when_its_parts_do_not_fit(tmp_path: Path) -> None:
    # given: each file passes alone; together a command fails until the repair
    job = a_job(validation=ValidationSpec(validators=("json_syntax",), commands=("grep -q mended a.md",)))
    models = Models(
        plan=plan(task("a"), task("b")),
        say={"revise": lambda _: changes(edits=[{"path": "a.md", "search": "# a.md", "replace": "# a.md mended"}])},
    )
    # when
    events: list[Event] = []
    state = await models.run(tmp_path, job=job, events=events)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert [one.id for one in state.tasks] == ["a", "b", "repair-1"]
    assert [(one.validator, one.passed) for one in state.validation] == [("grep -q mended a.md", True)]
    prompt = models.of(Purpose.REVISE, "repair-1")[0].prompt
    assert "grep -q mended a.md: failed" in prompt
    assert "# a.md" in prompt
    assert EventType.REPAIR_STARTED in [event.type for event in events]


async def test_a_project_that_cannot_be_repaired_is_partial_and_keeps_what_the_tasks_built(tmp_path: Path) -> None:
    job = a_job(validation=ValidationSpec(validators=("json_syntax",), commands=("false",)))
    models = Models(say={"revise": lambda _: changes(files=[{"path": "a.md", "content": "spoiled"}])})
    state = await models.run(tmp_path, job=job)
    assert state.status is ProjectStatus.PARTIAL
    assert "checks that did not pass: false" in state.outcome.reason
    assert [one.id for one in state.tasks] == ["a", "repair-1", "repair-2"]
    async with models.plane(tmp_path) as plane:
        assert (await plane.changes("run-1"))["a.md"] == b"# a.md\n"


@pytest.mark.parametrize("silent", ["no JSON", ProviderUnavailable("down", provider="anthropic", model="m")])
async def test_a_run_goes_on_without_an_evaluation_that_nobody_gives_and_says_so(
    tmp_path: Path, silent: str | Exception
) -> None:
    state = await Models(say={"evaluate": lambda _: silent}).run(tmp_path)
    assert state.status is ProjectStatus.COMPLETED
    assert state.outcome.reason.startswith("The final evaluation is missing")
    assert (state.evaluation, state.score) == (None, 0.0)


async def test_a_run_that_cannot_pay_for_its_evaluation_is_budget_exhausted_and_goes_on_with_more(
    tmp_path: Path,
) -> None:
    # given: the review costs so much that little is left
    def dear(request: CompletionRequest) -> Completion:
        return Completion(json.dumps(APPROVED), Usage(1_000, 150_000))

    models = Models(say={"review": dear})
    # when
    state = await models.run(tmp_path, job=a_job(max_usd=0.7))
    # then
    assert [task["status"] for task in report(state)["tasks"]] == ["completed"]
    assert (state.status, state.outcome.code) == (ProjectStatus.BUDGET_EXHAUSTED, "budget_exhausted")
    assert models.of(Purpose.EVALUATE) == []
    # when
    state = await models.run(tmp_path, job=a_job(), retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert models.counts() == {"architecture": 1, "decompose": 1, "generate": 1, "review": 1, "evaluate": 1}


async def test_files_of_the_user_that_the_plan_would_write_over_stop_the_run_before_it_generates(
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "b.md").write_text("mine")
    models = Models(plan=THREE)
    with pytest.raises(OutputConflict, match=r"b\.md"):
        await models.run(tmp_path, output=output)
    assert models.of(Purpose.GENERATE) == []
    assert (output / "b.md").read_text() == "mine"
    assert not (output / "a.md").exists()


async def test_a_record_of_the_users_own_architecture_stops_the_run_before_it_costs_anything(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "docs" / "adr").mkdir(parents=True)
    (output / "docs" / "adr" / "0001-architecture.md").write_text("mine")
    models = Models()
    with pytest.raises(OutputConflict, match="0001-architecture"):
        await models.run(tmp_path, output=output)
    assert models.asked == []


async def test_a_file_of_the_user_where_the_plan_needs_a_folder_is_found_before_it_generates(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "src").write_text("mine")
    models = Models(plan=plan(task("a", files=["src/a.md"])))
    with pytest.raises(OutputConflict, match=r"src/a\.md"):
        await models.run(tmp_path, output=output)
    assert models.of(Purpose.GENERATE) == []


async def test_a_task_starts_when_its_own_dependencies_are_done_and_not_when_their_level_is(tmp_path: Path) -> None:
    # given: the whole chain a ends while the reviewer still thinks about b
    ended = asyncio.Event()
    order: list[str] = []

    async def note(event: Event) -> None:
        order.append(f"{event.type.value} {event.data.get('task_id', '')}")
        if event.type is EventType.TASK_COMPLETED and event.data["task_id"] == "a3":
            ended.set()

    class Slow(ScriptedProvider):
        async def complete(self, request: CompletionRequest) -> Completion:
            if task_of(request) == "b1":
                await ended.wait()
            return await super().complete(request)

    models = Models(plan=plan(task("b1"), task("a1"), task("a2", "a1"), task("a3", "a2")))
    providers = {name: Slow(models.answer) for name in models.names}
    environment = {"ORCHESTRATOR_HOME": str(tmp_path)}
    # when
    async with asyncio.timeout(30), ControlPlane.open(environment, concurrency=2, providers=providers) as plane:
        state = await plane.submit(a_job(), run_id="run-1", on_event=note)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert order.index("TaskCompleted a3") < order.index("TaskCompleted b1")


async def test_with_one_slot_the_longest_remaining_path_goes_first(tmp_path: Path) -> None:
    # given
    order: list[str] = []

    def say(request: CompletionRequest) -> str:
        order.append(task_of(request))
        return written(request)

    chains = plan(task("a1"), task("a2", "a1"), task("a3", "a2"), task("b1"))
    # when
    await Models(plan=chains, say={"generate": say}).run(tmp_path, concurrency=1)
    # then
    assert order[:2] == ["a1", "a2"]


async def test_tasks_that_stand_in_line_for_a_slot_do_not_begin_once_the_run_is_stopped(tmp_path: Path) -> None:
    # given: one slot, many tasks that are ready for it, and no provider that answers the first
    models = Models(plan=plan(*(task(name) for name in "abcdef")))

    def say(request: CompletionRequest) -> Exception:
        return ProviderUnavailable("down", provider=request.model.provider, model=request.model.id)

    models.say = {"generate": say}
    events: list[Event] = []
    # when
    state = await models.run(tmp_path, concurrency=1, events=events)
    # then
    assert state.outcome.code == "no_model"
    assert [event.data["task_id"] for event in events if event.type is EventType.TASK_STARTED] == ["a"]
    assert {task_of(request) for request in models.of(Purpose.GENERATE)} == {"a"}


@pytest.mark.parametrize("stop", ["cancelled", "database"])
async def test_what_stops_a_run_while_it_is_laid_out_leaves_it_interrupted_and_nothing_promised(
    tmp_path: Path, stop: str
) -> None:
    # given: a run that is stopped when what is known of models is loaded for it
    class Stopping(CostPredictor):
        def load(self, observations: Iterable[Observation]) -> None:
            if stop == "database":
                raise StoreError("The database cannot be used.")
            submitting.cancel()
            super().load(observations)

    models = Models()
    async with models.plane(tmp_path) as plane:
        # when
        submitting = asyncio.create_task(
            plane.submit(
                a_job(), run_id="run-1", budget_hierarchy=BudgetHierarchy(org_max_usd=8.0), cost_predictor=Stopping()
            )
        )
        with pytest.raises(asyncio.CancelledError if stop == "cancelled" else StoreError):
            await submitting
        # then
        state = await plane.state("run-1")
        assert state is not None
        assert (state.status, state.outcome.code) == (ProjectStatus.INTERRUPTED, "interrupted")
        assert models.asked == []
        # when: another run wants the whole budget
        other = await plane.submit(a_job(), run_id="run-2", budget_hierarchy=BudgetHierarchy(org_max_usd=8.0))
    # then
    assert other.status is ProjectStatus.COMPLETED


async def test_a_run_ends_with_an_event_and_every_task_with_one(tmp_path: Path) -> None:
    events: list[Event] = []
    await Models(plan=THREE, say=failing("a")).run(tmp_path, events=events)
    of_parts = (EventType.CALL_SETTLED, EventType.VALIDATION_COMPLETED)
    kinds = [event.type.value for event in events if event.type not in of_parts]
    assert kinds[0] == "ProjectStarted"
    assert kinds[-1] == "ProjectCompleted"
    assert sorted(kinds[1:-1]) == sorted(
        ["ArchitectureDecided", "PlanReady", "TaskStarted", "TaskStarted", "TaskFailed", "TaskCompleted", "TaskSkipped"]
    )


async def test_a_crash_between_a_failure_and_its_skips_still_skips(tmp_path: Path) -> None:
    # given: a store in which task a has failed and b was not yet skipped
    models = Models(plan=plan(task("a"), task("b", "a")), say=failing("a"))
    await models.run(tmp_path)
    async with models.plane(tmp_path) as plane, plane.database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE tasks SET status = 'pending', result = NULL WHERE id = 'b'")
        await connection.exec_driver_sql("UPDATE runs SET status = 'running'")
    # when
    state = await models.run(tmp_path)
    # then
    assert state.results["b"].status is TaskStatus.SKIPPED
    assert state.status is ProjectStatus.PARTIAL


async def test_a_question_that_was_answered_before_a_crash_is_not_paid_again(tmp_path: Path) -> None:
    # given: everything but the last word was said, then the process died
    models = Models(plan=THREE)
    await models.run(tmp_path)
    async with models.plane(tmp_path) as plane, plane.database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE tasks SET status = 'running', result = NULL WHERE id = 'b'")
        await connection.exec_driver_sql("UPDATE runs SET status = 'running', evaluation = NULL")
        await connection.exec_driver_sql("DELETE FROM artifacts WHERE path = 'b.md'")
    asked = len(models.asked)
    # when
    state = await models.run(tmp_path)
    # then
    assert len(models.asked) == asked
    assert state.status is ProjectStatus.COMPLETED
    assert "b.md" in state.files
    assert report(state)["budget"]["spent_usd"] == sum(call.cost_usd for call in state.calls)


async def test_a_task_that_answers_with_files_only_keeps_them_apart_from_the_prompt(tmp_path: Path) -> None:
    state = await Models(say={"generate": lambda _: files(**{"a.md": "x", "extra/b.md": "y"})}).run(tmp_path)
    assert state.files == ("a.md", "docs/adr/0001-architecture.md", "extra/b.md")


def change(tmp_path: Path) -> tuple[JobSpec, Source]:
    base = tmp_path / "base"
    base.mkdir()
    (base / "a.md").write_text("# a.md\n")
    job = JobSpec(
        title="Notes",
        description="Say less.",
        validation=ValidationSpec(validators=()),
        feedback=Feedback(remarks="- a.md:1: <b>too long</b>", diff="File a.md (added)\n+# a.md"),
    )
    return job, Source(base, "octo/demo")


async def test_feedback_on_a_change_is_told_to_every_model_and_its_diff_to_whoever_plans(tmp_path: Path) -> None:
    # given
    models = Models(say={"generate": lambda _: files(**{"a.md": "# a\n"})})
    job, source = change(tmp_path)
    # when
    async with models.plane(tmp_path / "home") as plane:
        state = await plane.submit(job, run_id="round", source=source)
    # then
    assert (state.status, state.outcome.code) == (ProjectStatus.COMPLETED, "changed")
    told = [re.search(r"What is open on it\n<remarks (\w+)>\n(.*)\n</remarks \1>", it.prompt) for it in models.asked]
    assert {found[2] if found else "" for found in told} == {"- a.md:1: <b>too long</b>"}
    shown = {it.purpose.value for it in models.asked if "The change under review\n<diff " in it.prompt}
    assert shown == {"architecture", "decompose"}


async def test_feedback_that_asks_for_nothing_ends_with_nothing_to_do_and_generates_nothing(tmp_path: Path) -> None:
    # given
    models = Models(plan=plan())
    job, source = change(tmp_path)
    # when
    async with models.plane(tmp_path / "home") as plane:
        state = await plane.submit(job, run_id="round", source=source)
        again = await plane.submit(job, run_id="round", source=source)
    # then
    assert (state.status, state.outcome.code) == (ProjectStatus.FAILED, "nothing_to_do")
    assert models.counts() == {"architecture": 1, "decompose": 1}
    assert again.outcome == state.outcome


async def test_an_existing_repository_that_keeps_records_gets_the_next_one_once(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "docs/adr").mkdir(parents=True)
    (base / "docs/adr/0007-use-postgresql.md").write_text("# 7. Use PostgreSQL\n\nDate: 2024-05-01\n")
    (base / "app.py").write_text("x = 1\n")
    models = Models(say={"decompose": lambda _: THREE})
    state = await models.run(tmp_path, source=base)
    again = await models.run(tmp_path, source=base, retry_failed=True)
    (path,) = [path for path in state.files if path.startswith("docs/adr/")]
    assert path.startswith("docs/adr/0008-architecture-of-")
    assert again.files == state.files
    async with models.plane(tmp_path) as plane:
        content = (await plane.changes("run-1"))[path]
    assert content is not None
    assert content.startswith(b"# 8. Architecture of ")
    assert b"\nDate: 20" in content
    assert b"Date: 1970" not in content


async def test_a_small_change_to_an_existing_repository_gets_no_record(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "docs/adr").mkdir(parents=True)
    (base / "docs/adr/0007-use-postgresql.md").write_text("# 7. Use PostgreSQL\n")
    (base / "app.py").write_text("x = 1\n")
    state = await Models(say={"decompose": lambda _: plan(task("a"))}).run(tmp_path, source=base)
    assert state.files == ("a.md",)


async def test_a_run_whose_code_nothing_checked_is_partial_and_says_so(tmp_path: Path) -> None:
    code = plan(task("a", files=["a.py"]))
    models = Models(say={"decompose": lambda _: code, "generate": lambda _: files(**{"a.py": "x = 1\n"})})
    state = await models.run(tmp_path, job=a_job(validation=ValidationSpec(validators=())))
    assert (state.status, state.validation) == (ProjectStatus.PARTIAL, ())
    assert state.outcome.reason == "no check ran, so that nothing is known to work"
