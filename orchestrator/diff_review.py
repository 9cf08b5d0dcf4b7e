"""The story of one review of a change: each part of its diff judged by two providers that do not see each other's word.

It is a run like any other: its reviews are its tasks, each is checkpointed, and what was paid is never asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.budget import to_usd
from orchestrator.codes import Code
from orchestrator.consensus import Consensus, consensus
from orchestrator.desk import Desk
from orchestrator.diff import MAX_PARTS, Cut, FileDiff, cut, rendered
from orchestrator.errors import BudgetError, NoModel, OrchestratorError, TaskCapReached
from orchestrator.events import EventType
from orchestrator.gateway import UnusableAnswers
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.prompts import fence
from orchestrator.routing import Need
from orchestrator.run import BYTES_PER_TOKEN, Asking, Run
from orchestrator.state import (
    Finding,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Review,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
)
from orchestrator.store import RunStore
from orchestrator.wire import ReviewReply

PROMPT = "review_diff"
MAX_CONVENTIONS = 8_000
MAX_LISTED = 200
_WRITER_PROMPT_TOKENS = 2_000
"""What a prompt holds beside the diff, about: rules, the change's own words and the list of its files."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is reviewed: the files of a diff, and the repository's own rules for its authors, as of the base."""

    files: tuple[FileDiff, ...]
    conventions: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the change with the reviews that are its tasks."""

    files: tuple[FileDiff, ...]
    place: str
    first: Task
    second: Task


def opinions_of(state: ProjectState) -> Consensus:
    """Return what the reviews of a run like this say together."""
    results = [state.results[task.id] for task in state.tasks if task.id in state.results]
    return consensus([result.review for result in results if result.review])


def not_asked(state: ProjectState) -> str:
    """Return why nobody else was asked for a second opinion, or an empty text."""
    reasons = [it.reason for it in state.results.values() if it.status is TaskStatus.SKIPPED and it.reason]
    return reasons[0] if reasons else ""


async def review_change(runs: RunStore, desk: Desk, change: Change) -> tuple[ProjectStatus, Outcome]:
    """Have a change reviewed; raises what stops a run, after what was reviewed until then is kept."""
    run = desk.run

    # 1. The parts follow from the diff alone, so that a process that takes over asks the same.
    pieces = cut(change.files)
    if not pieces.parts:
        return ProjectStatus.COMPLETED, Outcome(Code.NOTHING_TO_DO, "The change has no text to review.")
    parts = _parts(pieces)
    tasks = tuple(task for part in parts for task in (part.first, part.second))
    if not desk.state.tasks:
        expected = _forecast(run, parts)
        await runs.save_plan(run.id, desk.fence, tasks, expected)
        titles = [{"id": task.id, "title": task.title} for task in tasks]
        run.tell(EventType.PLAN_READY, tasks=titles, low_usd=expected.low_usd, high_usd=expected.high_usd)
    await runs.save(run.id, desk.fence, status=ProjectStatus.RUNNING.value)

    # 2. Every part at once; of a part the second provider after the first, because it must be another one.
    reviewing = _Reviewing(runs, desk, change)
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(reviewing.both(part))
    if reviewing.stops:
        raise reviewing.stops[0]

    # 3. What it amounts to, and what nobody has read.
    state = await runs.state(run.id)
    if state is None:
        raise AssertionError(f"run {run.id} was claimed and must exist")
    desk.state.notes = tuple(dict.fromkeys([*desk.state.notes, *_unread(pieces, change.files)]))
    return _ending(state, pieces, change.files, reviewing.failures)


# the parts


def _parts(pieces: Cut) -> tuple[_Part, ...]:
    count = len(pieces.parts)
    return tuple(_part(number, count, files) for number, files in enumerate(pieces.parts, 1))


def _part(number: int, count: int, files: tuple[FileDiff, ...]) -> _Part:
    prefix = f"part-{number}-" if count > 1 else ""
    named = files[0].path if len(files) == 1 else f"{files[0].path} and {len(files) - 1} more"
    paths = tuple(file.path for file in files)

    def task(which: str) -> Task:
        title = f"{which.title()} opinion on {named}"
        return Task(f"{prefix}{which}", title[:200], TaskType.CODE_REVIEW, "Review the diff.", files=paths)

    return _Part(files, f"part {number} of {count}", task("first"), task("second"))


