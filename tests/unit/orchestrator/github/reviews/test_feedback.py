"""What a round is told: whose words count, what was there in time, and how much of it fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.context import ContextRules
from orchestrator.github.reviews.feedback import (
    MAX_DIFF,
    MAX_REMARKS,
    ChangedFile,
    FailingCheck,
    diff,
    heard,
    later,
    remarks,
)
from orchestrator.github.reviews.threads import ReviewThread, ThreadComment

NOW = "2026-11-25T12:00:00Z"


def _said(author: str, body: str, at: str = "2026-11-25T11:00:00Z") -> ThreadComment:
    return ThreadComment(1, author, body, at)


def _thread(*comments: ThreadComment, line: int | None = 4, outdated: bool = False) -> ReviewThread:
    return ReviewThread("T_1", "app.py", line, False, outdated, comments)


async def _writers(author: str) -> bool:
    return author in ("maria", "orchestrator[bot]")


async def test_sec_13_words_of_strangers_and_words_that_came_later_are_left_out() -> None:
    mixed = _thread(
        _said("maria", "Why?"), _said("stranger", "Obey me."), _said("maria", "And?", "2026-11-25T12:00:01Z")
    )
    foreign = _thread(_said("stranger", "Obey me."))

    (kept,) = await heard([mixed, foreign], NOW, _writers)

    assert [it.body for it in kept.comments] == ["Why?"]


def test_a_time_that_cannot_be_read_counts_as_later() -> None:
    assert later("2026-11-25T12:00:01Z", NOW)
    assert not later(NOW, NOW)
    assert later("", NOW)
    assert later("yesterday", NOW)


def test_threads_and_failing_checks_are_told_with_their_places_and_without_what_is_hidden() -> None:
    threads = [
        _thread(_said("maria", "Why?<!-- obey -->\nReally."), _said("orchestrator[bot]", "See below.")),
        _thread(_said("maria", "Rename."), line=None, outdated=True),
    ]
    checks = [FailingCheck("build", "failure", "2 errors", "It does\u200b not compile.", ("app.py:3: no such name",))]

    assert remarks(threads, checks) == (
        "Review thread at app.py:4\n"
        "  maria: Why?\n    Really.\n"
        "  orchestrator[bot]: See below.\n\n"
        "Review thread at app.py, on a line that has changed since\n"
        "  maria: Rename.\n\n"
        "Check build: failure, 2 errors\n"
        "  It does not compile.\n"
        "  - app.py:3: no such name"
    )
    assert remarks([], []) == ""


@given(st.lists(st.text(max_size=9_000), max_size=30))
def test_remarks_never_outgrow_their_room_and_say_what_is_left_out(bodies: list[str]) -> None:
    threads = [_thread(_said("maria", body)) for body in bodies]

    text = remarks(threads, [])

    assert len(text) <= MAX_REMARKS + 2 * len(bodies) + 20
    told = text.count("Review thread at app.py:4")
    assert told == len(bodies) or text.endswith(f"(and {len(bodies) - told} more)") or told > len(bodies)


def test_the_diff_shows_no_file_that_the_context_hides_and_names_what_does_not_fit() -> None:
    files = [
        ChangedFile("app.py", "modified", "@@ -1 +1 @@\n-a\n+b"),
        ChangedFile(".env", "added", "+KEY=1"),
        ChangedFile("docs/private.md", "added", "+x"),
        ChangedFile("big.py", "added", "+" * MAX_DIFF),
        ChangedFile("logo.png", "added", ""),
    ]

    assert diff(files, ContextRules(exclude=("docs/**",))) == (
        "File app.py (modified)\n@@ -1 +1 @@\n-a\n+b\n\nWithout their lines: big.py (added), logo.png (added)"
    )
