"""The seven task types: what each must reach, how often it is tried, and which tasks another provider must review."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.state import Purpose, Task, TaskType


@dataclass(frozen=True, slots=True)
class TaskRules:
    """What holds for a type unless the task says otherwise.

    A task passes only with a score of at least `threshold` (0 to 1); `attempts` counts its versions, the first one
    included; `output_tokens` bounds one answer, reasoning left out.
    """

    threshold: float
    attempts: int
    output_tokens: int


# The thresholds are requirements of the project. Short texts are not tried as often, and need less room, than code.
_WHOLE = OUTPUT_TOKENS[Purpose.GENERATE]
RULES: dict[TaskType, TaskRules] = {
    TaskType.CODE_GENERATION: TaskRules(0.85, 3, _WHOLE),
    TaskType.CODE_REVIEW: TaskRules(0.75, 3, _WHOLE // 2),
    TaskType.REASONING: TaskRules(0.90, 3, _WHOLE),
    TaskType.WRITING: TaskRules(0.80, 3, _WHOLE),
    TaskType.DATA_EXTRACTION: TaskRules(0.90, 3, _WHOLE),
    TaskType.SUMMARIZATION: TaskRules(0.80, 2, _WHOLE // 2),
    TaskType.EVALUATION: TaskRules(0.80, 2, _WHOLE // 2),
}

_TEXT_TYPES = frozenset({TaskType.WRITING, TaskType.SUMMARIZATION})
# Prose, and nothing that a program reads: no `.txt` by its ending (requirements.txt, robots.txt), no `.mdx` (code).
_DOCUMENT = re.compile(
    r"(.*/)?(docs?/.*\.txt|[^/]+\.(md|markdown|rst|adoc)|(readme|licen[cs]e|notice|changelog|authors|contributors)(\.txt)?)",
    re.IGNORECASE,
)


def threshold(task: Task) -> float:
    """Return the score from 0 to 1 that a task must reach: its own, else its type's."""
    return RULES[task.type].threshold if task.acceptance_threshold is None else task.acceptance_threshold


def attempts(task: Task) -> int:
    """Return how many versions of a task are tried: its own number, else its type's."""
    return RULES[task.type].attempts if task.max_attempts is None else task.max_attempts


def is_document(path: str) -> bool:
    """Say whether a file is prose for people: neither code, tests, configuration, schemas nor workflows."""
    return not path.startswith(".") and "/." not in path and bool(_DOCUMENT.fullmatch(path))


def is_critical(task: Task, written: Collection[str] = ()) -> bool:
    """Say whether another provider must review a task; `written` are the paths that its version really changes.

    Everything is critical but a text that names and writes documents only. The planner's own flag can only add.
    """
    paths = {*task.files, *written}
    return task.critical or task.type not in _TEXT_TYPES or not paths or not all(map(is_document, paths))
