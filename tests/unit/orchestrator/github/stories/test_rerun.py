from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.rendering.checks import Annotation, CheckRun
from orchestrator.github.runs.desk import Earlier
from orchestrator.github.stories.rerun import concluded, findings_of, give_up_rerun, rerun
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState, ValidationResult
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene
from tests.unit.orchestrator.github.states import completed, failing
from tests.unit.orchestrator.github.stories.test_revise import UNHELD, Rounds, began

VALIDATION = "orchestrator/validation"


def _trigger(scene: Scene, head: str, check: str) -> Trigger:
    return Trigger(
        delivery_id="d-1",
        event="check_run" if check else "check_suite",
        repository=REPO,
        repository_id=scene.hub.repository(REPO).id,
        default_branch="main",
        private=False,
        source=f"rerun:1:{head}:d-1",
        actor="maria",
        actor_type="User",
        installation_id=scene.installation,
        run=RUN,
        check_name=check,
        head_sha=head,
    )


def test_what_a_run_knows_is_concluded_as_it_stands_and_another_check_says_how_to_have_it_again() -> None:
    validation, everything, review = concluded(completed(), [VALIDATION, "orchestrator/run", "orchestrator/other"])

    assert (validation.name, validation.conclusion) == (VALIDATION, "success")
    assert (everything.name, everything.conclusion) == ("orchestrator/run", "success")
    assert (review.name, review.conclusion) == ("orchestrator/other", "action_required")
    assert review.summary == "This check is not part of the run. Give the command again that made it."


async def test_the_feedback_of_a_revise_is_what_the_check_run_found_at_file_and_line(scene: Scene) -> None:
    head = (await scene.hub.branches(REPO))["main"]
    notes = tuple(Annotation("src/app.py", line, "failure", f"wrong\nat {line}") for line in (3, 5))
    await scene.publisher().upsert_check_run(head, CheckRun(VALIDATION, "failure", "2 failed", "pytest", notes))
    (check,) = scene.hub.check_runs(REPO, head)

    assert await findings_of(scene.client, check["id"]) == (
        "Fix what the check orchestrator/validation found: 2 failed\n"
        "- src/app.py:3: wrong at 3\n- src/app.py:5: wrong at 5"
    )


async def test_sec_36_a_re_run_that_keeps_failing_concludes_the_runs_own_checks_as_failure(scene: Scene) -> None:
    head = (await scene.hub.branches(REPO))["main"]
    for name in (VALIDATION, "orchestrator/budget"):
        await scene.publisher().upsert_check_run(head, CheckRun(name, "success", "passed", ""))
    await scene.publisher().upsert_check_run(head, CheckRun("orchestrator/spec", "success", "valid", "", shared=True))
    for check in scene.hub.check_runs(REPO, head):
        scene.hub.rerequest_check_run(REPO, check["id"], user="maria")
    asked = _trigger(scene, head, "")
    earlier = Earlier(RUN, asked, Command("run"), MemoryEffects())

    await give_up_rerun(asked, earlier, "The sandbox did not start.", github=scene.github)

    shown = {it["name"]: (it["conclusion"], it["output"]["summary"]) for it in scene.hub.check_runs(REPO, head)}
    assert shown == {
        VALIDATION: ("failure", "The sandbox did not start."),
        "orchestrator/budget": ("failure", "The sandbox did not start."),
        "orchestrator/spec": ("success", ""),
    }


@pytest.mark.parametrize(
    ("actor", "status", "concluded_as", "title"),
    [
        ("maria", "refused", "action_required", "It cannot be run again from here"),
        ("stranger", "denied", "success", "passed"),
    ],
)
async def test_of_a_run_that_is_forgotten_the_check_runs_say_so_and_to_a_stranger_what_they_said(
    scene: Scene, actor: str, status: str, concluded_as: str, title: str
) -> None:
    head = (await scene.hub.branches(REPO))["main"]
    await scene.publisher().upsert_check_run(head, CheckRun(VALIDATION, "success", "passed", ""))
    (check,) = scene.hub.check_runs(REPO, head)
    scene.hub.rerequest_check_run(REPO, check["id"], user="maria")
    (suite,) = scene.hub.repository(REPO).check_suites.values()
    assert suite.waits
    asked = replace(_trigger(scene, head, VALIDATION), actor=actor)
    forgotten = Earlier(RUN, asked, Command("run"), MemoryEffects())

    handled = await rerun(
        asked, forgotten, "", github=scene.github, plane=Validating(), effects=MemoryEffects(), operator=UNHELD
    )

    (check,) = scene.hub.check_runs(REPO, head)
    assert (handled.status, suite.waits) == (status, False)
    assert (check["conclusion"], check["output"]["title"]) == (concluded_as, title)


