"""Set-up in a real browser: two clicks make a GitHub App, and the bot goes on with it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import Chromium, chromium
from tests.e2e.stage import MAINTAINER, Scene, Stage, free_port, started, until
from tests.loopback import Script

pytestmark = [pytest.mark.chromium, pytest.mark.slow]

NOTHING_CONFIGURED = {"GITHUB_APP_ID": "", "GITHUB_APP_PRIVATE_KEY": "", "GITHUB_WEBHOOK_SECRET": ""}


def _register(browser: Chromium, address: str, shots: Path | None) -> str:
    """Give the token, then the two clicks; return the App's name."""
    browser.open(address, "An organisation")
    if shots:
        browser.screenshot(shots / "setup.png")
    browser.run("document.querySelector('#organization').value = 'octo'")
    browser.press("form[action='/setup/organization'] button", "Create GitHub App for octo")
    if shots:
        browser.screenshot(shots / "github.png")
    browser.press("form button", "The App is registered")
    if shots:
        browser.screenshot(shots / "registered.png")
    name: str = browser.run("document.querySelector('strong').innerText")
    return name


async def test_two_clicks_register_an_app_of_an_organisation_and_a_command_works_without_a_restart(
    stage: Stage, tmp_path: Path
) -> None:
    shots = os.environ.get("SCREENSHOTS")
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(installed=False)
    port = free_port()
    changes = NOTHING_CONFIGURED | {"PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}"}
    async with started(stage, changes) as (process, lines):
        found = re.search(r"http://\S+/setup\?token=\S+", await lines())
        assert found
        with chromium(tmp_path / "profile") as browser:
            name = await asyncio.to_thread(_register, browser, found.group(), Path(shots) if shots else None)
            assert (await lines()).startswith(f"Listening on http://127.0.0.1:{port}")
            assert process.returncode is None
            await asyncio.to_thread(browser.press, "a.button", f"Install {name}")
            await asyncio.to_thread(browser.press, "form button", f"Installed {name}")
            assert browser.complaints == []

        (app,) = [it for it in stage.hub.state.apps.values() if it.name == name]
        assert (app.owner.login, app.owner.type) == ("octo", "Organization")
        assert len(bytes.fromhex(app.webhook_secret)) == 32
        kept = stage.folder / "state" / "github-app.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["webhook_secret"] == app.webhook_secret
        await _walk(scene, f"{name}[bot]")

    # The next start finds it again.
    async with started(stage, changes) as (_, lines):
        assert (await lines()).startswith(f"Listening on http://127.0.0.1:{port}")


async def _walk(scene: Scene, login: str) -> None:
    issue = scene.issue()
    comment = scene.comment(issue, "/orchestrate", MAINTAINER)

    def reactions() -> list[str]:
        return [content for who, content in scene.hub.reactions(scene.repository, comment) if who == login]

    await until(lambda: reactions()[1:], "the end of the run")
    assert reactions() == ["eyes", "rocket"]
    pulls: list[dict[str, Any]] = scene.hub.pull_requests(scene.repository)
    assert [pull["user"]["login"] for pull in pulls] == [login]
