"""What a plan will cost, from what such calls really cost where that is known, else from list prices.

The one forecast of the project: a run makes it of its own plan, `CostForecaster` of anybody's list of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from orchestrator.budget import Budget, Phase, to_usd
from orchestrator.catalog import Catalog, ModelProfile, load_catalog
from orchestrator.errors import UsageError
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.optimization import GreedyBackend
from orchestrator.policy import PolicySet
from orchestrator.prediction import CostPredictor
from orchestrator.routing import Need, Route, Router
from orchestrator.state import Forecast, Purpose, RiskLevel, RouteChoice, Task

# Tokens of one call before anything was observed: (low, usual, high). Input is the prompt with its context, output is
# for one file where the call writes files. Low is a small new project; high is a context filled from a repository.
_INPUT = {
    Purpose.ARCHITECTURE: (700, 1_500, 24_000),
    Purpose.DECOMPOSE: (1_000, 2_000, 24_000),
    Purpose.GENERATE: (1_500, 4_000, 24_000),
    Purpose.REVISE: (2_500, 6_000, 30_000),
    Purpose.REVIEW: (1_200, 3_000, 24_000),
    Purpose.EVALUATE: (800, 1_500, 6_000),
}
_OUTPUT = {
    Purpose.ARCHITECTURE: (100, 300, 1_500),
    Purpose.DECOMPOSE: (400, 1_500, 6_000),
    Purpose.GENERATE: (200, 800, 3_000),
    Purpose.REVISE: (200, 800, 3_000),
    Purpose.REVIEW: (50, 300, 1_500),
    Purpose.EVALUATE: (50, 150, 1_000),
}
# Output tokens that a reasoning model spends before it answers; the high one is the gateway's allowance.
_REASONING = (200, 1_500, 8_000)
# What an answer takes on top of the catalog's latency, which is that of a short one: a common speed of hosted models.
_TOKENS_PER_SECOND = 80.0
# How many calls the bounds from list prices count as, when they are weighed against what was observed.
_PRIOR_CALLS = 3
# An observed cost varies by about this many standard deviations either way (95% of a normal distribution).
_DEVIATIONS = 2.0
_PLANS = 3  # at most, each asked again with what was wrong
_MEDIUM_RISK, _HIGH_RISK = 0.5, 0.8


@dataclass(frozen=True, slots=True)
class _Range:
    """A cost in USD: low, usual, high."""

    low: float = 0.0
    usual: float = 0.0
    high: float = 0.0

    def __add__(self, other: _Range) -> _Range:
        return _Range(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def times(self, low: float, usual: float, high: float) -> _Range:
        """Return the cost of so many calls."""
        return _Range(self.low * low, self.usual * usual, self.high * high)


_NOTHING = _Range()


def _together(parts: Iterable[_Range]) -> _Range:
    """Return the cost of several parts: low and usual costs add up, deviations above the usual ones in quadrature.

    All may well pass at once; that all are at their worst at once is no forecast, because what makes one dear seldom
    makes the others so. Source: the variances of PERT, Malcolm et al. 1959, doi:10.1287/opre.7.5.646.
    """
    known = list(parts)
    usual = sum(one.usual for one in known)
    above = math.sqrt(sum((one.high - one.usual) ** 2 for one in known))
    return _Range(sum(one.low for one in known), usual, usual + above)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call as it is expected: what it costs, and its usual seconds."""

    cost: _Range
    seconds: float


@dataclass(frozen=True, slots=True)
class _TaskForecast:
    """What a task is expected to cost, by phase, and who would write it."""

    writer: str
    routes: tuple[RouteChoice, ...]
    writing: _Range
    reviewing: _Range
    repairing: _Range
    seconds: float

    @property
    def cost(self) -> _Range:
        """What the task's own calls cost."""
        return self.writing + self.reviewing


