"""How fast a run stops when it is cancelled with calls in flight, and whether anything is asked afterwards."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.bounds import at_most
from benchmarks.scheduling import answer
from orchestrator import Budget, Orchestrator
from orchestrator.providers.base import Completion, CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose
from tests.e2e.stage import open_stage, until
from tests.loopback import Script

RUNS = 5


class HangingProvider:
    """Decides and plans at once, and never answers a call that writes; `writing` is set when one has come."""

    def __init__(self) -> None:
        self.planner = ScriptedProvider(answer)
        self.asked = 0
        self.writing = asyncio.Event()

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer, or hang."""
        self.asked += 1
        if request.purpose in (Purpose.ARCHITECTURE, Purpose.DECOMPOSE):
            return await self.planner.complete(request)
        self.writing.set()
        never: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        return await never

    async def aclose(self) -> None:
        """Hold no connection."""


async def measure() -> tuple[float, int]:
    """Return the seconds from the cancellation to the end of the run, and the calls made after it."""
    provider = HangingProvider()
    with tempfile.TemporaryDirectory() as home:
        orchestrator = Orchestrator(
            Budget(max_usd=5.0), env={"ORCHESTRATOR_HOME": home}, providers={"openai": provider}
        )
        run = asyncio.create_task(orchestrator.run_project("Two chains", project_id="cancelled"))
        await provider.writing.wait()
        asked, started = provider.asked, time.perf_counter()
        run.cancel()
        await asyncio.wait({run})
        return time.perf_counter() - started, provider.asked - asked


async def commanded(folder: Path) -> float:
    """Return the seconds from the delivery of `/orchestrate cancel` to the end of a run that the bot works on."""
    async with open_stage(folder, Script(tasks=2, installs=False)) as stage, stage.bot():
        scene = await stage.scene()
        stage.models.hold_after(4)
        asked = await scene.command()
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        started = time.perf_counter()
        scene.comment(asked.issue, "/orchestrate cancel")
        await until(lambda: stage.rows("SELECT 1 FROM runs WHERE status = 'cancelled'"), "the end of the run")
        seconds = time.perf_counter() - started
        stage.models.release()
        await asked.reacted("confused")
        return seconds


def main() -> None:
    """Print the slowest of some runs, and how long a command takes to stop one."""
    measured = [asyncio.run(measure()) for _ in range(RUNS)]
    slowest, after = max(seconds for seconds, _ in measured), sum(calls for _, calls in measured)
    print(f"cancelling: stopped within {slowest:.3f} s (at most 1), {after} calls afterwards (none)")
    at_most("the slowest stop in seconds", slowest, 1)
    at_most("the number of calls after a cancellation", after, 0)
    with tempfile.TemporaryDirectory() as folder:
        seconds = asyncio.run(commanded(Path(folder)))
    print(f"cancelling: by `/orchestrate cancel`, ended {seconds:.2f} s after its comment, with a call in flight")
