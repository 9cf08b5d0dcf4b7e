"""What a command is answered without a run, and the small look-ups around one."""

from __future__ import annotations

import re
from typing import Protocol

from orchestrator.codes import Code
from orchestrator.github.api.client import RepositoryClient
from orchestrator.github.api.publisher import Publisher
from orchestrator.github.api.repository import head_of
from orchestrator.github.rendering.status import status_comment
from orchestrator.github.triggers.command import Refusal
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState

_STATUS_MARK = re.compile(r"<!-- orchestrator:status run=(?P<run>r-[a-z2-7]{16}) -->\s*\Z")


class States(Protocol):
    """Where the states of runs are read."""

    async def state(self, run_id: str) -> ProjectState | None:
        """Return what is known of a run."""
        ...


def refusal(spec: JobSpec, rules_head: str | None, trigger: Trigger) -> Refusal | None:
    """Return why a command starts no run, or None when it does."""
    if not spec.enabled:
        said = "the orchestrator is switched off (`enabled: false`), by this repository's spec or by its operator."
        return Refusal(said, code=Code.SWITCHED_OFF)
    if rules_head is None:
        return Refusal(
            "the repository has no commit yet. Push one, such as a README, and ask again.", code=Code.NO_COMMIT
        )
    if not trigger.title.strip():
        return Refusal("the issue has no title to work from.", code=Code.NO_TITLE)
    return None


async def status(publisher: Publisher, states: States, trigger: Trigger) -> str:
    """Return the latest run of the issue as a comment's text."""
    if trigger.issue is None:
        return "There is no issue whose status could be told."
    for body in reversed(await publisher.comments_with(trigger.issue, "<!-- orchestrator:status")):
        found = _STATUS_MARK.search(body)
        state = await states.state(found["run"]) if found else None
        if state is not None:
            return status_comment(state)
        if found:
            return body[: found.start()].strip()
    return "There is no run for this issue yet. To start one, comment `/orchestrate`."


async def moved(client: RepositoryClient, base: str, base_sha: str) -> str:
    """Return a note when the base branch is no longer at the commit that was built upon (SECURITY 15)."""
    now = await head_of(client, base)
    if now == base_sha:
        return ""
    return f"Built on {base_sha[:12]}; {base} has moved to {now[:12] if now else 'nowhere'} since."
