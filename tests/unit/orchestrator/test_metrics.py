"""Where telemetry goes: a table, a JSON file, a file that Prometheus reads."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.errors import UsageError
from orchestrator.events import EventType
from orchestrator.metrics import ConsoleExporter, JSONExporter, PrometheusExporter
from orchestrator.telemetry import Telemetry
from tests.unit.orchestrator.test_telemetry import ended_run, ended_task, failed, settled, told

TELEMETRY = told(
    [
        settled(1.0),
        settled(4.0),
        failed("rate_limited", retried=True),
        ended_task(EventType.TASK_COMPLETED, 1, 0.9),
        ended_run("completed", 1.0, 4.0),
    ]
)


def test_the_table_is_plain_ascii_and_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleExporter().export(TELEMETRY)
    table = capsys.readouterr().out
    assert table.isascii()
    lines = table.splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "openai/m", "2", "200", "20", "0.5000", "2.50", "4.01", "1 rate_limited", "1", "1/1", "0.90"
    ]  # fmt: skip
    assert "| 1 completed | 1.0000 | 25% of 4.00 |" in table


def test_the_table_goes_to_the_stream_that_is_given_and_names_of_models_stay_ascii() -> None:
    out = io.StringIO()
    ConsoleExporter(out).export(told([settled(model="modèle")]))
    assert "openai/mod?le" in out.getvalue()


def test_json_holds_sums_means_and_percentiles(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.json"
    JSONExporter(path).export(TELEMETRY)
    data = json.loads(path.read_text())
    [model] = data["models"]
    assert (model["provider"], model["model"], model["calls"], model["cost_usd"]) == ("openai", "m", 2, 0.5)
    assert model["latency_seconds"]["mean"] == 2.5
    assert model["latency_seconds"]["p99"] == pytest.approx(4.0, rel=0.01)
    assert data["task_types"]["code_generation"]["tasks"] == {"completed": 1}
    assert data["runs"] == {"completed": 1}
    assert data["budget"] == {"spent_usd": 1.0, "max_usd": 4.0, "used_ratio": 0.25}


def test_prometheus_reads_types_units_labels_and_cumulative_buckets(tmp_path: Path) -> None:
    # given
    path = tmp_path / "orchestrator.prom"
    # when
    PrometheusExporter(path).export(TELEMETRY)
    # then
    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    assert {name: family.type for name, family in families.items()} == {
        "orchestrator_model_calls": "counter",
        "orchestrator_model_tokens": "counter",
        "orchestrator_model_cost_usd": "counter",
        "orchestrator_model_call_duration_seconds": "histogram",
        "orchestrator_model_failures": "counter",
        "orchestrator_model_retries": "counter",
        "orchestrator_model_tasks": "counter",
        "orchestrator_model_first_attempt_passes": "counter",
        "orchestrator_model_score_ratio": "histogram",
        "orchestrator_tasks": "counter",
        "orchestrator_task_attempts": "counter",
        "orchestrator_task_cost_usd": "counter",
        "orchestrator_task_first_attempt_passes": "counter",
        "orchestrator_task_score_ratio": "histogram",
        "orchestrator_run_endings": "counter",
        "orchestrator_budget_used_ratio": "gauge",
    }
    read = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert read["orchestrator_model_tokens_total", "input", "m", "openai"] == 200
    assert read["orchestrator_model_cost_usd_total", "m", "openai"] == 0.5
    assert read["orchestrator_model_failures_total", "m", "openai", "rate_limited"] == 1
    assert read["orchestrator_model_retries_total", "m", "openai", "rate_limited"] == 1
    assert read["orchestrator_tasks_total", "code_generation", "completed"] == 1
    assert read["orchestrator_run_endings_total", "completed"] == 1
    assert read[("orchestrator_budget_used_ratio",)] == 0.25
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in families["orchestrator_model_call_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    ]
    assert [pair for pair in buckets if pair[0] in ("0.5", "1.0", "2.5", "5.0", "+Inf")] == [
        ("0.5", 0), ("1.0", 1), ("2.5", 1), ("5.0", 2), ("+Inf", 2)
    ]  # fmt: skip
    assert read["orchestrator_model_call_duration_seconds_sum", "m", "openai"] == 5.0
    assert read["orchestrator_model_call_duration_seconds_count", "m", "openai"] == 2


@pytest.mark.parametrize("exporter", [JSONExporter, PrometheusExporter])
def test_a_file_is_replaced_in_one_step_and_readable_by_others(
    tmp_path: Path, exporter: type[JSONExporter] | type[PrometheusExporter]
) -> None:
    # given: somebody who reads the file while it is replaced
    path = tmp_path / "metrics"
    exporter(path).export(TELEMETRY)
    before = path.read_bytes()
    with path.open("rb") as reading:
        # when
        exporter(path).export(Telemetry())
        # then: they read the whole old file, and who comes later the whole new one
        assert reading.read() == before
    assert path.read_bytes() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"metrics file .*/file/metrics.json cannot be written"):
        JSONExporter(tmp_path / "file" / "metrics.json").export(TELEMETRY)
