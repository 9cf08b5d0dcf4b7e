"""The story of one run, from a job to checked files, checkpointed so that any process can go on with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.architecture import adr, decide
from orchestrator.artifacts import PROTECTED_IN_NEW_FOLDER, PROTECTED_PATHS
from orchestrator.budget import Budget, to_pico, to_usd
from orchestrator.catalog import ModelProfile
from orchestrator.checks import Checker
from orchestrator.cost import forecast
from orchestrator.errors import BudgetError, NoModel, OrchestratorError, OutOfTime, OutputConflict
from orchestrator.evaluation import evaluate
from orchestrator.events import EventType, ProjectEventBus
from orchestrator.executor import Assignment, execute
from orchestrator.gateway import Gateway, Persistence, UnusableAnswers
from orchestrator.planner import plan, ready, remaining_path, unreachable
from orchestrator.routing import Router
from orchestrator.run import Run
from orchestrator.runtime import Runtime
from orchestrator.slots import Slots
from orchestrator.specs import JobSpec, to_json
from orchestrator.state import (
    REPAIR_PREFIX,
    ArchitectureDecision,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.store import Ledger
from orchestrator.strategy import backend_for
from orchestrator.workspace import Workspace

REPAIRS = 2
ADR_PATH = "docs/adr/0001-architecture.md"
# Files that a repository may hold and still be new: they say nothing about its shape.
_BARE = ("README", "LICENSE", ".")


@dataclass(frozen=True, slots=True)
class Source:
    """An existing repository that a run builds on: the files of its base commit, its name, and what stays untouched."""

    root: Path
    name: str
    protected_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """One run as it is handed to the engine; `foreign` are the user's own files in `output_dir`."""

    run_id: str
    job: JobSpec
    app_type: str
    source: Source | None = None
    output_dir: str = ""
    foreign: frozenset[str] = frozenset()
    concurrency: int = 3
    plan_only: bool = False
    retry_failed: bool = False


