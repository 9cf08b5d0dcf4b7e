"""What asked for a run that exists, found again in the store under the repository's present name."""

from __future__ import annotations

from dataclasses import replace

from bot.intake import asked_by
from orchestrator.github.command import Command
from orchestrator.github.handler import Earlier
from orchestrator.github.trigger import Trigger
from orchestrator.store import Database, DeliveryStore, EffectStore


async def origin_of(database: Database, run_id: str, repository: str, app_slug: str | None) -> Earlier | None:
    """Return a run with its trigger, command and effects, or None when nobody knows what asked for it."""
    payload = await DeliveryStore(database).origin(run_id)
    if payload is None:
        return None
    asked = asked_by(replace(Trigger.from_json(payload), repository=repository), app_slug)
    if asked is None or not isinstance(asked.command, Command):
        return None
    return Earlier(run_id, asked.trigger, asked.command, EffectStore(database, run_id))
