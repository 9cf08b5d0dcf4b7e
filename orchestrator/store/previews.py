"""The writes that a staged run did not make, in order, for its page and for whoever goes on with it."""

from __future__ import annotations

from sqlalchemy import select

from orchestrator.store.database import Database
from orchestrator.store.schema import previews
from orchestrator.store.uninterrupted import uninterrupted


@uninterrupted
class PreviewStore:
    """One run's previews, each one JSON text."""

    always = False

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id

    async def kept(self) -> tuple[str, ...]:
        """Return them in the order in which they were kept."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(previews.c.preview).where(previews.c.run_id == self._run_id).order_by(previews.c.id)
            )
            return tuple(rows.scalars())

    async def keep(self, preview: str) -> None:
        """Keep one more."""
        async with self._database.transaction() as connection:
            await connection.execute(
                previews.insert().values(run_id=self._run_id, preview=preview, at=self._database.clock())
            )
