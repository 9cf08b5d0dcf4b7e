from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import pytest

from orchestrator.budget import Budget
from orchestrator.control_plane import Change, ControlPlane, Source
from orchestrator.events import Event, EventType
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.stories.handler import STEPS, HandledRun, Progress, handle
from orchestrator.github.triggers.command import Command, Refusal, parse_command
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.operator_config import OperatorConfig
from orchestrator.specs import JobSpec
from orchestrator.state import Outcome, ProjectState, ProjectStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import completed, failing, running

BUILT: dict[str, bytes | None] = {"limiter.py": b"RATE = 1\n", "test_limiter.py": b"def test_rate():\n    pass\n"}


@dataclass
class KnownPlane:
    """A plane whose every run ends in a given state with given files."""

    ending: Callable[[], ProjectState] = completed
    files: dict[str, bytes | None] = field(default_factory=lambda: dict(BUILT))
    jobs: list[JobSpec] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    cancelled: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

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
        self.jobs.append(job)
        if source is not None:
            self.sources.append(source)
            self.seen += sorted(str(path.relative_to(source.root)) for path in source.root.rglob("*") if path.is_file())
        if on_event is not None:
            await on_event(Event(EventType.PROJECT_STARTED, run_id, {}, 0.0))
        state = self.ending()
        state.project_id = run_id
        if plan_only:
            state.results, state.files, state.validation = {}, (), ()
        return state

    async def review(
        self,
        job: JobSpec,
        change: Change,
        *,
        run_id: str,
        repository: str,
        user: str = "",
        on_event: Callable[[Event], Awaitable[None]] | None = None,
    ) -> ProjectState:
        raise NotImplementedError("this plane builds, and reviews nothing")

    async def changes(self, run_id: str) -> dict[str, bytes | None]:
        return self.files

    async def state(self, run_id: str) -> ProjectState | None:
        return self.ending() if self.jobs else None

    async def job(self, run_id: str) -> JobSpec | None:
        return None

    async def cancel(self, run_id: str, actor: str) -> None:
        self.cancelled[run_id] = actor

    async def cancelled_by(self, run_id: str) -> str | None:
        return self.cancelled.get(run_id)

    async def withdraw_cancel(self, run_id: str) -> None:
        del self.cancelled[run_id]

    async def forget_plan(self, run_id: str) -> None:
        self.forgotten.append(run_id)

    async def end_cancelled(self, run_id: str, actor: str) -> ProjectState:
        raise NotImplementedError("every run of this plane ends by itself")


def _issue(scene: Scene, author: str = "maria") -> int:
    return scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user=author)


def _command(trigger: Trigger) -> Command | Refusal:
    found = parse_command(trigger.comment)
    assert found is not None
    return found


async def _handle(
    scene: Scene,
    trigger: Trigger,
    plane: KnownPlane | ControlPlane | None = None,
    *,
    effects: MemoryEffects | None = None,
    operator: OperatorConfig | None = None,
    progress: Callable[[Progress], Awaitable[None]] | None = None,
) -> HandledRun:
    return await handle(
        trigger,
        _command(trigger),
        github=scene.github,
        plane=plane or KnownPlane(),
        effects=effects or MemoryEffects(),
        operator=operator or OperatorConfig(),
        secrets=["hunter2-hunter2"],
        progress=progress,
    )


def _reactions(scene: Scene, trigger: Trigger) -> list[str]:
    assert trigger.comment_id is not None
    return [content for _, content in scene.hub.reactions(REPO, trigger.comment_id)]


def _checks(scene: Scene, sha: str) -> dict[str, str]:
    return {it["name"]: it["conclusion"] for it in scene.hub.check_runs(REPO, sha)}


def _ours(scene: Scene, number: int) -> list[str]:
    return [it["body"] for it in scene.hub.comments(REPO, number) if it["user"]["login"] == "orchestrator[bot]"]


