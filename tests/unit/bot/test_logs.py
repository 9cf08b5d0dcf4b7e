from __future__ import annotations

import json
import logging
import sys

from bot.logs import JsonLines, fields


def line(message: str, *, secrets: tuple[str, ...] = (), **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "created": 1_796_000_000.25} | extra)
    text = JsonLines(secrets).format(record)
    assert "\n" not in text
    parsed: dict[str, object] = json.loads(text)
    return parsed


def test_an_event_is_one_line_with_its_ids() -> None:
    assert line("queued", **fields(delivery="d-1", run="r-1", status=202)) == {
        "at": "2026-11-30T00:53:20.250+00:00",
        "level": "info",
        "event": "queued",
        "delivery": "d-1",
        "run": "r-1",
        "status": 202,
    }


def test_sec_31_secrets_are_left_out_of_messages_fields_and_tracebacks() -> None:
    try:
        raise ValueError("rejected: a-secret-value")
    except ValueError:
        shown = line(
            "with a-secret-value\nand a second line",
            secrets=("a-secret-value",),
            exc_info=sys.exc_info(),
            **fields(detail="a-secret-value"),
        )
    assert "a-secret-value" not in json.dumps(shown)
    assert shown["event"] == "with [redacted]\nand a second line"
    assert "ValueError: rejected: [redacted]" in str(shown["error"])
