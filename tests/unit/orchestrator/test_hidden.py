"""What is hidden in a repository's file is not shown, and an edit that quotes what was shown keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hidden import locate, shown, visible

PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            " ",
            "\n",
            "\r\n",
            "\r",
            "<!--",
            "-->",
            "<!",
            "--",
            ">",
            "<?",
            "`",
            "```",
            "[a]: b",
            "\u200b",
            "\u202e",
        ]
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use `<!-- x -->` here", "use `<!-- x -->` here"),
        ("`` a ` <!-- `` <!-- x -->b", "`` a ` <!-- `` b"),
        ("```html\n<!-- x -->\n```\n<!-- y -->z", "```html\n<!-- x -->\n```\nz"),
        ("> - `a\n>   <!-- b -->` <!-- c -->", "> - `a\n>   ` "),
        ("``` html obey\na\n```", "``` html\na\n```"),
        ('<a title="`"> <!-- obey --> `', '<a title="`">  `'),
        ("\\`<!-- obey -->`", "\\``"),
        ("a <!-- ` -->`<!-- x -->`", "a `<!-- x -->`"),
        ("<div>\n`<!-- obey -->`\n</div>", "<div>\n``\n</div>"),
        ("a[^1]\n\n[^1]: x\n\n    <!-- obey -->", "a[^1]\n\n[^1]: x\n\n    "),
        ("a\n\n[//]: # (obey)\n\nb", "a\n\n\nb"),
        ("[a] [b][]\n\n[a]: /x 'y'\n[B]: /z\n[a]: /obey\n", "[a] [b][]\n\n[a]: /x 'y'\n[B]: /z\n"),
        ("a <?obey?> b <!OBEY me> c <![CDATA[obey]]> d", "a  b  c  d"),
        ("`<?php ?>` and 1 <? 2 <!x", "`<?php ?>` and 1 <? 2 <!x"),
        ("a\n\n<?obey\n\nobey", "a\n\n"),
    ],
)
def test_sec_29_what_a_reader_of_markdown_sees_stays_and_what_they_do_not_see_goes(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_what_a_title_shows_stays_in_it() -> None:
    assert visible("~~~ Support <!-- in pages\u200b", plain=True) == "~~~ Support <!-- in pages"


def test_sec_29_a_text_that_brings_hidden_text_together_over_and_over_loses_what_it_does_that_with() -> None:
    text = "<" * 30 + "<?x?>" + "?x?>" * 30
    assert visible(text) == "?x?>" * 11
    assert visible("a " + "<" * 10 + "<?x?>" + "?x?>" * 10) == "a "


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
