"""A delivery's work: the trigger and command that were kept, handed to GitHub's own line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from bot.intake import Asked, Rules, asked_by
from bot.logs import fields
from orchestrator.control_plane import ControlPlane
from orchestrator.github import report
from orchestrator.github.auth import GitHubConnection
from orchestrator.github.command import Command, Refusal
from orchestrator.github.handler import Earlier, Progress, handle
from orchestrator.github.lint import give_up_lint, lint
from orchestrator.github.publisher import Effects, Publisher
from orchestrator.github.rehearsal import Previews, StagedEffects, rehearse_where_asked
from orchestrator.github.sanitize import Redactor
from orchestrator.github.spec_change import SpecChange, is_lint
from orchestrator.github.trigger import Trigger
from orchestrator.state import Outcome, ProjectStatus
from orchestrator.store import Delivery, DeliveryStore, EffectStore, PreviewStore, RunStore

HOUR_SECONDS = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the work on deliveries needs; `secrets` are never published, `begin_now` has a queued run begin.

    `staged` makes previews of all that would be written, whatever a repository says; `previews_of` gives where those of
    a run are kept, which is the store without it.
    """

    plane: ControlPlane
    github: GitHubConnection
    rules: Rules
    secrets: tuple[str, ...] = field(default=(), repr=False)
    begin_now: Callable[[str], None] | None = None
    staged: bool = False
    previews_of: Callable[[str], Previews] | None = None

    def previews(self, run_id: str) -> Previews:
        """Return where the previews of a run are kept."""
        return self.previews_of(run_id) if self.previews_of else PreviewStore(self.plane.database, run_id)

    async def work(self, delivery: Delivery) -> None:
        """Do what the delivery asks for; may be called again after a failure or a crash, and makes nothing twice."""
        if is_lint(delivery.run_id):
            await self._lint(delivery)
            return
        about = {"delivery": delivery.id, "repository": delivery.repository}
        asked = self._asked(delivery)

        async def progress(step: Progress) -> None:
            log.info("step", extra=fields(**about, run=step.run_id, step=step.step, detail=step.detail))

        handled = await handle(
            asked.trigger,
            await self._within_limits(delivery, asked),
            github=self.github,
            plane=self.plane,
            effects=EffectStore(self.plane.database, asked.own_run_id),
            operator=self.plane.operator,
            secrets=self.secrets,
            progress=progress,
            earlier=await self._earlier(delivery, asked),
            resumable=True,
            begin_now=self.begin_now,
            previews=self.previews(delivery.run_id),
            staged=self.staged,
        )
        log.info(
            "handled",
            extra=fields(**about, run=handled.run_id, status=handled.status, pull_request=handled.pull_request),
        )

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """End a run whose work keeps failing, in the store and on GitHub (SECURITY 36).

        A delivery that never became a run is only logged: nobody may have been allowed to ask for a comment.
        """
        if is_lint(delivery.run_id):
            change, effects = SpecChange.from_json(delivery.payload), EffectStore(self.plane.database, delivery.run_id)
            await give_up_lint(
                change,
                reason,
                github=self.github,
                effects=effects,
                secrets=self.secrets,
                previews=self.previews(delivery.run_id),
            )
            return
        asked = self._asked(delivery)
        earlier = await self._earlier(delivery, asked)
        if earlier is not None and not asked.works:
            return
        run_id = earlier.run_id if earlier else asked.own_run_id
        issue = (earlier or asked).trigger.issue
        state = await self.plane.state(run_id)
        if state is None or issue is None:
            return
        if not state.status.ended:
            runs = RunStore(self.plane.database)
            fence = await runs.claim(run_id)
            await runs.save(run_id, fence, status=ProjectStatus.FAILED, outcome=Outcome("failed", reason))
        client = self.github.repository(asked.trigger.repository, asked.trigger.installation_id)
        known: Effects = EffectStore(self.plane.database, run_id)
        if await rehearse_where_asked(client, self.github, self.previews(run_id), asked.trigger.installation_id):
            known = StagedEffects(known)
        publisher = Publisher(
            client,
            run_id=run_id,
            redactor=Redactor([*self.secrets, self.github.given_token]),
            effects=known,
            login=await self.github.login(client),
            requester=asked.trigger.actor,
        )
        body = f"{report.ENDINGS[ProjectStatus.FAILED]}: {reason}"
        await publisher.upsert_comment(issue, report.status_mark(run_id), body)
        await publisher.react(issue, asked.trigger.comment_id, "confused")

    async def _earlier(self, delivery: Delivery, asked: Asked) -> Earlier | None:
        """Return the run that the delivery is about, or None when it starts one, or there was none."""
        if not asked.follows or delivery.run_id == asked.own_run_id:
            return None
        payload = await DeliveryStore(self.plane.database).origin(delivery.run_id)
        origin = asked_by(Trigger.from_json(payload), self.rules.app_slug) if payload else None
        if origin is None or not isinstance(origin.command, Command):
            return None
        effects = EffectStore(self.plane.database, delivery.run_id)
        return Earlier(delivery.run_id, origin.trigger, origin.command, effects)

    async def _lint(self, delivery: Delivery) -> None:
        change = SpecChange.from_json(delivery.payload)

        async def refusal() -> str:
            await DeliveryStore(self.plane.database).charge(delivery.id, change.actor)
            return await self._above_limit(delivery, change.actor)

        linted = await lint(
            change,
            github=self.github,
            effects=EffectStore(self.plane.database, delivery.run_id),
            operator=self.plane.operator,
            refusal=refusal,
            secrets=self.secrets,
            previews=self.previews(delivery.run_id),
        )
        about = fields(delivery=delivery.id, repository=delivery.repository, status=linted.status, detail=linted.reason)
        log.info("linted", extra=about)

    def _asked(self, delivery: Delivery) -> Asked:
        asked = asked_by(Trigger.from_json(delivery.payload), self.rules.app_slug)
        if asked is None:
            raise ValueError(f"the kept delivery {delivery.id} holds no command")
        return asked

    async def _within_limits(self, delivery: Delivery, asked: Asked) -> Command | Refusal:
        """Return the command, or its refusal when its user has started too many runs within the hour."""
        if not asked.works:
            return asked.command
        refusal = await self._above_limit(delivery, delivery.actor)
        return Refusal(f"{refusal} Then give the command again.", asked.name) if refusal else asked.command

    async def _above_limit(self, delivery: Delivery, actor: str) -> str:
        """Return a sentence when somebody has started too much within the hour, runs and lints together."""
        limit = self.plane.operator.runs_per_hour
        started = await DeliveryStore(self.plane.database).started_before(delivery, HOUR_SECONDS)
        if started < limit:
            return ""
        return (
            f"@{actor} has started {started} runs within an hour, and the limit is {limit}. "
            "Wait until the hour has passed."
        )
