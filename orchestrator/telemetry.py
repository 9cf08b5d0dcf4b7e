"""What runs did, as numbers: counts, sums and distributions per model and task type, made from events and mergeable.

Merging two telemetries gives exactly what one of all their events would have been: only counts, sums and cells are
kept, and every mean, ratio and percentile is computed from them when it is asked for. Nothing in here is a run's, a
repository's or a file's name, and nothing is text of a prompt (SECURITY 34).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.events import Event, EventType
from orchestrator.state import TaskStatus

# Upper bounds of the histograms that Prometheus gets. Models answer within the gateway's 300 seconds.
LATENCY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

# A percentile is within one percent of the sample of that rank. DDSketch: https://www.vldb.org/pvldb/vol12/p2195-masson.pdf
ACCURACY = 0.01
# A bot runs for months: so many runs may still go on and say another word on their budget.
MOST_RUNS = 10_000
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LEAST = 1e-9
_Key = TypeVar("_Key")


@dataclass(slots=True)
class Distribution:
    """Samples from 0 up, kept as counts: in `buckets` below each of `bounds` (the last is above all), and in `cells`.

    A cell of a DDSketch holds the samples between two powers of a common base, so that cells of two sketches add up.
    """

    bounds: tuple[float, ...]
    count: int = 0
    total: float = 0.0
    buckets: list[int] = field(default_factory=list)
    cells: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.buckets = self.buckets or [0] * (len(self.bounds) + 1)

    def add(self, sample: float) -> None:
        """Count a sample; raises `ValueError` for one that is negative or not finite."""
        if not 0 <= sample < math.inf:
            raise ValueError(f"a sample must be a finite number from 0 up, not {sample!r}")
        self.count += 1
        self.total += sample
        self.buckets[next((at for at, bound in enumerate(self.bounds) if sample <= bound), len(self.bounds))] += 1
        cell = math.ceil(math.log(max(sample, _LEAST), _GAMMA))
        self.cells[cell] = self.cells.get(cell, 0) + 1

    @property
    def mean(self) -> float:
        """The mean of all samples; 0 when there is none."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """Return the sample that this share (0 to 100) of all samples does not exceed, within `ACCURACY`; 0 for none.

        The rank is the nearest one: https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is from 0 to 100, not {percent!r}")
        rank = max(1, math.ceil(percent / 100 * self.count))
        seen = 0
        for cell in sorted(self.cells):
            seen += self.cells[cell]
            if seen >= rank:
                middle = 2 * _GAMMA**cell / (_GAMMA + 1)
                return middle if middle > _LEAST * _GAMMA else 0.0
        return 0.0

    def merge(self, other: Distribution) -> None:
        """Take in the samples of another distribution with the same bounds; raises `ValueError` for others."""
        if self.bounds != other.bounds:
            raise ValueError("distributions with different bounds cannot be merged")
        self.count += other.count
        self.total += other.total
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets, strict=True)]
        _add(self.cells, other.cells)


@dataclass(slots=True)
class ModelTelemetry:
    """What one model of one provider did: cost in USD, latency in seconds, scores from 0 to 1.

    `failures` and `retries` count by kind; `tasks` counts, by status, the tasks whose last attempt it wrote.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    latency: Distribution = field(default_factory=lambda: Distribution(LATENCY_SECONDS))
    failures: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    first_attempt_passes: int = 0
    scores: Distribution = field(default_factory=lambda: Distribution(SCORES))

    def merge(self, other: ModelTelemetry) -> None:
        """Add what another telemetry says of the same model."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_usd += other.cost_usd
        self.first_attempt_passes += other.first_attempt_passes
        self.latency.merge(other.latency)
        self.scores.merge(other.scores)
        _add(self.failures, other.failures)
        _add(self.retries, other.retries)
        _add(self.tasks, other.tasks)


@dataclass(slots=True)
class TaskTelemetry:
    """How the tasks of one type ended: counts by status, attempts, cost in USD, scores from 0 to 1."""

    tasks: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    cost_usd: float = 0.0
    first_attempt_passes: int = 0
    scores: Distribution = field(default_factory=lambda: Distribution(SCORES))

    def merge(self, other: TaskTelemetry) -> None:
        """Add what another telemetry says of the same type."""
        self.attempts += other.attempts
        self.cost_usd += other.cost_usd
        self.first_attempt_passes += other.first_attempt_passes
        self.scores.merge(other.scores)
        _add(self.tasks, other.tasks)


@dataclass(frozen=True, slots=True, order=True)
class BudgetUse:
    """What a run had spent of its budget, in USD, when it last ended, `at` seconds since the epoch."""

    at: float
    spent_usd: float
    max_usd: float


