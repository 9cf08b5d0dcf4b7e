"""Prompts are strict templates, and a fence cannot be closed from inside."""

from __future__ import annotations

from pathlib import Path

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


def test_a_paragraph_without_a_value_is_left_out() -> None:
    values = {"app_type": "cli", "job": "Job", "repository": "", "feedback": ""}
    prompt = render(Purpose.ARCHITECTURE, values).prompt
    assert prompt == "App type: cli\n\nJob\n\nDecide the architecture of this job now, as one JSON object.\n"


def test_what_a_runs_calls_have_in_common_comes_first() -> None:
    values = {"app_type": "cli", "job": "Job", "result": "one", "checks": "none"}
    one = render(Purpose.EVALUATE, values)
    two = render(Purpose.EVALUATE, values | {"result": "two"})
    assert one.system == two.system
    assert one.prompt[: one.stable] == two.prompt[: two.stable] == "App type: cli\n\nJob\n\n"


@pytest.mark.parametrize(
    ("purpose", "limits"),
    [
        (Purpose.ARCHITECTURE, ["80", "4,000"]),
        (Purpose.DECOMPOSE, ["100 tasks", "200 files", "80 characters", "`title` 200", "8,000", "400 bytes"]),
        (Purpose.GENERATE, ["200 changed files", "1,048,576 bytes", "10,485,760 bytes", "400 bytes", "4,000"]),
        (Purpose.REVISE, ["200 changed files", "1,048,576 bytes", "10,485,760 bytes", "400 bytes", "4,000"]),
        (Purpose.REVIEW, ["from 0 to 1", "50 findings", "2,000"]),
        (Purpose.EVALUATE, ["from 0 to 1", "4,000"]),
    ],
)
def test_a_prompt_says_the_limits_of_its_answer(purpose: Purpose, limits: list[str]) -> None:
    section = _system(purpose).split("Limits\n")[1].split("\n\n")[0]
    assert [limit for limit in limits if limit not in section] == []


def _system(purpose: Purpose) -> str:
    return (Path(__file__).parent / "golden" / f"{purpose.value}.txt").read_text(encoding="utf-8")
