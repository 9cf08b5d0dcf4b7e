"""What the offline model reads out of somebody's words, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.providers.intent import read_intent


def read(text: str, *, app_type: str = "generic", regions: list[str] | None = None, refining: bool = False) -> Any:
    reply = read_intent(text, app_type=app_type, regions=regions, refining=refining)
    job, budget, policy = reply.job.given(), reply.job.budget, reply.policy.given()
    job.pop("budget")
    return {**job, **budget.given(), **policy}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pipeline for code review, EU data only, max $2", {"max_usd": 2.0, "allowed_regions": ["eu"]}),
        ("at most 1,250.50 USD and within 2 hours", {"max_usd": 1250.5, "max_time_seconds": 7200.0}),
        ("$10, $0.50 per task", {"max_usd": 10.0, "max_cost_per_task_usd": 0.5}),
        ("from $2 to $5", {"max_usd": 5.0}),
        ("GDPR, never train on our data", {"allowed_regions": ["eu"], "allow_training_on_output": False}),
        ("Tell us and let us know, no US models", {}),
        ("Save every 5 minutes", {}),
        ("A CLI for lakes", {"app_type": "cli"}),
        ("A Next.js shop", {"app_type": "nextjs"}),
    ],
)
def test_amounts_regions_training_and_kinds_of_app_are_read(text: str, expected: dict[str, Any]) -> None:
    assert read(text) == expected


def test_a_kind_of_app_that_the_words_were_sorted_into_counts_for_a_new_draft_only() -> None:
    assert read("Notes", app_type="fastapi") == {"app_type": "fastapi"}
    assert read("Notes", app_type="fastapi", refining=True) == {}


@pytest.mark.parametrize(
    ("text", "regions", "expected"),
    [
        ("Increase budget to $5, allow US models", ["eu"], {"max_usd": 5.0, "allowed_regions": ["eu", "us"]}),
        ("allow US models", None, {}),
        ("US only", ["eu"], {"allowed_regions": ["us"]}),
        ("make it nicer", ["eu"], {}),
    ],
)
def test_feedback_adds_to_the_regions_or_replaces_them(
    text: str, regions: list[str] | None, expected: dict[str, Any]
) -> None:
    assert read(text, regions=regions, refining=True) == expected


def test_the_rationale_says_what_it_is_and_what_it_recognised() -> None:
    said = read_intent("EU only, $2", app_type="generic", regions=None, refining=False).rationale
    assert said == (
        "The offline model read this by a few rules, and understands no more. It recognised '$2' as a cap of $2; the"
        " allowed regions eu. Everything else stays as it was: read it before you submit it, or set a provider's key."
    )
    assert "It recognised nothing." in read_intent("Hm", app_type="generic", regions=None, refining=True).rationale


@given(st.text(max_size=200), st.booleans())
def test_no_words_break_it(text: str, refining: bool) -> None:
    assert read_intent(text, app_type="generic", regions=None, refining=refining).rationale