class Engine:
    """Runs submissions; what it writes of a run goes through the fence it claimed."""

    def __init__(self, runtime: Runtime, *, persistence: Persistence | None = None) -> None:
        self._runtime = runtime
        self._runs = runtime.runs
        self._persistence = persistence or Persistence()

    async def run_project(self, submission: Submission, bus: ProjectEventBus) -> ProjectState:
        """Work on a run until it ends, and return its state; a run that exists goes on where it was.

        Everything that can end a run is in the state's status and outcome. Raises only `OutputConflict`, `RunLost`,
        and `CancelledError` (after checkpointing `interrupted`).
        """
        desk = await self._open(submission, bus)
        desk.run.tell(EventType.PROJECT_STARTED, title=submission.job.title, app_type=submission.app_type)
        try:
            async with asyncio.timeout(desk.seconds_left()):
                conclusion = await self._work(desk, submission)
        except TimeoutError:
            late = OutOfTime(f"The time limit of {desk.run.gateway.budget.max_time_seconds:.0f} s is reached.")
            conclusion = await self._stopped(desk, late)
        except asyncio.CancelledError:
            stopped = Outcome("incomplete", "The run was interrupted.")
            await asyncio.shield(self._conclude(desk, ProjectStatus.INTERRUPTED, stopped))
            raise
        except OutputConflict as error:
            await self._conclude(desk, ProjectStatus.FAILED, Outcome("refused", error.message))
            raise
        except (BudgetError, NoModel, UnusableAnswers, OrchestratorError) as error:
            conclusion = await self._stopped(desk, error)
        return await self._conclude(desk, *conclusion)

    async def _work(self, desk: _Desk, submission: Submission) -> tuple[ProjectStatus, Outcome]:
        run, state = desk.run, desk.state

        # 1. The architecture, once: it constrains all that follows.
        decision = state.architecture or await self._decide(desk)

        # 2. The plan, and what it will cost.
        tasks = tuple(task for task in state.tasks if not task.id.startswith(REPAIR_PREFIX))
        if not tasks:
            async with run.gateway.slots.held():
                tasks = await plan(run, decision, submission.output_dir)
            await self._runs.save_plan(run.id, desk.fence, tasks, expected := forecast(tasks, run.router))
            self._tell_plan(run, tasks, expected)
        if submission.plan_only:
            return ProjectStatus.WAITING, Outcome("planned", f"{len(tasks)} tasks planned; nothing was generated.")

        # 3. Every task, the moment the tasks it depends on are done.
        await self._save(desk, status=ProjectStatus.RUNNING.value)
        sandbox = await self._runtime.sandbox()
        await self._save(desk, sandbox=f"{sandbox.rung.value}: {sandbox.description}")
        async with Checker.open(sandbox, run.job.validation) as checker:
            results = await self._build(desk, checker, decision, tasks)

            # 4. The whole project, repaired while money and time last.
            validation = await self._validate(desk, checker, decision, tasks)

        # 5. The result against the criteria.
        note = await self._evaluate(desk)
        return _verdict(results, validation, run.workspace, note)

    async def _decide(self, desk: _Desk) -> ArchitectureDecision:
        run = desk.run
        await self._save(desk, status=ProjectStatus.PLANNING.value)
        async with run.gateway.slots.held():
            decision = await decide(run)
        await self._save(desk, architecture=decision)
        if _is_new(run.workspace):
            record = {ADR_PATH: adr(decision, run.job.title).encode()}
            run.workspace.accept(record)
            await self._runs.add_files(run.id, desk.fence, record)
        run.tell(
            EventType.ARCHITECTURE_DECIDED,
            structural_pattern=decision.structural_pattern,
            topology=decision.topology,
            rationale=decision.rationale,
        )
        return decision

    def _tell_plan(self, run: Run, tasks: tuple[Task, ...], expected: Forecast) -> None:
        titles = [{"id": task.id, "title": task.title} for task in tasks]
        run.tell(EventType.PLAN_READY, tasks=titles, low_usd=expected.low_usd, high_usd=expected.high_usd)

    async def _build(
        self, desk: _Desk, checker: Checker, decision: ArchitectureDecision, tasks: tuple[Task, ...]
    ) -> dict[str, TaskResult]:
        """Run the graph: no level barriers, the longest remaining path first, no two tasks on one file.

        A stop by cap or providers lets the tasks in flight end, and then stops the run.
        """
        results = {task_id: result for task_id, result in desk.state.results.items() if _ended(result)}
        running: dict[str, Task] = {}
        finished: asyncio.Queue[str] = asyncio.Queue()
        stops: list[OrchestratorError] = []
        urgency = remaining_path(tasks)
        rounds, _ = await self._runs.rounds(desk.run.id)

        async def work(task: Task) -> None:
            try:
                async with desk.run.gateway.slots.held(urgency[task.id]):
                    assignment = Assignment(task, tasks, decision, rounds.get(task.id, 0))
                    results[task.id] = await self._one(desk, checker, assignment)
            except (BudgetError, NoModel) as error:
                stops.append(error)
            finally:
                finished.put_nowait(task.id)

        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    completed = {one for one, result in results.items() if result.status is TaskStatus.COMPLETED}
                    for task in [] if stops else ready(tasks, completed, results, running):
                        running[task.id] = task
                        group.create_task(work(task))
                    if not running:
                        break
                    del running[await finished.get()]
                    await self._skip(desk, tasks, results)
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        if stops:
            raise stops[0]
        return results

    async def _one(self, desk: _Desk, checker: Checker, assignment: Assignment) -> TaskResult:
        run, task = desk.run, assignment.task
        await self._runs.start_task(run.id, desk.fence, task.id)
        run.tell(EventType.TASK_STARTED, task_id=task.id, title=task.title)
        outcome = await execute(run, checker, assignment)
        result = await self._priced(desk, outcome.result)
        run.workspace.accept(outcome.changes)
        await self._runs.finish_task(run.id, desk.fence, result, outcome.changes, desk.elapsed())
        self._tell_result(run, task, result)
        return result

    def _tell_result(self, run: Run, task: Task, result: TaskResult) -> None:
        event = EventType.TASK_COMPLETED if result.status is TaskStatus.COMPLETED else EventType.TASK_FAILED
        run.tell(
            event,
            task_id=task.id,
            title=task.title,
            result=result,
            score=result.score,
            cost_usd=result.cost_usd,
            model=result.model,
            reason=result.reason,
        )

    async def _skip(self, desk: _Desk, tasks: tuple[Task, ...], results: dict[str, TaskResult]) -> None:
        failed = {one for one, result in results.items() if result.status is not TaskStatus.COMPLETED}
        for task_id in sorted(unreachable(tasks, failed) - set(results)):
            result = TaskResult(task_id, TaskStatus.SKIPPED, reason="a task it depends on did not complete")
            results[task_id] = result
            await self._runs.finish_task(desk.run.id, desk.fence, result, {}, desk.elapsed())
            desk.run.tell(EventType.TASK_SKIPPED, task_id=task_id, reason=result.reason)

    async def _validate(
        self, desk: _Desk, checker: Checker, decision: ArchitectureDecision, tasks: tuple[Task, ...]
    ) -> tuple[ValidationResult, ...]:
        """Check the whole project; what fails becomes a task of its own, at most `REPAIRS` times."""
        run = desk.run
        if not _built(run.workspace):
            return ()
        _, resumes = await self._runs.rounds(run.id)
        repaired = sum(task.id.startswith(REPAIR_PREFIX) for task in desk.state.tasks)
        validation = await checker.check(run.workspace, None)
        for number in range(repaired + 1, REPAIRS + 1):
            await self._runs.save_validation(run.id, desk.fence, validation)
            failing = tuple(one for one in validation if one.status is ValidationStatus.FAILED)
            if not failing:
                break
            task = _repair(number, failing, run.workspace)
            run.tell(EventType.REPAIR_STARTED, task_id=task.id, validators=[one.validator for one in failing])
            assignment = Assignment(task, (*tasks, task), decision, resumes, findings=failing, whole=True)
            async with run.gateway.slots.held():
                outcome = await execute(run, checker, assignment)
            passed = outcome.result.status is TaskStatus.COMPLETED
            kept = outcome.changes if passed else {}
            run.workspace.accept(kept)
            result = await self._priced(desk, outcome.result)
            await self._runs.finish_task(run.id, desk.fence, result, kept, desk.elapsed(), added=task)
            self._tell_result(run, task, result)
            if passed:
                validation = outcome.result.validation
        await self._runs.save_validation(run.id, desk.fence, validation)
        return validation

    async def _evaluate(self, desk: _Desk) -> str:
        """Judge the result against the criteria; returns a note when that could not be paid or answered."""
        if not _built(desk.run.workspace) or desk.state.evaluation:
            return ""
        state = await self._state(desk)
        try:
            async with desk.run.gateway.slots.held():
                judgement = await evaluate(desk.run, state)
        except (BudgetError, UnusableAnswers, NoModel) as error:
            return f"The final evaluation is missing: {error.message}"
        await self._save(desk, evaluation=judgement)
        return ""

    async def _priced(self, desk: _Desk, result: TaskResult) -> TaskResult:
        cost, input_tokens, output_tokens = await desk.run.gateway.ledger.task_cost(result.task_id)
        return replace(result, cost_usd=to_usd(cost), input_tokens=input_tokens, output_tokens=output_tokens)

    async def _stopped(self, desk: _Desk, error: OrchestratorError) -> tuple[ProjectStatus, Outcome]:
        """Return how a run ends that something stopped."""
        built = _built(desk.run.workspace)
        if isinstance(error, OutOfTime):
            return ProjectStatus.TIMED_OUT, Outcome("incomplete", error.message)
        if isinstance(error, BudgetError):
            return ProjectStatus.BUDGET_EXHAUSTED, Outcome("incomplete", error.message)
        status = ProjectStatus.PARTIAL if built else ProjectStatus.FAILED
        return status, Outcome("no_model" if isinstance(error, NoModel) else "failed", str(error))

    async def _conclude(self, desk: _Desk, status: ProjectStatus, outcome: Outcome) -> ProjectState:
        notes = list(desk.state.notes)
        if desk.lost:
            notes.append(f"{desk.lost} call(s) were in flight when a process died; each counts at its reservation.")
        await self._save(
            desk, status=status.value, outcome=outcome, elapsed_seconds=desk.elapsed(), notes=list(dict.fromkeys(notes))
        )
        state = await self._state(desk)
        desk.run.tell(
            EventType.PROJECT_COMPLETED, status=status.value, reason=outcome.reason, spent_usd=state.budget.spent_usd
        )
        desk.run.bus.close()
        return state

    async def _open(self, submission: Submission, bus: ProjectEventBus) -> _Desk:
        """Create or claim the run, take over what it spent, and lay out what its stages share."""
        job, run_id = submission.job, submission.run_id
        source = submission.source.name if submission.source else ""
        created = await self._runs.create(
            run_id, title=job.title, job=to_json(job), source=source, output_dir=submission.output_dir
        )
        fence = await self._runs.claim(run_id)
        if not created:
            await self._runs.replace_job(run_id, fence, to_json(job))
            if submission.retry_failed:
                await self._runs.retry_tasks(run_id, fence)
        await self._runs.save(run_id, fence, app_type=submission.app_type, status=ProjectStatus.PLANNING.value)
        ledger = Ledger(self._runtime.database, run_id, fence)
        caps = self._caps(run_id, job)
        await ledger.open_accounts(caps)
        lost = await ledger.recover()
        state = await self._runs.state(run_id)
        if state is None:
            raise AssertionError(f"run {run_id} was claimed and must exist")
        budget = Budget(job.budget.max_usd, job.budget.max_time_seconds)
        budget.carry(await ledger.spent(), state.budget.elapsed_seconds)
        protected: tuple[str, ...] = PROTECTED_IN_NEW_FOLDER
        if submission.source:
            protected = (*PROTECTED_PATHS, *submission.source.protected_paths)
        run = Run(
            id=run_id,
            job=job,
            app_type=submission.app_type,
            nonce=await self._runs.nonce(run_id),
            router=Router(
                self._runtime.catalog,
                frozenset(self._runtime.providers),
                job.policies,
                backend_for(job.routing),
            ),
            gateway=Gateway(
                providers=self._runtime.providers,
                budget=budget,
                ledger=ledger,
                charged=tuple(caps),
                slots=Slots(submission.concurrency),
                persistence=self._persistence,
            ),
            workspace=Workspace(
                submission.source.root if submission.source else None, await self._runs.changes(run_id)
            ),
            bus=bus,
            protected=protected,
            foreign=submission.foreign,
        )
        run.gateway.on_settled = _spend_teller(run)
        return _Desk(run, fence, state, lost, started=time.monotonic(), before=budget.elapsed_seconds)

    def _caps(self, run_id: str, job: JobSpec) -> dict[str, int]:
        """Return the accounts that pay for a run and their caps in picodollars."""
        budgets = self._runtime.operator.budgets
        caps = {f"run:{run_id}": to_pico(job.budget.max_usd)}
        if budgets.org is not None:
            caps["org"] = to_pico(budgets.org)
        team, name = job.budget.team, job.budget.job
        if team is not None and team in budgets.teams:
            caps[f"team:{team}"] = to_pico(budgets.teams[team])
        if name is not None and name in budgets.jobs:
            caps[f"job:{name}"] = to_pico(budgets.jobs[name])
        return caps

    async def _save(self, desk: _Desk, **columns: object) -> None:
        await self._runs.save(desk.run.id, desk.fence, **columns)

    async def _state(self, desk: _Desk) -> ProjectState:
        state = await self._runs.state(desk.run.id)
        if state is None:
            raise AssertionError(f"run {desk.run.id} was claimed and must exist")
        return state


