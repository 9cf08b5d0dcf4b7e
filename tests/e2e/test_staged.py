"""A staged repository: everything runs, its page shows every write, and GitHub gets none."""

from __future__ import annotations

import asyncio
import html
import os
import re
from pathlib import Path

import pytest

from bot.localhub.faults import RecordedRequest
from tests.e2e.attempts import attempted_writes
from tests.e2e.chromium import Chromium, chromium
from tests.e2e.stage import CHECKS, Scene, Stage, until
from tests.loopback import Script

SPEC = "validation:\n  validators: [python_syntax]\n  commands: ['true']\ngithub:\n  staged: true\n"


def _writes(scene: Scene) -> list[RecordedRequest]:
    return attempted_writes(scene.hub.requests)


def _previews(page: str) -> list[tuple[str, str]]:
    """Return kind and title of each preview on a run's page."""
    found = re.findall(r'<p><span class="pill">([^<]+)</span> <strong>([^<]*)</strong>', page)
    return [(kind, html.unescape(title)) for kind, title in found]


async def _settled(stage: Stage) -> None:
    await until(lambda: stage.delivery_states() <= {"done", "ignored"}, "the end of all work")


def _look(browser: Chromium, address: str, shots: str | None) -> None:
    browser.open(address, "Staged: nothing was written on GitHub.")
    browser.run("document.querySelectorAll('details').forEach((it) => { it.open = true })")
    if shots:
        browser.screenshot(Path(shots) / "staged.png")


async def test_a_staged_run_builds_everything_shows_each_write_on_its_page_and_makes_none(stage: Stage) -> None:
    stage.models.script = Script(tasks=2)
    scene = await stage.scene(SPEC)
    async with stage.bot() as bot:
        asked = await scene.command("/orchestrate --budget 2")
        await _settled(stage)
        page = (await bot.get(f"/runs/{asked.run_id}")).text
        report = await bot.report(asked.run_id)
        again = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate status"))
        await _settled(stage)
        after = (await bot.get(f"/runs/{asked.run_id}")).text

    assert _writes(scene) == []
    # Each command's first token reads the spec, and is not used any more once that says so.
    tokens = [b'"write"' in it.body for it in stage.hub.requests if it.path.endswith("/access_tokens")]
    assert tokens == [True, False, True, False]
    assert (report["status"], len(report["files"])) == ("completed", 8)
    assert _previews(page) == [
        ("reaction", "eyes"),
        ("comment", f"on #{asked.issue}"),
        ("branch", f"orchestrator/{asked.issue}-sample-library"),
        ("pull request", f"#{asked.issue + 1} Sample library"),
        ("review request", f"on #{asked.issue + 1}"),
        *(("check run", name) for name in ("orchestrator/budget", "orchestrator/review")),
        *(("check run", name) for name in ("orchestrator/architecture", "orchestrator/validation")),
        ("comment", f"on #{asked.issue + 1}"),
        ("reaction", "rocket"),
    ]
    text = html.unescape(page)
    assert f"Done: #{asked.issue + 1} · 2/2 tasks" in text
    assert "+++ b/sample_library/part_1.py" in text
    assert f"Closes #{asked.issue}" in text
    assert page.count("<small>result success</small>") == 4
    # A command about it is answered on its page too.
    assert again.status == 202
    assert [kind for kind, _ in _previews(after)[11:]] == ["reaction", "comment", "reaction"]
    assert scene.ours(asked.issue) == []


@pytest.mark.slow
async def test_a_staged_run_that_is_killed_goes_on_and_shows_nothing_twice(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(SPEC)
    stop = scene.hub.faults.add(path_regex=r"/git/blobs/", kind="delay", seconds=60.0)
    async with stage.bot() as bot:
        asked = await scene.command()
        stage_shown = "SELECT preview FROM previews WHERE preview LIKE '%/git/blobs%'"
        await until(lambda: stop.hits or stage.rows(stage_shown), "the first file on the stage")
        await bot.kill()
    scene.hub.faults.clear()

    async with stage.bot() as bot:
        await _settled(stage)
        page = (await bot.get(f"/runs/{asked.run_id}")).text

    assert _writes(scene) == []
    kinds = [kind for kind, _ in _previews(page)]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "branch": 1, "check run": 4, "comment": 2, "pull request": 1, "reaction": 2, "review request": 1,
    }  # fmt: skip


@pytest.mark.slow
async def test_a_refusal_and_a_lint_are_shown_too_and_a_slip_in_the_spec_writes_nothing(stage: Stage) -> None:
    scene = await stage.scene(SPEC)
    async with stage.bot() as bot:
        await scene.hub.commit(scene.repository, {".orchestrator.yaml": f"{SPEC}  labls: [x]\n"})
        asked = await scene.command()
        await _settled(stage)
        page = html.unescape((await bot.get(f"/runs/{asked.run_id}")).text)
        (lint,) = {row for (row,) in stage.rows("SELECT DISTINCT run_id FROM previews WHERE run_id LIKE 'lint-%'")}
        linted = html.unescape((await bot.get(f"/runs/{lint}")).text)

    assert _writes(scene) == []
    assert "labls" in page
    assert _previews(linted) == [("check run", "orchestrator/spec")]
    assert "result failure" in linted


@pytest.mark.chromium
@pytest.mark.slow
async def test_the_previews_of_a_staged_run_are_shown_in_a_browser(stage: Stage, tmp_path: Path) -> None:
    scene = await stage.scene(SPEC)
    async with stage.bot() as bot:
        asked = await scene.command()
        await _settled(stage)
        with chromium(tmp_path / "profile") as browser:
            address = f"{bot.address}/runs/{asked.run_id}"
            await asyncio.to_thread(_look, browser, address, os.environ.get("SCREENSHOTS"))
            text = await asyncio.to_thread(browser.run, "document.body.innerText")
            assert browser.complaints == []
    assert "+++ b/sample_library/part_1.py" in text
    assert CHECKS[0] in text


@pytest.mark.slow
async def test_a_plan_on_the_stage_is_approved_there_and_goes_nowhere_once_the_stage_is_gone(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(f"{SPEC}  require_approval_above_usd: 0.0001\n")
    async with stage.bot() as bot:
        planned, other = await scene.command("/orchestrate plan"), await scene.command("/orchestrate")
        await _settled(stage)
        approved = await scene.answered(planned.issue, scene.comment(planned.issue, "/orchestrate approve"))
        await _settled(stage)
        page = (await bot.get(f"/runs/{planned.run_id}")).text
        assert (approved.answer["run_id"], _writes(scene)) == (planned.run_id, [])
        assert "pull request" in [kind for kind, _ in _previews(page)]
        assert (await bot.report(other.run_id))["status"] == "waiting"

        await scene.hub.commit(scene.repository, {".orchestrator.yaml": SPEC.replace("true", "false")})
        late = await scene.answered(other.issue, scene.comment(other.issue, "/orchestrate approve"))
        await late.reacted("confused")
        await _settled(stage)
    (told,) = scene.ours(other.issue)
    assert "the run was staged, and what it decided is not there. Give the command anew." in told
    assert scene.hub.pull_requests(scene.repository) == []
