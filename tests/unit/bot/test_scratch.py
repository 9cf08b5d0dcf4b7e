from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.scratch import own_folder, remove_left

KILLED = """
import os, signal, tempfile
from bot.scratch import own_folder
with own_folder():
    open(os.path.join(tempfile.mkdtemp(prefix="orchestrator-clone-"), "private.py"), "w").close()
    print(tempfile.gettempdir(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def above(tmp_path: Path) -> Iterator[Path]:
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


def test_what_a_process_makes_for_the_time_lies_in_its_own_folder_and_goes_with_it(above: Path) -> None:
    with own_folder() as parent:
        (folder,) = above.iterdir()
        made = Path(tempfile.mkdtemp(prefix="orchestrator-clone-"))
        assert (parent, made.parent, folder.stat().st_mode & 0o777) == (above, folder, 0o711)
    assert (list(above.iterdir()), tempfile.gettempdir()) == ([], str(above))


def test_the_folder_of_a_killed_process_is_removed_and_one_of_a_living_process_is_not(above: Path) -> None:
    # given
    env = {**os.environ, "TMPDIR": str(above)}
    killed = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, env=env, check=False)
    left = Path(killed.stdout.decode().strip())
    assert [it.name for it in left.glob("orchestrator-clone-*/*")] == ["private.py"]
    with own_folder():
        living = Path(tempfile.gettempdir())
        # when
        assert remove_left(above) == 1
        # then
        assert list(above.iterdir()) == [living]
        assert remove_left(above) == 0


def test_what_only_bears_the_name_is_left_or_removed_without_following_a_link(above: Path) -> None:
    (above / "orchestrator-bot-file").write_text("mine")
    (above / "elsewhere").mkdir()
    (above / "orchestrator-bot-link").symlink_to(above / "elsewhere")
    (above / "orchestrator-bot-half-removed").mkdir()
    assert remove_left(above) == 1
    assert sorted(it.name for it in above.iterdir()) == ["elsewhere", "orchestrator-bot-file", "orchestrator-bot-link"]


def test_where_no_folder_can_be_made_the_process_goes_on_without_one(above: Path) -> None:
    tempfile.tempdir = str(above / "gone")
    with own_folder():
        assert tempfile.gettempdir() == str(above / "gone")
