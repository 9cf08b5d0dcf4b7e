"""What asked for a run that exists, found again in the store under the repository's present name."""

from __future__ import annotations

from dataclasses import replace

from bot.intake import Asked, asked_by
from orchestrator.github.stories.handler import Earlier
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.pressed import RERUN
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.store import Database, DeliveryStore, EffectStore, RunStore


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


async def made_out(database: Database, asked: Asked) -> Asked | None:
    """Return what was pressed with its run and pull request, or None when it is about no run of this repository.

    `Re-run` of a check run that names a run which is forgotten is told as much, since GitHub waits for it.
    """
    trigger, deliveries = asked.trigger, DeliveryStore(database)
    run = trigger.run or await deliveries.run_of_branch(trigger.repository, trigger.head_branch)
    if run is None and trigger.issue is not None:
        run = await deliveries.run_of_pull_request(trigger.repository, trigger.issue)
    origin = await deliveries.origin(run) if run else None
    if run is None:
        return None
    if not await RunStore(database).knows(run):
        return asked if trigger.run and asked.name == RERUN else None
    if origin is None:
        return None
    first = Trigger.from_json(origin)
    if first.repository_id != trigger.repository_id:
        return None
    issue = await deliveries.pull_request_of(run) or trigger.issue
    known = replace(trigger, run=run, issue=issue, title=first.title, body=first.body, author=first.author)
    return replace(asked, trigger=known)


async def run_meant(deliveries: DeliveryStore, asked: Asked) -> str | None:
    """Return the run that exists and that a command or a press is about, or None; a press is made out before."""
    trigger = asked.trigger
    if not asked.follows:
        return None
    if not asked.pressed:
        return await deliveries.run_about(
            trigger.repository,
            trigger.issue or 0,
            pull_request=trigger.is_pull_request,
            unfinished=asked.name == "cancel",
        )
    if trigger.run and asked.name == "resume":
        # As with the command, what goes on is the newest round of the pull request.
        return await deliveries.newest_round(trigger.run) or trigger.run
    return trigger.run or None
