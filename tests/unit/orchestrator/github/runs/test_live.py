"""A round on a head that exists: its check runs while it works, and how every one of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.bucket import Bucket
from orchestrator.control_plane import Source
from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.events import Event, EventType
from orchestrator.github.api.limits import MemoryRoom
from orchestrator.github.api.publisher import MemoryEffects, OpenCheck
from orchestrator.github.rendering.checks import CheckRun, RunningCheck
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.live import show_round
from orchestrator.github.stories.follow import abandon
from orchestrator.github.stories.handler import Earlier, HandledRun, Progress, handle
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import completed, failing, running
from tests.unit.orchestrator.github.stories.test_handler import BUILT, KnownPlane

NAMES = ["orchestrator/architecture", "orchestrator/budget", "orchestrator/review", "orchestrator/validation"]


@dataclass
class RoundPlane(KnownPlane):
    """A plane whose next run works until `seen_when` returns something, and then ends or fails."""

    seen_when: Callable[[], Any] = bool
    error: OrchestratorError | None = None
    works: bool = False
    events: int = 1

    async def submit(
        self,
        job: JobSpec,
        *,
        run_id: str,
        source: Source | None = None,
        plan_only: bool = False,
        retry_failed: bool = False,
        on_event: Callable[[Event], Awaitable[None]] | None = None,
    ) -> ProjectState:
        self.works = True
        for _ in range(self.events):
            ended = await super().submit(job, run_id=run_id, source=source, on_event=on_event)
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while not self.seen_when():
                assert on_event is not None
                await on_event(Event(EventType.PROJECT_STARTED, run_id, {}, 0.0))
                await asyncio.sleep(0)
        self.works = False
        if self.error is not None:
            raise self.error
        return ended

    async def state(self, run_id: str) -> ProjectState | None:
        return running() if self.works else failing()

    async def withdraw_cancel(self, run_id: str) -> None:
        self.cancelled.pop(run_id, None)


@dataclass
class Partly:
    """A run that ended partly done, with its pull request."""

    scene: Scene
    trigger: Trigger
    effects: MemoryEffects
    handled: HandledRun
    told: list[str]

    def checks(self, sha: str) -> list[dict[str, Any]]:
        return sorted(self.scene.hub.check_runs(REPO, sha), key=lambda it: str(it["name"]))

    def open(self) -> list[dict[str, Any]]:
        return [it for it in self.checks(self.handled.head_sha) if it["status"] != "completed"]

    async def resumed(self, plane: RoundPlane) -> HandledRun:
        trigger = self.scene.trigger(self.trigger.issue or 0, "/orchestrate resume")
        earlier = Earlier(self.handled.run_id, self.trigger, Command("run"), self.effects)
        return await _handle(self.scene, trigger, Command("resume"), plane, MemoryEffects(), self.told, earlier)


async def _handle(
    scene: Scene,
    trigger: Trigger,
    command: Command,
    plane: KnownPlane,
    effects: MemoryEffects,
    told: list[str],
    earlier: Earlier | None = None,
) -> HandledRun:
    async def tell(progress: Progress) -> None:
        told.append(progress.detail)

    return await handle(
        trigger,
        command,
        github=scene.github,
        plane=plane,
        effects=effects,
        operator=OperatorConfig(),
        earlier=earlier,
        resumable=True,
        progress=tell,
    )


@pytest.fixture
async def partly(scene: Scene) -> Partly:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    trigger, effects, told = scene.trigger(issue, "/orchestrate"), MemoryEffects(), list[str]()
    handled = await _handle(scene, trigger, Command("run"), KnownPlane(failing), effects, told)
    assert handled.status == "partial"
    return Partly(scene, trigger, effects, handled, told)


async def test_a_resumed_run_is_in_progress_on_its_old_head_and_concluded_on_the_new_one(partly: Partly) -> None:
    before = {it["id"] for it in partly.checks(partly.handled.head_sha)}
    titles: list[str] = []

    def all_open() -> list[str]:
        working = partly.open()
        titles[:] = [it["output"]["title"] for it in working] if len(working) == 4 else []
        return titles

    files = {**BUILT, "more.py": b"MORE = 1\n"}
    handled = await partly.resumed(RoundPlane(completed, files, seen_when=all_open))

    assert titles == ["1/2 tasks · $0.91 of $5.00"] * 4
    assert handled.head_sha != partly.handled.head_sha
    assert {it["name"]: it["conclusion"] for it in partly.checks(handled.head_sha)} == dict.fromkeys(NAMES, "success")
    old = partly.checks(partly.handled.head_sha)
    assert {it["id"] for it in old} == before
    superseded = f"Superseded by {handled.head_sha[:12]}"
    assert [(it["conclusion"], it["output"]["title"], it["actions"]) for it in old] == [
        ("cancelled", superseded, [])
    ] * 4


async def test_a_round_that_changes_nothing_concludes_the_same_check_runs_again(partly: Partly) -> None:
    before = {it["id"] for it in partly.checks(partly.handled.head_sha)}
    handled = await partly.resumed(RoundPlane(completed, seen_when=lambda: len(partly.open()) == 4))
    assert handled.head_sha == partly.handled.head_sha
    assert {it["id"] for it in partly.checks(handled.head_sha)} == before
    assert {it["name"]: it["conclusion"] for it in partly.checks(handled.head_sha)} == dict.fromkeys(NAMES, "success")


async def test_with_one_check_run_a_round_shows_in_that_one_and_leaves_none_open(partly: Partly) -> None:
    await partly.scene.hub.commit(REPO, {".orchestrator.yaml": "github:\n  checks: one\n"})
    await partly.resumed(RoundPlane(completed, seen_when=lambda: [it["name"] for it in partly.open()]))
    runs = {it["name"]: it["conclusion"] for it in partly.checks(partly.handled.head_sha)}
    assert (runs["orchestrator/run"], partly.open()) == ("success", [])


async def test_sec_36_a_round_that_fails_ends_every_open_check_run_as_failure(partly: Partly) -> None:
    plane = RoundPlane(seen_when=lambda: len(partly.open()) == 4, error=OrchestratorError("The disk is full."))
    handled = await partly.resumed(plane)
    assert handled.status == "failed"
    shown = [(it["conclusion"], it["output"]["title"]) for it in partly.checks(partly.handled.head_sha)]
    assert shown == [("failure", "Failed")] * 4


async def test_sec_36_a_round_that_nobody_takes_up_ends_every_check_run_that_it_has_open_as_failure_and_no_other(
    partly: Partly,
) -> None:
    scene, run_id, opened = partly.scene, partly.handled.run_id, set[OpenCheck]()
    publisher = await scene.github.publisher(scene.client, run_id="r-b", effects=MemoryEffects(), open_checks=opened)
    await publisher.progress_check_run(partly.handled.head_sha, RunningCheck("orchestrator/other", "at work", ""))
    await publisher.upsert_check_run(partly.handled.head_sha, CheckRun("orchestrator/other", "success", "done", ""))
    await show_round(publisher.of_run(run_id, MemoryEffects()), running(), partly.handled.head_sha, NAMES[:3])
    # Another job of the same pull request is at work.
    await (
        scene.publisher()
        .of_run("r-c", MemoryEffects())
        .progress_check_run(partly.handled.head_sha, RunningCheck(NAMES[0], "at work", ""))
    )
    for _ in range(2):
        assert await abandon(scene.github, partly.trigger, opened, Redactor([]), "The job was cancelled.") == ""

    checks = partly.checks(partly.handled.head_sha)
    ended = [it for it in checks if it["output"]["summary"] == "The job was cancelled."]
    assert [(it["external_id"], it["name"], it["conclusion"]) for it in ended] == [
        (run_id, name, "failure") for name in NAMES[:3]
    ]
    assert [(it["external_id"], it["name"]) for it in partly.open()] == [("r-c", NAMES[0])]


async def test_however_much_happens_progress_is_shown_once_in_fifteen_seconds(partly: Partly) -> None:
    issue, hub = partly.trigger.issue, partly.scene.hub
    (status, *_) = [it for it in hub.comments(REPO, issue) if "orchestrator:status" in it["body"]]
    begun = len(hub.requests)
    await partly.resumed(RoundPlane(completed, events=60, seen_when=lambda: len(partly.open()) == 4))
    path = f"/issues/comments/{status['id']}"
    edits = [it for it in hub.requests[begun:] if it.method == "PATCH" and it.path.endswith(path)]
    assert len(edits) == 2  # how far it is, and how it ended


async def test_progress_leaves_the_last_room_to_what_must_be_said_at_the_end(partly: Partly) -> None:
    scene = partly.scene
    scene.github.room = MemoryRoom(Bucket(capacity=24.0, a_second=0.001, reserve=23.0), scene.github.clock)
    scene.github._limits.clear()
    begun = len(scene.hub.requests)
    full = "This installation has written as much on GitHub as it may for now: no room to edit a comment."
    handled = await partly.resumed(RoundPlane(completed, seen_when=lambda: full in partly.told))
    assert handled.status == "completed"
    progressed = [it for it in scene.hub.requests[begun:] if b'"in_progress"' in it.body]
    assert (progressed, scene.waits) == ([], [])
    status = next(it["body"] for it in scene.hub.comments(REPO, partly.trigger.issue) if "run=" in it["body"])
    assert status.startswith("Done: ")


@dataclass
class Unreadable(RoundPlane):
    """A plane whose store is away while somebody looks at the run."""

    asked: int = 0

    async def state(self, run_id: str) -> ProjectState | None:
        if self.works:
            self.asked += 1
            raise StoreError("The database is locked.")
        return await super().state(run_id)


async def test_a_resume_that_has_built_and_could_not_be_followed_does_not_open_its_run_again(partly: Partly) -> None:
    trigger = partly.scene.trigger(partly.trigger.issue or 0, "/orchestrate resume")
    earlier, plane = Earlier(partly.handled.run_id, partly.trigger, Command("run"), partly.effects), Unreadable()
    plane.seen_when = lambda: plane.asked

    with pytest.raises(StoreError):
        await _handle(partly.scene, trigger, Command("resume"), plane, MemoryEffects(), [], earlier)

    assert await partly.effects.begin("resume", trigger.source) == ("done", "over")


@dataclass
class Unknowing(RoundPlane):
    """A plane that knows what it works on itself, and nothing of what another process did."""

    async def state(self, run_id: str) -> ProjectState | None:
        return running() if self.works else None


async def test_without_a_database_a_round_that_changes_nothing_leaves_the_check_runs_of_its_head_alone(
    partly: Partly,
) -> None:
    hub, before = partly.scene.hub, partly.checks(partly.handled.head_sha)
    trigger = partly.scene.trigger(partly.handled.pull_request or 0, "/orchestrate revise Look again.")

    def shown() -> bool:
        return any("$0.91 of $5.00" in it["body"] for it in hub.comments(REPO, partly.trigger.issue or 0))

    handled = await _handle(
        partly.scene, trigger, Command("revise", text="Look again."), Unknowing(seen_when=shown), MemoryEffects(), []
    )

    assert handled.report.startswith("Nothing was changed: ")
    assert partly.checks(partly.handled.head_sha) == before
