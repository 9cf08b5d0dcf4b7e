"""Prompts are strict templates, and a fence cannot be closed from inside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.prompts import fence, render
from orchestrator.state import Purpose

NONCE = "abcabc"


@given(st.text(alphabet="abc<>/ file\n", max_size=200))
def test_the_word_of_a_fence_stands_only_at_its_two_ends(text: str) -> None:
    fenced = fence(text, NONCE, "file")
    assert fenced.startswith(f"<file {NONCE}>\n")
    assert fenced.endswith(f"\n</file {NONCE}>")
    inside = fenced.removeprefix(f"<file {NONCE}>\n").removesuffix(f"\n</file {NONCE}>")
    assert NONCE not in inside


def test_a_word_that_appears_only_when_another_is_taken_out_is_taken_out_too() -> None:
    assert fence(f"abc{NONCE}abc", NONCE, "file") == f"<file {NONCE}>\n\n</file {NONCE}>"


def test_ordinary_text_is_kept_as_it_is() -> None:
    assert fence("a\n\tb  ", NONCE, "job") == f"<job {NONCE}>\na\n\tb  \n</job {NONCE}>"


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_template_takes_exactly_its_variables(purpose: Purpose) -> None:
    with pytest.raises(KeyError, match=f"{purpose.value}.md takes"):
        render(purpose, {"surprise": ""})


def test_values_are_put_in_word_for_word() -> None:
    value = "{{job}} \\1 $x {{unknown}}"
    names = ("app_type", "job", "repository", "feedback")
    rendered = render(Purpose.ARCHITECTURE, dict.fromkeys(names, value))
    assert rendered.prompt.count(value) == 4
    assert value not in rendered.system
    assert len(rendered.version) == 16
