"""10,000 signed deliveries over 64 connections while runs execute: none lost, none twice, each answered soon.

A bare durable receiver under the same server gets the same deliveries from the same client, in turns with the bot, so
that whatever else the machine does slows both.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.bounds import at_least, at_most
from tests.e2e.flood import CONNECTIONS, Answered, Flood, Sending, command, flood, ordinary, sender
from tests.e2e.stage import SECRET, Scene, Stage, open_stage, until
from tests.loopback import Script

DELIVERIES = 10_000
COMMANDS = 1_000
REDELIVERED = 500
BLOCKS = 20
REPOSITORIES = 20
SECONDS_A_CALL = 0.5
TEXTS = {
    "/orchestrate": 40,
    "/orchestrate plan": 20,
    "/orchestrate status": 440,
    "/orchestrate help": 420,
    "/orchestrate rnu": 80,
}
"""Commands by how often they are given, 1,000 in all; the last one is refused."""
STARTING = ("/orchestrate", "/orchestrate plan")
CONFIG = "runs_per_hour: 10000\n"


@dataclass(frozen=True, slots=True)
class Given:
    """A command that was given on an issue."""

    scene: Scene
    issue: int
    text: str
    sending: Sending


def given(scenes: Sequence[Scene], texts: dict[str, int]) -> list[Given]:
    """Give every command: what starts a run on an issue of its own, what only asks on those issues in turn."""
    made: list[Given] = []
    issues: list[tuple[Scene, int]] = []
    for text, count in texts.items():
        for number in range(count):
            if text in STARTING:
                scene = scenes[number % len(scenes)]
                issues.append((scene, scene.issue()))
                where = issues[-1]
            else:
                where = issues[number % len(issues)]
            made.append(Given(*where, text, command(*where, text)))
    return made


def shuffled(commands: Sequence[Given], others: Sequence[Sending], again: int, blocks: int) -> list[list[Sending]]:
    """Return all deliveries in blocks: what starts runs in the first two, the rest anywhere, some sent twice."""
    random = Random(5)  # noqa: S311 # the same order every time, nothing secret
    starting = [it.sending for it in commands if it.text in STARTING]
    rest = [it.sending for it in commands if it.text not in STARTING] + list(others)
    random.shuffle(rest)
    size = -(-(len(rest) + len(starting)) // blocks)
    first = starting + rest[: 2 * size - len(starting)]
    random.shuffle(first)
    sendings = first + rest[2 * size - len(starting) :]
    cut = [sendings[at : at + size] for at in range(0, len(sendings), size)]
    for block in cut:
        for one in random.sample(block, again // blocks):
            block.insert(random.randrange(len(block)), one)
    return cut


@asynccontextmanager
async def bare(folder: Path) -> AsyncIterator[str]:
    """Start the bare receiver, yield its address, and stop it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare", str(folder / "bare.db"), SECRET, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def kept_once(stage: Stage, sendings: Sequence[Sending], answers: Sequence[Answered]) -> None:
    """Raise unless each delivery was answered 2xx, is kept, and is new once only."""
    ids = {it.id for it in sendings}
    refused = [it for it in answers if it.status not in (200, 202)]
    new = Counter(it.id for it in answers if it.answer["status"] != "duplicate")
    # What the bot does on GitHub makes GitHub send deliveries of its own.
    echoes = {it.guid for it in stage.hub.deliveries}
    rows = {str(row[0]) for row in stage.rows("SELECT id FROM deliveries")} - echoes
    if refused or set(new) != ids or set(new.values()) != {1} or rows != ids or len(answers) != len(sendings):
        raise RuntimeError(
            f"{len(refused)} refused, {len(ids - rows)} lost, {len(rows - ids)} made up, "
            f"{sum(count > 1 for count in new.values())} new twice"
        )


