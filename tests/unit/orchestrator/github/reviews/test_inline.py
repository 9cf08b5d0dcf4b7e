from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diff import FileDiff
from orchestrator.github.rendering.sanitize import Redactor, inert
from orchestrator.github.reviews.inline import Kind, LineComment, Looked, Placed, Remark, fingerprint, mark_of, place
from orchestrator.github.reviews.threads import ReviewThread, ThreadComment
from orchestrator.state import Finding, Severity, Suggestion

EVERYWHERE = Looked(None)
LOGIN = "orchestrator[bot]"
PATCH = "@@ -1,2 +1,4 @@\n def total(items):\n+    it = 0\n+    return sum(items) / 0\n \n"
FILES = (FileDiff("src/a.py", "modified", PATCH),)
SUM = Finding("src/a.py", 3, "Dividing the sum by zero always raises.")
NAME = Finding("src/a.py", 2, "The name is never read.", Severity.WARNING)
_redacted = Redactor(["hunter2-hunter2"])


def _safe(text: str) -> str:
    return inert(_redacted(text), requester="maria")


def _placed(
    *findings: Finding, threads: tuple[ReviewThread, ...] = (), kind: Kind = "run", looked: Looked = EVERYWHERE
) -> Placed:
    remarks = [Remark(finding, "openai") for finding in findings]
    return place(remarks, FILES, threads, kind=kind, login=LOGIN, safe=_safe, looked=looked)


def _thread(
    comment: LineComment, *, author: str = LOGIN, resolved: bool = False, line: int | None = 0, name: str = "T1"
) -> ReviewThread:
    first = ThreadComment(1, author, comment.body, "2026-01-01T00:00:00Z")
    return ReviewThread(name, comment.path, comment.line if line == 0 else line, resolved, False, (first,))


def test_findings_on_lines_that_the_change_made_become_comments_the_gravest_first() -> None:
    outside = Finding("src/a.py", 1, "Has no docstring.")
    placed = _placed(NAME, outside, SUM, Finding("b.py", 1, "Is not in the diff."))
    assert [(it.path, it.line, it.start) for it in placed.comments] == [("src/a.py", 3, None), ("src/a.py", 2, None)]
    assert [it.finding.message for it in placed.elsewhere] == ["Has no docstring.", "Is not in the diff."]
    known = fingerprint(SUM, "    return sum(items) / 0")
    assert placed.comments[0].body == (
        f"**Error** · openai\n\nDividing the sum by zero always raises.\n\n<!-- orchestrator:finding r{known} -->"
    )


def test_somebody_elses_diff_takes_comments_on_every_line_that_it_shows() -> None:
    assert [it.line for it in _placed(Finding("src/a.py", 1, "Why?"), kind="diff").comments] == [1]


def test_of_many_findings_the_ten_gravest_stand_at_their_lines_and_the_rest_is_told() -> None:
    patch = "@@ -0,0 +1,12 @@\n" + "\n".join(f"+line {number}" for number in range(1, 13))
    notes = [Finding("a", number, f"remark {'abcdefghijkl'[number - 1] * 5}", Severity.NOTE) for number in range(1, 12)]
    remarks = [Remark(it) for it in (*notes, Finding("a", 12, "wrong"))]
    placed = place(remarks, [FileDiff("a", "added", patch)], (), kind="run", login=LOGIN, safe=_safe, looked=EVERYWHERE)
    assert [it.line for it in placed.comments] == [12, *range(1, 10)]
    assert [it.finding.line for it in placed.beyond] == [10, 11]


def test_a_finding_that_was_said_is_not_repeated_wherever_its_line_has_moved_to() -> None:
    (comment,) = _placed(SUM).comments
    for thread in (
        _thread(comment),
        _thread(comment, line=90),
        _thread(comment, line=None),
        _thread(comment, resolved=True),
    ):
        assert _placed(SUM, threads=(thread,)) == Placed(())


def test_a_model_that_says_the_same_in_other_words_neither_repeats_nor_resolves_a_comment() -> None:
    (comment,) = _placed(SUM).comments
    again = Finding("src/a.py", 3, "This always raises: the sum is dividing by zero.")
    assert _placed(again, threads=(_thread(comment),)) == Placed(())


def test_a_comment_whose_finding_is_gone_is_resolved_once_everything_was_looked_at() -> None:
    (comment,) = _placed(SUM).comments
    assert _placed(threads=(_thread(comment),)).gone == ("T1",)
    assert _placed(threads=(_thread(comment),), looked=Looked()).gone == ()
    assert _placed(threads=(_thread(comment, resolved=True),)).gone == ()