class Validating(Rounds):
    """Rounds whose validators can be run again."""

    async def validate(self, run_id: str, root: Path) -> tuple[ValidationResult, ...]:
        return self.states[run_id].validation


class GoesOn(Validating):
    """A plane whose first submission fails in the end, and whose every other one completes with another file."""

    async def submit(self, job: JobSpec, *, run_id: str, **known: Any) -> ProjectState:
        self.ending = completed if self.jobs else failing
        return await super().submit(job, run_id=run_id, **known)

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        return {f"part_{number}.py": b"X = 1\n" for number in range(len(self.jobs))}

    async def withdraw_cancel(self, run_id: str) -> None:
        pass


async def test_the_checks_of_a_head_whose_re_run_makes_a_new_commit_are_superseded_by_it_however_often_asked(
    scene: Scene,
) -> None:
    opened = await began(scene, plane=GoesOn())
    (pull,) = scene.hub.pull_requests(REPO)
    old, branch = pull["head"]["sha"], pull["head"]["ref"]

    for delivery in ("d-1", "d-2"):
        for check in scene.hub.check_runs(REPO, old):
            scene.hub.rerequest_check_run(REPO, check["id"], user="maria")
        trigger = replace(_trigger(scene, old, ""), head_branch=branch, source=f"rerun:{old}:{delivery}")
        assert isinstance(opened.plane, GoesOn)
        handled = await rerun(
            trigger, opened.earlier, "", github=scene.github, plane=opened.plane, effects=MemoryEffects(),
            operator=UNHELD,
        )  # fmt: skip
        (pull,) = scene.hub.pull_requests(REPO)
        new = pull["head"]["sha"]
        assert handled.state is not None
        assert (new == old, handled.state.status.value) == (False, "completed")
        shown = {it["name"]: (it["conclusion"], it["output"]["title"]) for it in scene.hub.check_runs(REPO, old)}
        assert shown == {
            f"orchestrator/{name}": ("cancelled", f"Superseded by {new[:12]}")
            for name in ("architecture", "budget", "review", "validation")
        }
        assert {it["conclusion"] for it in scene.hub.check_runs(REPO, new)} == {"success"}


@pytest.mark.parametrize(("of_ours", "concluded_as"), [(True, "failure"), (False, "success")])
async def test_a_re_run_on_the_head_of_a_round_is_concluded_by_that_round_and_by_no_run_that_a_message_names(
    scene: Scene, of_ours: bool, concluded_as: str
) -> None:
    opened = await began(scene, plane=Validating())
    handled = await opened.said("/orchestrate revise Twice as fast.")
    opened.plane.states[handled.run_id] = failing()
    (review,) = (it["id"] for it in scene.hub.check_runs(REPO, handled.head_sha) if it["name"] == "orchestrator/review")
    scene.hub.rerequest_check_run(REPO, review, user="maria")

    async def round_of(run_id: str) -> Earlier:
        return replace(opened.earlier, run_id=run_id, root=opened.earlier if of_ours else None)

    assert isinstance(opened.plane, Validating)
    await rerun(
        _trigger(scene, handled.head_sha, "orchestrator/review"),
        opened.earlier,
        "there is no more of it today",
        github=scene.github,
        plane=opened.plane,
        effects=MemoryEffects(),
        operator=UNHELD,
        round_of=round_of,
    )

    shown = {it["name"]: it["conclusion"] for it in scene.hub.check_runs(REPO, handled.head_sha)}
    assert shown["orchestrator/review"] == concluded_as
