"""What the step leaves behind: workflow commands on standard output, outputs, job summary and report.

Every text of a model or a stranger is redacted and escaped here. The grammar of workflow commands:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TextIO

from orchestrator.budget import Budget
from orchestrator.codes import Code
from orchestrator.errors import SpecFinding
from orchestrator.github.rendering.checks import Annotation, spec_check
from orchestrator.github.rendering.markdown import fit_bytes
from orchestrator.github.rendering.sanitize import Redactor, inert
from orchestrator.github.rendering.summaries import check_runs
from orchestrator.github.staging.preview import Preview, markdown
from orchestrator.github.stories.handler import HandledRun
from orchestrator.hidden import visible
from orchestrator.report import report
from orchestrator.state import ProjectState

NAMES = (
    "status", "project-id", "branch", "pull-request-number", "pull-request-url", "spent-usd", "score", "report-path",
)  # fmt: skip
"""The outputs as `action.yml` names them."""
MAX_SUMMARY = 1_000_000
"""Bytes; a step's summary holds 1 MiB: https://docs.github.com/en/actions/reference/limits."""
_SUMMARY_CUT = "\n\n… cut here: GitHub takes no longer summary. The file that `report-path` names holds the rest."

UNPUBLISHED = (
    "Nothing was written to GitHub, not even progress: this job has no token for it. The job with `command: publish` "
    "reads what was left for it, and says the rest."
)

