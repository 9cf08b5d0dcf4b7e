"""Requests in the three wire formats, checked as strictly as their vendors do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.loopback.script import Asked

BYTES_PER_TOKEN = 4
PROVIDERS = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local")

_LIMITS = {
    "openai": ("max_completion_tokens", "max_tokens"),
    "minimax": ("max_completion_tokens",),
    "moonshot": ("max_tokens", "max_completion_tokens"),
}
_REASONING = re.compile(r"^(o\d|gpt-5)")
_OPENAI_FIELDS = {"model", "messages", "max_tokens", "max_completion_tokens", "response_format", "tools", "tool_choice"}
_OPENAI_FIELDS |= {"temperature", "seed", "stream", "reasoning_effort"}
_ANTHROPIC_FIELDS = {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "output_config"}
_ANTHROPIC_FIELDS |= {"service_tier"}
_OWN_FIELDS = {"minimax": {"reasoning_split"}, "openai": {"service_tier"}}
_GOOGLE_FIELDS = {"contents", "systemInstruction", "generationConfig", "safetySettings", "model"}


@dataclass(frozen=True, slots=True)
class Rejected(Exception):
    """A request that the vendor refuses; `error` is the vendor's word for why."""

    provider: str
    status: int
    error: str
    message: str


def key_of(provider: str) -> str:
    """Return the only key that the server takes for a provider."""
    return "" if provider == "local" else f"loopback-{provider}-key"


