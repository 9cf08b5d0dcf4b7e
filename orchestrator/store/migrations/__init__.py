"""The schema's migrations, run by Alembic: forward only, and each only adds, so that two versions work side by side."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

FIRST = "0001"
"""The schema of the first release, whose databases bear no version yet."""


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for this folder, which works on `connection`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """Return the newest migration's number."""
    found = ScriptDirectory.from_config(configuration()).get_current_head()
    if found is None:
        raise AssertionError("there is a first migration")
    return found


def upgrade(connection: Connection, *, known: bool) -> None:
    """Bring a database that holds tables to the newest schema; one that is not `known` to Alembic is the first's."""
    config = configuration(connection)
    if not known:
        command.stamp(config, FIRST)
    command.upgrade(config, "head")
