"""Whom the bot serves and how, as the operator's word and GitHub's answers about its App say together."""

from __future__ import annotations

from bot.intake import REDELIVERY_SECONDS, REDELIVERY_SECONDS_ENTERPRISE, Rules
from bot.settings import GITHUB_API_URL, Settings
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.operator_config import OperatorConfig


async def rules_of(settings: Settings, operator: OperatorConfig, github: GitHubConnection) -> Rules:
    """Return who is served and how; raises `GitHubError` when GitHub does not say which App this is."""
    owner = await github.app_owner()
    served = operator.installations
    enterprise = settings.github_api_url != GITHUB_API_URL
    return Rules(
        accounts=(owner,) if served is None and owner is not None else served,
        bots=operator.bots,
        redelivery_seconds=REDELIVERY_SECONDS_ENTERPRISE if enterprise else REDELIVERY_SECONDS,
        app_slug=await github.app_slug(),
    )
