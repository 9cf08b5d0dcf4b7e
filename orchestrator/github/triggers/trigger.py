"""What set a run off, as plain data: read once from the delivery, never again from GitHub (SECURITY 13)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.github.triggers.payload import FULL_NAME
from orchestrator.github.triggers.payload import at as _at
from orchestrator.github.triggers.payload import number as _number
from orchestrator.github.triggers.payload import text as _text

LABEL = "orchestrate"
OWN_MARK = "<!-- orchestrator:"

_RUN_ID_LETTERS = 16
_REVIEWS = ("pull_request_review", "pull_request_review_comment")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One request from GitHub; texts are as delivered, `installation_id` is 0 for a token without an App.

    `issue` is None for a workflow that was started by hand. `source` names what asked, the same on every redelivery:
    `comment:ID`, `review:ID`, `review_comment:ID`, `label:ISSUE:TIME` or what `for_workflow` was given. `comment_id` is
    the id of what holds the command: a comment, a review or a comment on a line. `author` wrote the issue or pull
    request, `actor` commands. Times are GitHub's ISO 8601 texts. `run`, the check run with its name, and the head are
    known of a button or a re-run (`pressed`) only.
    """

    delivery_id: str
    event: str
    repository: str
    repository_id: int
    default_branch: str
    private: bool
    source: str
    actor: str
    actor_type: str
    issue: int | None = None
    issue_id: int | None = None
    title: str = ""
    body: str = ""
    author: str = ""
    author_type: str = ""
    comment_id: int | None = None
    comment: str = ""
    is_pull_request: bool = False
    installation_id: int = 0
    created_at: str = ""
    run: str = ""
    check_run_id: int | None = None
    check_name: str = ""
    head_sha: str = ""
    head_branch: str = ""

    @property
    def pull(self) -> int | None:
        """The number of the pull request that it came from, None elsewhere."""
        return self.issue if self.is_pull_request else None

    @property
    def is_review(self) -> bool:
        """True for a review or a comment on a line: discussion, unless the command is the first that it says."""
        return self.event in _REVIEWS

    def to_json(self) -> str:
        """Return the trigger as one JSON object, for the store.

        What holds its default is left out: a process of the version before reads it, unless it asks for what is new.
        """
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        kept = {name: value for name, value in told.items() if value != defaults[name]}
        return json.dumps(kept, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Trigger:
        """Read what `to_json` wrote; raises `ValueError` for anything else."""
        value = json.loads(text)
        if not isinstance(value, dict) or not set(value) <= {field.name for field in fields(cls)}:
            raise ValueError("this is no trigger")
        try:
            return cls(**value)
        except TypeError as error:
            raise ValueError(f"this is no trigger: {error}") from error

    @classmethod
    def for_workflow(
        cls, *, repository: str, repository_id: int, default_branch: str, private: bool, actor: str, source: str,
        title: str, body: str = "",
    ) -> Trigger:  # fmt: skip
        """Return the trigger of a workflow without an issue; `source` must be the same whenever it is run again."""
        return cls(
            delivery_id=source,
            event="workflow_dispatch",
            repository=repository,
            repository_id=repository_id,
            default_branch=default_branch,
            private=private,
            source=source,
            actor=actor,
            actor_type="User",
            title=title,
            body=body,
            author=actor,
            author_type="User",
        )


@dataclass(frozen=True, slots=True)
class Ignored:
    """A delivery that asks for nothing; `reason` is a sentence for the answer."""

    reason: str


def trigger_from_event(
    event: str, payload: Mapping[str, Any], *, delivery_id: str = "", allowed_bots: Collection[str] = ()
) -> Trigger | Ignored:
    """Return what a delivery asks for, or why it is ignored; never raises, whatever the payload lacks.

    `allowed_bots` are logins of bots whose comments count, by the operator's word.
    """
    action = _text(payload, "action")
    if event == "issue_comment":
        if action != "created":
            return Ignored(f"only new comments count, this one was {action or 'delivered without an action'}")
        return _from_comment(payload, delivery_id, allowed_bots)
    if event == "pull_request_review" and action == "submitted":
        return _from_review(event, payload, delivery_id, allowed_bots)
    if event == "pull_request_review_comment" and action == "created":
        return _from_review(event, payload, delivery_id, allowed_bots)
    if event == "issues" and action == "labeled":
        if _text(payload, "label", "name").lower() != LABEL:
            return Ignored(f"only the label {LABEL} counts")
        return _from_label(payload, delivery_id, allowed_bots)
    return Ignored(f"{event}{'.' + action if action else ''} asks for nothing")


def run_id_for(repository_id: int, source: str, command: str = "run") -> str:
    """Return the id of the run that a command starts, the same wherever it is computed.

    `source` is the trigger's. A plan and its approval are one run, so `plan` and `run` of one source share an id.
    """
    kind = "run" if command == "plan" else command
    digest = hashlib.sha256(f"{repository_id}\n{source}\n{kind}".encode()).digest()
    return "r-" + base64.b32encode(digest).decode().lower()[:_RUN_ID_LETTERS]


def _from_comment(payload: Mapping[str, Any], delivery_id: str, allowed_bots: Collection[str]) -> Trigger | Ignored:
    comment_id = _number(payload, "comment", "id")
    text = _text(payload, "comment", "body")
    if comment_id is None:
        return Ignored("the delivery names no comment")
    if OWN_MARK in text:
        return Ignored("the comment carries the orchestrator's own mark")
    return _trigger(
        payload,
        allowed_bots,
        event="issue_comment",
        who="comment",
        delivery_id=delivery_id,
        source=f"comment:{comment_id}",
        comment_id=comment_id,
        comment=text,
        created_at=_text(payload, "comment", "created_at"),
    )


def _from_review(
    event: str, payload: Mapping[str, Any], delivery_id: str, allowed_bots: Collection[str]
) -> Trigger | Ignored:
    # In their payloads the pull request stands where a comment's has the issue.
    who, time = ("review", "submitted_at") if event == "pull_request_review" else ("comment", "created_at")
    identity, said = _number(payload, who, "id"), _text(payload, who, "body")
    if identity is None:
        return Ignored("the delivery names no review")
    if OWN_MARK in said:
        return Ignored("the review carries the orchestrator's own mark")
    return _trigger(
        payload,
        allowed_bots,
        about="pull_request",
        event=event,
        who=who,
        delivery_id=delivery_id,
        source=f"review:{identity}" if who == "review" else f"review_comment:{identity}",
        comment_id=identity,
        comment=said,
        created_at=_text(payload, who, time),
    )


def _from_label(payload: Mapping[str, Any], delivery_id: str, allowed_bots: Collection[str]) -> Trigger | Ignored:
    at = _text(payload, "issue", "updated_at")
    return _trigger(
        payload,
        allowed_bots,
        event="issues",
        who="",
        delivery_id=delivery_id,
        source=f"label:{_number(payload, 'issue', 'id')}:{at}",
        created_at=at,
    )


def _trigger(
    payload: Mapping[str, Any], allowed_bots: Collection[str], *, who: str, about: str = "issue", **known: Any
) -> Trigger | Ignored:
    actor, kind = (
        (_text(payload, who, "user", "login"), _text(payload, who, "user", "type"))
        if who
        else (_text(payload, "sender", "login"), _text(payload, "sender", "type"))
    )
    repository, repository_id = _text(payload, "repository", "full_name"), _number(payload, "repository", "id")
    issue, issue_id = _number(payload, about, "number"), _number(payload, about, "id")
    if not FULL_NAME.match(repository) or repository_id is None:
        return Ignored("the delivery names no repository")
    if issue is None or issue_id is None:
        return Ignored("the delivery names no issue")
    if not actor:
        return Ignored("the delivery names nobody who asks")
    if who and _text(payload, "sender", "login") not in ("", actor):
        return Ignored("the sender did not write the comment")
    if kind != "User" and actor not in allowed_bots:
        return Ignored(f"{actor} is no person, and the operator does not list it")
    return Trigger(
        repository=repository,
        repository_id=repository_id,
        default_branch=_text(payload, "repository", "default_branch") or "main",
        private=_at(payload, "repository", "private") is not False,
        issue=issue,
        issue_id=issue_id,
        title=_text(payload, about, "title"),
        body=_text(payload, about, "body"),
        author=_text(payload, about, "user", "login"),
        author_type=_text(payload, about, "user", "type"),
        is_pull_request=about == "pull_request" or isinstance(_at(payload, "issue", "pull_request"), Mapping),
        actor=actor,
        actor_type=kind,
        installation_id=_number(payload, "installation", "id") or 0,
        **known,
    )
