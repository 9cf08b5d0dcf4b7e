from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.triggers.closing import Closing, closing_from_event, is_closing
from orchestrator.github.triggers.trigger import Ignored

ABOUT: dict[str, Any] = {
    "repository": {"full_name": "octo/demo", "id": 9, "default_branch": "trunk"},
    "sender": {"login": "maria", "type": "User"},
    "installation": {"id": 3, "account": {"login": "octo"}},
    "issue": {"number": 5},
    "pull_request": {"number": 8},
    "repositories_removed": [{"full_name": "octo/one"}, {"full_name": "../two"}, 7],
}
ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=8
)


@pytest.mark.parametrize(
    ("event", "action", "kind", "number", "said"),
    [
        ("issues", "closed", "issue", 5, "maria, who closed the issue"),
        ("pull_request", "closed", "pull_request", 8, "maria, who closed the pull request"),
        ("installation", "deleted", "uninstalled", 0, "maria, who uninstalled the App"),
        ("installation", "suspend", "suspended", 0, "maria, who suspended the App"),
        ("installation_repositories", "removed", "removed", 0, "maria, who took the repository from the App"),
        ("repository", "renamed", "moved", 5, "maria, who moved the repository"),
        ("repository", "transferred", "moved", 5, "maria, who moved the repository"),
    ],
)
def test_what_ends_or_moves_runs_is_read_with_who_did_it_and_kept(
    event: str, action: str, kind: str, number: int, said: str
) -> None:
    found = closing_from_event(event, {**ABOUT, "action": action}, delivery_id="d-1")

    assert isinstance(found, Closing)
    assert (found.kind, found.number, found.said, found.actor) == (kind, number, said, "maria")
    assert found.repositories == (("octo/one",) if kind == "removed" else ())
    assert Closing.from_json(found.to_json()) == found
    assert is_closing(found.id)
    assert not is_closing("r-abcdefghijklmnop")


@pytest.mark.parametrize(
    ("event", "action"),
    [("issues", "reopened"), ("installation", "unsuspend"), ("repository", "edited"), ("ping", ""), ("push", "")],
)
def test_any_other_event_ends_nothing(event: str, action: str) -> None:
    assert closing_from_event(event, {**ABOUT, "action": action}) is None


@given(
    st.sampled_from(["issues", "pull_request", "repository"]), st.dictionaries(st.sampled_from(sorted(ABOUT)), ANYTHING)
)
def test_whatever_a_payload_lacks_is_no_failure(event: str, parts: dict[str, Any]) -> None:
    for action in ("closed", "renamed"):
        found = closing_from_event(event, {**ABOUT, **parts, "action": action})
        assert found is None or isinstance(found, Closing | Ignored)


@pytest.mark.parametrize("listed", [5, True, "octo/one", {"full_name": "octo/one"}])
def test_repositories_that_are_no_list_are_none(listed: object) -> None:
    payload = {
        "action": "removed",
        "repositories_removed": listed,
        "installation": {"id": 1, "account": {"login": "octo"}},
        "sender": {"login": "maria"},
    }
    found = closing_from_event("installation_repositories", payload)
    assert isinstance(found, Closing)
    assert found.repositories == ()
