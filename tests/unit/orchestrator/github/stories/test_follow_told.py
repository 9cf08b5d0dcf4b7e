"""Commands about a run that exists, told as whole stories: what is delivered late, and what an approval holds to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.runs.desk import Earlier
from orchestrator.github.stories.handler import HandledRun, handle
from orchestrator.github.triggers.command import Command, parse_command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import completed, failing, planned, running
from tests.unit.orchestrator.github.stories.test_revise import Rounds


@dataclass
class Kept(Rounds):
    """A plane that keeps what a run was submitted with, and lets it go on though nobody cancelled it."""

    kept: JobSpec | None = None

    async def job(self, run_id: str) -> JobSpec | None:
        return self.kept

    async def withdraw_cancel(self, run_id: str) -> None:
        self.cancelled.pop(run_id, None)


@dataclass
class Told:
    """A run of an issue, and the commands about it."""

    scene: Scene
    plane: Kept
    trigger: Trigger
    command: Command
    effects: MemoryEffects
    run: HandledRun

    @property
    def earlier(self) -> Earlier:
        return Earlier(self.run.run_id, self.trigger, self.command, self.effects)

    async def said(self, text: str, *, private: bool = False) -> HandledRun:
        trigger = replace(self.scene.trigger(self.trigger.issue or 0, text), private=private)
        return await _handled(self.scene, self.plane, trigger, MemoryEffects(), self.earlier)


async def _handled(
    scene: Scene, plane: Kept, trigger: Trigger, effects: MemoryEffects, earlier: Earlier | None = None
) -> HandledRun:
    command = parse_command(trigger.comment)
    assert command is not None
    return await handle(
        trigger, command, github=scene.github, plane=plane, effects=effects, operator=OperatorConfig(),
        earlier=earlier, resumable=True,
    )  # fmt: skip


async def _told(scene: Scene, text: str = "/orchestrate", plane: Kept | None = None) -> Told:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    trigger, effects, plane = replace(scene.trigger(issue, text), private=False), MemoryEffects(), plane or Kept()
    command = parse_command(text)
    assert isinstance(command, Command)
    return Told(scene, plane, trigger, command, effects, await _handled(scene, plane, trigger, effects))


async def test_a_completed_run_whose_pull_request_was_refused_is_delivered_by_a_resume_without_another_call(
    scene: Scene,
) -> None:
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=422, body={"message": "Not now"})
    told = await _told(scene)
    assert (told.run.status, scene.hub.pull_requests(REPO)) == ("failed", [])

    late = await told.said("/orchestrate resume")
    again = await told.said("/orchestrate resume")

    (pull,) = scene.hub.pull_requests(REPO)
    assert (late.status, late.pull_request, len(told.plane.jobs)) == ("completed", pull["number"], 1)
    assert len(scene.hub.check_runs(REPO, late.head_sha)) == 4
    assert again.reason.startswith("the run is completed, and nothing is left to do.")


async def test_what_a_resume_completes_and_cannot_deliver_is_delivered_by_the_next_one(scene: Scene) -> None:
    told = await _told(scene, plane=Kept(ending=failing))
    told.plane.ending = completed
    scene.hub.faults.add(method="PATCH", path_regex="/pulls/", kind="status", status=422, body={"message": "Not now"})
    failed = await told.said("/orchestrate resume")

    late = await told.said("/orchestrate resume")

    assert (told.run.status, failed.status, late.status, len(told.plane.jobs)) == ("partial", "failed", "completed", 2)


@pytest.mark.parametrize(("private", "policies"), [(True, ["private-repository"]), (False, [])])
async def test_sec_32_a_run_of_a_repository_that_turned_private_goes_on_without_training(
    scene: Scene, private: bool, policies: list[str]
) -> None:
    told = await _told(scene, plane=Kept(ending=failing))
    assert [it.name for it in told.plane.jobs[-1].policies.policies] == []

    await told.said("/orchestrate resume", private=private)

    assert [it.name for it in told.plane.jobs[-1].policies.policies] == policies


async def test_status_brings_the_status_comment_of_a_run_that_goes_on_up_to_date(scene: Scene) -> None:
    told = await _told(scene)
    told.plane.states[told.run.run_id] = running()

    answered = await told.said("/orchestrate status")

    status, answer = (it["body"] for it in scene.hub.comments(REPO, told.trigger.issue) if "<!--" in it["body"])
    assert status.startswith("Running: 1/2 tasks · $0.91 of $5.00")
    assert status.endswith(f"<!-- orchestrator:status run={told.run.run_id} -->")
    assert answer.startswith(answered.report)


async def test_a_run_that_ends_while_its_status_is_told_is_shown_as_it_has_ended(scene: Scene) -> None:
    class Ending(Kept):
        async def state(self, run_id: str) -> ProjectState | None:
            known = await super().state(run_id)
            self.states[run_id] = completed()
            return known

    told = await _told(scene, plane=Ending())
    told.plane.states[told.run.run_id] = running()

    await told.said("/orchestrate status")

    (status,) = (it["body"] for it in scene.hub.comments(REPO, told.trigger.issue) if "status run=" in it["body"])
    assert status.startswith(f"Done: #{told.run.pull_request} · 2/2 tasks")


class Waiting(Kept):
    """A plane whose run waits as a plan."""

    async def state(self, run_id: str) -> ProjectState | None:
        return planned() if self.states else None


async def test_sec_16_an_approval_that_is_tried_again_builds_what_was_approved_though_the_spec_has_changed(
    scene: Scene,
) -> None:
    told = await _told(scene, "/orchestrate plan", Waiting())
    told.plane.kept = replace(told.plane.jobs[-1], description="What was approved.")
    trigger = scene.trigger(told.trigger.issue or 0, "/orchestrate approve")
    await told.effects.begin("approve", trigger.source)
    await told.effects.done("approve", trigger.source, "approved")
    await scene.hub.commit(REPO, {".orchestrator.yaml": "version: 1\nbudget:\n  max_usd: 1.0\n"})

    await _handled(scene, told.plane, trigger, MemoryEffects(), told.earlier)

    assert told.plane.jobs[-1] == told.plane.kept
