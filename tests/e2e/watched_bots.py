"""Bots that tell each commit of theirs before and after it happens, and wait for leave to go on.

    python -m tests.e2e.watched_bots SOCKET < orders

Each order is a line of JSON: an environment, and the files that its output and its log go to. It is answered on
standard output by the process id of a new bot. That is a fork of this process, which has done nothing but import the
bot: what takes a bot a second and more is paid once, and what runs in the fork is `python -m bot` from its first line.

A bot tells `before` or `after` and what its transaction wrote, such as `UPDATE runs, INSERT calls`, as a line of JSON
over the Unix socket, and stands still until a byte comes back. SQLAlchemy says when, on both databases alike: it
announces a commit before it asks the driver for it, and gives the connection back once the driver has answered.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from bot.__main__ import main as run_bot

_WRITE = re.compile(r"\s*(?:(INSERT) INTO|(UPDATE)|(DELETE) FROM) (\w+)")


def main() -> None:
    """Start a bot for each line of standard input; when that ends, no bot is left."""
    bots = []
    for line in sys.stdin:
        bots.append(os.fork())
        if bots[-1] == 0:
            _become_a_bot(json.loads(line))
        print(bots[-1], flush=True)
    for bot in bots:
        os.kill(bot, signal.SIGKILL)
        os.waitpid(bot, 0)


def _become_a_bot(order: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["bot"]
    for number, name in enumerate((os.devnull, order["output"], order["log"])):
        opened = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    line = socket.socket(socket.AF_UNIX)
    line.connect(order["socket"])
    _tell_commits(line)
    os._exit(run_bot())


def _tell_commits(line: socket.socket) -> None:
    def tell(side: str, writes: list[str]) -> None:
        line.sendall(json.dumps([side, ", ".join(writes)]).encode() + b"\n")
        if not line.recv(1):
            # The test is over, and so is its bot.
            os._exit(1)

    def begun(connection: Connection) -> None:
        connection.info["writes"] = []

    def executed(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if write := _WRITE.match(statement):
            said = " ".join(part for part in write.groups() if part)
            writes = connection.info["writes"]
            if said not in writes:
                writes.append(said)

    def committing(connection: Connection) -> None:
        if writes := connection.info["writes"]:
            tell("before", writes)
            connection.info["committing"] = True

    def given_back(_: Any, record: Any) -> None:
        if record.info.pop("committing", False):
            tell("after", record.info["writes"])

    event.listen(Engine, "begin", begun)
    event.listen(Engine, "before_cursor_execute", executed)
    event.listen(Engine, "commit", committing)
    event.listen(Pool, "checkin", given_back)


if __name__ == "__main__":
    main()
