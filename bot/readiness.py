"""Whether the database takes writes: one look at a time however many ask, and an answer within seconds."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import text

from orchestrator.errors import StoreError
from orchestrator.store import Database

READY_SECONDS = 3.0
"""A look may take as long as the database lets a writer wait; who asks is told after this that it is not ready."""

log = logging.getLogger(__name__)


class Readiness:
    """Looks whether a database can be written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look: asyncio.Task[bool] | None = None

    async def writable(self) -> bool:
        """Tell whether the database could be written just now; one that has not answered in time could not."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._write(), name="readiness")
        # A look is not cancelled: its connection would be lost, and the next one wait just as long.
        done, _ = await asyncio.wait({self._look}, timeout=READY_SECONDS)
        if not done:
            log.error("the database does not answer")
        return self._look.done() and self._look.result()

    async def _write(self) -> bool:
        try:
            async with self._database.transaction() as connection:
                # On a full disk a lock is still had: only what is really written tells.
                await connection.execute(text("UPDATE deliveries SET state = state WHERE id = ''"))
                await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        except StoreError:
            log.exception("the database cannot be written")
            return False
        return True
