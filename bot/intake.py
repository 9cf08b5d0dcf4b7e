"""What a delivery is, before anything is kept: its signature, its JSON and what it asks for. Everything is pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.github.triggers.closing import Closing, closing_from_event
from orchestrator.github.triggers.command import Command, Refusal, parse_command
from orchestrator.github.triggers.pressed import RERUN, command_of, pressed_from_event
from orchestrator.github.triggers.spec_change import SpecChange, spec_change_from_event
from orchestrator.github.triggers.trigger import Ignored, Trigger, run_id_for, trigger_from_event
from orchestrator.store import Delivery

MAX_DEPTH = 64
"""GitHub's own payloads are about ten levels deep."""

REDELIVERY_SECONDS = 3 * 24 * 3600
"""How long GitHub keeps a delivery for redelivery.

Source: https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks
"""
REDELIVERY_SECONDS_ENTERPRISE = 7 * 24 * 3600

STARTING = frozenset({"run", "plan", "revise", "review"})
REOPENING = frozenset({"approve", "resume", RERUN})
"""The commands that spend on a run that exists."""
REFUSED = "refused"
FOLLOWING = frozenset({"approve", "cancel", "resume", "status", RERUN})
ON_OURS = frozenset({"revise", "ci"})
"""The commands about a pull request of ours, whose run they need and do not become."""

_DELIVERY_ID = re.compile(r"[A-Za-z0-9-]{1,80}\Z")
_EVENT = re.compile(r"[a-z0-9_]{1,60}\Z")
_LARGEST = 2**63 - 1
_UNKEEPABLE = re.compile("[\ud800-\udfff\0]")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decides about deliveries.

    `accounts` are the account names served, None serves all; `bots` are logins of bots whose comments count;
    `redelivery_seconds` is how old a comment may be; `app_slug` is the App's own name, None without one.
    """

    accounts: Collection[str] | None = None
    bots: Collection[str] = ()
    redelivery_seconds: float = REDELIVERY_SECONDS
    app_slug: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A delivery that somebody's command came with."""

    trigger: Trigger
    command: Command | Refusal

    @property
    def name(self) -> str:
        """The command's name, or `refused` for what cannot be meant as it stands."""
        return self.command.name if isinstance(self.command, Command) else REFUSED

    @property
    def starts(self) -> bool:
        """True when the command starts a run."""
        return self.name in STARTING

    @property
    def works(self) -> bool:
        """True when the command may spend money: what is limited, and done one at a time for an issue."""
        return self.name in STARTING | REOPENING

    @property
    def follows(self) -> bool:
        """True when the command is about a run that exists."""
        return self.name in FOLLOWING

    @property
    def on_ours(self) -> bool:
        """True when the command is about a pull request of ours."""
        return self.name in ON_OURS

    @property
    def own_run_id(self) -> str:
        """The run's id as the handler computes it."""
        return run_id_for(self.trigger.repository_id, self.trigger.source, self.name)

    @property
    def pressed(self) -> bool:
        """True for a button or a re-run."""
        return bool(self.trigger.head_sha)

    def delivery(self, existing_run: str | None = None) -> Delivery:
        """Return what is kept: of the payload only what the command needs.

        While somebody's press is worked on it stands for all alike of theirs, whichever delivery brings them.
        """
        beside = self.trigger.event == "check_suite"
        return Delivery(
            id=f"{self.trigger.delivery_id[:73]}:{RERUN}" if beside else self.trigger.delivery_id,
            event=self.trigger.event,
            repository=self.trigger.repository,
            payload=self.trigger.to_json(),
            run_id=existing_run or self.own_run_id,
            command_key=f"{self.trigger.repository_id}:{self._key}",
            issue=self.trigger.issue or 0,
            actor=self.trigger.actor if self.works else "",
        )

    @property
    def _key(self) -> str:
        if not self.pressed:
            return self.trigger.source
        # Of one person alone: a stranger who presses must not stand in anybody's way.
        what = f"{self.trigger.source.removesuffix(f':{self.trigger.delivery_id}')}\n{self.trigger.actor}"
        return f"press:{hashlib.sha256(what.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class LintAsked:
    """A delivery whose commit may have to be linted; `rerun` asks for the other checks of the commit besides."""

    change: SpecChange
    rerun: Asked | None = None

    def delivery(self) -> Delivery:
        """Return what is kept; who did it is counted once it is sure that there is something to lint."""
        return Delivery(
            id=self.change.delivery_id,
            event=self.change.event,
            repository=self.change.repository,
            payload=self.change.to_json(),
            run_id=self.change.id,
        )


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """A delivery that ends runs, or moves them to another name."""

    closing: Closing

    def delivery(self) -> Delivery:
        """Return what is kept; nobody starts anything with it."""
        closing = self.closing
        return Delivery(closing.delivery_id, closing.event, closing.repository, closing.to_json(), run_id=closing.id)


