"""The job boundary: one attempt at a delivery's work, counted, with a pause after a failure, and an end at last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bot.logs import fields
from orchestrator.store import Delivery

Work = Callable[[Delivery], Awaitable[object]]
GiveUp = Callable[[Delivery, str], Awaitable[object]]

DEADLINE_SECONDS = 6 * 3600.0
"""As long as GitHub lets a job of its own run.

Source: https://docs.github.com/en/actions/reference/limits
"""
PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Together longer than most outages of GitHub: what a run has paid for is not thrown away because of one."""
GIVE_UP_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Finished:
    """How many attempts ended in which way since the process started."""

    done: int = 0
    failed: int = 0
    given_up: int = 0


class Attempt(Protocol):
    """One attempt at a delivery's work, as the queue that it came from keeps it."""

    @property
    def delivery(self) -> Delivery:
        """What is worked on."""
        ...

    async def finish(self) -> None:
        """Mark the delivery's work as done."""
        ...

    async def fail(self) -> int:
        """Count a failure; returns how many attempts have failed."""
        ...

    async def is_lost(self, error: Exception | None = None) -> bool:
        """Tell whether another process has taken the delivery over, as an `error` may already say."""
        ...


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where failures of one delivery's work end, so that the others go on; times are in seconds.

    `work` does a delivery's work and may be called again after a failure or a crash. `give_up` is told of a delivery
    whose last attempt failed, with the reason; it ends on GitHub what is still open.
    """

    work: Work
    give_up: GiveUp
    deadline: float = DEADLINE_SECONDS
    pauses: Sequence[float] = PAUSES_SECONDS
    finished: Finished = field(default_factory=Finished)

    async def attempt(self, attempt: Attempt) -> float | None:
        """Do the work once; returns the pause before the next attempt, or None where none is to come."""
        delivery = attempt.delivery
        about = fields(delivery=delivery.id, repository=delivery.repository, run=delivery.run_id)
        log.info("working", extra=about)
        limit = asyncio.timeout(self.deadline)
        try:
            async with limit:
                await self.work(delivery)
            await attempt.finish()
        except Exception as error:
            if await attempt.is_lost(error):
                log.warning("another process has taken over", extra=about)
                return None
            self.finished.failed += 1
            log.exception("failed", extra=about)
            failures = await attempt.fail()
            if failures <= len(self.pauses) and not limit.expired():
                return self.pauses[failures - 1]
            await self._end(attempt, reason(error, self.deadline if limit.expired() else None), about)
            return None
        self.finished.done += 1
        log.info("done", extra=about)
        return None

    async def _end(self, attempt: Attempt, why: str, about: dict[str, object]) -> None:
        self.finished.given_up += 1
        try:
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await self.give_up(attempt.delivery, why)
            finally:
                if not await attempt.is_lost():
                    await attempt.finish()
        except Exception:
            log.exception("giving up failed", extra=about)
        log.error("given up", extra=about)


def reason(error: Exception, deadline: float | None) -> str:
    """Return why a delivery is given up, as it is told on GitHub; `deadline` is in seconds, where it was missed."""
    if deadline is not None:
        return f"The run did not end within {deadline:g} seconds and was stopped."
    # Only the kind of an unforeseen error is told: its text may hold what was not meant for the public.
    return f"The bot ran into an internal failure ({type(error).__name__}); its log says more."
