"""The output folder, in which nothing of the user's is ever overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget import Budget
from orchestrator.errors import OutputConflict, UsageError
from orchestrator.output import OutputFolder
from orchestrator.state import Outcome, ProjectState, ProjectStatus


def ended(*files: str) -> ProjectState:
    return ProjectState(
        project_id="run-1",
        title="Notes",
        description="Notes",
        criteria="",
        budget=Budget(1.0, 10.0),
        status=ProjectStatus.COMPLETED,
        outcome=Outcome("changed", "Done."),
        files=files,
    )


def test_what_was_written_may_be_replaced_until_somebody_changes_it(tmp_path: Path) -> None:
    # given
    folder = OutputFolder.at(tmp_path)
    folder.deliver({"a.md": b"one", "b/c.md": b"two"}, ended("a.md", "b/c.md"))
    assert folder.foreign() == frozenset()
    # when
    folder.deliver({"a.md": b"three"}, ended("a.md"))
    # then
    assert (tmp_path / "a.md").read_bytes() == b"three"
    # when
    (tmp_path / "a.md").write_text("mine")
    (tmp_path / "new.md").write_text("mine")
    # then
    assert folder.foreign() == {"a.md", "new.md"}
    with pytest.raises(OutputConflict) as caught:
        folder.deliver({"a.md": b"four", "b/c.md": b"four"}, ended())
    assert caught.value.paths == ("a.md",)
    assert (tmp_path / "a.md").read_text() == "mine"
    assert (tmp_path / "b/c.md").read_bytes() == b"two"


def test_deleting_takes_away_our_own_file_and_no_other(tmp_path: Path) -> None:
    folder = OutputFolder.at(tmp_path)
    folder.deliver({"a.md": b"one"}, ended("a.md"))
    folder.deliver({"a.md": None}, ended())
    assert not (tmp_path / "a.md").exists()
    (tmp_path / "a.md").write_text("mine")
    with pytest.raises(OutputConflict):
        folder.deliver({"a.md": None}, ended())
    assert (tmp_path / "a.md").read_text() == "mine"


@pytest.mark.parametrize("path", ["link/a.md", "file/a.md", "folder"])
def test_a_link_a_file_or_a_folder_in_the_way_is_a_conflict(tmp_path: Path, path: str) -> None:
    root = tmp_path / "out"
    outside = tmp_path / "outside"
    for folder in (root / "folder", outside):
        folder.mkdir(parents=True)
    (root / "folder" / "x").write_text("mine")
    (root / "file").write_text("mine")
    (root / "link").symlink_to(outside)
    with pytest.raises(OutputConflict, match=path):
        OutputFolder.at(root).deliver({path: b"new"}, ended(path))
    assert list(outside.iterdir()) == []


def test_what_is_no_plain_file_is_foreign_and_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert OutputFolder.at(tmp_path).foreign() == {"pipe", "dangling"}


def test_a_spoiled_record_of_our_files_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / ".orchestrator").mkdir()
    (tmp_path / ".orchestrator" / "files.json").write_text("{")
    with pytest.raises(UsageError, match=r"files\.json cannot be read"):
        OutputFolder.at(tmp_path).foreign()


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        OutputFolder.at(tmp_path / "file" / "below").prepare()


PATHS = st.sampled_from(["a", "b", "c/d", "c/e"])


@given(
    st.dictionaries(PATHS, st.binary(max_size=4)), st.dictionaries(PATHS, st.one_of(st.none(), st.binary(max_size=4)))
)
def test_nothing_of_the_users_is_ever_changed(
    tmp_path_factory: pytest.TempPathFactory, own: dict[str, bytes], changes: dict[str, bytes | None]
) -> None:
    # given
    root = tmp_path_factory.mktemp("out")
    for name, content in own.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    # when
    try:
        OutputFolder.at(root).deliver(changes, ended())
    except OutputConflict:
        # then
        assert set(own) & set(changes)
    else:
        assert not set(own) & set(changes)
    assert all((root / name).read_bytes() == content for name, content in own.items())
