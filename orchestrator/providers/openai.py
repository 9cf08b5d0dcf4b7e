"""OpenAI, and every vendor whose endpoint speaks its chat completions: DeepSeek, Moonshot, MiniMax, Zhipu, local."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from orchestrator.providers.base import Completion, CompletionRequest, Finish, Usage
from orchestrator.providers.failures import Failures
from orchestrator.providers.transport import http_client, load, system_with_schema, upper_bound

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# OpenAI and MiniMax name the limit max_completion_tokens; the others know only max_tokens.
# Sources: https://platform.openai.com/docs/api-reference/chat/create,
# https://platform.minimax.io/docs/api-reference/text-chat-openai
_NEW_LIMIT = frozenset({"openai", "minimax"})
_REFUSED = frozenset({"content_filter", "sensitive"})
_CUT = frozenset({"length", "model_context_window_exceeded", "insufficient_system_resource", "network_error"})
_ORGANISATION = frozenset({"openai-organization", "openai-project"})
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)

# MiniMax answers some failures with HTTP 200 and its own code; these are the HTTP statuses they stand for.
# Source: https://platform.minimax.io/docs/api-reference/errorcode
_MINIMAX_STATUS = {1002: 429, 1004: 401, 1008: 402, 1039: 429, 2013: 400, 2049: 401, 1042: 400}
_MINIMAX_REFUSED = frozenset({1026, 1027})


class _Function(BaseModel):
    arguments: str = ""


class _ToolCall(BaseModel):
    function: _Function = Field(default_factory=_Function)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(BaseModel):
    message: _Message = Field(default_factory=_Message)
    finish_reason: str | None = None


class _InputDetails(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cached_tokens: int | None = None  # Moonshot


class _Status(BaseModel):
    status_code: int = 0
    status_msg: str = ""


class _Body(BaseModel):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    base_resp: _Status | None = None  # MiniMax


class OpenAIProvider:
    """One endpoint that speaks OpenAI's chat completions; `provider` says whose, and so which fields it takes."""

    def __init__(self, provider: str, *, key: str, base_url: str, key_variables: str) -> None:
        self._provider = provider
        self._key = key
        self._base_url = base_url
        self._failures = Failures(provider, key, key_variables)
        self._client: AsyncOpenAI | None = None

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once and return the answer."""
        client = await self._open()
        import openai

        model = request.model.id
        try:
            async with asyncio.timeout(request.timeout_seconds):
                response = await client.chat.completions.with_raw_response.create(
                    **_body(self._provider, request), timeout=request.timeout_seconds
                )
                body = _Body.model_validate(json.loads(response.http_response.content))
        except (TimeoutError, openai.APITimeoutError) as error:
            raise self._failures.of_timeout(model, request.timeout_seconds, error) from None
        except openai.APIConnectionError as error:
            raise self._failures.of_connection(model, error) from None
        except openai.APIStatusError as error:
            # The SDK's exception holds the request with its key: it is not chained to ours.
            raise self._failures.of_status(
                model,
                error.status_code,
                _said(error.body) or error.response.reason_phrase,
                headers=error.response.headers,
                codes=frozenset(filter(None, (error.code, error.type))),
            ) from None
        except (ValidationError, ValueError, RecursionError):
            raise self._failures.of_body(model) from None
        return self._completion(body, request)

    def _completion(self, body: _Body, request: CompletionRequest) -> Completion:
        status = body.base_resp or _Status()
        if status.status_code and status.status_code not in _MINIMAX_REFUSED:
            http_status = _MINIMAX_STATUS.get(status.status_code, 500)
            raise self._failures.of_status(request.model.id, http_status, status.status_msg, headers={})
        if body.choices is None and body.usage is None:
            raise self._failures.of_body(request.model.id)
        choice = body.choices[0] if body.choices else _Choice()
        usage = _used(body.usage or _Usage(), upper_bound(request))
        if choice.message.refusal or choice.finish_reason in _REFUSED or status.status_code:
            return Completion(choice.message.refusal or choice.message.content or "", usage, Finish.REFUSAL)
        finish = Finish.LENGTH if choice.finish_reason in _CUT else Finish.STOP
        return Completion(_text(choice.message), usage, finish)

    async def _open(self) -> AsyncOpenAI:
        if self._client is None:
            await load("openai")
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url,
                max_retries=0,
                http_client=http_client(
                    {"Authorization": f"Bearer {self._key}"} if self._key else {},
                    kept=_ORGANISATION if self._provider == "openai" else frozenset(),
                ),
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()


def _body(provider: str, request: CompletionRequest) -> dict[str, Any]:
    json_mode = request.model.structured == "json_object"
    limit = "max_completion_tokens" if provider in _NEW_LIMIT else "max_tokens"
    body: dict[str, Any] = {
        "model": request.model.id,
        "messages": [
            {"role": "system", "content": system_with_schema(request) if json_mode else request.system},
            {"role": "user", "content": request.prompt},
        ],
        limit: request.max_output_tokens,
    }
    if json_mode:
        body["response_format"] = {"type": "json_object"}
    elif request.model.structured == "tool":
        function = {"name": request.purpose.value, "strict": True, "parameters": request.schema}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = {"type": "function", "function": {"name": request.purpose.value}}
    else:
        schema = {"name": request.purpose.value, "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if provider == "openai":
        # Left out, the project's own default counts, which may be a dearer one; compatible endpoints do not know it.
        # Source: https://platform.openai.com/docs/api-reference/chat/create
        body["service_tier"] = "default"
    if provider == "minimax":
        # Without this MiniMax puts its thoughts into the answer's text.
        body["extra_body"] = {"reasoning_split": True}
    return body


def _text(message: _Message) -> str:
    if message.tool_calls:
        return message.tool_calls[0].function.arguments
    # Local servers of reasoning models leave the thoughts in front of the answer.
    return _THOUGHTS.sub("", message.content or "")


def _used(usage: _Usage, bound: Usage) -> Usage:
    # A vendor that reports no usage still bills: the upper bound never undercounts.
    tokens = bound.input_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    details = usage.prompt_tokens_details or _InputDetails()
    cached = details.cached_tokens or usage.prompt_cache_hit_tokens or usage.cached_tokens or 0
    output = bound.output_tokens if usage.completion_tokens is None else usage.completion_tokens
    return Usage(tokens, output, min(cached, tokens))


def _said(body: object) -> str:
    message = body.get("message") if isinstance(body, dict) else body
    return message if isinstance(message, str) else ""
