"""What the adapters share on the way to a vendor: loading an SDK late, a strict HTTP client, usage at most."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.providers.base import CompletionRequest, Usage

if TYPE_CHECKING:
    import httpx2

KEPT_CONNECTIONS = 20
"""Idle ones to one vendor."""

_IMPORTING = threading.Lock()
# By x-stainless-raw-response the SDKs themselves recognise that the undecoded answer was asked for.
_KEPT = frozenset(
    {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "content-type",
        "content-length",
        "x-stainless-raw-response",
    }
)


async def load(sdk: str) -> None:
    """Import an SDK in a thread, so that its seconds of import time do not stop the event loop."""
    await asyncio.to_thread(_load, sdk)


def _load(sdk: str) -> None:
    # The SDKs share large dependencies; one at a time keeps two threads from meeting half-made modules.
    with _IMPORTING:
        importlib.import_module(sdk)


def http_client(fixed: Mapping[str, str], kept: frozenset[str] = frozenset()) -> httpx2.AsyncClient:
    """Return the HTTP client that an SDK is given: it follows no redirect and sends no header we did not mean.

    `fixed` are the headers that carry the key; `kept` names further headers of the SDK that pass. Everything else
    goes, because SDKs add headers from environment variables (`OPENAI_CUSTOM_HEADERS`, `ANTHROPIC_CUSTOM_HEADERS`)
    that were not meant for every vendor, and a redirect would carry the key to another host.
    """
    import httpx2

    async def only_ours(request: httpx2.Request) -> None:
        for name in list(request.headers.keys()):
            if name not in _KEPT and name not in kept:
                del request.headers[name]
        request.headers.update(fixed)

    # How many calls are made at once is decided by the limits of runs and tasks: one that waited here for a connection
    # would lose the time that it has for its answer.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS)
    return httpx2.AsyncClient(follow_redirects=False, limits=limits, event_hooks={"request": [only_ours]})


def schema_text(request: CompletionRequest) -> str:
    """Return the answer's schema as JSON text, titled with the purpose."""
    return json.dumps(titled(request), ensure_ascii=False, separators=(",", ":"))


def titled(request: CompletionRequest) -> dict[str, Any]:
    """Return the answer's schema with the purpose as its title, for wires that have no other place for a name."""
    return {"title": request.purpose.value, **request.schema}


def system_with_schema(request: CompletionRequest) -> str:
    """Return the system prompt with the schema in it, for models that only know JSON mode."""
    return (
        f"{request.system}\n\nAnswer with one JSON object that follows this JSON Schema, and with nothing else:\n"
        f"{schema_text(request)}"
    )


def upper_bound(request: CompletionRequest) -> Usage:
    """Return the most that a call can have used, for vendors that answer without usage.

    A token is at least one byte, so the input's UTF-8 bytes are never fewer than its tokens; the output is taken at
    its limit. A bill may thus be overstated, never understated.
    """
    sent = len(system_with_schema(request).encode()) + len(request.prompt.encode())
    return Usage(input_tokens=sent, output_tokens=request.max_output_tokens)
