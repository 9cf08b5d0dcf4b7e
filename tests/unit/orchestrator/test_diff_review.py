"""Reviews of a change through the control plane, with scripted models of two providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control_plane import Change, ControlPlane
from orchestrator.diff import FileDiff
from orchestrator.diff_review import not_asked, opinions_of
from orchestrator.errors import ProviderRejected
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.offline import OfflineProvider
from orchestrator.providers.scripted import Scripted
from orchestrator.state import ProjectState, ProjectStatus
from tests.unit.orchestrator.models import APPROVED, Models, a_job
from tests.unit.orchestrator.test_golden_prompts import shown

GOLDEN = Path(__file__).parent / "golden" / "review_diff.txt"
ADDED = "@@ -0,0 +1,3 @@\n+def close(it):\n+    it.query()\n+    it.close()"
CHANGE = Change(
    (FileDiff("src/db.py", "added", ADDED), FileDiff("logo.png", "added", "")), "Every function has a docstring."
)


def _finding(message: str, line: int = 2, severity: str = "error") -> dict[str, Any]:
    return {"path": "src/db.py", "line": line, "severity": severity, "message": message}


def _says(**by_provider: list[dict[str, Any]]) -> Models:
    def say(request: CompletionRequest) -> Scripted:
        findings = by_provider[request.model.provider]
        verdict = "request_changes" if findings else "approve"
        return json.dumps({"findings": findings, "verdict": verdict, "score": 0.4 if findings else 0.9})

    return Models(say={"review": say})


async def _reviewed(models: Models, home: Path, change: Change = CHANGE, **job: Any) -> ProjectState:
    async with models.plane(home) as plane:
        return await plane.review(a_job("Add a database", **job), change, run_id="review-1", repository="octo/demo")


async def test_two_providers_review_a_change_without_seeing_each_others_word(tmp_path: Path) -> None:
    models = _says(openai=[_finding("the connection leaks when query raises")], anthropic=[])
    state = await _reviewed(models, tmp_path)
    assert [(it.id, state.results[it.id].status.value) for it in state.tasks] == [
        ("first", "completed"),
        ("second", "completed"),
    ]
    assert {it.model.provider for it in models.asked} == {"openai", "anthropic"}
    assert "leaks" not in "".join(it.prompt for it in models.asked)
    said = opinions_of(state)
    assert (said.divided, len(said.findings)) == (True, 1)
    assert state.status is ProjectStatus.COMPLETED
    assert "one finding" in state.outcome.reason
    assert state.notes == ("GitHub shows no text of these changes, so that nobody reviewed them: logo.png.",)
    assert state.files == ()
    assert {call.purpose.value for call in state.calls} == {"review"}
    assert 0 < state.budget.spent_usd <= state.budget.max_usd


async def test_what_a_model_is_asked_is_word_for_word_the_golden_prompt(tmp_path: Path) -> None:
    models = _says(openai=[], anthropic=[])
    await _reviewed(models, tmp_path)
    assert shown(models.asked[0]) == GOLDEN.read_text(encoding="utf-8")


async def test_where_one_provider_is_allowed_it_is_asked_once_and_the_run_says_so(tmp_path: Path) -> None:
    models = _says(openai=[])
    models.names = ("openai",)
    state = await _reviewed(models, tmp_path)
    assert len(models.asked) == 1
    assert (state.status, state.results["second"].status.value) == (ProjectStatus.COMPLETED, "skipped")
    assert not_asked(state) == "Only openai may be asked here, so there is no second opinion."


async def test_a_second_provider_that_does_not_answer_leaves_the_first_ones_word(tmp_path: Path) -> None:
    first: list[str] = []

    def say(request: CompletionRequest) -> Scripted:
        first.append(request.model.provider)
        if request.model.provider != first[0]:
            return ProviderRejected("no credit", provider=request.model.provider, model=request.model.id, status=402)
        return json.dumps(APPROVED)

    state = await _reviewed(Models(say={"review": say}), tmp_path)
    assert state.status is ProjectStatus.PARTIAL
    assert "An opinion is missing" in state.outcome.reason
    assert len(opinions_of(state).opinions) == 1


async def test_answers_of_no_use_are_paid_for_once_and_fail_the_run(tmp_path: Path) -> None:
    models = Models(say={"review": lambda _: "no JSON"})
    state = await _reviewed(models, tmp_path)
    asked = len(models.asked)
    assert (state.status, state.results["second"].status.value) == (ProjectStatus.FAILED, "skipped")
    assert "No usable answer to the review call" in state.outcome.reason
    assert asked == 3 * len({it.model.id for it in models.asked})


async def test_a_run_that_goes_on_asks_nothing_again_that_was_answered(tmp_path: Path) -> None:
    asked: list[str] = []

    def fails_second(request: CompletionRequest) -> Scripted:
        asked.append(request.model.provider)
        if len(asked) == 2:
            raise RuntimeError("the power went")
        return json.dumps(APPROVED)

    with pytest.raises(RuntimeError, match="the power went"):
        await _reviewed(Models(say={"review": fails_second}), tmp_path)
    state = await _reviewed(Models(say={"review": fails_second}), tmp_path)
    assert (state.status, len(asked)) == (ProjectStatus.COMPLETED, 3)
    assert asked[2] == asked[1] != asked[0]
    again = await _reviewed(Models(say={"review": fails_second}), tmp_path)
    assert (again.results, len(asked)) == (state.results, 3)


async def test_a_change_beyond_the_cap_is_not_asked_about(tmp_path: Path) -> None:
    models = _says(openai=[], anthropic=[])
    state = await _reviewed(models, tmp_path, max_usd=0.0001)
    assert (state.status, models.asked, state.calls) == (ProjectStatus.BUDGET_EXHAUSTED, [], ())


async def test_a_change_without_text_costs_nothing(tmp_path: Path) -> None:
    models = _says(openai=[], anthropic=[])
    state = await _reviewed(models, tmp_path, Change((FileDiff("logo.png", "added", ""),)))
    assert (state.status, state.outcome.code, models.asked) == (ProjectStatus.COMPLETED, "nothing_to_do", [])


async def test_a_large_change_is_asked_about_in_parts_and_what_nobody_read_is_said(tmp_path: Path) -> None:
    patch = "@@ -0,0 +1,900 @@\n" + "\n".join("+" + "x" * 60 for _ in range(700))
    files = tuple(FileDiff(f"src/{name}.py", "added", patch) for name in "abcdef")
    models = _says(openai=[], anthropic=[])
    state = await _reviewed(models, tmp_path, Change(files))
    assert len(models.asked) == 8
    assert [it.id for it in state.tasks[:2]] == ["part-1-first", "part-1-second"]
    assert state.status is ProjectStatus.PARTIAL
    assert state.notes == ("Not reviewed, because the change is larger than 4 parts: src/e.py, src/f.py.",)


@pytest.mark.parametrize("cap", [0.05, 0.2])
async def test_a_large_change_never_costs_more_than_its_cap_and_keeps_what_was_reviewed(
    tmp_path: Path, cap: float
) -> None:
    patch = "@@ -0,0 +1,700 @@\n" + "\n".join("+" + "x" * 60 for _ in range(700))
    files = tuple(FileDiff(f"src/{name}.py", "added", patch) for name in "abcd")
    models = _says(openai=[], anthropic=[])
    state = await _reviewed(models, tmp_path, Change(files), max_usd=cap)
    assert state.budget.spent_usd <= cap
    assert len(models.asked) == len(state.calls)
    assert not any(call.estimated for call in state.calls)
    reviewed = [it for it in state.results.values() if it.review]
    assert len(reviewed) == len(models.asked)
    assert (state.status is ProjectStatus.COMPLETED) == (len(reviewed) == 8)


@pytest.mark.parametrize(
    ("path", "patch", "expected"),
    [
        ("a.py", "@@ -0,0 +1,2 @@\n+x = 1\n+def f(:", [("a.py", 2, "Python: invalid syntax")]),
        ("a.py", "@@ -0,0 +1,2 @@\n+x = 1\n+y = '\\d'", []),
        (
            "a.txt",
            "@@ -0,0 +1,2 @@\n+one\n+<<<<<<< HEAD",
            [("a.txt", 2, "This is a mark of a merge conflict that nobody resolved. Remove it.")],
        ),
    ],
)
async def test_the_offline_model_reviews_a_change_by_checks_alone(
    tmp_path: Path, path: str, patch: str, expected: list[tuple[str, int, str]]
) -> None:
    env = {"ORCHESTRATOR_HOME": str(tmp_path)}
    async with ControlPlane.open(env, providers={"offline": OfflineProvider()}) as plane:
        change = Change((FileDiff(path, "added", patch),))
        state = await plane.review(a_job("Add"), change, run_id="review-1", repository="octo/demo")
    said = opinions_of(state)
    assert [(it.finding.path, it.finding.line, it.finding.message) for it in said.findings] == expected
    assert (state.offline, len(said.opinions), said.approved) == (True, 1, not expected)
