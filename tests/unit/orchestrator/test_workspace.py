"""A run's files lie over a base that nobody touches, and no link is followed on the way to one."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workspace import MAX_READ_BYTES, Workspace, write_changes


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("a\n")
    (folder / "README.md").write_text("read me\n")
    return folder


def test_accepted_changes_hide_the_base_and_leave_it_alone(base: Path) -> None:
    # given
    workspace = Workspace(base)
    # when
    workspace.accept({"src/a.py": b"b\n", "README.md": None, "new": b""})
    # then
    assert workspace.read("src/a.py") == b"b\n"
    assert workspace.read("README.md") is None
    assert workspace.paths() == ("new", "src/a.py")
    assert (base / "src" / "a.py").read_text() == "a\n"
    assert (base / "README.md").read_text() == "read me\n"


def test_a_layer_over_a_workspace_does_not_change_it(base: Path) -> None:
    workspace = Workspace(base)
    assert workspace.over({"x": b"1"}).read("x") == b"1"
    assert workspace.read("x") is None


async def test_a_copy_holds_all_files_and_is_gone_afterwards(base: Path) -> None:
    workspace = Workspace(base, {"src/b.py": b"b\n", "README.md": None})
    async with workspace.copy() as root:
        found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        (root / "src" / "a.py").write_text("spoiled")
    assert found == ["src/a.py", "src/b.py"]
    assert not root.exists()
    assert workspace.read("src/a.py") == b"a\n"


def entries(folder: str | Path) -> list[str]:
    with os.scandir(folder) as found:
        return [entry.path for entry in found]


async def test_a_copy_that_is_cancelled_leaves_nothing_behind(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    for number in range(800):
        (base / f"{number}").mkdir()
        (base / f"{number}" / "a.txt").write_text("private")
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    async def copy() -> None:
        async with Workspace(base).copy():
            raise AssertionError("it was cancelled before")

    # when
    copying = asyncio.create_task(copy())
    while not any(entries(folder) for folder in entries(copies)):  # noqa: ASYNC110  the thread tells nobody
        await asyncio.sleep(0.001)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await asyncio.get_running_loop().shutdown_default_executor()  # until no thread does anything any more
    # then
    assert list(copies.iterdir()) == []


async def test_folders_below_folders_at_any_depth_are_copied(base: Path) -> None:
    deep = base / "/".join("d" * 600)
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("deep")
    workspace = Workspace(base)
    async with workspace.copy() as root:
        assert (root / deep.relative_to(base) / "a.txt").read_text() == "deep"
    assert len(workspace.paths()) == 3


async def test_what_can_be_executed_still_can_be_when_it_is_written_or_renamed(base: Path) -> None:
    # given
    for name in ("run.sh", "old.sh", "bin/tool", "gone.sh"):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(f"#!/bin/sh\n# {name}\n")
        (base / name).chmod(0o755)
    # when: one is edited, one renamed as it is, one moved and edited, one deleted
    changes = {"run.sh": b"#!/bin/bash\n", "gone.sh": None, "a.txt": b"new\n", "README.md": b"again\n"}
    changes |= {"old.sh": None, "new.sh": b"#!/bin/sh\n# old.sh\n", "bin/tool": None, "scripts/tool": b"#!/bin/bash\n"}
    async with Workspace(base, changes).copy() as root:
        found = {
            path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)
        }
    # then
    assert found == {"run.sh", "new.sh", "scripts/tool"}


def test_sec_18_reading_follows_no_link(base: Path, tmp_path: Path) -> None:
    # given
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    (base / "linked").symlink_to(secret)
    (base / "key").symlink_to(secret / "key")
    # when
    workspace = Workspace(base)
    # then
    assert workspace.read("linked/key") is None
    assert workspace.read("key") is None
    assert workspace.paths() == ("README.md", "src/a.py")


def test_sec_18_writing_replaces_a_link_and_never_follows_it(tmp_path: Path) -> None:
    # given
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "file").symlink_to(outside / "kept")
    (folder / "dangling").symlink_to(outside / "created")
    # when
    write_changes(folder, {"link/kept": b"new", "file": b"new", "dangling": b"new"})
    # then
    assert (outside / "kept").read_text() == "kept"
    assert not (outside / "created").exists()
    assert [(folder / name).read_bytes() for name in ("link/kept", "file", "dangling")] == [b"new"] * 3
    assert not any((folder / name).is_symlink() for name in ("link", "file", "dangling"))


def test_sec_18_deleting_removes_the_link_and_not_its_target(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(kept)
    write_changes(folder, {"link": None})
    assert kept.read_text() == "kept"
    assert not (folder / "link").is_symlink()


def test_deleting_below_a_linked_folder_makes_nothing_and_touches_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    write_changes(folder, {"link/kept": None, "no/where": None})
    assert (outside / "kept").read_text() == "kept"
    assert not (folder / "no").exists()


def test_a_file_too_large_to_show_counts_as_not_readable(base: Path) -> None:
    (base / "huge").write_bytes(b"x" * (MAX_READ_BYTES + 1))
    assert Workspace(base).read("huge") is None
    assert Workspace(base).occupied("huge") is True


def test_a_workspace_knows_its_folders(base: Path) -> None:
    workspace = Workspace(base, {"deep/er/x": b"", "gone/y": None})
    assert [workspace.is_folder(path) for path in ("src", "deep", "deep/er", "gone", "src/a.py", "no")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


@given(st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "e/f/g"]), st.one_of(st.none(), st.binary(max_size=5))))
def test_what_is_written_is_what_the_workspace_reads(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, bytes | None]
) -> None:
    folder = tmp_path_factory.mktemp("written")
    write_changes(folder, changes)
    on_disk = Workspace(folder)
    over = Workspace(None, changes)
    assert on_disk.paths() == over.paths()
    assert all(on_disk.read(path) == content for path, content in changes.items())
