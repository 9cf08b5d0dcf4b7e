"""Whose rules hold: those of the default branch, on a pull request those of its base, never those of a head."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from github import Auth, Github

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.runs.desk import Earlier
from orchestrator.github.stories.handler import HandledRun, handle, rules_of
from orchestrator.github.triggers.command import Command, parse_command
from orchestrator.operator_config import OperatorConfig
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.stories.test_review import CODE, _models, _reviewed
from tests.unit.orchestrator.github.stories.test_revise import UNHELD, Opened, Rounds

SPEC = ".orchestrator.yaml"


async def _proposed(scene: Scene, base: str, spec_of_head: str) -> int:
    """Return a stranger's pull request onto a branch, whose head says of itself what it likes."""
    await scene.hub.fork(REPO, "stranger")
    await scene.hub.commit("stranger/demo", {"stats.py": CODE, SPEC: spec_of_head}, branch="mean")

    def propose() -> int:
        auth = Auth.Token(scene.hub.token_for("stranger"))
        with Github(base_url=scene.hub.api_url, auth=auth, seconds_between_writes=0) as stranger:
            return stranger.get_repo(REPO).create_pull(base=base, head="stranger:mean", title="Add a mean").number

    return await asyncio.to_thread(propose)


async def _asked(scene: Scene, number: int, home: Path) -> HandledRun:
    return await _reviewed(scene, scene.trigger(number, "/orchestrate review"), _models(), home)


async def test_sec_14_a_review_obeys_the_base_of_its_pull_request_at_its_head_and_so_does_the_gate(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.hub.commit(REPO, {SPEC: "github: {trigger_permission: admin}\n"})
    await scene.hub.commit(REPO, {SPEC: "github: {trigger_permission: admin}\n"}, branch="release")
    number = await _proposed(scene, "release", "budget: {max_usd: 7}\ngithub: {trigger_permission: triage}\n")
    denied = await _asked(scene, number, tmp_path)

    # What was pushed to the base since the pull request was opened counts.
    await scene.hub.commit(REPO, {SPEC: "budget: {max_usd: 1.5}\n"}, branch="release")
    reviewed = await _asked(scene, number, tmp_path)

    assert (denied.status, reviewed.status) == ("denied", "completed")
    assert reviewed.state is not None
    assert reviewed.state.budget.max_usd == 1.5


async def test_sec_14_errors_in_the_spec_of_another_base_are_to_be_corrected_there(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.hub.commit(REPO, {SPEC: "budget: {max_usd: much}\n"}, branch="release")
    refused = await _asked(scene, await _proposed(scene, "release", ""), tmp_path)

    assert refused.status == "spec_invalid"
    assert "Correct them on `release` and ask again." in refused.report


@pytest.mark.parametrize(
    ("default", "base", "enabled", "held"),
    [
        ("", "github: {hold_ci: false}\n", True, True),
        ("github: {hold_ci: false}\n", "github: {hold_ci: false}\n", True, False),
        ("github: {hold_ci: false}\n", "", True, True),
        ("enabled: false\n", "enabled: true\n", False, True),
        ("", "enabled: false\n", False, True),
    ],
)
async def test_what_the_default_branch_switches_off_or_has_ci_wait_for_no_other_base_allows(
    scene: Scene, default: str, base: str, *, enabled: bool, held: bool
) -> None:
    await scene.hub.commit(REPO, {SPEC: base}, branch="release")
    await scene.hub.commit(REPO, {SPEC: default})
    number = await _proposed(scene, "release", "")

    rules = await rules_of(scene.client, SPEC, "main", number, UNHELD)

    assert (rules.branch, rules.spec.enabled, rules.spec.github.hold_ci) == ("release", enabled, held)


async def test_sec_14_a_round_obeys_the_base_of_its_pull_request(scene: Scene) -> None:
    await scene.hub.commit(REPO, {SPEC: "budget: {max_usd: 1}\n"}, branch="release")
    await scene.hub.commit(REPO, {SPEC: "budget: {max_usd: 3}\n"})
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    trigger, plane, effects = scene.trigger(issue, "/orchestrate --base release"), Rounds(), MemoryEffects()
    command = parse_command(trigger.comment)
    assert isinstance(command, Command)
    begun = await handle(trigger, command, github=scene.github, plane=plane, effects=effects, operator=OperatorConfig())
    assert begun.pull_request is not None
    earlier = Earlier(begun.run_id, trigger, command, effects)
    opened = Opened(scene, plane, issue, trigger, begun.pull_request, earlier)

    revised = await opened.said("/orchestrate revise Twice as fast.")

    assert (begun.status, revised.status) == ("completed", "completed")
    assert [it.budget.max_usd for it in plane.jobs] == [3.0, 1.0]
