"""A file written in one step: whoever reads it sees the old content or the new, never half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that a full disk or a kill never leaves half of it.

    The file gets mode 0644. Raises `OSError` when its folder does not exist or cannot be written to.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".orchestrator-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
