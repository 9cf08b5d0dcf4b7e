"""The planner: a graph of tasks that can be run, or the same question again with what was wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from orchestrator.artifacts import WriteRules
from orchestrator.errors import ChangeError, PlanError
from orchestrator.limits import MAX_DESCRIPTION_CHARACTERS, MAX_ID_CHARACTERS, MAX_TASKS, MAX_TITLE_CHARACTERS
from orchestrator.prompts import fence
from orchestrator.run import Asking, Run
from orchestrator.state import REPAIR_PREFIX, ArchitectureDecision, Purpose, Task
from orchestrator.wire import PlanReply

PLANS = 3
_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID_CHARACTERS - 1}}}")


async def plan(run: Run, decision: ArchitectureDecision) -> tuple[Task, ...]:
    """Ask for the plan until it can be run; feedback on a change may need no task at all.

    Raises `PlanError` when the last of three plans still cannot, and what the gateway raises.
    """
    feedback = ""
    wrong: list[str] = []
    for number in range(1, PLANS + 1):
        answer, _ = await run.ask(
            Purpose.DECOMPOSE,
            {
                "architecture": run.architecture_section(decision),
                "repository": await run.whole_repository(),
                "feedback": feedback,
            },
            PlanReply,
            Asking(label=str(number)),
        )
        tasks = tasks_of(answer.reply)
        wrong = faults(tasks, run.rules(), may_be_empty=run.job.feedback is not None)
        if not wrong:
            return tasks
        listed = "\n".join(f"- {fault}" for fault in wrong)
        feedback = "Your last plan cannot be run. What is wrong with it\n" + fence(listed, run.nonce, "faults")
    raise PlanError(
        f"No plan that can be run after {PLANS} tries: {'; '.join(wrong)}",
        hint="Describe the job more precisely, or allow a stronger model.",
    )


def tasks_of(reply: PlanReply) -> tuple[Task, ...]:
    """Return the reply's tasks as the run keeps them."""
    return tuple(
        Task(
            id=planned.id,
            title=planned.title,
            type=planned.type,
            description=planned.description,
            depends_on=tuple(dict.fromkeys(planned.depends_on)),
            files=tuple(dict.fromkeys(planned.files)),
            critical=planned.critical,
        )
        for planned in reply.tasks
    )


def faults(tasks: Sequence[Task], rules: WriteRules, *, may_be_empty: bool = False) -> list[str]:
    """Return what keeps a plan from being run, each as a sentence for the planner; an empty list for none."""
    found = [] if tasks or may_be_empty else ["it has no task; at least one is needed"]
    ids = [task.id for task in tasks]
    if len(tasks) > MAX_TASKS:
        found.append(f"it has {len(tasks)} tasks; at most {MAX_TASKS} are possible")
    found += [f"the id {one!r} is used {ids.count(one)} times; ids are unique" for one in _repeated(ids)]
    found += [
        f"the id {one!r} is not possible; use letters, digits, dots, hyphens and underscores, and no repair- in front"
        for one in dict.fromkeys(ids)
        if not _ID.fullmatch(one) or one.startswith(REPAIR_PREFIX)
    ]
    known = set(ids)
    for task in tasks:
        found += [
            f"the {name} of task {task.id!r} has {len(text)} characters; at most {limit} are possible"
            for name, text, limit in (
                ("title", task.title, MAX_TITLE_CHARACTERS),
                ("description", task.description, MAX_DESCRIPTION_CHARACTERS),
            )
            if len(text) > limit
        ]
        found += [
            f"task {task.id!r} depends on {missing!r}, and there is no such task"
            for missing in task.depends_on
            if missing not in known
        ]
        found += _path_faults(task, rules)
    found += _nested(tasks)
    cycle = _cycle(tasks)
    if cycle:
        found.append(f"the tasks {' -> '.join(cycle)} wait for each other; a plan has no cycle")
    return found


def remaining_path(tasks: Sequence[Task]) -> dict[str, int]:
    """Return for each task the number of tasks on the longest path from it to an end, itself included."""
    followers: dict[str, list[str]] = {task.id: [] for task in tasks}
    for task in tasks:
        for needed in task.depends_on:
            followers[needed].append(task.id)
    length: dict[str, int] = {}
    for task_id in TopologicalSorter(followers).static_order():
        length[task_id] = 1 + max((length[follower] for follower in followers[task_id]), default=0)
    return length


def ancestors(task: Task, tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return every task that must be done before this one, the nearest first, else in the plan's order."""
    by_id = {one.id: one for one in tasks}
    order = {name: place for place, name in enumerate(by_id)}
    seen: dict[str, None] = {}
    nearest: set[str] = set(task.depends_on)
    while nearest:
        seen |= dict.fromkeys(sorted(nearest, key=order.__getitem__))
        nearest = {needed for name in nearest for needed in by_id[name].depends_on} - set(seen)
    return tuple(by_id[name] for name in seen)


def ready(
    tasks: Sequence[Task], completed: Collection[str], ended: Collection[str], running: Mapping[str, Task]
) -> list[Task]:
    """Return the tasks that may start now, the one with the longest remaining path first.

    A task waits for what it depends on, and for every running task that names one of its files.
    """
    length = remaining_path(tasks)
    taken = {path for task in running.values() for path in task.files}
    chosen: list[Task] = []
    for task in sorted(tasks, key=lambda one: -length[one.id]):
        if task.id in ended or task.id in running or not set(task.depends_on) <= set(completed):
            continue
        if taken & set(task.files):
            continue
        taken |= set(task.files)
        chosen.append(task)
    return chosen


def unreachable(tasks: Sequence[Task], failed: Collection[str]) -> set[str]:
    """Return the tasks that can no longer run because one before them failed."""
    return {task.id for task in tasks if any(before.id in failed for before in ancestors(task, tasks))}


def _path_faults(task: Task, rules: WriteRules) -> list[str]:
    found = []
    for path in task.files:
        try:
            WriteRules(rules.protection).check(path)
        except ChangeError as error:
            found.append(f"task {task.id!r} names the file {error.message}")
    return found


def _nested(tasks: Sequence[Task]) -> list[str]:
    """Return what is wrong with paths that the plan takes both for a file and for a folder."""
    files = {path: task.id for task in tasks for path in task.files}
    return [
        f"{above!r} of task {files[above]!r} cannot be a file and hold {path!r} of task {files[path]!r}"
        for path in sorted(files)
        for above in (path[:index] for index, letter in enumerate(path) if letter == "/")
        if above in files
    ]


def _repeated(ids: Sequence[str]) -> list[str]:
    return sorted({one for one in ids if ids.count(one) > 1})


def _cycle(tasks: Sequence[Task]) -> list[str]:
    try:
        TopologicalSorter({task.id: task.depends_on for task in tasks}).prepare()
    except CycleError as error:
        return [str(one) for one in error.args[1]]
    return []
