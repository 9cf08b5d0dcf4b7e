"""The output folder, in which nothing of the user's is ever overwritten."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget import Budget
from orchestrator.errors import OutputConflict, UsageError
from orchestrator.output import OutputFolder
from orchestrator.state import Outcome, ProjectState, ProjectStatus


def ended(*files: str, run: str = "run-1") -> ProjectState:
    return ProjectState(
        project_id=run,
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
    folder.deliver({"a.md": b"three"}, ended("a.md", run="run-2"))
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


def test_what_the_same_run_holds_no_more_is_taken_away_and_what_another_one_wrote_stays(tmp_path: Path) -> None:
    # given
    folder = OutputFolder.at(tmp_path / "out")
    folder.prepare()
    folder.deliver({"a.md": b"one", "b.md": b"two", "c.md": b"three"}, ended("a.md", "b.md", "c.md"))
    (tmp_path / "out" / "c.md").write_text("mine")
    # when
    folder.deliver({"a.md": b"one"}, ended("a.md"))
    # then
    assert sorted(path.name for path in (tmp_path / "out").glob("*.md")) == ["a.md", "c.md"]
    # when
    folder.deliver({"d.md": b"four"}, ended("d.md", run="run-2"))
    # then
    assert sorted(path.name for path in (tmp_path / "out").glob("*.md")) == ["a.md", "c.md", "d.md"]


@pytest.mark.parametrize("outside", ["../mine.md", "{root}/mine.md"])
def test_a_folder_that_names_files_outside_of_it_takes_none_of_them_away(tmp_path: Path, outside: str) -> None:
    # given: a record and a report that somebody else has written
    mine, own = tmp_path / "mine.md", tmp_path / "out" / ".orchestrator"
    mine.write_text("mine")
    own.mkdir(parents=True)
    path = outside.format(root=tmp_path)
    (own / "files.json").write_text(json.dumps({path: hashlib.sha256(b"mine").hexdigest()}))
    (own / "report.json").write_text(json.dumps({"project_id": "run-1", "files": [path]}))
    # when
    OutputFolder.at(tmp_path / "out").deliver({"a.md": b"one"}, ended("a.md"))
    # then
    assert mine.read_text() == "mine"


def test_a_delivery_that_was_cut_short_is_made_again_and_its_files_are_not_the_users(tmp_path: Path) -> None:
    # given: files that stand there, of which a delivery replaces some and breaks off at a path that cannot be written
    folder = OutputFolder.at(tmp_path)
    folder.deliver({"a.md": b"old", "z.md": b"old"}, ended("a.md", "z.md"))
    with pytest.raises(OSError, match="exists"):
        folder.deliver({"a.md": b"new", "x": b"new", "x/y": b"new", "z.md": b"new"}, ended())
    assert [(tmp_path / path).read_bytes() for path in ("a.md", "x", "z.md")] == [b"new", b"new", b"old"]
    # when, then
    assert folder.foreign() == frozenset()
    folder.deliver({"a.md": b"new", "x": b"new", "z.md": b"new"}, ended("a.md", "x", "z.md"))
    assert [(tmp_path / path).read_bytes() for path in ("a.md", "x", "z.md")] == [b"new", b"new", b"new"]
    # when
    (tmp_path / "z.md").write_bytes(b"old")
    # then
    assert folder.foreign() == {"z.md"}


def test_a_link_in_the_place_of_our_own_folder_is_refused_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "out", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / ".orchestrator").symlink_to(outside)
    folder = OutputFolder.at(root)
    with pytest.raises(UsageError, match="links are not followed"):
        folder.prepare()
    with pytest.raises(UsageError, match="links are not followed"):
        folder.deliver({"a.md": b"one"}, ended("a.md"))
    with pytest.raises(UsageError, match="links are not followed"):
        folder.write_report(ended())
    assert list(outside.iterdir()) == []
    assert not (root / "a.md").exists()


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
