"""GitHub's own examples of every event, signed and delivered to the running bot: each is answered, none fails it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.stage import SECRET, Stage
from tests.e2e.test_offline_web import npm

pytestmark = [pytest.mark.slow, pytest.mark.node]

PACKAGE = "@octokit/webhooks-examples"


def _examples(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the event and payload of each example, of github.com and of every Enterprise Server."""
    npm(folder, "install", "--no-audit", "--no-fund", f"{PACKAGE}@7.6.1")
    indexes = sorted((folder / "node_modules" / PACKAGE).glob("*/index.json"))
    return [
        (event["name"], example)
        for index in indexes
        for event in json.loads(index.read_text())
        for example in event["examples"]
    ]


def _owners(examples: list[tuple[str, dict[str, Any]]]) -> list[str]:
    repositories = (example.get("repository") or {} for _, example in examples)
    return sorted({it["full_name"].partition("/")[0] for it in repositories if it.get("full_name")})


async def test_no_example_of_any_event_makes_the_bot_fail(stage: Stage, tmp_path: Path) -> None:
    examples = _examples(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"installations": _owners(examples)}))

    statuses: Counter[int] = Counter()
    async with (
        stage.bot({"ORCHESTRATOR_CONFIG": str(config)}) as bot,
        httpx.AsyncClient(base_url=bot.address, trust_env=False, timeout=30) as client,
    ):
        for number, (event, example) in enumerate(examples):
            body = json.dumps(example).encode()
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": f"example-{number}",
                "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
            }
            answer = await client.post("/webhook", content=body, headers=headers)
            statuses[answer.status_code] += 1
            assert answer.status_code in (200, 202), (event, answer.status_code, answer.text)
        alive = await bot.get("/readyz")

    assert statuses.total() == len(examples) > 700
    assert alive.status_code == 200
