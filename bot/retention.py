"""What is kept of runs that ended, forgotten after the operator's days: at the start, and once a day (SECURITY 33)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.logs import fields
from orchestrator.errors import StoreError
from orchestrator.store import Database, forget

SECONDS_BETWEEN_SWEEPS = 24 * 3600.0

log = logging.getLogger(__name__)


async def sweeps(
    database: Database,
    days: float,
    *,
    between: float = SECONDS_BETWEEN_SWEEPS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Forget at once, then every day, until cancelled; a sweep that fails is logged, and the next one tries.

    `sleep` passes the seconds `between` two sweeps.
    """
    while True:
        try:
            forgotten = await forget(database, days)
            if any(forgotten.values()):
                log.info("forgotten", extra=fields(**forgotten))
        except StoreError:
            log.exception("what is old could not be forgotten")
        await sleep(between)
