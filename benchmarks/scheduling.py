"""How close a run comes to its critical path: two independent chains of six tasks, 100 ms a call."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time

from benchmarks.bounds import at_most
from orchestrator import Budget, Orchestrator
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose

CHAINS = 2
LENGTH = 6
SECONDS_A_CALL = 0.1
# Architecture and plan, then a generate and a review for each task of one chain, then the evaluation.
CRITICAL_PATH_SECONDS = (2 + 2 * LENGTH + 1) * SECONDS_A_CALL


def answer(request: CompletionRequest) -> str:
    """Answer every purpose at once; a task's file is text, so that no validator takes part in the measurement."""
    match request.purpose:
        case Purpose.ARCHITECTURE:
            reply: dict[str, object] = {
                "structural_pattern": "script",
                "topology": "library",
                "api_paradigm": "none",
                "data_paradigm": "none",
                "rationale": "It is a benchmark.",
            }
        case Purpose.DECOMPOSE:
            reply = {"tasks": [_task(chain, step) for chain in range(CHAINS) for step in range(LENGTH)]}
        case Purpose.REVIEW:
            reply = {"score": 0.9, "verdict": "approve", "findings": []}
        case Purpose.EVALUATE:
            reply = {"score": 0.9, "reason": "It is a benchmark."}
        case _:
            task_id = request.prompt.partition("\nTask: ")[2].partition("\n")[0]
            reply = {"files": [{"path": f"{task_id}.txt", "content": "text\n"}], "notes": ""}
    return json.dumps(reply)


def _task(chain: int, step: int) -> dict[str, object]:
    return {
        "id": f"c{chain}-s{step}",
        "title": f"Step {step}",
        "type": "creative_writing",
        "description": "Write a text.",
        "depends_on": [f"c{chain}-s{step - 1}"] if step else [],
        "files": [f"c{chain}-s{step}.txt"],
        "critical": False,
    }


async def measure() -> float:
    """Return how many seconds one run takes from its submission to its report."""
    providers = {name: ScriptedProvider(answer, delay_seconds=SECONDS_A_CALL) for name in ("openai", "anthropic")}
    with tempfile.TemporaryDirectory() as home:
        orchestrator = Orchestrator(Budget(max_usd=5.0), env={"ORCHESTRATOR_HOME": home}, providers=providers)
        # The first run pays for imports, tables and the sandbox's self-test, as a bot does once at its start.
        await orchestrator.run_project("Warm up", project_id="warm-up")
        started = time.perf_counter()
        state = await orchestrator.run_project("Two chains", project_id="measured")
        seconds = time.perf_counter() - started
    if state.status.value != "completed":
        raise RuntimeError(f"the run ended {state.status.value}: {state.outcome.reason}")
    return seconds


def main() -> None:
    """Print the ratio of a run's time to its critical path."""
    seconds = sorted(asyncio.run(measure()) for _ in range(3))[1]
    print(
        f"scheduling: {seconds:.2f} s for a critical path of {CRITICAL_PATH_SECONDS:.2f} s, "
        f"ratio {seconds / CRITICAL_PATH_SECONDS:.2f} (at most 1.15)"
    )
    at_most("the ratio to the critical path", seconds / CRITICAL_PATH_SECONDS, 1.15)
