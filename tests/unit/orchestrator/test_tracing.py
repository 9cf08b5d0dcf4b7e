"""Traces: real spans, received over HTTP and decoded, and nothing in them that nobody asked for."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from action.inputs import secrets_of
from bot.settings import Settings
from orchestrator import Budget, Orchestrator, ProjectStatus, TracingConfig, configure_tracing, tracing
from orchestrator.errors import ProviderRejected, UsageError
from orchestrator.events import Event, EventType
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted, ScriptedProvider
from tests.loopback.collector import Collector, Seen, collector
from tests.unit.orchestrator.models import Models, plan, sent_back, task

ROOT = Path(__file__).resolve().parents[3]
SECRET_TITLE = "Project Nightingale for ACME"


@contextmanager
def configured(config: TracingConfig) -> Iterator[None]:
    configure_tracing(config)
    try:
        yield
    finally:
        configure_tracing(None)


@contextmanager
def receiving(sample_rate: float = 1.0) -> Iterator[Collector]:
    with collector() as received, configured(TracingConfig(True, received.url, "our service", sample_rate)):
        yield received
        # On a busy machine more may be under way than a run waits for.
        tracer = tracing.tracer_for({})
        assert tracer is not None
        tracer._provider.force_flush()


def orchestrator(models: Models, home: Path, **env: str) -> Orchestrator:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return Orchestrator(Budget(5.0), env={"ORCHESTRATOR_HOME": str(home), **env}, providers=providers)


def children(received: Collector, of: Seen) -> list[str]:
    return [span.name.split()[0] for span in sorted(received.spans, key=began) if span.parent == of.id]


def began(span: Seen) -> int:
    return span.began


def told(*events: tuple[EventType, float, dict[str, Any]]) -> None:
    """Trace these events, given as (type, seconds, data)."""
    tracer = tracing.tracer_for({})
    assert tracer is not None
    run = tracer.run()
    for kind, at, data in events:
        run.take(Event(kind, "lakes-1", data, at))
    run.close()


STARTED = (EventType.PROJECT_STARTED, 100.0, {"title": SECRET_TITLE, "app_type": "library"})
CHECKED = {"task_id": "a", "results": {"ruff": "failed", "make lakes": "not_run"}, "duration_seconds": 1.0}
GAVE_UP = {"task_id": "a", "attempts": 3, "score": 0.1, "cost_usd": 0.2, "reason": "the lakes are wrong"}


def ended(status: str, at: float = 110.0) -> tuple[EventType, float, dict[str, Any]]:
    return EventType.PROJECT_COMPLETED, at, {"status": status, "score": 0.5, "spent_usd": 0.25, "max_usd": 1.0}


async def test_a_run_arrives_as_one_trace_with_a_client_span_for_every_call(tmp_path: Path) -> None:
    # given
    models = Models(plan=plan(task("a"), task("b", "a")))
    with receiving() as received:
        # when
        state = await orchestrator(models, tmp_path).run_project(SECRET_TITLE)
    # then: over OTLP/HTTP, at the path that belongs to traces
    assert state.status is ProjectStatus.COMPLETED
    assert set(received.requests) == {("/v1/traces", "application/x-protobuf")}
    assert received.resources[0]["service.name"] == "our service"
    run = received.one("invoke_workflow orchestrator")
    assert {span.trace for span in received.spans} == {run.trace}
    assert run.parent == b""
    assert run.attributes["orchestrator.run.status"] == "completed"
    # and below the run its stages, below these the calls
    assert children(received, run) == ["architecture", "plan", "task", "task", "validation", "chat"]
    assert children(received, received.one("architecture")) == ["chat"]
    assert children(received, received.one("plan")) == ["chat"]
    for one in received.named("task"):
        assert children(received, one) == ["chat", "validation", "chat"]
        assert one.attributes["orchestrator.task.type"] == "code_generation"
        assert one.attributes["orchestrator.task.attempts"] == 1
    # and the calls are what the report bills, in the words of the GenAI conventions
    calls = sorted((span for span in received.spans if span.name.startswith("chat ")), key=began)
    assert {span.kind for span in calls} == {"SPAN_KIND_CLIENT"}
    assert {span.kind for span in received.spans if span not in calls} == {"SPAN_KIND_INTERNAL"}
    assert [
        (
            span.attributes["orchestrator.purpose"],
            span.attributes["gen_ai.provider.name"],
            span.attributes["gen_ai.request.model"],
            span.attributes["gen_ai.usage.input_tokens"],
            span.attributes["gen_ai.usage.output_tokens"],
        )
        for span in calls
    ] == [(c.purpose.value, c.provider, c.model, c.input_tokens, c.output_tokens) for c in state.calls]
    assert calls[0].name == f"chat {state.calls[0].model}"
    assert {span.attributes["gen_ai.operation.name"] for span in calls} == {"chat"}
    assert calls[0].attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert all(run.began <= span.began <= span.ended <= run.ended for span in received.spans)
    assert not any(span.failed for span in received.spans)


async def test_sec_34_and_31_no_text_name_path_or_key_is_in_a_trace(tmp_path: Path) -> None:
    # given: a run whose every text is telling, and which fails with messages that repeat them
    def refuse(_: CompletionRequest) -> Scripted:
        return ProviderRejected("no more for sk-nightingale-0123456789", provider="openai", model="m", status=400)

    say = {"review": lambda _: sent_back("nightingale/finding"), "evaluate": refuse}
    models = Models(plan=plan(task("nightingale-task", files=["nightingale/path.md"])), say=say)
    with receiving() as received:
        # when
        state = await orchestrator(models, tmp_path, OPENAI_API_KEY="sk-nightingale-0123456789").run_project(
            SECRET_TITLE, "nightingale criteria", project_id="nightingale-run"
        )
    # then
    assert state.status is ProjectStatus.PARTIAL
    assert received.one("invoke_workflow orchestrator").failed
    assert b"nightingale" not in received.raw.lower()
    assert b"acme" not in received.raw.lower()


def test_what_fails_is_marked_with_its_kind_and_no_message() -> None:
    call = {"task_id": "a", "purpose": "generate", "provider": "google", "model": "gemini-x"}
    with receiving() as received:
        told(
            STARTED,
            (EventType.TASK_STARTED, 101.0, {"task_id": "a", "type": "code_generation", "title": "A"}),
            (EventType.CALL_FAILED, 103.5, {**call, "kind": "rate_limited", "retried": True, "latency_seconds": 1.5}),
            (EventType.VALIDATION_COMPLETED, 105.0, CHECKED),
            (EventType.TASK_FAILED, 106.0, GAVE_UP),
            (EventType.TASK_SKIPPED, 106.0, {"task_id": "b", "type": "code_generation", "reason": "x"}),
            ended("failed"),
        )  # fmt: skip
    call_span = received.one("chat gemini-x")
    assert call_span.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert (call_span.began, call_span.ended) == (102_000_000_000, 103_500_000_000)
    assert {span.name: span.attributes["error.type"] for span in received.spans} == {
        "chat gemini-x": "rate_limited",
        "validation": "validation_failed",
        "task": "task_failed",
        "invoke_workflow orchestrator": "failed",
    }
    assert all(span.failed and span.message == "" for span in received.spans)
    assert received.one("validation").attributes["orchestrator.validation.not_run"] == 1


def test_what_a_stopped_run_left_open_is_ended_with_it() -> None:
    decompose = {"task_id": "", "purpose": "decompose", "provider": "openai", "model": "m"}
    began_task = (EventType.TASK_STARTED, 102.0, {"task_id": "a", "type": "code_generation", "title": "A"})
    failed = (EventType.CALL_FAILED, 101.0, {**decompose, "kind": "rejected", "retried": False, "latency_seconds": 1})
    with receiving() as received:
        told(STARTED, failed, began_task, ended("budget_exhausted"))
    assert {span.name: span.attributes["error.type"] for span in received.spans} == {
        "chat m": "rejected",
        "plan": "budget_exhausted",
        "task": "budget_exhausted",
        "invoke_workflow orchestrator": "budget_exhausted",
    }
    with receiving() as received:
        told(STARTED, began_task)
    assert {span.attributes["error.type"] for span in received.spans} == {"interrupted"}


async def test_with_a_sample_rate_of_zero_nothing_is_sent(tmp_path: Path) -> None:
    with receiving(sample_rate=0.0) as received:
        await orchestrator(Models(), tmp_path).run_project("Notes", project_id="one")
    assert received.requests == []


async def test_a_run_completes_where_no_collector_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with configured(TracingConfig(otlp_endpoint=url)):
        state = await orchestrator(Models(), tmp_path).run_project("Notes")
    assert state.status is ProjectStatus.COMPLETED


async def test_a_run_does_not_wait_until_a_collector_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(4)  # in the background spans leave only every five seconds
        tracer = tracing.Tracer(TracingConfig(otlp_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        run = tracer.run()
        kind, at, data = STARTED
        run.take(Event(kind, "lakes-1", data, at))
        run.close()
        # when
        await tracer.flush()
        # then: the request is still under way, since whoever sends it has not hung up
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(10)
            assert connection.recv(15) == b"POST /v1/traces"
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                b"".join(iter(partial(connection.recv, 65_536), b""))


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://otel.example/v1/traces", "https://otel.example/v1/traces"),
        ("https://otel.example/tenant", "https://otel.example/tenant/v1/traces"),
    ],
)
def test_an_endpoint_is_a_base_url_for_otlp_over_http(endpoint: str, url: str) -> None:
    assert TracingConfig(otlp_endpoint=endpoint).traces_url == url


def test_what_cannot_be_an_endpoint_or_a_rate_is_refused() -> None:
    for endpoint in ("localhost:4318", "grpc://localhost:4317", "http://", "http://[::1", "http://localhost:port"):
        with pytest.raises(UsageError, match="is no endpoint for traces"):
            TracingConfig(otlp_endpoint=endpoint)
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="sample_rate"):
            TracingConfig(sample_rate=rate)


def test_what_is_configured_wins_over_the_environment() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert tracing.tracer_for({}) is None
    assert tracing.tracer_for(environment) is tracing.tracer_for(environment) is not None
    with configured(TracingConfig(enabled=False)):
        assert tracing.tracer_for(environment) is None
    assert tracing.tracer_for(environment) is not None


def test_while_tracing_is_off_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from orchestrator import AgentPool, Orchestrator, TracingConfig, configure_tracing\n"
        "from orchestrator.metrics import ConsoleExporter, PrometheusExporter\n"
        "from orchestrator.cli import main\n"
        "configure_tracing(TracingConfig(enabled=False))\n"
        "status = main(['--offline', '--plan', '--project', 'A library of lakes'])\n"
        "heavy = {'opentelemetry', 'prometheus_client'} & {name.split('.')[0] for name in sys.modules}\n"
        "print(status, sorted(heavy))"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "0 []"


def test_the_command_line_sends_its_spans_before_it_exits(tmp_path: Path) -> None:
    with collector() as received:
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": received.url,
        }  # fmt: skip
        ran = subprocess.run(
            [sys.executable, "-m", "orchestrator", "--offline", "--plan", "--project", "A library of lakes"],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert received.one("invoke_workflow orchestrator").attributes["orchestrator.run.status"] == "waiting"
    assert [span.attributes["gen_ai.provider.name"] for span in received.spans if span.name.startswith("chat ")] == [
        "offline",
        "offline",
    ]
    assert b"lakes" not in received.raw


def test_sec_31_what_the_collectors_headers_hold_counts_as_a_secret() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k-0123456789, tenant=lakes",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "Authorization=Bearer%20t-0123456789",
        "OTEL_SERVICE_NAME": "ours",
    }
    assert tracing.secrets_of_headers(environment) == ("k-0123456789", "lakes", "Bearer t-0123456789", "t-0123456789")
    assert set(secrets_of(environment)) >= {"k-0123456789", "t-0123456789"}
    settings = Settings.from_environment({**environment, "GITHUB_TOKEN": "t", "GITHUB_WEBHOOK_SECRET": "s" * 16})
    assert {"k-0123456789", "t-0123456789"} <= set(settings.secrets)


def test_what_is_no_tracing_configuration_is_refused_and_changes_nothing() -> None:
    with pytest.raises(UsageError, match=r"A tracing configuration is a TracingConfig, not \{'enabled': True\}\."):
        configure_tracing({"enabled": True})  # type: ignore[arg-type]
    assert tracing.tracer_for({}) is None