class CostForecaster:
    """Forecasts what a list of tasks costs before anything is spent."""

    @staticmethod
    def forecast(
        tasks: Sequence[Task],
        profiles: Mapping[str, ModelProfile] | Sequence[ModelProfile],
        predictor: CostPredictor,
        budget: Budget,
    ) -> Forecast:
        """Return the forecast of a run over these tasks: amounts in USD, times in seconds.

        `profiles` are the models to choose among, the cheapest that is good enough as a run does by default; when
        empty, all vendors' models of the catalog. Architecture, plan and evaluation are included, and the risk is the
        estimated total over the budget's cap: low under 50%, medium under 80%, high from there; with a cap of zero, any
        cost is a high risk, and none is low. The result follows from the arguments alone. Raises `UsageError` for what
        is no task, and for tasks that wait for each other; `NoModel` when no profile can take a call.
        """
        if wrong := [one for one in tasks if not isinstance(one, Task)]:
            raise UsageError(f"{wrong[0]!r} is no task.", hint="Give a sequence of orchestrator.Task.")
        given = list(profiles.values() if isinstance(profiles, Mapping) else profiles)
        models = given or [one for one in load_catalog().models.values() if one.provider != "offline"]
        router = Router(
            Catalog({one.id: one for one in models}, {}),
            frozenset(one.provider for one in models),
            PolicySet(),
            GreedyBackend(),
            predictor.standings(),
        )
        return forecast(tasks, router, predictor, budget)


def forecast(
    tasks: Sequence[Task],
    router: Router,
    predictor: CostPredictor,
    budget: Budget,
    *,
    planned_usd: float | None = None,
) -> Forecast:
    """Return what a run over these tasks costs with the models that the router would choose.

    `planned_usd` is what architecture and plan have cost already. Usual: a task takes as many rounds as its model's
    trust says. Low: every task passes at once. High: a task takes three rounds with long files, and a repair follows;
    the high total is lower than the sum of the tasks' (`_together`). Each call's cost is its average where such calls
    were observed, else the list price of its usual tokens.
    Raises `NoModel`, and `UsageError` for tasks that wait for each other.
    """
    known = _Calls(router, predictor)
    parts = {task.id: known.task(task) for task in tasks}
    judging = known.call(Purpose.EVALUATE)
    planning = _NOTHING if planned_usd is None else _Range(planned_usd, planned_usd, planned_usd)
    seconds = judging.seconds + _critical_path(tasks, {name: part.seconds for name, part in parts.items()})
    if planned_usd is None:
        architecture, plan = known.call(Purpose.ARCHITECTURE), known.call(Purpose.DECOMPOSE)
        planning = architecture.cost + plan.cost.times(1, 1, _PLANS)
        seconds += architecture.seconds + plan.seconds
    phases = {
        Phase.DECOMPOSITION: planning,
        Phase.GENERATION: _together(part.writing for part in parts.values()),
        Phase.CROSS_REVIEW: _together(part.reviewing for part in parts.values()),
        Phase.EVALUATION: judging.cost,
        Phase.RESERVE: max((part.repairing for part in parts.values()), key=lambda one: one.high, default=_NOTHING),
    }
    total = _together([planning, *(part.cost for part in parts.values()), judging.cost, phases[Phase.RESERVE]])
    return Forecast(
        low_usd=total.low,
        high_usd=total.high,
        by_task={name: (part.cost.low, part.cost.high) for name, part in parts.items()},
        models={name: part.writer for name, part in parts.items()},
        estimated_total_usd=total.usual,
        risk_level=_risk(total.usual, budget.max_usd),
        estimated_by_task={name: part.cost.usual for name, part in parts.items()},
        by_phase={phase.value: (cost.low, cost.high) for phase, cost in phases.items()},
        estimated_by_phase={phase.value: cost.usual for phase, cost in phases.items()},
        critical_path_seconds=seconds,
        routes={name: part.routes for name, part in parts.items()},
    )


