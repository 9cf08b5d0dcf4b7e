from __future__ import annotations

from pathlib import Path

import pytest

from tests.counts import examples

PROPERTY = """
from hypothesis import given, settings, strategies as st

@settings(max_examples=7, database=None)
@given(st.integers())
def test_property(number): pass

def test_counted(record_count): record_count("kills", 3)
def test_counted_too(record_count): record_count("kills", 1000)
"""

pytest_plugins = ["pytester"]


def test_what_hypothesis_says_about_a_property_is_read_as_a_number_of_inputs() -> None:
    said = "t:\n\n  - during generate phase (0.01 seconds):\n    - 40 passing, 1 failing, and 3 invalid test cases\n"
    assert examples(said) == 44


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_counted_is_added_up_over_all_workers(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    # given
    conftest = Path(__file__).parents[1] / "conftest.py"
    pytester.makeconftest(conftest.read_text())
    pytester.makepyfile(PROPERTY)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    # when
    result = pytester.runpytest_subprocess("-n", workers, "-p", "no:cacheprovider")
    # then
    result.stdout.fnmatch_lines(["*= counted =*", "inputs tried: 7", "kills: 1,003"])
