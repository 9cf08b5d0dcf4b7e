"""A day of steady work, shortened by a clock that is moved: what the bot holds in its second and last quarter."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.flood import sender
from tests.e2e.soaking import GROWING, HOURS, HOURS_KEPT, ORDINARY, Sample, growth, soak
from tests.e2e.stage import open_stage
from tests.loopback import Script

STEPS = 72
REPOSITORIES = 4
SPEC = "version: 1\nvalidation:\n  validators: [python_syntax]\n"
CONFIG = "runs_per_hour: 10000\n"


async def measure(folder: Path) -> list[Sample]:
    """Let the day pass, and return what the bot held after each step."""
    with sender() as pool:
        async with open_stage(folder, Script(tasks=1, installs=False), config=CONFIG) as stage:
            scenes = [await stage.scene(SPEC) for _ in range(REPOSITORIES)]
            return await soak(stage, scenes, pool, STEPS)


def _means(samples: Sequence[Sample]) -> str:
    early, late = samples[STEPS // 4 : STEPS // 2], samples[3 * STEPS // 4 :]

    def both(name: str, of: Callable[[Sample], float]) -> str:
        before, after = (sum(of(it) for it in part) / len(part) for part in (early, late))
        return f"{name} {before:,.2f} and {after:,.2f}"

    return ", ".join(
        [
            both("MiB of memory", lambda it: it.held.mib),
            both("descriptors", lambda it: it.held.descriptors),
            both("threads", lambda it: it.held.threads),
            both("rows besides the audit", lambda it: sum(it.rows.values()) - it.rows[GROWING]),
            both("MiB of the database besides the audit", lambda it: (it.database_bytes - it.audit_bytes) / 2**20),
        ]
    )


def main() -> None:
    """Print what was held in the second quarter of the day and in the last, and raise if that grew."""
    with tempfile.TemporaryDirectory() as folder:
        samples = asyncio.run(measure(Path(folder)))
    print(
        f"soak: {HOURS} hours in {STEPS} steps, {STEPS} runs, {2 * STEPS} other commands and {ORDINARY * STEPS:,} "
        f"other deliveries, {HOURS_KEPT} hours kept; means of the second quarter and of the last: {_means(samples)}; "
        f"the audit, of which nothing is ever removed, has {samples[-1].rows[GROWING] / (3 * STEPS):.1f} rows a command"
    )
    if grown := growth(samples):
        raise RuntimeError(f"the bot grows: {'; '.join(grown)}")
