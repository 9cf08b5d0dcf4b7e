"""What a program fills of the disk is measured as it is, and bounded."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.sandbox import MIB, Finished, Limits, Sandbox
from orchestrator.sandbox.disk import DiskWatch, Size, tree_size
from tests.unit.orchestrator.sandbox.attacks import BOUNDS
from tests.unit.orchestrator.sandbox.test_isolation import python

MUCH = {"max_bytes": 2**40, "max_entries": 10**6}


def test_a_folder_is_what_it_occupies_on_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3 * MIB))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "same").hardlink_to(tmp_path / "file")
    (tmp_path / "link").symlink_to("/usr")
    with open(tmp_path / "sparse", "wb") as stream:
        stream.truncate(10**12)

    size = tree_size(str(tmp_path), (), **MUCH)

    assert 3 * MIB <= size.bytes < 4 * MIB
    assert (size.entries, size.complete) == (5, True)


def test_a_deleted_file_counts_while_it_is_held_open(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as stream:
        stream.write(os.urandom(2 * MIB))
        stream.flush()
        (tmp_path / "file").unlink()

        held = tree_size(str(tmp_path), [os.getpid()], **MUCH).bytes

    assert 2 * MIB <= held < 3 * MIB
    assert tree_size(str(tmp_path), [os.getpid()], **MUCH) == Size(0, 0)


def test_counting_ends_at_the_limit(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()

    assert tree_size(str(tmp_path), (), max_bytes=2**40, max_entries=10).entries == 11


def test_what_has_no_path_any_more_is_said_to_be_unseen(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=here)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    size = tree_size(str(tmp_path), (), **MUCH)

    assert not size.complete
    assert size.entries < 30


def test_the_watch_looks_when_much_was_written_and_sees_it(tmp_path: Path) -> None:
    watch = DiskWatch(tmp_path, 4 * MIB, 1000)
    before = watch.due()
    with open(tmp_path / "file", "wb") as stream:
        stream.write(os.urandom(16 * MIB))
        os.fsync(stream.fileno())

    due, passed = watch.due(), watch.passed(())
    watch.close()

    assert (before, due, passed) == (False, True, True)


def test_sec_21_folders_that_turn_into_links_and_pipes_neither_stop_nor_mislead_the_measure(tmp_path: Path) -> None:
    ended = threading.Event()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(bytes(8 * MIB))
    folder = tmp_path / "workspace"
    for name in ("folder", "spare"):
        (folder / name).mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(tmp_path / "outside")

    def race() -> None:
        while not ended.is_set():
            for name in ("link", "pipe", "folder"):
                os.rename(folder / name, folder / "kept")
                os.rename(folder / "spare", folder / name)
                os.rename(folder / name, folder / "spare")
                os.rename(folder / "kept", folder / name)

    racing = threading.Thread(target=race)
    racing.start()
    sizes = [tree_size(str(folder), (), **MUCH) for _ in range(300)]
    ended.set()
    racing.join()

    assert all(size.entries < 12 for size in sizes)
    assert tree_size(str(folder), (), **MUCH).bytes < MIB


FILL = "import os\nblock = os.urandom(2**20)\n"
BOMBS = {
    "one_deleted_file_after_the_other": (
        "held = []\n"
        "for number in range(100):\n"
        "    held.append(os.open(str(number), os.O_CREAT | os.O_RDWR)); os.unlink(str(number))\n"
        "    for _ in range(4): os.write(held[-1], block)\n"
    ),
    "folders_nobody_may_look_into": (
        "for number in range(100):\n"
        "    os.mkdir(str(number)); os.chmod(str(number), 0o300)\n"
        "    with open(f'{number}/x', 'wb') as stream: [stream.write(block) for _ in range(4)]\n"
        "    os.chmod(str(number), 0)\n"
    ),
    "quick_and_gone": "for number in range(50): open(str(number), 'wb').write(block * 4)\nos._exit(0)\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
async def test_sec_21_a_disk_bomb_is_stopped(sandbox: Sandbox, workspace: Path, bomb: str) -> None:
    code = FILL + BOMBS[bomb] + "import time; time.sleep(20)"

    finished = await python(sandbox, workspace, code, replace(BOUNDS, memory_bytes=500 * MIB))

    assert finished.out_of_disk
    assert finished.passed(BOUNDS) == "filled the disk with more than 24 MiB or 500000 files"


@pytest.mark.slow
@pytest.mark.parametrize("place", [".", "/tmp", "/home/user", "/dev/shm"])
async def test_sec_21_a_bomb_of_small_files_is_stopped(sandbox: Sandbox, workspace: Path, place: str) -> None:
    code = f"for number in range(10**7): open(f'{place}/{{number}}', 'w').close()"

    finished = await python(sandbox, workspace, code, replace(BOUNDS, disk_entries=2000))

    assert (finished.out_of_disk, finished.status) == (True, 137)


async def test_sec_21_a_sparse_file_is_no_more_than_it_holds(sandbox: Sandbox, workspace: Path) -> None:
    code = "import os\nfor number in range(50): os.truncate(os.open(str(number), os.O_CREAT | os.O_RDWR), 7 * 2**20)"

    finished = await python(sandbox, workspace, code, BOUNDS)

    assert finished == Finished(status=0, output="")


def test_a_limit_that_was_passed_is_said_in_words() -> None:
    limits = Limits(seconds=30, memory_bytes=64 * MIB)

    assert Finished(137, "", timed_out=True).passed(limits) == "did not end within 30 seconds"
    assert Finished(137, "", out_of_memory=True).passed(limits) == "used more than 64 MiB of memory"
    assert Finished(1, "").passed(limits) == ""
