"""The guide's recipes, answers and best practices: what each must have done."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from threading import Thread
from typing import Any

from orchestrator.catalog import load_catalog
from orchestrator.state import ProjectStatus
from tests.e2e.guide import TEXT, Place, completed, notes, run_it, task
from tests.e2e.guide_examples import PATTERNS
from tests.loopback import Answer, Asked, Script

PLANNING = ("architecture", "decompose")


def routes_to_the_cheapest(place: Place) -> None:
    run_it(place)
    completed(place)
    (state,) = place.states()
    assert state.budget.max_usd == 2.0
    prices = [load_catalog().models[call.model].price.cost(1000, 1000) for call in place.of("generate")]
    assert max(prices) * 10 < load_catalog().models["claude-opus-4-8"].price.cost(1000, 1000)
    assert "weighted_sum" in state.results["notes"].routes[0].reason


def asks_only_the_premium_models(place: Place) -> None:
    """Only the models that the two names stand for were asked, and the report says which those are."""
    run_it(place)
    (state,) = place.states()
    assert state.budget.max_usd == 50.0
    assert {call.model.partition("-")[0] for call in place.calls} <= {"claude", "gpt"}
    assert all("mini" not in call.model and "haiku" not in call.model for call in place.calls)
    assert any("claude-opus" in note for note in state.notes)


def checks_the_hierarchy(place: Place) -> None:
    """A run is charged to the organisation; one whose cap no level can hold raises before anything is asked."""
    run_it(place)
    completed(place)
    before = len(place.calls)
    tight = (
        "small = BudgetHierarchy(org_max_usd=100.0, job_budgets={'job_001': 0.0})\n"
        "poor = Orchestrator(budget=Budget(max_usd=10.0), budget_hierarchy=small, job='job_001')\n"
        "try:\n    asyncio.run(poor.run_project('Write notes'))\nexcept ValueError as error:\n    print(error)\n"
    )
    place.python(f"import asyncio\n{tight}")
    assert "job_001" in place.out
    assert len(place.calls) == before


def a_draft() -> Script:
    """Models that draft what was asked for, and answer the feedback with what it asks to change."""

    def draft(asked: Asked) -> Answer:
        euro = asked.turn == 0
        policy: dict[str, Any] = {
            "name": "data",
            "allowed_regions": ["eu", "global"] if euro else ["eu", "us", "global"],
        }
        job = {"project": {"description": "A code review pipeline"}, "budget": {"max_usd": 2.0 if euro else 5.0}}
        return Answer({"job": job, "policy": policy, "rationale": "EU only." if euro else "US too."})

    return notes(draft=draft)


def drafts_refines_and_submits(place: Place) -> None:
    """Draft and refinement were printed, and the refined job has run under the refined policy."""
    state, *drafts = place.states()
    assert (state.status, state.budget.max_usd) == (ProjectStatus.COMPLETED, 5.0)
    assert {draft.outcome.code for draft in drafts} == {"drafted"}
    assert [line.partition(":")[0] for line in place.lines][:3] == ["Draft job spec", "Draft policy spec", "Rationale"]
    assert "2.0" in place.lines[0]
    assert len(place.of("draft")) == 2
    assert "deepseek" not in {call.provider for call in place.calls if call.purpose != "draft"}


def monitors(place: Place) -> None:
    """The watcher saw the task and the end, and ended by itself."""
    completed(place)
    (state,) = place.states()
    assert f"✓ notes: {state.results['notes'].score:.3f}" in place.lines
    assert place.lines[-1] == "🏁 Project finished: completed"


def caps(max_usd: float, max_time_seconds: float = 5400.0) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        budget = place.names["budget"]
        assert (budget.max_usd, budget.max_time_seconds) == (max_usd, max_time_seconds)

    return check


def never_spends_more(max_usd: float) -> Callable[[Place], None]:
    """A run under this budget with answers that use up their limits: spent and in flight stay under the cap."""

    def check(place: Place) -> None:
        caps(max_usd)(place)
        place.python("import asyncio\nfrom orchestrator import *\norch = Orchestrator(budget=budget)\n")
        run_it(place)
        completed(place)
        (state,) = place.states()
        assert state.budget.max_usd == max_usd

    return check


def six_at_once(place: Place) -> None:
    """Six tasks that wait for nothing are all asked for before the first of them is answered."""
    tasks = [task(f"t{number}", f"t{number}.md") for number in range(7)]
    place.models.script = Script(answers={"decompose": lambda _: Answer({"tasks": tasks})})
    place.models.hold_after(len(PLANNING))
    running = Thread(target=run_it, args=(place,))
    running.start()
    try:
        place.models.wait_for_calls(len(PLANNING) + 6)
        assert [call.purpose for call in place.calls] == [*PLANNING, *["generate"] * 6]
    finally:
        place.models.release()
        running.join()
    completed(place)


def comes_back(place: Place) -> None:
    """The second call found the first one's run, and asked for nothing again."""
    completed(place)
    assert [state.project_id for state in place.states()] == ["my-project-001"]
    assert len(place.of("decompose")) == 1


def writes_json(place: Place) -> None:
    assert json.loads((place.folder / "metrics.json").read_text())


def governs_by_a_file(place: Place) -> None:
    assert [policy.name for policy in place.names["hierarchy"].policies_for().policies] == ["gdpr"]
    assert [policy.name for policy in place.names["policies"].policies] == ["gdpr"]


def calls_back(place: Place) -> None:
    completed(place)
    assert place.lines == ["heard notes"]


def decides_for_itself(place: Place) -> None:
    """Both runs decided an architecture; the first detected its app type, the second was told."""
    completed(place, 2)
    second, first = place.states()
    assert (first.app_type, second.app_type) == ("fastapi", "fastapi")
    assert (place.folder / "api/notes.md").is_file()
    assert (place.folder / "results/notes.md").is_file()
    assert any(line in PATTERNS for line in place.lines)


def richer_words_reach_the_architect(place: Place) -> None:
    """What a rich description says is in the request by which the architecture is decided, word for word."""
    tree = ast.parse(TEXT["7-provide-rich-descriptions-for-better-architecture-decisions/1"])
    rich, vague = [node.value.value for node in tree.body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    assert place.names["description"] == vague
    for description in (rich, vague):
        place.names["description"] = description
        place.python(
            "import asyncio\nfrom orchestrator import *\nasyncio.run(ArchitectureAdvisor().analyze(description))"
        )
    asked = [call.prompt for call in place.of("architecture")]
    assert "- 10k concurrent users support" in asked[0]
    assert "Typing indicators" not in asked[1]
    assert "Build a chat app" in asked[1]
