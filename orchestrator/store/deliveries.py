"""Webhook deliveries: each is accepted once, kept with its work in one transaction, and taken up again at start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from orchestrator.store.database import Database
from orchestrator.store.schema import deliveries

Stored = Literal["queued", "ignored", "duplicate"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery; `command_key` names (repository, comment, command) where it carries one, `payload` is JSON."""

    id: str
    event: str
    repository: str
    payload: str
    run_id: str = ""
    command_key: str = ""


class DeliveryStore:
    """Accepts deliveries and hands out the unfinished ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, delivery: Delivery) -> Stored:
        """Keep the delivery, once for its id and once for its command.

        A delivery with a run id is `queued`, one without is `ignored`; one that was seen before is a `duplicate`.
        """
        state: Stored = "queued" if delivery.run_id else "ignored"
        async with self._database.transaction() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            fresh = await connection.execute(
                dialect.insert(deliveries)
                .values(
                    id=delivery.id,
                    event=delivery.event,
                    repository=delivery.repository,
                    command_key=delivery.command_key or None,
                    run_id=delivery.run_id or None,
                    payload=delivery.payload,
                    state=state,
                    received_at=self._database.clock(),
                )
                .on_conflict_do_nothing()
                .returning(deliveries.c.id)
            )
            return state if fresh.first() is not None else "duplicate"

    async def unfinished(self) -> tuple[Delivery, ...]:
        """Return the queued deliveries, the oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(deliveries)
                .where(deliveries.c.state == "queued")
                .order_by(deliveries.c.received_at, deliveries.c.id)
            )
            return tuple(
                Delivery(row.id, row.event, row.repository, row.payload, row.run_id or "", row.command_key or "")
                for row in rows
            )

    async def finish(self, delivery_id: str) -> None:
        """Mark a delivery's work as done."""
        async with self._database.transaction() as connection:
            await connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(state="done"))
