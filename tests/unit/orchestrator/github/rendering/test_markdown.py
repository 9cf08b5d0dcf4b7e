from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from orchestrator.github.rendering.markdown import cell, fit_bytes, table


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\\\|b", "a\\", "|", "\\\\\\|"])
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").parse(table(["a", "b"], [[cell(text), "x"]]))
    assert [token.content for token in page if token.type == "inline"][3:] == ["x"]


@given(st.text(alphabet="aé漢🧪`\n", max_size=400), st.integers(150, 300))
def test_a_text_is_cut_within_a_limit_of_bytes_and_what_fits_stays_as_it_is(text: str, limit: int) -> None:
    shown = fit_bytes(text, limit, "\n…")
    assert len(shown.encode()) <= limit
    assert (shown == text) == (len(text.encode()) <= limit)
