"""What tests/run.sh leaves out, and what docs/reliability.md and the Makefile say how to run, is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from benchmarks.__main__ import ALL
from tests.fuzz.targets import TARGETS

TOP = Path(__file__).parents[2]
RUN = (TOP / "tests" / "run.sh").read_text()
RELIABILITY = (TOP / "docs" / "reliability.md").read_text()
MARKERS = [
    it.partition(":")[0]
    for it in tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
]
LEFT_OUT = sorted(set(re.findall(r"\bnot (\w+)\"", RUN)))


def test_the_suites_that_can_be_left_out_are_those_that_the_markers_name() -> None:
    assert sorted({*MARKERS} - {"live"}) == LEFT_OUT


@pytest.mark.parametrize("marker", LEFT_OUT)
def test_a_suite_that_can_be_left_out_has_tests(marker: str) -> None:
    named = re.compile(rf"\bpytest\.mark\.{marker}\b")
    assert [path for path in (TOP / "tests").rglob("test_*.py") if named.search(path.read_text())]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\btests/[\w/]+(?:\.py)?", RELIABILITY))))
def test_every_path_that_the_reliability_page_names_is_there(path: str) -> None:
    assert (TOP / path).exists()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (tests[\w.]+)", RELIABILITY))))
def test_every_module_that_the_reliability_page_names_is_there(module: str) -> None:
    assert (TOP / f"{module.replace('.', '/')}.py").exists()


def test_every_benchmark_and_fuzz_target_that_the_reliability_page_counts_is_there() -> None:
    named = [name for names in re.findall(r'make bench ARGS="([\w ]+)"', RELIABILITY) for name in names.split()]
    assert named
    assert set(named) <= ALL.keys()
    assert f"| {len(TARGETS)} targets, " in RELIABILITY
