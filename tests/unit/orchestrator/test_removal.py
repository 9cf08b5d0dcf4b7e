"""SECURITY 21: what a program leaves behind is removed, whatever it did to prevent that."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from orchestrator.removal import remove_tree


def nested(folder: Path, levels: int) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


@pytest.mark.slow
def test_sec_21_folders_nested_more_deeply_than_any_path_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    nested(folder, 1200)  # more than Python's recursion and the usual number of descriptors bear

    remove_tree(folder)

    assert not folder.exists()


def test_sec_21_closed_folders_pipes_and_taken_names_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "closed" / "inside").mkdir(parents=True)
    (folder / "closed" / "inside" / "file").touch()
    (folder / ".removed-0").mkdir()
    os.mkfifo(folder / "closed" / "pipe")
    for path in (folder / "closed" / "inside", folder / "closed"):
        path.chmod(0)

    remove_tree(folder)

    assert list(tmp_path.iterdir()) == []


def test_sec_21_no_link_is_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (outside / "kept").touch()
    (folder / "link").symlink_to(outside)

    remove_tree(folder)

    assert (folder.exists(), (outside / "kept").exists()) == (False, True)


def test_what_cannot_be_removed_is_logged_and_what_is_not_there_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        remove_tree(tmp_path / "absent")
        remove_tree(tmp_path / "file")

    assert len(caplog.records) == 1
    assert "file could not be removed" in caplog.text
