"""What becomes of runs whose issue, pull request, App or switch is gone, and of what is kept when a name changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from bot.logs import fields
from bot.origins import origin_of
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import SpecError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.repository import read_text
from orchestrator.github.runs.rehearsal import Previews
from orchestrator.github.stories.closed import close
from orchestrator.github.stories.follow import stopped
from orchestrator.github.triggers.closing import Closing
from orchestrator.github.triggers.spec_change import SpecChange
from orchestrator.specs import SPEC_PATH, parse_spec
from orchestrator.store import AuditStore, DeliveryStore, EffectStore, ObservationStore, RunStore

DEFAULT_BRANCH = "HEAD"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends runs that no command ends; `app_slug` is the App's own name.

    `begin_now` has a queued run begin, `previews_of` gives where a run's previews are kept.
    """

    plane: ControlPlane
    github: GitHubConnection
    app_slug: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    begin_now: Callable[[str], Awaitable[None]] | None = None
    previews_of: Callable[[str], Previews] | None = None

    async def end(self, closing: Closing) -> None:
        """Do what an event asks for; may be called again after a failure or a crash."""
        ended: list[str] = []
        if closing.kind == "moved":
            await DeliveryStore(self.plane.database).move(closing.repository_id, closing.repository)
        elif closing.kind in ("issue", "pull_request"):
            ended = await self._closed(closing)
        else:
            ended = await self._taken_away(closing)
        log.info(
            "ended",
            extra=fields(
                delivery=closing.delivery_id, repository=closing.repository, kind=closing.kind, runs=len(ended)
            ),
        )

    async def obey_switch(self, change: SpecChange) -> None:
        """Have a repository's runs stop before their next call when its default branch says `enabled: false`.

        The branch is read as it is now: pushes may be delivered in any order. A plan that waits spends nothing, and
        finds the switch when it is approved.
        """
        client = self.github.repository(change.repository, change.installation_id)
        async with aclosing(client):
            text = await read_text(client, SPEC_PATH, DEFAULT_BRANCH)
        try:
            enabled = parse_spec(text or "", SPEC_PATH, require_project=False).enabled
        except SpecError:
            return  # the lint says so at its lines, and a broken spec starts no run
        if enabled:
            return
        for run_id in await DeliveryStore(self.plane.database).unfinished_runs(repositories=(change.repository,)):
            await self._cancel(run_id, f"{change.actor[:60]}, who set `enabled: false`", change.delivery_id)

    async def _closed(self, closing: Closing) -> list[str]:
        store, runs = DeliveryStore(self.plane.database), dict[str, None]()
        if closing.kind == "pull_request" and (
            ours := await store.run_of_pull_request(closing.repository, closing.number)
        ):
            runs[ours] = None
        if unfinished := await store.unfinished_run_of(closing.repository, closing.number):
            runs[unfinished] = None
        for run_id in runs:
            closed = {"closed": closing.kind, "number": closing.number}
            await AuditStore(self.plane.database, run_id).add(closing.delivery_id, closing.said, "closed", closed)
            earlier = await origin_of(self.plane.database, run_id, closing.repository, self.app_slug)
            if earlier is not None:
                await close(
                    closing,
                    earlier,
                    github=self.github,
                    plane=self.plane,
                    effects=EffectStore(self.plane.database, closing.id),
                    operator=self.plane.operator,
                    secrets=self.secrets,
                    begin_now=self.begin_now,
                    previews=self.previews_of(earlier.run_id) if self.previews_of else None,
                )
        return list(runs)

    async def _taken_away(self, closing: Closing) -> list[str]:
        """Cancel what we may not work on any more; GitHub lets us say so nowhere."""
        runs = await DeliveryStore(self.plane.database).unfinished_runs(
            account=closing.account if closing.kind != "removed" else "", repositories=closing.repositories
        )
        for run_id in runs:
            await self._cancel(run_id, closing.said, closing.delivery_id)
        async with asyncio.TaskGroup() as group:
            for run_id in runs:
                group.create_task(self._stopped(run_id, closing.said))
        if closing.kind == "uninstalled":
            # Only now: a run that stops still keeps what it has learned.
            await ObservationStore(self.plane.database, closing.account, {}).forget()
            await RunStore(self.plane.database).forget_answers(closing.account)
        return list(runs)

    async def _cancel(self, run_id: str, actor: str, delivery_id: str) -> None:
        state = await self.plane.state(run_id)
        if state is None or not state.status.final:
            await AuditStore(self.plane.database, run_id).add(delivery_id, actor, "cancelled", {})
            await self.plane.cancel(run_id, actor)
            if self.begin_now is not None:
                await self.begin_now(run_id)

    async def _stopped(self, run_id: str, actor: str) -> None:
        state = await stopped(self.plane, run_id)
        if state is not None and not state.status.final:
            await self.plane.end_cancelled(run_id, actor)
