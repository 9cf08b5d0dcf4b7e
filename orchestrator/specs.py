"""The spec of a job: what `.orchestrator.yaml` and `--file` hold, read strictly (CONTRACT section 3).

A `JobSpec` travels one way, from file, issue, comment or flags to the run, and its caps can only be narrowed on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import ConfigDict, Field, StrictInt, ValidationError
from pydantic.dataclasses import dataclass

from orchestrator.errors import SpecError, SpecFinding, UsageError
from orchestrator.flat_file import FlatFile, deprecation, flat_schema, is_flat, read_flat
from orchestrator.policy import MAX_USD, NamedPolicy, Policy, PolicySet, in_file
from orchestrator.sections import (
    APP_TYPES,
    MAX_TIME_SECONDS,
    AppType,
    BudgetSpec,
    CommitSpec,
    ContextSpec,
    Flag,
    GitHubSpec,
    ProjectSection,
    RoutingSpec,
    ValidationSpec,
)
from orchestrator.strict import STRICT, Form, argument, nearest
from orchestrator.yaml_marks import Document, read_file, read_yaml

SPEC_PATH = ".orchestrator.yaml"
TITLE_CHARACTERS = 72


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Feedback:
    """What a job answers that is feedback on a change: `remarks` are open points on it, `diff` is the change itself.

    The change is in the repository's files already. `authors` are the logins whose code printed what stands in the
    remarks, empty for one that nobody knows; `notes` say to people what could not be read.
    """

    remarks: str = ""
    diff: str = ""
    authors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class JobSpec:
    """What is asked, and within which limits; `background` is what a repository says of itself beside the issue.

    `criteria` says when the job is done. With `feedback` the job is to revise a change, None builds something of its
    own. Text is kept as it was given, to the last blank.
    Raises `ValueError` for a value that cannot be.
    """

    title: str = ""
    description: str = ""
    criteria: str = ""
    app_type: AppType | None = None
    budget: BudgetSpec = BudgetSpec()
    policies: PolicySet = PolicySet()
    routing: RoutingSpec = RoutingSpec()
    validation: ValidationSpec = ValidationSpec()
    github: GitHubSpec = GitHubSpec()
    context: ContextSpec = ContextSpec()
    commit: CommitSpec = CommitSpec()
    enabled: bool = True
    background: str = ""
    feedback: Feedback | None = None


@dataclass(
    frozen=True,
    slots=True,
    kw_only=True,
    config=ConfigDict(**STRICT, json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"}),
)
class SpecFile:
    """A spec for the multi-LLM orchestrator: `.orchestrator.yaml` in a repository, or the file of `--file`."""

    version: Annotated[StrictInt, Field(ge=1, le=1, description="The version of this format.")] = 1
    enabled: Annotated[Flag, Field(description="false stops every run in this repository.")] = True
    project: ProjectSection = ProjectSection()
    budget: BudgetSpec = BudgetSpec()
    policy: Policy = Policy()
    policies: Annotated[
        tuple[NamedPolicy, ...], Field(max_length=100, description="Several named policies; all of them bind.")
    ] = ()
    routing: RoutingSpec = RoutingSpec()
    validation: ValidationSpec = ValidationSpec()
    github: GitHubSpec = GitHubSpec()
    context: ContextSpec = ContextSpec()
    commit: CommitSpec = CommitSpec()


@plain_dataclass(frozen=True, slots=True)
class ProjectFile:
    """What `--file` names: its job; of the older flat form also how many tasks at once, and a note on its form."""

    job: JobSpec
    concurrency: int | None = None
    note: str = ""


@cache
def _file_form() -> Form[SpecFile]:
    return Form(SpecFile)


@cache
def _job_form() -> Form[JobSpec]:
    return Form(JobSpec)


def parse_spec(text: str, path: str = SPEC_PATH, *, require_project: bool) -> JobSpec:
    """Return the spec of a file's text; an empty text means all defaults.

    With `require_project` the file must say what to build. Raises `SpecError` with every finding.
    """
    document = read_yaml(text, path)
    if is_flat(document):
        return _job_of_flat(read_flat(document))
    file = _file_form().read(document)
    project = file.project
    if require_project and not (project.title or project.description):
        place = document.place(("project",), key=True)
        message = "is required here: give it a description that says what to build"
        raise SpecError((SpecFinding(path, place.line, place.column, "project", message),))
    return JobSpec(
        title=project.title or title_of(project.description),
        description=project.description or project.title,
        criteria=project.success_criteria,
        app_type=project.app_type,
        budget=file.budget,
        policies=in_file(file.policy, file.policies, document, "spec"),
        routing=file.routing,
        validation=file.validation,
        github=file.github,
        context=file.context,
        commit=file.commit,
        enabled=file.enabled,
    )


def load_project_file(path: Path) -> ProjectFile:
    """Return what `--file` names, which must say what to build; the older flat form gets a note.

    Raises `UsageError` when it cannot be read, is no file, over 1 MiB or not UTF-8, and `SpecError` when it does not
    parse.
    """
    text = read_file(path)
    job = parse_spec(text, str(path), require_project=True)
    document = read_yaml(text, str(path))
    if not is_flat(document):
        return ProjectFile(job)
    return ProjectFile(job, read_flat(document).concurrency, deprecation(document))


def read_sections(sections: Mapping[str, Any]) -> SpecFile:
    """Return sections of a spec file that no text stands behind; raises `SpecError` with every finding."""
    return _file_form().read(Document("draft", dict(sections), {}, {}))


def spec_from_text(project: str, criteria: str = "") -> JobSpec:
    """Return a spec of all defaults for a description; raises `UsageError` when it is blank or no text."""
    argument("The description", project, str, "a text that says what to build")
    argument("The criteria", criteria, str, "a text that says when it is done")
    if not project.strip():
        raise UsageError("The project's description is empty.", hint="Say what to build.")
    return JobSpec(title=title_of(project), description=project, criteria=criteria)


def merge_issue(spec: JobSpec, *, title: str, description: str) -> JobSpec:
    """Return the repository's spec with the issue as the job and the spec's own project text as background."""
    own = (spec.background, spec.title if spec.title != title_of(spec.description) else "", spec.description)
    background = "\n\n".join(part for part in own if part)
    return replace(spec, title=title, description=description, background=background)


def narrow(
    spec: JobSpec, *, max_usd: float | None = None, max_time_seconds: float | None = None, app_type: str | None = None
) -> JobSpec:
    """Return the spec under a comment's or operator's caps: the lowest of each cap holds, None asks nothing.

    Raises `UsageError` for a cap that is no number from 0 up (time: above 0), and for an unknown app type.
    """
    budget = replace(
        spec.budget,
        max_usd=min(spec.budget.max_usd, _cap("max_usd", max_usd)),
        max_time_seconds=min(spec.budget.max_time_seconds, _cap("max_time_seconds", max_time_seconds)),
    )
    return replace(spec, budget=budget, app_type=_app_type(app_type) or spec.app_type)


def with_flags(
    spec: JobSpec,
    *,
    project: str | None = None,
    criteria: str | None = None,
    max_usd: float | None = None,
    max_time_seconds: float | None = None,
    app_type: str | None = None,
) -> JobSpec:
    """Return the spec with the command line's flags, which win over its file; None is a flag that was not given.

    Raises `UsageError` for the values that `narrow` refuses, and for caps above what a spec file may ask.
    """
    try:
        budget = BudgetSpec(
            spec.budget.max_usd if max_usd is None else _cap("--budget", max_usd),
            spec.budget.max_time_seconds if max_time_seconds is None else _cap("--max-time", max_time_seconds),
            spec.budget.team,
            spec.budget.job,
        )
    except ValidationError as error:
        raise UsageError(
            "--budget or --max-time is too large.",
            hint=f"The most is {MAX_USD:.0f} USD and {MAX_TIME_SECONDS:.0f} seconds.",
        ) from error
    job = spec_from_text(project) if project is not None else spec
    return replace(
        spec,
        title=job.title,
        description=job.description,
        criteria=spec.criteria if criteria is None else criteria,
        budget=budget,
        app_type=_app_type(app_type) or spec.app_type,
    )


def title_of(description: str) -> str:
    """Return the first line of a description, cut at a word to at most 72 characters."""
    line = next((line.strip() for line in description.splitlines() if line.strip()), "")
    if len(line) <= TITLE_CHARACTERS:
        return line
    cut = line[: TITLE_CHARACTERS - 1]
    return f"{cut.rsplit(' ', 1)[0]}…"


def to_json(spec: JobSpec) -> dict[str, Any]:
    """Return the spec as JSON data for the store; `from_json` turns it back."""
    data: dict[str, Any] = _job_form().dump(spec)
    return data


def from_json(data: Mapping[str, Any]) -> JobSpec:
    """Return the spec that `to_json` wrote; raises `UsageError` when the data are no spec."""
    try:
        return _job_form().load(dict(data))
    except ValidationError as error:
        raise UsageError(f"The stored spec does not fit: {error}", hint="Start the run anew.") from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of spec files, for editors and `--print-schema`.

    A file whose `project` is text is the older flat one, every other the sections of `SpecFile`.
    """
    nested, flat = dict(_file_form().schema), dict(flat_schema())
    parts = {**nested.pop("$defs"), **flat.pop("$defs", {})}
    return {
        "$schema": nested.pop("$schema"),
        "description": nested["description"],
        "if": {"properties": {"project": {"type": "string"}}, "required": ["project"]},
        "then": {"$ref": "#/$defs/FlatFile"},
        "else": {"$ref": "#/$defs/SpecFile"},
        "$defs": {**parts, "FlatFile": {**flat, "deprecated": True}, "SpecFile": nested},
    }


def _job_of_flat(flat: FlatFile) -> JobSpec:
    return JobSpec(
        title=title_of(flat.project),
        description=flat.project,
        criteria=flat.criteria,
        budget=BudgetSpec(flat.budget_usd, flat.time_seconds),
    )


def _cap(name: str, value: float | None) -> float:
    if value is None:
        return math.inf
    if not 0 <= value < math.inf or (value == 0 and "time" in name):
        lowest = "above 0" if "time" in name else "from 0 up"
        raise UsageError(f"{name} must be a number {lowest}, not {value!r}.", hint="Give a plain number.")
    return value


def _app_type(name: str | None) -> AppType | None:
    known: tuple[AppType, ...] = get_args(AppType)
    for app_type in known:
        if name == app_type:
            return app_type
    if name is None:
        return None
    raise UsageError(f"{name!r} is not an app type{nearest(name, APP_TYPES)}", hint=f"Known: {', '.join(APP_TYPES)}.")
