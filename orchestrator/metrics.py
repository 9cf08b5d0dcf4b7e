"""Where telemetry goes: a table on a stream, a JSON file, or a file in Prometheus' text format."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

from orchestrator.atomic import write_atomically
from orchestrator.errors import UsageError
from orchestrator.telemetry import Distribution, Telemetry, merge_telemetry

__all__ = ["ConsoleExporter", "JSONExporter", "MetricsExporter", "PrometheusExporter", "Telemetry", "merge_telemetry"]


class MetricsExporter(Protocol):
    """Takes telemetry somewhere."""

    def export(self, telemetry: Telemetry) -> None:
        """Write the telemetry, replacing what was written before where that is a file."""
        ...


class ConsoleExporter:
    """Prints telemetry as tables of plain ASCII, to standard output unless another stream is given."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def export(self, telemetry: Telemetry) -> None:
        """Print the tables."""
        print(table_text(telemetry), file=self._stream or sys.stdout, flush=True)


class JSONExporter:
    """Writes telemetry as one JSON object into a file, atomically; costs in USD, times in seconds, scores from 0 to 1.

    Folders that are missing are made. `export` raises `UsageError` when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def export(self, telemetry: Telemetry) -> None:
        """Replace the file."""
        _write(self._path, (json.dumps(as_json(telemetry), indent=2, ensure_ascii=False) + "\n").encode())


class PrometheusExporter:
    """Writes telemetry in Prometheus' text format into a file, atomically, as node_exporter's textfile collector asks.

    Folders that are missing are made. `export` raises `UsageError` when the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def export(self, telemetry: Telemetry) -> None:
        """Replace the file."""
        from orchestrator.prometheus import prometheus_text

        _write(self._path, prometheus_text(telemetry))


def as_json(telemetry: Telemetry) -> dict[str, Any]:
    """Return telemetry as plain JSON values."""
    return {
        "models": [
            {
                "provider": provider,
                "model": name,
                "calls": model.calls,
                "input_tokens": model.input_tokens,
                "output_tokens": model.output_tokens,
                "cost_usd": model.cost_usd,
                "latency_seconds": _distribution(model.latency),
                "failures": model.failures,
                "retries": model.retries,
                "tasks": model.tasks,
                "first_attempt_passes": model.first_attempt_passes,
                "score": _distribution(model.scores),
            }
            for (provider, name), model in sorted(telemetry.models.items())
        ],
        "task_types": {
            name: {
                "tasks": kind.tasks,
                "attempts": kind.attempts,
                "cost_usd": kind.cost_usd,
                "first_attempt_passes": kind.first_attempt_passes,
                "score": _distribution(kind.scores),
            }
            for name, kind in sorted(telemetry.task_types.items())
        },
        "runs": telemetry.runs,
        "budget": {
            "spent_usd": telemetry.spent_usd,
            "max_usd": telemetry.budget_usd,
            "used_ratio": telemetry.budget_ratio,
        },
    }


def _distribution(samples: Distribution) -> dict[str, float]:
    return {
        "count": samples.count,
        "sum": samples.total,
        "mean": samples.mean,
        **{f"p{percent}": samples.percentile(percent) for percent in (50, 90, 95, 99)},
    }


def table_text(telemetry: Telemetry) -> str:
    """Return telemetry as tables of plain ASCII."""
    models = [
        (
            f"{provider}/{name}",
            str(model.calls),
            str(model.input_tokens),
            str(model.output_tokens),
            f"{model.cost_usd:.4f}",
            f"{model.latency.mean:.2f}",
            f"{model.latency.percentile(95):.2f}",
            _counts(model.failures),
            str(sum(model.retries.values())),
            f"{model.first_attempt_passes}/{sum(model.tasks.values())}",
            f"{model.scores.mean:.2f}" if model.scores.count else "-",
        )
        for (provider, name), model in sorted(telemetry.models.items())
    ]
    kinds = [
        (
            name,
            _counts(kind.tasks),
            str(kind.attempts),
            f"{kind.first_attempt_passes}/{sum(kind.tasks.values())}",
            f"{kind.scores.mean:.2f}" if kind.scores.count else "-",
            f"{kind.cost_usd:.4f}",
        )
        for name, kind in sorted(telemetry.task_types.items())
    ]
    used = f"{telemetry.budget_ratio:.0%} of {telemetry.budget_usd:.2f}"
    runs = [(_counts(telemetry.runs), f"{telemetry.spent_usd:.4f}", used)]
    heads = (
        (
            "model",
            "calls",
            "tokens in",
            "tokens out",
            "USD",
            "mean s",
            "p95 s",
            "failures",
            "retries",
            "at once",
            "score",
        ),
        ("task type", "tasks", "attempts", "at once", "score", "USD"),
        ("runs", "USD", "budget used"),
    )
    return "\n\n".join((_table(heads[0], models), _table(heads[1], kinds), _table(heads[2], runs)))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[cell.encode("ascii", "replace").decode() for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [
        "|".join(["", *(f" {cell:<{width}} " for cell, width in zip(row, widths, strict=True)), ""]) for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule] if rows else [rule, lines[0], rule])


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise UsageError(
            f"The metrics file {path} cannot be written: {error.strerror}.",
            hint="Choose a file in a folder that you may write to.",
        ) from error
