"""The audit: what was decided about a run, by whom and when, in rows that are only ever added (SECURITY 37)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from orchestrator.store.database import Database
from orchestrator.store.schema import audit
from orchestrator.store.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row: `kind` is what happened, `facts` are plain values, `at` is in seconds since the epoch."""

    delivery: str
    actor: str
    kind: str
    facts: Mapping[str, Any]
    at: float


@uninterrupted
class AuditStore:
    """One run's entries; called again after a crash, what is done again is noted again."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._database = database
        self._run_id = run_id

    async def add(self, delivery: str, actor: str, kind: str, facts: Mapping[str, Any]) -> None:
        """Add an entry, which outlives a loss of power; `facts` hold neither secrets nor text of people or models."""
        async with self._database.transaction(durable=True) as connection:
            await connection.execute(
                audit.insert().values(
                    run_id=self._run_id,
                    delivery=delivery[:80],
                    actor=actor[:100],
                    kind=kind,
                    facts=json.dumps(dict(facts), sort_keys=True),
                    at=self._database.clock(),
                )
            )

    async def entries(self) -> tuple[AuditEntry, ...]:
        """Return them in the order in which they were added."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(audit).where(audit.c.run_id == self._run_id).order_by(audit.c.id))
            return tuple(AuditEntry(row.delivery, row.actor, row.kind, json.loads(row.facts), row.at) for row in rows)
