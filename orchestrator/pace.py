"""How fast each model is called: a window of one minute that slides, shared by all runs of a process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

MINUTE = 60.0


@dataclass(slots=True)
class Pace:
    """When each model was last called, by `clock` in seconds; `sleep` waits for seconds.

    A call counts from the moment it is sent until a minute later, in whichever run it was made: whatever minute one
    looks at, it holds no more calls than the limit. A bucket of tokens would let twice as many into one minute.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _calls: dict[str, deque[float]] = field(default_factory=dict)

    def pause(self, model: str, per_minute: int | None) -> float:
        """Return in how many seconds the model may be called again; 0 for at once, and where there is no limit."""
        now = self.clock()
        calls = self._calls.setdefault(model, deque())
        while calls and calls[0] + MINUTE <= now:
            calls.popleft()
        if per_minute is None or len(calls) < per_minute:
            return 0.0
        return calls[-per_minute] + MINUTE - now

    def count(self, model: str) -> int:
        """Return how many calls of the last minute the model has had."""
        now = self.clock()
        return sum(now - MINUTE < one for one in self._calls.get(model, ()))

    def take(self, model: str, per_minute: int | None) -> bool:
        """Count a call that is made now, unless it would be one too many."""
        if self.pause(model, per_minute):
            return False
        self._calls[model].append(self.clock())
        return True


PROCESS = Pace()
"""The pace of this process, whichever database, job or key its runs have."""
