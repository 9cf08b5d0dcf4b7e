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
from orchestrator.github.publisher import Publisher
from orchestrator.github.sanitize import Redactor
from orchestrator.github.spec_change import SpecChange, is_lint
from orchestrator.github.trigger import Trigger
from orchestrator.state import Outcome, ProjectStatus
from orchestrator.store import Delivery, DeliveryStore, EffectStore, RunStore

HOUR_SECONDS = 3600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the work on deliveries needs; `secrets` are never published, `begin_now` has a queued run begin."""

    plane: ControlPlane
    github: GitHubConnection
    rules: Rules
    secrets: tuple[str, ...] = field(default=(), repr=False)
    begin_now: Callable[[str], None] | None = None

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
            await give_up_lint(change, reason, github=self.github, effects=effects, secrets=self.secrets)
            return
        asked = self._asked(delivery)
        earlier = await self._earlier(delivery, asked)
        if earlier is not None and not asked.works:
            return
        known = earlier.root or earlier if earlier else None
        in_name_of = known.run_id if known else asked.own_run_id
        run_id = asked.own_run_id if earlier is None or asked.on_ours else earlier.run_id
        issue = (known or asked).trigger.issue
        state = await self.plane.state(run_id)
        if state is None or issue is None:
            return
        if not state.status.ended:
            runs = RunStore(self.plane.database)
            fence = await runs.claim(run_id)
            await runs.save(run_id, fence, status=ProjectStatus.FAILED, outcome=Outcome("failed", reason))
        client = self.github.repository(asked.trigger.repository, asked.trigger.installation_id)
        publisher = Publisher(
            client,
            run_id=in_name_of,
            redactor=Redactor([*self.secrets, self.github.given_token]),
            effects=EffectStore(self.plane.database, in_name_of),
            login=await self.github.login(client),
            requester=asked.trigger.actor,
        )
        body = f"{report.ENDINGS[ProjectStatus.FAILED]}: {reason}"
        await publisher.upsert_comment(issue, report.status_mark(in_name_of), body)
        await publisher.react(issue, asked.trigger.comment_id, "confused")

    async def _earlier(self, delivery: Delivery, asked: Asked) -> Earlier | None:
        """Return the run that the delivery is about, or None when it starts one of its own, or there was none."""
        if asked.on_ours:
            root = await DeliveryStore(self.plane.database).run_of_pull_request(
                delivery.repository, asked.trigger.issue or 0
            )
            return await self._known(root) if root else None
        if not asked.follows or delivery.run_id == asked.own_run_id:
            return None
        return await self._known(delivery.run_id)

    async def _known(self, run_id: str) -> Earlier | None:
        """Return what the store knows of a run and what asked for it; of a round also its pull request's run."""
        store = DeliveryStore(self.plane.database)
        payload = await store.origin(run_id)
        origin = asked_by(Trigger.from_json(payload), self.rules.app_slug) if payload else None
        if origin is None or not isinstance(origin.command, Command):
            return None
        root = await store.root_of(run_id)
        effects = EffectStore(self.plane.database, run_id)
        return Earlier(run_id, origin.trigger, origin.command, effects, await self._known(root) if root else None)

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
