"""What the workflow's event and the inputs ask for together; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from action.inputs import Inputs
from orchestrator.codes import Code
from orchestrator.errors import UsageError
from orchestrator.github.stories.halves import HALVED
from orchestrator.github.triggers.command import Command, Refusal, parse_command
from orchestrator.github.triggers.trigger import Ignored, Trigger, run_id_for, trigger_from_event
from orchestrator.specs import title_of
from orchestrator.store import Delivery

SHARED = ("approve", "status", "cancel", "resume")
"""The commands about a run that another job may have started, which only a shared database knows."""
_COMMENTED = frozenset({"comment", "review"})


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody's command, ready for the handler."""

    trigger: Trigger
    command: Command | Refusal

    @property
    def name(self) -> str:
        """The command's name, or `refused`."""
        return self.command.name if isinstance(self.command, Command) else "refused"

    @property
    def run_id(self) -> str:
        """The run's id as the handler computes it."""
        return run_id_for(self.trigger.repository_id, self.trigger.source, self.name)

    @property
    def delivery_id(self) -> str:
        """What names this command in this workflow's run, whichever attempt of it."""
        return f"{self.trigger.delivery_id}:{self.run_id}"

    @property
    def follows(self) -> bool:
        """True when the command is about a run that exists."""
        return isinstance(self.command, Command) and self.command.name in SHARED

    @property
    def on_ours(self) -> bool:
        """True when the command is about a pull request of ours, whose run it needs and does not become."""
        return isinstance(self.command, Command) and self.command.name in ("revise", "ci")

    def delivery(self, text: str) -> Delivery:
        """Return what a shared database keeps of a run, so that later commands find it; `text` is its command."""
        return Delivery(
            id=self.delivery_id,
            event=self.trigger.event,
            repository=self.trigger.repository,
            payload=replace(self.trigger, comment=text or self.trigger.comment).to_json(),
            run_id=self.run_id,
            command_key=f"{self.trigger.repository_id}:{self.trigger.source}",
            issue=self.trigger.issue or 0,
            actor=self.trigger.actor,
        )


def asked_by(
    payload: Mapping[str, Any], env: Mapping[str, str], inputs: Inputs, *, bots: Collection[str], shared: bool
) -> Asked | Ignored:
    """Return what is asked for, or why the event asks for nothing.

    `bots` are logins whose comments count, `shared` tells whether runs are kept in a database that jobs share. Raises
    `UsageError` for inputs that do not fit the event, and for commands of a later version.
    """
    trigger = _trigger(payload, env, inputs, bots)
    if isinstance(trigger, Ignored):
        return trigger
    command = _command(trigger, inputs)
    if command is None:
        return Ignored("the comment holds no command")
    if isinstance(command, Command) and inputs.half and command.name not in HALVED:
        names = ", ".join(f"`{name}`" for name in HALVED)
        return Asked(
            trigger,
            Refusal(
                f"`/orchestrate {command.name}` cannot be shared by two jobs; {names} can. For the others, the "
                "workflow needs one job that does both halves.",
                code=Code.NOT_AVAILABLE,
            ),
        )
    if isinstance(command, Command) and command.name in SHARED and not shared:
        return Asked(
            trigger,
            Refusal(
                f"`/orchestrate {command.name}` needs a database that the workflow's jobs share: name it by "
                "`ORCHESTRATOR_DATABASE_URL` in the workflow's `env`.",
                code=Code.NOT_AVAILABLE,
            ),
        )
    return Asked(trigger, command)


def origin(payload: str) -> tuple[Trigger, Command] | None:
    """Return what asked for a run, from what `Asked.delivery` kept, or None when that was no command."""
    trigger = Trigger.from_json(payload)
    command = _said(trigger) if trigger.comment else None
    if isinstance(command, Refusal):
        return None
    return trigger, command or Command("run")


def _trigger(
    payload: Mapping[str, Any], env: Mapping[str, str], inputs: Inputs, bots: Collection[str]
) -> Trigger | Ignored:
    event = env.get("GITHUB_EVENT_NAME", "")
    issue = payload.get("issue")
    if inputs.project and (isinstance(issue, Mapping) or _COMMENTED & payload.keys()):
        raise UsageError(
            f"The input `project` does not go with the event `{event}`: there the issue is the job.",
            hint="Leave it out, or start the workflow by workflow_dispatch.",
        )
    if _COMMENTED & payload.keys() or (event == "issues" and payload.get("action") == "labeled"):
        return trigger_from_event(event, payload, delivery_id=_run(env), allowed_bots=bots)
    return _for_workflow(payload, env, inputs, issue if isinstance(issue, Mapping) else None)


def _for_workflow(
    payload: Mapping[str, Any], env: Mapping[str, str], inputs: Inputs, issue: Mapping[str, Any] | None
) -> Trigger:
    """Return the trigger of an event without a comment: the event's issue, or the input `project`, is the job."""
    if issue is None and not inputs.project:
        raise UsageError(
            "There is nothing to build: the event has no issue and no comment, and the input `project` is empty.",
            hint="Give `project`, or run the action on issue_comment or issues.",
        )
    repository = _part(payload, "repository")
    name = _text(repository, "full_name") or env.get("GITHUB_REPOSITORY", "")
    number = repository.get("id") or env.get("GITHUB_REPOSITORY_ID", "")
    if "/" not in name or not str(number).isdecimal():
        raise UsageError("The event names no repository.", hint="Check GITHUB_EVENT_PATH and GITHUB_REPOSITORY.")
    trigger = Trigger.for_workflow(
        repository=name,
        repository_id=int(str(number)),
        # Only a scheduled workflow's event lacks the repository, and it always runs on the default branch.
        default_branch=_text(repository, "default_branch") or env.get("GITHUB_REF_NAME", "") or "main",
        private=repository.get("private") is not False,
        actor=_text(_part(payload, "sender"), "login") or env.get("GITHUB_ACTOR", ""),
        # The two halves of one run are two jobs.
        source=f"workflow:{_run(env)}:"
        + _digest("" if inputs.half else env.get("GITHUB_JOB", ""), inputs.project, inputs.criteria),
        title=_text(issue, "title") if issue is not None else title_of(inputs.project),
        body=_text(issue, "body") if issue is not None else inputs.project,
    )
    if issue is None:
        return trigger
    author = _part(issue, "user")
    return replace(
        trigger,
        event="issues",
        issue=issue.get("number"),
        issue_id=issue.get("id"),
        author=_text(author, "login"),
        author_type=_text(author, "type"),
    )


def _command(trigger: Trigger, inputs: Inputs) -> Command | Refusal | None:
    if inputs.command and not inputs.half:
        text = inputs.command.removeprefix("/orchestrate").strip()
        return parse_command(f"/orchestrate {text}", on_pull_request=trigger.is_pull_request)
    return Command("run") if trigger.comment_id is None else _said(trigger)


def _said(trigger: Trigger) -> Command | Refusal | None:
    return parse_command(trigger.comment, on_pull_request=trigger.is_pull_request, leading=trigger.is_review)


def _run(env: Mapping[str, str]) -> str:
    """Return what is the same when a workflow is run again: its run, not its attempt."""
    return env.get("GITHUB_RUN_ID", "") or "local"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _text(value: Mapping[str, Any] | None, name: str) -> str:
    text = (value or {}).get(name)
    return text if isinstance(text, str) else ""
