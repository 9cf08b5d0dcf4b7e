"""`make screenshots`: the pictures of the documents, taken of real runs with the offline model on the local GitHub."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bot.demo import PERSON, REPORT_MARK, REPOSITORY, beside, set_scene
from bot.localhub.server import LocalHub
from tests.e2e.chromium import Chromium, chromium

IMAGES = Path(__file__).resolve().parent / "images"
LARGEST_BYTES = 150_000
WIDTH = 1040
LIMIT_SECONDS = 600.0
STAGED = "github:\n  staged: true\n"
HASTY = '"""The quotes that people like."""\n\n\ndef longest(quotes):\n    return max(quotes, key=len\n'


class Shot(NamedTuple):
    """A picture to take: its name, the page, a text that shows that it is there, what it begins at, and its height."""

    name: str
    address: str
    text: str
    begins_at: str = "body"
    height: int = 800


def main() -> int:
    """Take every picture anew; returns 0, or 1 when one is too large."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orchestrator-screenshots-") as folder:
        asyncio.run(_take(Path(folder)))
    large = [path.name for path in sorted(IMAGES.glob("*.png")) if path.stat().st_size > LARGEST_BYTES]
    print(f"Larger than {LARGEST_BYTES} bytes: {', '.join(large)}" if large else f"Written to {IMAGES}")
    return 1 if large else 0


async def _take(folder: Path) -> None:
    offline = {**os.environ, "ORCHESTRATOR_OFFLINE": "1"}
    async with LocalHub(folder / "hub", page_user=PERSON) as hub:
        issue = await set_scene(hub)
        async with beside(hub, folder, offline) as bot:
            here = f"{hub.url}/{REPOSITORY}"
            await _command(hub, issue, "/orchestrate plan")
            # The run's one comment says the plan now, and how it ended later.
            planned = Shot("plan", f"{here}/issues/{issue}", "Nothing was built.", "article:nth-of-type(3)", 580)
            await asyncio.to_thread(_photograph, [planned], folder / "first")
            await _command(hub, issue, "/orchestrate approve")
            (pull,) = hub.pull_requests(REPOSITORY)
            number = pull["number"]
            (reported,) = [it["id"] for it in hub.comments(REPOSITORY, number) if REPORT_MARK in str(it["body"])]
            (built,) = await _runs(bot)
            hasty = await _hasty_pull_request(hub)
            await _command(hub, hasty, "/orchestrate review")
            await hub.commit(REPOSITORY, {".orchestrator.yaml": STAGED})
            staged = await _staged(hub, bot)
            shots = (
                Shot("status", f"{here}/issues/{issue}", "Done:", "article:nth-of-type(3)", 640),
                Shot("pull-request", f"{here}/pull/{number}", "Closes #"),
                Shot("report", f"{here}/pull/{number}", "Validation", f"#issuecomment-{reported}", 900),
                Shot("checks", f"{here}/pull/{number}", "orchestrator/validation", "#checks", 380),
                Shot("files-changed", f"{here}/pull/{hasty}/files", "orchestrator/review", height=710),
                Shot("dashboard", f"{bot}/runs/{built['id']}", "completed"),
                Shot("staged", f"{bot}/runs/{staged}", "Staged: nothing was written on GitHub.", "#preview", 700),
            )
            await asyncio.to_thread(_photograph, shots, folder / "second")


async def _command(hub: LocalHub, number: int, text: str) -> None:
    """Comment as the person, and wait for the reaction that says how it ended."""
    comment = hub.comment(REPOSITORY, number, text, user=PERSON)
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            reactions = {content for _, content in hub.reactions(REPOSITORY, comment)}
            if reactions & {"rocket", "confused"}:
                return
            await asyncio.sleep(0.3)


async def _hasty_pull_request(hub: LocalHub) -> int:
    """Open a person's pull request whose new file does not parse, and return its number."""
    await hub.commit(REPOSITORY, {"quotes.py": HASTY}, branch="longest", message="Find the longest quote", user=PERSON)
    return int((await _asked(hub.api_url, f"/repos/{REPOSITORY}/pulls", hub.token_for(PERSON)))["number"])


async def _asked(api_url: str, path: str, token: str) -> dict[str, Any]:
    pull = {"title": "Find the longest quote", "head": "longest", "base": "main", "body": "For the start page."}
    async with httpx.AsyncClient(base_url=api_url, trust_env=False, timeout=30) as client:
        answer = await client.post(path, json=pull, headers={"Authorization": f"Bearer {token}"})
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


async def _staged(hub: LocalHub, bot: str) -> str:
    """Have a run staged, and return its id once it has ended; nothing on GitHub says so."""
    known = {run["id"] for run in await _runs(bot)}
    issue = hub.create_issue(REPOSITORY, "A page that shows one quote", "As one HTML file.", user=PERSON)
    hub.comment(REPOSITORY, issue, "/orchestrate", user=PERSON)
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            new = [run for run in await _runs(bot) if run["id"] not in known]
            if new and new[0]["status"] not in ("queued", "planning", "running"):
                return str(new[0]["id"])
            await asyncio.sleep(0.3)


async def _runs(bot: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=bot, trust_env=False, timeout=30) as client:
        runs: list[dict[str, Any]] = (await client.get("/api/runs")).raise_for_status().json()["runs"]
    return runs


def _photograph(shots: Sequence[Shot], profile: Path) -> None:
    profile.mkdir()
    with chromium(profile) as browser:
        for shot in shots:
            browser.ask(
                "Emulation.setDeviceMetricsOverride", width=WIDTH, height=shot.height, deviceScaleFactor=1, mobile=False
            )
            browser.open(shot.address, shot.text)
            (IMAGES / f"{shot.name}.png").write_bytes(_png(browser, shot))


def _png(browser: Chromium, shot: Shot) -> bytes:
    top = browser.run(f"document.querySelector({shot.begins_at!r}).getBoundingClientRect().top + window.scrollY")
    clip = {"x": 0, "y": max(0, top - 8), "width": WIDTH, "height": shot.height, "scale": 1}
    taken = browser.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return base64.b64decode(taken["data"])


if __name__ == "__main__":
    sys.exit(main())