def _forecast(run: Run, parts: Sequence[_Part]) -> Forecast:
    """Return what the reviews may cost; raises `NoModel` before anything is paid when nobody may review."""
    ranges: dict[str, tuple[float, float]] = {}
    models: dict[str, str] = {}
    for part in parts:
        size = sum(len(rendered(file).encode()) for file in part.files)
        tokens = size // BYTES_PER_TOKEN + _WRITER_PROMPT_TOKENS
        provider = ""
        for task in (part.first, part.second):
            limit = OUTPUT_TOKENS[Purpose.REVIEW]
            route = run.router.route(Need(Purpose.REVIEW, tokens, limit, avoid_provider=provider, impartial=True))
            model = route.chain[0]
            if model.provider == provider:
                continue
            provider = model.provider
            low = to_usd(model.price.cost(tokens, limit // 8))
            ranges[task.id], models[task.id] = (low, to_usd(model.price.cost(tokens, limit))), model.id
    return Forecast(sum(low for low, _ in ranges.values()), sum(high for _, high in ranges.values()), ranges, models)


def _unread(pieces: Cut, files: Sequence[FileDiff]) -> list[str]:
    """Return one sentence for each kind of what no reviewer has seen."""
    without = {file.path for file in files if not file.patch}
    bare = [path for path in pieces.left if path in without]
    beyond = [path for path in pieces.left if path not in without]
    said = []
    if bare:
        said.append(f"GitHub shows no text of these changes, so that nobody reviewed them: {_named(bare)}.")
    if beyond:
        said.append(f"Not reviewed, because the change is larger than {MAX_PARTS} parts: {_named(beyond)}.")
    if pieces.short:
        said.append(f"Too large for a part: only the begin was reviewed of {_named(pieces.short)}.")
    return said


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 20} more" if len(paths) > 20 else ""
    return ", ".join(paths[:20]) + more


# the reviews


class _Reviewing:
    """Asks for the opinions of one change; `failures` are why an opinion is missing.

    A stop by the cap lets the calls in flight end, which are paid for anyway; `stops` are what then ends the run.
    """

    def __init__(self, runs: RunStore, desk: Desk, change: Change) -> None:
        self._runs = runs
        self._desk = desk
        self._change = change
        self.failures: list[OrchestratorError] = []
        self.stops: list[BudgetError] = []

    async def both(self, part: _Part) -> None:
        """Have a part reviewed by one provider and then, independently, by another one."""
        try:
            await self._both(part)
        except BudgetError as error:
            self.stops.append(error)

    async def _both(self, part: _Part) -> None:
        first = await self._once(part, part.first, avoid="")
        provider = first.review.provider if first.review else ""
        if not provider:
            # Every provider was tried for it: to try them all again would only cost more.
            await self._skip(part.second, "No provider gave a first opinion that could be used.")
        elif not self._has_other(provider):
            await self._skip(part.second, f"Only {provider} may be asked here, so there is no second opinion.")
        else:
            await self._once(part, part.second, avoid=provider)

    async def _skip(self, task: Task, reason: str) -> None:
        await self._finish(task, TaskResult(task.id, TaskStatus.SKIPPED, reason=reason))

    def _has_other(self, provider: str) -> bool:
        need = Need(Purpose.REVIEW, 1, OUTPUT_TOKENS[Purpose.REVIEW], avoid_provider=provider, impartial=True)
        return self._desk.run.router.route(need).chain[0].provider != provider

    async def _once(self, part: _Part, task: Task, *, avoid: str) -> TaskResult:
        run = self._desk.run
        known = self._desk.state.results.get(task.id)
        if known is not None and known.status is TaskStatus.COMPLETED:
            return known
        await self._runs.start_task(run.id, self._desk.fence, task.id)
        run.tell(EventType.TASK_STARTED, task_id=task.id, type=task.type.value, title=task.title)
        try:
            async with run.gateway.slots.held():
                result = await self._asked(part, task, avoid)
        except (NoModel, TaskCapReached, UnusableAnswers) as error:
            self.failures.append(error)
            result = TaskResult(task.id, TaskStatus.FAILED, attempts=1, reason=error.message)
        await self._finish(task, result)
        return result

    async def _asked(self, part: _Part, task: Task, avoid: str) -> TaskResult:
        run = self._desk.run
        rounds, _ = await self._runs.rounds(run.id)
        asking = Asking(
            task_id=task.id,
            label=f"{rounds.get(task.id, 0)}.1",
            avoid_provider=avoid,
            task_type=task.type.value,
            impartial=True,
            prompt=PROMPT,
        )
        answer, choice = await run.ask(Purpose.REVIEW, self._values(part), ReviewReply, asking)
        reply = answer.reply
        findings = tuple(Finding(it.path, max(1, it.line), it.message, Severity(it.severity)) for it in reply.findings)
        blocked = any(finding.severity is Severity.ERROR for finding in findings)
        review = Review(
            provider=answer.model.provider,
            model=answer.model.id,
            score=reply.score,
            approved=reply.verdict == "approve" and not blocked,
            findings=findings,
            same_provider=answer.model.provider == avoid,
        )
        cost, input_tokens, output_tokens = await run.gateway.ledger.task_cost(task.id)
        return TaskResult(
            task.id,
            TaskStatus.COMPLETED,
            score=reply.score,
            model=answer.model.id,
            provider=answer.model.provider,
            attempts=1,
            cost_usd=to_usd(cost),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            review=review,
            routes=(choice,),
        )

    def _values(self, part: _Part) -> Mapping[str, str]:
        run, files = self._desk.run, self._change.files
        listed = [f"{file.status}: {file.path}" for file in files[:MAX_LISTED]]
        if len(files) > MAX_LISTED:
            listed.append(f"and {len(files) - MAX_LISTED} more")
        conventions = self._change.conventions.strip()[:MAX_CONVENTIONS]
        said = "What the repository asks of its authors\n" + fence(conventions, run.nonce, "conventions")
        return {
            "conventions": said if conventions else "",
            "files": fence("\n".join(listed), run.nonce, "files"),
            "part": part.place,
            "diff": fence("\n\n".join(rendered(file) for file in part.files), run.nonce, "diff"),
        }

    async def _finish(self, task: Task, result: TaskResult) -> None:
        run, desk = self._desk.run, self._desk
        await self._runs.finish_task(run.id, desk.fence, result, {}, desk.elapsed())
        events = {
            TaskStatus.COMPLETED: EventType.TASK_COMPLETED,
            TaskStatus.SKIPPED: EventType.TASK_SKIPPED,
        }
        about: dict[str, object] = {"task_id": task.id, "type": task.type.value, "reason": result.reason}
        if result.status is not TaskStatus.SKIPPED:
            about |= {
                "title": task.title,
                "result": result,
                "score": result.score,
                "cost_usd": result.cost_usd,
                "model": result.model,
                "provider": result.provider,
                "attempts": result.attempts,
            }
        run.tell(events.get(result.status, EventType.TASK_FAILED), **about)


# the ending


def _ending(
    state: ProjectState, pieces: Cut, files: Sequence[FileDiff], failures: Sequence[OrchestratorError]
) -> tuple[ProjectStatus, Outcome]:
    said = opinions_of(state)
    if not said.opinions and failures:
        raise failures[0]
    text = summary(said)
    if failures:
        return ProjectStatus.PARTIAL, Outcome(Code.INCOMPLETE, f"{text} An opinion is missing: {failures[0].message}")
    without = {file.path for file in files if not file.patch}
    if pieces.short or any(path not in without for path in pieces.left):
        return ProjectStatus.PARTIAL, Outcome(Code.INCOMPLETE, f"{text} The change is too large to be reviewed whole.")
    return ProjectStatus.COMPLETED, Outcome(Code.REVIEWED, text)


def summary(said: Consensus) -> str:
    """Return one sentence: who approves, and how many findings there are."""
    words = [f"{it.provider} {'approves' if it.approved else 'requests changes'}" for it in said.opinions]
    count = len(said.findings)
    found = "no findings" if not count else "one finding" if count == 1 else f"{count} findings"
    agreed = f", {len(said.agreed)} of them by both" if said.agreed else ""
    return f"{', '.join(words)}: {found}{agreed}." if words else "Nobody reviewed the change."
