"""What Prometheus may know: counts and sums, never a repository's name (SECURITY 34)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from bot.attempts import Finished
from orchestrator.prometheus import TelemetryCollector
from orchestrator.state import ProjectStatus
from orchestrator.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANSWERS = (
    "queued", "ignored", "duplicate", "unsigned", "malformed", "too_large", "wrong_type", "too_slow", "unstored"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database knows: runs by status, what they spent in USD, and deliveries not done, or in a pause."""

    runs: Mapping[ProjectStatus, int]
    spent_usd: float
    queued: int
    pausing: int


class Metrics:
    """One bot's metrics, in a registry of their own, with what its runs did since the start under the library's names.

    `telemetry` gives the latter whenever it is asked.
    """

    def __init__(self, telemetry: Callable[[], Telemetry]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(TelemetryCollector(telemetry))
        self._deliveries = Counter(
            "orchestrator_deliveries", "Deliveries by how they were answered.", ["answer"], registry=self._registry
        )
        for answer in ANSWERS:
            self._deliveries.labels(answer)
        self._working = Gauge(
            "orchestrator_deliveries_in_flight", "Deliveries that are being worked on.", registry=self._registry
        )
        self._attempts = _Attempts()
        self._registry.register(self._attempts)
        self._readable = Gauge(
            "orchestrator_database_up", "1 when the database could be read for this text.", registry=self._registry
        )
        # What only the database knows, left out where it does not say.
        self._kept = CollectorRegistry()
        self._runs = Gauge("orchestrator_runs", "Runs in the store by status.", ["status"], registry=self._kept)
        self._spent = Gauge("orchestrator_spent_usd", "What all runs in the store spent.", registry=self._kept)
        self._queue = Gauge("orchestrator_queue_length", "Deliveries that wait for work.", registry=self._kept)
        self._pausing = Gauge(
            "orchestrator_deliveries_pausing", "Deliveries whose work failed, in their pause.", registry=self._kept
        )

    def answered(self, answer: str) -> None:
        """Count a delivery; `answer` is one of `ANSWERS`."""
        self._deliveries.labels(answer).inc()

    def render(self, kept: Kept | None, *, working: int, finished: Finished) -> bytes:
        """Return the Prometheus text of this moment; `kept` None is a database that does not answer."""
        self._working.set(working)
        self._attempts.finished = finished
        self._readable.set(0 if kept is None else 1)
        if kept is None:
            return generate_latest(self._registry)
        for status in ProjectStatus:
            self._runs.labels(status.value).set(kept.runs.get(status, 0))
        self._spent.set(kept.spent_usd)
        self._pausing.set(kept.pausing)
        self._queue.set(max(0, kept.queued - working - kept.pausing))
        return generate_latest(self._registry) + generate_latest(self._kept)


class _Attempts(Collector):
    """Counts that another part keeps, as a counter."""

    finished = Finished()

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(
            "orchestrator_attempts", "Attempts since the start by outcome.", labels=["outcome"]
        )
        family.add_metric(["done"], self.finished.done)
        family.add_metric(["failed"], self.finished.failed)
        family.add_metric(["given_up"], self.finished.given_up)
        yield family
