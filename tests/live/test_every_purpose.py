"""Every provider with a key answers every purpose with what its schema asks for; `make live`, costs cents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.providers.registry import endpoints_from_environment
from tests.live.purposes import MAX_USD, VALUES, ask_every_purpose

pytestmark = pytest.mark.live


def _available() -> list[str]:
    return sorted(set(endpoints_from_environment(os.environ)) - {"offline"})


@pytest.mark.parametrize("provider", _available() or ["none"])
async def test_every_purpose_is_answered(provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert provider != "none", "the live tests need a provider's key in the environment, such as OPENAI_API_KEY"
    endpoint = endpoints_from_environment(os.environ)[provider]

    asked = await ask_every_purpose(endpoint, tmp_path, local_model=os.environ.get("LOCAL_LLM_MODEL"))

    with capsys.disabled():
        print(f"\n{provider}: {asked.model.id} answered {len(asked.replies)} purposes for ${asked.cost_usd:.4f}")
    assert set(asked.replies) == set(VALUES)
    assert 0 <= asked.cost_usd <= MAX_USD
