"""A provider that answers from a script: for tests, examples and benchmarks, with no network behind it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from orchestrator.errors import ProviderUnavailable
from orchestrator.providers.base import Completion, CompletionRequest, Finish, Usage
from orchestrator.providers.transport import schema_text
from orchestrator.state import Purpose

Scripted: TypeAlias = Completion | str | Exception
Answers: TypeAlias = Callable[[CompletionRequest], Scripted] | Mapping[Purpose, Sequence[Scripted]]

BYTES_PER_TOKEN = 4


class ScriptedProvider:
    """Answers each request by a callable, or from a list per purpose in its order.

    A string becomes a completion whose tokens are a quarter of its bytes, cut at the request's output limit as a
    model would be; an exception is raised. `delay_seconds` passes before each answer. `requests` holds what was
    asked, in order. Raises `LookupError` when the list of a purpose is used up.
    """

    def __init__(self, answers: Answers, *, delay_seconds: float = 0.0) -> None:
        self.requests: list[CompletionRequest] = []
        self.closed = False
        self._answer = answers if callable(answers) else _from_lists(answers)
        self._delay_seconds = delay_seconds

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer from the script."""
        self.requests.append(request)
        answer = self._answer(request)
        await asyncio.sleep(min(self._delay_seconds, request.timeout_seconds))
        if self._delay_seconds > request.timeout_seconds:
            raise ProviderUnavailable(
                f"the script answers after {self._delay_seconds:g} seconds, later than the call may take",
                provider=request.model.provider,
                model=request.model.id,
                maybe_billed=True,
                timed_out=True,
            )
        if isinstance(answer, Exception):
            raise answer
        return _completed(answer, request) if isinstance(answer, str) else answer

    async def aclose(self) -> None:
        """Note that the provider was closed."""
        self.closed = True


def _from_lists(answers: Mapping[Purpose, Sequence[Scripted]]) -> Callable[[CompletionRequest], Scripted]:
    left = {purpose: deque(entries) for purpose, entries in answers.items()}

    def answer(request: CompletionRequest) -> Scripted:
        if not left.get(request.purpose):
            raise LookupError(f"the script has no answer left for {request.purpose}; add one, or ask less often")
        return left[request.purpose].popleft()

    return answer


def _completed(text: str, request: CompletionRequest) -> Completion:
    sent = request.system + request.prompt + schema_text(request)
    tokens = len(sent.encode()) // BYTES_PER_TOKEN
    answer = text.encode()
    limit = request.max_output_tokens * BYTES_PER_TOKEN
    if len(answer) > limit:
        cut = answer[:limit].decode(errors="ignore")
        return Completion(cut, Usage(tokens, request.max_output_tokens), Finish.LENGTH)
    return Completion(text, Usage(tokens, len(answer) // BYTES_PER_TOKEN))
