"""Room for content on GitHub: one bucket per installation, shared by every process that has this database."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.bucket import Bucket
from orchestrator.store.database import Database
from orchestrator.store.schema import content
from orchestrator.store.uninterrupted import uninterrupted


@uninterrupted
class ContentStore:
    """The buckets of all installations."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self._database = database
        self._bucket = bucket

    async def take(self, installation: str, *, progress: bool) -> float:
        """Take room for one write of an installation and return 0, or the seconds until there will be some."""
        async with self._database.transaction() as connection:
            now = self._database.clock()
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            await connection.execute(
                dialect.insert(content)
                .values(installation=installation, room=self._bucket.capacity, at=now)
                .on_conflict_do_nothing()
            )
            # The lock makes PostgreSQL's processes queue; SQLite has one writer anyway, and knows no such clause.
            this = content.c.installation == installation
            known = (await connection.execute(select(content).where(this).with_for_update())).one()
            room, wait = self._bucket.after(known.room, now - known.at, progress=progress)
            # Another machine's clock may be ahead: time never flows backwards here, or room would be made of nothing.
            # One further ahead than an empty bucket takes to fill was wrong, and would keep everybody waiting for it.
            filled = self._bucket.capacity / self._bucket.a_second
            at = max(now, known.at) if known.at <= now + filled else now
            await connection.execute(update(content).where(this).values(room=room, at=at))
            return wait
