"""Rounds and `ci` at the handler: what is refused, what is found again, and whose words hold CI back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx
import pytest

from bot.localhub.git import Git
from orchestrator.control_plane import Source
from orchestrator.events import Event
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.runs.desk import Earlier
from orchestrator.github.stories.handler import HandledRun, handle
from orchestrator.github.triggers.command import parse_command
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import JobSpec
from orchestrator.state import ProjectState, ProjectStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import completed
from tests.unit.orchestrator.github.stories.test_handler import KnownPlane

UNHELD = OperatorConfig(allow_unheld_ci=True)


@dataclass
class Rounds(KnownPlane):
    """A plane whose every run completes: the first with one file, every round with a change of it."""

    states: dict[str, ProjectState] = field(default_factory=dict)
    text: bytes = b"RATE = 2\n"

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
        self.states[run_id] = await super().submit(job, run_id=run_id, source=source, on_event=on_event)
        return self.states[run_id]

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        return {"limiter.py": self.text if self.jobs[-1].feedback else b"RATE = 1\n"}

    async def state(self, run_id: str) -> ProjectState | None:
        return self.states.get(run_id)


@dataclass
class Opened:
    """A pull request of ours, and what a command on it needs."""

    scene: Scene
    plane: Rounds
    issue: int
    first: Trigger
    number: int
    earlier: Earlier

    async def said(self, text: str, *, known: bool = True, operator: OperatorConfig = UNHELD) -> HandledRun:
        return await self.handled(self.scene.trigger(self.number, text), known=known, operator=operator)

    async def handled(self, trigger: Trigger, *, known: bool = True, operator: OperatorConfig = UNHELD) -> HandledRun:
        command = parse_command(trigger.comment, on_pull_request=True)
        assert command is not None
        return await handle(
            trigger,
            command,
            github=self.scene.github,
            plane=self.plane,
            effects=MemoryEffects(),
            operator=operator,
            earlier=self.earlier if known else None,
        )

    async def messages(self) -> list[str]:
        (pull,) = self.scene.hub.pull_requests(REPO)
        commits = await Git(self.scene.hub.repository(REPO).path).log(f"{pull['base']['sha']}..{pull['head']['sha']}")
        return [it.message for it in commits[::-1]]


async def began(
    scene: Scene, author: str = "maria", operator: OperatorConfig = UNHELD, plane: Rounds | None = None
) -> Opened:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user=author)
    trigger, plane, effects = scene.trigger(issue, "/orchestrate --budget 2"), plane or Rounds(), MemoryEffects()
    command = parse_command(trigger.comment)
    assert command is not None
    handled = await handle(trigger, command, github=scene.github, plane=plane, effects=effects, operator=operator)
    assert handled.pull_request is not None
    earlier = Earlier(handled.run_id, trigger, command, effects)  # type: ignore[arg-type]  # it is no refusal
    return Opened(scene, plane, issue, trigger, handled.pull_request, earlier)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
async def test_a_round_handled_twice_makes_one_commit_whether_or_not_the_store_knows_the_run(
    scene: Scene, known: bool
) -> None:
    opened = await began(scene)
    trigger = scene.trigger(opened.number, "/orchestrate revise Twice as fast.")

    first = await opened.handled(trigger, known=known)
    again = await opened.handled(trigger, known=known)

    assert (first.status, first.head_sha) == ("completed", again.head_sha)
    assert first.run_id == run_id_for(trigger.repository_id, trigger.source, "revise")
    _, mended = await opened.messages()
    assert mended.splitlines()[0] == "Revise: Rate limiter"
    assert mended.endswith(f"Orchestrator-Run: {opened.earlier.run_id}\nOrchestrator-Round: {first.run_id}")
    assert len(scene.hub.check_runs(REPO)) == 8
    job = opened.plane.jobs[-1]
    assert (job.title, job.description) == ("Rate limiter", "Twice as fast.")
    assert (job.budget.max_usd, "Implement a token bucket." in job.background) == (
        (2.0, True) if known else (8.0, False)
    )


async def test_a_round_is_refused_where_the_branch_or_the_run_is_not_ours_to_go_on_with(scene: Scene) -> None:
    opened = await began(scene)
    run = opened.earlier.run_id

    opened.plane.states[run] = replace(completed(), status=ProjectStatus.RUNNING)
    unfinished = await opened.said("/orchestrate revise Go on.")
    opened.plane.states[run] = completed()
    scene.hub.close_issue(REPO, opened.number)
    closed = await opened.said("/orchestrate revise Go on.")
    merged_word = await opened.said("/orchestrate ci")

    assert [it.status for it in (unfinished, closed, merged_word)] == ["refused"] * 3
    assert unfinished.reason.startswith("the run of this pull request is not finished. Wait for its end, or comment ")
    assert closed.reason == "the pull request is closed. Begin anew with `/orchestrate` on its issue."
    assert len(opened.plane.jobs) == 1


async def test_a_round_that_writes_what_is_there_already_makes_no_commit(scene: Scene) -> None:
    opened = await began(scene)
    opened.plane.text = b"RATE = 1\n"

    handled = await opened.said("/orchestrate revise Keep it.")

    assert len(await opened.messages()) == 1
    assert handled.report.startswith("Nothing was changed: ")


async def test_sec_27_a_strangers_words_hold_the_round_back_and_without_the_store_they_reach_no_model(
    scene: Scene,
) -> None:
    opened = await began(scene, author="stranger", operator=OperatorConfig())
    held = await opened.said("/orchestrate revise Twice as fast.", operator=OperatorConfig())
    assert held.status == "completed"
    assert (await opened.messages())[-1].rstrip().endswith("skip-checks: true")

    await opened.said("/orchestrate ci")
    opened.plane.text = b"RATE = 3\n"
    await opened.said("/orchestrate revise Three times.", known=False, operator=OperatorConfig())
    assert "skip-checks" not in (await opened.messages())[-1]
    assert opened.plane.jobs[-1].background == ""


@pytest.mark.parametrize(
    ("spec", "operator", "held"),
    [
        ("github:\n  hold_ci: false\n", OperatorConfig(), True),
        ("github:\n  hold_ci: false\n", UNHELD, False),
        ("", UNHELD, True),
    ],
)
async def test_sec_27_a_repository_switches_the_hold_off_only_where_its_operator_permits_it(
    scene: Scene, spec: str, operator: OperatorConfig, held: bool
) -> None:
    await scene.hub.commit(REPO, {".orchestrator.yaml": f"version: 1\n{spec}"})
    opened = await began(scene, author="stranger", operator=operator)

    assert ("skip-checks: true" in (await opened.messages())[0]) is held


async def test_sec_27_the_word_for_ci_given_twice_makes_one_commit_and_none_on_a_head_that_people_pushed(
    scene: Scene,
) -> None:
    opened = await began(scene, author="stranger")
    trigger = scene.trigger(opened.number, "/orchestrate ci")

    first = await opened.handled(trigger)
    again = await opened.handled(trigger)

    assert (first.status, first.head_sha) == (again.status, again.head_sha)
    _, word = await opened.messages()
    assert word == (
        "Let the repository's CI run\n\nAsked for by maria.\n\n"
        f"Orchestrator-Run: {opened.earlier.run_id}\nOrchestrator-Ci: {first.run_id}"
    )
    assert len(scene.hub.check_runs(REPO, first.head_sha)) == 4

    (pull,) = scene.hub.pull_requests(REPO)
    await scene.hub.commit(REPO, {"x.py": "X = 1\n"}, branch=pull["head"]["ref"], user="maria")
    theirs = await opened.said("/orchestrate ci")
    assert theirs.reason == "the head of this pull request is not ours: CI runs on what people push."


@pytest.mark.slow
async def test_a_token_that_may_not_see_checks_revises_and_lets_ci_run_with_statuses(scene: Scene) -> None:
    permissions = {"contents": "write", "issues": "write", "pull_requests": "write", "statuses": "write"}
    scene.github.app, scene.github.given_token = None, scene.hub.workflow_token(REPO, permissions)
    opened = await began(scene, author="stranger")

    round_ = await opened.said("/orchestrate revise Twice as fast.")
    word = await opened.said("/orchestrate ci")

    assert (round_.status, word.status) == ("completed", "answered")
    assert "A workflow's own token starts no workflows" in word.report
    said = {it["context"]: (it["state"], it["description"]) for it in scene.hub.statuses(REPO)[-4:]}
    assert said["orchestrator/budget"] == ("success", "success: $1.84 of $5.00 spent")
    assert len(said) == 4
    assert len(scene.hub.statuses(REPO)) == 12


LOG = """\ufeff2026-11-25T12:00:00.1234567Z \x1b[36;1mRun make test\x1b[0m
2026-11-25T12:00:01.1234567Z E   assert 1 == 2\u200b
2026-11-25T12:00:02.1234567Z ##[error]Process completed with exit code 1.
"""


async def test_a_round_is_told_what_a_failed_job_printed_and_our_token_stays_with_github(scene: Scene) -> None:
    opened = await began(scene)
    (pull,) = scene.hub.pull_requests(REPO)
    job = scene.hub.fail_job(REPO, pull["head"]["sha"], "tests", LOG)

    round_ = await opened.said("/orchestrate revise Mend it.", operator=OperatorConfig())

    assert round_.status == "completed"
    feedback = opened.plane.jobs[-1].feedback
    assert feedback is not None
    assert feedback.remarks == (
        "Check tests: failure\n\n"
        "Log of tests, around its first error\n"
        "    Run make test\n"
        "    E   assert 1 == 2\n"
        "    ##[error]Process completed with exit code 1."
    )
    assert (feedback.authors, feedback.notes) == ((), ())
    (kept,) = (it for it in scene.hub.requests if "/job-logs/" in it.path)
    assert (kept.status, kept.headers["host"].partition(":")[0]) == (200, "localhost")
    assert "authorization" not in kept.headers
    (asked,) = (it for it in scene.hub.requests if it.path.endswith(f"/actions/jobs/{job}/logs"))
    assert (asked.status, "authorization" in asked.headers) == (302, True)
    assert "skip-checks" not in (await opened.messages())[-1]


@pytest.mark.parametrize(("author", "held"), [("maria", False), ("stranger", True)])
async def test_sec_27_what_a_strangers_code_printed_holds_the_round_back(
    scene: Scene, author: str, *, held: bool
) -> None:
    opened = await began(scene)
    (pull,) = scene.hub.pull_requests(REPO)
    head = await scene.hub.commit(REPO, {"more.py": "X = 1\n"}, branch=pull["head"]["ref"], user=author)
    scene.hub.fail_job(REPO, head, "tests", LOG)

    await opened.said("/orchestrate revise Mend it.", operator=OperatorConfig())

    feedback = opened.plane.jobs[-1].feedback
    assert feedback is not None
    assert feedback.authors == (author,)
    assert ("skip-checks: true" in (await opened.messages())[-1]) is held


async def test_a_log_that_is_gone_or_not_to_be_read_is_a_note_on_the_pull_request_and_the_round_ends_well(
    scene: Scene,
) -> None:
    opened = await began(scene)
    (pull,) = scene.hub.pull_requests(REPO)
    scene.hub.fail_job(REPO, pull["head"]["sha"], "tests", LOG)
    scene.hub.faults.add(method="GET", path_regex="/actions/jobs/", kind="status", status=410, body={"message": "Gone"})
    gone = await opened.said("/orchestrate revise Mend it.")

    (pull,) = scene.hub.pull_requests(REPO)
    assert gone.status == "completed"
    assert "The log of the failed job `tests` was not read: GitHub answered 410 Gone." in pull["body"]

    scene.hub.fail_job(REPO, pull["head"]["sha"], "tests", LOG)
    opened.plane.text = b"RATE = 3\n"
    scene.hub.state.installations[scene.installation].permissions.pop("actions")
    refused = await opened.said("/orchestrate revise Mend it.")

    (pull,) = scene.hub.pull_requests(REPO)
    assert refused.status == "completed"
    assert (
        "The logs of failed jobs were not read: `actions: read` is not granted. Grant the App `actions: read` at "
        f"{scene.hub.url}/settings/apps/orchestrator/permissions, and accept that where it is installed."
    ) in pull["body"]


@pytest.mark.parametrize("kind", ["triage", "bot"])
async def test_sec_27_no_triage_role_and_no_bot_lets_ci_run_though_they_may_start_runs(scene: Scene, kind: str) -> None:
    scene.hub.create_user("tim")
    scene.hub.set_permission(REPO, "tim", "triage" if kind == "triage" else "write")
    await scene.hub.commit(REPO, {".orchestrator.yaml": "version: 1\ngithub:\n  trigger_permission: triage\n"})
    opened = await began(scene, author="stranger")
    trigger = scene.trigger(opened.number, "/orchestrate ci", user="tim")

    refused = await opened.handled(replace(trigger, actor_type="Bot") if kind == "bot" else trigger)

    assert (refused.status, refused.code) == ("refused", "denied")
    assert refused.reason == "only a person with write access lets CI run."
    assert len(await opened.messages()) == 1


async def _thread(opened: Opened) -> int:
    """Have a stranger begin a thread on our file and a maintainer answer it; returns the first comment's id."""
    hub, number = opened.scene.hub, opened.number
    (pull,) = hub.pull_requests(REPO)
    place = {"commit_id": pull["head"]["sha"], "path": "limiter.py", "line": 1, "side": "RIGHT"}
    made: list[int] = []
    for user, body in (("stranger", {"body": "Why 1?"} | place), ("maria", {"body": "Make it 2."})):
        async with httpx.AsyncClient(base_url=hub.api_url, trust_env=False) as http:
            path = f"/repos/{REPO}/pulls/{number}/comments{f'/{made[0]}/replies' if made else ''}"
            answer = await http.post(path, json=body, headers={"Authorization": f"token {hub.token_for(user)}"})
        assert answer.status_code == 201
        made.append(answer.json()["id"])
    return int(made[0])


async def test_a_thread_that_a_stranger_began_is_answered_at_its_beginning(scene: Scene) -> None:
    opened = await began(scene)
    first = await _thread(opened)

    round_ = await opened.said("/orchestrate revise Answer it.")

    (pull,) = (it.pull for it in scene.hub.repository(REPO).issues.values() if it.pull)
    assert round_.status == "completed"
    assert [(it.in_reply_to, it.user.login) for it in pull.comments[1:]] == [
        (first, "maria"), (first, "orchestrator[bot]"),
    ]  # fmt: skip


async def test_a_thread_that_takes_no_answer_is_a_note_and_the_round_is_delivered(scene: Scene) -> None:
    opened = await began(scene)
    await _thread(opened)
    scene.hub.faults.add(method="POST", path_regex="/replies$", kind="status", status=422, body={"message": "Locked"})

    round_ = await opened.said("/orchestrate revise Answer it.")

    assert round_.status == "completed"
    assert "A review thread was not answered: GitHub would not answer a review thread: 422 Locked" in round_.report
    assert len(scene.hub.check_runs(REPO, round_.head_sha)) == 4


@pytest.mark.slow
async def test_a_round_is_told_of_every_failing_status_though_they_fill_more_than_one_page(scene: Scene) -> None:
    opened = await began(scene)
    (pull,) = scene.hub.pull_requests(REPO)
    path = f"/repos/{REPO}/statuses/{pull['head']['sha']}"
    headers = {"Authorization": f"token {scene.hub.token_for('maria')}"}
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, headers=headers) as http:
        for context, state in (
            ("mended", "failure"), ("mended", "success"),
            *((f"ci/{number}", "success") for number in range(31)), ("last", "failure"),
        ):  # fmt: skip
            assert (await http.post(path, json={"state": state, "context": context})).status_code == 201

    await opened.said("/orchestrate revise Mend it.")

    feedback = opened.plane.jobs[-1].feedback
    assert feedback is not None
    assert feedback.remarks == "Check last: failure"
