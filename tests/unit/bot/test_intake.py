from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.intake import MAX_DEPTH, Asked, LintAsked, Rules, named, read_delivery, read_payload, repository_of, signed
from orchestrator.github.triggers.trigger import Ignored
from tests.unit.bot.deliveries import HEAD, NOW, PREVIOUS, RUN, SECRET, issue_comment, press, signature

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_sec_03_a_body_is_read_or_refused_and_never_fails_otherwise(body: bytes) -> None:
    try:
        payload = read_payload(body)
    except ValueError:
        return
    json.dumps(payload, ensure_ascii=False).encode()
    assert "\0" not in str(payload)


@given(st.dictionaries(st.text(), VALUES), st.text(), st.text())
def test_sec_03_whatever_a_payload_lacks_it_is_ignored_or_asks(
    payload: dict[str, Any], event: str, delivery: str
) -> None:
    assert isinstance(read_delivery(event, delivery, payload, Rules(), NOW), Ignored)
    assert isinstance(repository_of(payload), str)


@pytest.mark.parametrize(("depth", "readable"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, False)])
def test_nesting_is_read_to_its_limit(depth: int, readable: bool) -> None:
    body = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"
    if readable:
        assert list(read_payload(body)) == ["a"]
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            read_payload(body)


@given(st.binary(), st.binary())
def test_sec_02_a_signature_holds_for_one_body_and_the_secrets_given(body: bytes, other: bytes) -> None:
    assert signed(body, signature(body, SECRET), (SECRET,))
    assert signed(body, signature(body, PREVIOUS), (SECRET, PREVIOUS))
    assert not signed(body, signature(body, PREVIOUS), (SECRET,))
    assert not signed(body, signature(body, SECRET), ())
    assert signed(other, signature(body, SECRET), (SECRET,)) is (body == other)


@pytest.mark.parametrize(
    ("created_at", "asks"),
    [
        ("2026-11-30T00:53:20Z", True),
        ("2026-11-27T00:53:20Z", True),
        ("2026-11-27T00:53:19Z", False),
        ("2026-12-24T00:00:00Z", True),
        ("0001-01-01T00:00:00Z", False),
        ("", True),
        ("yesterday", True),
    ],
)
def test_sec_04_a_comment_older_than_the_redelivery_window_asks_for_nothing(created_at: str, asks: bool) -> None:
    read = read_delivery("issue_comment", "d-1", issue_comment(created_at=created_at), Rules(), NOW)
    assert isinstance(read, Asked) is asks


def test_sec_07_bots_and_our_own_marks_ask_for_nothing() -> None:
    bot = issue_comment()
    bot["comment"]["user"] = {"login": "other[bot]", "id": 3, "type": "Bot"}
    bot["sender"] = bot["comment"]["user"]
    assert isinstance(read_delivery("issue_comment", "d-1", bot, Rules(), NOW), Ignored)
    assert isinstance(read_delivery("issue_comment", "d-1", bot, Rules(bots=("other[bot]",)), NOW), Asked)
    ours = issue_comment("/orchestrate\n<!-- orchestrator:status run=r-1 -->")
    assert isinstance(read_delivery("issue_comment", "d-1", ours, Rules(), NOW), Ignored)


def test_a_label_starts_a_run_and_the_one_who_labels_is_its_actor() -> None:
    payload = issue_comment()
    del payload["comment"]
    payload |= {"action": "labeled", "label": {"name": "orchestrate"}}
    payload["issue"]["updated_at"] = "2026-11-30T00:53:20Z"
    payload["sender"] = {"login": "grace", "id": 4, "type": "User"}
    asked = read_delivery("issues", "d-1", payload, Rules(), NOW)
    assert isinstance(asked, Asked)
    assert (asked.name, asked.delivery().actor) == ("run", "grace")


def test_the_apps_own_name_may_stand_before_the_command() -> None:
    mentioned = issue_comment("@our-app /orchestrate plan")
    assert isinstance(read_delivery("issue_comment", "d-1", mentioned, Rules(), NOW), Ignored)
    assert isinstance(read_delivery("issue_comment", "d-1", mentioned, Rules(app_slug="our-app"), NOW), Asked)


