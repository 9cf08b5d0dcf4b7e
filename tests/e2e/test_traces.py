"""`OTEL_EXPORTER_OTLP_ENDPOINT` switches traces on wherever a run goes, and they name no repository."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.localhub import LocalHub
from tests.e2e.action_scene import comment_on, opened, runner_for
from tests.e2e.action_steps import LAST
from tests.e2e.stage import Stage, until
from tests.loopback import ModelServer, Script
from tests.loopback.collector import Collector, collector

pytestmark = pytest.mark.slow


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with opened(tmp_path / "hub") as hub:
        yield hub


def calls(received: Collector) -> list[str]:
    ordered = sorted(received.spans, key=lambda span: span.began)
    return [span.attributes["orchestrator.purpose"] for span in ordered if span.name.startswith("chat ")]


async def test_sec_34_the_bot_sends_a_trace_of_its_run_that_names_no_repository(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    with collector() as received:
        async with stage.bot({"OTEL_EXPORTER_OTLP_ENDPOINT": received.url}):
            asked = await scene.command()
            await asked.reacted("rocket")
            await until(lambda: received.named("invoke_workflow orchestrator"), "the run's span")
    assert calls(received) == ["architecture", "decompose", "generate", "review", "evaluate"]
    assert received.one("invoke_workflow orchestrator").attributes["orchestrator.run.status"] == "completed"
    owner, name = scene.repository.split("/")
    for told in (owner, name, asked.run_id, "part_1.py", "Sample", "POST", "webhook"):
        assert told.encode() not in received.raw


async def test_the_action_sends_its_trace_before_the_step_ends(tmp_path: Path, hub: LocalHub) -> None:
    with ModelServer(Script(tasks=2)) as models, collector() as received:
        runner = runner_for(tmp_path, hub, models)
        runner.use_this_interpreter()
        comment_on(hub, runner, "/orchestrate plan")
        ran = await runner.run(LAST, OTEL_EXPORTER_OTLP_ENDPOINT=received.url)
    assert ran.status == 0, ran.log
    assert calls(received) == ["architecture", "decompose"]
    assert received.one("invoke_workflow orchestrator").attributes["orchestrator.run.status"] == "waiting"
    assert b"octo" not in received.raw
