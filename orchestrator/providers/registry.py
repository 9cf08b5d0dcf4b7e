"""Which providers the environment makes available, and how each is opened (CONTRACT section 1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchestrator.errors import UsageError
from orchestrator.limits import MAX_MODEL_NAME_CHARACTERS
from orchestrator.providers.anthropic import AnthropicProvider
from orchestrator.providers.base import Provider
from orchestrator.providers.google import GoogleProvider
from orchestrator.providers.openai import OpenAIProvider

KEY_VARIABLES: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    "minimax": ("MINIMAX_API_KEY",),
    "zhipu": ("ZHIPU_API_KEY",),
}
"""The variables that hold each provider's key, the first one set winning."""

BASE_URL_VARIABLES: dict[str, str] = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "google": "GOOGLE_GEMINI_BASE_URL",
    "deepseek": "DEEPSEEK_BASE_URL",
    "moonshot": "MOONSHOT_BASE_URL",
    "minimax": "MINIMAX_BASE_URL",
    "zhipu": "ZHIPU_BASE_URL",
    "local": "LOCAL_LLM_BASE_URL",
}
"""The variable that moves each provider to another endpoint."""

# Sources: the SDKs' own defaults, https://api-docs.deepseek.com, https://platform.moonshot.ai/docs/api/chat,
# https://platform.minimax.io/docs/api-reference/text-openai-api, https://docs.bigmodel.cn/cn/guide/develop/openai
_DEFAULT_BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "deepseek": "https://api.deepseek.com/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "minimax": "https://api.minimax.io/v1",
    "zhipu": "https://open.bigmodel.cn/api/paas/v4",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider that can be opened: its id, its key (empty for local and offline) and where it is."""

    provider: str
    key: str = field(repr=False)
    base_url: str


def endpoints_from_environment(env: Mapping[str, str]) -> dict[str, Endpoint]:
    """Return the available providers by id; a variable that is empty or blank counts as not set.

    Raises `UsageError`, naming the variable, for a key or URL that cannot be used: a URL must be https, or http to
    this machine.
    """
    if _offline(env):
        return {"offline": Endpoint("offline", "", "")}
    endpoints = {}
    for provider, variables in KEY_VARIABLES.items():
        for variable in variables:
            key = _value(env, variable)
            if key:
                base_url = _base_url(env, provider) or _DEFAULT_BASE_URLS[provider]
                endpoints[provider] = Endpoint(provider, _checked_key(variable, key), base_url)
                break
    local = _base_url(env, "local")
    if bool(local) != bool(_value(env, "LOCAL_LLM_MODEL")):
        raise UsageError(
            "LOCAL_LLM_BASE_URL and LOCAL_LLM_MODEL belong together, and only one of them is set",
            hint="Set both, for example http://127.0.0.1:11434/v1 and the name the server knows its model by.",
        )
    if len(_value(env, "LOCAL_LLM_MODEL")) > MAX_MODEL_NAME_CHARACTERS:
        raise UsageError(
            f"LOCAL_LLM_MODEL has {len(_value(env, 'LOCAL_LLM_MODEL'))} characters, more than the "
            f"{MAX_MODEL_NAME_CHARACTERS} that a model's name may have",
            hint="Give the model a shorter name at the server, such as an alias, and set that.",
        )
    if local:
        endpoints["local"] = Endpoint("local", "", local)
    return endpoints


def open_provider(endpoint: Endpoint) -> Provider:
    """Return the provider of an endpoint; its SDK is loaded by the first call, and `aclose` ends it."""
    variables = " or ".join(KEY_VARIABLES.get(endpoint.provider, ()))
    match endpoint.provider:
        case "offline":
            from orchestrator.providers.offline import OfflineProvider

            return OfflineProvider()
        case "anthropic":
            return AnthropicProvider(key=endpoint.key, base_url=endpoint.base_url, key_variables=variables)
        case "google":
            return GoogleProvider(key=endpoint.key, base_url=endpoint.base_url, key_variables=variables)
        case provider if provider in BASE_URL_VARIABLES:
            return OpenAIProvider(
                provider, key=endpoint.key, base_url=endpoint.base_url, key_variables=variables or "the local server"
            )
    raise UsageError(
        f"there is no provider {endpoint.provider!r}", hint=f"Known: {', '.join(BASE_URL_VARIABLES)}, offline."
    )


def _value(env: Mapping[str, str], variable: str) -> str:
    return env.get(variable, "").strip()


def _offline(env: Mapping[str, str]) -> bool:
    value = _value(env, "ORCHESTRATOR_OFFLINE")
    if value not in ("", "0", "1"):
        raise UsageError(
            f"ORCHESTRATOR_OFFLINE must be 1 or 0, not {value!r}",
            hint="With 1 only the built-in offline model is used; with 0, or unset, it is never used.",
        )
    return value == "1"


def _checked_key(variable: str, key: str) -> str:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"{variable} holds characters that no key has", hint="Copy the key again, without spaces or line breaks."
        )
    return key


def _base_url(env: Mapping[str, str], provider: str) -> str:
    variable = BASE_URL_VARIABLES[provider]
    url = _value(env, variable)
    if url:
        wrong = _wrong_with(url)
        if wrong:
            raise UsageError(
                f"{variable} {wrong}",
                hint="Use an https URL, or http to 127.0.0.1, ::1 or localhost; no user or query.",
            )
    return url


def _wrong_with(url: str) -> str:
    """Return what makes a URL unusable, without repeating the URL, which may hold a secret; or an empty string."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an http or https URL"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "must not hold a user, a password, a query or a fragment"
    if parts.scheme == "http" and not _is_loopback(host):
        return f"would send keys and code in the clear to {host}"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
