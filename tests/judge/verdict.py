"""The verdict on journals of local GitHubs: every exchange and webhook judged once, and counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.judge.graphql import Schema
from tests.judge.openapi import Description

JSON = dict[str, Any]

PREFIX = re.compile(r"/api/v3(?=/)")
GRAPHQL = re.compile(r"/(api/)?graphql")
_CHANGING = re.compile(r"\b[0-9a-f]{40}\b|\bgh[ps]_\w+|[0-9]+")
"""What may differ between two lines that are judged alike: SHAs, tokens and numbers."""


@dataclass(slots=True)
class Verdict:
    """What was judged, and what was found: mistakes with how often each was made, and one place where it was."""

    judged: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    mistakes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return the verdict for people."""
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.judged.items()))
        lines = [f"{count:5} x {mistake}" for mistake, count in self.mistakes.most_common()]
        return "\n".join([f"Judged {counts or 'nothing'}: {len(lines)} mistakes", *lines])


def judge(folder: Path, description: Description, schema: Schema) -> Verdict:
    """Return the verdict on all journals in a folder."""
    verdict = Verdict()
    known: dict[str, tuple[str, list[str]]] = {}
    for text in _lines(folder):
        alike = _CHANGING.sub("0", text)
        if alike not in known:
            known[alike] = _judged(json.loads(text), description, schema)
        name, mistakes = known[alike]
        verdict.judged[json.loads(text)["kind"] if name != "graphql" else name] += 1
        verdict.operations[name] += 1
        verdict.mistakes.update(f"{name}: {mistake}" for mistake in mistakes)
    return verdict


def _lines(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            yield from lines


def _judged(line: JSON, description: Description, schema: Schema) -> tuple[str, list[str]]:
    """Return what a line is about, and what is wrong with it."""
    if line["kind"] == "webhook":
        name = f"webhook {line['event']} {line['payload'].get('action', '')}".strip()
        return name, list(description.webhook(line["event"], line["payload"]))
    path = PREFIX.sub("", line["path"], count=1)
    if GRAPHQL.fullmatch(path):
        return "graphql", list(schema.exchange(line["request"], line["answer"]))
    operation = description.operation(line["method"], path)
    if operation is None:
        return f"{line['method']} {path}", ["GitHub has no such operation"]
    # A request that was refused may be wrong on purpose; that it was refused is then what is judged.
    refused = line["status"] in (400, 422)
    asked = [] if refused else description.request(operation, line["query"], line["request"])
    answered = description.answer(operation, line["status"], line["answer"], line["accept"])
    return operation.name, [
        *(f"request: {mistake}" for mistake in asked),
        *(f"answer {line['status']}: {mistake}" for mistake in answered),
    ]
