"""A run that has begun and may not go on: the later attempt ends it, and leaves nothing of it open."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.runs.desk import Earlier
from orchestrator.github.runs.live import show_round
from orchestrator.github.stories.closed import close
from orchestrator.github.stories.handler import HandledRun, handle
from orchestrator.github.triggers.closing import Closing
from orchestrator.github.triggers.command import Command, parse_command
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.operator_config import OperatorConfig
from orchestrator.state import ProjectStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import running
from tests.unit.orchestrator.github.stories.test_closed import Ending
from tests.unit.orchestrator.github.stories.test_revise import Opened, began

CHECKS = ["architecture", "budget", "review", "validation"]


@dataclass
class Begun:
    """A run that an earlier attempt at a command began, and its later attempts."""

    scene: Scene
    plane: Ending
    trigger: Trigger
    run_id: str

    async def tried_again(self, operator: OperatorConfig | None = None) -> HandledRun:
        command = parse_command(self.trigger.comment, on_pull_request=self.trigger.is_pull_request)
        assert command is not None
        return await handle(
            self.trigger,
            command,
            github=self.scene.github,
            plane=self.plane,
            effects=MemoryEffects(),
            operator=operator or OperatorConfig(),
            resumable=True,
        )

    def status(self) -> str:
        (said,) = (
            it["body"] for it in self.scene.hub.comments(REPO, self.trigger.issue or 0)
            if it["body"].endswith(f"<!-- orchestrator:status run={self.run_id} -->")
        )  # fmt: skip
        return str(said)


def _begun(scene: Scene, text: str = "/orchestrate", issue: int | None = None) -> Begun:
    issue = issue or scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    trigger, plane = scene.trigger(issue, text), Ending()
    run_id = run_id_for(trigger.repository_id, trigger.source, text.split()[1] if " " in text else "run")
    plane.states[run_id] = running()
    return Begun(scene, plane, trigger, run_id)


async def test_a_run_whose_commander_was_demoted_between_two_attempts_ends_as_cancelled_and_says_why(
    scene: Scene,
) -> None:
    begun = _begun(scene)
    scene.hub.set_permission(REPO, "maria", "read")

    handled = await begun.tried_again()

    assert (handled.status, handled.code) == ("cancelled", "denied")
    assert begun.plane.states[begun.run_id].status is ProjectStatus.CANCELLED
    assert begun.status().startswith("Cancelled: maria has the role read, and write is needed.\n\nTo go on with it ")


async def test_a_run_whose_spec_broke_or_that_was_switched_off_between_two_attempts_ends_as_cancelled(
    scene: Scene,
) -> None:
    switched = _begun(scene)
    off = await switched.tried_again(OperatorConfig(enabled=False))
    broken = _begun(scene)
    await scene.hub.commit(REPO, {".orchestrator.yaml": "version: 1\nbudgett: 3\n"})
    invalid = await broken.tried_again()

    assert (off.status, off.code) == ("cancelled", "switched_off")
    assert (invalid.status, invalid.code) == ("cancelled", "spec_invalid")
    assert switched.status().startswith("Cancelled: the orchestrator is switched off ")
    assert broken.status().startswith("Cancelled: `.orchestrator.yaml` has errors")


async def test_a_run_that_has_begun_is_tried_again_where_github_does_not_say_what_its_commander_may_do(
    scene: Scene,
) -> None:
    begun = _begun(scene)
    fault = scene.hub.faults.add(method="GET", path_regex="/permission$", kind="status", status=403, times=2)

    with pytest.raises(Unreachable, match="GitHub did not say what maria may do"):
        await begun.tried_again()

    assert begun.plane.states[begun.run_id].status is ProjectStatus.RUNNING
    del begun.plane.states[begun.run_id]
    assert (await begun.tried_again()).status == "denied"
    assert fault.hits == 2


async def test_a_review_whose_pull_request_is_closed_between_two_attempts_ends_as_cancelled(scene: Scene) -> None:
    opened = await began(scene)
    begun = _begun(scene, "/orchestrate review", opened.number)
    scene.hub.close_issue(REPO, opened.number)

    handled = await begun.tried_again()

    assert handled.status == "cancelled"
    assert begun.status().startswith(f"Cancelled: pull request #{opened.number} is closed")


async def _at_work(scene: Scene) -> tuple[Opened, Earlier, str]:
    """Begin a round that shows itself in four check runs on the head, and merge its pull request."""
    opened = await began(scene, plane=Ending())
    trigger = scene.trigger(opened.number, "/orchestrate revise Twice as fast.")
    run_id = run_id_for(trigger.repository_id, trigger.source, "revise")
    opened.plane.states[run_id] = running()
    root = opened.earlier
    del opened.plane.states[root.run_id]
    (pull,) = scene.hub.pull_requests(REPO)
    publisher = scene.publisher().of_run(root.run_id, root.effects)
    names = [f"orchestrator/{name}" for name in CHECKS]
    assert await show_round(publisher, running(), pull["head"]["sha"], names) == ""
    assert [it["status"] for it in scene.hub.check_runs(REPO)] == ["in_progress"] * 4
    await root.effects.begin("round", run_id)
    await root.effects.done("round", run_id, str(opened.number))
    await scene.hub.merge_pull_request(REPO, opened.number)
    return opened, Earlier(run_id, trigger, Command("revise", text="Twice as fast."), MemoryEffects(), root), run_id


async def test_a_round_whose_pull_request_is_merged_between_two_attempts_leaves_no_check_run_open(scene: Scene) -> None:
    opened, round_, run_id = await _at_work(scene)

    handled = await opened.handled(round_.trigger)

    assert handled.status == "cancelled"
    assert opened.plane.states[run_id].status is ProjectStatus.CANCELLED
    assert {it["conclusion"] for it in scene.hub.check_runs(REPO)} == {"cancelled"}
    (status,) = (it["body"] for it in scene.hub.comments(REPO, opened.issue) if "orchestrator:status" in it["body"])
    assert status.startswith("Cancelled: the pull request is merged. Begin anew with `/orchestrate` on its issue")


async def test_closing_a_pull_request_under_a_round_that_nobody_works_on_leaves_no_check_run_open(scene: Scene) -> None:
    opened, round_, run_id = await _at_work(scene)
    opened.plane.states[run_id].status = ProjectStatus.INTERRUPTED
    closing = Closing(
        delivery_id="d-2", event="pull_request", kind="pull_request", actor="maria", repository=REPO,
        repository_id=scene.hub.repository(REPO).id, number=opened.number, installation_id=scene.installation,
    )  # fmt: skip

    handled = await close(
        closing, round_, github=scene.github, plane=opened.plane, effects=MemoryEffects(), operator=OperatorConfig()
    )

    assert handled.reason.endswith("the pull request is merged. Begin anew with `/orchestrate` on its issue.")
    assert {it["conclusion"] for it in scene.hub.check_runs(REPO)} == {"cancelled"}
