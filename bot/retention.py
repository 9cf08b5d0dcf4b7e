"""Forgetting what is no longer needed: at the start, and every hour as long as the bot runs."""

from __future__ import annotations

import asyncio
import logging

from bot.logs import fields
from orchestrator.errors import StoreError
from orchestrator.store import Database, RetentionStore

SECONDS_BETWEEN_SWEEPS = 3600.0

log = logging.getLogger(__name__)


async def forget_by_age(database: Database) -> None:
    """Forget by age until cancelled; a time that fails is logged, and the next one tries."""
    while True:
        try:
            if forgotten := await RetentionStore(database).forget():
                log.info("old payloads are forgotten", extra=fields(deliveries=forgotten))
        except StoreError:
            log.exception("old payloads could not be forgotten")
        await asyncio.sleep(SECONDS_BETWEEN_SWEEPS)
