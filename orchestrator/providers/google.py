"""Google's Gemini API; the answer's schema travels as the response schema."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.providers.base import Completion, CompletionRequest, Finish, Usage
from orchestrator.providers.failures import Failures
from orchestrator.providers.transport import http_client, load, system_with_schema, titled, upper_bound

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client
    from google.genai.types import GenerateContentConfig, GenerateContentResponse

_API_VERSION = "v1beta"
_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})
# What is left beyond these and _CUT are reasons not to answer: SAFETY, RECITATION, BLOCKLIST and their kin.
_ANSWERED = frozenset(
    {"STOP", "FINISH_REASON_UNSPECIFIED", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"}
)


class GoogleProvider:
    """Google's endpoint."""

    def __init__(self, *, key: str, base_url: str, key_variables: str) -> None:
        self._key = key
        self._base_url = base_url
        self._failures = Failures("google", key, key_variables)
        # The SDK closes a client that nobody refers to, and never closes an HTTP client it was given.
        self._client: Client | None = None
        self._http: httpx2.AsyncClient | None = None

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once and return the answer."""
        client = await self._open()
        import httpx2
        from google.genai import errors

        model = request.model.id
        try:
            async with asyncio.timeout(request.timeout_seconds):
                response = await client.aio.models.generate_content(
                    model=model, contents=request.prompt, config=_config(request)
                )
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise self._failures.of_timeout(model, request.timeout_seconds, error) from None
        except httpx2.TransportError as error:
            raise self._failures.of_connection(model, error) from None
        except errors.APIError as error:
            # The SDK's exception holds the request with its key: it is not chained to ours.
            codes, delay = _details(error.details)
            raise self._failures.of_status(
                model,
                error.code,
                error.message if isinstance(error.message, str) else "",
                headers=getattr(error.response, "headers", {}),
                codes=codes,
                retry_after=delay,
            ) from None
        except (httpx2.DecodingError, ValidationError, ValueError, TypeError, RecursionError):
            # TypeError: what the SDK makes of JSON that is no object.
            raise self._failures.of_body(model) from None
        if response.candidates is None and response.prompt_feedback is None and response.usage_metadata is None:
            raise self._failures.of_body(model)
        return _completion(response, request)

    async def _open(self) -> Client:
        if self._client is None:
            await load("google.genai")
        if self._client is None:
            from google.genai import Client
            from google.genai.types import HttpOptions

            self._http = http_client({"X-Goog-Api-Key": self._key})
            # Everything that the SDK would otherwise read from the environment is given; it retries only if asked to.
            self._client = Client(
                api_key=self._key,
                enterprise=False,
                http_options=HttpOptions(
                    base_url=self._base_url, api_version=_API_VERSION, httpx_async_client=self._http
                ),
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aio.aclose()
            self._client.close()
        if self._http is not None:
            await self._http.aclose()


def _config(request: CompletionRequest) -> GenerateContentConfig:
    from google.genai.types import GenerateContentConfig, HttpOptions

    json_mode = request.model.structured == "json_object"
    return GenerateContentConfig(
        system_instruction=system_with_schema(request) if json_mode else request.system,
        max_output_tokens=request.max_output_tokens,
        response_mime_type="application/json",
        response_json_schema=None if json_mode else titled(request),
        http_options=HttpOptions(timeout=max(1, int(request.timeout_seconds * 1000))),
    )


def _completion(response: GenerateContentResponse, request: CompletionRequest) -> Completion:
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content.parts if candidate and candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    usage = _used(response, upper_bound(request), answered=bool(parts))
    blocked = response.prompt_feedback is not None and response.prompt_feedback.block_reason is not None
    reason = candidate.finish_reason.value if candidate and candidate.finish_reason else "STOP"
    if reason in _CUT:
        return Completion(text, usage, Finish.LENGTH)
    refused = blocked or reason not in _ANSWERED
    return Completion(text, usage, Finish.REFUSAL if refused else Finish.STOP)


def _used(response: GenerateContentResponse, bound: Usage, *, answered: bool) -> Usage:
    counted = response.usage_metadata
    # A vendor that reports no usage still bills: the upper bound never undercounts.
    if counted is None or counted.prompt_token_count is None:
        return bound
    tokens = counted.prompt_token_count + (counted.tool_use_prompt_token_count or 0)
    cached = min(counted.cached_content_token_count or 0, tokens)
    if answered and counted.candidates_token_count is None and counted.total_token_count is None:
        return Usage(tokens, bound.output_tokens, cached)
    said = (counted.candidates_token_count or 0) + (counted.thoughts_token_count or 0)
    return Usage(tokens, max(said, (counted.total_token_count or 0) - tokens), cached)


def _details(body: Any) -> tuple[frozenset[str], float | None]:
    """Return the reasons and the seconds to wait that an error's details name.

    Source: https://cloud.google.com/apis/design/errors#error_details
    """
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    entries = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    reasons = frozenset(entry["reason"] for entry in entries if isinstance(entry.get("reason"), str))
    delays = [re.fullmatch(r"(\d+(?:\.\d+)?)s", str(entry.get("retryDelay"))) for entry in entries]
    return reasons, next((float(delay[1]) for delay in delays if delay), None)
