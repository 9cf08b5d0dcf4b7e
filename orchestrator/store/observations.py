"""What is learned of models, kept per installation and prompt version, and forgotten when it is old (SECURITY 32)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row

from orchestrator.prediction import Attempt, Observation, Paid, Work, learned
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
        """Return what is known and not older than 90 days; what is older goes, whosever it is."""
        oldest = self._database.clock() - KEPT_SECONDS
        async with self._database.transaction() as connection:
            await connection.execute(delete(observations).where(observations.c.updated_at < oldest))
            rows = (await connection.execute(select(observations).where(observations.c.scope == self._scope))).all()
        known = [_observation(row) for row in rows if self._versions.get(Purpose(row.purpose)) == row.prompt_version]
        return tuple(sorted(known, key=lambda one: one.work))

    async def add(self, work: Work, seen: Paid | Attempt, alpha: float) -> None:
        """Add one settled call or one first attempt to the averages."""
        key = {
            "scope": self._scope,
            "model": work.model,
            "purpose": work.purpose.value,
            "task_type": work.task_type,
            "prompt_version": self._versions[work.purpose],
        }
        mine = [observations.c[name] == value for name, value in key.items()]
        async with self._database.transaction() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            fresh = dialect.insert(observations).values(**key, updated_at=self._database.clock())
            await connection.execute(fresh.on_conflict_do_nothing())
            row = (await connection.execute(select(observations).where(*mine).with_for_update())).one()
            after = learned(_observation(row), seen, alpha)
            values = {name: getattr(after, name) for name in _FIELDS}
            await connection.execute(
                update(observations).where(*mine).values(**values, updated_at=self._database.clock())
            )

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
