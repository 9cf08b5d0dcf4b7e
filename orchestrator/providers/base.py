"""What the gateway asks of a provider, and what it gets back; nothing else of a vendor reaches the core."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from orchestrator.catalog import ModelProfile
from orchestrator.state import Purpose


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One question to one model.

    `schema` is the JSON Schema of the answer; `max_output_tokens` bounds the answer, reasoning included;
    `timeout_seconds` bounds the whole call. `stable` counts the characters at the prompt's begin that further calls
    will repeat: a provider that caches on request is asked to keep them; 0 asks for nothing.
    """

    purpose: Purpose
    model: ModelProfile
    system: str
    prompt: str
    schema: dict[str, Any]
    max_output_tokens: int
    timeout_seconds: float
    stable: int = 0


class Finish(StrEnum):
    """Why the answer ended: by itself, at its output limit, or because the model would not answer."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as billed: `input_tokens` counts all input, `output_tokens` reasoning too.

    `cached_input_tokens` of the input were read from the vendor's cache, `cache_write_tokens` were written to it.
    `regional` says that the vendor computed it in one region, for which it may take more (`ModelProfile.surcharge`).
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    regional: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer: the text (JSON where the model kept to the schema) and what it cost in tokens."""

    text: str
    usage: Usage
    finish: Finish = Finish.STOP


class Provider(Protocol):
    """A company's endpoint.

    `complete` makes exactly one HTTP request (the SDK's own retries are off) and raises `RateLimited`,
    `ProviderUnavailable` or `ProviderRejected` from `orchestrator.errors`; an answer that is refused, empty or
    truncated is returned as a `Completion`, because the vendor bills it.
    """

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once and return the answer."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