@pytest.mark.parametrize(("globs", "status"), [(1, "completed"), (200, "spec_invalid")])
async def test_sec_17_a_spec_under_another_name_is_never_written_either(scene: Scene, globs: int, status: str) -> None:
    own = [f"infra{number}/**" for number in range(globs)]
    await scene.hub.commit(REPO, {"ci/build.yaml": f"github:\n  protected_paths: {own}\n"})
    trigger, plane = scene.trigger(_issue(scene), "/orchestrate"), KnownPlane()

    handled = await handle(
        trigger,
        _command(trigger),
        github=scene.github,
        plane=plane,
        effects=MemoryEffects(),
        operator=OperatorConfig(),
        spec_path="ci/build.yaml",
    )

    assert handled.status == status
    assert [it.github.protected_paths for it in plane.jobs] == ([("infra0/**", "ci/build.yaml")] if globs == 1 else [])


async def test_a_run_ends_in_a_pull_request_with_its_report_four_checks_and_one_status_comment(scene: Scene) -> None:
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate --budget 2 with a README")
    plane = KnownPlane()
    steps: list[str] = []

    async def told(progress: Progress) -> None:
        steps.append(progress.step)

    handled = await _handle(scene, trigger, plane, progress=told)

    run_id = run_id_for(trigger.repository_id, trigger.source)
    assert (handled.status, handled.run_id, handled.branch) == (
        "completed",
        run_id,
        f"orchestrator/{issue}-rate-limiter",
    )
    (pull,) = scene.hub.pull_requests(REPO)
    assert (pull["number"], pull["title"], pull["draft"]) == (handled.pull_request, "Rate limiter", True)
    assert f"Closes #{issue}" in pull["body"]
    assert pull["head"]["sha"] == handled.head_sha
    assert (await scene.hub.files(REPO, handled.branch))["limiter.py"] == b"RATE = 1\n"
    assert _checks(scene, handled.head_sha) == {
        "orchestrator/budget": "success",
        "orchestrator/review": "success",
        "orchestrator/architecture": "success",
        "orchestrator/validation": "success",
    }
    (report,) = _ours(scene, pull["number"])
    assert all(f"\n## {name}\n" in report for name in ("Budget", "Review", "Architecture", "Validation"))
    assert report.endswith(f"<!-- orchestrator:report run={run_id} -->")
    (status,) = _ours(scene, issue)
    assert status.splitlines()[0] == f"Done: #{pull['number']} · 2/2 tasks · $1.84 of $5.00 · 6 min"
    assert status.endswith(f"<!-- orchestrator:status run={run_id} -->")
    assert _reactions(scene, trigger) == ["eyes", "rocket"]
    assert plane.seen == ["README.md", "src/app.py"]
    (job,) = plane.jobs
    assert (job.title, job.budget.max_usd) == ("Rate limiter", 2.0)
    assert job.description == "Implement a token bucket.\n\nwith a README"
    assert steps == list(STEPS)


async def test_the_status_comment_follows_a_run_while_it_works(scene: Scene) -> None:
    issue = _issue(scene)
    shown: list[str] = []

    class WorkingPlane(KnownPlane):
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
            ended = await super().submit(job, run_id=run_id, source=source, on_event=on_event)
            async with asyncio.timeout(20):
                while not shown:
                    shown.extend(_ours(scene, issue))
                    await asyncio.sleep(0)
            return ended

        async def state(self, run_id: str) -> ProjectState | None:
            return running()

    await _handle(scene, scene.trigger(issue, "/orchestrate"), WorkingPlane())
    assert shown[0].startswith("Running: 1/2 tasks · $0.91 of $5.00")
    (status,) = _ours(scene, issue)
    assert status.startswith("Done: ")


async def test_handling_the_same_command_again_makes_nothing_twice(scene: Scene) -> None:
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate")
    first = await _handle(scene, trigger)
    second = await _handle(scene, trigger)
    assert (first.head_sha, first.pull_request) == (second.head_sha, second.pull_request)
    assert len(scene.hub.pull_requests(REPO)) == 1
    assert len(scene.hub.check_runs(REPO)) == 4
    assert (len(_ours(scene, issue)), len(_ours(scene, first.pull_request or 0))) == (1, 1)
    assert len(await scene.hub.branches(REPO)) == 2


