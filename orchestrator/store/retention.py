"""What is kept only as long as it is needed: payloads, models' answers and previews, forgotten by their age."""

from __future__ import annotations

from sqlalchemy import delete, or_, select, update

from orchestrator.state import ProjectStatus
from orchestrator.store.database import Database
from orchestrator.store.schema import calls, deliveries, previews, runs
from orchestrator.store.uninterrupted import uninterrupted

RETENTION_SECONDS = 30 * 24 * 3600.0
FORGOTTEN = ""
"""What stands in place of a payload that was forgotten."""


@uninterrupted
class RetentionStore:
    """Forgets texts of people and models; ids, keys, costs and the audit stay, so that nothing is accepted again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, older_than: float = RETENTION_SECONDS) -> int:
        """Forget what is older than so many seconds, but for runs that have not ended; return how many payloads."""
        before = self._database.clock() - older_than
        living = [status.value for status in ProjectStatus if not status.final]
        needed = select(runs.c.id).where(runs.c.status.in_(living))
        over = select(runs.c.id).where(runs.c.status.not_in(living), runs.c.updated_at < before)
        async with self._database.transaction() as connection:
            forgotten = await connection.execute(
                update(deliveries)
                .where(
                    deliveries.c.received_at < before,
                    deliveries.c.state != "queued",
                    deliveries.c.payload != FORGOTTEN,
                    or_(deliveries.c.run_id.is_(None), deliveries.c.run_id.not_in(needed)),
                )
                .values(payload=FORGOTTEN)
            )
            kept = calls.c.run_id.in_(over) & calls.c.answer.is_not(None)
            await connection.execute(update(calls).where(kept).values(key=None, answer=None))
            await connection.execute(delete(previews).where(previews.c.at < before))
            return forgotten.rowcount
