"""A real PostgreSQL server of the test's own: in a folder of its own, on loopback, gone with the test run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

OWNER = "postgres"
START_SECONDS = 60
INITDB_OPTIONS = ("-A", "trust", "-E", "UTF8", "--no-sync")


@dataclass
class Cluster:
    """A server that runs; `stop` and `start` are what happens to it while others use it."""

    programs: Path
    folder: Path
    port: int
    _names: Iterator[int] = field(default_factory=count)
    _process: subprocess.Popen[bytes] | None = None

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{next(self._names)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        return self._url(name)

    def start(self) -> None:
        """Start the server, and return once it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_owner(), self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self._url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > limit:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT breaks off what is under way, SIGQUIT does not even clean up."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def _url(self, database: str) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Yield a new server, and remove it with all its databases."""
    programs = installed()
    if programs is None:
        raise RuntimeError("Debian's postgresql is not installed; tests/run.sh does it, or leaves these tests out")
    with tempfile.TemporaryDirectory(prefix="orchestrator-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, OWNER)
        subprocess.run(
            [*_as_owner(), programs / "initdb", "-D", folder / "data", "-U", OWNER, *INITDB_OPTIONS],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        cluster = Cluster(programs, folder, _free_port())
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop(signal.SIGQUIT)


def installed() -> Path | None:
    """Return the folder of the newest server's programs, or None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _as_owner() -> list[str]:
    """Return what makes a program run as Debian's user postgres: as root the server refuses to start."""
    return [] if os.getuid() != 0 else ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
