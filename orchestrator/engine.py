"""The story of one run, from a job to checked files, checkpointed so that any process can go on with it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import TypeVar

from orchestrator.architecture import decide
from orchestrator.artifacts import clashes
from orchestrator.budget import to_usd
from orchestrator.checks import Checker, checked
from orchestrator.codes import Code
from orchestrator.cost import forecast
from orchestrator.desk import Desk, Source, Submission, open_desk
from orchestrator.diff_review import Change, review_change
from orchestrator.errors import (
    BudgetError,
    NoModel,
    NoReviewer,
    OrchestratorError,
    OutOfTime,
    OutputConflict,
    RunCancelled,
    StoreError,
)
from orchestrator.evaluation import evaluate
from orchestrator.events import EventType, ProjectEventBus
from orchestrator.executor import Assignment, execute
from orchestrator.gateway import UnusableAnswers
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.persistence import Persistence
from orchestrator.planner import plan, ready, remaining_path, unreachable
from orchestrator.records import ADR_PATH, adr, due, is_record, record, record_folder
from orchestrator.room import room_in
from orchestrator.routing import Need
from orchestrator.run import Run
from orchestrator.runtime import Runtime
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
    ValidationResult,
    ValidationStatus,
)
from orchestrator.store import HoldStore, finished
from orchestrator.verdict import built, is_new, repair, repair_numbers, verdict

__all__ = ["Engine", "Source", "Submission"]

REPAIRS = 2
SECONDS_BETWEEN_LOOKS = 0.25
# A run without a model for each of these would pay for what it cannot finish.
_NEEDED = (Purpose.ARCHITECTURE, Purpose.DECOMPOSE, Purpose.GENERATE)

Said = TypeVar("Said")
Work = Callable[[Desk, Submission], Awaitable[tuple[ProjectStatus, Outcome]]]


class Engine:
    """Runs submissions; what it writes of a run goes through the fence it claimed."""

    def __init__(self, runtime: Runtime, *, persistence: Persistence | None = None) -> None:
        self._runtime = runtime
        self._runs = runtime.runs
        self._persistence = persistence or Persistence()

    async def run_project(self, submission: Submission, bus: ProjectEventBus) -> ProjectState:
        """Work on a run until it ends, and return its state; a run that exists goes on where it was.

        Everything that can end a run is in the state's status and outcome. Raises only `OutputConflict`, `RunLost`,
        and `StoreError` and `CancelledError` (after checkpointing `interrupted` where the database takes it).
        """
        return await self._carried_out(submission, bus, self._work)

    async def review(self, submission: Submission, bus: ProjectEventBus, change: Change) -> ProjectState:
        """Have a change reviewed by two providers, as a run that ends and goes on as `run_project`'s do."""

        async def work(desk: Desk, _: Submission) -> tuple[ProjectStatus, Outcome]:
            return await review_change(self._runs, desk, change)

        return await self._carried_out(submission, bus, work)

    async def _carried_out(self, submission: Submission, bus: ProjectEventBus, work: Work) -> ProjectState:
        desk = await self._opened(submission, bus)
        desk.run.tell(EventType.PROJECT_STARTED, title=submission.job.title, app_type=submission.app_type)
        for warning in desk.warnings:
            desk.run.tell(EventType.BUDGET_WARNING, **asdict(warning))
        # However this ends, cancelled or stopped by what nobody foresaw, the run must not look alive afterwards.
        ending = ProjectStatus.INTERRUPTED, Outcome(Code.INTERRUPTED, "The run was interrupted.")
        try:
            async with asyncio.timeout(desk.seconds_left()) as limit:
                with room_in(tempfile.gettempdir()):
                    ending = await self._until_stopped(desk, submission, work)
        except TimeoutError:
            if not limit.expired():
                raise
            late = OutOfTime(f"The time limit of {desk.run.gateway.budget.max_time_seconds:.0f} s is reached.")
            ending = self._stopped(desk, late)
        except OutputConflict as error:
            ending = ProjectStatus.FAILED, Outcome(error.code, error.message)
            raise
        except StoreError:
            raise  # interrupted: the run goes on once the database can be used again
        except OrchestratorError as error:
            ending = self._stopped(desk, error)
        finally:
            state = await finished(self._conclude(desk, *ending))
        return state

    async def _opened(self, submission: Submission, bus: ProjectEventBus) -> Desk:
        """Open the run's desk; a cancellation meanwhile is heard once it stands, so that the run can be ended."""
        opening = asyncio.ensure_future(open_desk(self._runtime, self._persistence, submission, bus))
        try:
            return await finished(opening)
        except asyncio.CancelledError:
            if not opening.cancelled() and opening.exception() is None:
                ending = ProjectStatus.INTERRUPTED, Outcome(Code.INTERRUPTED, "The run was interrupted.")
                await finished(self._conclude(opening.result(), *ending))
            raise

    async def advise(self, submission: Submission, bus: ProjectEventBus) -> ArchitectureDecision:
        """Decide a run's architecture and stop there: a submission of the same run goes on with the decision.

        Raises what kept it from being decided.
        """
        said = Outcome(Code.DECIDED, "The architecture is decided; nothing was planned or generated.")
        return await self._consult(submission, bus, self._decide, said)

    async def consult(
        self, submission: Submission, bus: ProjectEventBus, question: Callable[[Run], Awaitable[Said]], outcome: Outcome
    ) -> Said:
        """Ask a question under a run's caps, ledger and policies, and stop there; raises what kept it unanswered."""

        async def ask(desk: Desk) -> Said:
            async with desk.run.gateway.slots.held():
                return await question(desk.run)

        return await self._consult(submission, bus, ask, outcome)

    async def _consult(
        self,
        submission: Submission,
        bus: ProjectEventBus,
        question: Callable[[Desk], Awaitable[Said]],
        outcome: Outcome,
    ) -> Said:
        desk = await self._opened(submission, bus)
        ending = ProjectStatus.INTERRUPTED, Outcome(Code.INTERRUPTED, "The question was interrupted.")
        try:
            async with asyncio.timeout(desk.seconds_left()) as limit:
                answer = await question(desk)
            ending = ProjectStatus.WAITING, outcome
        except TimeoutError as error:
            if not limit.expired():
                raise
            late = OutOfTime(f"The time limit of {desk.run.gateway.budget.max_time_seconds:.0f} s is reached.")
            ending = self._stopped(desk, late)
            raise late from error
        except StoreError:
            raise
        except OrchestratorError as error:
            ending = self._stopped(desk, error)
            raise
        finally:
            await finished(self._conclude(desk, *ending))
        return answer

    async def _until_stopped(self, desk: Desk, submission: Submission, work: Work) -> tuple[ProjectStatus, Outcome]:
        """Work, and stop wherever the work is once somebody cancels it or the operator switches everything off."""

        async def watch() -> None:
            while True:
                await stops.check(desk.run.id, within=SECONDS_BETWEEN_LOOKS / 2)
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

        stops = self._runtime.stops
        await stops.check(desk.run.id)
        try:
            with stops.watching(desk.run.id):
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(watch())
                    try:
                        return await work(desk, submission)
                    finally:
                        watching.cancel()
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures

    async def _work(self, desk: Desk, submission: Submission) -> tuple[ProjectStatus, Outcome]:
        run, state = desk.run, desk.state

        # 1. The architecture, once: it constrains all that follows. Before it, what would make its price a waste.
        if not state.tasks:
            for purpose in _NEEDED:
                run.router.route(Need(purpose, 1, OUTPUT_TOKENS[purpose]))
        if not submission.plan_only:
            self._refuse_clashes(desk, submission, *([ADR_PATH] if is_new(run.workspace) else []))
        decision = state.architecture or await self._decide(desk)

        # 2. The plan, and what it will cost.
        tasks = tuple(task for task in state.tasks if not task.id.startswith(REPAIR_PREFIX))
        if not tasks:
            async with run.gateway.slots.held():
                tasks = await plan(run, decision)
            if not tasks:
                return ProjectStatus.FAILED, Outcome(
                    Code.NOTHING_TO_DO, "Nothing that the feedback asks for is missing."
                )
            expected = forecast(
                tasks,
                run.router,
                desk.experience.predictor,
                run.gateway.budget,
                planned_usd=run.gateway.budget.spent_usd,
            )
            await self._runs.save_plan(run.id, desk.fence, tasks, expected)
            self._tell_plan(run, tasks, expected)
        if submission.plan_only:
            return ProjectStatus.WAITING, Outcome(Code.PLANNED, f"{len(tasks)} tasks planned; nothing was generated.")

        self._refuse_clashes(desk, submission, *(path for task in tasks for path in task.files))
        await self._record(desk, submission, decision, tasks)

        # 3. Every task, the moment the tasks it depends on are done.
        sandbox = await self._runtime.sandbox()
        await self._save(
            desk, status=ProjectStatus.RUNNING.value, sandbox=f"{sandbox.rung.value}: {sandbox.description}"
        )
        async with Checker.open(sandbox, run.job.validation) as checker:
            results = await self._build(desk, checker, decision, tasks)

            # 4. The whole project, repaired while money and time last.
            validation = await self._validate(desk, checker, decision, tasks)

        # 5. The result against the criteria.
        note = await self._evaluate(desk)
        return verdict(tasks, results, validation, run.workspace, note)

    def _refuse_clashes(self, desk: Desk, submission: Submission, *paths: str) -> None:
        """Raise `OutputConflict` before anything is paid for files that could not be delivered."""
        wanted = {*paths, *desk.run.workspace.accepted}
        taken = sorted(path for path in wanted if clashes(path, desk.run.foreign))
        if taken:
            raise OutputConflict(submission.output_dir, tuple(taken))

    async def _decide(self, desk: Desk) -> ArchitectureDecision:
        run = desk.run
        async with run.gateway.slots.held():
            decision = await decide(run)
        if is_new(run.workspace):
            # Before the decision itself: a process that dies in between decides again, and writes the record again.
            made = {ADR_PATH: adr(decision, run.job.title).encode()}
            run.workspace.accept(made)
            await self._runs.add_files(run.id, desk.fence, made)
        await self._save(desk, architecture=decision)
        run.tell(
            EventType.ARCHITECTURE_DECIDED,
            structural_pattern=decision.structural_pattern,
            topology=decision.topology,
            api_paradigm=decision.api_paradigm,
            data_paradigm=decision.data_paradigm,
            rationale=decision.rationale,
        )
        return decision

    async def _record(
        self, desk: Desk, submission: Submission, decision: ArchitectureDecision, tasks: tuple[Task, ...]
    ) -> None:
        """Add a record to the folder of an existing repository, once, if the plan decides something new."""
        run = desk.run
        folder = record_folder(run.workspace)
        recorded = any(is_record(path, content) for path, content in run.workspace.accepted.items())
        if folder is None or recorded or is_new(run.workspace) or not due(run.workspace, folder, decision, tasks):
            return
        made = record(run.workspace, folder, decision, run.job.title, desk.state.created_at)
        if not any(run.protection.covers(path) for path in made):
            run.workspace.accept(made)
            await self._runs.add_files(run.id, desk.fence, made)

    def _tell_plan(self, run: Run, tasks: tuple[Task, ...], expected: Forecast) -> None:
        titles = [{"id": task.id, "title": task.title} for task in tasks]
        run.tell(EventType.PLAN_READY, tasks=titles, low_usd=expected.low_usd, high_usd=expected.high_usd)

    async def _build(
        self, desk: Desk, checker: Checker, decision: ArchitectureDecision, tasks: tuple[Task, ...]
    ) -> dict[str, TaskResult]:
        """Run the graph: no level barriers, the longest remaining path first, no two tasks on one file.

        A stop by cap or providers lets the tasks in flight end, and then stops the run.
        """
        results = {task_id: result for task_id, result in desk.state.results.items() if _ended(result)}
        running: dict[str, Task] = {}
        finished: asyncio.Queue[tuple[str, asyncio.Event]] = asyncio.Queue()
        stops: list[OrchestratorError] = []
        urgency = remaining_path(tasks)
        rounds, _ = await self._runs.rounds(desk.run.id)

        async def work(task: Task) -> None:
            async with desk.run.gateway.slots.held(urgency[task.id]):
                try:
                    if not stops:  # one that stood in line for its slot when the run was stopped does not begin
                        assignment = Assignment(task, tasks, decision, rounds.get(task.id, 0))
                        results[task.id] = await self._one(desk, checker, assignment)
                except (BudgetError, NoModel, NoReviewer) as error:
                    stops.append(error)
                followed = asyncio.Event()
                finished.put_nowait((task.id, followed))
                await followed.wait()

        try:
            async with asyncio.TaskGroup() as group:
                followed = asyncio.Event()
                while True:
                    await self._skip(desk, tasks, results)
                    completed = {one for one, result in results.items() if result.status is TaskStatus.COMPLETED}
                    for task in [] if stops else ready(tasks, completed, results, running):
                        running[task.id] = task
                        group.create_task(work(task))
                    # Those just started line up for a slot before the finished task gives its own back: otherwise a
                    # less urgent task that waits longer would get it.
                    await asyncio.sleep(0)
                    followed.set()
                    if not running:
                        break
                    task_id, followed = await finished.get()
                    del running[task_id]
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        if stops:
            raise stops[0]
        return results

    async def _one(self, desk: Desk, checker: Checker, assignment: Assignment) -> TaskResult:
        run, task = desk.run, assignment.task
        await self._runs.start_task(run.id, desk.fence, task.id)
        run.tell(EventType.TASK_STARTED, task_id=task.id, type=task.type.value, title=task.title)
        outcome = await execute(run, checker, assignment)
        result = await self._priced(desk, outcome.result)
        kept = outcome.changes
        if result.status is not TaskStatus.COMPLETED:
            # What was rejected is shown where there is nothing better; what was accepted before stays as it is.
            kept = {path: content for path, content in kept.items() if path not in run.workspace.accepted}
        run.workspace.accept(kept)
        await self._runs.finish_task(run.id, desk.fence, result, kept, desk.elapsed())
        desk.experience.tried(task.type.value, outcome.tried)
        self._tell_result(run, task, result)
        return result

    def _tell_result(self, run: Run, task: Task, result: TaskResult) -> None:
        event = EventType.TASK_COMPLETED if result.status is TaskStatus.COMPLETED else EventType.TASK_FAILED
        run.tell(
            event,
            task_id=task.id,
            type=task.type.value,
            title=task.title,
            result=result,
            score=result.score,
            cost_usd=result.cost_usd,
            model=result.model,
            provider=result.provider,
            attempts=result.attempts,
            reason=result.reason,
        )

    async def _skip(self, desk: Desk, tasks: tuple[Task, ...], results: dict[str, TaskResult]) -> None:
        failed = {one for one, result in results.items() if result.status is not TaskStatus.COMPLETED}
        kinds = {task.id: task.type.value for task in tasks}
        for task_id in sorted(unreachable(tasks, failed) - set(results)):
            reason = "a task it depends on did not complete"
            result = TaskResult(task_id, TaskStatus.SKIPPED, reason=reason, code=Code.DEPENDENCY_FAILED)
            results[task_id] = result
            await self._runs.finish_task(desk.run.id, desk.fence, result, {}, desk.elapsed())
            desk.run.tell(EventType.TASK_SKIPPED, task_id=task_id, type=kinds[task_id], reason=result.reason)

    async def _validate(
        self, desk: Desk, checker: Checker, decision: ArchitectureDecision, tasks: tuple[Task, ...]
    ) -> tuple[ValidationResult, ...]:
        """Check the whole project; what fails becomes a task of its own, at most `REPAIRS` times."""
        run = desk.run
        if not built(run.workspace):
            return ()
        numbers = repair_numbers(desk.state.tasks)
        first = max(numbers, default=0) + 1
        validation = await checked(run, checker, run.workspace, None)
        for number in range(first, first + REPAIRS - len(numbers)):
            await self._runs.save_validation(run.id, desk.fence, validation)
            failing = tuple(one for one in validation if one.status is ValidationStatus.FAILED)
            if not failing:
                break
            task = repair(number, failing, run.workspace, run.protection)
            failed = [one.validator for one in failing]
            run.tell(EventType.REPAIR_STARTED, task_id=task.id, type=task.type.value, validators=failed)
            assignment = Assignment(task, (*tasks, task), decision, run.round, findings=failing, whole=True)
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

    async def _evaluate(self, desk: Desk) -> str:
        """Judge the result against the criteria; returns a note when nobody answered that."""
        if not built(desk.run.workspace) or desk.state.evaluation:
            return ""
        state = await self._state(desk)
        try:
            async with desk.run.gateway.slots.held():
                judgement = await evaluate(desk.run, state)
        except (UnusableAnswers, NoModel) as error:
            return f"The final evaluation is missing: {error.message}"
        await self._save(desk, evaluation=judgement)
        return ""

    async def _priced(self, desk: Desk, result: TaskResult) -> TaskResult:
        cost, input_tokens, output_tokens = await desk.run.gateway.ledger.task_cost(result.task_id)
        return replace(result, cost_usd=to_usd(cost), input_tokens=input_tokens, output_tokens=output_tokens)

    def _stopped(self, desk: Desk, error: OrchestratorError) -> tuple[ProjectStatus, Outcome]:
        """Return how a run ends that something stopped."""
        if isinstance(error, OutOfTime):
            return ProjectStatus.TIMED_OUT, Outcome(error.code, error.message)
        if isinstance(error, BudgetError):
            return ProjectStatus.BUDGET_EXHAUSTED, Outcome(error.code, error.message)
        if isinstance(error, RunCancelled):
            return ProjectStatus.CANCELLED, Outcome(error.code, error.message)
        status = ProjectStatus.PARTIAL if built(desk.run.workspace) else ProjectStatus.FAILED
        return status, Outcome(error.code, str(error))

    async def _conclude(self, desk: Desk, status: ProjectStatus, outcome: Outcome) -> ProjectState:
        gateway = desk.run.gateway
        notes = [*desk.state.notes, *desk.policy_notes(), *gateway.outages, *gateway.miscounts]
        await self._runs.conclude(
            desk.run.id,
            desk.fence,
            status=status.value,
            outcome=outcome,
            elapsed_seconds=desk.elapsed(),
            notes=list(dict.fromkeys(notes)),
        )
        await HoldStore(self._runtime.database).release(desk.run.id, desk.fence)
        await desk.experience.keep()
        state = await self._state(desk)
        desk.run.tell(
            EventType.PROJECT_COMPLETED,
            status=status.value,
            reason=outcome.reason,
            score=state.score,
            spent_usd=state.budget.spent_usd,
            max_usd=state.budget.max_usd,
        )
        desk.run.bus.close()
        return state

    async def _save(self, desk: Desk, **columns: object) -> None:
        await self._runs.save(desk.run.id, desk.fence, **columns)

    async def _state(self, desk: Desk) -> ProjectState:
        state = await self._runs.state(desk.run.id)
        if state is None:
            raise AssertionError(f"run {desk.run.id} was claimed and must exist")
        return state


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that stopped a group: its siblings were only cancelled because of it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _ended(result: TaskResult) -> bool:
    return result.status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED) and not (
        result.task_id.startswith(REPAIR_PREFIX)
    )
