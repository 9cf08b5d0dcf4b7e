"""Several orchestrators at once: each for itself, one database below them, one winner."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import AgentPool, Budget, Orchestrator, ProjectState, ProjectStatus, TaskStatus
from orchestrator.agent_pool import AgentResult
from orchestrator.budget import to_pico
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.providers.base import Completion, CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Evaluation, Outcome, Task, TaskResult, TaskType
from tests.unit.orchestrator.models import Models, Say, a_job, plan, sent_back, task


def agent(home: Path, *, max_usd: float = 5.0, say: Mapping[str, Say] | None = None, tasks: str = "") -> Orchestrator:
    models = Models(plan=tasks or plan(task("a")), say=say or {})
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return Orchestrator(Budget(max_usd), env={"ORCHESTRATOR_HOME": str(home)}, providers=providers)


def judged(score: float) -> Say:
    return lambda _: json.dumps({"score": score, "reason": "as asked"})


def result(passed: int, failed: int, score: float = 0.5, spent: float = 1.0) -> AgentResult:
    names = [f"t{number}" for number in range(passed + failed)]
    budget = Budget(5.0)
    budget.carry(to_pico(spent), 1.0)
    state = ProjectState("run", "", "", "", budget, ProjectStatus.PARTIAL, outcome=Outcome("incomplete", "not done."))
    state.tasks = (
        *(Task(name, name, TaskType.CODE_GENERATION, "") for name in names),
        Task("repair-1", "", TaskType.CODE_GENERATION, ""),
    )
    ends = [TaskStatus.COMPLETED] * passed + [TaskStatus.FAILED] * failed
    state.results = {name: TaskResult(name, end) for name, end in zip(names, ends, strict=True)}
    state.evaluation = Evaluation(score, "")
    return AgentResult(state)


async def test_two_agents_run_at_once_on_one_database_and_the_best_is_named(tmp_path: Path) -> None:
    # given: two that wait for each other in the middle of their runs, one text and one job
    both = asyncio.Barrier(2)

    class Meeting(ScriptedProvider):
        async def complete(self, request: CompletionRequest) -> Completion:
            if request.purpose.value == "generate":
                await both.wait()
            return await super().complete(request)

    pool = AgentPool()
    for name, score in (("thrifty", 0.6), ("thorough", 0.9)):
        models = Models(say={"evaluate": judged(score)})
        providers = {provider: Meeting(models.answer) for provider in models.names}
        pool.add_agent(name, Orchestrator(env={"ORCHESTRATOR_HOME": str(tmp_path)}, providers=providers))
    # when
    async with asyncio.timeout(60):
        results = await pool.run_parallel({"thrifty": "Notes about lakes", "thorough": a_job("Notes about lakes")})
    # then
    assert [one.status for one in results.values()] == [ProjectStatus.COMPLETED] * 2
    assert pool.best_result(results) == "thorough"
    merged = pool.merge_telemetry()
    assert merged.runs == {"completed": 2}
    assert merged.task_types["code_generation"].scores.mean == pytest.approx(0.9)
    assert sum(model.calls for model in merged.models.values()) == 10
    assert merged.budget_usd == 16.0


async def test_one_that_fails_does_so_alone_and_its_result_holds_the_error(tmp_path: Path) -> None:
    def crash(_: CompletionRequest) -> Exception:
        return OSError("the model's socket is gone")

    pool = AgentPool()
    pool.add_agent("good", agent(tmp_path))
    pool.add_agent("crashing", agent(tmp_path, say={"generate": crash}))
    pool.add_agent("speechless", agent(tmp_path))
    results = await pool.run_parallel({"good": "Notes", "crashing": "Notes", "speechless": " "})
    assert results["good"].state is not None
    assert isinstance(results["crashing"].error, OSError)
    assert isinstance(results["speechless"].error, UsageError)
    assert (results["speechless"].status, results["speechless"].passed_share) == (ProjectStatus.FAILED, 0.0)
    assert pool.best_result(results) == "good"


async def test_an_unknown_name_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    pool = AgentPool()
    with pytest.raises(UsageError, match="the pool is empty"):
        await pool.run_parallel({"pareto": "Notes"})
    pool.add_agent("pareto", agent(tmp_path / "home"))
    with pytest.raises(UsageError, match="no agent 'parteo'; did you mean 'pareto'"):
        await pool.run_parallel({"pareto": "Notes", "parteo": "Notes"})
    with pytest.raises(UsageError, match="already an agent 'pareto'"):
        pool.add_agent("pareto", agent(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


async def test_cancelling_cancels_all_of_them_and_leaves_none_behind(tmp_path: Path) -> None:
    # given: two agents, both in the middle of a call that never ends
    asked = asyncio.Barrier(3)

    class Endless(ScriptedProvider):
        async def complete(self, request: CompletionRequest) -> Completion:
            await asked.wait()
            await asyncio.Event().wait()
            raise AssertionError("nobody ends this wait")

    pool = AgentPool()
    agents = {
        name: Orchestrator(env={"ORCHESTRATOR_HOME": str(tmp_path)}, providers={"openai": Endless({})})
        for name in ("one", "two")
    }
    for name, one in agents.items():
        pool.add_agent(name, one)
    running = asyncio.create_task(pool.run_parallel({"one": "Notes", "two": "Notes"}))
    async with asyncio.timeout(30):
        await asked.wait()
        # when
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    # then
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [one.telemetry.runs for one in agents.values()] == [{"interrupted": 1}] * 2


@pytest.mark.parametrize(
    ("one", "other", "best"),
    [
        (result(2, 0, score=0.1, spent=9), result(3, 1, score=0.9, spent=1), "one"),
        (result(1, 1, score=0.8, spent=9), result(1, 1, score=0.7, spent=1), "one"),
        (result(1, 0, score=0.8, spent=1), result(1, 0, score=0.8, spent=2), "one"),
        (result(1, 0), result(1, 0), "one"),
        (result(0, 2, score=1.0), result(1, 9, score=0.0), "other"),
        (AgentResult(error=OSError("no disk")), result(1, 9), "other"),
    ],
)
def test_the_share_of_passed_tasks_counts_first_then_the_score_then_the_cost_then_the_name(
    one: AgentResult, other: AgentResult, best: str
) -> None:
    assert AgentPool().best_result({"other": other, "one": one}) == best


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_winner_does_not_depend_on_the_order_of_the_results(names: list[str]) -> None:
    results = {"a": result(1, 1), "b": result(2, 0, 0.7, 3.0), "c": result(2, 0, 0.7, 2.0), "d": result(2, 0, 0.6)}
    assert AgentPool().best_result({name: results[name] for name in names}) == "c"


def test_when_all_have_failed_the_error_says_why_each() -> None:
    with pytest.raises(OrchestratorError, match="a: OSError, no disk; b: partial, not done"):
        AgentPool().best_result({"b": result(0, 1), "a": AgentResult(error=OSError("no disk"))})
    with pytest.raises(OrchestratorError, match="none was run"):
        AgentPool().best_result({})


async def test_a_failed_task_lowers_the_share_and_telemetry_counts_each_agent_once(tmp_path: Path) -> None:
    pool = AgentPool()
    half = agent(tmp_path, tasks=plan(task("a"), task("b")), say={"review": lambda request: _only_a(request)})
    pool.add_agent("half", half)
    pool.add_agent("again", half)
    results = await pool.run_parallel({"half": "Notes"})
    assert results["half"].passed_share == 0.5
    assert pool.merge_telemetry().runs == {"partial": 1}


def _only_a(request: CompletionRequest) -> str:
    if "Task: a\n" in request.prompt:
        return json.dumps({"score": 0.9, "verdict": "approve", "findings": []})
    return sent_back("not good", "b.md")
