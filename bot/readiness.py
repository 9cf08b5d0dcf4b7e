"""Whether the database answers: one look at a time however many ask, and an answer within seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sqlalchemy import text

from orchestrator.errors import StoreError
from orchestrator.store import Database

READY_SECONDS = 3.0
"""A look may take as long as the database lets a writer wait; who asks is told after this that it does not answer."""

Found = TypeVar("Found")

log = logging.getLogger(__name__)


class Look(Generic[Found]):
    """A look into the database; `failed` is what the log says when it fails."""

    def __init__(self, look: Callable[[], Awaitable[Found]], failed: str) -> None:
        self._look = look
        self._failed = failed
        self._task: asyncio.Task[Found | None] | None = None

    async def found(self) -> Found | None:
        """Return what is found just now; None where that fails, or is not there in time."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._try(), name="a look into the database")
        # A look is not cancelled: its connection would be lost, and the next one wait just as long.
        done, _ = await asyncio.wait({self._task}, timeout=READY_SECONDS)
        if not done:
            log.error("the database does not answer")
        return self._task.result() if self._task.done() else None

    async def _try(self) -> Found | None:
        try:
            return await self._look()
        except StoreError:
            log.exception(self._failed)
            return None


class Readiness:
    """Looks whether a database can be written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look = Look(self._write, "the database cannot be written")

    async def writable(self) -> bool:
        """Tell whether the database could be written just now; one that has not answered in time could not."""
        return await self._look.found() is True

    async def _write(self) -> bool:
        async with self._database.transaction() as connection:
            # On a full disk a lock is still had: only what is really written tells.
            await connection.execute(text("UPDATE deliveries SET state = state WHERE id = ''"))
            await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        return True
