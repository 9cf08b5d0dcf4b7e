"""The table of events is what a run tells: every name, and the data of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator.errors import ProviderUnavailable, RateLimited
from orchestrator.events import Event, EventType
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted
from tests.contract.test_docs import ARCHITECTURE, table
from tests.unit.orchestrator.models import Models, files, in_turn, plan, task, task_of, written

ROWS = table(ARCHITECTURE, "event")
DOCUMENTED = {
    name: set(re.findall(r"`(\w+)`", row[2])) for row in ROWS for name in re.findall(r"`(\w+)`", row[0])
}  # fmt: skip
PASSED = {"score": 0.9, "verdict": "approve"}


def test_every_event_has_its_row() -> None:
    assert list(DOCUMENTED) == [event.value for event in EventType]


async def test_every_event_of_a_run_carries_the_data_that_the_table_names(tmp_path: Path) -> None:
    # given: a task that passes, one whose code never parses, and one that waits for the latter; a provider that fails,
    # and one whose first plan is no JSON
    def code(request: CompletionRequest) -> Scripted:
        return (
            files(**{"broken.py": "def (:\n"})
            if task_of(request) in ("bad", "repair-1", "repair-2")
            else written(request)
        )

    tasks = plan(task("good"), task("bad", files=["broken.py"]), task("waits", "bad"))
    say = {
        "decompose": in_turn("no JSON", tasks),
        "architecture": in_turn(
            RateLimited("later", provider="openai", model="m"),
            json.dumps(
                {
                    "structural_pattern": "layered", "topology": "library", "api_paradigm": "none",
                    "data_paradigm": "none", "rationale": "small",
                }
            ),
        ),
        "generate": in_turn(
            ProviderUnavailable("broke off", provider="openai", model="m", maybe_billed=True), code
        ),
        "revise": code,
        "review": lambda _: json.dumps({"score": 0.9, "verdict": "approve", "findings": []}),
    }  # fmt: skip
    events: list[Event] = []
    # when
    await Models(say=say).run(tmp_path, events=events)
    # then
    told = {event.type.value: set(event.data) for event in events}
    assert {name: data for name, data in told.items() if data != DOCUMENTED[name]} == {}
    assert set(DOCUMENTED) - set(told) == {"BudgetWarning"}
