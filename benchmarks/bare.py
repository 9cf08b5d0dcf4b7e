"""A bare durable receiver beside the bot: it verifies the signature and commits the body, one flush of the disk each.

`python -m benchmarks.bare FILE SECRET` prints its address and serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import sqlite3
import sys
from contextlib import closing
from typing import Any

import uvicorn


def receiver(database: sqlite3.Connection, secret: str) -> Any:
    """Return the smallest ASGI application that keeps what it acknowledges, and each delivery once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        expected = b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
        status, answer = 401, b'{"status":"unsigned"}'
        if hmac.compare_digest(expected, headers.get(b"x-hub-signature-256", b"")):
            with database:
                kept = database.execute(
                    "INSERT INTO deliveries VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (headers[b"x-github-delivery"].decode(), headers[b"x-github-event"].decode(), body),
                )
            status, answer = 200, json.dumps({"status": "kept" if kept.rowcount else "duplicate"}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    return app


async def serve(path: str, secret: str) -> None:
    """Listen on a free port of this machine until a signal says stop."""
    with closing(sqlite3.connect(path)) as database, socket.create_server(("127.0.0.1", 0)) as listener:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE deliveries (id TEXT PRIMARY KEY, event TEXT, body BLOB)")
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            receiver(database, secret), lifespan="off", log_config=None, access_log=False, server_header=False
        )
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
