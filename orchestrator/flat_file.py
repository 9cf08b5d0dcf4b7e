"""The older flat form of a project file: read as ever, with a note that says what to write instead."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import yaml
from pydantic import Field, StrictInt
from pydantic.dataclasses import dataclass

from orchestrator.budget import DEFAULT_MAX_TIME_SECONDS, DEFAULT_MAX_USD
from orchestrator.sections import Seconds, Usd
from orchestrator.strict import STRICT, Form
from orchestrator.yaml_marks import Document


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class FlatFile:
    """The older flat form of a project file: deprecated, and read into the same job."""

    project: Annotated[
        str, Field(min_length=1, max_length=65_536, description="What to build.", json_schema_extra={"pattern": "\\S"})
    ]
    criteria: Annotated[str, Field(max_length=65_536, description="When it is done.")] = ""
    budget_usd: Annotated[Usd, Field(description="Hard cap on what one run spends, in USD.")] = DEFAULT_MAX_USD
    time_seconds: Annotated[Seconds, Field(description="Hard cap on one run's time, in seconds.")] = (
        DEFAULT_MAX_TIME_SECONDS
    )
    concurrency: Annotated[
        StrictInt | None, Field(ge=1, le=100, description="How many tasks are worked on at once.")
    ] = None


@cache
def _form() -> Form[FlatFile]:
    return Form(FlatFile)


def is_flat(document: Document) -> bool:
    """Return whether a file has the flat form, whose `project` is text."""
    return isinstance(document.value, dict) and isinstance(document.value.get("project"), str)


def read_flat(document: Document) -> FlatFile:
    """Return a flat file's content; raises `SpecError` with every finding."""
    return _form().read(document)


def flat_schema() -> dict[str, Any]:
    """Return the JSON Schema of the flat form."""
    return dict(_form().schema)


def deprecation(document: Document) -> str:
    """Return what to write instead of a flat file: the place of the old form, and the same job in sections."""
    given = document.value
    sections: dict[str, dict[str, Any]] = {"project": {"description": given["project"]}}
    if "criteria" in given:
        sections["project"]["success_criteria"] = given["criteria"]
    caps = {"budget_usd": "max_usd", "time_seconds": "max_time_seconds"}
    if budget := {new: given[old] for old, new in caps.items() if old in given}:
        sections["budget"] = budget
    place = document.place(("project",), key=True)
    lines = yaml.safe_dump(sections, allow_unicode=True, sort_keys=False, width=10**6).splitlines()
    if given.get("concurrency"):
        lines.append(f"# and on the command line: --concurrency {given['concurrency']}")
    return "\n".join(
        [
            f"{document.path}:{place.line}: this flat form is deprecated; the same in the form that replaces it:",
            *(f"    {line}" for line in lines),
        ]
    )
