"""Anthropic's Messages API; a forced tool carries the answer's schema."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from orchestrator.providers.base import Completion, CompletionRequest, Finish, Usage
from orchestrator.providers.failures import Failures
from orchestrator.providers.transport import http_client, load, system_with_schema, upper_bound

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

# The SDK expects 128,000 tokens to take an hour and refuses to wait more than ten minutes for one unstreamed answer.
# Source: anthropic._base_client._calculate_nonstreaming_timeout
_LARGEST_UNSTREAMED = 128_000 // 6
_CUT = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})

# An error inside a stream comes under HTTP 200; these are the statuses its type otherwise has.
# Source: https://docs.anthropic.com/en/api/errors
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


class _Block(BaseModel):
    type: str
    text: str = ""
    input: Any = None


class _Usage(BaseModel):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    inference_geo: Any = None


class _Body(BaseModel):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Answer(BaseModel):
    """What a whole body and a folded stream have in common."""

    text: str
    stop_reason: str | None
    usage: _Usage


class AnthropicProvider:
    """Anthropic's endpoint; very long answers are streamed, because the SDK refuses to wait for them otherwise."""

    def __init__(self, *, key: str, base_url: str, key_variables: str) -> None:
        self._key = key
        self._base_url = base_url
        self._failures = Failures("anthropic", key, key_variables)
        self._client: AsyncAnthropic | None = None

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once and return the answer."""
        client = await self._open()
        import anthropic
        import httpx2

        model = request.model.id
        ask = _streamed if request.max_output_tokens > _LARGEST_UNSTREAMED else _whole
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await ask(client, _body(request), request.timeout_seconds)
        except (TimeoutError, anthropic.APITimeoutError, httpx2.TimeoutException) as error:
            raise self._failures.of_timeout(model, request.timeout_seconds, error) from None
        except (anthropic.APIConnectionError, httpx2.TransportError, EOFError) as error:
            raise self._failures.of_connection(model, error) from None
        except anthropic.APIStatusError as error:
            # The SDK's exception holds the request with its key: it is not chained to ours.
            begun = error.status_code < 300
            status = _STATUS.get(str(error.type), 500) if begun else error.status_code
            raise self._failures.of_status(
                model,
                status,
                error.api_message or error.response.reason_phrase,
                headers=error.response.headers,
                codes=frozenset({str(error.type)}),
                maybe_billed=begun,
            ) from None
        except (ValidationError, ValueError, RecursionError):
            raise self._failures.of_body(model) from None
        return _completion(answer, request)

    async def _open(self) -> AsyncAnthropic:
        if self._client is None:
            await load("anthropic")
        if self._client is None:
            from anthropic import AsyncAnthropic

            self._client = AsyncAnthropic(
                api_key=self._key,
                base_url=self._base_url,
                max_retries=0,
                http_client=http_client({"X-Api-Key": self._key}, kept=frozenset({"anthropic-version"})),
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


def _body(request: CompletionRequest) -> dict[str, Any]:
    structured = request.model.structured
    body: dict[str, Any] = {
        "model": request.model.id,
        "system": system_with_schema(request) if structured == "json_object" else request.system,
        "messages": [{"role": "user", "content": _content(request)}],
        "max_tokens": request.max_output_tokens,
        # Left out, capacity that an account has committed to is used before, at a price of its own.
        # Source: https://platform.claude.com/docs/en/api/service-tiers
        "service_tier": "standard_only",
    }
    if structured == "tool":
        name = request.purpose.value
        description = "Give the answer. It must follow the schema."
        body["tools"] = [{"name": name, "description": description, "input_schema": request.schema, "strict": True}]
        body["tool_choice"] = {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    elif structured == "json_schema":
        body["output_config"] = {"format": {"type": "json_schema", "schema": request.schema}}
    return body


def _content(request: CompletionRequest) -> str | list[dict[str, Any]]:
    """Return the prompt, its stable begin marked so that Anthropic keeps everything up to there in its cache.

    Source: https://docs.claude.com/en/docs/build-with-claude/prompt-caching
    """
    if not request.stable:
        return request.prompt
    first = {"type": "text", "text": request.prompt[: request.stable], "cache_control": {"type": "ephemeral"}}
    return [first, {"type": "text", "text": request.prompt[request.stable :]}]


async def _whole(client: AsyncAnthropic, body: dict[str, Any], seconds: float) -> _Answer:
    response = await client.messages.with_raw_response.create(**body, timeout=seconds)
    answer = _Body.model_validate(json.loads(response.http_response.content))
    return _Answer(text=_text(answer.content), stop_reason=answer.stop_reason, usage=answer.usage or _Usage())


def _text(blocks: list[_Block]) -> str:
    for block in blocks:
        if block.type == "tool_use":
            return json.dumps(block.input, ensure_ascii=False)
    return "".join(block.text for block in blocks if block.type == "text")


async def _streamed(client: AsyncAnthropic, body: dict[str, Any], seconds: float) -> _Answer:
    """Fold the events of a stream; raises `EOFError` when it ends before its last event.

    The tool's input stays the text that the model wrote, so that broken JSON is judged where all JSON is.
    """
    said: dict[str, list[str]] = {"tool_use": [], "text": []}
    usage: dict[str, Any] = {}
    stop_reason: str | None = None
    async with await client.messages.create(**body, timeout=seconds, stream=True) as stream:
        async for event in stream:
            if event.type == "message_start":
                usage |= _reported(event.message)
            elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                said["tool_use"].append(event.delta.partial_json)
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                said["text"].append(event.delta.text)
            elif event.type == "message_delta":
                stop_reason = event.delta.stop_reason
                usage |= _reported(event)
            elif event.type == "message_stop":
                text = "".join(said["tool_use"] or said["text"])
                return _Answer(text=text, stop_reason=stop_reason, usage=_Usage.model_validate(usage))
    raise EOFError("the stream ended before message_stop")


def _reported(event: BaseModel) -> dict[str, Any]:
    usage = event.model_dump(warnings=False).get("usage") or {}
    return {name: count for name, count in usage.items() if name in _Usage.model_fields and count is not None}


def _completion(answer: _Answer, request: CompletionRequest) -> Completion:
    usage = _used(answer.usage, upper_bound(request))
    if answer.stop_reason == "refusal":
        return Completion(answer.text, usage, Finish.REFUSAL)
    return Completion(answer.text, usage, Finish.LENGTH if answer.stop_reason in _CUT else Finish.STOP)


def _used(usage: _Usage, bound: Usage) -> Usage:
    # A vendor that reports no usage still bills: the upper bound never undercounts.
    output = bound.output_tokens if usage.output_tokens is None else usage.output_tokens
    # A workspace may have its answers computed in the US by default, where each token costs a tenth more.
    # Source: https://platform.claude.com/docs/en/manage-claude/data-residency
    regional = usage.inference_geo == "us"
    if usage.input_tokens is None:
        return Usage(bound.input_tokens, output, regional=regional)
    # Anthropic's input_tokens leaves out what was read from its cache or written to it.
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    return Usage(usage.input_tokens + cached + written, output, cached, written, regional)