def worked_on_once(commands: Sequence[Given]) -> None:
    """Raise unless each command has one answer: its two reactions, and on its issue one comment for each command."""
    for one in commands:
        reactions = one.scene.reactions(one.sending.comment)
        expected = ["eyes", "confused" if one.text == "/orchestrate rnu" else "rocket"]
        if reactions != expected:
            raise RuntimeError(f"{one.text} on {one.scene.repository}#{one.issue}: {reactions}, not {expected}")
    asked = Counter((it.scene.repository, it.issue) for it in commands)
    scenes = {it.scene.repository: it.scene for it in commands}
    for (repository, issue), count in asked.items():
        if len(found := scenes[repository].ours(issue)) != count:
            raise RuntimeError(f"{repository}#{issue} has {len(found)} answers to {count} commands")
    for scene in scenes.values():
        runs = sum(it.text == "/orchestrate" and it.scene is scene for it in commands)
        if len(pulls := scene.hub.pull_requests(scene.repository)) != runs:
            raise RuntimeError(f"{scene.repository} has {len(pulls)} pull requests of {runs} runs")


async def measure(folder: Path) -> None:
    """Send everything, check what became of it, and print the figures."""
    with sender() as pool:
        async with (
            open_stage(folder, Script(tasks=3, delay=SECONDS_A_CALL, installs=False), config=CONFIG) as stage,
            bare(folder) as address,
        ):
            scenes = [await stage.scene() for _ in range(REPOSITORIES)]
            commands = given(scenes, TEXTS)
            each = (DELIVERIES - COMMANDS) // REPOSITORIES
            others = [one for scene in scenes for one in ordinary(scene, scene.issue(), each)]
            blocks = shuffled(commands, others, REDELIVERED, BLOCKS)
            ours: list[Flood] = []
            theirs: list[Flood] = []
            at_work: list[int] = []
            async with stage.bot() as bot:
                for block in blocks:
                    ours.append(await flood(pool, bot.address, block))
                    at_work.append(len(stage.rows("SELECT 1 FROM runs WHERE status IN ('planning', 'running')")))
                    theirs.append(await flood(pool, address, block))
                answers = [answer for one in ours for answer in one.answers]
                kept_once(stage, [one for block in blocks for one in block], answers)
                await until(lambda: stage.delivery_states() <= {"done", "ignored"}, "the end of all work", 600)
            kept_once(stage, [one for block in blocks for one in block], answers)
            worked_on_once(commands)
            with closing(sqlite3.connect(folder / "bare.db")) as database:
                (bare_rows,) = database.execute("SELECT COUNT(*) FROM deliveries").fetchone()
            if bare_rows != DELIVERIES:
                raise RuntimeError(f"the bare receiver keeps {bare_rows} of {DELIVERIES} deliveries")
    report(ours, theirs, at_work)


def report(ours: Sequence[Flood], theirs: Sequence[Flood], at_work: Sequence[int]) -> None:
    """Print what was sent, and the bot's figures beside the bare receiver's."""
    (rate, median, high), (bare_rate, bare_median, bare_high) = _figures(ours), _figures(theirs)
    print(
        f"load: {DELIVERIES:,} deliveries, {COMMANDS:,} of them commands, and {REDELIVERED} redeliveries over "
        f"{CONNECTIONS} connections: 0 lost, 0 twice, each command answered once; {statistics.mean(at_work):.0f} runs "
        f"at work on average"
    )
    print(
        f"load: {rate:.0f} answers a second, a bare durable receiver {bare_rate:.0f}, "
        f"ratio {rate / bare_rate:.2f} (at least 0.5)"
    )
    print(
        f"load: answered within {median * 1000:.0f} ms (median) and {high * 1000:.0f} ms (p99), a bare durable "
        f"receiver {bare_median * 1000:.0f} and {bare_high * 1000:.0f} ms, ratio of p99 {high / bare_high:.2f} "
        "(at most 3)"
    )
    at_least("the ratio of answers a second", rate / bare_rate, 0.5)
    at_most("the ratio of p99", high / bare_high, 3)


def _figures(floods: Sequence[Flood]) -> tuple[float, float, float]:
    seconds = sorted(answer.seconds for one in floods for answer in one.answers)
    rate = len(seconds) / sum(one.seconds for one in floods)
    return rate, statistics.median(seconds), seconds[int(len(seconds) * 0.99)]


def main() -> None:
    """Send the deliveries and print what became of them."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))
