"""Comments that answer without a run: the commands, a refusal, and what is wrong in a spec; pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.codes import Code
from orchestrator.errors import SpecFinding
from orchestrator.github.rendering.markdown import code, fit, one_line, shown_code, table

_RESUMABLE = ("approve", "cancel", "resume")
_REVISABLE = ("revise", "review")


def help_comment(*, resumable: bool = True, revisable: bool = True) -> str:
    """Return the commands that work here.

    Some need a run of an earlier job, which only what is `resumable` finds again; some ask models and write in one job.
    """
    rows = [
        [
            "`/orchestrate [run] [--budget USD] [--app-type X] [--base BRANCH] [text]`",
            "plans, builds, opens a pull request",
        ],
        ["`/orchestrate plan`", "architecture, tasks and forecast; builds nothing"],
        ["`/orchestrate approve`", "builds a plan that waits; when the spec has changed since, plans and asks again"],
        ["`/orchestrate status`", "brings the run's status comment up to date"],
        ["`/orchestrate cancel`", "stops the run; what was built so far becomes a draft pull request"],
        ["`/orchestrate resume [--budget USD]`", "goes on with a run that stopped early, on the same branch"],
        ["`/orchestrate revise TEXT`", "on a pull request of ours: another round with TEXT as feedback, on its branch"],
        ["`/orchestrate review`", "on any pull request: two providers review its diff; pushes and runs nothing"],
        ["`/orchestrate ci`", "on a pull request of ours: lets the repository's CI run on its head"],
        ["`/orchestrate help`", "this list"],
    ]
    missing = (*(() if resumable else _RESUMABLE), *(() if revisable else _REVISABLE))
    shown = [row for row in rows if not row[0].startswith(tuple(f"`/orchestrate {name}" for name in missing))]
    note = "\n\n`approve`, `cancel` and `resume` need a database that jobs share, and there is none here."
    listed = table(["Command", "Effect"], shown)
    return f"Commands, at the start of a line:\n\n{listed}{'' if resumable else note}"


def refusal_comment(message: str, lead: str = "Not started", code: Code = Code.REFUSED) -> str:
    """Return a refusal: what is wrong, and what to write instead."""
    return f"{lead}: {message}\n\n`/orchestrate help` lists the commands. {shown_code(code)}"


def failure_comment(message: str, hint: str, code: Code) -> str:
    """Return what is said of a run that could not be brought to its end, and what to do."""
    return "\n\n".join(part for part in (one_line(message), one_line(hint), shown_code(code)) if part)


def spec_comment(findings: Sequence[SpecFinding], branch: str = "") -> str:
    """Return what is wrong in the spec file, at its lines; `branch` holds it where the default one does not."""
    lines = [
        f"- `{code(f.path)}:{f.line}` `{code(f.field)}`: {one_line(f.message)} {shown_code(f.code)}" for f in findings
    ]
    path = code(findings[0].path) if findings else ".orchestrator.yaml"
    where = f"`{code(branch)}`" if branch else "the default branch"
    return fit(
        f"Not started: `{path}` has errors. Correct them on {where} and ask again. "
        f"{shown_code(Code.SPEC_INVALID)}\n\n" + "\n".join(lines)
    )