async def test_a_pull_request_that_a_person_closed_stays_closed_when_the_command_comes_again(scene: Scene) -> None:
    trigger = scene.trigger(_issue(scene), "/orchestrate")
    first = await _handle(scene, trigger)
    scene.hub.close_issue(REPO, first.pull_request or 0)
    second = await _handle(scene, trigger)
    assert (second.pull_request, second.branch) == (first.pull_request, first.branch)
    assert [pull["state"] for pull in scene.hub.pull_requests(REPO)] == ["closed"]
    assert len(await scene.hub.branches(REPO)) == 2


WRITES = (
    ("POST", r"/reactions$"),
    ("POST", r"/git/blobs$"),
    ("POST", r"/git/trees$"),
    ("POST", r"/git/commits$"),
    ("POST", r"/git/refs$"),
    ("POST", r"/pulls$"),
    ("POST", r"/check-runs$"),
    ("POST", r"/issues/\d+/comments$"),
)


async def _until_it_ends(scene: Scene, trigger: Trigger, effects: MemoryEffects | None, tries: int) -> HandledRun:
    for _ in range(tries):
        try:
            return await _handle(scene, trigger, effects=effects)
        except Unreachable:
            continue
    raise AssertionError("it never ended")


async def _assert_one_of_everything(scene: Scene, trigger: Trigger, handled: HandledRun) -> None:
    assert handled.status == "completed"
    assert len(scene.hub.pull_requests(REPO)) == 1
    assert sorted(it["name"] for it in scene.hub.check_runs(REPO)) == [
        "orchestrator/architecture",
        "orchestrator/budget",
        "orchestrator/review",
        "orchestrator/validation",
    ]
    assert (len(_ours(scene, trigger.issue or 0)), len(_ours(scene, handled.pull_request or 0))) == (1, 1)
    assert len(await scene.hub.branches(REPO)) == 2
    assert sorted(_reactions(scene, trigger)) == ["eyes", "rocket"]


@pytest.mark.parametrize(
    ("kind", "durable"),
    [
        ("drop_after", True),
        ("drop_before", False),
        pytest.param("drop_before", True, marks=pytest.mark.slow),
        pytest.param("drop_after", False, marks=pytest.mark.slow),
    ],
)
async def test_when_every_kind_of_write_loses_its_answer_once_there_is_one_of_everything_in_the_end(
    scene: Scene, kind: Literal["drop_before", "drop_after"], durable: bool
) -> None:
    trigger = scene.trigger(_issue(scene), "/orchestrate")
    for method, path in WRITES:
        scene.hub.faults.add(method=method, path_regex=path, kind=kind)
    effects = MemoryEffects() if durable else None
    handled = await _until_it_ends(scene, trigger, effects, tries=len(WRITES))
    assert [fault.hits for fault in scene.hub.faults.waiting] == [1] * len(WRITES)
    await _assert_one_of_everything(scene, trigger, handled)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_a_crash_at_any_write_converges_to_one_of_everything(
    scene: Scene, method: str, path: str, kind: Literal["drop_before", "drop_after"]
) -> None:
    trigger = scene.trigger(_issue(scene), "/orchestrate")
    scene.hub.faults.add(method=method, path_regex=path, kind=kind)
    handled = await _until_it_ends(scene, trigger, MemoryEffects(), tries=3)
    await _assert_one_of_everything(scene, trigger, handled)


async def test_sec_06_somebody_without_the_permission_gets_one_reaction_and_nothing_runs(scene: Scene) -> None:
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate", user="stranger")
    plane = KnownPlane()
    handled = await _handle(scene, trigger, plane)
    assert handled.status == "denied"
    assert _reactions(scene, trigger) == ["confused"]
    assert (plane.jobs, _ours(scene, issue), scene.hub.pull_requests(REPO)) == ([], [], [])


