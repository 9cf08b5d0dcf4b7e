"""What the local GitHub sent to the bot about a repository, and how it was answered."""

from __future__ import annotations

import json

from bot.localhub.state import Delivery
from tests.e2e.stage import Scene


async def answers_about(scene: Scene, event: str) -> list[tuple[int, dict[str, str]]]:
    """Wait until every delivery of an event about the repository is answered, and return the answers."""
    await scene.hub.settled()
    return [(it.status_code, json.loads(it.response_body)) for it in sent(scene, event)]


def sent(scene: Scene, event: str) -> list[Delivery]:
    repo = scene.hub.repository(scene.repository)
    return [it for it in scene.hub.deliveries if it.event == event and it.repository_id == repo.id]
