"""A day of steady work for the bot, its clock moved on between two pieces of it, and what it holds all the while."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from orchestrator.store.schema import metadata
from tests.e2e.flood import command, flood, ordinary
from tests.e2e.held import Held
from tests.e2e.stage import Bot, Scene, Stage, until

HOURS = 24
HOURS_KEPT = 3
ORDINARY = 20
GROWING = "audit"
"""The only table that nothing is ever removed from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the bot held at one moment: the process, rows by table, the bytes that the database uses, other files."""

    held: Held
    rows: dict[str, int]
    database_bytes: int
    audit_bytes: int
    files: int


async def soak(stage: Stage, scenes: Sequence[Scene], pool: ProcessPoolExecutor, steps: int) -> list[Sample]:
    """Let a day pass in so many steps, with a run, two questions and other deliveries in each; return their samples."""
    samples: list[Sample] = []
    async with stage.bot(command=("tests.e2e.clocked_bot", str(HOURS_KEPT))) as bot:
        for _, scene in zip(range(steps), itertools.cycle(scenes), strict=False):
            await _pass(bot, HOURS * 3600 / steps)
            issue = scene.issue()
            texts = ("/orchestrate", "/orchestrate help", "/orchestrate status")
            answered = await flood(pool, bot.address, [command(scene, issue, text) for text in texts])
            assert {it.status for it in answered.answers} <= {200, 202}
            await flood(pool, bot.address, ordinary(scene, issue, ORDINARY))
            await until(lambda: stage.delivery_states() <= {"done", "ignored"}, "the end of a step's work")
            samples.append(_sample(stage, bot))
    return samples


async def _pass(bot: Bot, seconds: float) -> None:
    assert bot.process.stdin
    assert bot.process.stdout
    bot.process.stdin.write(f"{seconds}\n".encode())
    await bot.process.stdin.drain()
    await bot.process.stdout.readline()


def _sample(stage: Stage, bot: Bot) -> Sample:
    counts = " UNION ALL ".join(f"SELECT '{name}', COUNT(*) FROM {name}" for name in sorted(metadata.tables))
    pages, free, size = (
        int(stage.rows(f"PRAGMA {pragma}")[0][0]) for pragma in ("page_count", "freelist_count", "page_size")
    )
    audit = stage.rows("SELECT COALESCE(SUM(LENGTH(facts) + LENGTH(run_id) + LENGTH(delivery) + 100), 0) FROM audit")
    return Sample(
        Held.by(bot.process.pid),
        {str(name): int(count) for name, count in stage.rows(counts)},
        (pages - free) * size,
        int(audit[0][0]),
        sum(1 for it in (stage.folder / "state").rglob("*") if it.is_file()),
    )


def growth(samples: Sequence[Sample]) -> list[str]:
    """Return a sentence for everything that the last quarter of a day holds more of than the second; none is flat."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[3 * quarter :]
    found: list[str] = []

    def compare(name: str, before: float, after: float, allowed: float) -> None:
        if after > before + allowed:
            found.append(f"{name}: {before:,.1f} in the second quarter, {after:,.1f} in the last")

    before, after = (sum(it.held.mib for it in part) / quarter for part in (early, late))
    compare("memory in MiB", before, after, 0.05 * before)
    compare("descriptors", max(it.held.descriptors for it in early), max(it.held.descriptors for it in late), 4)
    compare("threads", max(it.held.threads for it in early), max(it.held.threads for it in late), 2)
    compare("files of state", max(it.files for it in early), max(it.files for it in late), 0)
    before, after = (max(it.database_bytes - it.audit_bytes for it in part) for part in (early, late))
    compare("bytes of the database besides the audit", before, after, 0.1 * before)
    for table in sorted(metadata.tables):
        if table != GROWING:
            before, after = (max(it.rows[table] for it in part) for part in (early, late))
            compare(f"rows of {table}", before, after, 0.05 * before)
    return found
