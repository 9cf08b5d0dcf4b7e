from __future__ import annotations

import errno
import os
import shutil

import pytest

from orchestrator.errors import DiskFull
from orchestrator.room import room_in


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]),
    ],
)
def test_a_file_without_room_names_the_folder_and_says_what_to_do(error: OSError) -> None:
    with pytest.raises(DiskFull) as raised, room_in("/srv/results"):
        raise error
    assert str(raised.value) == (
        "The disk of the folder /srv/results is full.\nFree space on it, then go on: what was done so far is kept."
    )


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), shutil.Error([("a", "b", "no")])])
def test_any_other_failure_stays_what_it_is(error: OSError) -> None:
    with pytest.raises(type(error)) as raised, room_in("/srv/results"):
        raise error
    assert raised.value is error
