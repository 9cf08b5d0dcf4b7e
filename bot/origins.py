"""What asked for a run that exists, found again in the store under the repository's present name."""

from __future__ import annotations

from dataclasses import replace

from bot.intake import asked_by
from orchestrator.github.stories.handler import Earlier
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.store import Database, DeliveryStore, EffectStore


async def origin_of(database: Database, run_id: str, repository: str, app_slug: str | None) -> Earlier | None:
    """Return a run with what asked for it and its effects, of a round with its pull request's run too.

    None when nobody knows what asked for it.
    """
    store = DeliveryStore(database)
    payload = await store.origin(run_id)
    if payload is None:
        return None
    asked = asked_by(replace(Trigger.from_json(payload), repository=repository), app_slug)
    if asked is None or not isinstance(asked.command, Command):
        return None
    root = await store.root_of(run_id)
    of_root = await origin_of(database, root, repository, app_slug) if root else None
    return Earlier(run_id, asked.trigger, asked.command, EffectStore(database, run_id), of_root)
