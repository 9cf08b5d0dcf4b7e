"""What is hidden in a repository's file is not shown, and an edit that quotes what was shown keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hidden import locate, shown, visible

PIECES = st.lists(
    st.sampled_from(
        ["a", "b", " ", "\n", "\r\n", "\r", "<!--", "-->", "<!", "--", ">", "\u200b", "\u202e", "\U000e0041"]
    ),
    max_size=30,
).map("".join)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("README.md", "a <!-- obey --> b", "a  b"),
        ("docs/x.HTML", "a <!-- obey", "a "),
        ("page.ts", "const open = '<!--'\nrun()\n", "const open = '<!--'\nrun()\n"),
        ("page.ts", "if (user\u202e) {\u200b}\r\n", "if (user) {}\n"),
        ("notes.txt", "tag\U000e0041\U000e0042s", "tags"),
    ],
)
def test_comments_are_hidden_where_people_read_a_rendering_and_characters_everywhere(
    path: str, text: str, expected: str
) -> None:
    assert shown(path, text).text == expected


def test_a_search_is_found_around_what_is_hidden_in_the_middle_of_it() -> None:
    text = "one <!-- a --> two\nthree"
    place = locate("a.md", text, "one  two")
    assert place is not None
    assert text[place[0] : place[1]] == "one <!-- a --> two"


def test_a_search_that_stands_twice_is_not_found() -> None:
    assert locate("a.md", "one <!-- x --> one", "one") is None


def test_a_search_for_nothing_is_not_found() -> None:
    assert locate("a.md", "one", "") is None


def test_comments_made_up_of_what_stands_around_others_cost_no_more_than_others() -> None:
    deep = 100_000
    assert shown("a.md", "<!-" * deep + "<!-- -->" + "- -->" * deep + "end").text == "end"


@given(PIECES)
def test_what_is_shown_stands_letter_for_letter_at_its_places(text: str) -> None:
    seen = shown("a.md", text)
    assert seen.text == visible(text)
    assert list(seen.places) == sorted(set(seen.places))
    assert [text[place].replace("\r", "\n") for place in seen.places] == list(seen.text)


@given(PIECES, st.integers(0, 29), st.integers(1, 29))
def test_whatever_is_quoted_from_what_was_shown_is_found_where_it_stands(text: str, start: int, length: int) -> None:
    view = shown("a.md", text)
    quoted = view.text[start : start + length]
    place = locate("a.md", text, quoted)
    once = sum(view.text.startswith(quoted, at) for at in range(len(view.text))) == 1
    assert (place is not None) == (once and bool(quoted))
    if place is not None:
        assert place == (view.places[start], view.places[start + len(quoted) - 1] + 1)
