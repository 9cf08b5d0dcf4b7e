"""One issue, driven by the bot, by the Action and by the command line over three vendors' wire formats."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from bot.localhub import render
from tests.e2e.action_steps import LAST, StepRunner
from tests.e2e.stage import BODY, GOOD_CHECKS, MAINTAINER, TITLE, Scene, Stage, plain_environment
from tests.loopback import Script
from tests.reports import read_report

MODELS = {"gemini-2.5-flash": "google", "claude-haiku-4-5": "anthropic", "gpt-4o-mini": "openai"}
PROJECT = {"app_type": "library", "success_criteria": "Every part has a test."}
SPEC: dict[str, Any] = {
    "project": PROJECT,
    "budget": {"max_usd": 3.0},
    "policy": {"allowed_models": [*MODELS], "enforcement_mode": "hard"},
    "validation": {"validators": ["python_syntax"], "commands": ["true"]},
}
SPEC_FILE = ".orchestrator.yaml"
CALLS = [
    ("", "architecture", "google"),
    ("", "decompose", "google"),
    ("part-1", "generate", "anthropic"),
    ("part-1", "review", "google"),
    ("part-2", "generate", "google"),
    ("part-2", "review", "anthropic"),
    ("", "evaluate", "openai"),
]


async def _by_the_bot(stage: Stage, scene: Scene) -> dict[str, Any]:
    async with stage.bot() as bot:
        asked = await scene.command()
        await asked.reacted("rocket")
        return await bot.report(asked.run_id)


async def _by_the_action(stage: Stage, scene: Scene) -> dict[str, Any]:
    """Run the Action's last step, as action.yml has it, on the event of a comment."""
    hub, repository = scene.hub, scene.hub.repository(scene.repository)
    number = scene.issue()
    comment_id = scene.comment(number, "/orchestrate")
    issue = repository.issues[number]
    (comment,) = (it for it in issue.comments if it.id == comment_id)
    environment = {
        **stage.models.environment(),
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_SERVER_URL": hub.url,
        "GITHUB_REPOSITORY": scene.repository,
        "GITHUB_ACTOR": MAINTAINER,
    }
    runner = StepRunner(stage.folder / "action", hub.workflow_token(scene.repository), environment)
    runner.use_this_interpreter()
    runner.event(
        "issue_comment",
        {
            "action": "created",
            "issue": render.issue(hub.url, repository, issue),
            "comment": render.comment(hub.url, repository, issue, comment),
            "repository": render.repository(hub.url, repository),
            "sender": render.user(hub.url, comment.user),
        },
    )
    ran = await runner.run(LAST)
    assert ran.status == 0, ran.log
    return await asyncio.to_thread(read_report, Path(runner.outputs()["report-path"]))


async def _by_the_command_line(stage: Stage) -> dict[str, Any]:
    """Run the same spec with the issue's words as its project, into a folder."""
    folder = stage.folder / "cli"
    folder.mkdir()
    words = {"title": TITLE, "description": BODY}
    (folder / "spec.yaml").write_text(json.dumps({**SPEC, "project": {**PROJECT, **words}}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator", "--file", "spec.yaml", "--output-dir", "out"),
        cwd=folder,
        env=plain_environment(folder) | stage.models.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return read_report(folder / "out" / ".orchestrator" / "report.json")


def _comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without the run's name and its time."""
    budget = {name: value for name, value in report["budget"].items() if name != "elapsed_seconds"}
    return {name: value for name, value in report.items() if name != "project_id"} | {"budget": budget}


async def test_bot_action_and_command_line_give_equal_reports_files_and_writes_of_one_issue(stage: Stage) -> None:
    stage.models.script = Script(tasks=2)
    of_bot, of_action = await stage.scene(json.dumps(SPEC)), await stage.scene(json.dumps(SPEC), installed=False)

    bot = await _by_the_bot(stage, of_bot)
    action = await _by_the_action(stage, of_action)
    command_line = await _by_the_command_line(stage)

    assert (bot["status"], bot["title"], bot["budget"]["max_usd"]) == ("completed", TITLE, 3.0)
    assert [(it["task_id"], it["purpose"], it["provider"]) for it in bot["calls"]] == CALLS
    assert _comparable(action) == _comparable(bot)
    assert _comparable(command_line) == _comparable(bot)
    assert len({it["project_id"] for it in (bot, action, command_line)}) == 3

    billed = [(it.model, it.input_tokens, it.output_tokens) for it in stage.models.billed]
    rows = [(it["model"], it["input_tokens"], it["output_tokens"]) for it in bot["calls"]]
    assert billed == rows * 3

    assert of_bot.checks() == of_action.checks() == GOOD_CHECKS
    assert _made(of_bot) == _made(of_action)
    built = await of_bot.hub.files(of_bot.repository, "orchestrator/1-sample-library")
    assert built == await of_bot.hub.files(of_action.repository, "orchestrator/1-sample-library")
    assert _delivered(stage.folder / "cli" / "out") == {path: it for path, it in built.items() if path != SPEC_FILE}


def _made(scene: Scene) -> list[str]:
    """Return what was made on GitHub; how often the status comment was edited depends on the time a run took."""
    return [it for it in scene.writes() if not it.startswith("PATCH")]


def _delivered(folder: Path) -> dict[str, bytes]:
    """Return the files of an output folder, without the orchestrator's own."""
    files = {str(it.relative_to(folder)): it for it in folder.rglob("*") if it.is_file()}
    return {path: it.read_bytes() for path, it in files.items() if not path.startswith(".orchestrator/")}
