"""The dollar cap holds across processes: several of them spend from one database at once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from orchestrator.bounds import LEAST_OUTPUT_TOKENS, affordable_output, billed_cost, highest_cost
from orchestrator.budget import Budget, to_pico
from orchestrator.catalog import load_catalog
from orchestrator.providers.base import Usage
from orchestrator.store import Database

SPENDERS = 4
CALLS = 25
# Each reserves 30 cents and settles 10: without a common cap 100 calls would spend ten dollars of the two.
SPENDER = f"""
import asyncio, json, sys
from orchestrator.errors import BudgetExhausted
from orchestrator.state import Purpose
from orchestrator.store import Database, Ledger, RunStore

async def main(path, run):
    refused = 0
    async with Database.open(path) as database:
        runs = RunStore(database)
        await runs.create(run, title=run, job={{}}, source="", output_dir="")
        ledger = Ledger(database, run, await runs.claim(run))
        charged = ("run:" + run, "org")
        await ledger.open_accounts({{"run:" + run: 10**14, "org": 2 * 10**12}})

        async def one(number):
            nonlocal refused
            try:
                call = await ledger.reserve(charged=charged, task_id="t", purpose=Purpose.GENERATE, provider="p",
                    model="m", amount=3 * 10**11, input_tokens=1, output_tokens=1)
            except BudgetExhausted:
                refused += 1
                return
            if number % 5 == 0:
                await ledger.release(call)
            else:
                await ledger.settle(call, cost=10**11, input_tokens=1, output_tokens=1, key=str(number), answer="1")

        await asyncio.gather(*(one(number) for number in range({CALLS})))
    print(json.dumps(refused))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    async with Database.open(database_url) as database, database.reading() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


def test_processes_that_start_at_once_share_one_cap_and_none_is_locked_out(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SPENDER, database_url, f"run-{number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(SPENDERS)
    ]
    ends = [process.communicate(timeout=120) for process in processes]

    assert [(process.returncode, err) for process, (_, err) in zip(processes, ends, strict=True)] == [
        (0, "")
    ] * SPENDERS
    watching = asyncio.run(rows(database_url, "SELECT cap, spent, reserved FROM accounts WHERE id = 'org'"))
    ((settled,),) = asyncio.run(rows(database_url, "SELECT count(*) FROM calls WHERE state = 'settled'"))
    states = {state for (state,) in asyncio.run(rows(database_url, "SELECT DISTINCT state FROM calls"))}
    refused = sum(json.loads(out) for out, _ in ends)
    assert watching == [(2 * 10**12, settled * 10**11, 0)]
    assert settled * 10**11 <= 2 * 10**12
    assert refused > 0
    assert states <= {"settled", "released"}


@given(
    cap=st.integers(0, 10**11),
    name=st.sampled_from(["gpt-4o-mini", "gpt-5-mini", "deepseek-chat", "claude-haiku-4-5", "gemini-2.5-flash"]),
    sent=st.lists(st.integers(1_000, 60_000), max_size=6),
)
def test_reservations_of_shrunken_calls_fit_the_cap(cap: int, name: str, sent: list[int]) -> None:
    model = load_catalog().models[name]
    budget = Budget(cap / 10**12)
    for tokens in sent:
        limit = affordable_output(model, tokens, 8_000, budget.remaining)
        if limit >= LEAST_OUTPUT_TOKENS:
            budget.reserve(highest_cost(model, tokens, limit, caching=False))

    assert budget.spent + budget.reserved <= to_pico(budget.max_usd)


@given(
    name=st.sampled_from(["claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-8"]),
    bound=st.integers(1, 600_000),
    limit=st.integers(1, 16_000),
    parts=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_reservation_for_a_cached_prompt_bounds_whatever_is_read_written_and_said(
    name: str, bound: int, limit: int, parts: tuple[float, float, float, float]
) -> None:
    model = load_catalog().models[name]
    remaining = highest_cost(model, bound, limit, caching=True)
    assert affordable_output(model, bound, limit, remaining, caching=True) == limit
    assert affordable_output(model, bound, limit, remaining - 1, caching=True) < limit
    sent = int(bound * parts[0])
    read = int(sent * parts[1])
    written = int((sent - read) * parts[2])
    said = Usage(sent, int(limit * parts[3]), read, written, regional=True)
    assert billed_cost(model, said) <= remaining


async def test_a_full_disk_stops_a_run_before_its_call(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    program = """
import asyncio, resource, signal, sys
from orchestrator.errors import StoreError
from orchestrator.state import Purpose
from orchestrator.store import Database, Ledger, RunStore

async def main(path):
    async with Database.open("sqlite:///" + path) as database:
        runs = RunStore(database)
        await runs.create("r", title="r", job={}, source="", output_dir="")
        ledger = Ledger(database, "r", await runs.claim("r"))
        await ledger.open_accounts({"run:r": 10**13})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            await ledger.reserve(charged=("run:r",), task_id="t", purpose=Purpose.GENERATE, provider="p", model="m",
                amount=10**12, input_tokens=1, output_tokens=1)
        except StoreError:
            print("refused")

asyncio.run(main(sys.argv[1]))
"""
    path = tmp_path / "state.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()

    connection = sqlite3.connect(path)
    accounts = connection.execute("SELECT spent, reserved FROM accounts").fetchall()
    connection.close()
    assert (out.decode(), process.returncode) == ("refused\n", 0), err.decode()
    assert accounts == [(0, 0)]
