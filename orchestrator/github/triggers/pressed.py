"""What somebody who pressed a button or `Re-run` at a check run of ours asks for, read once from the delivery; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.payload import FULL_NAME, at, number, text
from orchestrator.github.triggers.trigger import Ignored, Trigger

RETRY_FAILED = "retry_failed"
REVISE_FINDINGS = "revise_findings"
BUTTONS = {RETRY_FAILED: "resume", REVISE_FINDINGS: "revise"}
RERUN = "rerun"
"""The command behind `Re-run` and `Re-run all`; nobody can write it in a comment."""

_RUN_ID = re.compile(r"r-[a-z2-7]{16}\Z")
_SHA = re.compile(r"[0-9a-f]{40}\Z")


def pressed_from_event(
    event: str,
    payload: Mapping[str, Any],
    *,
    delivery_id: str = "",
    app_slug: str | None = None,
    allowed_bots: Collection[str] = (),
) -> Trigger | Ignored | None:
    """Return what was pressed, why it asks for nothing, or None for an event that is no press; never raises.

    The trigger's `run` is the check run's `external_id`, and empty for a whole suite, which carries none. Its `source`
    is `button:CHECK_RUN:IDENTIFIER:HEAD`, `rerun:CHECK_RUN:HEAD` or `rerun:suite:SUITE:HEAD`, and the delivery: the
    same on redelivery, another one when it is pressed again.
    """
    action = text(payload, "action")
    if (event, action) not in (
        ("check_run", "requested_action"),
        ("check_run", "rerequested"),
        ("check_suite", "rerequested"),
    ):
        return None
    slug = text(payload, event, "app", "slug")
    if app_slug is not None and slug not in ("", app_slug):
        return Ignored("the checks are another App's")
    identity, head = number(payload, event, "id"), text(payload, event, "head_sha")
    if identity is None or not _SHA.match(head):
        return Ignored("the delivery names no check and no commit")
    run = text(payload, event, "external_id")
    if event == "check_run" and not _RUN_ID.match(run):
        return Ignored("the check run belongs to no run")
    identifier = text(payload, "requested_action", "identifier")
    if action == "requested_action" and identifier not in BUTTONS:
        return Ignored(f"there is no button {identifier[:20]!r}")
    what = f"button:{identity}:{identifier}" if action == "requested_action" else f"{RERUN}:{identity}"
    what = f"{RERUN}:suite:{identity}" if event == "check_suite" else what
    return _trigger(
        payload,
        allowed_bots,
        event=event,
        delivery_id=delivery_id,
        source=f"{what}:{head}:{delivery_id}",
        run=run if event == "check_run" else "",
        check_run_id=identity if event == "check_run" else None,
        check_name=text(payload, event, "name") if event == "check_run" else "",
        head_sha=head,
        head_branch=text(payload, event, "head_branch") or text(payload, event, "check_suite", "head_branch"),
        issue=_pull_request(payload, event),
    )


def command_of(trigger: Trigger) -> Command:
    """Return the command that a press stands for; the text of a `revise` is what the check run was found to say."""
    kind, _, rest = trigger.source.partition(":")
    return Command(RERUN if kind == RERUN else BUTTONS[rest.split(":")[1]], text=trigger.comment)


def _pull_request(payload: Mapping[str, Any], event: str) -> int | None:
    """Return the number of the first pull request into this repository: a head may stand in those of others too."""
    listed, here = at(payload, event, "pull_requests"), number(payload, "repository", "id")
    found = listed if isinstance(listed, list) else []
    return next((number(it, "number") for it in found if number(it, "base", "repo", "id") == here), None)


def _trigger(payload: Mapping[str, Any], allowed_bots: Collection[str], **known: Any) -> Trigger | Ignored:
    repository, repository_id = text(payload, "repository", "full_name"), number(payload, "repository", "id")
    actor, kind = text(payload, "sender", "login"), text(payload, "sender", "type")
    if not FULL_NAME.match(repository) or repository_id is None:
        return Ignored("the delivery names no repository")
    if not actor:
        return Ignored("the delivery names nobody who pressed")
    if kind != "User" and actor not in allowed_bots:
        return Ignored(f"{actor} is no person, and the operator does not list it")
    return Trigger(
        repository=repository,
        repository_id=repository_id,
        default_branch=text(payload, "repository", "default_branch") or "main",
        private=at(payload, "repository", "private") is not False,
        actor=actor,
        actor_type=kind,
        is_pull_request=True,
        installation_id=number(payload, "installation", "id") or 0,
        **known,
    )
