"""A delivery's work: the trigger and command that were kept, handed to GitHub's own line."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from bot.endings import Endings
from bot.intake import Asked, Rules, asked_by
from bot.limits import Denials, above_hour, above_limits
from bot.logs import fields
from bot.origins import origin_of
from orchestrator.codes import Code
from orchestrator.control_plane import ControlPlane
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.publisher import Effects
from orchestrator.github.rendering.marks import status_mark
from orchestrator.github.rendering.notes import failure_comment
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.rendering.status import ENDINGS
from orchestrator.github.runs.audit_trail import AuditTrail
from orchestrator.github.runs.early import GO_ON
from orchestrator.github.runs.live import end_rounds
from orchestrator.github.runs.rehearsal import Previews, StagedEffects, rehearse_where_asked
from orchestrator.github.stories.handler import Earlier, Progress, handle
from orchestrator.github.stories.lint import give_up_lint, lint
from orchestrator.github.stories.rerun import findings_of, give_up_rerun, rerun
from orchestrator.github.triggers.closing import Closing, is_closing
from orchestrator.github.triggers.command import Command, Refusal
from orchestrator.github.triggers.pressed import RERUN
from orchestrator.github.triggers.spec_change import SpecChange, is_lint
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.state import ProjectStatus
from orchestrator.store import AuditStore, Delivery, DeliveryStore, EffectStore, PreviewStore

UNDELIVERED = "Built, but not delivered"

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
    begin_now: Callable[[str], Awaitable[None]] | None = None
    staged: bool = False
    previews_of: Callable[[str], Previews] | None = None

    def fenced(self, delivery: Delivery) -> Workshop:
        """Return the same workshop, which writes nothing on GitHub once a later attempt at the delivery has begun.

        For where several processes share the work: one that was only paused finds out before it writes.
        """
        store = DeliveryStore(self.plane.database)
        return replace(self, github=self.github.fenced(lambda: store.check(delivery)))

    def previews(self, run_id: str) -> Previews:
        """Return where the previews of a run are kept."""
        return self.previews_of(run_id) if self.previews_of else PreviewStore(self.plane.database, run_id)

    async def allowed_seconds(self, delivery: Delivery) -> float:
        """Return how long the run that a delivery is about may take by itself, in seconds; 0 where there is none."""
        job = await self.plane.job(delivery.run_id)
        return job.budget.max_time_seconds if job else 0.0

    async def work(self, delivery: Delivery) -> None:
        """Do what the delivery asks for; may be called again after a failure or a crash, and makes nothing twice."""
        delivery = await DeliveryStore(self.plane.database).current(delivery)
        if is_closing(delivery.run_id):
            await self._endings.end(Closing.from_json(delivery.payload))
            return
        if is_lint(delivery.run_id):
            await self._lint(delivery)
            return
        about = {"delivery": delivery.id, "repository": delivery.repository}
        asked = self._asked(delivery)
        if asked.name == RERUN:
            await self._rerun(delivery, asked)
            return

        denials = Denials(self.plane.database, asked.trigger.repository_id, asked.trigger.actor)
        if await denials.too_many():
            log.info("left: its actor was denied too often within the hour", extra=fields(**about))
            return
        trail = self._trail(delivery, asked)
        await trail.asked(asked.trigger, asked.name)

        async def progress(step: Progress) -> None:
            log.info("step", extra=fields(**about, run=step.run_id, step=step.step, detail=step.detail))
            await trail.step(step)

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
        await trail.handled(handled)
        if handled.status == "denied":
            await denials.add(delivery.id)
        log.info(
            "handled",
            extra=fields(**about, run=handled.run_id, status=handled.status, pull_request=handled.pull_request),
        )

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """End a run whose work keeps failing, in the store and on GitHub (SECURITY 36).

        A delivery that never became a run is only logged: nobody may have been allowed to ask for a comment.
        """
        delivery = await DeliveryStore(self.plane.database).current(delivery)
        if is_closing(delivery.run_id):
            return
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
        if asked.name == RERUN:
            run = await self._run_again(delivery, asked)
            await give_up_rerun(
                asked.trigger,
                run,
                reason,
                github=self.github,
                secrets=self.secrets,
                previews=self.previews(run.run_id),
            )
            return
        earlier = None if asked.starts else await self._earlier(delivery, asked)
        if earlier is not None and not asked.works:
            return
        known = earlier.root or earlier if earlier else None
        in_name_of = known.run_id if known else asked.own_run_id
        run_id = asked.own_run_id if earlier is None or asked.on_ours else earlier.run_id
        issue = (known or asked).trigger.issue
        await self._trail(delivery, asked).note("given up", {"run": run_id, "reason": reason})
        state = await self.plane.state(run_id)
        if state is None:
            return
        if not state.status.final:
            await self.plane.end_failed(run_id, reason)
        client = self.github.repository(asked.trigger.repository, asked.trigger.installation_id)
        async with aclosing(client):
            theirs: Effects = EffectStore(self.plane.database, in_name_of)
            previews = self.previews(delivery.run_id)
            if await rehearse_where_asked(client, self.github, previews, asked.trigger.installation_id):
                theirs = StagedEffects(theirs)
            publisher = await self.github.publisher(
                client, run_id=in_name_of, effects=theirs, secrets=self.secrets, requester=asked.trigger.actor
            )
            lead = UNDELIVERED if state.status is ProjectStatus.COMPLETED else ENDINGS[ProjectStatus.FAILED]
            body = failure_comment(f"{lead}: {reason}", "" if asked.name == "review" else GO_ON, Code.FAILED)
            await end_rounds(publisher, "failure", lead, reason)
            if issue is None:
                return
            await publisher.upsert_comment(issue, status_mark(in_name_of), body)
            await publisher.react(issue, asked.trigger.comment_id, "confused", event=asked.trigger.event)

    async def _earlier(self, delivery: Delivery, asked: Asked) -> Earlier | None:
        """Return the run that the delivery is about, or None where there is none.

        To a new run of an issue that is one which is not finished.
        """
        store, run_id = DeliveryStore(self.plane.database), delivery.run_id
        if asked.on_ours:
            run_id = await store.run_of_pull_request(delivery.repository, asked.trigger.issue or 0) or run_id
        if asked.name in ("run", "plan") and asked.trigger.issue is not None:
            run_id = await store.standing_run_of(delivery.repository, asked.trigger.issue, besides=run_id) or run_id
        if run_id == asked.own_run_id:
            return None
        return await origin_of(self.plane.database, run_id, delivery.repository, self.rules.app_slug)

    async def _run_again(self, delivery: Delivery, asked: Asked) -> Earlier:
        """Return the run whose check runs are to run again; of one that is forgotten nothing but its id is known."""
        if found := await self._earlier(delivery, asked):
            return found
        run_id = delivery.run_id
        if await self.plane.state(run_id) is not None:
            raise ValueError(f"the kept delivery {delivery.id} is about no run")
        return Earlier(run_id, asked.trigger, Command("run"), EffectStore(self.plane.database, run_id))

    async def _lint(self, delivery: Delivery) -> None:
        change = replace(SpecChange.from_json(delivery.payload), repository=delivery.repository)
        if change.event == "push":
            await self._endings.obey_switch(change)

        async def refusal() -> str:
            await DeliveryStore(self.plane.database).charge(delivery.id, change.actor)
            return await above_hour(self.plane, delivery, change.actor)

        linted = await lint(
            change,
            github=self.github,
            effects=EffectStore(self.plane.database, delivery.run_id),
            operator=self.plane.operator,
            refusal=refusal,
            secrets=self.secrets,
            previews=self.previews(delivery.run_id),
        )
        facts = {"repository": delivery.repository, "commit": change.head_sha, "status": linted.status}
        await AuditStore(self.plane.database, delivery.run_id).add(delivery.id, change.actor, "linted", facts)
        about = {"delivery": delivery.id, "repository": delivery.repository, "run": delivery.run_id}
        log.info("linted", extra=fields(**about, status=linted.status, detail=linted.reason))

    async def _rerun(self, delivery: Delivery, asked: Asked) -> None:
        earlier = await self._run_again(delivery, asked)

        async def round_of(run_id: str) -> Earlier | None:
            return await origin_of(self.plane.database, run_id, delivery.repository, self.rules.app_slug)

        handled = await rerun(
            asked.trigger,
            earlier,
            await above_hour(self.plane, delivery, delivery.actor),
            github=self.github,
            plane=self.plane,
            effects=EffectStore(self.plane.database, asked.own_run_id),
            operator=self.plane.operator,
            secrets=self.secrets,
            previews=self.previews(earlier.run_id),
            round_of=round_of,
        )
        trail = self._trail(delivery, asked)
        await trail.asked(asked.trigger, asked.name)
        await trail.handled(handled)
        about = fields(delivery=delivery.id, repository=delivery.repository, run=earlier.run_id, status=handled.status)
        log.info("run again", extra=about)

    def _trail(self, delivery: Delivery, asked: Asked) -> AuditTrail:
        """Return what adds to the audit of the run that a delivery is about."""
        redactor = Redactor([*self.secrets, self.github.given_token])
        return AuditTrail(
            [AuditStore(self.plane.database, delivery.run_id)], delivery.id, asked.trigger.actor, redactor
        )

    @property
    def _endings(self) -> Endings:
        return Endings(self.plane, self.github, self.rules.app_slug, self.secrets, self.begin_now, self.previews)

    def _asked(self, delivery: Delivery) -> Asked:
        trigger = replace(Trigger.from_json(delivery.payload), repository=delivery.repository)
        asked = asked_by(trigger, self.rules.app_slug)
        if asked is None:
            raise ValueError(f"the kept delivery {delivery.id} holds no command")
        return asked

    async def _within_limits(self, delivery: Delivery, asked: Asked) -> Command | Refusal:
        """Return the command, or its refusal when it is above a limit."""
        command, check = asked.command, asked.trigger.check_run_id
        if not asked.works:
            return command
        effects = EffectStore(self.plane.database, asked.own_run_id)
        admitted, _ = await effects.begin("limits", "admitted")
        if admitted != "done":
            if refusal := await above_limits(self.plane, delivery):
                return Refusal(f"{refusal} Then give the command again.", asked.name, Code.OVER_LIMIT)
            await effects.done("limits", "admitted", "")
        if check is not None and isinstance(command, Command) and command.name == "revise" and not command.text:
            client = self.github.repository(asked.trigger.repository, asked.trigger.installation_id)
            async with aclosing(client):
                command = replace(command, text=await findings_of(client, check))
            found = replace(asked.trigger, comment=command.text)
            await DeliveryStore(self.plane.database).complete(delivery.id, found.to_json())
        return command