_GOOD = frozenset({"completed", "answered", "planned", "ignored"})
_EXITS = {"budget_exhausted": 3, "timed_out": 3, "spec_invalid": 2, "interrupted": 130}
_LEVELS = {"failure": "error", "warning": "warning", "notice": "notice"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How the step ended; `status` is the handler's, `ignored`, `failed` or `interrupted`, `exit_status` our own.

    `folder` is where the files went, relative to the workspace; empty for a branch. `previews` are what a staged run
    would have written. What is `unpublished` is left for another job to publish.
    """

    status: str
    reason: str = ""
    run_id: str = ""
    branch: str = ""
    pull_request: int | None = None
    pull_request_url: str = ""
    report: str = ""
    state: ProjectState | None = None
    spec_findings: tuple[SpecFinding, ...] = ()
    exit_status: int = 1
    folder: str = ""
    requester: str = ""
    code: str = Code.FAILED
    unpublished: bool = False
    previews: tuple[Preview, ...] = ()

    @classmethod
    def of(cls, handled: HandledRun, *, requester: str = "", folder: str = "", unpublished: bool = False) -> Ending:
        """Return the ending of a command that was handled."""
        no_model = handled.state is not None and handled.state.outcome.code == "no_model"
        return cls(
            handled.status,
            handled.reason,
            handled.run_id,
            handled.branch,
            handled.pull_request,
            handled.pull_request_url,
            handled.report,
            handled.state,
            handled.spec_findings,
            4 if no_model else _EXITS.get(handled.status, 1),
            folder,
            requester,
            handled.code or Code.FAILED,
            unpublished,
        )


def exit_status(ending: Ending, fail_on: str) -> int:
    """Return the step's exit status: 0 where `fail_on` lets the ending pass, else the command line's for it."""
    if fail_on == "never" or ending.status in _GOOD or (ending.status == "partial" and fail_on == "error"):
        return 0
    return ending.exit_status


# workflow commands


def command(name: str, text: str, **properties: str | int) -> str:
    """Return one workflow command; neither the text nor a property can end it or start another."""
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value != "")
    return f"::{name}{' ' if listed else ''}{listed}::{_data(text)}"


def masks(values: Iterable[str]) -> list[str]:
    """Return the commands that hide secrets in the log, each line of a secret by itself."""
    lines = {line.strip() for value in values for line in value.splitlines()}
    return [command("add-mask", line) for line in sorted(lines) if len(line) > 3]


def remarks(ending: Ending, redactor: Redactor) -> list[str]:
    """Return every finding as a command with file and line, and the reason of an ending that is not good."""
    notes: list[Annotation] = list(spec_check(ending.spec_findings).annotations)
    # The job that publishes says all of them; twice would be once too often.
    if ending.state is not None and not ending.unpublished:
        notes += [note for run in check_runs(ending.state) for note in run.annotations]
    if ending.folder:
        notes = [replace(note, path=str(PurePosixPath(ending.folder, note.path))) for note in notes]
    said = [
        command(
            _LEVELS[note.level],
            redactor(visible(note.message)),
            file=redactor(visible(note.path)),
            line=note.line,
            title=redactor(visible(note.title)),
        )
        for note in notes
    ]
    if ending.status not in _GOOD and ending.reason:
        level = "warning" if ending.status == "partial" else "error"
        said.append(command(level, redactor(visible(ending.reason)), title=f"orchestrator: {ending.status}"))
    return said


@contextmanager
def fenced(out: TextIO) -> Iterator[None]:
    """Let nothing that is written in the block, to standard output or error, act as a workflow command."""
    token = secrets.token_hex(32)
    print(f"::stop-commands::{token}", file=out, flush=True)
    try:
        yield
    finally:
        sys.stderr.flush()
        print(f"::{token}::", file=out, flush=True)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# files


def output_values(ending: Ending, report_path: Path) -> dict[str, str]:
    """Return the outputs by name."""
    spent = sum(call.cost_usd for call in ending.state.calls) if ending.state else 0.0
    return {
        "status": ending.status,
        "project-id": ending.run_id,
        "branch": ending.branch,
        "pull-request-number": "" if ending.pull_request is None else str(ending.pull_request),
        "pull-request-url": ending.pull_request_url,
        "spent-usd": f"{spent:.6f}",
        "score": f"{ending.state.score if ending.state else 0.0:.2f}",
        "report-path": str(report_path),
    }


def write_outputs(path: Path, values: Mapping[str, str]) -> None:
    """Append outputs to the runner's file; a random delimiter keeps any value from setting another output."""
    delimiter = f"orchestrator_{secrets.token_hex(16)}"
    with path.open("a", encoding="utf-8") as file:
        for name, value in values.items():
            file.write(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")


def write_summary(path: Path, ending: Ending, redactor: Redactor) -> None:
    """Append the report to the job summary, inert and without secrets."""
    with path.open("a", encoding="utf-8") as file:
        file.write(fit_bytes(summary(ending, redactor), MAX_SUMMARY, _SUMMARY_CUT) + "\n")


def summary(ending: Ending, redactor: Redactor) -> str:
    """Return the job summary as Markdown."""
    parts = [f"## Orchestrator: {ending.status.replace('_', ' ')}"]
    facts = [f"run `{ending.run_id}`"] if ending.run_id else []
    if ending.pull_request is not None:
        facts.insert(0, f"[pull request #{ending.pull_request}]({ending.pull_request_url})")
    elif ending.branch:
        facts.insert(0, f"branch `{ending.branch}`, [open a pull request]({ending.pull_request_url})")
    if ending.folder:
        facts.insert(0, f"files in `{ending.folder}`")
    if ending.status not in _GOOD:
        facts.append(f"code `{ending.code}`")
    parts.append(" · ".join(facts))
    if ending.unpublished:
        parts.append(UNPUBLISHED)
    text = ending.report or ending.reason
    parts.append(inert(redactor(visible(text)), requester=ending.requester))
    # Fenced as it is, every text stands there as it would have been published.
    parts.append(redactor(visible(markdown(ending.previews))))
    return "\n\n".join(part for part in parts if part)


def write_report(folder: Path, ending: Ending, redactor: Redactor) -> Path:
    """Write the run's report, or one that says why there was no run, and return its path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "report.json"
    content = report(ending.state or _nothing(ending.run_id))
    if ending.state is None:
        content["status"] = ending.status
    content["outcome"] = {"code": ending.code, "reason": ending.reason}
    path.write_text(redactor(json.dumps(content, indent=2, ensure_ascii=False)) + "\n", encoding="utf-8")
    return path


def _nothing(run_id: str) -> ProjectState:
    return ProjectState(run_id, title="", description="", criteria="", budget=Budget(0.0, 0.0))
