"""Each vendor's real SDK against the loopback server: what is asked, what comes back, what is billed."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from orchestrator.catalog import Structured
from orchestrator.providers.base import Finish, Usage
from orchestrator.providers.registry import Endpoint, open_provider
from orchestrator.state import Purpose
from orchestrator.wire import REPLIES, ChangesReply, parse
from tests.loopback import Answer, Fault, Script
from tests.unit.orchestrator.providers.conftest import ALL, MODELS, Open, Serve, question

VENDORS = ("openai", "anthropic", "google")


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("purpose", list(Purpose))
async def test_every_provider_answers_every_purpose_in_its_schema(
    provider: str, purpose: Purpose, serve: Serve, opened: Open
) -> None:
    server = serve(Script())

    completion = await opened(server, provider).complete(question(provider, purpose))

    assert parse(completion.text, REPLIES[purpose])
    assert completion.finish is Finish.STOP
    (call,) = server.journal
    assert (call.provider, call.model, call.purpose) == (provider, MODELS[provider], purpose.value)
    assert call.max_output_tokens == 1000
    assert completion.usage == Usage(call.input_tokens, call.output_tokens)


async def test_openai_is_asked_for_a_strict_schema_with_an_output_limit(serve: Serve, opened: Open) -> None:
    server = serve(Script())

    await opened(server, "openai").complete(question("openai", Purpose.EVALUATE))

    (call,) = server.journal
    assert call.body == {
        "model": "gpt-5-mini",
        "messages": [
            {"role": "system", "content": "You are careful."},
            {"role": "user", "content": "Review the file a.py."},
        ],
        "max_completion_tokens": 1000,
        "service_tier": "default",
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "evaluate",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"reason": {"type": "string"}, "score": {"type": "number"}},
                    "required": ["reason", "score"],
                    "additionalProperties": False,
                },
            },
        },
    }


async def test_anthropic_is_forced_to_use_one_tool(serve: Serve, opened: Open) -> None:
    server = serve(Script())

    await opened(server, "anthropic").complete(question("anthropic", Purpose.EVALUATE))

    (call,) = server.journal
    assert call.body["max_tokens"] == 1000
    assert call.body["service_tier"] == "standard_only"
    assert call.body["tool_choice"] == {"type": "tool", "name": "evaluate", "disable_parallel_tool_use": True}
    assert call.body["tools"][0]["input_schema"]["required"] == ["reason", "score"]


async def test_google_is_given_a_response_schema(serve: Serve, opened: Open) -> None:
    server = serve(Script())

    await opened(server, "google").complete(question("google", Purpose.EVALUATE))

    config = server.journal[0].body["generationConfig"]
    assert config["maxOutputTokens"] == 1000
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["required"] == ["reason", "score"]


@pytest.mark.parametrize(
    ("provider", "limit"),
    [
        ("openai", "max_completion_tokens"),
        ("minimax", "max_completion_tokens"),
        ("deepseek", "max_tokens"),
        ("moonshot", "max_tokens"),
        ("zhipu", "max_tokens"),
        ("local", "max_tokens"),
    ],
)
async def test_each_compatible_endpoint_gets_the_limit_by_the_name_it_knows(
    provider: str, limit: str, serve: Serve, opened: Open
) -> None:
    server = serve(Script())

    await opened(server, provider).complete(question(provider, max_output_tokens=321))

    body = server.journal[0].body
    assert {name: body[name] for name in body if name.startswith("max_")} == {limit: 321}


async def test_json_mode_puts_the_schema_into_the_system_prompt(serve: Serve, opened: Open) -> None:
    server = serve(Script())

    await opened(server, "deepseek").complete(question("deepseek", Purpose.EVALUATE))

    (call,) = server.journal
    assert call.body["response_format"] == {"type": "json_object"}
    assert '"required":["reason","score"]' in call.system
    assert call.system.startswith("You are careful.")


@pytest.mark.parametrize(
    ("provider", "structured"),
    [
        ("local", "tool"),
        ("local", "json_object"),
        ("anthropic", "json_schema"),
        ("anthropic", "json_object"),
        ("google", "json_object"),
    ],
)
async def test_an_operator_may_choose_how_a_model_is_asked_for_its_schema(
    provider: str, structured: Structured, serve: Serve, opened: Open
) -> None:
    server = serve(Script())
    asked = question(provider)
    asked = dataclasses.replace(asked, model=dataclasses.replace(asked.model, structured=structured))

    completion = await opened(server, provider).complete(asked)

    assert json.loads(completion.text) == {"score": 0.9, "verdict": "approve", "findings": []}


@pytest.mark.parametrize("provider", VENDORS)
async def test_cached_input_counts_as_input_and_is_reported(provider: str, serve: Serve, opened: Open) -> None:
    said = Answer({"score": 1, "reason": "ok"}, input_tokens=700, output_tokens=30, cached_tokens=500)
    server = serve(Script(answers={"evaluate": lambda asked: said}))

    completion = await opened(server, provider).complete(question(provider, Purpose.EVALUATE))

    assert completion.usage == Usage(input_tokens=700, output_tokens=30, cached_input_tokens=500)


@pytest.mark.parametrize(("said", "regional"), [("us", True), ("global", False), (None, False), (7, False)])
async def test_anthropic_says_whether_an_answer_was_computed_in_one_region(
    said: object, regional: bool, serve: Serve, opened: Open
) -> None:
    usage = {"input_tokens": 7, "output_tokens": 3, "inference_geo": said}
    server = serve(Script(answers={"review": lambda asked: Answer({"score": 1}, raw={"usage": usage})}))

    completion = await opened(server, "anthropic").complete(question("anthropic"))

    assert completion.usage == Usage(7, 3, regional=regional)


async def test_anthropic_is_asked_to_keep_the_begin_that_comes_again_and_bills_what_it_wrote(
    serve: Serve, opened: Open
) -> None:
    # given: a prompt whose first 16 characters come again
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 3}
    said = Answer({"score": 1, "reason": "ok"}, raw={"usage": usage})
    server = serve(Script(answers={"evaluate": lambda asked: said}))
    asked = dataclasses.replace(question("anthropic", Purpose.EVALUATE), stable=16)
    # when
    completion = await opened(server, "anthropic").complete(asked)
    # then
    (call,) = server.journal
    assert call.body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Review the file ", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "a.py."},
            ],
        }
    ]
    assert completion.usage == Usage(32, 3, cached_input_tokens=7, cache_write_tokens=20)


@pytest.mark.parametrize("provider", [name for name in ALL if name != "anthropic"])
async def test_whoever_caches_by_itself_gets_the_prompt_as_one_text(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script())

    await opened(server, provider).complete(dataclasses.replace(question(provider), stable=16))

    assert "cache_control" not in json.dumps(server.journal[0].body)
    assert server.journal[0].prompt == "Review the file a.py."


@pytest.mark.parametrize("provider", VENDORS)
async def test_an_answer_without_usage_counts_at_its_upper_bound(provider: str, serve: Serve, opened: Open) -> None:
    said = Answer({"score": 1, "reason": "ok"}, usage=False)
    server = serve(Script(answers={"evaluate": lambda asked: said}))

    completion = await opened(server, provider).complete(question(provider, Purpose.EVALUATE))

    assert completion.usage.output_tokens == 1000
    assert completion.usage.input_tokens >= server.journal[0].input_tokens > 0
    assert json.loads(completion.text) == {"score": 1, "reason": "ok"}


@pytest.mark.parametrize("provider", VENDORS)
async def test_non_ascii_text_comes_back_unchanged(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(answers={"evaluate": lambda asked: Answer({"score": 1, "reason": "größer ⇒ 好 😀"})}))

    completion = await opened(server, provider).complete(question(provider, Purpose.EVALUATE))

    assert json.loads(completion.text)["reason"] == "größer ⇒ 好 😀"


async def test_a_very_long_anthropic_answer_is_streamed(serve: Serve, opened: Open) -> None:
    server = serve(Script())
    prompt = "## Files of this task\n- a.py\n- tests/test_a.py\n"

    completion = await opened(server, "anthropic").complete(
        question("anthropic", Purpose.GENERATE, prompt=prompt, max_output_tokens=64000)
    )

    (call,) = server.journal
    assert call.body["stream"] is True
    assert [file.path for file in parse(completion.text, ChangesReply).files] == ["a.py", "tests/test_a.py"]
    assert completion.usage == Usage(call.input_tokens, call.output_tokens)


@pytest.mark.parametrize("fault", [Fault("truncated"), Fault("malformed"), Fault("refusal"), Fault("empty")])
async def test_a_streamed_answer_ends_for_the_same_reasons_as_a_whole_one(
    fault: Fault, serve: Serve, opened: Open
) -> None:
    server = serve(Script(faults={"review": [fault, fault]}))
    provider = opened(server, "anthropic")

    whole = await provider.complete(question("anthropic"))
    streamed = await provider.complete(question("anthropic", max_output_tokens=50000))

    assert [call.body.get("stream") for call in server.journal] == [None, True]
    assert streamed.finish is whole.finish
    assert streamed.usage.input_tokens == whole.usage.input_tokens


async def test_a_streamed_answer_without_usage_counts_at_its_upper_bound(serve: Serve, opened: Open) -> None:
    server = serve(Script(answers={"review": lambda asked: Answer("{}", usage=False)}))

    completion = await opened(server, "anthropic").complete(question("anthropic", max_output_tokens=50000))

    assert completion.usage.output_tokens == 50000
    assert completion.usage.input_tokens > 200


async def test_thoughts_in_front_of_a_local_answer_are_taken_off(serve: Serve, opened: Open) -> None:
    server = serve(Script(answers={"review": lambda asked: Answer("<think>\nhm {}\n</think>\n\n{}")}))

    completion = await opened(server, "local").complete(question("local"))

    assert completion.text == "{}"


@pytest.mark.parametrize("provider", VENDORS)
async def test_sixteen_calls_at_once_share_one_client(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script())
    adapter = opened(server, provider)

    answers = await asyncio.gather(*(adapter.complete(question(provider)) for _ in range(16)))

    assert {answer.finish for answer in answers} == {Finish.STOP}
    assert len(server.billed) == 16


@pytest.mark.parametrize("provider", ALL)
async def test_a_call_carries_its_own_key_and_nothing_else_from_the_environment(
    provider: str, serve: Serve, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer stolen\nX-Extra: 1")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Api-Key: stolen\nX-Extra: 1")
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "other")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "other")
    monkeypatch.setenv("GOOGLE_API_KEY", "other")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    server = serve(Script())

    await opened(server, provider).complete(question(provider))

    (call,) = server.journal
    carriers = {"anthropic": "x-api-key", "google": "x-goog-api-key"}
    sent = set(call.headers) & {"authorization", "x-api-key", "x-goog-api-key", "x-extra", "openai-organization"}
    expected = set() if provider == "local" else {carriers.get(provider, "authorization")}
    assert sent == expected | ({"openai-organization"} if provider == "openai" else set())
    assert call.key == ("" if provider == "local" else f"loopback-{provider}-key")


async def test_closing_a_provider_that_was_never_asked_asks_nobody() -> None:
    async def heard(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        writer.close()

    connections: list[object] = []
    async with await asyncio.start_server(heard, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for provider in ALL:
            await open_provider(Endpoint(provider, "k", f"http://127.0.0.1:{port}/v1")).aclose()
    assert connections == []
