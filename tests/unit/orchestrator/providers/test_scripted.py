"""The scripted provider: product code that tests, examples and benchmarks answer with."""

from __future__ import annotations

import pytest

from orchestrator.errors import ProviderUnavailable, RateLimited
from orchestrator.providers.base import Completion, CompletionRequest, Finish, Provider, Usage
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose
from tests.unit.orchestrator.providers.conftest import question


async def test_a_callable_answers_by_what_was_asked() -> None:
    provider: Provider = ScriptedProvider(lambda request: f'{{"about": "{request.purpose}"}}')

    completion = await provider.complete(question("openai", Purpose.EVALUATE))

    assert completion.text == '{"about": "evaluate"}'
    assert completion.finish is Finish.STOP


async def test_lists_answer_each_purpose_in_its_order_until_they_are_used_up() -> None:
    given = Completion("{}", Usage(5, 6, 1))
    provider = ScriptedProvider({Purpose.REVIEW: ["first", given], Purpose.EVALUATE: ["other"]})

    texts = [(await provider.complete(question("openai", purpose))).text for purpose in (Purpose.REVIEW,)]
    second = await provider.complete(question("openai", Purpose.REVIEW))

    assert texts == ["first"]
    assert second is given
    with pytest.raises(LookupError, match="no answer left for review"):
        await provider.complete(question("openai", Purpose.REVIEW))


async def test_an_exception_is_raised_and_the_next_answer_follows() -> None:
    limited = RateLimited("slow down", provider="openai", model="m", retry_after=1)
    provider = ScriptedProvider({Purpose.REVIEW: [limited, "{}"]})

    with pytest.raises(RateLimited):
        await provider.complete(question("openai"))

    assert (await provider.complete(question("openai"))).text == "{}"


async def test_tokens_are_a_quarter_of_the_bytes() -> None:
    provider = ScriptedProvider(lambda request: "é" * 100)

    completion = await provider.complete(question("openai"))

    assert completion.usage.output_tokens == 50
    assert completion.usage == (await provider.complete(question("openai"))).usage


async def test_a_text_over_the_output_limit_is_cut_as_a_model_would() -> None:
    provider = ScriptedProvider(lambda request: "x" * 100)

    completion = await provider.complete(question("openai", max_output_tokens=10))

    assert completion.text == "x" * 40
    assert completion.finish is Finish.LENGTH
    assert completion.usage.output_tokens == 10


async def test_requests_are_kept_in_their_order() -> None:
    provider = ScriptedProvider(lambda request: "{}")
    first, second = question("openai", prompt="one"), question("google", prompt="two")

    for asked in (first, second):
        await provider.complete(asked)
    await provider.aclose()

    expected: list[CompletionRequest] = [first, second]
    assert provider.requests == expected
    assert provider.closed


async def test_a_delay_beyond_the_time_limit_is_no_answer() -> None:
    provider = ScriptedProvider(lambda request: "{}", delay_seconds=5)

    with pytest.raises(ProviderUnavailable, match="later than the call may take"):
        await provider.complete(question("openai", timeout_seconds=0.01))
