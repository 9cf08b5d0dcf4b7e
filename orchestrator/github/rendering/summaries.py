"""The check runs of a run that has ended, whose summaries are the report's sections; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.github.rendering.checks import (
    MAX_ANNOTATIONS,
    NAMES,
    SINGLE_NAME,
    CheckRun,
    RunningCheck,
    annotations_for,
    architecture_verdict,
    budget_verdict,
    buttons_for,
    open_findings,
    review_verdict,
    validation_verdict,
)
from orchestrator.github.rendering.markdown import fit
from orchestrator.github.rendering.report import architecture_section, review_section, validation_section
from orchestrator.github.rendering.spending import budget_section
from orchestrator.github.rendering.status import OFFLINE_NOTE, status_line, task_table
from orchestrator.state import ProjectState, ProjectStatus


def check_runs(state: ProjectState, *, single: bool = False) -> tuple[CheckRun, ...]:
    """Return the four check runs of an ended run, or with `single` all in `orchestrator/run`."""
    validation = [finding for it in state.validation for finding in it.coded]
    parts = (
        ("budget", budget_verdict(state), budget_section(state), ()),
        ("review", review_verdict(state), review_section(state), annotations_for(open_findings(state), "review")),
        ("architecture", architecture_verdict(state), architecture_section(state), ()),
        ("validation", validation_verdict(state), validation_section(state), annotations_for(validation, "validation")),
    )
    said = f"{OFFLINE_NOTE}\n\n" if state.offline else ""
    runs = tuple(
        CheckRun(
            f"orchestrator/{name}",
            verdict[0],
            verdict[1][:255],
            fit(said + text),
            notes,
            buttons=buttons_for(state, notes),
        )
        for name, verdict, text, notes in parts
    )
    if not single:
        return runs
    worst = max((run.conclusion for run in runs), key=_SEVERITY.index)
    titles = "; ".join(f"{run.name.removeprefix('orchestrator/')}: {run.title}" for run in runs)
    summary = "\n\n".join(f"## {run.name.removeprefix('orchestrator/').title()}\n\n{run.summary}" for run in runs)
    notes = tuple(note for run in runs for note in run.annotations)[:MAX_ANNOTATIONS]
    return (CheckRun(SINGLE_NAME, worst, titles[:255], fit(summary), notes, buttons=buttons_for(state, notes)),)


def running_checks(state: ProjectState, names: Sequence[str] = NAMES) -> tuple[RunningCheck, ...]:
    """Return the check runs in progress of a run that works on a head: its tasks and money so far."""
    summary = fit(task_table(state) if state.tasks else "The tasks are not planned yet.")
    # A run that goes on with its tasks is at work, though it first looks at its plan again.
    title = status_line(replace(state, status=ProjectStatus.RUNNING) if state.tasks else state)
    return tuple(RunningCheck(name, title[:255], summary) for name in names)


_SEVERITY = ("success", "action_required", "cancelled", "timed_out", "failure")
