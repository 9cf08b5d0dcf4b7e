"""What is kept of an output, and what is counted as memory."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandbox.process import Capture, sees_children, tree_memory


def test_a_short_output_is_kept_whole() -> None:
    capture = Capture(10)

    capture.add(b"abc")
    capture.add(b"def")

    assert (capture.text(), capture.truncated) == ("abcdef", False)


def test_of_a_long_output_head_and_tail_are_kept() -> None:
    capture = Capture(6)

    for letter in b"abcdefghij":
        capture.add(bytes([letter]))

    assert capture.text() == "abc\n[... 4 bytes cut out ...]\nhij"


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=2, max_value=60))
def test_no_matter_how_it_arrives_the_same_is_kept(chunks: list[bytes], limit: int) -> None:
    whole, pieces = Capture(limit), Capture(limit)

    whole.add(b"".join(chunks))
    for chunk in chunks:
        pieces.add(chunk)

    assert pieces.text() == whole.text()
    assert whole.truncated is (len(b"".join(chunks)) > limit // 2 * 2)


def test_the_memory_of_a_process_is_seen() -> None:
    before = tree_memory(os.getpid())
    hog = b"x" * (50 * 2**20)

    assert tree_memory(os.getpid()) - before > 40 * 2**20
    assert len(hog) == 50 * 2**20


def test_a_process_that_is_gone_counts_as_nothing() -> None:
    assert tree_memory(2**22 + 1) == 0


def test_this_kernel_lists_children() -> None:
    assert sees_children()
