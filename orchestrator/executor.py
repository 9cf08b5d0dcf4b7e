"""One task: generate, check, review, revise, until it passes or its attempts run out.

for each attempt:
    write   -> files, edits, deletions and renames, applied to what the last attempt left
    check   -> deterministic validators in the sandbox; what fails goes back before a review is paid
    review  -> another provider; its errors, and a score below the task's threshold, go back
    or, for a document that no policy wants reviewed:
    judge   -> another model than the writer's; a score below the threshold goes back
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.artifacts import apply_reply
from orchestrator.catalog import ModelProfile
from orchestrator.checks import Checker, checked
from orchestrator.codes import Code
from orchestrator.errors import ChangeError, TaskCapReached
from orchestrator.evaluation import evaluate_task
from orchestrator.gateway import UnusableAnswers
from orchestrator.planner import ancestors
from orchestrator.prediction import Attempt
from orchestrator.prompts import fence
from orchestrator.reviewer import checks_section, review
from orchestrator.run import Asking, Run
from orchestrator.state import (
    ArchitectureDecision,
    EarlierAttempt,
    Evaluation,
    Finding,
    Purpose,
    Review,
    RouteChoice,
    Severity,
    Task,
    TaskResult,
    TaskStatus,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.task_types import RULES, attempts, is_critical, threshold
from orchestrator.wire import ChangesReply

# A model that failed this often at a task is passed over for the next one.
FAILURES_PER_MODEL = 2
# Source: a third of the smallest context in the catalog (64,000 tokens), at three bytes a token.
DEPENDENCY_BYTES = 64_000
# What a first attempt is worth that its checks send back: it stands, and is mended for the price of another one.
WORTH_OF_CHECKED = 0.5


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended and what it changes; the changes of a failed task are its best attempt's.

    `tried` says of each model that was asked at the first attempt how it went.
    """

    result: TaskResult
    changes: dict[str, bytes | None]
    tried: dict[str, Attempt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one execution is about: the task in its plan, and how it is checked.

    `findings` are what a repair starts from; `whole` checks the whole project instead of the task's own files;
    `round` counts explicit resumes, so that a task that failed is really asked again.
    """

    task: Task
    plan: tuple[Task, ...]
    decision: ArchitectureDecision
    round: int = 0
    findings: tuple[ValidationResult, ...] = ()
    whole: bool = False


@dataclass(slots=True)
class _Progress:
    """What the attempts so far left behind."""

    changes: dict[str, bytes | None] = field(default_factory=dict)
    feedback: str = ""
    writer: ModelProfile | None = None
    validation: tuple[ValidationResult, ...] = ()
    review: Review | None = None
    evaluation: Evaluation | None = None
    writers: set[str] = field(default_factory=set)
    routes: list[RouteChoice] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    code: Code | None = None
    earlier: list[EarlierAttempt] = field(default_factory=list)
    best: dict[str, bytes | None] = field(default_factory=dict)
    best_rank: tuple[bool, float] = (False, -1.0)
    tried: dict[str, Attempt] = field(default_factory=dict)
    judged: bool = False

    @property
    def score(self) -> float:
        """The last review's or evaluation's score, 0 before there is one."""
        judgement = self.review or self.evaluation
        return judgement.score if judgement else 0.0

    def keep_best(self) -> None:
        """Remember the changes of the best attempt: checks passed first, then the score."""
        passed = not _blocking(self.validation)
        rank = (passed, self.score)
        if self.changes and rank > self.best_rank:
            self.best, self.best_rank = dict(self.changes), rank

    def judge_first(self, *models: str, passed: bool = False, score: float = 0.0) -> None:
        """Note how the first attempt went; what follows it builds on its findings, and says less of the model."""
        if not self.judged:
            self.tried |= dict.fromkeys(models, Attempt(passed, score))

    def failed(self, feedback: str, code: Code) -> None:
        """Note what goes back to the writer, and the code that says why."""
        self.feedback = feedback
        self.reason = feedback
        self.code = code
        if self.writer is not None:
            self.failures[self.writer.id] = self.failures.get(self.writer.id, 0) + 1

    def begin(self, round: int, number: int) -> None:
        """Begin an attempt: what the one before it, which was sent back, came to is kept."""
        self.judged = number > 1
        if self.code is None or self.writer is None:
            return
        was = self.code
        self.earlier.append(
            EarlierAttempt(
                round,
                number - 1,
                self.writer.id,
                was,
                self.review if was is Code.REVIEW_REJECTED else None,
                self.evaluation if was is Code.JUDGED_LOW else None,
                self.validation if was in (Code.CHECKS_FAILED, Code.REVIEW_REJECTED, Code.JUDGED_LOW) else (),
            )
        )


async def execute(run: Run, checker: Checker, assignment: Assignment) -> TaskOutcome:
    """Work on one task until it passes.

    Raises what stops the whole run (`BudgetError`, `NoModel`, `NoReviewer`, `RunLost`); all else ends in the result.
    """
    progress = _Progress(feedback=checks_section(assignment.findings) if assignment.findings else "")
    attempt = 0
    while attempt < attempts(assignment.task):
        attempt += 1
        progress.begin(assignment.round, attempt)
        label = f"{assignment.round}.{attempt}"
        try:
            if not await _write(run, assignment, progress, label):
                continue
            if not await _check(run, checker, assignment, progress):
                continue
            passed = _reviewed if _needs_review(run, assignment.task, progress) else _judged
            if await passed(run, assignment, progress, label):
                return _outcome(assignment, progress, TaskStatus.COMPLETED, attempt)
        except UnusableAnswers as error:
            progress.reason, progress.code = error.message, Code.ANSWERS_UNUSABLE
            break
        except TaskCapReached as error:
            progress.reason, progress.code = str(error), error.code
            break
    return _outcome(assignment, progress, TaskStatus.FAILED, attempt)


async def _write(run: Run, assignment: Assignment, progress: _Progress, label: str) -> bool:
    """Have a model write, and apply its answer to what stands; False when it cannot be applied."""
    revising = bool(progress.feedback)
    purpose = Purpose.REVISE if revising else Purpose.GENERATE
    asking = Asking(
        task_id=assignment.task.id,
        label=label,
        critical=assignment.task.critical,
        avoid_models=frozenset(
            model for model, failures in progress.failures.items() if failures >= FAILURES_PER_MODEL
        ),
        task_type=assignment.task.type.value,
        output_tokens=RULES[assignment.task.type].output_tokens,
    )
    try:
        values = await _prompt_values(run, assignment, progress, revising=revising)
        answer, choice = await run.ask(purpose, values, ChangesReply, asking)
    except UnusableAnswers as error:
        progress.judge_first(*error.models)
        raise
    progress.judge_first(*answer.unusable)
    unanswered = f"\n\nStill to be mended:\n{progress.feedback}" if revising else ""
    progress.writer = answer.model
    progress.writers.add(answer.model.id)
    progress.routes.append(choice)
    tree = run.workspace.over(progress.changes)
    try:
        changes = apply_reply(answer.reply, tree, run.rules(_files_of_others(run, assignment)))
    except ChangeError as error:
        progress.judge_first(answer.model.id)
        feedback = f"Your changes could not be applied, and nothing of them was: {error.message}{unanswered}"
        progress.failed(feedback, error.code)
        return False
    if not changes:
        progress.judge_first(answer.model.id)
        progress.failed(f"You changed nothing. {answer.reply.notes}".strip() + unanswered, Code.NOTHING_CHANGED)
        return False
    run.claims.update(dict.fromkeys(changes, assignment.task.id))
    progress.changes.update(changes)
    return True


async def _check(run: Run, checker: Checker, assignment: Assignment, progress: _Progress) -> bool:
    """Run the deterministic checks; False when one blocks."""
    paths = None if assignment.whole else [path for path, content in progress.changes.items() if content is not None]
    tree = run.workspace.over(progress.changes)
    progress.validation = await checked(run, checker, tree, paths, assignment.task.id)
    progress.review = progress.evaluation = None
    blocking = _blocking(progress.validation)
    progress.keep_best()
    if not blocking:
        return True
    if progress.writer is not None:
        progress.judge_first(progress.writer.id, score=WORTH_OF_CHECKED)
    progress.failed(f"The checks failed:\n{checks_section(blocking)}", Code.CHECKS_FAILED)
    return False


def _needs_review(run: Run, task: Task, progress: _Progress) -> bool:
    """Say whether another provider must review the version: what is critical always, documents where a policy asks."""
    return run.job.policies.reviews_documents or is_critical(task, progress.changes)


async def _reviewed(run: Run, assignment: Assignment, progress: _Progress, label: str) -> bool:
    """Have another provider review what passed the checks; False when it blocks."""
    if progress.writer is None:
        raise AssertionError("a review needs somebody who wrote")
    progress.review, choice = await review(
        run,
        assignment.task,
        assignment.decision,
        written=progress.changes,
        plan=fence(_planned_files(assignment), run.nonce, "plan"),
        dependencies=_dependencies(run, assignment),
        checks=progress.validation,
        writer_provider=progress.writer.provider,
        label=label,
    )
    progress.routes.append(choice)
    progress.keep_best()
    progress.judge_first(progress.writer.id, passed=progress.review.approved, score=progress.review.score)
    if progress.review.approved:
        return True
    progress.failed(_review_feedback(progress.review, threshold(assignment.task)), Code.REVIEW_REJECTED)
    return False


async def _judged(run: Run, assignment: Assignment, progress: _Progress, label: str) -> bool:
    """Have a model that wrote none of it judge a document; False when its score is below the task's threshold."""
    task = assignment.task
    progress.evaluation, choice = await evaluate_task(
        run,
        task,
        written=progress.changes,
        checks=progress.validation,
        writers=frozenset(progress.writers),
        label=label,
    )
    progress.routes.append(choice)
    progress.keep_best()
    passed = progress.evaluation.score >= threshold(task)
    if progress.writer is not None:
        progress.judge_first(progress.writer.id, passed=passed, score=progress.evaluation.score)
    if passed:
        return True
    progress.failed(
        f"It was judged at {progress.evaluation.score:.2f}, and the task needs {threshold(task):.2f}. "
        f"The judge says:\n{progress.evaluation.reason}",
        Code.JUDGED_LOW,
    )
    return False


def _outcome(assignment: Assignment, progress: _Progress, status: TaskStatus, attempts: int) -> TaskOutcome:
    completed = status is TaskStatus.COMPLETED
    writer = progress.writer
    result = TaskResult(
        task_id=assignment.task.id,
        status=status,
        score=progress.score,
        model=writer.id if writer else "",
        provider=writer.provider if writer else "",
        attempts=attempts,
        review=progress.review,
        evaluation=progress.evaluation,
        validation=progress.validation,
        routes=tuple(progress.routes),
        reason="" if completed else progress.reason,
        code=None if completed else progress.code,
        earlier=tuple(progress.earlier),
    )
    return TaskOutcome(result, dict(progress.changes if completed else progress.best), progress.tried)


async def _prompt_values(run: Run, assignment: Assignment, progress: _Progress, *, revising: bool) -> dict[str, str]:
    task = assignment.task
    request = f"{task.title}\n{task.description}\n" + "\n".join(task.files)
    without = progress.changes if revising else ()
    tree, files = await run.repository(request, changed=_known_files(run, assignment), without=without)
    values = {
        "architecture": run.architecture_section(assignment.decision),
        "task_id": task.id,
        "task": run.task_section(task),
        "task_files": fence("\n".join(f"- {path}" for path in task.files), run.nonce, "paths")
        if task.files
        else "(as the task needs)",
        "plan": fence(_planned_files(assignment), run.nonce, "plan"),
        "repository": tree,
        "repository_files": files,
        "dependencies": _dependencies(run, assignment),
        "answer_tokens": f"{RULES[task.type].output_tokens:,}",
    }
    if revising:
        standing = {path: content for path in task.files if (content := run.workspace.read(path)) is not None}
        values["current"] = run.files_section(progress.changes or standing)
        values["findings"] = fence(progress.feedback, run.nonce, "findings")
    return values


def _known_files(run: Run, assignment: Assignment) -> list[str]:
    """Return the files that a task sees as tasks left them: its own, and those of the tasks that it builds on.

    Not those of others, which may be done or not when it is asked: a replay must see the same prompt, or it is paid
    twice. A repair comes after all of them.
    """
    if assignment.whole:
        return list(run.workspace.accepted)
    before = ancestors(assignment.task, assignment.plan)
    return [path for task in (assignment.task, *before) for path in task.files]


def _dependencies(run: Run, assignment: Assignment) -> str:
    """Return the files of the tasks that this one builds on; those only, so that a replay sees the same prompt.

    The nearest come first; what does not fit into `DEPENDENCY_BYTES` is named only.
    """
    if assignment.whole:
        return ""
    shown: dict[str, bytes | None] = {}
    left_out: list[str] = []
    room = DEPENDENCY_BYTES
    for path in dict.fromkeys(path for task in ancestors(assignment.task, assignment.plan) for path in task.files):
        content = run.workspace.read(path)
        if content is None:
            continue
        if len(content) > room:
            left_out.append(fence(f"File {path} is not shown: it has {len(content)} bytes", run.nonce, "path"))
            continue
        shown[path] = content
        room -= len(content)
    if not shown and not left_out:
        return ""
    sections = [run.files_section(shown)] if shown else []
    return "\n\n".join(["Files of the tasks this one depends on", *sections, *left_out])


def _planned_files(assignment: Assignment) -> str:
    return "\n".join(f"{task.id}: {', '.join(task.files) or '(none named)'}" for task in assignment.plan)


def _files_of_others(run: Run, assignment: Assignment) -> frozenset[str]:
    """Return what other tasks write: the files they name, and those they wrote without having named them."""
    if assignment.whole:
        return frozenset()
    own = set(assignment.task.files)
    named = {path for task in assignment.plan for path in task.files}
    before = {assignment.task.id, *(task.id for task in ancestors(assignment.task, assignment.plan))}
    claimed = {path for path, owner in run.claims.items() if owner not in before}
    return frozenset((named | claimed) - own)


def _blocking(results: Sequence[ValidationResult]) -> list[ValidationResult]:
    return [result for result in results if result.status is ValidationStatus.FAILED]


def _review_feedback(verdict: Review, needed: float) -> str:
    ordered = sorted(verdict.findings, key=_by_weight)
    lines = [f"{one.severity.value}: {one.path}:{one.line}: {one.message}" for one in ordered]
    if verdict.score < needed:
        lines.append(f"Its score is {verdict.score:.2f}, and the task needs {needed:.2f}.")
    return "The reviewer sent it back:\n" + ("\n".join(lines) or "no finding was named; improve it against the task")


def _by_weight(finding: Finding) -> int:
    return [Severity.ERROR, Severity.WARNING, Severity.NOTE].index(finding.severity)
