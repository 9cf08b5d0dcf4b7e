"""One command over the real wire formats: what it leaves on GitHub, how little noise it makes, and what it costs."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.stage import BOT, CHECKS, GOOD_CHECKS, MAINTAINER, House, Stage, until
from tests.loopback import Asked, Fault, Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = [
    ".orchestrator.yaml",
    "README.md",
    "docs/adr/0001-architecture.md",
    "pyproject.toml",
    "sample_library/__init__.py",
    "sample_library/part_1.py",
    "sample_library/part_2.py",
    "sample_library/part_3.py",
    "tests/test_part_1.py",
    "tests/test_part_2.py",
    "tests/test_part_3.py",
]
EDIT = "PATCH /issues/comments/N"  # the status comment's last word
NOISE = {
    "POST /issues/comments/N/reactions": 2,  # eyes, rocket
    "POST /issues/N/comments": 2,  # the status comment, the report comment
    "POST /pulls": 1,
    "POST /pulls/N/requested_reviewers": 1,
    "POST /check-runs": 4,
    "POST /git/refs": 1,
    "POST /git/commits": 1,
    "POST /git/trees": 1,
    "POST /git/blobs": 6,
}


async def _counted(house: House) -> float:
    """How many answers the bot's metrics count."""
    families = text_string_to_metric_families((await house.bot.get("/metrics")).text)
    samples = [sample for family in families if family.name == "orchestrator_model_calls" for sample in family.samples]
    return sum(sample.value for sample in samples)


def _refuses(_: Asked) -> Fault:
    """A model that will not write."""
    return Fault("refusal")


async def test_a_comment_becomes_a_verified_reviewed_pull_request_with_report_and_four_checks(house: House) -> None:
    scene = await house.scene(script=Script(tasks=3))

    asked = await scene.command("/orchestrate --budget 2")
    assert (asked.status, asked.answer["status"]) == (202, "queued")
    await asked.reacted("rocket")

    pull = asked.pull
    branch = f"orchestrator/{asked.issue}-sample-library"
    assert (pull["title"], pull["draft"], pull["head"]["ref"], pull["base"]["ref"]) == (
        "Sample library",
        True,
        branch,
        "main",
    )
    assert f"Closes #{asked.issue}" in pull["body"]
    assert sorted(await scene.hub.files(scene.repository, branch)) == FILES
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 3/3 tasks · $0.00")
    assert status.endswith(f"<!-- orchestrator:status run={asked.run_id} -->")
    (report,) = scene.ours(pull["number"])
    assert all(f"\n## {name}\n" in report for name in ("Budget", "Review", "Architecture", "Validation"))
    assert report.endswith(f"<!-- orchestrator:report run={asked.run_id} -->")
    assert scene.reactions(asked.comment) == ["eyes", "rocket"]


async def test_what_the_run_says_it_spent_is_what_the_vendors_billed_and_nothing_stays_reserved(house: House) -> None:
    scene, before = await house.scene(script=Script(tasks=2)), len(house.stage.models.journal)
    counted_before = await _counted(house)

    asked = await scene.command()
    await asked.reacted("rocket")

    report = await house.bot.report(asked.run_id)
    assert await _counted(house) == counted_before + len(report["calls"])
    billed = [(it.provider, it.model, it.input_tokens, it.output_tokens) for it in house.calls_since(before)]
    rows = [(it["provider"], it["model"], it["input_tokens"], it["output_tokens"]) for it in report["calls"]]
    assert rows == billed
    assert [it["purpose"] for it in report["calls"]] == [
        "architecture",
        "decompose",
        *["generate", "review"] * 2,
        "evaluate",
    ]
    assert report["budget"]["spent_usd"] == sum(it["cost_usd"] for it in report["calls"])
    assert all(task["provider"] != task["reviewer_provider"] for task in report["tasks"])
    assert house.stage.reserved() == 0


