"""What is learned of models, kept per installation and prompt version, and forgotten when it is old (SECURITY 32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.prediction import Attempt, Observation, Paid, Work
from orchestrator.prediction import learned as after_one
from orchestrator.state import Purpose
from orchestrator.store.database import Database
from orchestrator.store.schema import learned as frozen
from orchestrator.store.schema import observations
from orchestrator.store.uninterrupted import uninterrupted

KEPT_SECONDS = 90 * 86_400
_FIELDS = (
    "calls",
    "cost_usd",
    "cost_variance",
    "input_tokens",
    "output_tokens",
    "seconds",
    "tried",
    "passed",
    "score",
)
_SNAPSHOT = TypeAdapter(tuple[Observation, ...])


@uninterrupted
class ObservationStore:
    """What one installation's runs have observed; `scope` names the installation, empty for this machine's own runs.

    `versions` maps each purpose to the version of its prompt: what was observed with another one does not count.
    """

    def __init__(self, database: Database, scope: str, versions: Mapping[Purpose, str]) -> None:
        self._database = database
        self._scope = scope
        self._versions = versions

    async def read(self) -> tuple[Observation, ...]:
        """Return what is known and not older than 90 days."""
        oldest = self._database.clock() - KEPT_SECONDS
        async with self._database.reading() as connection:
            mine = select(observations).where(observations.c.scope == self._scope, observations.c.updated_at >= oldest)
            rows = (await connection.execute(mine)).all()
        known = [_observation(row) for row in rows if self._versions.get(Purpose(row.purpose)) == row.prompt_version]
        return tuple(sorted(known, key=lambda one: one.work))

    async def add(self, learned: Sequence[tuple[Work, Paid | Attempt]], alpha: float) -> None:
        """Add settled calls and first attempts to the averages, in their order, all of them or none.

        What is older than 90 days goes then, whosever it is.
        """
        if not learned:
            return
        async with self._database.transaction() as connection:
            oldest = self._database.clock() - KEPT_SECONDS
            await connection.execute(delete(observations).where(observations.c.updated_at < oldest))
            # Sorted, so that two transactions on PostgreSQL lock the rows they share in the same order.
            for work in sorted({work for work, _ in learned}):
                await self._add(connection, work, [seen for one, seen in learned if one == work], alpha)

    async def _add(self, connection: AsyncConnection, work: Work, seen: Sequence[Paid | Attempt], alpha: float) -> None:
        key = {
            "scope": self._scope,
            "model": work.model,
            "purpose": work.purpose.value,
            "task_type": work.task_type,
            "prompt_version": self._versions[work.purpose],
        }
        mine = [observations.c[name] == value for name, value in key.items()]
        now = self._database.clock()
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        await connection.execute(dialect.insert(observations).values(**key, updated_at=now).on_conflict_do_nothing())
        row = (await connection.execute(select(observations).where(*mine).with_for_update())).one()
        after = reduce(lambda before, one: after_one(before, one, alpha), seen, _observation(row))
        values = {name: getattr(after, name) for name in _FIELDS}
        await connection.execute(update(observations).where(*mine).values(**values, updated_at=now))

    async def forget(self) -> None:
        """Remove everything that was learned under this scope: the App was uninstalled."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(observations).where(observations.c.scope == self._scope))

    async def frozen(self, run_id: str) -> tuple[Observation, ...] | None:
        """Return what a run chooses its models by, or None when nothing was frozen for it yet."""
        async with self._database.reading() as connection:
            found = await connection.execute(select(frozen.c.observations).where(frozen.c.run_id == run_id))
            text: str | None = found.scalar_one_or_none()
            return None if text is None else _SNAPSHOT.validate_json(text)

    async def freeze(self, run_id: str, fence: int, known: tuple[Observation, ...]) -> None:
        """Keep what a run chooses its models by, so that whoever goes on with it chooses alike."""
        async with self._database.fenced(run_id, fence) as connection:
            text = _SNAPSHOT.dump_json(known).decode()
            await connection.execute(insert(frozen).values(run_id=run_id, observations=text))


def _observation(row: Row[Any]) -> Observation:
    work = Work(row.model, Purpose(row.purpose), row.task_type)
    return Observation(work, **{name: getattr(row, name) for name in _FIELDS})
