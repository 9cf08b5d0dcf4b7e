"""The objects that models answer with (CONTRACT section 6): one Pydantic model per purpose, and their JSON Schemas.

A reply is text until `parse` has turned it into one of these; what does not fit raises `UnreadableAnswer` with a
sentence that goes back to the model.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from orchestrator.limits import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_FINDINGS,
    MAX_ID_CHARACTERS,
    MAX_LINE,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAMES,
    MAX_NOTES_CHARACTERS,
    MAX_PATH_BYTES,
    MAX_RATIONALE_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_TASKS,
    MAX_TITLE_CHARACTERS,
    MAX_TOTAL_BYTES,
    MAX_WORD_CHARACTERS,
)
from orchestrator.state import ApiParadigm, DataParadigm, Purpose, StructuralPattern, TaskType, Topology

_MAX_ERRORS = 5
_MAX_KEY = 80


def _within(limit: int) -> AfterValidator:
    """Return a validator of a text's UTF-8 bytes."""

    def check(text: str) -> str:
        size = len(text.encode("utf-8", "replace"))
        if size > limit:
            raise ValueError(f"has {size:,} bytes, {size - limit:,} more than the {limit:,} that are allowed")
        return text

    return AfterValidator(check)


_Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARACTERS)]
_Path = Annotated[str, _within(MAX_PATH_BYTES)]
_Text = Annotated[str, _within(MAX_FILE_BYTES)]
# Strict: a number stays a number. A text, a percentage, true or NaN is asked again, never guessed.
_Score = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


def _of_a_file(line: int) -> int:
    return line if 1 <= line <= MAX_LINE else 1


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class ArchitectureReply(_Wire):
    """The architect's decision, in words of four closed vocabularies."""

    structural_pattern: StructuralPattern
    topology: Topology
    api_paradigm: ApiParadigm
    data_paradigm: DataParadigm
    rationale: str = Field(max_length=MAX_RATIONALE_CHARACTERS)


class PlannedTask(_Wire):
    """One task as the planner names it."""

    id: str = Field(min_length=1, max_length=MAX_ID_CHARACTERS)
    title: str = Field(min_length=1, max_length=MAX_TITLE_CHARACTERS)
    type: TaskType
    description: str = Field(max_length=MAX_DESCRIPTION_CHARACTERS)
    depends_on: list[str] = Field(default_factory=list, max_length=MAX_TASKS)
    files: list[_Path] = Field(default_factory=list, max_length=MAX_FILES)
    critical: bool = False


class PlanReply(_Wire):
    """The planner's graph of tasks; none where feedback on a change asks for nothing."""

    tasks: list[PlannedTask] = Field(max_length=MAX_TASKS)


class FileContent(_Wire):
    """A whole file."""

    path: _Path
    content: _Text


class Edit(_Wire):
    """A replacement of text that stands exactly once in a file."""

    path: _Path
    search: _Text
    replace: _Text


class Rename(_Wire):
    """A file that moves; on the wire the keys are `from` and `to`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    source: _Path = Field(alias="from")
    target: _Path = Field(alias="to")


class ChangesReply(_Wire):
    """What generate and revise answer with."""

    files: list[FileContent] = Field(default_factory=list)
    edits: list[Edit] = Field(default_factory=list)
    deletions: list[_Path] = Field(default_factory=list)
    renames: list[Rename] = Field(default_factory=list)
    notes: str = Field(default="", max_length=MAX_NOTES_CHARACTERS)

    @model_validator(mode="after")
    def _in_all(self) -> ChangesReply:
        changed = {file.path for file in self.files} | {edit.path for edit in self.edits} | set(self.deletions)
        count = len(changed | {path for one in self.renames for path in (one.source, one.target)})
        if count > MAX_FILES:
            raise ValueError(f"changes {count} files, {count - MAX_FILES} more than the {MAX_FILES} that are allowed")
        texts = (*(file.content for file in self.files), *(edit.replace for edit in self.edits))
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        if size > MAX_TOTAL_BYTES:
            raise ValueError(
                f"has {size:,} bytes in all, {size - MAX_TOTAL_BYTES:,} more than the {MAX_TOTAL_BYTES:,} allowed"
            )
        return self


class ReviewFinding(_Wire):
    """One finding of a reviewer; a line below 1, or above any that a file has, is read as 1."""

    path: _Path
    line: Annotated[int, AfterValidator(_of_a_file)] = 1
    severity: Literal["error", "warning", "note"]
    message: str = Field(max_length=MAX_MESSAGE_CHARACTERS)


class ReviewReply(_Wire):
    """A reviewer's judgement; what it rests on comes first, because models write in this order."""

    findings: list[ReviewFinding] = Field(default_factory=list, max_length=MAX_FINDINGS)
    verdict: Literal["approve", "request_changes"]
    score: _Score


