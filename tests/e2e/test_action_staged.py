"""A staged repository in a workflow: the job's summary shows every write, and GitHub gets none."""

from __future__ import annotations

from pathlib import Path

from bot.localhub import LocalHub, render
from tests.e2e.action_steps import LAST, StepRunner
from tests.e2e.attempts import attempted_writes
from tests.loopback import ModelServer, Script

REPO = "octo/demo"
SPEC = "project:\n  app_type: library\nvalidation:\n  validators: [python_syntax]\ngithub: {staged: true}\n"


async def test_the_summary_of_a_staged_step_shows_each_write_and_its_outputs_name_nothing_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with LocalHub(root=tmp_path / "hub") as hub:
        await hub.create_repository(REPO, {"README.md": "# Demo\n", ".orchestrator.yaml": SPEC})
        hub.create_user("maria")
        hub.set_permission(REPO, "maria", "write")
        with ModelServer(Script(tasks=1)) as models:
            runner = StepRunner(tmp_path / "job", hub.workflow_token(REPO), _environment(hub, models))
            runner.use_this_interpreter()
            issue = _command(hub, runner)

            ran = await runner.run(LAST)

        outputs = runner.outputs()
        assert (ran.status, outputs["status"]) == (0, "completed"), ran.log
        assert [outputs[name] for name in ("branch", "pull-request-number", "pull-request-url")] == ["", "", ""]
        assert attempted_writes(hub.requests) == []
    summary = runner.summary
    assert "## Preview\n\nStaged: nothing of this was written on GitHub.\n" in summary
    headings = [line.removeprefix("### ") for line in summary.splitlines() if line.startswith("### ")]
    assert [it for it in headings if it.partition(":")[0] in ("Branch", "Pull request", "Check run", "Comment")] == [
        f"Comment: on #{issue}",
        f"Branch: orchestrator/{issue}-a-sample-library",
        f"Pull request: #{issue + 1} A sample library",
        *(f"Check run: orchestrator/{name}" for name in ("budget", "review", "architecture", "validation")),
        f"Comment: on #{issue + 1}",
    ]
    assert "\n+++ b/sample_library/part_1.py\n" in summary


def _environment(hub: LocalHub, models: ModelServer) -> dict[str, str]:
    return {
        **models.environment(),
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_SERVER_URL": hub.url,
        "GITHUB_REPOSITORY": REPO,
        "GITHUB_ACTOR": "maria",
    }


def _command(hub: LocalHub, runner: StepRunner) -> int:
    issue = hub.create_issue(REPO, "A sample library", "Write a sample library.", user="maria")
    hub.comment(REPO, issue, "/orchestrate", user="maria")
    repo = hub.repository(REPO)
    there = repo.issues[issue]
    (comment,) = there.comments
    runner.event(
        "issue_comment",
        {
            "action": "created",
            "issue": render.issue(hub.url, repo, there),
            "comment": render.comment(hub.url, repo, there, comment),
            "repository": render.repository(hub.url, repo),
            "sender": render.user(hub.url, comment.user),
        },
    )
    return issue
