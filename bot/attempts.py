"""The job boundary: one attempt at a delivery's work, counted, with a pause after a failure, and an end at last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bot.logs import fields
from orchestrator.errors import StoreError
from orchestrator.github.api.client import Unreachable
from orchestrator.store import Delivery

Work = Callable[[Delivery], Awaitable[object]]
GiveUp = Callable[[Delivery, str], Awaitable[object]]
Allowed = Callable[[Delivery], Awaitable[float]]

DEADLINE_SECONDS = 6 * 3600.0
"""How much longer than its run's own limit an attempt may take: as long as GitHub lets a job of its own run.

Source: https://docs.github.com/en/actions/reference/limits
"""
PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Together longer than most outages of GitHub: what a run has paid for is not thrown away because of one."""
TELLING_SECONDS = (60.0, 300.0, 900.0, 3600.0, 7200.0, 14400.0, 28800.0, 28800.0)
"""The pauses in which it is tried to tell that a delivery is given up: together a day."""
DEATHS = 10
"""So many processes may end while they work on a delivery; then it counts as what ends them."""
GIVE_UP_SECONDS = 60.0

log = logging.getLogger(__name__)


class Expired(Exception):
    """An attempt that was stopped at its deadline, after so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done after {seconds:g} seconds")
        self.seconds = seconds


async def nothing(_: Delivery) -> float:
    """Return that a delivery's work takes no time of its own."""
    return 0.0


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

    async def begin(self) -> Delivery | None:
        """Count the attempt as begun; returns the delivery as it stands now, or None when its work is done."""
        ...

    async def finish(self) -> None:
        """Mark the delivery's work as done."""
        ...

    async def fail(self) -> int:
        """Count a failure; returns how many attempts have failed, since it is given up where it is."""
        ...

    async def give_up(self, reason: str) -> None:
        """Keep why the delivery is given up, so that no later attempt does its work."""
        ...

    async def hand_over(self) -> None:
        """Note that the attempt ends here, and is no failure: the process closes."""
        ...

    async def is_lost(self, error: Exception | None = None) -> bool:
        """Tell whether another process has taken the delivery over, as an `error` may already say."""
        ...


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where failures of one delivery's work end, so that the others go on; times are in seconds.

    `work` does a delivery's work and may be called again after a failure or a crash. `give_up` is told of a delivery
    whose last attempt failed, with the reason; it ends on GitHub what is still open. `allowed` says how long the run
    that a delivery is about may take by itself, which is added to the `deadline`.
    """

    work: Work
    give_up: GiveUp
    deadline: float = DEADLINE_SECONDS
    pauses: Sequence[float] = PAUSES_SECONDS
    telling: Sequence[float] = TELLING_SECONDS
    allowed: Allowed = nothing
    finished: Finished = field(default_factory=Finished)

    async def attempt(self, attempt: Attempt) -> float | None:
        """Do the work once; returns the pause before the next attempt, or None where none is to come."""
        try:
            return await self._attempt(attempt)
        except asyncio.CancelledError:
            await attempt.hand_over()
            raise

    async def _attempt(self, attempt: Attempt) -> float | None:
        delivery = attempt.delivery
        about = fields(delivery=delivery.id, repository=delivery.repository, run=delivery.run_id)
        try:
            begun = await attempt.begin()
            if begun is None:
                return None
            if begun.ending or begun.begun > DEATHS:
                return await self._end(attempt, begun.ending or died(begun.begun - 1), about)
            log.info("working", extra=about)
            await self._work_in_time(begun)
            await attempt.finish()
        except Exception as error:
            if await attempt.is_lost(error):
                log.warning("another process has taken over", extra=about)
                return None
            self.finished.failed += 1
            log.exception("failed", extra=about)
            failures = await attempt.fail()
            if failures <= len(self.pauses):
                return self.pauses[failures - 1]
            return await self._end(attempt, reason(error), about)
        self.finished.done += 1
        log.info("done", extra=about)
        return None

    async def _work_in_time(self, delivery: Delivery) -> None:
        """Do the work, and stop it at its deadline; a run is only known once the work is under way."""
        working = asyncio.ensure_future(self.work(delivery))
        passed, deadline = 0.0, self.deadline
        try:
            while not (await asyncio.wait({working}, timeout=deadline - passed))[0]:
                passed, deadline = deadline, self.deadline + await self.allowed(delivery)
                if deadline <= passed:
                    raise Expired(passed)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        await working

    async def _end(self, attempt: Attempt, why: str, about: dict[str, object]) -> float | None:
        """Give a delivery up; returns the pause before that is told again, where it could not be told."""
        if not attempt.delivery.ending:
            self.finished.given_up += 1
            log.error("given up", extra=about)
        try:
            return await self._tell(attempt, why, about)
        except Exception:
            log.exception("giving up failed", extra=about)
            return None

    async def _tell(self, attempt: Attempt, why: str, about: dict[str, object]) -> float | None:
        again = attempt.delivery.ending != "" and attempt.delivery.begun > DEATHS
        if not attempt.delivery.ending:
            await attempt.give_up(why)
        try:
            if not again:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await self.give_up(attempt.delivery, why)
        except Exception as error:
            if await attempt.is_lost(error):
                return None
            log.exception("giving up failed", extra=about)
            failures = await attempt.fail()
            if isinstance(error, Unreachable | StoreError | TimeoutError) and failures <= len(self.telling):
                return self.telling[failures - 1]
        if not await attempt.is_lost():
            await attempt.finish()
        return None


def died(times: int) -> str:
    """Return why a delivery is given up during whose work that many processes have ended."""
    return f"The bot ended {times} times while it worked on this."


def reason(error: Exception) -> str:
    """Return why a delivery is given up whose last attempt ended with an error, as it is told on GitHub."""
    if isinstance(error, Expired):
        return f"The run did not end within {error.seconds:g} seconds and was stopped."
    # Only the kind of an unforeseen error is told: its text may hold what was not meant for the public.
    return f"The bot ran into an internal failure ({type(error).__name__}); its log says more."