@dataclass(frozen=True, slots=True)
class _Calls:
    """What single calls are expected to cost."""

    router: Router
    predictor: CostPredictor

    def task(self, task: Task) -> _TaskForecast:
        """Return a task's forecast: generate and review, then revise and review for what is sent back."""
        kind = task.type.value
        written = self._route(Purpose.GENERATE, task)
        writer = written.chain[0]
        reviewed = self._route(Purpose.REVIEW, task, avoid_provider=writer.provider)
        reviewer = reviewed.chain[0]
        files = max(1, len(task.files))
        write = self._call(Purpose.GENERATE, writer, kind, files)
        revise = self._call(Purpose.REVISE, writer, kind, files)
        review = self._call(Purpose.REVIEW, reviewer, kind)
        standing = self.router.standings.get((writer.id, kind))
        again = 1 - (standing.trust_over(writer.trust) if standing else writer.trust)
        more = again + again * again  # rounds after the first, of two at most
        return _TaskForecast(
            writer=writer.id,
            routes=(written.choice, reviewed.choice),
            writing=write.cost + revise.cost.times(0, more, 2),
            reviewing=review.cost.times(1, 1 + more, 3),
            repairing=(revise.cost + review.cost).times(0, 0, 1),
            seconds=write.seconds + more * revise.seconds + (1 + more) * review.seconds,
        )

    def call(self, purpose: Purpose) -> _Call:
        """Return a call that serves the whole run."""
        return self._call(purpose, self._route(purpose).chain[0])

    def _route(self, purpose: Purpose, task: Task | None = None, *, avoid_provider: str = "") -> Route:
        need = Need(
            purpose,
            _INPUT[purpose][1],
            OUTPUT_TOKENS[purpose],
            critical=task.critical if task else False,
            avoid_provider=avoid_provider,
            task_type=task.type.value if task else "",
        )
        return self.router.route(need)

    def _call(self, purpose: Purpose, model: ModelProfile, task_type: str = "", files: int = 1) -> _Call:
        sent = _INPUT[purpose]
        answered = [_output_tokens(purpose, model, files, bound) for bound in range(3)]
        listed = [to_usd(model.price.cost(*tokens)) for tokens in zip(sent, answered, strict=True)]
        seen = self.predictor.predict(model.id, purpose, task_type)
        if seen is None:
            return _Call(_Range(*listed), model.latency_ms / 1000 + answered[1] / _TOKENS_PER_SECOND)
        spread = _DEVIATIONS * math.sqrt(max(0.0, seen.cost_variance))
        share = seen.calls / (seen.calls + _PRIOR_CALLS)
        low = (1 - share) * listed[0] + share * max(0.0, seen.cost_usd - spread)
        high = (1 - share) * listed[2] + share * (seen.cost_usd + spread)
        return _Call(_Range(min(low, seen.cost_usd), seen.cost_usd, max(high, seen.cost_usd)), seen.seconds)


def _output_tokens(purpose: Purpose, model: ModelProfile, files: int, bound: int) -> int:
    """Return the tokens of an answer, within the limit that the request sets."""
    written = _OUTPUT[purpose][bound] * (files if purpose in (Purpose.GENERATE, Purpose.REVISE) else 1)
    thought = _REASONING[bound] if model.reasoning else 0
    return min(min(written, OUTPUT_TOKENS[purpose]) + thought, model.max_output_tokens)


def _critical_path(tasks: Sequence[Task], seconds: Mapping[str, float]) -> float:
    """Return the seconds of the longest chain of tasks; dependencies outside of the list count as done."""
    needs = {task.id: [one for one in task.depends_on if one in seconds] for task in tasks}
    sorter = TopologicalSorter(needs)
    try:
        order = tuple(sorter.static_order())
    except ValueError as error:
        raise UsageError(f"The tasks wait for each other: {' -> '.join(error.args[1])}.") from error
    ends: dict[str, float] = {}
    for name in order:
        ends[name] = seconds[name] + max((ends[one] for one in needs[name]), default=0.0)
    return max(ends.values(), default=0.0)


def _risk(estimated: float, cap: float) -> RiskLevel:
    if estimated >= cap * _HIGH_RISK and estimated > 0:
        return RiskLevel.HIGH
    return RiskLevel.MEDIUM if estimated >= cap * _MEDIUM_RISK and estimated > 0 else RiskLevel.LOW
