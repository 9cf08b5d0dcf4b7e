from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from orchestrator.github.rendering.markdown import cell, table


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\\\|b", "a\\", "|", "\\\\\\|"])
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").parse(table(["a", "b"], [[cell(text), "x"]]))
    assert [token.content for token in page if token.type == "inline"][3:] == ["x"]
