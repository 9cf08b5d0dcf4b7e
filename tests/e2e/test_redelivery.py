"""What the bot missed while it was down arrives once it is up again, and once."""

from __future__ import annotations

import pytest

from tests.e2e.stage import MAINTAINER, SECRET, Stage, free_port, until
from tests.loopback import Script


def _asked(stage: Stage) -> list[str]:
    return [it.path for it in stage.hub.requests if it.path.endswith("/attempts")]


def _sweeps(stage: Stage) -> list[str]:
    return [it.path for it in stage.hub.requests if it.path.endswith("/app/hook/deliveries")]


@pytest.mark.slow
async def test_a_command_given_while_the_bot_was_down_runs_once_when_it_is_up_again(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    port = free_port()
    stage.hub.set_webhook(stage.app_id, f"http://127.0.0.1:{port}/webhook", SECRET)
    issue = scene.issue()
    comment = scene.comment(issue, "/orchestrate", MAINTAINER)
    await stage.hub.settled()
    assert stage.hub.deliveries[-1].status_code == 502

    async with stage.bot({"PORT": str(port)}):
        await until(lambda: scene.reactions(comment) == ["eyes", "rocket"], "the end of the run")
    assert len(scene.hub.pull_requests(scene.repository)) == 1
    assert _asked(stage)
    asked = len(_asked(stage))

    # The next start knows what it has seen.
    async with stage.bot({"PORT": str(port)}) as bot:
        await until(lambda: len(_sweeps(stage)) == 2, "a second sweep")
        assert (await bot.get("/healthz")).status_code == 200
    assert len(_asked(stage)) == asked
    assert len(scene.hub.pull_requests(scene.repository)) == 1
