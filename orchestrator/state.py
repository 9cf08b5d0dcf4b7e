"""The run as plain, serialisable data: tasks, results, findings, calls and the state that holds them.

Nothing here reads a clock, a file or a network; the store writes these values as rows and reads them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.budget import Budget, Phase
from orchestrator.codes import Code, validator_code


class TaskType(StrEnum):
    """What kind of work a task is; the seven values travel in the plan (CONTRACT section 6)."""

    CODE_GENERATION = "code_generation"
    CODE_REVIEW = "code_review"
    REASONING = "complex_reasoning"
    WRITING = "creative_writing"
    DATA_EXTRACTION = "data_extraction"
    SUMMARIZATION = "summarization"
    EVALUATION = "evaluation"


class TaskStatus(StrEnum):
    """Where a task stands; `skipped` means that a task it depends on did not complete."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


class ProjectStatus(StrEnum):
    """Where a run stands: four values while it lives, then one of seven endings (CONTRACT section 2)."""

    QUEUED = "queued"
    PLANNING = "planning"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    BUDGET_EXHAUSTED = "budget_exhausted"
    TIMED_OUT = "timed_out"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def ended(self) -> bool:
        """True for the seven endings, after which only a resume goes on."""
        return self not in _LIVING

    @property
    def final(self) -> bool:
        """True for the endings that only somebody's word re-opens: all but an interruption."""
        return self.ended and self is not ProjectStatus.INTERRUPTED


_LIVING = frozenset({ProjectStatus.QUEUED, ProjectStatus.PLANNING, ProjectStatus.WAITING, ProjectStatus.RUNNING})


# Repairs after the final validation are tasks of our own, told apart from planned ones by their id.
REPAIR_PREFIX = "repair-"


class Purpose(StrEnum):
    """Why a model is called; each has its prompt, its schema and its share of the budget."""

    ARCHITECTURE = "architecture"
    DECOMPOSE = "decompose"
    GENERATE = "generate"
    REVISE = "revise"
    REVIEW = "review"
    EVALUATE = "evaluate"
    DRAFT = "draft"


_PHASES = {
    Purpose.GENERATE: Phase.GENERATION,
    Purpose.REVISE: Phase.GENERATION,
    Purpose.REVIEW: Phase.CROSS_REVIEW,
    Purpose.EVALUATE: Phase.EVALUATION,
}


def phase_of(purpose: Purpose, task_id: str) -> Phase:
    """Return whose share a call takes: whatever a repair asks is the reserve's, what shapes a run is decomposition."""
    if task_id.startswith(REPAIR_PREFIX):
        return Phase.RESERVE
    return _PHASES.get(purpose, Phase.DECOMPOSITION)


class StructuralPattern(StrEnum):
    """How the code is arranged inside; one of the four closed vocabularies of an architecture."""

    LAYERED = "layered"
    HEXAGONAL = "hexagonal"
    CQRS = "cqrs"
    EVENT_DRIVEN = "event-driven"
    MVC = "mvc"
    CLEAN = "clean"
    SCRIPT = "script"


class Topology(StrEnum):
    """Into which parts the system is deployed."""

    MONOLITH = "monolith"
    MODULAR_MONOLITH = "modular-monolith"
    MICROSERVICES = "microservices"
    SERVERLESS = "serverless"
    BFF = "bff"
    LIBRARY = "library"


class ApiParadigm(StrEnum):
    """How others speak to it."""

    REST = "rest"
    GRAPHQL = "graphql"
    GRPC = "grpc"
    WEBSOCKET = "websocket"
    CLI = "cli"
    NONE = "none"


class DataParadigm(StrEnum):
    """How it keeps its data."""

    RELATIONAL = "relational"
    DOCUMENT = "document"
    KEY_VALUE = "key-value"
    TIME_SERIES = "time-series"
    GRAPH = "graph"
    NONE = "none"


