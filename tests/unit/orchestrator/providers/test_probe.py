from __future__ import annotations

import pytest

from orchestrator.errors import ProviderRejected, ProviderUnavailable
from orchestrator.providers.probe import takes_key
from orchestrator.providers.registry import Endpoint, endpoints_from_environment
from tests.loopback import ModelServer

EVERY = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local")


async def test_each_provider_is_asked_for_its_models_with_its_key_and_nothing_is_billed() -> None:
    with ModelServer() as server:
        endpoints = endpoints_from_environment(server.environment(EVERY))
        assert {name: await takes_key(one) for name, one in endpoints.items()} == dict.fromkeys(EVERY, True)
        assert server.journal == []


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("openai", "openai refuses the key: HTTP 401\nSet OPENAI_API_KEY to a key that is valid."),
        ("anthropic", "anthropic refuses the key: HTTP 401\nSet ANTHROPIC_API_KEY to a key that is valid."),
        ("google", "google refuses the key: HTTP 400\nSet GOOGLE_API_KEY or GEMINI_API_KEY to a key that is valid."),
    ],
)
async def test_a_wrong_key_is_refused_without_being_repeated(provider: str, said: str) -> None:
    with ModelServer() as server:
        endpoint = Endpoint(provider, "wrong-wrong-wrong", server.base_url(provider))
        with pytest.raises(ProviderRejected) as caught:
            await takes_key(endpoint)
    assert str(caught.value) == said


async def test_a_server_that_lists_no_models_says_nothing_of_the_key() -> None:
    with ModelServer() as server:
        assert not await takes_key(Endpoint("openai", "any", f"{server.url}/nowhere"))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable, match=r"deepseek did not answer \(ConnectError\)"):
        await takes_key(Endpoint("deepseek", "any", "http://127.0.0.1:9/v1"))
