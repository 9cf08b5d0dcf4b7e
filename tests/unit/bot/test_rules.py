"""SECURITY 4 and 11: whom the bot serves when the operator says nothing, asked of a real local GitHub."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub import LocalHub
from bot.rules import rules_of
from bot.settings import Settings
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.operator_config import OperatorConfig


@pytest.mark.parametrize(("listed", "served"), [(None, ("octo",)), (("other",), ("other",)), ((), ())])
async def test_sec_11_served_is_who_registered_the_app_unless_the_operator_lists_others(
    tmp_path: Path, listed: tuple[str, ...] | None, served: tuple[str, ...]
) -> None:
    async with LocalHub(tmp_path) as hub:
        app_id, key = hub.create_app("orchestrator", None, "s" * 32, owner="octo")
        env = {
            "GITHUB_API_URL": hub.api_url,
            "GITHUB_SERVER_URL": hub.url,
            "GITHUB_APP_ID": str(app_id),
            "GITHUB_APP_PRIVATE_KEY": key,
        }
        settings = Settings.from_environment(env | {"GITHUB_WEBHOOK_SECRET": "s" * 32})
        operator = OperatorConfig(installations=listed)
        rules = await rules_of(settings, operator, GitHubConnection.from_environment(env))
    assert (rules.accounts, rules.app_slug) == (served, "orchestrator")
    # A local GitHub counts as an Enterprise Server, which keeps deliveries for a week.
    assert rules.redelivery_seconds == 7 * 24 * 3600
