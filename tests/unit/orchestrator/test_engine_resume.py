"""A run that goes on: what was rejected is gone, what was accepted stays, and nothing is told twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import OutputConflict
from orchestrator.providers.base import CompletionRequest
from orchestrator.sections import ValidationSpec
from orchestrator.state import ProjectStatus, Purpose
from tests.unit.orchestrator.models import (
    APPROVED,
    Models,
    Say,
    a_job,
    changes,
    files,
    plan,
    sent_back,
    task,
    task_of,
    written,
)


def rejecting(*names: str) -> Say:
    def review(request: CompletionRequest) -> str:
        return sent_back("wrong") if task_of(request) in names else json.dumps(APPROVED)

    return review


async def content(models: Models, home: Path) -> dict[str, bytes | None]:
    async with models.plane(home) as plane:
        return await plane.changes("run-1")


async def test_what_a_rejected_attempt_wrote_is_gone_once_its_task_passes_without_it(tmp_path: Path) -> None:
    # given: a task that failed with a file which the next round does not write
    home, output = tmp_path / "home", tmp_path / "out"
    both = files(**{"a.md": "# a\n", "helper.md": "# rejected\n"})
    models = Models(say={"review": rejecting("a"), "generate": lambda _: both, "revise": lambda _: both})
    assert (await models.run(home, output=output)).status is ProjectStatus.PARTIAL
    assert (output / "helper.md").exists()
    models.say = {"generate": lambda _: files(**{"a.md": "# a\n"})}
    # when
    state = await models.run(home, output=output, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert state.files == ("a.md", "docs/adr/0001-architecture.md")
    assert not (output / "helper.md").exists()


async def test_a_rejected_attempt_replaces_no_file_of_a_task_that_passed(tmp_path: Path) -> None:
    # given: both tasks name the file, and the second is sent back with its version of it
    two = plan(task("a", files=["a.md"]), task("b", "a", files=["a.md", "b.md"]))

    def say(request: CompletionRequest) -> str:
        if task_of(request) == "a":
            return files(**{"a.md": "accepted\n"})
        return files(**{"a.md": "rejected\n", "b.md": "rejected\n"})

    models = Models(plan=two, say={"generate": say, "revise": say, "review": rejecting("b")})
    # when
    state = await models.run(tmp_path)
    # then
    assert state.status is ProjectStatus.PARTIAL
    built = await content(models, tmp_path)
    assert (built["a.md"], built["b.md"]) == (b"accepted\n", b"rejected\n")
    # when: the next round writes its own file only
    models.say = {"generate": lambda _: files(**{"b.md": "accepted too\n"})}
    state = await models.run(tmp_path, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    built = await content(models, tmp_path)
    assert (built["a.md"], built["b.md"]) == (b"accepted\n", b"accepted too\n")


async def test_a_repair_after_a_resume_gets_a_number_of_its_own(tmp_path: Path) -> None:
    # given: the first repair failed, the second passed, and a task failed, so that the run is partial
    job = a_job(validation=ValidationSpec(validators=("json_syntax",), commands=("grep -q mended a.md",)))
    mended = changes(edits=[{"path": "a.md", "search": "# a.md", "replace": "# a.md mended"}])

    def revise(request: CompletionRequest) -> str:
        if task_of(request) == "repair-2":
            return mended
        return changes(files=[]) if task_of(request) == "repair-1" else written(request)

    models = Models(plan=plan(task("a"), task("x")), say={"revise": revise, "review": rejecting("x")})
    state = await models.run(tmp_path, job=job)
    assert [(name, result.status.value) for name, result in state.results.items()] == [
        ("a", "completed"),
        ("x", "failed"),
        ("repair-1", "failed"),
        ("repair-2", "completed"),
    ]
    # when: the failed task passes, and with its file the whole project fails again
    models.say = {"revise": lambda _: mended}
    commands = ("grep -q mended a.md", "test ! -e x.md")
    job = a_job(validation=ValidationSpec(validators=("json_syntax",), commands=commands))
    state = await models.run(tmp_path, job=job, retry_failed=True)
    # then: one repair is left of two, under the next number
    assert [task.id for task in state.tasks] == ["a", "x", "repair-2", "repair-3"]
    assert state.status is ProjectStatus.PARTIAL


async def test_a_file_that_one_task_wrote_without_naming_it_stays_its_own_after_a_resume(tmp_path: Path) -> None:
    # given: task a wrote a file that nobody named, task c failed
    def say(request: CompletionRequest) -> str:
        if task_of(request) == "a":
            return files(**{"a.md": "# a\n", "shared.md": "a's\n"})
        return written(request)

    models = Models(plan=plan(task("a"), task("c")), say={"generate": say, "review": rejecting("c")})
    assert (await models.run(tmp_path)).status is ProjectStatus.PARTIAL
    # when: task c writes that file too, and thinks better of it when it hears of that
    taking = files(**{"c.md": "# c\n", "shared.md": "c's\n"})
    models.say = {"generate": lambda _: taking, "revise": lambda _: files(**{"c.md": "# c\n"})}
    state = await models.run(tmp_path, retry_failed=True)
    # then
    assert state.status is ProjectStatus.COMPLETED
    assert "shared.md" in models.of(Purpose.REVISE, "c")[-1].prompt
    assert (await content(models, tmp_path))["shared.md"] == b"a's\n"


async def test_a_resume_whose_result_nobody_judges_does_not_keep_the_score_of_the_one_before(tmp_path: Path) -> None:
    models = Models(plan=plan(task("a"), task("c")), say={"review": rejecting("c")})
    first = await models.run(tmp_path)
    assert (first.status, first.score) == (ProjectStatus.PARTIAL, 0.8)
    models.say = {"evaluate": lambda _: "no JSON"}
    state = await models.run(tmp_path, retry_failed=True)
    assert state.status is ProjectStatus.COMPLETED
    assert (state.evaluation, state.score) == (None, 0.0)
    assert state.outcome.reason.startswith("The final evaluation is missing")


async def test_a_resume_that_would_write_over_a_file_of_the_user_leaves_the_run_as_it_ended(tmp_path: Path) -> None:
    # given: a run that fell short, and a file of it that the user has edited since
    home, output = tmp_path / "home", tmp_path / "out"
    models = Models(plan=plan(task("a"), task("c")), say={"review": rejecting("c")})
    before = await models.run(home, output=output)
    (output / "a.md").write_text("mine")
    asked = len(models.asked)
    # when
    with pytest.raises(OutputConflict, match=r"a\.md"):
        await models.run(home, output=output, retry_failed=True)
    # then
    async with models.plane(home) as plane:
        assert await plane.state("run-1") == before
    assert before.status is ProjectStatus.PARTIAL
    assert (output / "a.md").read_text() == "mine"
    assert len(models.asked) == asked


@pytest.mark.parametrize("rejected", [(), ("c",)])
async def test_a_run_that_has_ended_stays_ended_when_somebody_asks_for_its_plan(
    tmp_path: Path, rejected: tuple[str, ...]
) -> None:
    models = Models(plan=plan(task("a"), task("c")), say={"review": rejecting(*rejected)})
    before = await models.run(tmp_path)
    state = await models.run(tmp_path, plan_only=True, retry_failed=True)
    assert state == before
    assert state.status is (ProjectStatus.PARTIAL if rejected else ProjectStatus.COMPLETED)
    async with models.plane(tmp_path) as plane:
        assert await plane.state("run-1") == before
