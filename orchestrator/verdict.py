"""What a run's results amount to: pure rules for how it ends, and what a repair is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.artifacts import Protection
from orchestrator.codes import Code
from orchestrator.records import ADR_PATH as ADR_PATH
from orchestrator.records import is_record
from orchestrator.state import (
    REPAIR_PREFIX,
    Outcome,
    ProjectStatus,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.workspace import Workspace

# A repair is shown the files that its findings name, then others up to this size; source: half of the smallest
# context in the catalog (64,000 tokens), at three bytes a token.
REPAIR_BYTES = 96_000
# Files that a repository may hold and still be new: they say nothing about its shape.
_BARE = ("README", "LICENSE", ".")
_DOCUMENTS = (".md", ".markdown", ".rst", ".adoc", ".txt")


def is_new(workspace: Workspace) -> bool:
    """Say whether the run starts from nothing, so that it may record its architecture."""
    return all(path.rsplit("/", 1)[-1].startswith(_BARE) for path in workspace.base_paths())


def built(workspace: Workspace) -> bool:
    """Say whether a task has changed anything; the record of the architecture alone does not count."""
    return any(not is_record(path, content) for path, content in workspace.accepted.items())


def _unchecked(validation: Sequence[ValidationResult], workspace: Workspace) -> bool:
    """Say whether nothing was checked that could have been: documents are judged instead."""
    if any(one.status is not ValidationStatus.NOT_RUN for one in validation):
        return False
    written = [path for path, content in workspace.accepted.items() if content is not None]
    return any(not path.lower().endswith(_DOCUMENTS) for path in written)


def repair(number: int, failing: Sequence[ValidationResult], workspace: Workspace, protection: Protection) -> Task:
    """Return the task that mends what fails on the whole project."""
    # Findings are made by programs that ran generated code: only paths of the project count.
    mendable = {path for path in workspace.paths() if not protection.covers(path)}
    named = sorted({finding.path for one in failing for finding in one.findings} & mendable)
    accepted = workspace.accepted.items()
    written = sorted(path for path, content in accepted if content is not None and not is_record(path, content))
    shown, room = [], REPAIR_BYTES
    for path in dict.fromkeys((*named, *written)):
        size = len(workspace.read(path) or b"")
        if size <= room:
            shown.append(path)
            room -= size
    return Task(
        id=f"{REPAIR_PREFIX}{number}",
        title="Make the whole project pass its checks",
        type=TaskType.CODE_GENERATION,
        description=f"These checks fail on the whole project: {', '.join(one.validator for one in failing)}. "
        "Mend the cause, in the code or in the test, whichever is wrong.",
        files=tuple(shown),
    )


def repair_numbers(tasks: Sequence[Task]) -> tuple[int, ...]:
    """Return the numbers of the repairs that a run has had; a resume forgets those that failed."""
    return tuple(int(task.id.removeprefix(REPAIR_PREFIX)) for task in tasks if task.id.startswith(REPAIR_PREFIX))


def verdict(
    tasks: Sequence[Task],
    results: Mapping[str, TaskResult],
    validation: Sequence[ValidationResult],
    workspace: Workspace,
    note: str,
) -> tuple[ProjectStatus, Outcome]:
    """Return the ending that the results earn: completed only when every task and every validator passed.

    Where no validator ran on anything but documents, nothing has passed.

    `note` says why nobody judged the result against its criteria; what every task and check passed is complete without.
    """
    done = {one for one, result in results.items() if result.status is TaskStatus.COMPLETED}
    open_tasks = [task.id for task in tasks if task.id not in done]
    open_checks = [one.validator for one in validation if not one.passed]
    unchecked = _unchecked(validation, workspace)
    if not built(workspace):
        codes = [result.code for result in results.values() if result.status is TaskStatus.FAILED]
        idle = bool(codes) and all(code is Code.NOTHING_CHANGED for code in codes)
        said = "; ".join(["Nothing was built", *_why(tasks, results)]) + "."
        return ProjectStatus.FAILED, Outcome(Code.NOTHING_TO_DO if idle else Code.FAILED, said)
    if not open_tasks and not open_checks and not unchecked:
        return ProjectStatus.COMPLETED, Outcome(Code.CHANGED, note or "Every task and every check passed.")
    reasons = []
    if open_tasks:
        reasons.append(f"not completed: {', '.join(open_tasks)}")
    if open_checks:
        reasons.append(f"checks that did not pass: {', '.join(open_checks)}")
    if unchecked and not open_checks:
        reasons.append("no check ran, so that nothing is known to work")
    return ProjectStatus.PARTIAL, Outcome(Code.INCOMPLETE, "; ".join([*reasons, *([note] if note else [])]))


def _why(tasks: Sequence[Task], results: Mapping[str, TaskResult]) -> list[str]:
    failed = [results[task.id] for task in tasks if task.id in results]
    return [
        f"{one.task_id} failed: {one.reason.strip().splitlines()[0].rstrip('.')}"
        for one in failed
        if one.status is TaskStatus.FAILED and one.reason.strip()
    ]
