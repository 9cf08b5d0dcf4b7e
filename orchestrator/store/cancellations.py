"""Who wants which run to stop: written by anybody, read by the process that holds the run before its next call."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.store.database import Database
from orchestrator.store.schema import cancellations
from orchestrator.store.uninterrupted import uninterrupted


@uninterrupted
class CancellationStore:
    """The wishes that runs stop; one holds until it is withdrawn."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, run_id: str, actor: str) -> None:
        """Note that `actor` wants a run to stop, which need not exist yet; who asked first stays named."""
        async with self._database.transaction(durable=True) as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            await connection.execute(
                dialect.insert(cancellations)
                .values(run_id=run_id, actor=actor[:100], at=self._database.clock())
                .on_conflict_do_nothing()
            )

    async def withdraw(self, run_id: str) -> None:
        """Let a run go on."""
        async with self._database.transaction(durable=True) as connection:
            await connection.execute(delete(cancellations).where(cancellations.c.run_id == run_id))

    async def actor(self, run_id: str) -> str | None:
        """Return who wants the run to stop, or None."""
        return (await self.actors([run_id])).get(run_id)

    async def actors(self, run_ids: Collection[str]) -> dict[str, str]:
        """Return who wants which of the runs to stop; those are left out that nobody does."""
        async with self._database.reading() as connection:
            found = await connection.execute(select(cancellations).where(cancellations.c.run_id.in_(run_ids)))
            return {row.run_id: row.actor for row in found}
