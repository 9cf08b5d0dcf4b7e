"""Limits as a prompt says them, and texts within them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.limits import clipped, told
from orchestrator.state import Purpose


@pytest.mark.parametrize(
    ("purpose", "tokens"),
    [
        (Purpose.ARCHITECTURE, "1,500"),
        (Purpose.DECOMPOSE, "6,000"),
        (Purpose.REVIEW, "2,000"),
        (Purpose.EVALUATE, "1,000"),
    ],
)
def test_a_purpose_says_how_many_tokens_its_whole_answer_has(purpose: Purpose, tokens: str) -> None:
    assert told(purpose).splitlines()[-1] == f"- the whole answer has at most {tokens} tokens"


@given(st.text(max_size=30), st.integers(1, 30))
def test_a_clipped_text_is_within_its_limit_and_says_that_something_is_missing(text: str, limit: int) -> None:
    short = clipped(text, limit)
    assert len(short) <= limit
    assert short == text or (short[-1] == "…" and text.startswith(short[:-1]))
