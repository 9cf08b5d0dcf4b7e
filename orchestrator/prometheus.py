"""Telemetry as Prometheus knows it: metric families with their types, units and labels, in a registry of their own.

Names follow https://prometheus.io/docs/practices/naming/. No label is a run's, a repository's or a file's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.telemetry import Distribution, Telemetry

_MODEL = ("provider", "model")


class TelemetryCollector(Collector):
    """Hands telemetry to a registry, as it is whenever it is read."""

    def __init__(self, telemetry: Callable[[], Telemetry]) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        """Yield every family, empty ones included."""
        telemetry = self._telemetry()
        yield from _models(telemetry)
        yield from _tasks(telemetry)
        runs = CounterMetricFamily("orchestrator_run_endings", "How often runs ended, by status.", labels=["status"])
        for status, number in sorted(telemetry.runs.items()):
            runs.add_metric([status], number)
        yield runs
        used = GaugeMetricFamily("orchestrator_budget_used_ratio", "Share of their budgets that ended runs spent.")
        used.add_metric([], telemetry.budget_ratio)
        yield used


def prometheus_text(telemetry: Telemetry) -> bytes:
    """Return the telemetry in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(TelemetryCollector(lambda: telemetry))
    return generate_latest(registry)


def _models(telemetry: Telemetry) -> Iterator[Metric]:
    calls = CounterMetricFamily("orchestrator_model_calls", "Answers that were billed.", labels=_MODEL)
    tokens = CounterMetricFamily(
        "orchestrator_model_tokens", "Tokens as billed, by direction.", labels=[*_MODEL, "direction"]
    )
    cost = CounterMetricFamily("orchestrator_model_cost_usd", "What answers cost, in USD.", labels=_MODEL)
    latency = HistogramMetricFamily(
        "orchestrator_model_call_duration_seconds", "How long a billed answer took.", labels=_MODEL
    )
    failures = CounterMetricFamily(
        "orchestrator_model_failures", "Calls that brought nothing usable, by kind.", labels=[*_MODEL, "kind"]
    )
    retries = CounterMetricFamily(
        "orchestrator_model_retries", "Failures after which the same model was asked again.", labels=[*_MODEL, "kind"]
    )
    tasks = CounterMetricFamily(
        "orchestrator_model_tasks", "Tasks whose last attempt the model wrote.", labels=[*_MODEL, "status"]
    )
    passes = CounterMetricFamily(
        "orchestrator_model_first_attempt_passes", "Tasks that passed at the first attempt.", labels=_MODEL
    )
    scores = HistogramMetricFamily(
        "orchestrator_model_score_ratio", "Scores of tasks the model wrote, from 0 to 1.", labels=_MODEL
    )
    for key, model in sorted(telemetry.models.items()):
        calls.add_metric(key, model.calls)
        tokens.add_metric([*key, "input"], model.input_tokens)
        tokens.add_metric([*key, "output"], model.output_tokens)
        cost.add_metric(key, model.cost_usd)
        latency.add_metric(key, _buckets(model.latency), model.latency.total)
        for family, counts in ((failures, model.failures), (retries, model.retries), (tasks, model.tasks)):
            for kind, number in sorted(counts.items()):
                family.add_metric([*key, kind], number)
        passes.add_metric(key, model.first_attempt_passes)
        scores.add_metric(key, _buckets(model.scores), model.scores.total)
    yield from (calls, tokens, cost, latency, failures, retries, tasks, passes, scores)


def _tasks(telemetry: Telemetry) -> Iterator[Metric]:
    tasks = CounterMetricFamily("orchestrator_tasks", "Tasks by how they ended.", labels=["type", "status"])
    attempts = CounterMetricFamily("orchestrator_task_attempts", "Attempts at tasks.", labels=["type"])
    cost = CounterMetricFamily("orchestrator_task_cost_usd", "What tasks cost, in USD.", labels=["type"])
    passes = CounterMetricFamily(
        "orchestrator_task_first_attempt_passes", "Tasks that passed at the first attempt.", labels=["type"]
    )
    scores = HistogramMetricFamily("orchestrator_task_score_ratio", "Scores of tasks, from 0 to 1.", labels=["type"])
    for name, kind in sorted(telemetry.task_types.items()):
        for status, number in sorted(kind.tasks.items()):
            tasks.add_metric([name, status], number)
        attempts.add_metric([name], kind.attempts)
        cost.add_metric([name], kind.cost_usd)
        passes.add_metric([name], kind.first_attempt_passes)
        scores.add_metric([name], _buckets(kind.scores), kind.scores.total)
    yield from (tasks, attempts, cost, passes, scores)


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Return the cumulative buckets as Prometheus counts them."""
    seen = 0
    found: list[tuple[str, float]] = []
    for bound, number in zip([*map(str, distribution.bounds), "+Inf"], distribution.buckets, strict=True):
        seen += number
        found.append((bound, seen))
    return found
