"""`command: generate` and `publish`: two jobs on one event, one without a token that writes, one without keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.localhub import LocalHub
from tests.e2e.action_scene import REPO, comment_on, dispatch, opened, review, runner_for
from tests.e2e.action_steps import LAST, ROOT, Ran, StepRunner
from tests.loopback import Answer, Asked, ModelServer, Script, library

WORKFLOW = yaml.safe_load((ROOT / "docs/workflows/two-jobs.yml").read_text())
Content = dict[str, Any]


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer(Script(tasks=2, answers={"review": review})) as server:
        yield server


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with opened(tmp_path / "hub") as hub:
        yield hub


@dataclass
class Jobs:
    """The two jobs of one workflow, each on a machine of its own."""

    generate: StepRunner
    publish: StepRunner

    async def generated(self) -> Ran:
        """Run the first job and hand its artifact to the second one."""
        ran = await self.generate.run(LAST)
        shutil.copytree(self.generate.temp / "orchestrator-bundle", self.publish.temp / "orchestrator-bundle")
        shutil.copy(self.generate.temp / "event.json", self.publish.temp / "event.json")
        self.publish.env = {**self.publish.env, "GITHUB_EVENT_NAME": self.generate.env["GITHUB_EVENT_NAME"]}
        return ran

    @property
    def bundle(self) -> Path:
        """The file as the second job gets it."""
        return self.publish.temp / "orchestrator-bundle" / "bundle.json"

    def tamper(self, change: Callable[[Content], object]) -> None:
        """Change what the bundle says on its way."""
        content = json.loads(self.bundle.read_text())
        change(content)
        self.bundle.write_text(json.dumps(content))


def _jobs(tmp_path: Path, hub: LocalHub, models: ModelServer, **inputs: str) -> Jobs:
    generate = runner_for(tmp_path / "one", hub, models, command="generate", **inputs)
    generate.token = hub.workflow_token(REPO, _permissions("generate"))
    publish = runner_for(tmp_path / "two", hub, models, command="publish", **inputs)
    publish.token = hub.workflow_token(REPO, _permissions("publish"))
    generate.env = {**generate.env, "GITHUB_JOB": "generate"}
    publish.env = {name: value for name, value in publish.env.items() if name.startswith("GITHUB_")}
    publish.env["GITHUB_JOB"] = "publish"
    for runner in (generate, publish):
        runner.use_this_interpreter()
    return Jobs(generate, publish)


def _permissions(job: str) -> dict[str, str]:
    """Return what the documented workflow gives a job, as the API spells it."""
    return {name.replace("-", "_"): level for name, level in WORKFLOW["jobs"][job]["permissions"].items()}


def _writes(hub: LocalHub) -> list[str]:
    reading = ("/git-upload-pack", "/graphql")
    return [f"{it.method} {it.path}" for it in hub.requests if it.method != "GET" and not it.path.endswith(reading)]


def _ours(hub: LocalHub, number: int) -> list[str]:
    return [it["body"] for it in hub.comments(REPO, number) if it["user"]["login"] == "github-actions[bot]"]


async def test_one_job_generates_without_a_write_and_another_publishes_without_keys_each_thing_once(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    jobs = _jobs(tmp_path, hub, models)
    issue, comment_id = comment_on(hub, jobs.generate, "/orchestrate")

    generated = await jobs.generated()

    assert (generated.status, jobs.generate.outputs()["status"]) == (0, "completed"), generated.log
    assert (_writes(hub), hub.pull_requests(REPO), list(await hub.branches(REPO))) == ([], [], ["main"])
    assert "Nothing was written to GitHub, not even progress" in jobs.generate.summary
    assert Path(jobs.generate.outputs()["report-path"]).parent == jobs.generate.temp / "orchestrator-bundle"
    assert not [key for key in models.environment().values() if key in jobs.bundle.read_text()]
    calls = len(models.journal)

    first = await jobs.publish.run(LAST)
    second = await jobs.publish.run(LAST)

    outputs = jobs.publish.outputs()
    assert (first.status, second.status, outputs["status"]) == (0, 0, "completed"), first.log + second.log
    assert (len(models.journal), outputs["project-id"]) == (calls, jobs.generate.outputs()["project-id"])
    (pull,) = hub.pull_requests(REPO)
    assert pull["head"]["ref"] == outputs["branch"] == f"orchestrator/{issue}-a-sample-library"
    assert f"Closes #{issue}" in pull["body"]
    assert {it["name"]: it["conclusion"] for it in hub.check_runs(REPO)} == {
        "orchestrator/architecture": "success",
        "orchestrator/budget": "success",
        "orchestrator/review": "success",
        "orchestrator/validation": "success",
    }
    assert len(hub.check_runs(REPO)) == 4
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["eyes", "rocket"]
    (status,), (report,) = _ours(hub, issue), _ours(hub, pull["number"])
    assert (status.startswith("Done: #"), "## Budget" in report) == (True, True)
    assert "Generated by a job that could not write here" in report
    assert float(outputs["spent-usd"]) == float(jobs.generate.outputs()["spent-usd"]) > 0
    files = await hub.files(REPO, pull["head"]["ref"])
    assert {"sample_library/part_1.py", "docs/adr/0001-architecture.md"} <= set(files)
    assert "::warning file=sample_library/part_1.py,line=3" in first.log
    assert "::warning file=" not in generated.log


@pytest.mark.slow
async def test_a_comment_that_is_no_command_ends_both_jobs_well_and_a_stranger_ends_them_badly(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    talk = _jobs(tmp_path / "talk", hub, models)
    comment_on(hub, talk.generate, "I like it.")
    ended = await talk.generated(), await talk.publish.run(LAST)
    assert [ran.status for ran in ended] == [0, 0], ended
    assert (talk.generate.outputs()["status"], talk.publish.outputs()["status"]) == ("ignored", "ignored")

    stranger = _jobs(tmp_path / "stranger", hub, models)
    _, comment_id = comment_on(hub, stranger.generate, "/orchestrate", user="stranger")
    denied = await stranger.generated(), await stranger.publish.run(LAST)
    assert [ran.status for ran in denied] == [1, 1], denied
    assert (stranger.bundle.exists(), models.journal) == (False, [])
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["confused"]


def _escapes(content: Content) -> None:
    content["changes"]["../../.bashrc"] = ""


def _protected(content: Content) -> None:
    content["changes"][".github/workflows/own.yml"] = ""


def _elsewhere(content: Content) -> None:
    content["request"] = "0" * 64


def _other_base(content: Content) -> None:
    content["base_sha"] = "0" * 40


def _leaks(content: Content) -> None:
    content["changes"]["key.txt"] = "Z2hwXzAxMjM0NTY3ODlhYmNkZWZnaGlqMDEyMzQ1Njc4OWFiY2Q="  # a token's form


ESCAPES = (_escapes, "a path that is never written")
PROTECTED = (_protected, "this path is protected and is never written")
ELSEWHERE = (_elsewhere, "answers another request")
OTHER_BASE = (_other_base, "base commit is none of main")
LEAKS = (_leaks, "A secret stands in generated files")


@pytest.mark.parametrize(
    "refused",
    [[PROTECTED, ELSEWHERE], pytest.param([ESCAPES, OTHER_BASE, LEAKS], marks=pytest.mark.slow)],
    ids=["protected or elsewhere", "escapes, other base, leaks"],
)
async def test_sec_17_18_31_a_bundle_that_was_tampered_with_is_refused_with_a_sentence_and_nothing_is_pushed(
    tmp_path: Path, hub: LocalHub, models: ModelServer, refused: list[tuple[Callable[[Content], None], str]]
) -> None:
    jobs = _jobs(tmp_path, hub, models)
    issue, _ = comment_on(hub, jobs.generate, "/orchestrate")
    await jobs.generated()
    whole = jobs.bundle.read_text()

    for change, sentence in refused:
        jobs.bundle.write_text(whole)
        jobs.tamper(change)
        ran = await jobs.publish.run(LAST)
        assert (ran.status, jobs.publish.outputs()["status"]) == (1, "failed"), ran.log
        assert sentence in ran.log
        (said,) = _ours(hub, issue)
        assert sentence in said

    assert (hub.pull_requests(REPO), list(await hub.branches(REPO))) == ([], ["main"])


def _plans_for_agents(asked: Asked) -> Answer:
    plan = library.plan(1, 1, tested=False)
    plan["tasks"][0]["files"].append("AGENTS.md")
    return Answer(plan)


@pytest.mark.slow
async def test_sec_17_what_the_operator_excepts_is_written_where_both_jobs_say_so_and_a_workflow_never(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    models.script = Script(tasks=1, answers={"decompose": _plans_for_agents})
    config = tmp_path / "operator.yaml"
    config.write_text("protected_path_exceptions: [AGENTS.md, '.github/**']\n")
    jobs = _jobs(tmp_path, hub, models)
    jobs.generate.env = {**jobs.generate.env, "ORCHESTRATOR_CONFIG": str(config)}
    issue, _ = comment_on(hub, jobs.generate, "/orchestrate")
    generated = await jobs.generated()
    assert (generated.status, jobs.generate.outputs()["status"]) == (0, "completed"), generated.log
    whole = jobs.bundle.read_text()
    assert "AGENTS.md" in json.loads(whole)["changes"]

    # The job that publishes obeys its own operator only.
    unsaid = await jobs.publish.run(LAST)
    jobs.publish.env = {**jobs.publish.env, "ORCHESTRATOR_CONFIG": str(config)}
    jobs.tamper(_protected)
    workflow = await jobs.publish.run(LAST)
    jobs.bundle.write_text(whole)
    published = await jobs.publish.run(LAST)

    assert (unsaid.status, workflow.status, published.status) == (1, 1, 0), published.log
    assert "AGENTS.md: this path is protected and is never written" in unsaid.log
    assert ".github/workflows/own.yml: this path is protected and is never written" in workflow.log
    assert f"orchestrator/{issue}-a-sample-library" == jobs.publish.outputs()["branch"]
    assert "AGENTS.md" in await hub.files(REPO, jobs.publish.outputs()["branch"])


@pytest.mark.slow
async def test_sec_18_a_bundle_that_is_a_link_a_pipe_too_large_or_missing_is_refused_with_a_sentence(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    jobs = _jobs(tmp_path, hub, models)
    comment_on(hub, jobs.generate, "/orchestrate plan")
    await jobs.generated()
    content = jobs.bundle.read_bytes()
    outside = tmp_path / "outside.json"
    outside.write_bytes(content)

    said = []
    for put in (
        lambda: jobs.bundle.symlink_to(outside),
        lambda: os.mkfifo(jobs.bundle),
        lambda: jobs.bundle.write_bytes(b" " * (48 * 1024 * 1024 + 1)),
        lambda: None,
    ):
        jobs.bundle.unlink()
        put()
        ran = await jobs.publish.run(LAST)
        assert jobs.publish.outputs()["status"] == "failed", ran.log
        said.append(jobs.publish.summary.rpartition("Failed: ")[2].partition(".")[0])
        jobs.bundle.touch()

    assert said[:3] == [
        "The bundle is no plain file",
        "The bundle is no plain file",
        "The bundle is larger than 50331648 bytes",
    ]
    assert said[3].startswith("There is no bundle in")


@pytest.mark.slow
async def test_a_run_that_failed_in_the_first_job_is_told_by_the_second(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    jobs = _jobs(tmp_path, hub, models, budget="0.0001", **{"fail-on": "never"})
    issue, comment_id = comment_on(hub, jobs.generate, "/orchestrate")

    generated = await jobs.generated()
    published = await jobs.publish.run(LAST, INPUT_FAIL_ON="error")

    assert (generated.status, jobs.generate.outputs()["status"]) == (0, "budget_exhausted"), generated.log
    assert (published.status, jobs.publish.outputs()["status"]) == (3, "budget_exhausted"), published.log
    (status,) = _ours(hub, issue)
    assert status.startswith("Stopped: the budget is used up")
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["eyes", "confused"]


@pytest.mark.slow
async def test_two_jobs_share_a_dispatch_a_plan_and_help_and_refuse_what_they_cannot_share(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    hand = _jobs(tmp_path / "hand", hub, models, project="Write a sample library.")
    dispatch(hub, hand.generate)
    ended = await hand.generated(), await hand.publish.run(LAST)
    assert [ran.status for ran in ended] == [0, 0], ended
    (pull,) = hub.pull_requests(REPO)
    assert pull["head"]["ref"] == hand.publish.outputs()["branch"]

    for text, status, exits, said in (
        ("/orchestrate plan", "planned", [0, 0], "Plan: 2 tasks"),
        ("/orchestrate help", "answered", [0, 0], "Commands, at the start of a line:"),
        ("/orchestrate status", "refused", [1, 1], "Not started: `/orchestrate status` cannot be shared by two jobs"),
    ):
        jobs = _jobs(tmp_path / status, hub, models)
        issue, _ = comment_on(hub, jobs.generate, text)
        both = await jobs.generated(), await jobs.publish.run(LAST)
        assert [ran.status for ran in both] == exits, both
        assert (jobs.generate.outputs()["status"], jobs.publish.outputs()["status"]) == (status, status)
        (comment,) = _ours(hub, issue)
        assert comment.startswith(said)