async def test_a_completed_run_makes_two_comments_two_reactions_and_one_edit_for_its_last_word(house: House) -> None:
    scene = await house.scene()

    asked = await scene.command()
    await asked.reacted("rocket")
    await asked.settled()

    # The status comment follows a run at most every 15 seconds; a slow machine may need more than that for one.
    elapsed = (await house.bot.report(asked.run_id))["budget"]["elapsed_seconds"]
    made = Counter(scene.writes())
    assert 1 <= made.pop(EDIT) <= 1 + elapsed // 15
    assert made == NOISE


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.slow
async def test_handling_a_finished_command_again_writes_nothing_and_asks_no_model(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    async with stage.bot():
        asked = await scene.command()
        await asked.reacted("rocket")
        await asked.settled()
    before, calls = scene.writes(), len(stage.models.journal)

    # As after a crash between the last write and the delivery's own mark.
    with closing(sqlite3.connect(stage.database)) as connection, connection:
        connection.execute("UPDATE deliveries SET state = 'queued' WHERE run_id IS NOT NULL")
    async with stage.bot():
        await asked.settled()

    assert scene.writes()[len(before) :] == []
    assert len(stage.models.journal) == calls


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.slow
async def test_a_status_comment_that_github_takes_slowly_is_still_the_only_one(stage: Stage) -> None:
    scene = await stage.scene()
    slow = scene.hub.faults.add(method="POST", path_regex=r"/issues/\d+/comments$", kind="delay", seconds=2.0)
    # Without any key the run ends while its first status comment is still on its way.
    async with stage.bot(dict.fromkeys(stage.models.environment(), "")):
        asked = await scene.command()
        await asked.reacted("confused")
        await asked.settled()

    assert slow.hits == 1
    (status,) = scene.ours(asked.issue)
    assert status.startswith("Failed: ")


# deliveries


async def test_the_answer_comes_while_the_models_are_silent_and_github_is_slow(house: House) -> None:
    scene = await house.scene()
    house.stage.models.hold()
    slow = scene.hub.faults.add(path_regex=f"/repos/{scene.repository}/", kind="delay", seconds=2.0)
    try:
        asked = await scene.command()

        assert (asked.status, asked.answer["status"]) == (202, "queued")
        assert [it.status for it in scene.requests(".*", "/.*") if it.status] == []
        await until(lambda: slow.hits, "the first request to the slow GitHub")
        assert scene.reactions(asked.comment) == []
    finally:
        house.stage.models.release()
    await asked.reacted("rocket")


async def test_a_redelivery_and_the_same_comment_under_a_new_id_are_duplicates(house: House) -> None:
    scene = await house.scene()
    asked = await scene.command()
    (first,) = [it for it in scene.hub.deliveries if json.loads(it.response_body or "{}").get("run_id") == asked.run_id]

    again = scene.hub.redeliver(first.id)
    (renamed,) = scene.hub.deliver("issue_comment", json.loads(first.body), app_id=house.stage.app_id)
    await scene.hub.settled()

    assert again.guid == first.guid
    assert renamed.guid != first.guid
    assert [(it.status_code, json.loads(it.response_body)) for it in (again, renamed)] == [
        (200, {"status": "duplicate"}),
        (200, {"status": "duplicate"}),
    ]
    await asked.reacted("rocket")
    await asked.settled()
    assert len(scene.hub.pull_requests(scene.repository)) == 1
    assert [comment["user"]["login"] for comment in scene.hub.comments(scene.repository, asked.issue)] == [
        MAINTAINER,
        BOT,
    ]


async def test_of_five_equal_deliveries_at_once_one_is_queued_and_four_are_duplicates(house: House) -> None:
    scene = await house.scene()
    address = scene.hub.state.apps[house.stage.app_id].webhook_url
    scene.hub.set_webhook(house.stage.app_id, "http://127.0.0.1:9/webhook")
    issue = scene.issue()
    comment = scene.comment(issue, "/orchestrate")
    await scene.hub.settled()
    lost = scene.hub.deliveries[-1]
    assert lost.status_code == 502
    scene.hub.set_webhook(house.stage.app_id, address)

    sent = [scene.hub.redeliver(lost.id) for _ in range(5)]
    await scene.hub.settled()

    answers = Counter(json.loads(it.response_body)["status"] for it in sent)
    assert answers == {"queued": 1, "duplicate": 4}
    assert sorted(it.status_code for it in sent) == [200, 200, 200, 200, 202]
    await until(lambda: scene.reactions(comment) == ["eyes", "rocket"], "the end of the run")
    assert len(scene.hub.pull_requests(scene.repository)) == 1
    assert scene.checks() == GOOD_CHECKS


# other commands


async def test_plan_posts_the_plan_and_builds_nothing(house: House) -> None:
    scene, before = await house.scene(script=Script(tasks=3)), len(house.stage.models.journal)

    asked = await scene.command("/orchestrate plan")
    assert asked.status == 202
    await asked.reacted("rocket")

    (comment,) = scene.ours(asked.issue)
    assert comment.startswith("Plan: 3 tasks · forecast $")
    assert all(f"`part-{number}`" in comment for number in (1, 2, 3))
    assert "layered" in comment
    assert [it.purpose for it in house.calls_since(before)] == ["architecture", "decompose"]
    assert list(await scene.hub.branches(scene.repository)) == ["main"]
    assert (scene.hub.pull_requests(scene.repository), scene.checks()) == ([], {})


async def test_status_repeats_the_run_that_is_there_and_help_lists_the_commands(house: House) -> None:
    scene = await house.scene()
    asked = await scene.command()
    await asked.reacted("rocket")

    status = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate status"))
    await status.reacted("rocket")
    help_ = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate help"))
    await help_.reacted("rocket")

    assert (status.status, status.answer) == (202, {"status": "queued", "run_id": asked.run_id})
    assert (help_.status, help_.answer["status"]) == (200, "ignored")
    _, repeated, commands = scene.ours(asked.issue)
    assert repeated.startswith("Done: 1/1 tasks · $0.00")
    assert "`/orchestrate plan`" in commands
    assert len(scene.hub.pull_requests(scene.repository)) == 1


# endings that are not completed


async def test_checks_that_fail_for_ever_end_in_a_draft_that_is_part_of_the_issue_with_failing_checks(
    house: House,
) -> None:
    scene = await house.scene(
        "validation:\n  validators: [python_syntax]\n  commands: ['false']\ngithub:\n  draft: false\n"
    )

    asked = await scene.command()
    await asked.reacted("confused")

    pull = asked.pull
    assert pull["draft"] is True
    assert f"Part of #{asked.issue}" in pull["body"]
    assert "Closes" not in pull["body"]
    assert scene.checks(pull["head"]["sha"])["orchestrator/validation"] == "failure"
    assert set(scene.checks(pull["head"]["sha"])) == set(CHECKS)
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Partly done: #{pull['number']} · 1/3 tasks · ")  # two of them tried to repair
    assert scene.reactions(asked.comment) == ["eyes", "confused"]


@pytest.mark.slow
async def test_a_run_that_builds_nothing_opens_no_pull_request_and_says_why(house: House) -> None:
    scene = await house.scene(script=Script(tasks=1, answers={"generate": _refuses}))

    asked = await scene.command()
    await asked.reacted("confused")

    assert scene.hub.pull_requests(scene.repository) == []
    assert list(await scene.hub.branches(scene.repository)) == ["main"]
    (status,) = scene.ours(asked.issue)
    assert status.startswith("Failed: 0/1 tasks · ")
    assert "part-1 failed" in status
    assert "Left undone: `part-1`. To go on, comment `/orchestrate resume`." in status.split("\n\n")
    assert scene.reactions(asked.comment) == ["eyes", "confused"]


async def test_a_tiny_budget_ends_with_what_was_spent_and_a_command_that_exists(house: House) -> None:
    scene = await house.scene(script=Script(full_output=True))

    asked = await scene.command("/orchestrate --budget 0.02")
    await asked.reacted("confused")

    report = await house.bot.report(asked.run_id)
    assert report["status"] == "budget_exhausted"
    assert 0 < report["budget"]["spent_usd"] <= 0.02
    (status,) = scene.ours(asked.issue)
    assert status.startswith("Stopped: the budget is used up: ")
    assert f"${report['budget']['spent_usd']:.2f}" in status
    assert "of $0.02" in status
    assert "comment `/orchestrate resume --budget USD`" in status
    assert house.stage.reserved() == 0
