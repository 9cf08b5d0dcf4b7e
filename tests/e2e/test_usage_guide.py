"""The guide that users were given, and our edition of it: every block runs, and what it says happens.

`guide_entries.ENTRIES` is the table: what each block lacks, what it is given, and what must have happened after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import configure_tracing
from tests.e2e.guide import ORIGINAL, OURS, Block, Place, blocks, environment, program
from tests.e2e.guide_entries import ENTRIES
from tests.loopback import ModelServer
from tests.loopback.collector import collector

# One process for all of them: the vendors' SDKs, which take seconds to load, are loaded once.
pytestmark = pytest.mark.xdist_group("usage_guide")

GIVEN = {block.id: block for block in blocks(ORIGINAL)}
EDITION = {block.id: block for block in blocks(OURS)}


def _cases() -> Iterator[object]:
    """Yield each block of the users' guide, and each of our edition that differs from it."""
    for name, block in GIVEN.items():
        yield _case(name, block)
    for name, block in EDITION.items():
        if name not in GIVEN or GIVEN[name].text != block.text:
            yield _case(f"ours:{name}", block)


def _case(name: str, block: Block) -> object:
    entry = ENTRIES.get(name) or ENTRIES.get(block.id)
    return pytest.param(name, block, id=name, marks=[pytest.mark.slow] if entry and entry.slow else [])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    folder = tmp_path / "work"
    folder.mkdir()
    with ModelServer() as models, collector() as received:
        made = Place(folder, models, environment(models, tmp_path / "home"), received)
        for variable in [it for it in os.environ if it.endswith(("_API_KEY", "_BASE_URL")) or "ORCHESTRATOR" in it]:
            monkeypatch.delenv(variable)
        for variable, value in made.environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.chdir(folder)
        try:
            yield made
        finally:
            configure_tracing(None)  # a block of either guide configures it for the whole process


@pytest.mark.parametrize(("name", "block"), list(_cases()))
def test_a_block_of_the_guide_does_what_the_guide_says(name: str, block: Block, place: Place) -> None:
    entry = ENTRIES.get(name) or ENTRIES[block.id]
    place.models.script = entry.script()
    if entry.given:
        entry.given(place)

    text = program(block.text, entry.supplied, place)
    if block.language == "python":
        place.python(text)
    elif block.language == "bash":
        place.bash(text)

    entry.then(place)


def test_no_block_of_either_guide_is_left_out() -> None:
    assert set(GIVEN) - set(ENTRIES) == set()
    assert {name for name in EDITION if not {name, f"ours:{name}"} & set(ENTRIES)} == set()
    assert set(ENTRIES) - set(GIVEN) - {f"ours:{name}" for name in EDITION} - set(EDITION) == set()


def test_the_languages_of_all_blocks_are_known() -> None:
    assert {block.language for block in [*GIVEN.values(), *EDITION.values()]} == {"bash", "python", "yaml", ""}
