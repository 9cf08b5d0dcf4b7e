from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.control_plane import ControlPlane
from orchestrator.github.stories.handler import handle
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import run_id_for
from orchestrator.store.effects import EffectStore
from tests.unit.orchestrator.github.conftest import REPO, Scene


@pytest.mark.slow
async def test_the_real_plane_builds_offline_from_an_issue_to_a_pull_request(scene: Scene, tmp_path: Path) -> None:
    issue = scene.hub.create_issue(REPO, "Rate limiter library", "Implement token bucket rate limiter", user="maria")
    trigger = scene.trigger(issue, "/orchestrate --app-type library")
    environment = {
        "PATH": os.environ["PATH"],
        "ORCHESTRATOR_OFFLINE": "1",
        "ORCHESTRATOR_HOME": str(tmp_path / "home"),
    }
    run_id = run_id_for(trigger.repository_id, trigger.source)
    async with ControlPlane.open(environment) as plane:
        for _ in range(2):
            handled = await handle(
                trigger,
                Command("run", app_type="library"),
                github=scene.github,
                plane=plane,
                effects=EffectStore(plane.database, run_id),
                operator=plane.operator,
            )
    assert handled.state is not None
    assert handled.state.built
    assert handled.pull_request is not None
    assert len(scene.hub.pull_requests(REPO)) == 1
    assert len(scene.hub.check_runs(REPO, handled.head_sha)) == 4
    assert "offline model" in handled.report
