"""What loads when: structural, so that no slow machine can make it fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

VENDORS = {"openai", "anthropic", "google.genai"}
HEAVY = {
    "pydantic", "sqlalchemy", "genai_prices", "httpx2", "rich", "yaml", "fastapi", "github", "git", "jinja2",
    "opentelemetry", "prometheus_client",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    program = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import orchestrator",
        "import orchestrator.cli",
        "from orchestrator.cli import main\nmain(['--version'])",
        "from orchestrator import ProjectEventBus, TracingConfig, configure_tracing",
        "from orchestrator.hooks import EventType",
        "from orchestrator.metrics import ConsoleExporter, JSONExporter, PrometheusExporter",
    ],
)
def test_neither_a_vendors_sdk_nor_a_heavy_library_is_loaded_before_it_is_needed(code: str) -> None:
    assert loaded_by(code) & (VENDORS | HEAVY) == set()


@pytest.mark.parametrize(
    "name", ["AppBuilder", "ArchitectureAdvisor", "Budget", "CostForecaster", "JobSpec", "OrchestrationAgent"]
)
def test_no_name_of_the_public_api_loads_a_vendors_sdk(name: str) -> None:
    assert loaded_by(f"from orchestrator import {name}") & VENDORS == set()


def test_every_public_name_is_there() -> None:
    import orchestrator

    assert [name for name in orchestrator.__all__ if not hasattr(orchestrator, name)] == []


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    import orchestrator

    with pytest.raises(AttributeError, match="no attribute 'Engine'"):
        _ = orchestrator.Engine
