from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.rendering.template import BEGIN, END, filled, kept, prepared

TEMPLATE = """\
<!-- Thank you! Please read CONTRIBUTING.md first. -->
# Pull request

## What does this PR do?

<!-- Say why, too. -->

## Checklist

- [x] I have read the guide
* [X] Tests are added
1. [ ] Docs are updated
"""


def test_our_text_stands_in_the_first_section_that_fits_and_headings_stay() -> None:
    assert filled(prepared(TEMPLATE), "It adds a limiter.\n\nCloses #7") == (
        "# Pull request\n\n"
        "## What does this PR do?\n\n"
        f"{BEGIN}\nIt adds a limiter.\n\nCloses #7\n{END}\n\n"
        "## Checklist\n\n"
        "- [ ] I have read the guide\n"
        "* [ ] Tests are added\n"
        "1. [ ] Docs are updated"
    )


@pytest.mark.parametrize(
    "heading",
    [
        "## Summary",
        "### 📝 Description",
        "PR description\n---",
        "# What changed",
        "## Proposed changes",
        "## The Purpose",
    ],
)
def test_a_section_fits_by_its_first_word(heading: str) -> None:
    text = filled(f"## Checklist\n\n- [ ] ok\n\n{heading}\n\nPlease write.\n\n## Type of change\n", "Ours.")
    assert f"{heading}\n\n{BEGIN}\nOurs.\n{END}\n\nPlease write." in text


@pytest.mark.parametrize(
    "template", ["## Type of change\n\n- [ ] fix", "```\n## Summary\n```", "> ## Summary\n> quoted", "Just prose."]
)
def test_where_no_section_fits_our_text_comes_first(template: str) -> None:
    assert filled(template, "Ours.") == f"{BEGIN}\nOurs.\n{END}\n\n{template}"


def test_without_a_template_there_is_our_text_alone() -> None:
    assert filled("", "Ours.") == f"{BEGIN}\nOurs.\n{END}"
    assert prepared("<!-- only this -->\n") == ""
    assert prepared("x" * 20_001) == ""


def test_what_people_wrote_around_our_text_and_ticked_stays_when_ours_is_brought_up_to_date() -> None:
    new = filled(prepared(TEMPLATE), "Two rounds.")
    there = filled(prepared(TEMPLATE), "One round.").replace("* [ ] Tests", "* [x] Tests").replace("\n", "\r\n")
    assert kept(there, new) == new.replace("* [ ] Tests", "* [x] Tests")
    assert kept("What somebody else wrote.", new) == new
    assert kept(f"{BEGIN} and no end", new) == new


@given(template=st.text(alphabet="#<!-> []xX\n*`a1.", max_size=80), ours=st.text(alphabet="ab#\n", max_size=20))
def test_our_part_is_there_once_and_a_template_is_prepared_once(template: str, ours: str) -> None:
    ready = prepared(template)
    text = filled(ready, ours)
    assert text.count(f"{BEGIN}\n{ours}\n{END}") == 1
    assert prepared(ready) == ready
    assert kept(text, text) == text
