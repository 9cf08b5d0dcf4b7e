from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from orchestrator.store.outages import exhausted, outage

FILE = make_url("sqlite:////srv/state.db")
SERVER = make_url("postgresql://bot:geheim@db.example:5432/orchestrator")
ON = ", then go on: what was done so far is kept."


@pytest.mark.parametrize(
    ("said", "sentence", "hint"),
    [
        ("database or disk is full", "The disk of the database /srv/state.db is full.", "Free space on it"),
        (
            "database is locked",
            "The database /srv/state.db is locked: another process has been writing to it for over 30 s.",
            "End that process (`fuser /srv/state.db` names it)",
        ),
        (
            "disk I/O error",
            "The disk of the database /srv/state.db gave an error.",
            "See to the disk, and free space on it",
        ),
        (
            "attempt to write a readonly database",
            "The database /srv/state.db may only be read.",
            "Give this user the right to read and write the file and its folder",
        ),
        (
            "unable to open database file",
            "The database /srv/state.db cannot be opened.",
            "Give this user the right to read and write the file and its folder",
        ),
        (
            "file is not a database",
            "The file /srv/state.db is not a database.",
            "Move it away, or name another one in ORCHESTRATOR_DATABASE_URL",
        ),
        (
            "database disk image is malformed",
            "The database /srv/state.db is damaged.",
            "Restore it from a backup",
        ),
        (
            "no such table: runs",
            "The database /srv/state.db cannot be used: no such table: runs.",
            "See to the database",
        ),
    ],
)
def test_what_sqlite_says_becomes_a_sentence_that_names_the_file(said: str, sentence: str, hint: str) -> None:
    error = outage(FILE, said, seconds=30)
    assert (error.message, error.hint) == (sentence, hint + ON)


@pytest.mark.parametrize(
    ("said", "unreachable", "sentence", "hint"),
    [
        (
            'connection failed: connection to server at "10.0.0.1", port 5432 failed: Connection refused\n\tIs it up?',
            True,
            "The database server db.example:5432 cannot be reached.",
            "Start it, or mend the way to it, or correct ORCHESTRATOR_DATABASE_URL",
        ),
        (
            "terminating connection due to administrator command",
            True,
            "The database server db.example:5432 cannot be reached.",
            "Start it, or mend the way to it, or correct ORCHESTRATOR_DATABASE_URL",
        ),
        (
            'connection failed: FATAL:  password authentication failed for user "bot"',
            True,
            "The database server db.example:5432 does not accept this user.",
            "Correct ORCHESTRATOR_DATABASE_URL",
        ),
        (
            'connection failed: FATAL:  database "orchestrator" does not exist',
            True,
            "The database server db.example:5432 has no such database or user.",
            "Make it there",
        ),
        (
            "connection failed: FATAL:  sorry, too many clients already",
            True,
            "The database server db.example:5432 takes no more connections.",
            "Raise its max_connections",
        ),
        (
            'could not extend file "base/16384/16397": No space left on device\nHINT:  Check free disk space.',
            False,
            "The disk of the database server db.example:5432 is full.",
            "Free space on it",
        ),
        (
            "cannot execute UPDATE in a read-only transaction",
            False,
            "The database on db.example:5432 may only be read.",
            "Name the primary in ORCHESTRATOR_DATABASE_URL",
        ),
        (
            'invalid page in block 0 of relation "base/16384/16397"\nCONTEXT:  while reading',
            False,
            'The database db.example:5432 cannot be used: invalid page in block 0 of relation "base/16384/16397".',
            "See to the database",
        ),
    ],
)
def test_what_a_server_says_becomes_a_sentence_without_the_password(
    said: str, unreachable: bool, sentence: str, hint: str
) -> None:
    error = outage(SERVER, said, unreachable=unreachable)
    assert (error.message, error.hint) == (sentence, hint + ON)


def test_a_server_all_of_whose_connections_are_taken_is_said_to_be_busy() -> None:
    assert str(exhausted(SERVER)) == (
        "All connections to the database db.example:5432 are taken, and none came free.\n"
        "Let fewer runs work at once" + ON
    )


def test_a_server_without_a_host_is_on_this_machine() -> None:
    error = outage(make_url("postgresql:///orchestrator"), "gone", unreachable=True)
    assert error.message == "The database server on this machine cannot be reached."
