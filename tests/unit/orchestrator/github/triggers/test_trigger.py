from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.triggers.trigger import Ignored, Trigger, run_id_for, trigger_from_event

PAYLOAD: dict[str, Any] = {
    "action": "created",
    "comment": {
        "id": 77,
        "body": "/orchestrate",
        "user": {"login": "maria", "type": "User"},
        "created_at": "2026-11-01T10:00:00Z",
    },
    "issue": {
        "number": 5,
        "id": 500,
        "title": "A tool",
        "body": None,
        "updated_at": "2026-11-01T10:00:00Z",
        "user": {"login": "joe", "type": "User"},
    },
    "repository": {"full_name": "octo/demo", "id": 9, "default_branch": "main", "private": False},
    "sender": {"login": "maria", "type": "User"},
    "installation": {"id": 3},
}


def _with(**changes: Any) -> dict[str, Any]:
    return {**PAYLOAD, **changes}


def test_a_new_comment_is_a_trigger_with_everything_as_delivered() -> None:
    assert trigger_from_event("issue_comment", PAYLOAD, delivery_id="d-1") == Trigger(
        delivery_id="d-1",
        event="issue_comment",
        repository="octo/demo",
        repository_id=9,
        default_branch="main",
        private=False,
        source="comment:77",
        actor="maria",
        actor_type="User",
        issue=5,
        issue_id=500,
        title="A tool",
        body="",
        author="joe",
        author_type="User",
        comment_id=77,
        comment="/orchestrate",
        is_pull_request=False,
        installation_id=3,
        created_at="2026-11-01T10:00:00Z",
    )


def test_a_label_is_a_trigger_of_whoever_pressed_it() -> None:
    payload = _with(action="labeled", label={"name": "orchestrate"}, sender={"login": "ann", "type": "User"})
    del payload["comment"]
    found = trigger_from_event("issues", payload)
    assert isinstance(found, Trigger)
    assert (found.actor, found.comment_id, found.source) == ("ann", None, "label:500:2026-11-01T10:00:00Z")


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        ("issue_comment", _with(action="edited"), "only new comments count, this one was edited"),
        ("issue_comment", _with(action="deleted"), "only new comments count, this one was deleted"),
        ("issue_comment", {}, "only new comments count, this one was delivered without an action"),
        ("issue_comment", {"action": "created"}, "the delivery names no comment"),
        ("issues", _with(action="labeled", label={"name": "bug"}), "only the label orchestrate counts"),
        ("issues", _with(action="opened"), "issues.opened asks for nothing"),
        ("star", {}, "star asks for nothing"),
        ("issue_comment", _with(repository={"full_name": "../x", "id": 1}), "the delivery names no repository"),
        ("issue_comment", _with(sender={"login": "eve"}), "the sender did not write the comment"),
    ],
)
def test_sec_07_everything_else_is_ignored_with_a_reason(event: str, payload: dict[str, Any], reason: str) -> None:
    assert trigger_from_event(event, payload) == Ignored(reason)


def test_sec_07_bots_count_only_when_the_operator_lists_them() -> None:
    bot = {"login": "ci[bot]", "type": "Bot"}
    payload = _with(comment={**PAYLOAD["comment"], "user": bot}, sender=bot)
    assert isinstance(trigger_from_event("issue_comment", payload), Ignored)
    assert isinstance(trigger_from_event("issue_comment", payload, allowed_bots={"ci[bot]"}), Trigger)


def test_sec_07_our_own_marks_never_trigger_us() -> None:
    body = "/orchestrate\n<!-- orchestrator:status run=r-x -->"
    payload = _with(comment={**PAYLOAD["comment"], "body": body})
    assert isinstance(trigger_from_event("issue_comment", payload), Ignored)


def test_the_id_of_a_run_is_the_same_wherever_it_is_computed() -> None:
    assert run_id_for(9, "comment:77") == "r-4mtm7z5tlaygt424"
    assert run_id_for(9, "comment:77", "plan") == run_id_for(9, "comment:77", "run")
    assert run_id_for(9, "comment:78") != run_id_for(9, "comment:77")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["action", "comment", "issue", "repository", "sender", "user", "login", "id", "full_name"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(
    st.sampled_from(["issue_comment", "issues", "push"]), st.dictionaries(st.sampled_from([*PAYLOAD, "label"]), JSON)
)
def test_no_payload_raises(event: str, payload: dict[str, Any]) -> None:
    for action in ("created", "labeled"):
        found = trigger_from_event(event, {**payload, "action": action})
        assert isinstance(found, Trigger | Ignored)


@given(st.text(), st.text())
def test_a_trigger_survives_the_store(title: str, body: str) -> None:
    payload = _with(issue={**PAYLOAD["issue"], "title": title, "body": body})
    found = trigger_from_event("issue_comment", payload)
    assert isinstance(found, Trigger)
    assert Trigger.from_json(found.to_json()) == found


def test_a_plain_command_is_kept_as_the_version_before_reads_it() -> None:
    found = trigger_from_event("issue_comment", PAYLOAD)
    assert isinstance(found, Trigger)
    # The fields that the first release knew; what buttons and reviews added stands only where it says something.
    first = {
        "delivery_id", "event", "repository", "repository_id", "default_branch", "private", "source", "actor",
        "actor_type", "issue", "issue_id", "title", "body", "author", "author_type", "comment_id", "comment",
        "is_pull_request", "installation_id", "created_at",
    }  # fmt: skip
    kept = json.loads(found.to_json())
    assert set(kept) <= first
    assert kept["comment"] == PAYLOAD["comment"]["body"]


@pytest.mark.parametrize("text", ["[]", '{"event": "x"}', '{"nothing": 1}', "{"])
def test_what_is_no_trigger_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no trigger|Expecting"):
        Trigger.from_json(text)


PULL: dict[str, Any] = {**PAYLOAD["issue"], "number": 8, "id": 800, "title": "Build a tool"}
REVIEW: dict[str, Any] = {**PAYLOAD["comment"], "id": 91, "body": "/orchestrate status", "submitted_at": "2026-11-02"}


@pytest.mark.parametrize(
    ("event", "action", "about", "source", "created_at"),
    [
        ("pull_request_review", "submitted", "review", "review:91", "2026-11-02"),
        ("pull_request_review_comment", "created", "comment", "review_comment:91", "2026-11-01T10:00:00Z"),
    ],
)
def test_a_review_or_a_comment_on_a_line_is_a_trigger_about_its_pull_request(
    event: str, action: str, about: str, source: str, created_at: str
) -> None:
    payload = {"action": action, about: REVIEW, "pull_request": PULL}
    payload |= {name: PAYLOAD[name] for name in ("repository", "sender", "installation")}

    found = trigger_from_event(event, payload)

    assert isinstance(found, Trigger)
    assert (found.source, found.comment_id, found.comment) == (source, 91, "/orchestrate status")
    assert (found.issue, found.is_pull_request, found.title, found.author) == (8, True, "Build a tool", "joe")
    assert (found.actor, found.created_at, found.is_review) == ("maria", created_at, True)
    assert isinstance(trigger_from_event(event, payload | {"action": "edited"}), Ignored)
    said = {about: REVIEW | {"body": "/orchestrate\n<!-- orchestrator:status run=r-1 -->"}}
    assert trigger_from_event(event, payload | said) == Ignored("the review carries the orchestrator's own mark")
    assert trigger_from_event(event, payload | {about: {}}) == Ignored("the delivery names no review")