@dataclass(slots=True)
class Telemetry:
    """Everything that is counted: by (provider, model), by task type, and by how runs ended.

    A run that goes on ends more than once, and spends one budget all the while: `runs` counts each of its endings,
    `budgets` holds its last word, by its id, which no exporter shows; of all but the `MOST_RUNS` that ended last only
    the sums are kept, in USD, in `spent_before` and `max_before`.
    """

    models: dict[tuple[str, str], ModelTelemetry] = field(default_factory=dict)
    task_types: dict[str, TaskTelemetry] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    budgets: dict[str, BudgetUse] = field(default_factory=dict)
    spent_before: float = 0.0
    max_before: float = 0.0
    # Which type a task under way has, by run and task: its calls come in between, and know the task only.
    _under_way: dict[tuple[str, str], str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def spent_usd(self) -> float:
        """What runs had spent when they ended, in USD."""
        return math.fsum((self.spent_before, *(use.spent_usd for use in self.budgets.values())))

    @property
    def budget_usd(self) -> float:
        """What these runs might have spent, in USD."""
        return math.fsum((self.max_before, *(use.max_usd for use in self.budgets.values())))

    @property
    def budget_ratio(self) -> float:
        """The share of their budgets that ended runs spent together; 0 when they had none."""
        return self.spent_usd / self.budget_usd if self.budget_usd else 0.0

    def take(self, event: Event) -> None:
        """Count one event of a run."""
        data = event.data
        match event.type:
            case EventType.CALL_SETTLED:
                model = self._model(event)
                model.calls += 1
                model.input_tokens += data["input_tokens"]
                model.output_tokens += data["output_tokens"]
                model.latency.add(data["latency_seconds"])
                self._pay(event)
            case EventType.CALL_LOST:
                # Why it was lost, its failure has said; here it only costs.
                self._pay(event)
            case EventType.TASK_STARTED | EventType.REPAIR_STARTED:
                self._under_way[event.run_id, data["task_id"]] = data["type"]
            case EventType.CALL_FAILED | EventType.ANSWER_REJECTED:
                model = self._model(event)
                _add(model.failures, {data["kind"]: 1})
                _add(model.retries, {data["kind"]: 1} if data["retried"] else {})
            case EventType.TASK_COMPLETED | EventType.TASK_FAILED:
                self._task(event)
            case EventType.TASK_SKIPPED:
                _add(self._type(event).tasks, {TaskStatus.SKIPPED.value: 1})
            case EventType.PROJECT_COMPLETED:
                _add(self.runs, {data["status"]: 1})
                self._under_way = {key: kind for key, kind in self._under_way.items() if key[0] != event.run_id}
                self._note(event.run_id, BudgetUse(event.at, data["spent_usd"], data["max_usd"]))

    def _pay(self, event: Event) -> None:
        cost = event.data["cost_usd"]
        self._model(event).cost_usd += cost
        if kind := self._under_way.get((event.run_id, event.data["task_id"])):
            self.task_types.setdefault(kind, TaskTelemetry()).cost_usd += cost

    def _task(self, event: Event) -> None:
        data = event.data
        completed = event.type is EventType.TASK_COMPLETED
        status = TaskStatus.COMPLETED if completed else TaskStatus.FAILED
        passed_at_once = int(completed and data["attempts"] == 1)
        kind = self._type(event)
        kind.attempts += data["attempts"]
        self._under_way.pop((event.run_id, data["task_id"]), None)
        # A task that nobody could write has no model, and so neither a score.
        for counted in (kind, self._model(event)) if data["model"] else (kind,):
            _add(counted.tasks, {status.value: 1})
            counted.first_attempt_passes += passed_at_once
            if data["model"]:
                counted.scores.add(data["score"])

    def _model(self, event: Event) -> ModelTelemetry:
        return self.models.setdefault((event.data["provider"], event.data["model"]), ModelTelemetry())

    def _type(self, event: Event) -> TaskTelemetry:
        return self.task_types.setdefault(event.data["type"], TaskTelemetry())

    def merge(self, other: Telemetry) -> None:
        """Take in what another telemetry counted, which stays as it is."""
        for key, model in other.models.items():
            self.models.setdefault(key, ModelTelemetry()).merge(model)
        for kind, tasks in other.task_types.items():
            self.task_types.setdefault(kind, TaskTelemetry()).merge(tasks)
        _add(self.runs, other.runs)
        self.spent_before += other.spent_before
        self.max_before += other.max_before
        for run_id, use in other.budgets.items():
            self._note(run_id, use)

    def _note(self, run_id: str, use: BudgetUse) -> None:
        """Keep the later word on a run's budget, and of the run that ended longest ago only the sums, when too many."""
        self.budgets[run_id] = max(use, self.budgets.pop(run_id, use))
        if len(self.budgets) > MOST_RUNS:
            oldest = self.budgets.pop(next(iter(self.budgets)))
            self.spent_before += oldest.spent_usd
            self.max_before += oldest.max_usd


def merge_telemetry(parts: Iterable[Telemetry]) -> Telemetry:
    """Return one telemetry that says what one of all the parts' events would say; the parts stay as they are."""
    merged = Telemetry()
    for part in parts:
        merged.merge(part)
    return merged


def _add(counts: dict[_Key, int], more: dict[_Key, int]) -> None:
    for key, number in more.items():
        counts[key] = counts.get(key, 0) + number
