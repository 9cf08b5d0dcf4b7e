"""The outbox of effects on GitHub: each is noted before it is tried, so that an ambiguous write is a known state."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.store.database import Database
from orchestrator.store.schema import effects
from orchestrator.store.uninterrupted import uninterrupted

EffectState = Literal["new", "ambiguous", "done"]


@uninterrupted
class EffectStore:
    """One run's effects, keyed by kind and key."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id

    async def begin(self, kind: str, key: str) -> tuple[EffectState, str]:
        """Note that the effect is about to be tried.

        Returns `new` when it never was, `ambiguous` when it was begun and nothing said that it arrived, or `done`,
        with the remote id where it is known.
        """
        async with self._database.transaction(durable=True) as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            fresh = await connection.execute(
                dialect.insert(effects)
                .values(run_id=self._run_id, kind=kind, key=key, state="begun", at=self._database.clock())
                .on_conflict_do_nothing()
                .returning(effects.c.key)
            )
            if fresh.first() is not None:
                return "new", ""
            row = (await connection.execute(select(effects).where(*self._is(kind, key)))).one()
            return ("done" if row.state == "done" else "ambiguous"), row.remote_id

    async def done(self, kind: str, key: str, remote_id: str) -> None:
        """Note that the effect is there, and under which id."""
        async with self._database.transaction() as connection:
            await connection.execute(
                update(effects)
                .where(*self._is(kind, key))
                .values(state="done", remote_id=remote_id, at=self._database.clock())
            )

    async def count(self, kind: str, prefix: str, seconds: float) -> int:
        """Return how many effects of a kind, whose keys begin so, were noted in the last `seconds`."""
        now = self._database.clock()
        # What is noted for much later comes of a clock that was wrong, and would count for as long as it was ahead.
        late = effects.c.at.between(now - seconds, now + seconds)
        mine = (
            effects.c.run_id == self._run_id,
            effects.c.kind == kind,
            effects.c.key.startswith(prefix, autoescape=True),
        )
        async with self._database.reading() as connection:
            count = await connection.execute(select(func.count()).select_from(effects).where(*mine, late))
            return int(count.scalar_one())

    def _is(self, kind: str, key: str) -> tuple[ColumnElement[bool], ...]:
        return (effects.c.run_id == self._run_id, effects.c.kind == kind, effects.c.key == key)