async def test_a_broken_spec_becomes_a_comment_and_a_check_run_with_the_line(scene: Scene) -> None:
    head = await scene.hub.commit(REPO, {".orchestrator.yaml": "version: 1\nbugdet:\n  max_usd: 2\n"})
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate")
    plane = KnownPlane()
    handled = await _handle(scene, trigger, plane)
    assert (handled.status, handled.spec_findings[0].line, plane.jobs) == ("spec_invalid", 2, [])
    (check,) = scene.hub.check_runs(REPO, head)
    assert (check["name"], check["conclusion"]) == ("orchestrator/spec", "failure")
    assert [(it["path"], it["start_line"]) for it in check["annotations"]] == [(".orchestrator.yaml", 2)]
    (comment,) = _ours(scene, issue)
    assert "`.orchestrator.yaml:2`" in comment
    assert _reactions(scene, trigger) == ["eyes", "confused"]


async def test_a_partial_result_is_a_draft_that_says_part_of_with_failing_checks(scene: Scene) -> None:
    await scene.hub.commit(REPO, {".orchestrator.yaml": "github:\n  draft: false\n  labels: [ai]\n"})
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate")
    handled = await _handle(scene, trigger, KnownPlane(failing))
    (pull,) = scene.hub.pull_requests(REPO)
    assert pull["draft"] is True
    assert [label["name"] for label in pull["labels"]] == ["ai"]
    assert f"Part of #{issue}" in pull["body"]
    assert "Closes" not in pull["body"]
    checks = _checks(scene, handled.head_sha)
    assert (checks["orchestrator/review"], checks["orchestrator/validation"]) == ("failure", "failure")
    assert _reactions(scene, trigger) == ["eyes", "confused"]


async def test_a_run_that_built_nothing_opens_no_pull_request(scene: Scene) -> None:
    def nothing() -> ProjectState:
        return ProjectState(
            "r", "t", "d", "", Budget(1.0), ProjectStatus.FAILED, outcome=Outcome("failed", "No model.")
        )

    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate")
    handled = await _handle(scene, trigger, KnownPlane(nothing, files={}))
    assert (handled.status, handled.branch, scene.hub.pull_requests(REPO)) == ("failed", "", [])
    assert list(await scene.hub.branches(REPO)) == ["main"]
    (status,) = _ours(scene, issue)
    assert status.startswith("Failed: $0.00 of $1.00 · 0 s\n\nNo model.")
    assert _reactions(scene, trigger) == ["eyes", "confused"]


@pytest.mark.parametrize(
    ("text", "says", "code"),
    [
        ("/orchestrate staus", "the nearest is `/orchestrate status`", "unknown_command"),
        ("/orchestrate revise it", "`/orchestrate revise` works on pull requests", "misplaced"),
        ("/orchestrate --base nowhere", "there is no branch `nowhere`", "no_branch"),
        ("/orchestrate --budget nothing", "`--budget` takes an amount", "bad_value"),
        ("/orchestrate cancel", "there is no run for this issue yet", "no_run"),
    ],
)
async def test_a_command_that_cannot_be_followed_is_refused_with_what_to_do_and_a_code(
    scene: Scene, text: str, says: str, code: str
) -> None:
    issue = _issue(scene)
    trigger = scene.trigger(issue, text)
    handled = await _handle(scene, trigger)
    (comment,) = _ours(scene, issue)
    assert (handled.status, handled.code) == ("refused", code)
    assert says in comment
    assert f"(code `{code}`)" in comment
    assert _reactions(scene, trigger) == ["eyes", "confused"]


async def test_help_is_answered_with_the_commands(scene: Scene) -> None:
    issue = _issue(scene)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate help"))
    assert handled.status == "answered"
    assert "`/orchestrate plan`" in _ours(scene, issue)[0]


