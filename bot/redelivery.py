"""Deliveries that failed, asked for again: at the start, and every ten minutes as long as the bot runs.

GitHub never delivers anything again by itself. What arrives twice is taken once, because a delivery keeps its id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bot.logs import fields
from orchestrator.errors import GitHubError, StoreError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Refused
from orchestrator.github.api.hook import Attempt, ask_again, attempts_after, failed
from orchestrator.store import Database, EffectStore

SECONDS_BETWEEN_SWEEPS = 600.0
PAGES_A_SWEEP = 50
ASKED_A_SWEEP = 100
TIMES_ASKED = 9
"""Each time after twice the pause of the last one, which together is more than the three days that GitHub allows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Redelivery:
    """Sweeps over the deliveries of the App's hook; `window` is how long GitHub keeps them, in seconds.

    What was seen is remembered in the store, so that each sweep begins where the last one ended, and goes on from there
    where that one did not come to the oldest; `sleep` passes the time between two.
    """

    github: GitHubConnection
    database: Database
    window: float
    asked_a_sweep: int = ASKED_A_SWEEP
    pages_a_sweep: int = PAGES_A_SWEEP
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def sweeps(self) -> None:
        """Sweep at once, then every ten minutes, until cancelled; one that fails is logged, and the next one tries."""
        while True:
            try:
                asked = await self.sweep()
                if asked:
                    log.info("asked again for failed deliveries", extra=fields(deliveries=asked))
            except (GitHubError, StoreError):
                log.exception("failed deliveries could not be asked for")
            await self.sleep(SECONDS_BETWEEN_SWEEPS)

    async def sweep(self) -> int:
        """Ask again for what failed since the last sweep and return how many deliveries that were.

        Without an App there is nothing to ask. Raises `GitHubError` when GitHub does not answer.
        """
        if self.github.app is None:
            return 0
        marks, app = EffectStore(self.database, "redelivery"), str(self.github.app.app_id)
        _, seen = await marks.begin("hook", app)
        _, rest = await marks.begin("hook", f"{app} rest")
        cursor, _, newer = rest.partition(" ")
        since = self.database.clock() - self.window
        try:
            attempts, following = await attempts_after(
                self.github, int(seen or 0), since, pages=self.pages_a_sweep, cursor=cursor or None
            )
        except Refused:
            # A cursor that GitHub does not know any more: the next sweep begins at the newest again.
            await marks.done("hook", f"{app} rest", "")
            raise
        if following is not None:
            log.warning("more deliveries than one sweep looks at", extra=fields(deliveries=len(attempts)))
        asked, left = 0, []
        for attempt in failed(attempts):
            _, known = await marks.begin("delivery", attempt.guid)
            times, not_before = _asked_before(known)
            if times >= TIMES_ASKED:
                continue
            # Later than any pause can be, it was noted by a clock that was wrong.
            pause = not_before - self.database.clock()
            if asked == self.asked_a_sweep or 0 < pause <= _pause(times - 1):
                left.append(attempt)
                continue
            try:
                await ask_again(self.github, attempt)
            except Refused as error:
                log.warning("a failed delivery is lost", extra=fields(delivery=attempt.guid, reason=str(error)))
                times = TIMES_ASKED
            again = int(self.database.clock() + _pause(times))
            await marks.done("delivery", attempt.guid, f"{times + 1} {again}")
            asked += 1
        newest = _settled(attempts, left, int(newer or 0))
        if following is None and newest > int(seen or 0):
            await marks.done("hook", app, str(newest))
        if following is not None or rest:
            await marks.done("hook", f"{app} rest", f"{following} {newest}" if following is not None else "")
        return asked


def _pause(times: int) -> float:
    """Return how long to wait after a delivery was asked for, that often before, in seconds."""
    return SECONDS_BETWEEN_SWEEPS * 2.0**times


def _asked_before(known: str) -> tuple[int, float]:
    """Return how often a delivery was asked for, and when it may be again, in seconds since the epoch."""
    times, _, not_before = known.partition(" ")
    return int(times or 0), float(not_before or 0)


def _settled(attempts: Sequence[Attempt], left: Sequence[Attempt], newer: int) -> int:
    """Return the id up to which nothing has to be looked at again: before what is under way, and what was left.

    `newer` is that of what was looked at before these and is newer than they are, or 0.
    """
    open_ids = [it.id for it in attempts if it.pending] + [it.id for it in left]
    return min(open_ids) - 1 if open_ids else newer or max((it.id for it in attempts), default=0)