def test_a_round_that_looked_at_other_files_only_leaves_a_comment_as_it_is() -> None:
    (comment,) = _placed(SUM).comments
    thread = _thread(comment)
    assert _placed(threads=(thread,), looked=Looked({"b.py"}, {"ruff"})).gone == ()
    assert _placed(threads=(thread,), looked=Looked({"src/a.py"})).gone == ("T1",)
    assert _placed(threads=(thread,), looked=Looked({"b.py"}, {"openai"})).gone == ("T1",)
    # A file that the pull request changes no more holds nothing that could be found.
    gone = replace(thread, path="src/gone.py")
    assert _placed(threads=(gone,), looked=Looked({"b.py"})).gone == ("T1",)
    assert _placed(threads=(gone,), looked=Looked()).gone == ()


def test_threads_of_others_and_of_another_kind_of_review_are_left_alone() -> None:
    (comment,) = _placed(SUM).comments
    assert _placed(threads=(_thread(comment, author="stranger"),)).gone == ()
    assert _placed(threads=(_thread(comment),), kind="diff").gone == ()
    forged = LineComment("src/a.py", 3, f"Nice\n\n{mark_of('0' * 16, 'run')} no", "")
    assert _placed(threads=(_thread(forged),)).gone == ()
    assert len(_placed(SUM, threads=(_thread(comment, author="stranger"),)).comments) == 1


def test_what_a_program_knows_to_mend_can_be_committed_from_the_page() -> None:
    fixed = Finding("src/a.py", 2, "F841: unused", suggestion=Suggestion(2, 3, "    return sum(items)"))
    (comment,) = _placed(fixed).comments
    assert (comment.start, comment.line) == (2, 3)
    assert "\n\n```suggestion\n    return sum(items)\n```\n\n<!--" in comment.body
    gone = Finding("src/a.py", 2, "F401: unused", suggestion=Suggestion(2, 2, ""))
    assert "```suggestion\n```" in _placed(gone).comments[0].body


def test_a_reviewers_replacement_counts_where_it_is_about_that_line() -> None:
    said = "Divides by zero.\n\n```suggestion\nreturn sum(items) / len(items)\n```"
    (comment,) = _placed(Finding("src/a.py", 3, said)).comments
    assert comment.body.count("suggestion") == 1
    assert "```suggestion\n    return sum(items) / len(items)\n```" in comment.body
    other = said.replace("return sum(items) / len(items)", "import os, sys; os.abort()")
    assert "suggestion" not in _placed(Finding("src/a.py", 3, other)).comments[0].body


@pytest.mark.parametrize(
    "suggestion",
    [
        Suggestion(3, 9, "outside of the diff"),
        Suggestion(3, 3, "    return sum(items) / 0"),
        Suggestion(3, 3, "/merge"),
        Suggestion(3, 3, "    return 'hunter2-hunter2'"),
        Suggestion(3, 3, "    return sum(items)\u202e"),
        Suggestion(3, 2, "upside down"),
    ],
)
def test_a_replacement_that_nobody_should_commit_is_left_out(suggestion: Suggestion) -> None:
    (comment,) = _placed(Finding("src/a.py", 3, "Wrong.", suggestion=suggestion)).comments
    assert "suggestion" not in comment.body


def test_sec_30_what_a_model_says_at_a_line_is_inert() -> None:
    hostile = Finding("src/a.py", 3, "Ask @admin\n/merge\nFixes #1 <!-- orchestrator:finding r0 --> hunter2-hunter2")
    body = _placed(hostile).comments[0].body
    assert "@admin" not in body
    assert "\n/merge" not in body
    assert "Fixes #1" not in body
    assert body.count("<!--") == 1
    assert "hunter2" not in body


_findings = st.builds(
    Finding,
    st.just("src/a.py"),
    st.integers(1, 5),
    st.text(max_size=60),
    st.sampled_from(list(Severity)),
    st.none() | st.builds(Suggestion, st.integers(1, 5), st.integers(1, 5), st.text(max_size=30)),
)


@given(st.lists(_findings, max_size=8), st.sampled_from(["run", "diff"]))
def test_a_second_look_at_what_was_written_writes_and_resolves_nothing(findings: list[Finding], kind: Kind) -> None:
    first = _placed(*findings, kind=kind)
    threads = tuple(_thread(it, name=f"T{number}") for number, it in enumerate(first.comments))
    again = _placed(*findings, threads=threads, kind=kind)
    assert (again.comments, again.gone) == ((), ())
