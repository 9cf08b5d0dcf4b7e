"""Every report that a test reads is one that the published schema allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

PUBLISHED = Path(__file__).parents[1] / "report.schema.json"
_VALIDATOR = Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))


def valid(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report; raises `ValidationError` for one that breaks the published schema."""
    _VALIDATOR.validate(report)
    return report


def read_report(path: Path) -> dict[str, Any]:
    """Return a file's report, which the published schema allows."""
    return valid(json.loads(path.read_text(encoding="utf-8")))
