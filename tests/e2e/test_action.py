"""The Action as a workflow runs it: the steps of `action.yml`, a local GitHub, and the vendors' wire formats."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.localhub import LocalHub
from tests.e2e.action_scene import REPO, comment_on, dispatch, opened, review, runner_for
from tests.e2e.action_steps import LAST, StepRunner
from tests.e2e.revising import PART, half_done, revisable
from tests.loopback import ModelServer, Script
from tests.reports import read_report

HOSTILE = {
    "pip.conf": "[global]\nindex-url = http://127.0.0.1:9/\n",
    "uv.toml": 'index-url = "http://127.0.0.1:9/"\n',
    ".env": "OPENAI_API_KEY=from-the-workspace\nOPENAI_BASE_URL=http://127.0.0.1:9/v1\n",
    "pyvenv.cfg": "home = /nowhere\n",
}
TRAP = "import pathlib\npathlib.Path({mark!r}).write_text(__file__)\nraise SystemExit(99)\n"
MODULES = (
    "sitecustomize.py",
    "usercustomize.py",
    "orchestrator.py",
    "action/__init__.py",
    "venv.py",
    "pip.py",
    "json.py",
)


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer(Script(tasks=2, answers={"review": review})) as server:
        yield server


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with opened(tmp_path / "hub") as hub:
        yield hub


def _report(runner: StepRunner) -> dict[str, Any]:
    return read_report(Path(runner.outputs()["report-path"]))


def _acting(log: str) -> list[str]:
    """Return the lines of a log that act as workflow commands: those outside of fences."""
    acting, token = [], ""
    for line in log.splitlines():
        if token:
            token = "" if line == f"::{token}::" else token
        elif match := re.match(r"::stop-commands::(.+)", line):
            token = match[1]
        elif line.startswith("::"):
            acting.append(line)
    assert token == "", "a fence was left open"
    return acting


async def test_a_comment_becomes_a_pull_request_with_report_checks_outputs_and_summary(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    issue, comment_id = comment_on(hub, runner, "/orchestrate")

    ran = await runner.run(LAST)

    outputs = runner.outputs()
    assert (ran.status, outputs["status"]) == (0, "completed"), ran.log
    (pull,) = hub.pull_requests(REPO)
    assert pull["head"]["ref"] == outputs["branch"] == f"orchestrator/{issue}-a-sample-library"
    assert (str(pull["number"]), pull["html_url"]) == (outputs["pull-request-number"], outputs["pull-request-url"])
    assert {it["name"]: it["conclusion"] for it in hub.check_runs(REPO, pull["head"]["sha"])} == {
        "orchestrator/architecture": "success",
        "orchestrator/budget": "success",
        "orchestrator/review": "success",
        "orchestrator/validation": "success",
    }
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["eyes", "rocket"]
    report = _report(runner)
    assert (report["project_id"], report["status"]) == (outputs["project-id"], "completed")
    assert float(outputs["spent-usd"]) == pytest.approx(report["budget"]["spent_usd"], abs=1e-6)
    assert float(outputs["spent-usd"]) > 0
    assert outputs["score"] == "0.90"
    assert runner.summary.startswith("## Orchestrator: completed\n")
    assert all(f"\n## {name}\n" in runner.summary for name in ("Budget", "Review", "Architecture", "Validation"))


async def test_sec_37_the_job_leaves_an_audit_of_who_asked_what_was_answered_and_what_came_of_it(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    issue, comment_id = comment_on(hub, runner, "/orchestrate")
    shared = f"sqlite:///{tmp_path / 'shared.db'}"

    ran = await runner.run(LAST, ORCHESTRATOR_DATABASE_URL=shared)

    assert ran.status == 0, ran.log
    path = Path(runner.outputs()["report-path"]).with_name("audit.jsonl")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [it["kind"] for it in told] == [
        "delivery", "spec", "access", "accepted", "pinned", "cloned", "built", "committed", "opened", "reported",
        "ended", "handled",
    ]  # fmt: skip
    assert {(it["run"], it["actor"]) for it in told} == {(runner.outputs()["project-id"], "maria")}
    asked, ended = told[0]["facts"], told[-1]["facts"]
    assert (asked["command"], asked["number"], asked["source"]) == ("run", issue, f"comment:{comment_id}")
    (pull,) = hub.pull_requests(REPO)
    assert (ended["status"], ended["head"]) == ("completed", pull["head"]["sha"])
    assert ended["cost_usd"] == pytest.approx(_report(runner)["budget"]["spent_usd"], abs=1e-9)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = {value for name, value in models.environment().items() if name.endswith("_KEY")} | {runner.token}
    assert [key for key in keys if key in path.read_text()] == []
    assert "Write a sample library" not in path.read_text()
    with sqlite3.connect(tmp_path / "shared.db") as database:
        kept = database.execute("SELECT kind, actor, facts FROM audit ORDER BY id").fetchall()
    assert [(kind, actor, json.loads(facts)) for kind, actor, facts in kept] == [
        (it["kind"], it["actor"], it["facts"]) for it in told
    ]


async def test_sec_37_a_stranger_and_a_run_that_breaks_off_stand_in_the_audit_too(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate", user="stranger")
    await runner.run(LAST)
    comment_on(hub, runner, "/orchestrate")
    hub.faults.add(method="POST", path_regex="/reactions$", kind="status", status=403, times=99)

    ran = await runner.run(LAST)

    path = Path(runner.outputs()["report-path"]).with_name("audit.jsonl")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    strangers = [it for it in told if it["actor"] == "stranger"]
    assert (strangers[-1]["kind"], strangers[-1]["facts"]["status"]) == ("handled", "denied")
    assert ran.status == 1
    assert (told[-1]["kind"], told[-1]["actor"]) == ("failed", "maria"), told[-1]


async def test_sec_24_neither_a_models_words_nor_a_hostile_workspace_act(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    mark = tmp_path / "imported"
    _plant(runner.workspace, mark)
    # A workflow that sets PYTHONPATH for its own steps must not lead us into the workspace.
    runner.env = {**runner.env, "PYTHONPATH": str(runner.workspace), "PYTHONSTARTUP": str(runner.workspace / "venv.py")}
    comment_on(hub, runner, "/orchestrate")

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (0, "completed"), ran.log
    assert not mark.exists()
    assert {call.key for call in models.journal} <= set(models.environment().values())
    acting = [line for line in _acting(ran.log) if not line.startswith("::add-mask::")]
    assert acting == [
        "::warning file=sample_library/part_1.py,line=3,title=review%3A review_warning::"
        "100%25 vague%0A::error::forged%0A::set-output name=status::forged"
    ]
    masked = {line.removeprefix("::add-mask::") for line in _acting(ran.log) if line.startswith("::add-mask::")}
    keys = {value for name, value in models.environment().items() if name.endswith("_KEY")}
    assert keys | {runner.token} <= masked
    first_other = next(number for number, line in enumerate(ran.log.splitlines()) if "::add-mask::" not in line)
    assert not any("::add-mask::" in line for line in ran.log.splitlines()[first_other:])


@pytest.mark.slow
async def test_every_step_of_the_action_runs_in_its_own_environment_beside_a_hostile_workspace(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    mark = tmp_path / "imported"
    _plant(runner.workspace, mark)
    runner.env = {
        **runner.env,
        "PIP_CONFIG_FILE": str(runner.workspace / "pip.conf"),
        "PIP_TARGET": str(tmp_path / "t"),
    }
    comment_on(hub, runner, "/orchestrate")

    ran = await runner.run_all()

    assert [step.status for step in ran] == [0, 0, 0], "\n".join(step.log for step in ran)
    assert runner.outputs()["status"] == "completed"
    assert not mark.exists()
    assert list((runner.temp / "orchestrator-action" / "lib").glob("python*/site-packages/action/main.py"))


def _plant(workspace: Path, mark: Path) -> None:
    for name, content in HOSTILE.items():
        (workspace / name).write_text(content)
    for name in MODULES:
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text(TRAP.format(mark=str(mark)))


@pytest.mark.slow
async def test_where_actions_may_open_no_pull_requests_the_branch_is_kept_and_the_setting_and_the_link_are_told(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    said = {"message": "GitHub Actions is not permitted to create or approve pull requests."}
    hub.faults.add(method="POST", path_regex=r"/pulls$", kind="status", status=403, times=9, body=said)
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    issue, comment_id = comment_on(hub, runner, "/orchestrate")

    ran = await runner.run(LAST)

    outputs, branch = runner.outputs(), f"orchestrator/{issue}-a-sample-library"
    link = f"{hub.url}/{REPO}/compare/main...{branch}?expand=1"
    assert (ran.status, outputs["status"], outputs["branch"], hub.pull_requests(REPO)) == (0, "completed", branch, [])
    assert (outputs["pull-request-number"], outputs["pull-request-url"]) == ("", link)
    assert f"branch `{branch}`, [open a pull request]({link})" in runner.summary
    assert branch in await hub.branches(REPO)
    assert len(hub.check_runs(REPO)) == 4
    (status,) = [it["body"] for it in hub.comments(REPO, issue) if it["user"]["login"] != "maria"]
    assert link in status
    assert "“Allow GitHub Actions to create and approve pull requests” under Settings → Actions → General" in status
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["eyes", "rocket"]


@pytest.mark.slow
async def test_a_dispatch_with_a_project_opens_a_pull_request_without_an_issue(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models, project="Write a sample library.", criteria="It has tests.", budget="2")
    runner.use_this_interpreter()
    dispatch(hub, runner)

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (0, "completed"), ran.log
    (pull,) = hub.pull_requests(REPO)
    assert re.fullmatch(r"orchestrator/write-a-sample-library-[a-z2-7]{16}", pull["head"]["ref"])
    assert (hub.issues(REPO), _report(runner)["budget"]["max_usd"]) == ([], 2.0)
    assert "It has tests." in json.dumps(models.journal[0].body)


@pytest.mark.slow
async def test_an_output_dir_gets_the_files_and_no_pull_request_is_opened(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models, project="Write a sample library.", **{"output-dir": "built"})
    runner.use_this_interpreter()
    dispatch(hub, runner)

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (0, "completed"), ran.log
    assert (hub.pull_requests(REPO), list(await hub.branches(REPO))) == ([], ["main"])
    assert (runner.workspace / "built/sample_library/part_1.py").is_file()
    assert (runner.workspace / "built/.orchestrator/report.json").is_file()
    assert "file=built/sample_library/part_1.py,line=3" in ran.log


async def test_a_comment_without_a_command_is_ignored_with_a_line_in_the_summary(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    _, comment_id = comment_on(hub, runner, "Nice work!")

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (0, "ignored"), ran.log
    assert runner.summary == "## Orchestrator: ignored\n\nthe comment holds no command\n"
    assert runner.has_report()
    assert (hub.reactions(REPO, comment_id), models.journal) == ([], [])


async def test_a_stranger_gets_one_reaction_and_the_step_fails(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    issue, comment_id = comment_on(hub, runner, "/orchestrate", user="stranger")

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (1, "denied"), ran.log
    assert [content for _, content in hub.reactions(REPO, comment_id)] == ["confused"]
    assert (len(hub.comments(REPO, issue)), models.journal) == (1, [])


async def test_a_broken_spec_is_annotated_at_its_line(tmp_path: Path, hub: LocalHub, models: ModelServer) -> None:
    await hub.commit(REPO, {".orchestrator.yaml": "version: 1\nbugdet:\n  max_usd: 2\n"})
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate")

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (2, "spec_invalid"), ran.log
    assert "::error file=.orchestrator.yaml,line=2," in "\n".join(_acting(ran.log))


@pytest.mark.slow
async def test_a_plan_builds_nothing_and_status_asks_for_a_shared_database(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate plan")
    planned = await runner.run(LAST)
    assert (planned.status, runner.outputs()["status"], hub.pull_requests(REPO)) == (0, "planned", []), planned.log

    issue, _ = comment_on(hub, runner, "/orchestrate status")
    refused = await runner.run(LAST)
    assert (refused.status, runner.outputs()["status"]) == (1, "refused"), refused.log
    assert "`ORCHESTRATOR_DATABASE_URL`" in hub.comments(REPO, issue)[-1]["body"]

    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    comment_on(hub, runner, "/orchestrate status")
    answered = await runner.run(LAST, ORCHESTRATOR_DATABASE_URL=shared)
    assert (answered.status, runner.outputs()["status"]) == (0, "answered"), answered.log


@pytest.mark.slow
async def test_a_plan_of_one_job_is_approved_by_another_one_that_shares_its_database(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    shared = f"sqlite:///{tmp_path / 'shared.db'}"
    issue, _ = comment_on(hub, runner, "/orchestrate plan")
    planned = await runner.run(LAST, ORCHESTRATOR_DATABASE_URL=shared)
    assert (planned.status, runner.outputs()["status"]) == (0, "planned"), planned.log
    run_id = runner.outputs()["project-id"]

    comment_on(hub, runner, "/orchestrate --force", issue=issue)
    beside = await runner.run(LAST, ORCHESTRATOR_DATABASE_URL=shared)
    assert runner.outputs()["status"] == "refused", beside.log
    comment_on(hub, runner, "/orchestrate approve", issue=issue)
    built = await runner.run(LAST, ORCHESTRATOR_DATABASE_URL=shared)

    assert (built.status, runner.outputs()["status"], runner.outputs()["project-id"]) == (0, "completed", run_id)
    (pull,) = hub.pull_requests(REPO)
    assert f"Closes #{issue}" in pull["body"]
    ours = [it["body"] for it in hub.comments(REPO, issue) if it["user"]["login"] != "maria"]
    assert [it.partition(":")[0] for it in ours] == ["Done", "Not started"]
    assert "a plan of this issue waits" in ours[1]


@pytest.mark.slow
async def test_a_pull_request_is_revised_by_a_job_that_shares_nothing_with_the_one_that_opened_it(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    models.script = revisable()
    first = runner_for(tmp_path / "first", hub, models)
    first.use_this_interpreter()
    issue, _ = comment_on(hub, first, "/orchestrate")
    assert (await first.run(LAST)).status == 0
    (pull,) = hub.pull_requests(REPO)

    second = runner_for(tmp_path / "second", hub, models)
    second.use_this_interpreter()
    _, comment = comment_on(hub, second, "/orchestrate revise Name the constant.", issue=pull["number"])
    ran = await second.run(LAST)

    outputs = second.outputs()
    assert (ran.status, outputs["status"]) == (0, "completed"), ran.log
    assert outputs["project-id"] != first.outputs()["project-id"]
    assert (outputs["branch"], outputs["pull-request-number"]) == (pull["head"]["ref"], str(pull["number"]))
    (revised,) = hub.pull_requests(REPO)
    assert revised["head"]["sha"] != pull["head"]["sha"]
    assert b"ROUND = " in (await hub.files(REPO, revised["head"]["ref"]))[PART]
    assert len(hub.check_runs(REPO, revised["head"]["sha"])) == 4
    assert [content for _, content in hub.reactions(REPO, comment)] == ["eyes", "rocket"]
    ours = [[it["body"] for it in hub.comments(REPO, number) if it["user"]["login"] != "maria"]
            for number in (issue, pull["number"])]  # fmt: skip
    run = first.outputs()["project-id"]
    assert [[body.rpartition("\n")[2] for body in bodies] for bodies in ours] == [
        [f"<!-- orchestrator:status run={run} -->"],
        [f"<!-- orchestrator:report run={run} -->"],
    ]
    assert f"Round 1 of `/orchestrate revise` on #{pull['number']}, asked for by `maria`." in ours[0][0]


@pytest.mark.slow
async def test_a_round_that_is_partly_done_advises_what_works_without_a_database(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    models.script = half_done()
    first = runner_for(tmp_path / "first", hub, models)
    first.use_this_interpreter()
    issue, _ = comment_on(hub, first, "/orchestrate")
    await first.run(LAST)
    (pull,) = hub.pull_requests(REPO)
    advice = f"To go on, comment `/orchestrate revise` on #{pull['number']} with what is left to do."
    assert advice in _status_of(hub, issue)

    again = runner_for(tmp_path / "again", hub, models)
    again.use_this_interpreter()
    comment_on(hub, again, "/orchestrate revise Write part 2.", issue=pull["number"])
    await again.run(LAST)
    assert again.outputs()["status"] == "partial"
    assert advice in _status_of(hub, issue)

    models.script = revisable()
    last = runner_for(tmp_path / "last", hub, models)
    last.use_this_interpreter()
    comment_on(hub, last, "/orchestrate revise Name the constant.", issue=pull["number"])
    ran = await last.run(LAST)
    assert (ran.status, last.outputs()["status"]) == (0, "completed"), ran.log


def _status_of(hub: LocalHub, issue: int) -> str:
    (said,) = (it["body"] for it in hub.comments(REPO, issue) if "<!-- orchestrator:status run=" in it["body"])
    assert "close or merge" not in said
    return str(said)


@pytest.mark.parametrize(("fail_on", "status"), [("error", 3), ("never", 0)])
async def test_fail_on_decides_whether_a_used_up_budget_fails_the_step(
    tmp_path: Path, hub: LocalHub, models: ModelServer, fail_on: str, status: int
) -> None:
    runner = runner_for(tmp_path, hub, models, budget="0.0001", **{"fail-on": fail_on})
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate")

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"]) == (status, "budget_exhausted"), ran.log
    assert _report(runner)["budget"]["max_usd"] == 0.0001


@pytest.mark.slow
async def test_a_cancelled_job_says_so_and_leaves_a_report(tmp_path: Path, hub: LocalHub, models: ModelServer) -> None:
    runner = runner_for(tmp_path, hub, models)
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate")
    models.hold()

    ran = await runner.run(LAST, interrupt=lambda: models.wait_for_calls(1))

    models.release()
    assert (ran.status, runner.outputs()["status"]) == (130, "interrupted"), ran.log
    assert (runner.has_report(), "Traceback" in ran.log) == (True, False)


@pytest.mark.parametrize(("fail_on", "status"), [("error", 1), ("never", 0)])
async def test_an_internal_error_is_told_in_a_fence_and_obeys_fail_on(
    tmp_path: Path, hub: LocalHub, models: ModelServer, fail_on: str, status: int
) -> None:
    runner = runner_for(tmp_path, hub, models, **{"fail-on": fail_on})
    runner.use_this_interpreter()
    comment_on(hub, runner, "/orchestrate")
    hub.faults.add(path_regex=r"/git/matching-refs/", kind="status", status=200, body={"not": "a list"})

    ran = await runner.run(LAST)

    assert (ran.status, runner.outputs()["status"], runner.has_report()) == (status, "failed", True), ran.log
    acting = [line for line in _acting(ran.log) if not line.startswith("::add-mask::")]
    assert acting == ["::error title=orchestrator%3A failed::An internal error, TypeError; the log has its traceback."]


def _programs(tmp_path: Path, **scripts: str) -> str:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "bash").symlink_to("/bin/bash")
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


async def test_where_bubblewrap_may_not_be_prepared_the_step_says_so_and_does_not_fail(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    path = _programs(tmp_path, sudo="exit 1", bwrap="exit 1")

    ran = await runner.run("Prepare bubblewrap", PATH=path)

    assert (ran.status, "bubblewrap does not work here" in ran.log) == (0, True), ran.log


async def test_where_sudo_may_be_used_the_kernel_is_told_to_allow_namespaces(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    runner = runner_for(tmp_path, hub, models)
    told = tmp_path / "told"
    sudo = f'[ "$2" = sysctl ] && [[ "$5" = kernel.apparmor_restrict_unprivileged_userns=0 ]] && echo >{told}; exit 0'
    path = _programs(tmp_path, sudo=sudo, bwrap=f"[ -e {told} ]")

    ran = await runner.run("Prepare bubblewrap", PATH=path, RUNNER_ENVIRONMENT="github-hosted")
    assert (ran.status, ran.log, told.exists()) == (0, "", True)

    told.unlink()
    left_alone = await runner.run("Prepare bubblewrap", PATH=path, RUNNER_ENVIRONMENT="self-hosted")
    assert (left_alone.status, told.exists()) == (0, False)
