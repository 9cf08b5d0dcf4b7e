"""How long one call is tried: which failures are tried again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long the gateway keeps trying; times in seconds.

    Waits grow exponentially with full jitter, or follow `Retry-After` up to `longest_wait`.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    tries: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    answers: int = 3
    call_seconds: float = 300.0

    def wait(self, attempt: int, retry_after: float | None) -> float | None:
        """Return how long to wait after failed try `attempt` (from 0), or None when it is not worth waiting."""
        if attempt + 1 >= self.tries or (retry_after is not None and retry_after > self.longest_wait):
            return None
        if retry_after is not None:
            return retry_after
        return random.uniform(0, min(self.longest_wait, self.first_wait * 2**attempt))  # noqa: S311 - jitter, no secret