class Severity(StrEnum):
    """How much a finding weighs: an error blocks, the others inform."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Text for lines of a file, both ends included, without the last line's end; an empty text takes them away."""

    first_line: int
    last_line: int
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing somebody found at a place; `line` counts from 1, and is 1 where only the file is known.

    `code` is None where it follows from who found it (`coded`); `rule` is the tool's own name for it, such as `F401`.
    `suggestion` is what mends it, where a program knows that.
    """

    path: str
    line: int
    message: str
    severity: Severity = Severity.ERROR
    code: Code | None = None
    rule: str = ""
    suggestion: Suggestion | None = None

    def coded(self, code: Code) -> Finding:
        """Return the finding with a code: its own, or else the one given."""
        return self if self.code else replace(self, code=code)


@dataclass(frozen=True, slots=True)
class Task:
    """One node of the plan; `files` are the paths it may write, `depends_on` the ids it waits for.

    `acceptance_threshold` (0 to 1) and `max_attempts` win over the type's own (`task_types.RULES`); None leaves these.
    Raises `ValueError` for values that cannot be.
    """

    id: str
    title: str
    type: TaskType
    description: str
    depends_on: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    critical: bool = False
    acceptance_threshold: float | None = None
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        if self.acceptance_threshold is not None and not 0 <= self.acceptance_threshold <= 1:
            raise ValueError(f"acceptance_threshold must be a number from 0 to 1, not {self.acceptance_threshold!r}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts!r}")


@dataclass(frozen=True, slots=True)
class ArchitectureDecision:
    """The shape decided before planning; it constrains the plan and every generation prompt.

    The four values are plain words of `StructuralPattern`, `Topology`, `ApiParadigm` and `DataParadigm`.
    """

    structural_pattern: str
    topology: str
    api_paradigm: str
    data_paradigm: str
    rationale: str


class ValidationStatus(StrEnum):
    """How a validator ended; `not_run` never counts as passed."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What one deterministic validator said; `detail` is its summary line or why it did not run."""

    validator: str
    status: ValidationStatus
    findings: tuple[Finding, ...] = ()
    detail: str = ""

    @property
    def passed(self) -> bool:
        """True only when the validator ran and found nothing that blocks."""
        return self.status is ValidationStatus.PASSED

    @property
    def coded(self) -> tuple[Finding, ...]:
        """The findings, each with its code."""
        return tuple(finding.coded(validator_code(self.validator)) for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Review:
    """Another provider's judgement of one attempt; `score` is from 0 to 1."""

    provider: str
    model: str
    score: float
    approved: bool
    findings: tuple[Finding, ...] = ()
    same_provider: bool = False

    @property
    def coded(self) -> tuple[Finding, ...]:
        """The findings, each with its code."""
        return tuple(finding.coded(_REVIEW_CODES[finding.severity]) for finding in self.findings)


_REVIEW_CODES = {
    Severity.ERROR: Code.REVIEW_ERROR,
    Severity.WARNING: Code.REVIEW_WARNING,
    Severity.NOTE: Code.REVIEW_NOTE,
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How far a result meets what was asked, in the words of a judge that did not write it; `score` is from 0 to 1."""

    score: float
    reason: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """Why a model was chosen for a task: the rule, the runner-up and its price, and who was excluded by which rule.

    Costs are the forecast of one call in USD. `excluded` holds (model, reason) pairs, `violations` what soft and
    monitor policies say against the model that answered.
    """

    purpose: Purpose
    model: str
    reason: str
    forecast_usd: float
    next_model: str = ""
    next_forecast_usd: float = 0.0
    excluded: tuple[tuple[str, str], ...] = ()
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlierAttempt:
    """An attempt that was sent back, and why; `round` counts the resumes before it, `number` from 1 within a round."""

    round: int
    number: int
    model: str
    code: Code
    review: Review | None = None
    evaluation: Evaluation | None = None
    validation: tuple[ValidationResult, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task ended; `score` is the last review's, `cost_usd` the sum of its calls in USD.

    A document that no policy wants reviewed has an `evaluation` instead of a review, and its score. `code` says why a
    task did not complete; `earlier` holds the attempts before the last one, those of earlier rounds first.
    """

    task_id: str
    status: TaskStatus
    score: float = 0.0
    model: str = ""
    provider: str = ""
    attempts: int = 0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    review: Review | None = None
    evaluation: Evaluation | None = None
    validation: tuple[ValidationResult, ...] = ()
    routes: tuple[RouteChoice, ...] = ()
    reason: str = ""
    code: Code | None = None
    earlier: tuple[EarlierAttempt, ...] = ()

    @property
    def reviewer_model(self) -> str:
        """The model that reviewed the last attempt, or an empty string."""
        return self.review.model if self.review else ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One billed answer: tokens as the vendor reported them, cost in USD; `estimated` when a crash lost the answer."""

    task_id: str
    purpose: Purpose
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
    estimated: bool = False


class RiskLevel(StrEnum):
    """How much of the budget's cap a forecast takes: low is under 50%, medium under 80%, high from there."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run is expected to cost, in USD, and how long it takes along its critical path, in seconds.

    `by_task` and `by_phase` map task id and phase to (low, high), their `estimated_` twins to the value between;
    `models` maps task id to the model that would write it, `routes` to the choice of its writer and of its reviewer.
    Low values and estimates add up; a high total is lower than
    the sum of its parts', which are not all at their worst at once.
    """

    low_usd: float
    high_usd: float
    by_task: dict[str, tuple[float, float]]
    models: dict[str, str]
    estimated_total_usd: float = 0.0
    risk_level: RiskLevel = RiskLevel.LOW
    estimated_by_task: dict[str, float] = field(default_factory=dict)
    by_phase: dict[str, tuple[float, float]] = field(default_factory=dict)
    estimated_by_phase: dict[str, float] = field(default_factory=dict)
    critical_path_seconds: float = 0.0
    routes: dict[str, tuple[RouteChoice, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why the run ended as it did: a published code for programs, a sentence for people.

    The code is empty while the run lives; raises `ValueError` for one that `orchestrator.codes` does not hold.
    """

    code: str
    reason: str

    def __post_init__(self) -> None:
        if self.code:
            Code(self.code)


@dataclass(slots=True)
class ProjectState:
    """Everything known about one run; the engine owns it, the store mirrors it as rows."""

    project_id: str
    title: str
    description: str
    criteria: str
    budget: Budget
    status: ProjectStatus = ProjectStatus.QUEUED
    app_type: str = ""
    architecture: ArchitectureDecision | None = None
    tasks: tuple[Task, ...] = ()
    results: dict[str, TaskResult] = field(default_factory=dict)
    calls: tuple[CallRecord, ...] = ()
    validation: tuple[ValidationResult, ...] = ()
    evaluation: Evaluation | None = None
    forecast: Forecast | None = None
    outcome: Outcome = Outcome("", "")
    files: tuple[str, ...] = ()
    sandbox: str = ""
    offline: bool = False
    notes: tuple[str, ...] = ()
    created_at: float = 0.0

    @property
    def score(self) -> float:
        """The final evaluation's score, from 0 to 1; 0 before there is one."""
        return self.evaluation.score if self.evaluation else 0.0

    @property
    def spent_by_phase(self) -> dict[Phase, float]:
        """What the billed calls of each phase cost, in USD."""
        spent = dict.fromkeys(Phase, 0.0)
        for call in self.calls:
            spent[phase_of(call.purpose, call.task_id)] += call.cost_usd
        return spent

    @property
    def built(self) -> bool:
        """True when at least one file was produced."""
        return bool(self.files)
