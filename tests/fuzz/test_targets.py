"""Every target on what is kept, and on what Hypothesis makes of its tokens."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counts import INPUTS
from tests.fuzz.target import CORPUS, Target, calls
from tests.fuzz.targets import TARGETS

ALL = pytest.mark.parametrize("target", [pytest.param(target, id=name) for name, target in TARGETS.items()])
LINEAR = [target for target in TARGETS.values() if target.linear]
TIMES = 20
FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return inputs of the target's tokens, with any text between and a kept input around."""
    piece = st.sampled_from(target.tokens) | st.text(max_size=4)
    made = st.lists(piece, max_size=25).map(lambda pieces: "".join(pieces).encode("utf-8", "surrogatepass"))
    kept = st.sampled_from(target.kept())
    spliced = st.builds(lambda one, at, new: one[: at % (len(one) + 1)] + new + one[at % (len(one) + 1) :], kept,
                        st.integers(0, 20_000), made)  # fmt: skip
    return made | spliced


@ALL
def test_what_was_kept_breaks_no_property(target: Target, record_count: Callable[[str, int], None]) -> None:
    kept = target.kept()
    for data in kept:
        target.attempt(data)
    record_count(INPUTS, len(kept))


@ALL
@settings(max_examples=300 if FULL else 10)
@given(data=st.data())
def test_no_input_breaks_a_property(target: Target, data: st.DataObject) -> None:
    target.attempt(data.draw(inputs(target)))


@pytest.mark.slow
@pytest.mark.parametrize("target", [pytest.param(target, id=target.name) for target in LINEAR])
@settings(max_examples=5)
@given(data=st.data())
def test_work_grows_with_the_input_and_no_faster(target: Target, data: st.DataObject) -> None:
    piece = "".join(data.draw(st.lists(st.sampled_from(target.tokens), min_size=1, max_size=4)))[:60]
    once = piece.encode("utf-8", "surrogatepass")
    few, many = calls(target.attempt, once * TIMES), calls(target.attempt, once * TIMES * 4)
    assert many <= 5 * few + 20_000


def test_every_target_has_seeds_and_no_seed_lacks_its_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(target.kept() for target in TARGETS.values())