@dataclass(frozen=True, slots=True)
class _Desk:
    """One claimed run: its fence, the state it was found in, lost calls, and the clock of this process."""

    run: Run
    fence: int
    state: ProjectState
    lost: int
    started: float
    before: float

    def elapsed(self) -> float:
        """Seconds spent on the run, in this process and those before it."""
        return self.before + time.monotonic() - self.started

    def seconds_left(self) -> float:
        """Seconds until the run's time limit."""
        return max(0.0, self.run.gateway.budget.max_time_seconds - self.elapsed())


def _spend_teller(run: Run) -> Callable[[str, Purpose, ModelProfile, float], Awaitable[None]]:
    async def tell(task_id: str, purpose: Purpose, model: ModelProfile, cost_usd: float) -> None:
        run.tell(
            EventType.CALL_SETTLED,
            task_id=task_id,
            purpose=purpose.value,
            model=model.id,
            cost_usd=cost_usd,
            spent_usd=run.gateway.budget.spent_usd,
        )

    return tell


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that stopped a group: its siblings were only cancelled because of it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _ended(result: TaskResult) -> bool:
    return result.status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED) and not (
        result.task_id.startswith(REPAIR_PREFIX)
    )


def _is_new(workspace: Workspace) -> bool:
    return all(path.rsplit("/", 1)[-1].startswith(_BARE) for path in workspace.base_paths())


