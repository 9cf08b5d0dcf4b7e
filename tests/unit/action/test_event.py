from __future__ import annotations

from typing import Any

import pytest

from action.event import Asked, asked_by
from action.inputs import Inputs
from orchestrator.errors import UsageError
from orchestrator.github.triggers.command import Command, Refusal
from orchestrator.github.triggers.trigger import Ignored, run_id_for

REPOSITORY = {"id": 7, "full_name": "octo/demo", "default_branch": "trunk", "private": False}
MARIA = {"login": "maria", "type": "User"}
ISSUE = {
    "number": 3,
    "id": 33,
    "title": "A title",
    "body": "A body.",
    "user": MARIA,
    "updated_at": "2026-11-01T10:00:00Z",
}
ENV = {"GITHUB_RUN_ID": "4711", "GITHUB_JOB": "build", "GITHUB_REPOSITORY": "octo/demo", "GITHUB_REPOSITORY_ID": "7"}


def _comment(text: str, **more: Any) -> dict[str, Any]:
    comment = {"id": 99, "body": text, "user": MARIA, "created_at": "2026-11-01T10:00:00Z"}
    return {
        "action": "created", "issue": ISSUE, "comment": comment, "repository": REPOSITORY, "sender": MARIA, **more
    }  # fmt: skip


def _asked(
    event: str, payload: dict[str, Any], inputs: Inputs | None = None, *, shared: bool = False
) -> Asked | Ignored:
    return asked_by(payload, {**ENV, "GITHUB_EVENT_NAME": event}, inputs or Inputs(), bots=(), shared=shared)


def test_a_comments_command_is_what_is_asked() -> None:
    asked = _asked("issue_comment", _comment("/orchestrate --budget 2 with tests"))
    assert isinstance(asked, Asked)
    assert asked.command == Command("run", budget_usd=2.0, text="with tests")
    assert asked.run_id == run_id_for(7, "comment:99")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (_comment("Nice work!"), "the comment holds no command"),
        (_comment("/orchestrate", action="edited"), "only new comments count, this one was edited"),
    ],
)
def test_a_comment_that_asks_for_nothing_is_ignored(payload: dict[str, Any], reason: str) -> None:
    assert _asked("issue_comment", payload) == Ignored(reason)


def test_the_input_command_wins_over_the_comment_with_or_without_its_slash() -> None:
    for text in ("plan --budget 1", "/orchestrate plan --budget 1"):
        asked = _asked("issue_comment", _comment("/orchestrate"), Inputs(command=text))
        assert isinstance(asked, Asked)
        assert asked.command == Command("plan", budget_usd=1.0)


def test_a_label_and_an_opened_issue_ask_for_a_run_of_the_issue() -> None:
    labeled = {"action": "labeled", "label": {"name": "orchestrate"}}
    for more in (labeled, {"action": "opened"}):
        asked = _asked("issues", {"issue": ISSUE, "repository": REPOSITORY, "sender": MARIA, **more})
        assert isinstance(asked, Asked)
        assert (asked.command, asked.trigger.issue, asked.trigger.title) == (Command("run"), 3, "A title")
        assert (asked.trigger.actor, asked.trigger.author, asked.trigger.default_branch) == ("maria", "maria", "trunk")


def test_another_label_is_ignored() -> None:
    payload = {"action": "labeled", "label": {"name": "bug"}, "issue": ISSUE, "repository": REPOSITORY, "sender": MARIA}
    assert _asked("issues", payload) == Ignored("only the label orchestrate counts")


def test_a_dispatch_with_a_project_asks_for_a_run_that_is_the_same_when_the_job_is_run_again() -> None:
    payload = {"repository": REPOSITORY, "sender": MARIA}
    inputs = Inputs(project="Build a rate limiter.\n\nWith tests.")
    first, second = _asked("workflow_dispatch", payload, inputs), _asked("workflow_dispatch", payload, inputs)
    other = _asked("workflow_dispatch", payload, Inputs(project="Build a parser."))
    assert isinstance(first, Asked)
    assert isinstance(second, Asked)
    assert isinstance(other, Asked)
    assert (first.trigger.issue, first.trigger.title) == (None, "Build a rate limiter.")
    assert first.trigger.body == "Build a rate limiter.\n\nWith tests."
    assert first.run_id == second.run_id != other.run_id


def test_a_scheduled_workflow_takes_the_repository_from_the_runner() -> None:
    env = {**ENV, "GITHUB_EVENT_NAME": "schedule", "GITHUB_ACTOR": "maria", "GITHUB_REF_NAME": "trunk"}
    asked = asked_by({"schedule": "0 3 * * *"}, env, Inputs(project="Build it."), bots=(), shared=False)
    assert isinstance(asked, Asked)
    assert (asked.trigger.repository, asked.trigger.repository_id, asked.trigger.default_branch) == (
        "octo/demo",
        7,
        "trunk",
    )
    # What does not say that it is public is treated as private.
    assert (asked.trigger.actor, asked.trigger.private) == ("maria", True)


@pytest.mark.parametrize(
    ("event", "payload", "inputs", "says"),
    [
        ("push", {"repository": REPOSITORY, "sender": MARIA}, Inputs(), "There is nothing to build"),
        ("workflow_dispatch", {}, Inputs(), "There is nothing to build"),
        ("issue_comment", _comment("/orchestrate"), Inputs(project="x"), "`project` does not go with"),
    ],
)
def test_inputs_that_do_not_fit_the_event_are_refused(
    event: str, payload: dict[str, Any], inputs: Inputs, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        _asked(event, payload, inputs)


@pytest.mark.parametrize("name", ["approve", "status", "cancel", "resume"])
def test_a_command_about_another_jobs_run_needs_a_shared_database(name: str) -> None:
    payload = _comment(f"/orchestrate {name}")
    refused, asked = _asked("issue_comment", payload), _asked("issue_comment", payload, shared=True)
    assert isinstance(refused, Asked)
    assert isinstance(refused.command, Refusal)
    assert "`ORCHESTRATOR_DATABASE_URL`" in refused.command.message
    assert isinstance(asked, Asked)
    assert asked.command == Command(name)


@pytest.mark.parametrize("half", ["generate", "publish"])
def test_the_halves_of_a_run_read_the_command_from_the_event_and_share_its_run(half: str) -> None:
    inputs = Inputs(command=half, half=half)
    planned = _asked("issue_comment", _comment("/orchestrate plan"), inputs)
    assert isinstance(planned, Asked)
    assert planned.command == Command("plan")
    assert isinstance(_asked("issue_comment", _comment("Thanks!"), inputs), Ignored)
    for name in ("approve", "resume", "status", "cancel"):
        refused = _asked("issue_comment", _comment(f"/orchestrate {name}"), inputs, shared=True)
        assert isinstance(refused, Asked)
        assert isinstance(refused.command, Refusal)
        assert "cannot be shared by two jobs" in refused.command.message


def test_the_two_jobs_of_a_dispatch_come_to_the_same_run() -> None:
    payload = {"repository": REPOSITORY, "sender": MARIA}
    runs = []
    for half in ("generate", "publish"):
        env = {**ENV, "GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_JOB": f"job-{half}"}
        inputs = Inputs(command=half, half=half, project="Build it.")
        asked = asked_by(payload, env, inputs, bots=(), shared=False)
        assert isinstance(asked, Asked)
        runs.append((asked.run_id, asked.command))
    assert runs[0] == runs[1] == (runs[0][0], Command("run"))
