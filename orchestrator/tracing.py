"""Runs as OpenTelemetry traces, made from their events and sent over OTLP/HTTP; nothing is imported while this is off.

A run is one trace: the run, below it architecture, plan, tasks and checks, and a client span per call to a model. Names
follow the GenAI semantic conventions: https://github.com/open-telemetry/semantic-conventions-genai
Spans carry closed vocabularies and numbers only: no text of a prompt or answer, no name of a run, repository, task or
file (SECURITY 34), and so no secret (SECURITY 31). `orchestrator.run.digest` is what a run is found again by.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.errors import UsageError
from orchestrator.events import Event, EventType
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind
    from opentelemetry.util.types import AttributeValue

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
# A run waits this long for its spans to leave; a slower collector gets them in the background, or at the exit.
FLUSH_SECONDS = 0.5
# One request to the collector, retries included, may take this long; the exit waits for the one under way.
EXPORT_SECONDS = 2.0

_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_(TRACES_)?HEADERS")
_TRACES_PATH = "/v1/traces"
_NANOSECONDS = 10**9
# Source: the conventions' well-known values of `gen_ai.provider.name`; a provider that has none keeps our id.
_PROVIDERS = {"google": "gcp.gemini"}
_STAGES = {"architecture": "architecture", "decompose": "plan"}
_GOOD = frozenset({"completed", "waiting"})


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Where traces go: `otlp_endpoint` is a collector's base URL for OTLP over HTTP, `sample_rate` from 0 to 1.

    Raises `UsageError` for an endpoint or a rate that cannot be.
    """

    enabled: bool = True
    otlp_endpoint: str = "http://localhost:4318"
    service_name: str = "orchestrator"
    sample_rate: float = 1.0

    def __post_init__(self) -> None:
        if not _is_base_url(self.otlp_endpoint):
            raise UsageError(
                f"{self.otlp_endpoint!r} is no endpoint for traces.",
                hint="Give a collector's base URL, such as http://localhost:4318.",
            )
        if not 0 <= self.sample_rate <= 1:
            raise UsageError(
                f"sample_rate is {self.sample_rate!r}.", hint="Give the share of runs to trace, from 0.0 to 1.0."
            )

    @property
    def traces_url(self) -> str:
        """The address that spans are posted to."""
        base = self.otlp_endpoint.rstrip("/")
        return base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is none
        return False


_configured: TracingConfig | None = None


def configure_tracing(config: TracingConfig | None) -> None:
    """Trace every run that starts from now on in this process as the configuration says, whatever the environment.

    None leaves it to the environment again. OpenTelemetry is imported when the first run starts. Its global tracer
    provider is left alone.
    """
    if config is not None and not isinstance(config, TracingConfig):
        raise UsageError(f"A tracing configuration is a TracingConfig, not {config!r}.", hint="Give TracingConfig().")
    global _configured
    _configured = config