def _built(workspace: Workspace) -> bool:
    return any(content is not None for path, content in workspace.accepted.items() if path != ADR_PATH)


def _repair(number: int, failing: tuple[ValidationResult, ...], workspace: Workspace) -> Task:
    named = {finding.path for one in failing for finding in one.findings if workspace.read(finding.path) is not None}
    written = {path for path, content in workspace.accepted.items() if content is not None and path != ADR_PATH}
    return Task(
        id=f"{REPAIR_PREFIX}{number}",
        title="Make the whole project pass its checks",
        type=TaskType.CODE_GENERATION,
        description=f"These checks fail on the whole project: {', '.join(one.validator for one in failing)}. "
        "Mend the cause, in the code or in the test, whichever is wrong.",
        files=tuple(sorted(named | written)),
    )


def _verdict(
    results: dict[str, TaskResult], validation: tuple[ValidationResult, ...], workspace: Workspace, note: str
) -> tuple[ProjectStatus, Outcome]:
    """Return the ending that the results earn: completed only when every task and every validator passed."""
    open_tasks = sorted(one for one, result in results.items() if result.status is not TaskStatus.COMPLETED)
    open_checks = [one.validator for one in validation if not one.passed]
    if not _built(workspace):
        return ProjectStatus.FAILED, Outcome("failed", "Nothing was built.")
    if not open_tasks and not open_checks:
        return ProjectStatus.COMPLETED, Outcome("changed", note or "Every task and every check passed.")
    reasons = []
    if open_tasks:
        reasons.append(f"not completed: {', '.join(open_tasks)}")
    if open_checks:
        reasons.append(f"checks that did not pass: {', '.join(open_checks)}")
    return ProjectStatus.PARTIAL, Outcome("incomplete", "; ".join(reasons))
