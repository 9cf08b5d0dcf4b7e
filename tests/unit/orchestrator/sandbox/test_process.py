"""What is kept of an output, and what is counted as memory."""

from __future__ import annotations

import mmap
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SandboxError
from orchestrator.sandbox.process import Capture, ask, descendants, sees_children, tree_memory


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
    # Pages of its own: what was freed before would be taken again without growing.
    with mmap.mmap(-1, 50 * 2**20, flags=mmap.MAP_PRIVATE) as hog:
        for page in range(0, len(hog), mmap.PAGESIZE):
            hog[page] = 1

        assert tree_memory(os.getpid()) - before > 40 * 2**20


def test_a_process_that_is_gone_counts_as_nothing() -> None:
    assert tree_memory(2**22 + 1) == 0


def test_this_kernel_lists_children() -> None:
    assert sees_children()


async def test_a_program_that_does_not_answer_in_time_is_killed_and_said_so() -> None:
    before = set(descendants(os.getpid()))

    with pytest.raises(SandboxError, match=r"did not answer within 0\.2 seconds"):
        await ask([sys.executable, "-c", "import time; time.sleep(600)"], seconds=0.2, environment={})

    assert set(descendants(os.getpid())) <= before


async def test_a_program_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(SandboxError, match="none does not start: No such file"):
        await ask(["/nowhere/none"], seconds=10, environment={})


async def test_a_program_that_answers_is_heard() -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert await ask([sys.executable, "-c", program], seconds=60, environment={}) == (3, b"out\n", b"err\n")