def read(provider: str, model: str, headers: Mapping[str, str], raw: bytes, *, stream: bool = False) -> Asked:
    """Return what was asked; raises `Rejected` as the vendor would."""
    key = checked_key(provider, headers)
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Rejected(provider, 400, "invalid_request_error", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Rejected(provider, 400, "invalid_request_error", "the body is not an object")
    readers = {"anthropic": _anthropic, "google": _google}
    parts = readers.get(provider, _openai)(provider, body, headers)
    system, prompt, schema, name, limit = parts
    model = model or str(body["model"])
    purpose = name or purpose_of(schema)
    streamed = stream or bool(body.get("stream"))
    return Asked(provider, model, purpose, system, prompt, schema, limit, body, key, dict(headers), streamed)


def purpose_of(schema: Mapping[str, Any]) -> str:
    """Return the purpose that an answer's schema belongs to, or an empty string."""
    title = schema.get("title")
    properties = set(schema.get("properties", {}))
    shapes = {
        "architecture": {"structural_pattern"},
        "decompose": {"tasks"},
        "generate": {"files", "edits"},
        "review": {"score", "verdict"},
        "evaluate": {"score", "reason"},
        "draft": {"job", "policy"},
    }
    found = next((purpose for purpose, names in shapes.items() if names <= properties), "")
    return str(title) if found and title else found


def tokens(text: str) -> int:
    """Return the tokens of a text: a quarter of its bytes, at least one."""
    return max(1, len(text.encode()) // BYTES_PER_TOKEN)


def input_tokens(asked: Asked) -> int:
    """Return the tokens of a request, its schema included."""
    return tokens(asked.system + asked.prompt + json.dumps(asked.schema))


def checked_key(provider: str, headers: Mapping[str, str]) -> str:
    """Return the key that a request carries; raises `Rejected` for none or a wrong one."""
    if provider == "local":
        return ""
    if provider == "anthropic":
        key, missing = headers.get("x-api-key", ""), (401, "authentication_error", "x-api-key header is required")
        wrong = (401, "authentication_error", "invalid x-api-key")
    elif provider == "google":
        missing = (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
        key, wrong = headers.get("x-goog-api-key", ""), (400, "API_KEY_INVALID", "API key not valid.")
    else:
        key = headers.get("authorization", "").removeprefix("Bearer ")
        missing = (401, "invalid_request_error", "You didn't provide an API key.")
        wrong = (401, "invalid_api_key", f"Incorrect API key provided: {key}.")
    if not key:
        raise Rejected(provider, *missing)
    if key != key_of(provider):
        raise Rejected(provider, *wrong)
    return key


_Parts = tuple[str, str, dict[str, Any], str, int]


def _openai(provider: str, body: dict[str, Any], headers: Mapping[str, str]) -> _Parts:
    def refuse(message: str, error: str = "invalid_request_error") -> Rejected:
        return Rejected(provider, 400, error, message)

    _only(body, _OPENAI_FIELDS | _OWN_FIELDS.get(provider, set()), refuse)
    if not isinstance(body.get("model"), str):
        raise refuse("you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse("Missing required parameter: 'messages'.")
    limit_name = next((name for name in _LIMITS.get(provider, ("max_tokens",)) if name in body), "")
    if not limit_name:
        raise refuse("Missing output limit.")
    if provider == "openai" and limit_name == "max_tokens" and _REASONING.match(body["model"]):
        raise refuse("'max_tokens' is not supported with this model.", "unsupported_parameter")
    system = _joined(messages, "system")
    schema, name = _openai_schema(provider, body, system, refuse)
    return system, _joined(messages, "user"), schema, name, _limit(body[limit_name], refuse)


def _openai_schema(provider: str, body: dict[str, Any], system: str, refuse: Any) -> tuple[dict[str, Any], str]:
    for tool in body.get("tools", []):
        return tool["function"]["parameters"], tool["function"]["name"]
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        if provider == "deepseek":
            raise refuse("This response_format type is unavailable now")
        named = form.get("json_schema", {})
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(named.get("name", ""))):
            raise refuse("Invalid 'response_format.json_schema.name'")
        wrong = _not_strict(named.get("schema"), "schema") if named.get("strict") else ""
        if wrong:
            raise refuse(f"Invalid schema for response_format '{named['name']}': {wrong}")
        return named["schema"], named["name"]
    if form.get("type") == "json_object":
        if "json" not in json.dumps(body["messages"]).lower():
            raise refuse("'messages' must contain the word 'json' in some form, to use 'json_object'.")
        return _schema_in(system), ""
    return {}, ""


def _anthropic(provider: str, body: dict[str, Any], headers: Mapping[str, str]) -> _Parts:
    def refuse(message: str) -> Rejected:
        return Rejected(provider, 400, "invalid_request_error", message)

    if "anthropic-version" not in headers:
        raise refuse("anthropic-version: header is required")
    _only(body, _ANTHROPIC_FIELDS, refuse)
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise refuse(f"{name}: Field required")
    system, prompt = body.get("system", ""), _joined(body["messages"], "user")
    tools, choice = body.get("tools", []), body.get("tool_choice", {})
    limit = _limit(body["max_tokens"], refuse)
    if choice.get("type") == "tool":
        chosen = [tool for tool in tools if tool.get("name") == choice.get("name")]
        if not chosen:
            raise refuse(f"Tool '{choice.get('name')}' not found in provided tools")
        schema = chosen[0].get("input_schema")
        wrong = _not_strict(schema, "input_schema") if chosen[0].get("strict") else ""
        if wrong or not isinstance(schema, dict):
            raise refuse(f"tools.0.custom: {wrong or 'input_schema: Field required'}")
        return system, prompt, schema, str(choice["name"]), limit
    form = body.get("output_config", {}).get("format")
    schema = form["schema"] if form else _schema_in(system)
    return system, prompt, schema, "", limit


def _google(provider: str, body: dict[str, Any], headers: Mapping[str, str]) -> _Parts:
    def refuse(message: str) -> Rejected:
        return Rejected(provider, 400, "INVALID_ARGUMENT", message)

    _only(body, _GOOGLE_FIELDS, refuse)
    if not body.get("contents"):
        raise refuse("* GenerateContentRequest.contents: contents is not specified")
    config = body.get("generationConfig", {})
    if "maxOutputTokens" not in config:
        raise refuse("generationConfig.maxOutputTokens: missing")
    system = _parts([body.get("systemInstruction", {})])
    schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    if schema and config.get("responseMimeType") != "application/json":
        raise refuse("Function calling with a response schema needs responseMimeType application/json")
    limit = _limit(config["maxOutputTokens"], refuse)
    return system, _parts(body["contents"]), schema or _schema_in(system), "", limit


def _only(body: Mapping[str, Any], known: set[str], refuse: Any) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise refuse(f"Unrecognized request argument supplied: {unknown[0]}")


def _limit(value: Any, refuse: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise refuse(f"the output limit must be a positive integer, not {value!r}")
    return value


def _joined(messages: list[dict[str, Any]], role: str) -> str:
    return "\n".join(_text(message.get("content", "")) for message in messages if message.get("role") == role)


def _text(content: Any) -> str:
    """Return a message's text: as it stands, or its blocks one after the other."""
    return "".join(block.get("text", "") for block in content) if isinstance(content, list) else str(content)


def _parts(contents: list[dict[str, Any]]) -> str:
    return "\n".join(part.get("text", "") for content in contents for part in content.get("parts", []))


def _schema_in(text: str) -> dict[str, Any]:
    start = text.find("{", max(0, text.find("JSON Schema")))
    if start < 0:
        return {}
    try:
        schema, _ = json.JSONDecoder().raw_decode(text[start:])
    except ValueError:
        return {}
    return schema if isinstance(schema, dict) else {}


def _not_strict(schema: Any, where: str) -> str:
    """Return what OpenAI's and Anthropic's strict modes would refuse, or an empty string."""
    if not isinstance(schema, dict):
        return f"{where}: not an object"
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            return f"In context={where}, 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required", [])) != set(properties):
            return f"In context={where}, 'required' must include every key in properties."
        return next(filter(None, (_not_strict(value, f"{where}.{name}") for name, value in properties.items())), "")
    return _not_strict(schema["items"], f"{where}[]") if schema.get("type") == "array" else ""
