"""Answers and errors in the shapes of the three wire formats."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.loopback.script import Asked


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer as the wire needs it: `finish` is stop, length or refusal; usage None leaves it out."""

    text: str
    finish: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    usage: bool = True


def error(provider: str, status: int, code: str, message: str) -> dict[str, Any]:
    """Return an error in the vendor's shape."""
    if provider == "anthropic":
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = code or kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_loopback"}
    if provider == "google":
        words = {429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        word = words.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "googleapis.com"}
        return {"error": {"code": status, "message": message, "status": word, "details": [info] if code else []}}
    kinds = {429: "rate_limit_exceeded", 500: "server_error"}
    kind = code or kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def answer(asked: Asked, spoken: Spoken) -> tuple[str, bytes]:
    """Return the content type and the body of an answer in the vendor's shape."""
    if asked.provider == "anthropic":
        message = _anthropic_message(asked, spoken)
        return _events(asked, message, spoken) if asked.stream else _json(message)
    if asked.provider == "google":
        return _json(_google_message(asked, spoken))
    return _json(_openai_message(asked, spoken))


def _json(body: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(body).encode()


def _openai_message(asked: Asked, spoken: Spoken) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": spoken.text, "refusal": None}
    if spoken.finish == "refusal":
        message = {"role": "assistant", "content": None, "refusal": spoken.text}
    elif asked.body.get("tools"):
        call = {"name": asked.purpose, "arguments": spoken.text}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    finish = "length" if spoken.finish == "length" else "stop"
    body = {
        "id": "chatcmpl-loopback",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
    }
    if spoken.usage:
        body["usage"] = {
            "prompt_tokens": spoken.input_tokens,
            "completion_tokens": spoken.output_tokens,
            "total_tokens": spoken.input_tokens + spoken.output_tokens,
            "prompt_tokens_details": {"cached_tokens": spoken.cached_tokens},
        }
    return body


def _anthropic_message(asked: Asked, spoken: Spoken) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": spoken.text}]
    finish = {"length": "max_tokens", "refusal": "refusal"}.get(spoken.finish, "end_turn")
    forced = asked.body.get("tool_choice", {}).get("type") == "tool"
    if not spoken.text:
        content = []
    elif forced and spoken.finish != "refusal":
        finish = "max_tokens" if spoken.finish == "length" else "tool_use"
        content = [{"type": "tool_use", "id": "toolu_1", "name": asked.purpose, "input": _tool_input(spoken.text)}]
    message: dict[str, Any] = {
        "id": "msg_loopback",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": finish,
        "stop_sequence": None,
    }
    if spoken.usage:
        message["usage"] = {
            "input_tokens": spoken.input_tokens - spoken.cached_tokens,
            "cache_read_input_tokens": spoken.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": spoken.output_tokens,
        }
    return message


def _tool_input(text: str) -> Any:
    # Unstreamed, a tool's input is always JSON: what a model breaks arrives as far as it got.
    try:
        return json.loads(text)
    except ValueError:
        return {"unparsed": text}


def _events(asked: Asked, message: dict[str, Any], spoken: Spoken) -> tuple[str, bytes]:
    usage = message.pop("usage", None)
    stop, content = message["stop_reason"], message["content"]
    start = message | {"content": [], "stop_reason": None}
    if usage:
        start["usage"] = usage | {"output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for block in content:
        nothing: dict[str, Any] = {"input": {}} if block["type"] == "tool_use" else {"text": ""}
        empty = block | nothing
        events.append({"type": "content_block_start", "index": 0, "content_block": empty})
        for piece in re.findall(r"(?s).{1,400}", spoken.text):
            tool = {"type": "input_json_delta", "partial_json": piece}
            delta = tool if block["type"] == "tool_use" else {"type": "text_delta", "text": piece}
            events.append({"type": "content_block_delta", "index": 0, "delta": delta})
        events.append({"type": "content_block_stop", "index": 0})
    ending: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}}
    if usage:
        ending["usage"] = {"output_tokens": spoken.output_tokens}
    events += [ending, {"type": "message_stop"}]
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "text/event-stream", "".join(lines).encode()


def _google_message(asked: Asked, spoken: Spoken) -> dict[str, Any]:
    finish = {"length": "MAX_TOKENS", "refusal": "SAFETY"}.get(spoken.finish, "STOP")
    candidate: dict[str, Any] = {"index": 0, "finishReason": finish}
    if spoken.text and spoken.finish != "refusal":
        candidate["content"] = {"role": "model", "parts": [{"text": spoken.text}]}
    body: dict[str, Any] = {"candidates": [candidate], "modelVersion": asked.model, "responseId": "loopback"}
    if spoken.usage:
        body["usageMetadata"] = {
            "promptTokenCount": spoken.input_tokens,
            "candidatesTokenCount": spoken.output_tokens,
            "cachedContentTokenCount": spoken.cached_tokens,
            "totalTokenCount": spoken.input_tokens + spoken.output_tokens,
        }
    return body