async def test_status_repeats_the_latest_run_of_the_issue(scene: Scene) -> None:
    issue = _issue(scene)
    plane = KnownPlane()
    await _handle(scene, scene.trigger(issue, "/orchestrate"), plane)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate status"), plane)
    assert handled.report.startswith("Done: 2/2 tasks · $1.84 of $5.00")


async def test_a_plan_is_a_comment_and_builds_nothing(scene: Scene) -> None:
    issue = _issue(scene)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate plan"))
    assert (handled.status, scene.hub.pull_requests(REPO)) == ("planned", [])
    (comment,) = _ours(scene, issue)
    assert comment.startswith("Plan: 2 tasks · forecast $0.90 to $2.40")


async def test_a_forecast_above_the_threshold_builds_nothing(scene: Scene) -> None:
    await scene.hub.commit(REPO, {".orchestrator.yaml": "github:\n  require_approval_above_usd: 2.0\n"})
    issue = _issue(scene)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    assert (handled.status, scene.hub.pull_requests(REPO)) == ("waiting", [])


async def test_a_token_that_may_not_open_pull_requests_ends_with_missing_permission_and_the_link(scene: Scene) -> None:
    said = {"message": "GitHub Actions is not permitted to create or approve pull requests."}
    scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=403, body=said)
    issue = _issue(scene)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    assert (handled.status, handled.code, handled.pull_request) == ("completed", "missing_permission", None)
    assert handled.reason.startswith("This token may not open pull requests.")
    (status,) = _ours(scene, issue)
    assert "Open it by hand from the link" in status
    assert "(code `missing_permission`)" in status
    assert "[open a pull request](" in status


async def test_a_token_that_may_not_push_fails_with_missing_permission(scene: Scene) -> None:
    said = {"message": "Resource not accessible by integration"}
    scene.hub.faults.add(method="POST", path_regex="/git/trees$", kind="status", status=403, body=said)
    issue = _issue(scene)
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    assert (handled.status, handled.code) == ("failed", "missing_permission")
    (status,) = _ours(scene, issue)
    assert "Check the permissions of the App or the workflow's token." in status
    assert "(code `missing_permission`)" in status


async def test_a_second_run_is_refused_while_the_pull_request_is_open_and_gets_a_suffix_after(scene: Scene) -> None:
    issue = _issue(scene)
    first = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    refused = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    assert (refused.status, refused.code) == ("refused", "pull_request_open")
    assert first.pull_request_url in refused.reason
    scene.hub.close_issue(REPO, first.pull_request or 0)
    again = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    assert again.branch == f"orchestrator/{issue}-rate-limiter-2"


async def test_sec_15_the_base_commit_is_pinned_and_a_moved_base_is_reported(scene: Scene) -> None:
    issue = _issue(scene)
    trigger = scene.trigger(issue, "/orchestrate")
    base = (await scene.hub.branches(REPO))["main"]
    scene.hub.faults.add(method="POST", path_regex=r"/git/refs$", kind="status", status=502)
    effects = MemoryEffects()
    with pytest.raises(Unreachable):
        await _handle(scene, trigger, effects=effects)
    await scene.hub.commit(REPO, {"later.txt": "x\n"})
    plane = KnownPlane()
    handled = await _handle(scene, trigger, plane, effects=effects)
    assert handled.base_sha == base
    assert "later.txt" not in plane.seen
    assert "main has moved to" in scene.hub.pull_requests(REPO)[0]["body"]


async def test_sec_17_protected_paths_of_the_spec_go_to_the_plane(scene: Scene) -> None:
    await scene.hub.commit(REPO, {".orchestrator.yaml": "github:\n  protected_paths: ['infra/**']\n"})
    plane = KnownPlane()
    await _handle(scene, scene.trigger(_issue(scene), "/orchestrate"), plane)
    assert plane.jobs[0].github.protected_paths == ("infra/**",)


