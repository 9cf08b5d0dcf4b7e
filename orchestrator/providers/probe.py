"""Whether a provider's endpoint answers and takes its key: its list of models, which costs nothing."""

from __future__ import annotations

import asyncio

from orchestrator.errors import ProviderRejected, ProviderUnavailable
from orchestrator.providers.registry import KEY_VARIABLES, Endpoint
from orchestrator.providers.transport import http_client

TIMEOUT_SECONDS = 15.0
_ANTHROPIC_VERSION = "2023-06-01"
"""https://docs.anthropic.com/en/api/versioning"""
_NO_LIST = (404, 405)


async def takes_key(endpoint: Endpoint) -> bool:
    """Return True when the endpoint takes its key, False when it answers but lists no models to try the key on.

    Raises `ProviderUnavailable` when it does not answer, limits the rate or fails, `ProviderRejected` when it refuses
    the key.
    """
    import httpx2

    name = endpoint.provider
    url, headers = _request(endpoint)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), http_client(headers) as client:
            answer = await client.get(url)
    except (httpx2.HTTPError, TimeoutError) as error:
        raise ProviderUnavailable(f"{name} did not answer ({type(error).__name__})", provider=name, model="") from error
    if answer.is_success or answer.status_code in _NO_LIST:
        return answer.is_success
    if answer.status_code in (401, 403) or "API_KEY_INVALID" in answer.text:
        variables = " or ".join(KEY_VARIABLES.get(name, ()))
        raise ProviderRejected(
            f"{name} refuses the key: HTTP {answer.status_code}",
            provider=name,
            model="",
            status=answer.status_code,
            hint=f"Set {variables} to a key that is valid." if variables else "",
        )
    raise ProviderUnavailable(f"{name} answered HTTP {answer.status_code}", provider=name, model="")


def _request(endpoint: Endpoint) -> tuple[str, dict[str, str]]:
    """Return where the models are listed, and the headers that carry the key.

    Sources: https://docs.anthropic.com/en/api/models-list, https://ai.google.dev/api/models,
    https://platform.openai.com/docs/api-reference/models/list
    """
    base, key = endpoint.base_url.rstrip("/"), endpoint.key
    if endpoint.provider == "anthropic":
        return f"{base}/v1/models", {"X-Api-Key": key, "Anthropic-Version": _ANTHROPIC_VERSION}
    if endpoint.provider == "google":
        return f"{base}/v1beta/models", {"X-Goog-Api-Key": key}
    return f"{base}/models", {"Authorization": f"Bearer {key}"} if key else {}
