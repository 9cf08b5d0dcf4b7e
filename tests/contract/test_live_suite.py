"""The opt-in live tests really work, shown on the loopback server, and stay out of every run that does not ask."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.providers.registry import endpoints_from_environment
from orchestrator.state import Purpose
from tests.live.purposes import MAX_USD, ask_every_purpose
from tests.loopback import ModelServer

ROOT = Path(__file__).resolve().parents[2]
ASKED = [(purpose.value, "answer") for purpose in Purpose]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "deepseek"])
async def test_every_purpose_is_asked_once_of_a_provider_under_a_cap_of_cents(provider: str, tmp_path: Path) -> None:
    with ModelServer() as server:
        environment = server.environment([provider])
        endpoint = endpoints_from_environment(environment)[provider]
        asked = await ask_every_purpose(endpoint, tmp_path, local_model=environment.get("LOCAL_LLM_MODEL"))
        assert [(call.purpose, call.outcome) for call in server.journal] == ASKED
    assert list(asked.replies) == list(Purpose)
    assert asked.cost_usd <= MAX_USD


def test_the_live_tests_are_deselected_unless_they_are_asked_for() -> None:
    # With whatever keys are set, each of which adds a test: it is two of them here.
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    argv = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/live"]
    ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert re.search(r"^(no tests collected|0 tests collected).*2 deselected", ran.stdout, re.MULTILINE), ran.stdout
    assert "skipped" not in ran.stdout
