"""What the provider tests share: a loopback server per test, and each vendor's adapter pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
import pytest_asyncio

from orchestrator.catalog import load_catalog
from orchestrator.providers.base import CompletionRequest, Provider
from orchestrator.providers.registry import endpoints_from_environment, open_provider
from orchestrator.state import Purpose
from orchestrator.wire import schema_for
from tests.loopback import ModelServer, Script

Serve: TypeAlias = Callable[[Script], ModelServer]
Open: TypeAlias = Callable[[ModelServer, str], Provider]

ALL = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local")
MODELS = {
    "openai": "gpt-5-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash",
    "deepseek": "deepseek-chat",
    "moonshot": "kimi-k2.6",
    "minimax": "MiniMax-M2.7",
    "zhipu": "GLM-4.7",
    "local": "loopback-model",
}


def question(
    provider: str,
    purpose: Purpose = Purpose.REVIEW,
    *,
    prompt: str = "Review the file a.py.",
    max_output_tokens: int = 1000,
    timeout_seconds: float = 20,
    model: str = "",
) -> CompletionRequest:
    """Return a request to a provider's model."""
    profile = load_catalog(local_model="loopback-model").resolve(model or MODELS[provider])
    assert profile is not None
    return CompletionRequest(
        purpose=purpose,
        model=profile,
        system="You are careful.",
        prompt=prompt,
        schema=schema_for(purpose),
        max_output_tokens=max_output_tokens,
        timeout_seconds=timeout_seconds,
    )


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:
        yield lambda script: servers.enter_context(ModelServer(script))


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Open]:
    providers: list[Provider] = []

    def open_one(server: ModelServer, provider: str) -> Provider:
        endpoint = endpoints_from_environment(server.environment(ALL))[provider]
        providers.append(open_provider(endpoint))
        return providers[-1]

    yield open_one
    for provider in providers:
        await provider.aclose()