def named(event: str, delivery_id: str) -> bool:
    """Tell whether the two event headers are there and look like GitHub's."""
    return bool(_EVENT.match(event) and _DELIVERY_ID.match(delivery_id))


def signed(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Tell whether `X-Hub-Signature-256` is the HMAC of the raw body under one of the secrets, in constant time.

    Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    given = signature.encode()
    matches = [
        hmac.compare_digest(b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode(), given)
        for secret in secrets
    ]
    return any(matches)


def read_payload(body: bytes) -> dict[str, Any]:
    """Return the body's JSON object with only text that every database keeps.

    Raises `ValueError` for anything else than an object of JSON, and for nesting deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")
    clean: dict[str, Any] = _clean(value, MAX_DEPTH)
    return clean


def read_delivery(
    event: str, delivery_id: str, payload: Mapping[str, Any], rules: Rules, now: float
) -> Asked | LintAsked | CloseAsked | Ignored:
    """Return what a verified delivery asks for, or why it is ignored; `now` is in seconds since the epoch."""
    closing = closing_from_event(event, payload, delivery_id=delivery_id)
    if isinstance(closing, Closing):
        return _not_served(closing.repository or closing.account, rules) or CloseAsked(closing)
    if closing is not None:
        return closing
    pressed = pressed_from_event(
        event, payload, delivery_id=delivery_id, app_slug=rules.app_slug, allowed_bots=rules.bots
    )
    again = asked_by(pressed, rules.app_slug) if isinstance(pressed, Trigger) else None
    change = spec_change_from_event(event, payload, delivery_id=delivery_id, allowed_bots=rules.bots)
    if isinstance(change, SpecChange):
        return _not_served(change.repository, rules) or LintAsked(change, again if event == "check_suite" else None)
    if change is not None:
        return change
    if again is not None:
        return _not_served(again.trigger.repository, rules) or again
    if isinstance(pressed, Ignored):
        return pressed
    trigger = trigger_from_event(event, payload, delivery_id=delivery_id, allowed_bots=rules.bots)
    if isinstance(trigger, Ignored):
        return trigger
    if stranger := _not_served(trigger.repository, rules):
        return stranger
    if _age(trigger, now) > rules.redelivery_seconds:
        return Ignored("the comment is older than GitHub's redelivery window")
    return asked_by(trigger, rules.app_slug) or Ignored("the comment holds no command")


def asked_by(trigger: Trigger, app_slug: str | None) -> Asked | None:
    """Return what a trigger asks for: what was pressed, the command of its comment, or `run` for a label.

    None stands for a comment without a command.
    """
    if trigger.head_sha:
        return Asked(trigger, command_of(trigger))
    if trigger.comment_id is None:
        return Asked(trigger, Command("run"))
    command = parse_command(
        trigger.comment, app_slug=app_slug, on_pull_request=trigger.is_pull_request, leading=trigger.is_review
    )
    return None if command is None else Asked(trigger, command)


def repository_of(payload: Mapping[str, Any]) -> str:
    """Return the full name of the payload's repository, cut to what is kept, or an empty string."""
    repository = payload.get("repository")
    name = repository.get("full_name") if isinstance(repository, dict) else None
    return name[:200] if isinstance(name, str) else ""


def _not_served(repository: str, rules: Rules) -> Ignored | None:
    account = repository.partition("/")[0]
    if rules.accounts is None or account.lower() in {name.lower() for name in rules.accounts}:
        return None
    return Ignored(f"{account} is not among the accounts that this bot serves")


def _age(trigger: Trigger, now: float) -> float:
    try:
        return now - datetime.fromisoformat(trigger.created_at).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _UNKEEPABLE.sub("\ufffd", value)
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("a number out of range")
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    return {_clean(key, depth): _clean(item, depth - 1) for key, item in value.items()}
