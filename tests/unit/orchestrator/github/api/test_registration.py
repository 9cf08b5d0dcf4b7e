from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub import LocalHub
from orchestrator.errors import GitHubError
from orchestrator.github.api.registration import manifest, new_app_url, register


def test_sec_11_the_manifest_is_private_and_asks_for_the_least_permissions_and_for_these_events() -> None:
    assert manifest("orchestrator-1", "https://bot.example.org", "https://bot.example.org/setup/registered") == {
        "name": "orchestrator-1",
        "url": "https://bot.example.org",
        "hook_attributes": {"url": "https://bot.example.org/webhook", "active": True},
        "redirect_url": "https://bot.example.org/setup/registered",
        "public": False,
        "default_permissions": {
            "actions": "read",
            "checks": "write",
            "contents": "write",
            "issues": "write",
            "metadata": "read",
            "pull_requests": "write",
            "statuses": "write",
        },
        "default_events": [
            "check_run",
            "check_suite",
            "issue_comment",
            "issues",
            "pull_request",
            "pull_request_review",
            "pull_request_review_comment",
            "push",
            "repository",
        ],
    }


def test_a_name_has_at_most_34_letters_as_github_asks() -> None:
    assert len(manifest("x" * 40, "https://b.example", "https://b.example/setup/registered")["name"]) == 34


def test_a_manifest_is_posted_to_the_account_or_to_the_organisation() -> None:
    assert new_app_url("https://github.com", "a b") == "https://github.com/settings/apps/new?state=a%20b"
    assert new_app_url("https://ghes.example.org", "s", "octo-org") == (
        "https://ghes.example.org/organizations/octo-org/settings/apps/new?state=s"
    )


@pytest.mark.parametrize("name", ["../../evil", "octo/demo", "-octo", "octo org", "x" * 40, "octo\n"])
def test_what_is_no_organisations_name_leads_nowhere(name: str) -> None:
    with pytest.raises(ValueError, match="no organisation's name"):
        new_app_url("https://github.com", "s", name)


@pytest.mark.parametrize("code", ["unknown", "", "../../app"])
async def test_a_code_that_github_does_not_know_is_said_in_a_sentence(tmp_path: Path, code: str) -> None:
    async with LocalHub(tmp_path / "hub") as hub:
        with pytest.raises(GitHubError, match=r"code"):
            await register(hub.api_url, code)