@pytest.mark.parametrize(
    ("event", "delivery", "good"),
    [
        ("projects_v2_item", "72d3162e-cc78-11e3-81ab-4c9367dc0958", True),
        ("", "d-1", False),
        ("push", "", False),
        ("push\n", "d-1", False),
        ("push", "d 1", False),
    ],
)
def test_the_event_headers_must_look_like_githubs(event: str, delivery: str, good: bool) -> None:
    assert named(event, delivery) is good


def _pull(repository_id: int, number: int) -> dict[str, Any]:
    return {"number": number, "base": {"ref": "main", "repo": {"id": repository_id, "name": "demo"}}}


@pytest.mark.parametrize(
    ("action", "identifier", "name", "starts", "source"),
    [
        ("requested_action", "retry_failed", "resume", False, "button:81:retry_failed"),
        ("requested_action", "revise_findings", "revise", True, "button:81:revise_findings"),
        ("rerequested", "", "rerun", False, "rerun:81"),
    ],
)
def test_a_press_asks_as_the_one_who_pressed_about_the_run_of_the_check(
    action: str, identifier: str, name: str, starts: bool, source: str
) -> None:
    payload = press(action) | {"requested_action": {"identifier": identifier}}
    asked = read_delivery("check_run", "guid-1", payload, Rules(app_slug="our-app"), NOW)
    again = read_delivery("check_run", "guid-2", payload, Rules(app_slug="our-app"), NOW)
    other = payload | {"sender": {"login": "bob", "type": "User"}}
    of_bob = read_delivery("check_run", "guid-3", other, Rules(app_slug="our-app"), NOW)

    assert isinstance(asked, Asked)
    assert isinstance(again, Asked)
    assert isinstance(of_bob, Asked)
    assert (asked.name, asked.starts, asked.follows, asked.works) == (name, starts, not starts, True)
    assert asked.trigger.source == f"{source}:{HEAD}:guid-1"
    assert (asked.trigger.run, asked.trigger.issue, asked.trigger.actor) == (RUN, 8, "ada")
    assert asked.trigger.head_branch == "orchestrator/5-a"
    assert asked.delivery().command_key == again.delivery().command_key != of_bob.delivery().command_key
    assert len(asked.delivery().command_key) <= 120
    assert asked.own_run_id != again.own_run_id


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (press("rerequested", app={"slug": "other"}), "the checks are another App's"),
        (press("rerequested", external_id="build-7"), "the check run belongs to no run"),
        (press("rerequested", head_sha=""), "the delivery names no check and no commit"),
        (press("requested_action"), "there is no button ''"),
        (press("rerequested") | {"sender": {"login": "a[bot]", "type": "Bot"}}, "a[bot] is no person, and the oper"),
        (press("completed"), "check_run.completed asks for nothing"),
    ],
)
def test_a_press_at_what_is_not_ours_asks_for_nothing(payload: dict[str, Any], reason: str) -> None:
    ignored = read_delivery("check_run", "d-1", payload, Rules(app_slug="our-app"), NOW)
    assert isinstance(ignored, Ignored)
    assert ignored.reason.startswith(reason)


@pytest.mark.parametrize(
    ("listed", "number"),
    [([_pull(44, 3), _pull(33, 8)], 8), ([_pull(44, 3)], None), ([{"number": 3}], None), ([], None)],
)
def test_a_press_is_never_about_a_pull_request_into_another_repository(
    listed: list[dict[str, Any]], number: int | None
) -> None:
    payload = press("rerequested", pull_requests=listed)
    asked = read_delivery("check_run", "d-1", payload, Rules(app_slug="our-app"), NOW)

    assert isinstance(asked, Asked)
    assert asked.trigger.issue == number


def test_re_run_all_asks_for_the_lint_and_for_the_other_checks_of_the_commit_in_deliveries_of_their_own() -> None:
    payload = press("rerequested")
    suite = payload.pop("check_run") | {"head_branch": "orchestrator/5-a"}
    asked = read_delivery("check_suite", "d-1", payload | {"check_suite": suite}, Rules(app_slug="our-app"), NOW)

    assert isinstance(asked, LintAsked)
    assert asked.rerun is not None
    assert asked.rerun.trigger.source == f"rerun:suite:81:{HEAD}:d-1"
    assert (asked.rerun.trigger.run, asked.rerun.trigger.head_branch) == ("", "orchestrator/5-a")
    assert (asked.delivery().id, asked.rerun.delivery(RUN).id) == ("d-1", "d-1:rerun")
