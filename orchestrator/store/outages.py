"""What a database that cannot be used says, as a sentence for the user: what happened, and what to do; pure."""

from __future__ import annotations

from sqlalchemy.engine import URL

from orchestrator.errors import StoreError

_ACCESS = "Give this user the right to read and write the file and its folder"

# A part of what SQLite says, what that means for the file, and what to do.
# Source: https://sqlite.org/rescode.html
_SQLITE = (
    ("is full", "The disk of the database {where} is full.", "Free space on it"),
    (
        "is locked",
        "The database {where} is locked: another process has been writing to it for over {seconds:g} s.",
        "End that process (`fuser {where}` names it)",
    ),
    ("disk I/O error", "The disk of the database {where} gave an error.", "See to the disk, and free space on it"),
    ("readonly database", "The database {where} may only be read.", _ACCESS),
    ("unable to open", "The database {where} cannot be opened.", _ACCESS),
    (
        "not a database",
        "The file {where} is not a database.",
        "Move it away, or name another one in ORCHESTRATOR_DATABASE_URL",
    ),
    ("malformed", "The database {where} is damaged.", "Restore it from a backup"),
)

# The same of PostgreSQL, whose client reports what the server says before a connection stands as text only.
# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL = (
    ("No space left", "The disk of the database server {where} is full.", "Free space on it"),
    ("authentication", "The database server {where} does not accept this user.", "Correct ORCHESTRATOR_DATABASE_URL"),
    ("does not exist", "The database server {where} has no such database or user.", "Make it there"),
    ("too many", "The database server {where} takes no more connections.", "Raise its max_connections"),
    ("connection slots", "The database server {where} takes no more connections.", "Raise its max_connections"),
    ("read-only", "The database on {where} may only be read.", "Name the primary in ORCHESTRATOR_DATABASE_URL"),
)
_UNREACHABLE = (
    "The database server {where} cannot be reached.",
    "Start it, or mend the way to it, or correct ORCHESTRATOR_DATABASE_URL",
)
_BUSY = ("All connections to the database {where} are taken, and none came free.", "Let fewer runs work at once")
_UNKNOWN = ("The database {where} cannot be used: {said}.", "See to the database")


def outage(url: URL, said: str, *, unreachable: bool = False, seconds: float = 0.0) -> StoreError:
    """Return the error for a database whose driver `said` something.

    `unreachable` tells that no connection stood any more; `seconds` is how long a locked file was waited for.
    """
    sqlite = url.get_backend_name() == "sqlite"
    first = said.strip().partition("\n")[0].rstrip(".")
    where = str(url.database) if sqlite else _server(url)
    known = ((what, hint) for part, what, hint in (_SQLITE if sqlite else _POSTGRESQL) if part in said)
    what, hint = next(known, _UNREACHABLE if unreachable and not sqlite else _UNKNOWN)
    return _told(what, hint, where=where, said=first, seconds=seconds)


def exhausted(url: URL) -> StoreError:
    """Return the error for a database all of whose connections are in use."""
    return _told(*_BUSY, where=str(url.database) if url.get_backend_name() == "sqlite" else _server(url))


def _told(what: str, hint: str, **parts: object) -> StoreError:
    return StoreError(what.format(**parts), hint=f"{hint.format(**parts)}, then go on: what was done so far is kept.")


def _server(url: URL) -> str:
    host = str(url.host or url.query.get("host") or "on this machine")
    return f"{host}:{url.port}" if url.port else host
