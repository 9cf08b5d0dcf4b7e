"""The journal: every exchange with the API and every webhook as JSON lines, for whoever judges them later."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bot.localhub.state import JSON


class Journal:
    """One new file of lines in `folder`, which may be shared with others; without a folder nothing is kept.

    A line is `{"kind": "exchange", "method", "path", "query", "accept", "request", "status", "answer"}` or
    `{"kind": "webhook", "event", "payload"}`. Bodies are read as JSON where they are; None stands for an empty one.
    Credentials are left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file: Path | None = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = folder / f"{uuid.uuid4().hex}.jsonl"

    def exchange(self, request: Request, body: bytes, response: Response) -> None:
        """Keep a request and its answer."""
        self._keep(
            {
                "kind": "exchange",
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query,
                "accept": request.headers.get("accept", ""),
                "request": _read(body),
                "status": response.status_code,
                "answer": _read(bytes(response.body)),
            }
        )

    def webhook(self, event: str, payload: JSON) -> None:
        """Keep what a webhook says."""
        self._keep({"kind": "webhook", "event": event, "payload": payload})

    def _keep(self, line: JSON) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line, ensure_ascii=False) + "\n")


def _read(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("utf-8", "replace")