def secrets_of_headers(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of the headers that OpenTelemetry sends to a collector, which often hold its key.

    Form: https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables
    """
    pairs = [pair for name, text in env.items() if _HEADERS.fullmatch(name) for pair in text.split(",")]
    values = [unquote(pair.partition("=")[2]).strip() for pair in pairs]
    # Of `Bearer KEY` the key alone is one too.
    return tuple(dict.fromkeys(secret for value in values if value for secret in (value, value.split()[-1])))


def tracer_for(env: Mapping[str, str]) -> Tracer | None:
    """Return the tracer that `configure_tracing` or `OTEL_EXPORTER_OTLP_ENDPOINT` asks for, None where neither does.

    Raises `UsageError` for an endpoint that cannot be.
    """
    config = _configured
    if config is None:
        endpoint = env.get(ENDPOINT_VARIABLE, "").strip()
        config = TracingConfig(otlp_endpoint=endpoint) if endpoint else None
    return _tracer(config) if config is not None and config.enabled else None


class Tracer:
    """Sends the traces of a process to one collector, in the background."""

    def __init__(self, config: TracingConfig) -> None:
        self._provider = _provider(config)

    def run(self) -> RunTrace:
        """Return the trace of one run, to be fed with its events."""
        return RunTrace(self._provider)

    async def flush(self) -> None:
        """Send what has ended, and wait for it up to `FLUSH_SECONDS`; a collector that cannot be reached is logged."""
        # In a thread of our own: the loop waits at its end for those of its executor, and this one may take long.
        future: concurrent.futures.Future[bool] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=lambda: future.set_result(self._provider.force_flush()), daemon=True).start()
        sent = asyncio.wrap_future(future)
        try:
            await asyncio.wait({sent}, timeout=FLUSH_SECONDS)
        finally:
            sent.cancel()


@cache
def _tracer(config: TracingConfig) -> Tracer:
    return Tracer(config)


def _provider(config: TracingConfig) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.sample_rate)),
        resource=Resource.create({"service.name": config.service_name, "service.version": VERSION}),
    )
    exporter = OTLPSpanExporter(endpoint=config.traces_url, timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class RunTrace:
    """The spans of one run, opened and ended as its events say; times are those of the events."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("orchestrator", VERSION)
        self._run: Span | None = None
        self._stages: dict[str, Span] = {}
        self._tasks: dict[str, Span] = {}

    def take(self, event: Event) -> None:
        """Open, complete or end the spans that an event is about."""
        data, at = event.data, event.at
        match event.type:
            case EventType.PROJECT_STARTED:
                self._start(event)
            case EventType.ARCHITECTURE_DECIDED | EventType.PLAN_READY:
                stage = "architecture" if event.type is EventType.ARCHITECTURE_DECIDED else "plan"
                if stage in self._stages:
                    self._stages.pop(stage).end(_ns(at))
            case EventType.TASK_STARTED | EventType.REPAIR_STARTED:
                kind = {"orchestrator.task.type": data["type"]}
                self._tasks[data["task_id"]] = self._span("task", self._run, at, kind)
            case EventType.TASK_COMPLETED | EventType.TASK_FAILED:
                self._end_task(event)
            case EventType.CALL_SETTLED | EventType.CALL_FAILED:
                self._call(event)
            case EventType.VALIDATION_COMPLETED:
                self._validation(event)
            case EventType.PROJECT_COMPLETED:
                self._end(event)

    def close(self) -> None:
        """End what is still open, for a run that ended without saying so."""
        for span in [*self._tasks.values(), *self._stages.values(), *([self._run] if self._run else [])]:
            _failed(span, "interrupted")
            span.end()
        self._tasks, self._stages, self._run = {}, {}, None

    def _start(self, event: Event) -> None:
        self._run = self._span(
            "invoke_workflow orchestrator",
            None,
            event.at,
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.agent.name": "orchestrator",
                "orchestrator.run.digest": hashlib.sha256(event.run_id.encode()).hexdigest()[:16],
                "orchestrator.app_type": event.data["app_type"],
            },
        )

    def _end(self, event: Event) -> None:
        if self._run is None:
            return
        run, self._run = self._run, None
        status = str(event.data["status"])
        for span in (*self._tasks.values(), *self._stages.values()):
            _failed(span, status)
            span.end(_ns(event.at))
        self._tasks, self._stages = {}, {}
        run.set_attributes(
            {
                "orchestrator.run.status": status,
                "orchestrator.run.score": event.data["score"],
                "orchestrator.cost_usd": event.data["spent_usd"],
            }
        )
        if status not in _GOOD:
            _failed(run, status)
        run.end(_ns(event.at))

    def _end_task(self, event: Event) -> None:
        data = event.data
        span = self._tasks.pop(data["task_id"], None)
        if span is None:
            return
        span.set_attributes(
            {
                "orchestrator.task.attempts": data["attempts"],
                "orchestrator.task.score": data["score"],
                "orchestrator.cost_usd": data["cost_usd"],
            }
        )
        if event.type is EventType.TASK_FAILED:
            _failed(span, "task_failed")
        span.end(_ns(event.at))

    def _call(self, event: Event) -> None:
        from opentelemetry.trace import SpanKind

        data = event.data
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDERS.get(data["provider"], data["provider"]),
            "gen_ai.request.model": data["model"],
            "gen_ai.output.type": "json",
            "orchestrator.purpose": data["purpose"],
        }
        if event.type is EventType.CALL_SETTLED:
            attributes |= {
                "gen_ai.usage.input_tokens": data["input_tokens"],
                "gen_ai.usage.cache_read.input_tokens": data["cached_input_tokens"],
                "gen_ai.usage.output_tokens": data["output_tokens"],
                "gen_ai.response.finish_reasons": [data["finish"]],
                "orchestrator.cost_usd": data["cost_usd"],
            }
        began = event.at - data["latency_seconds"]
        span = self._span(f"chat {data['model']}", self._parent(event, began), began, attributes, SpanKind.CLIENT)
        if event.type is EventType.CALL_FAILED:
            _failed(span, data["kind"])
        span.end(_ns(event.at))

    def _validation(self, event: Event) -> None:
        data = event.data
        began = event.at - data["duration_seconds"]
        outcomes = list(data["results"].values())
        counts = {f"orchestrator.validation.{name}": outcomes.count(name) for name in ("passed", "failed", "not_run")}
        span = self._span("validation", self._parent(event, began), began, counts)
        if counts["orchestrator.validation.failed"]:
            _failed(span, "validation_failed")
        span.end(_ns(event.at))

    def _parent(self, event: Event, began: float) -> Span | None:
        """Return the task or stage that something belongs to; a stage begins with its first call."""
        stage = _STAGES.get(event.data.get("purpose", ""))
        if stage is None:
            return self._tasks.get(event.data["task_id"], self._run)
        if stage not in self._stages:
            self._stages[stage] = self._span(stage, self._run, began, {})
        return self._stages[stage]

    def _span(
        self,
        name: str,
        parent: Span | None,
        began: float,
        attributes: Mapping[str, AttributeValue],
        kind: SpanKind | None = None,
    ) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, set_span_in_context

        # A context of our own: a trace of the program around us is neither continued nor disturbed.
        context = set_span_in_context(parent, Context()) if parent else Context()
        return self._tracer.start_span(
            name,
            context,
            kind or SpanKind.INTERNAL,
            attributes,
            start_time=_ns(began),
            record_exception=False,
            set_status_on_exception=False,
        )


def _failed(span: Span, kind: str) -> None:
    """Mark a span as failed: by a kind, since a message might hold what no trace may carry."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _ns(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
