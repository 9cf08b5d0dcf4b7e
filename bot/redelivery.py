"""Deliveries that failed, asked for again: at the start, and every ten minutes as long as the bot runs.

GitHub never delivers anything again by itself. What arrives twice is taken once, because a delivery keeps its id.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from bot.logs import fields
from orchestrator.errors import GitHubError, StoreError
from orchestrator.github.auth import GitHubConnection
from orchestrator.github.hook import Attempt, ask_again, attempts_after, failed
from orchestrator.store import Database, EffectStore

SECONDS_BETWEEN_SWEEPS = 600.0
PAGES_A_SWEEP = 50
ASKED_A_SWEEP = 100
TIMES_ASKED = 10
"""A delivery that the bot never takes, because it is too large for one, is not asked for for ever."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Redelivery:
    """Sweeps over the deliveries of the App's hook; `window` is how long GitHub keeps them, in seconds.

    What was seen is remembered in the store, so that each sweep begins where the last one ended.
    """

    github: GitHubConnection
    database: Database
    window: float

    async def sweeps(self) -> None:
        """Sweep at once, then every ten minutes, until cancelled; one that fails is logged, and the next one tries."""
        while True:
            try:
                asked = await self.sweep()
                if asked:
                    log.info("asked again for failed deliveries", extra=fields(deliveries=asked))
            except (GitHubError, StoreError):
                log.exception("failed deliveries could not be asked for")
            await asyncio.sleep(SECONDS_BETWEEN_SWEEPS)

    async def sweep(self) -> int:
        """Ask again for what failed since the last sweep and return how many deliveries that were.

        Without an App there is nothing to ask. Raises `GitHubError` when GitHub does not answer.
        """
        if self.github.app is None:
            return 0
        marks = EffectStore(self.database, "redelivery")
        _, seen = await marks.begin("hook", str(self.github.app.app_id))
        since = self.database.clock() - self.window
        attempts, complete = await attempts_after(self.github, int(seen or 0), since, pages=PAGES_A_SWEEP)
        if not complete:
            log.warning("more deliveries than one sweep looks at", extra=fields(deliveries=len(attempts)))
        due = failed(attempts)
        asked = 0
        for attempt in due[:ASKED_A_SWEEP]:
            asked += await self._ask(marks, attempt)
        newest = _settled(attempts, due[ASKED_A_SWEEP:])
        if newest > int(seen or 0):
            await marks.done("hook", str(self.github.app.app_id), str(newest))
        return asked

    async def _ask(self, marks: EffectStore, attempt: Attempt) -> bool:
        _, times = await marks.begin("delivery", attempt.guid)
        if int(times or 0) >= TIMES_ASKED:
            return False
        await ask_again(self.github, attempt)
        await marks.done("delivery", attempt.guid, str(int(times or 0) + 1))
        return True


def _settled(attempts: tuple[Attempt, ...], left: tuple[Attempt, ...]) -> int:
    """Return the id up to which nothing has to be looked at again: before what is under way, and what was left."""
    open_ids = [it.id for it in (*attempts, *left) if it.pending or it in left]
    return min(open_ids) - 1 if open_ids else max((it.id for it in attempts), default=0)
