"""Structured logs: one JSON object per line on standard error, with every configured secret left out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from orchestrator.github.rendering.sanitize import Redactor

_FIELDS = "fields"


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; what `event` gave as fields stands beside the message."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._redact = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({name: self._clean(value) for name, value in line.items()})

    def _clean(self, value: Any) -> Any:
        return value if value is None or isinstance(value, bool | int | float) else self._redact(str(value))


def start(secrets: Iterable[str]) -> None:
    """Send every log record of the process to standard error as a line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # It tells of each job that waits for room or pauses, with a traceback; what failed and why is told by the work.
    logging.getLogger("procrastinate.worker").setLevel(logging.WARNING)


def fields(**values: Any) -> dict[str, Any]:
    """Return the `extra` of a log call that puts these values beside the message."""
    return {_FIELDS: values}
