"""Every promise about security has tests that bear its number: `python -m tests.contract.test_security` lists them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAST = 38
_TEST = re.compile(r"^(?:async )?def test_sec_((?:\d\d_(?:and_)?)+)(\w+)\(", re.MULTILINE)


def by_number() -> dict[int, list[str]]:
    """Return the tests of each promise, as `file::test`; one that holds several stands under each."""
    found: dict[int, list[str]] = {}
    for path in sorted(ROOT.rglob("test_*.py")):
        for match in _TEST.finditer(path.read_text(encoding="utf-8")):
            name = f"{path.relative_to(ROOT)}::test_sec_{match[1]}{match[2]}"
            for number in re.findall(r"\d\d", match[1]):
                found.setdefault(int(number), []).append(name)
    return found


@pytest.mark.parametrize("number", range(1, LAST + 1))
def test_every_promise_has_a_test_of_its_number(number: int) -> None:
    assert by_number().get(number, []) != []


def test_no_test_bears_a_number_that_promises_nothing() -> None:
    assert sorted(set(by_number()) - set(range(1, LAST + 1))) == []


if __name__ == "__main__":
    for number, tests in sorted(by_number().items()):
        print(f"{number:02d}", *tests, sep="\n   ")