class EvaluationReply(_Wire):
    """How far the result meets the criteria; what the score rests on comes first here too."""

    reason: str = Field(max_length=MAX_REASON_CHARACTERS)
    score: _Score


class _Patch(_Wire):
    """What a draft changes: a field left out, null, or empty stays as it is; an unknown one is an error.

    Texts and lists travel without null: strict schemas take few fields that may be of two types.
    Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (at most 16)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """Return the fields that have a value."""
        return {name: value for name, value in self.model_dump().items() if value not in (None, "", [])}


def _or_empty(kind: type[object]) -> BeforeValidator:
    return BeforeValidator(lambda value: kind() if value is None else value)


_Title = Annotated[str, _or_empty(str), Field(max_length=MAX_TITLE_CHARACTERS)]
_Prose = Annotated[str, _or_empty(str), Field(max_length=MAX_DESCRIPTION_CHARACTERS)]
_Names = Annotated[list[str], _or_empty(list), Field(max_length=MAX_NAMES)]


class DraftBudget(_Patch):
    """Caps in USD and seconds."""

    max_usd: float | None = None
    max_time_seconds: float | None = None


class DraftJob(_Patch):
    """The job's fields, named as a spec file names them."""

    title: _Title = ""
    description: _Prose = ""
    success_criteria: _Prose = ""
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
    "review_documents",
]


class DraftPolicy(_Patch):
    """The policy's rules, named as a policy file names them; `remove` names rules that no longer hold."""

    name: _Title = ""
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
    review_documents: bool | None = None
    enforcement_mode: Literal["hard", "soft", "monitor"] | None = None
    remove: Annotated[list[DraftRule], _or_empty(list)] = Field(default_factory=list)


class DraftReply(_Wire):
    """What is to change in a job and its policy, and why."""

    job: DraftJob
    policy: DraftPolicy
    rationale: str = Field(max_length=MAX_RATIONALE_CHARACTERS)


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


class UnreadableAnswer(ValueError):
    """A model's text that is no reply: the message is for whoever reads of it, `advice` for the model alone."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


def parse(text: str, reply: type[Reply]) -> Reply:
    """Turn a model's text into a reply.

    A surrounding Markdown code fence is taken off, since JSON mode does not keep every model from writing one.
    Raises `UnreadableAnswer` with a sentence that names what is wrong and where.
    """
    if not text.strip():
        raise UnreadableAnswer("the answer was empty", advice="answer with one JSON object that follows the schema")
    try:
        value = json.loads(_unfenced(text))
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnreadableAnswer("the answer holds half a surrogate pair", advice="write the whole character") from error
    except json.JSONDecodeError as error:
        raise UnreadableAnswer(
            f"the answer was not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise UnreadableAnswer("the answer's JSON is nested too deeply") from error
    except ValueError as error:
        # The last that `json` raises: an integer of more digits than Python reads (`sys.get_int_max_str_digits`).
        raise UnreadableAnswer("the answer holds a number that is far too long") from error
    try:
        return reply.model_validate(value)
    except ValidationError as error:
        raise UnreadableAnswer(f"the answer does not follow the schema: {_explain(error)}") from error


def _unfenced(text: str) -> str:
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and "\n" in body:
        return body[body.index("\n") + 1 : -3]
    return body


def _explain(error: ValidationError) -> str:
    items = error.errors(include_url=False)
    said = [f"{_place(item) or 'the object'}: {_wrong(item)}" for item in items[:_MAX_ERRORS]]
    rest = len(items) - len(said)
    return "; ".join(said) + (f"; and {rest} more" if rest > 0 else "")


def _place(item: ErrorDetails) -> str:
    """Return where a value stands; a key that nobody knows is the model's own text, of any length."""
    return ".".join(str(part)[:_MAX_KEY] for part in item["loc"])


def _wrong(item: ErrorDetails) -> str:
    """Return what is wrong with one value; of a limit, by how much it is broken."""
    context = item.get("ctx", {})
    if item["type"] in ("string_too_long", "too_long"):
        limit, unit = context["max_length"], "characters" if item["type"] == "string_too_long" else "items"
        size = len(item["input"])
        return f"has {size:,} {unit}, {size - limit:,} more than the {limit:,} that are allowed"
    return item["msg"].removeprefix("Value error, ")
