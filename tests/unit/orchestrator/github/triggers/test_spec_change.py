from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.triggers.spec_change import (
    MAX_PUSH_COMMITS,
    SpecChange,
    is_lint,
    is_linted,
    spec_change_from_event,
)
from orchestrator.github.triggers.trigger import Ignored, run_id_for

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = {"id": 33, "full_name": "octo/demo", "default_branch": "main"}
SENDER = {"login": "ada", "type": "User"}
ABOUT = {"repository": REPOSITORY, "sender": SENDER, "installation": {"id": 12}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([NEW, "refs/heads/main"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def push(*paths: str, **changes: Any) -> dict[str, Any]:
    commit = {"added": list(paths), "modified": [], "removed": []}
    pushed = {"ref": "refs/heads/main", "before": OLD, "after": NEW, "created": False, "forced": False}
    return {**ABOUT, **pushed, "deleted": False, "commits": [commit], **changes}


@pytest.mark.parametrize(
    ("path", "linted"),
    [
        (".orchestrator.yaml", True),
        (".orchestrator.yml", False),
        ("policies.yaml", True),
        ("policies.yml", True),
        ("policies.json", True),
        ("docs/policies.yaml", False),
        ("policies.yaml.bak", False),
        (".orchestrator/eng.yaml", True),
        (".orchestrator/eng.yml", True),
        (".orchestrator/report.json", False),
        (".orchestrator/deep/eng.yaml", False),
        ("policies.yaml\n", False),
    ],
)
def test_the_spec_and_the_policy_files_are_known_by_their_paths(path: str, linted: bool) -> None:
    assert is_linted(path) is linted


def test_a_push_to_the_default_branch_that_touches_the_spec_is_a_change() -> None:
    assert spec_change_from_event("push", push(".orchestrator.yaml"), delivery_id="d-1") == SpecChange(
        "d-1", "push", "octo/demo", 33, NEW, "ada", installation_id=12, before=OLD, touched=True
    )


@pytest.mark.parametrize("kind", ["added", "modified", "removed"])
def test_a_file_is_touched_in_whatever_way_and_by_whichever_commit(kind: str) -> None:
    nothing: dict[str, Any] = {"added": [], "modified": [], "removed": []}
    found = spec_change_from_event("push", push(commits=[nothing, {**nothing, kind: ["policies.json"]}, nothing]))
    assert isinstance(found, SpecChange)
    assert found.touched


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (push("README.md"), "the push touches no spec and no policy file"),
        (push(".orchestrator.yaml", ref="refs/heads/draft"), "only pushes to the default branch are looked at"),
        (push(".orchestrator.yaml", ref="refs/tags/main"), "only pushes to the default branch are looked at"),
        (push(".orchestrator.yaml", deleted=True, after="0" * 40), "the branch was deleted"),
        (push(".orchestrator.yaml", after="main"), "the delivery names no commit"),
        (push(".orchestrator.yaml", repository={**REPOSITORY, "id": 0}), "the delivery names no repository"),
        (push(".orchestrator.yaml", sender={}), "the delivery names nobody who did it"),
    ],
)
def test_another_push_is_ignored_with_a_reason(payload: dict[str, Any], reason: str) -> None:
    assert spec_change_from_event("push", payload) == Ignored(reason)


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        ({"created": True, "before": "0" * 40, "commits": []}, ""),
        ({"forced": True}, OLD),
        ({"commits": []}, OLD),
        ({"commits": [{"added": [], "modified": [], "removed": []}] * MAX_PUSH_COMMITS}, OLD),
        ({"commits": [{"added": ["README.md"]}]}, OLD),
    ],
)
def test_a_push_whose_commits_do_not_say_everything_is_compared_with_what_was_before(
    changes: dict[str, Any], before: str
) -> None:
    found = spec_change_from_event("push", push("README.md", **changes))
    assert isinstance(found, SpecChange)
    assert (found.touched, found.before) == (False, before)


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened"])
def test_a_pull_request_is_asked_for_its_files(action: str) -> None:
    payload = {**ABOUT, "action": action, "pull_request": {"number": 7, "head": {"sha": NEW}}}
    found = spec_change_from_event("pull_request", payload, delivery_id="d-1")
    assert found == SpecChange("d-1", "pull_request", "octo/demo", 33, NEW, "ada", installation_id=12, pull=7)