@pytest.mark.parametrize(
    ("author", "files", "held_back"),
    [
        ("maria", BUILT, False),
        ("stranger", BUILT, True),
        ("maria", {**BUILT, "package.json": b"{}\n"}, True),
    ],
)
async def test_sec_27_ci_is_held_back_where_a_stranger_wrote_or_ci_files_change(
    scene: Scene, author: str, files: dict[str, bytes | None], held_back: bool
) -> None:
    trigger = scene.trigger(_issue(scene, author), "/orchestrate")
    handled = await _handle(scene, trigger, KnownPlane(files=files))
    commit = await scene.client.read("read", lambda repository: repository.get_git_commit(handled.head_sha))
    assert commit.message.rstrip().endswith("\nskip-checks: true") is held_back


async def test_sec_30_a_title_that_begins_a_block_of_code_acts_in_no_commit_and_no_pull_request(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "~~~ fixes #12 @org/team <!-- [skip ci]", "Build it.", user="maria")
    handled = await _handle(scene, scene.trigger(issue, "/orchestrate"))
    number = handled.pull_request or 0
    message = await scene.client.read("read", lambda repository: repository.get_git_commit(handled.head_sha).message)
    title = await scene.client.read("read", lambda repository: repository.get_pull(number).title)
    expected = "~~~ fixes \u2060#12 @\u2060org/team <\u2060!-- [\u2060skip ci]"
    assert (message.splitlines()[0], title) == (expected, expected)


async def test_sec_31_a_secret_in_a_generated_file_blocks_the_push_and_says_so(scene: Scene) -> None:
    issue = _issue(scene)
    handled = await _handle(
        scene, scene.trigger(issue, "/orchestrate"), KnownPlane(files={"conf.py": b"KEY = 'hunter2-hunter2'\n"})
    )
    assert (handled.status, handled.code) == ("failed", "secret_found")
    assert list(await scene.hub.branches(REPO)) == ["main"]
    (status,) = _ours(scene, issue)
    assert status.splitlines()[-3] == "(code `secret_found`)"
    assert "A secret stands in generated files, so nothing was pushed: conf.py" in status
    assert "hunter2" not in status


async def test_sec_12_a_repository_that_switched_the_orchestrator_off_runs_nothing(scene: Scene) -> None:
    await scene.hub.commit(REPO, {".orchestrator.yaml": "enabled: false\n"})
    plane = KnownPlane()
    handled = await _handle(scene, scene.trigger(_issue(scene), "/orchestrate"), plane)
    assert (handled.status, plane.jobs) == ("refused", [])


async def test_a_workflow_without_an_issue_opens_a_pull_request_and_no_comment_elsewhere(scene: Scene) -> None:
    trigger = Trigger.for_workflow(
        repository=REPO, repository_id=scene.hub.repository(REPO).id, default_branch="main", private=False,
        actor="maria", source="workflow:1", title="A tool", body="Write it.",
    )  # fmt: skip
    handled = await handle(
        trigger,
        Command("run"),
        github=scene.github,
        plane=KnownPlane(),
        effects=MemoryEffects(),
        operator=OperatorConfig(),
    )
    (pull,) = scene.hub.pull_requests(REPO)
    assert handled.branch == f"orchestrator/a-tool-{handled.run_id.removeprefix('r-')}"
    assert "#" not in pull["body"].split("\n\n")[2]
    assert len(scene.hub.comments(REPO)) == 1


async def test_with_a_token_that_may_not_write_checks_there_are_statuses_and_a_note(scene: Scene) -> None:
    trigger = scene.trigger(_issue(scene), "/orchestrate")
    permissions = {"contents": "write", "issues": "write", "pull_requests": "write", "statuses": "write"}
    scene.github.app, scene.github.given_token = None, scene.hub.workflow_token(REPO, permissions)
    handled = await _handle(scene, trigger)
    assert {it["context"]: it["state"] for it in scene.hub.statuses(REPO)} == {
        "orchestrator/budget": "success",
        "orchestrator/review": "success",
        "orchestrator/architecture": "success",
        "orchestrator/validation": "success",
    }
    assert "`checks: write`" in handled.report
