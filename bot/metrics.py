"""What Prometheus may know: counts and sums, never a repository's name (SECURITY 34)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from bot.attempts import Finished
from orchestrator.prometheus import TelemetryCollector
from orchestrator.state import ProjectStatus
from orchestrator.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANSWERS = (
    "queued", "ignored", "duplicate", "unsigned", "malformed", "too_large", "wrong_type", "too_slow", "unstored"
)  # fmt: skip


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
        self._runs = Gauge("orchestrator_runs", "Runs in the store by status.", ["status"], registry=self._registry)
        self._spent = Gauge("orchestrator_spent_usd", "What all runs in the store spent.", registry=self._registry)
        self._queue = Gauge("orchestrator_queue_length", "Deliveries that wait for work.", registry=self._registry)
        self._working = Gauge(
            "orchestrator_deliveries_in_flight", "Deliveries that are being worked on.", registry=self._registry
        )
        self._attempts = Gauge(
            "orchestrator_attempts", "Attempts since the start by outcome.", ["outcome"], registry=self._registry
        )

    def answered(self, answer: str) -> None:
        """Count a delivery; `answer` is one of `ANSWERS`."""
        self._deliveries.labels(answer).inc()

    def render(
        self, runs: Mapping[ProjectStatus, int], spent_usd: float, *, waiting: int, working: int, finished: Finished
    ) -> bytes:
        """Return the Prometheus text of this moment; `spent_usd` in USD."""
        for status in ProjectStatus:
            self._runs.labels(status.value).set(runs.get(status, 0))
        self._spent.set(spent_usd)
        self._queue.set(waiting)
        self._working.set(working)
        self._attempts.labels("done").set(finished.done)
        self._attempts.labels("failed").set(finished.failed)
        self._attempts.labels("given_up").set(finished.given_up)
        return generate_latest(self._registry)