def test_a_check_run_or_suite_that_is_asked_for_again_is_linted_again() -> None:
    run = {**ABOUT, "action": "rerequested", "check_run": {"name": "orchestrator/spec", "head_sha": NEW}}
    suite = {**ABOUT, "action": "rerequested", "check_suite": {"head_sha": NEW}}
    for event, payload in (("check_run", run), ("check_suite", suite)):
        found = spec_change_from_event(event, payload)
        assert isinstance(found, SpecChange)
        assert (found.head_sha, found.again, found.touched) == (NEW, True, False)


def test_sec_07_a_bot_changes_specs_but_asks_again_only_by_the_operators_word() -> None:
    bot = {"login": "renovate[bot]", "type": "Bot"}
    again = {**ABOUT, "action": "rerequested", "check_suite": {"head_sha": NEW}, "sender": bot}
    assert isinstance(spec_change_from_event("push", push("policies.yml", sender=bot)), SpecChange)
    assert isinstance(spec_change_from_event("check_suite", again), Ignored)
    assert isinstance(spec_change_from_event("check_suite", again, allowed_bots=("renovate[bot]",)), SpecChange)


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("pull_request", {"action": "closed"}),
        ("check_run", {"action": "rerequested", "check_run": {"name": "orchestrator/budget", "head_sha": NEW}}),
        ("check_run", {"action": "completed", "check_run": {"name": "orchestrator/spec", "head_sha": NEW}}),
        ("issue_comment", {"action": "created"}),
    ],
)
def test_other_events_are_not_about_a_spec(event: str, payload: dict[str, Any]) -> None:
    assert spec_change_from_event(event, {**ABOUT, **payload}) is None


def test_what_is_kept_of_a_change_is_the_same_when_it_is_read_again() -> None:
    found = spec_change_from_event("push", push("policies.yaml"), delivery_id="d-1")
    assert isinstance(found, SpecChange)
    assert SpecChange.from_json(found.to_json()) == found
    for text in ("[]", '{"head_sha": "x"}', '{"stranger": 1}'):
        with pytest.raises(ValueError, match="no change of a spec"):
            SpecChange.from_json(text)


def test_whatever_asks_about_one_commit_has_one_id_that_is_no_runs() -> None:
    pushed = SpecChange("d-1", "push", "octo/demo", 33, NEW, "ada")
    opened = SpecChange("d-2", "pull_request", "octo/demo", 33, NEW, "grace", pull=7)
    other = SpecChange("d-3", "push", "octo/demo", 33, OLD, "ada")
    assert pushed.id == opened.id == "lint-5agkjjswk3z4qtcu"
    assert other.id != pushed.id
    assert is_lint(pushed.id)
    assert not is_lint(run_id_for(33, "comment:71"))


@given(st.sampled_from(["push", "pull_request", "check_run", "check_suite"]), VALUES, VALUES, VALUES)
def test_sec_03_whatever_a_payload_holds_it_is_read_or_ignored(event: str, one: Any, two: Any, three: Any) -> None:
    actions = ("opened", "rerequested")
    for action in actions:
        payload = {**ABOUT, "action": action, "ref": "refs/heads/main", "commits": one, "after": two, "created": False}
        payload |= {"forced": False, "pull_request": three, "check_run": one, "check_suite": two, "before": three}
        found = spec_change_from_event(event, payload)
        assert found is None or isinstance(found, SpecChange | Ignored)
