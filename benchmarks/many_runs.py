"""200 runs in progress at once in one bot: what each of them holds in memory and descriptors, and that all end."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.bounds import at_most
from tests.e2e.flood import command, flood, sender
from tests.e2e.held import Held
from tests.e2e.stage import Bot, Stage, open_stage, until
from tests.loopback import Script

RUNS = 200
REPOSITORIES = 10
SPEC = "version: 1\nvalidation:\n  validators: [python_syntax]\n"
CONFIG = f"""
runs_per_hour: 10000
runs_at_once: {RUNS}
per_repository: {{runs_at_once: {RUNS}}}
"""
LOOKS = 20


async def settled(stage: Stage) -> None:
    """Wait until the bot has nothing left to do."""
    await until(lambda: _is_done(stage), "the end of all work", 600)


def _is_done(stage: Stage) -> bool:
    return stage.delivery_states() <= {"done", "ignored"}


def _in_progress(stage: Stage) -> int:
    return int(stage.rows("SELECT COUNT(*) FROM runs WHERE status IN ('planning', 'running')")[0][0])


async def health_ms(bot: Bot) -> float:
    """Return how long the bot takes to say that it is alive, in milliseconds: the median of some questions."""
    taken = []
    for _ in range(LOOKS):
        begun = time.perf_counter()
        await bot.get("/healthz")
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


async def measure(folder: Path) -> None:
    """Begin all runs, look at them while every model is silent, let them end, and print the figures."""
    async with open_stage(folder, Script(tasks=1, installs=False), config=CONFIG) as stage:
        scenes = [await stage.scene(SPEC) for _ in range(REPOSITORIES)]
        with sender() as pool:
            async with stage.bot() as bot:
                # The first run pays for what a process loads once.
                await flood(pool, bot.address, [command(scenes[0], scenes[0].issue(), "/orchestrate")])
                await settled(stage)
                idle = Held.by(bot.process.pid)
                calls = len(stage.models.journal)
                stage.models.hold()
                issues = [scenes[number % REPOSITORIES].issue() for number in range(RUNS)]
                begun = [
                    command(scenes[number % REPOSITORIES], issue, "/orchestrate") for number, issue in enumerate(issues)
                ]
                await flood(pool, bot.address, begun)
                # A call that waits too long is given up and made again: the runs are counted, not the calls.
                await until(lambda: _in_progress(stage) == RUNS, f"{RUNS} runs in progress", 600)
                await until(lambda: len(stage.models.journal) >= calls + RUNS, "a call of each run", 600)
                running = _in_progress(stage)
                busy, alive = Held.by(bot.process.pid), await health_ms(bot)
                stage.models.release()
                peak = busy
                while not _is_done(stage):
                    peak = max(peak, Held.by(bot.process.pid), key=lambda held: held.mib)
                    await asyncio.sleep(0.5)
                ended = Held.by(bot.process.pid)
        statuses = Counter(str(status) for (status,) in stage.rows("SELECT status FROM runs"))
        if running != RUNS or statuses != {"completed": RUNS + 1}:
            raise RuntimeError(f"{running} runs were in progress, and they ended {dict(statuses)}")
    print(
        f"many_runs: {RUNS} runs in progress at once in one process, all completed; memory {idle.mib:.0f} MiB idle, "
        f"{busy.mib:.0f} MiB with all of them, {(busy.mib - idle.mib) / RUNS:.2f} MiB a run (at most 1); "
        f"{peak.mib:.0f} MiB at most until they ended, {ended.mib:.0f} MiB afterwards"
    )
    print(
        f"many_runs: descriptors {idle.descriptors} idle, {busy.descriptors} with all runs, {ended.descriptors} "
        f"afterwards; threads {idle.threads}, {busy.threads} and {ended.threads}; "
        f"/healthz answers within {alive:.0f} ms"
    )
    at_most("MiB a run", (busy.mib - idle.mib) / RUNS, 1)


def main() -> None:
    """Print what 200 runs at once hold."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))
