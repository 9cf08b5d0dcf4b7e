"""A staged repository in a workflow: the job's summary shows every write, and GitHub gets none."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.action_scene import comment_on, opened, runner_for
from tests.e2e.action_steps import LAST
from tests.e2e.attempts import attempted_writes
from tests.loopback import ModelServer, Script

SPEC = "project:\n  app_type: library\nvalidation:\n  validators: [python_syntax]\ngithub: {staged: true}\n"


async def test_the_summary_of_a_staged_step_shows_each_write_and_its_outputs_name_nothing_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "hub", SPEC) as hub:
        with ModelServer(Script(tasks=1)) as models:
            runner = runner_for(tmp_path, hub, models)
            runner.use_this_interpreter()
            issue, _ = comment_on(hub, runner, "/orchestrate")

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
