"""The objects that models answer with (CONTRACT section 6): one Pydantic model per purpose, and their JSON Schemas.

A reply is text until `parse` has turned it into one of these; what does not fit raises `ValueError` with a sentence
that goes back to the model.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from orchestrator.state import ApiParadigm, DataParadigm, Purpose, StructuralPattern, TaskType, Topology

_MAX_ERRORS = 5


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ArchitectureReply(_Wire):
    """The architect's decision, in words of four closed vocabularies."""

    structural_pattern: StructuralPattern
    topology: Topology
    api_paradigm: ApiParadigm
    data_paradigm: DataParadigm
    rationale: str


class PlannedTask(_Wire):
    """One task as the planner names it."""

    id: str = Field(min_length=1, max_length=80)
    title: str = Field(min_length=1)
    type: TaskType
    description: str
    depends_on: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    critical: bool = False


class PlanReply(_Wire):
    """The planner's graph of tasks."""

    tasks: list[PlannedTask] = Field(min_length=1)


class FileContent(_Wire):
    """A whole file."""

    path: str
    content: str


class Edit(_Wire):
    """A replacement of text that stands exactly once in a file."""

    path: str
    search: str
    replace: str


class Rename(_Wire):
    """A file that moves; on the wire the keys are `from` and `to`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    source: str = Field(alias="from")
    target: str = Field(alias="to")


class ChangesReply(_Wire):
    """What generate and revise answer with."""

    files: list[FileContent] = Field(default_factory=list)
    edits: list[Edit] = Field(default_factory=list)
    deletions: list[str] = Field(default_factory=list)
    renames: list[Rename] = Field(default_factory=list)
    notes: str = ""


class ReviewFinding(_Wire):
    """One finding of a reviewer; a line below 1 is read as 1."""

    path: str
    line: int = 1
    severity: Literal["error", "warning", "note"]
    message: str


class ReviewReply(_Wire):
    """A reviewer's judgement."""

    score: Annotated[float, Field(ge=0, le=1)]
    verdict: Literal["approve", "request_changes"]
    findings: list[ReviewFinding] = Field(default_factory=list)


class EvaluationReply(_Wire):
    """How far the result meets the criteria."""

    score: Annotated[float, Field(ge=0, le=1)]
    reason: str


class _Patch(_Wire):
    """What a draft changes: a field left out, null, or empty stays as it is; an unknown one is an error.

    Texts and lists travel without null: strict schemas take few fields that may be of two types.
    Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (at most 16)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    def given(self) -> dict[str, Any]:
        """Return the fields that have a value."""
        return {name: value for name, value in self.model_dump().items() if value not in (None, "", [])}


def _or_empty(kind: type[object]) -> BeforeValidator:
    return BeforeValidator(lambda value: kind() if value is None else value)


_Text = Annotated[str, _or_empty(str)]
_Names = Annotated[list[str], _or_empty(list)]


class DraftBudget(_Patch):
    """Caps in USD and seconds."""

    max_usd: float | None = None
    max_time_seconds: float | None = None


class DraftJob(_Patch):
    """The job's fields, named as a spec file names them."""

    title: _Text = ""
    description: _Text = ""
    success_criteria: _Text = ""
    app_type: Literal["fastapi", "nextjs", "react-vite", "html", "library", "cli", "generic"] | None = None
    budget: Annotated[DraftBudget, _or_empty(dict)] = DraftBudget()

    @model_validator(mode="before")
    @classmethod
    def _as_in_a_file(cls, value: object) -> object:
        """Take the nesting of a spec file too: where a schema binds nobody, models write what they know."""
        if isinstance(value, dict) and isinstance(value.get("project"), dict):
            return {**value["project"], **{key: item for key, item in value.items() if key != "project"}}
        return value


DraftRule = Literal[
    "allowed_models",
    "blocked_models",
    "allowed_providers",
    "blocked_providers",
    "allowed_regions",
    "allow_training_on_output",
    "pii_allowed",
    "max_cost_per_task_usd",
    "max_latency_ms",
    "min_quality_score",
    "rate_limit",
]


class DraftPolicy(_Patch):
    """The policy's rules, named as a policy file names them; `remove` names rules that no longer hold."""

    name: _Text = ""
    allowed_models: _Names = Field(default_factory=list)
    blocked_models: _Names = Field(default_factory=list)
    allowed_providers: _Names = Field(default_factory=list)
    blocked_providers: _Names = Field(default_factory=list)
    allowed_regions: _Names = Field(default_factory=list)
    allow_training_on_output: bool | None = None
    pii_allowed: bool | None = None
    max_cost_per_task_usd: float | None = None
    max_latency_ms: float | None = None
    min_quality_score: float | None = None
    rate_limit: int | None = None
    enforcement_mode: Literal["hard", "soft", "monitor"] | None = None
    remove: Annotated[list[DraftRule], _or_empty(list)] = Field(default_factory=list)


class DraftReply(_Wire):
    """What is to change in a job and its policy, and why."""

    job: DraftJob
    policy: DraftPolicy
    rationale: str


REPLIES: dict[Purpose, type[BaseModel]] = {
    Purpose.ARCHITECTURE: ArchitectureReply,
    Purpose.DECOMPOSE: PlanReply,
    Purpose.GENERATE: ChangesReply,
    Purpose.REVISE: ChangesReply,
    Purpose.REVIEW: ReviewReply,
    Purpose.EVALUATE: EvaluationReply,
    Purpose.DRAFT: DraftReply,
}

Reply = TypeVar("Reply", bound=BaseModel)


@cache
def schema_for(purpose: Purpose) -> dict[str, Any]:
    """Return the JSON Schema of a purpose in the subset that every vendor's strict mode takes; not to be changed.

    All references are inlined, every property is required, no other property is allowed, and keywords that strict
    modes refuse (defaults, titles, bounds) are left out; `parse` checks the bounds.
    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    schema = REPLIES[purpose].model_json_schema(by_alias=True)
    strict = _strict(schema, schema.get("$defs", {}))
    if not isinstance(strict, dict):
        raise TypeError("a reply's schema is an object")
    return strict


def _strict(node: Any, definitions: dict[str, Any]) -> Any:
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _strict(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in node:
        return {"anyOf": [_strict(branch, definitions) for branch in node["anyOf"]]}
    if node.get("type") == "object":
        properties = {name: _strict(value, definitions) for name, value in node["properties"].items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if node.get("type") == "array":
        return {"type": "array", "items": _strict(node["items"], definitions)}
    return {key: node[key] for key in ("type", "enum") if key in node}


def parse(text: str, reply: type[Reply]) -> Reply:
    """Turn a model's text into a reply.

    A surrounding Markdown code fence is taken off, since JSON mode does not keep every model from writing one.
    Raises `ValueError` with a sentence that names what is wrong and where.
    """
    if not text.strip():
        raise ValueError("the answer was empty; answer with one JSON object that follows the schema")
    try:
        value = json.loads(_unfenced(text))
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the answer holds half a surrogate pair; write the whole character") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"the answer was not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise ValueError("the answer's JSON is nested too deeply") from error
    try:
        return reply.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"the answer does not follow the schema: {_explain(error)}") from error


def _unfenced(text: str) -> str:
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and "\n" in body:
        return body[body.index("\n") + 1 : -3]
    return body


def _explain(error: ValidationError) -> str:
    items = error.errors(include_url=False, include_input=False)
    said = [f"{'.'.join(map(str, item['loc'])) or 'the object'}: {item['msg']}" for item in items[:_MAX_ERRORS]]
    rest = len(items) - len(said)
    return "; ".join(said) + (f"; and {rest} more" if rest > 0 else "")
