"""The story of a run whose issue or pull request was closed: it ends as cancelled, and its status says by whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing

from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.publisher import Effects
from orchestrator.github.runs.desk import Desk, Earlier, HandledRun, Plane
from orchestrator.github.runs.rehearsal import MemoryPreviews, Previews, StagedEffects, rehearse_where_asked
from orchestrator.github.stories.follow import cancel, why_not_cancelled
from orchestrator.github.stories.handler import rules_of
from orchestrator.github.triggers.closing import Closing
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import SPEC_PATH


async def close(
    closing: Closing,
    earlier: Earlier,
    *,
    github: GitHubConnection,
    plane: Plane,
    effects: Effects,
    operator: OperatorConfig,
    secrets: Iterable[str] = (),
    previews: Previews | None = None,
    begin_now: Callable[[str], Awaitable[None]] | None = None,
) -> HandledRun:
    """Cancel an unfinished run as `/orchestrate cancel` does, without a word of its own; raises what `handle` raises.

    What it has built is delivered as after any cancel, a pull request that was closed stays closed.
    """
    state, asked = await plane.state(earlier.run_id), await plane.cancelled_by(earlier.run_id)
    if (state is not None and state.status.final) or why_not_cancelled(state, asked):
        return HandledRun(earlier.run_id, "ignored", "the run has ended", state)
    client = github.repository(closing.repository, closing.installation_id)
    async with aclosing(client):
        if await rehearse_where_asked(client, github, previews or MemoryPreviews(), closing.installation_id):
            effects, earlier = StagedEffects(effects), earlier.staged()
        actor, buttons = earlier.trigger.actor, github.app is not None
        publisher = await github.publisher(
            client, run_id=closing.id, effects=effects, secrets=secrets, requester=actor, buttons=buttons
        )
        trigger = Trigger(
            delivery_id=closing.delivery_id,
            event=closing.event,
            repository=closing.repository,
            repository_id=closing.repository_id,
            default_branch=closing.default_branch,
            private=earlier.trigger.private,
            source=closing.id,
            actor=closing.said,
            actor_type="User",
            installation_id=closing.installation_id,
        )
        desk = Desk.of(trigger, Command("cancel"), publisher, plane, resumable=True)
        pull = closing.number if closing.kind == "pull_request" else None
        rules = await rules_of(client, SPEC_PATH, closing.default_branch, pull, operator)
        return await cancel(desk, rules.spec, earlier, operator, begin_now)
