"""One step against a local GitHub and models on loopback: what a job does that nobody starts again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from action.event import Asked, asked_by
from action.inputs import Inputs, Runner, process_environment
from action.outputs import Ending
from action.step import INTERRUPTED, Step
from bot.localhub import LocalHub, render
from orchestrator.control_plane import ControlPlane
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Unreachable
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.operator_config import OperatorConfig
from tests.loopback import ModelServer, Script

REPO = "octo/demo"
SPEC = "project:\n  app_type: library\nvalidation:\n  validators: [python_syntax]\n  commands: ['true']\n"


@dataclass
class Job:
    """A job of a workflow; `pauses` are the seconds that it would have waited, `log` is what it printed.

    With `shared` the jobs share a database.
    """

    hub: LocalHub
    models: ModelServer
    folder: Path
    pauses: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    shared: bool = False

    async def said(self, text: str, issue: int) -> Ending:
        """Handle a comment, on a machine of its own."""
        comment_id = self.hub.comment(REPO, issue, text, user="maria")
        repo = self.hub.repository(REPO)
        there = repo.issues[issue]
        (comment,) = (it for it in there.comments if it.id == comment_id)
        payload: dict[str, Any] = {
            "action": "created",
            "issue": render.issue(self.hub.url, repo, there),
            "comment": render.comment(self.hub.url, repo, there, comment),
            "repository": render.repository(self.hub.url, repo),
            "sender": render.user(self.hub.url, comment.user),
        }
        token, state = self.hub.workflow_token(REPO), self.folder / str(comment_id)
        runner = Runner(state / "output", state / "summary", state / "temp", state / "workspace")
        inputs = Inputs(github_token=token)
        env = {
            **self.models.environment(),
            "GITHUB_API_URL": self.hub.api_url,
            "GITHUB_SERVER_URL": self.hub.url,
            "GITHUB_EVENT_NAME": "issue_comment",
        }
        if self.shared:
            env["ORCHESTRATOR_DATABASE_URL"] = f"sqlite:///{self.folder / 'shared.db'}"
        opened = process_environment(env, inputs, runner)
        asked = asked_by(payload, env, inputs, bots=(), shared=self.shared)
        assert isinstance(asked, Asked)
        github = GitHubConnection.from_environment(opened)

        async def wait(seconds: float) -> None:
            self.pauses.append(seconds)

        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        github.sleep = at_once
        step = Step(
            asked,
            inputs,
            runner,
            github,
            OperatorConfig(),
            (),
            Redactor(),
            self.log.append,
            shared=self.shared,
            sleep=wait,
        )
        async with ControlPlane.open(opened) as plane:
            return await step.run(plane)

    def audit(self) -> list[tuple[str, dict[str, Any]]]:
        (file,) = self.folder.rglob("audit.jsonl")
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        return [(it["kind"], it["facts"]) for it in entries]


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer(Script(tasks=1)) as server:
        yield server


@pytest.fixture
async def job(tmp_path: Path, models: ModelServer) -> AsyncIterator[Job]:
    async with LocalHub(root=tmp_path / "hub") as hub:
        await hub.create_repository(REPO, {"README.md": "# Demo\n", ".orchestrator.yaml": SPEC})
        hub.create_user("maria")
        hub.set_permission(REPO, "maria", "write")
        hub.create_issue(REPO, "A sample library", "Write a sample library.", user="maria")
        yield Job(hub, models, tmp_path / "job")


@pytest.mark.parametrize(
    ("kind", "times", "pauses"),
    [("status", 1, [5.0]), pytest.param("drop_after", 1, [], marks=pytest.mark.slow)],
)
async def test_a_write_that_is_lost_is_made_again_and_what_was_paid_is_not_paid_again(
    job: Job, kind: Any, times: int, pauses: list[float]
) -> None:
    lost = job.hub.faults.add(method="POST", path_regex="/git/refs$", kind=kind, times=times)

    ending = await job.said("/orchestrate", 1)

    assert (lost.hits, ending.status, job.pauses) == (times, "completed", pauses)
    assert [it["number"] for it in job.hub.pull_requests(REPO)] == [ending.pull_request]
    asked = ["architecture", "decompose", "generate", "review", "evaluate"]
    assert [it.purpose for it in job.models.journal] == asked
    assert [said for said in job.log if "Trying again" in said] == [
        f"{facts['reason']} Trying again in 5 s." for kind, facts in job.audit() if kind == "unreachable"
    ]
    assert len([kind for kind, _ in job.audit() if kind == "unreachable"]) == len(pauses)


async def test_a_github_that_stays_down_ends_the_step_after_four_pauses(job: Job) -> None:
    job.hub.faults.add(path_regex="/repos/", kind="status", times=1_000)

    with pytest.raises(Unreachable):
        await job.said("/orchestrate", 1)

    assert job.pauses == [5.0, 15.0, 45.0, 120.0]
    assert [kind for kind, _ in job.audit()][-1] == "failed"
    assert job.models.journal == []


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
async def test_sec_36_a_round_whose_job_is_cancelled_leaves_no_check_run_open(job: Job, shared: bool) -> None:
    job.shared = shared
    built = await job.said("/orchestrate", 1)
    assert built.pull_request is not None
    (pull,) = job.hub.pull_requests(REPO)
    before = {it["name"]: (it["id"], it["conclusion"]) for it in job.hub.check_runs(REPO, pull["head"]["sha"])}
    calls = len(job.models.journal)
    job.models.hold()

    round_ = asyncio.create_task(job.said("/orchestrate revise Name the constants.", built.pull_request))
    await asyncio.to_thread(job.models.wait_for_calls, calls + 1)
    round_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await round_
    job.models.release()

    opened = [it for it in job.hub.requests if b'"in_progress"' in it.body]
    runs = job.hub.check_runs(REPO, pull["head"]["sha"])
    shown = {it["name"]: (it["id"], it["conclusion"]) for it in runs}
    if shared:
        assert len(opened) == 4
        assert shown == {name: (number, "failure") for name, (number, _) in before.items()}
        assert {it["output"]["summary"] for it in runs} == {INTERRUPTED}
    else:
        # Nobody would know what stood there before, so that it is left as it is.
        assert opened == []
        assert shown == before
