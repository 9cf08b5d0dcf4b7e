"""Comments on lines over the local GitHub: written once, found again, resolved when what they say is gone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.github.api.client import AmbiguousWrite
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.reviews.inline import Looked, Placed, Remark
from orchestrator.github.reviews.line_comments import comment_on_lines, own_remarks
from orchestrator.github.reviews.pull_diff import diff_between
from orchestrator.github.reviews.threads import review_threads
from orchestrator.state import Finding, ProjectState, Suggestion, ValidationResult, ValidationStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.states import completed, failing
from tests.unit.orchestrator.github.stories.test_handler import BUILT, KnownPlane
from tests.unit.orchestrator.github.stories.test_handler import _handle as handle_trigger

SUM = Finding("src/app.py", 2, "Dividing by zero always raises.")
NAME = Finding("src/app.py", 3, "This name is read by nobody.")
CHANGED = "print('hello')\nprint(1 / 0)\nname = 1\n"


async def _opened(scene: Scene) -> tuple[int, str, str]:
    """A pull request that adds two lines, and both ends of its diff."""
    base = (await scene.hub.branches(REPO))["main"]
    head = await scene.hub.commit(REPO, {"src/app.py": CHANGED}, branch="change")
    pull = await scene.client.write(
        "open", lambda repository: repository.create_pull(base="main", head="change", title="Change")
    )
    return pull.number, base, head


async def _said(
    scene: Scene, number: int, base: str, head: str, findings: Sequence[Finding]
) -> tuple[Placed, tuple[str, ...]]:
    return await comment_on_lines(
        scene.client,
        scene.publisher(),
        number,
        head,
        remarks=[Remark(it) for it in findings],
        files=await diff_between(scene.client, base, head),
        kind="run",
        looked=Looked(None),
        lead="Findings at their lines.",
    )


def _reviews(scene: Scene, number: int) -> list[tuple[str, str]]:
    pull = scene.hub.repository(REPO).issues[number].pull
    assert pull is not None
    return [(review.state, review.commit_sha) for review in pull.reviews]


async def test_sec_28_all_findings_of_a_round_are_one_review_that_only_comments_and_is_not_repeated(
    scene: Scene,
) -> None:
    number, base, head = await _opened(scene)
    for _ in range(2):
        assert (await _said(scene, number, base, head, [SUM, NAME]))[1] == ()
    assert _reviews(scene, number) == [("COMMENTED", head)]
    assert [(it.path, it.line) for it in await review_threads(scene.client, number)] == [
        ("src/app.py", 2),
        ("src/app.py", 3),
    ]


async def test_a_finding_that_is_gone_is_resolved_and_one_that_stays_is_left(scene: Scene) -> None:
    # Given two findings, and a head on which one of them is mended and the other one stands elsewhere
    number, base, head = await _opened(scene)
    await _said(scene, number, base, head, [SUM, NAME])
    head = await scene.hub.commit(REPO, {"src/app.py": "# First\nprint('hello')\nname = 1\n"}, branch="change")
    # When the next round finds the other one only
    await _said(scene, number, base, head, [Finding("src/app.py", 3, NAME.message)])
    # Then the first one's comment is resolved, and nothing is said again
    threads = await review_threads(scene.client, number)
    assert [(it.resolved, "zero" in it.comments[0].body) for it in threads] == [(True, True), (False, False)]
    assert len(_reviews(scene, number)) == 1


async def test_a_review_whose_answer_was_lost_is_looked_for_and_not_made_again(scene: Scene) -> None:
    number, base, head = await _opened(scene)
    scene.hub.faults.add(method="POST", path_regex="/reviews$", kind="drop_after")
    await _said(scene, number, base, head, [SUM])
    assert len(_reviews(scene, number)) == 1
    scene.hub.faults.add(method="POST", path_regex="/reviews$", kind="drop_before")
    with pytest.raises(AmbiguousWrite):
        await _said(scene, number, base, head, [SUM, NAME])
    await _said(scene, number, base, head, [SUM, NAME])
    assert len(_reviews(scene, number)) == 2
    assert len(await review_threads(scene.client, number)) == 2


async def test_lines_that_github_does_not_take_fail_nothing_and_are_told(scene: Scene) -> None:
    number, base, head = await _opened(scene)
    refused = {"message": "Unprocessable Entity", "errors": ["Line could not be resolved"]}
    scene.hub.faults.add(method="POST", path_regex="/reviews$", kind="status", status=422, body=refused)
    _, notes = await _said(scene, number, base, head, [SUM])
    assert notes == (
        "GitHub took no comments on lines, so the findings stand in the text only: Unprocessable Entity; "
        "Line could not be resolved",
    )
    scene.hub.faults.add(method="POST", path_regex="/graphql$", kind="status", status=403, body={"message": "No"})
    _, notes = await _said(scene, number, base, head, [SUM])
    assert notes == ("The comments on lines could not be looked for, so none was made: No",)
    assert _reviews(scene, number) == []


async def test_a_run_that_is_delivered_again_resolves_at_its_lines_what_it_no_longer_finds(scene: Scene) -> None:
    # Given a run that ended with a finding at a line that it wrote
    def failed() -> ProjectState:
        state = failing()
        mended = Suggestion(1, 1, "RATE = 2")
        broken = Finding("limiter.py", 1, "RATE must be 2", suggestion=mended)
        state.validation = (ValidationResult("ruff", ValidationStatus.FAILED, (broken,), "1 finding"),)
        state.results = {}
        return state

    trigger = scene.trigger(scene.hub.create_issue(REPO, "Rate limiter", "Write it.", user="maria"), "/orchestrate")
    effects, plane = MemoryEffects(), KnownPlane(failed)
    handled = await handle_trigger(scene, trigger, plane, effects=effects)
    assert handled.pull_request is not None
    (thread,) = await review_threads(scene.client, handled.pull_request)
    assert (thread.path, thread.line, thread.resolved) == ("limiter.py", 1, False)
    assert "```suggestion\nRATE = 2\n```" in thread.comments[0].body
    # When it goes on, mends it, and is delivered again
    plane.ending, plane.files = completed, {**BUILT, "limiter.py": b"RATE = 2\n"}
    await handle_trigger(scene, trigger, plane, effects=effects)
    # Then the thread is resolved, and only what is new is said
    first, *new = await review_threads(scene.client, handled.pull_request)
    assert (first.id, first.resolved, new) == (thread.id, True, [])


def test_a_runs_own_remarks_are_its_reviews_and_its_validators_findings() -> None:
    assert [(it.by, it.finding.message) for it in own_remarks(completed())] == [("anthropic", "name it better")]
    assert [(it.by, it.finding.message) for it in own_remarks(failing())] == [
        ("anthropic", "test_burst failed"),
        ("anthropic", "name it better"),
        ("pytest", "test_burst failed"),
    ]
