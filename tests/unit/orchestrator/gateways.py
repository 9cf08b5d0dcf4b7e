"""A gateway on a real database with scripted providers, for the tests of everything that pays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from orchestrator.budget import Budget, to_pico
from orchestrator.catalog import FlatPrice, ModelProfile
from orchestrator.gateway import Gateway, Question
from orchestrator.persistence import Persistence
from orchestrator.prompts import Rendered
from orchestrator.providers.base import Completion, Finish, Provider, Usage
from orchestrator.routing import Route
from orchestrator.slots import Slots
from orchestrator.state import Purpose, RouteChoice
from orchestrator.store import Database, Ledger, RunStore
from orchestrator.store.schema import accounts, calls

RUN = "run-1"
GOOD = '{"score": 0.5, "reason": "half of it is there"}'
IMPATIENT = Persistence(tries=4, first_wait=0.001, longest_wait=0.5, answers=3, call_seconds=5)


def model(name: str, provider: str, *, usd: float = 1.0, max_output_tokens: int = 16_000) -> ModelProfile:
    """Return a model that costs the same for each token: `usd` per million."""
    return ModelProfile(
        id=name,
        provider=provider,
        price=FlatPrice(usd, usd),
        context_tokens=100_000,
        max_output_tokens=max_output_tokens,
        quality=0.9,
        latency_ms=100,
        structured="json_schema",
        regions=("us",),
        trains_on_data=False,
    )


FIRST = model("first", "openai")
SECOND = model("second", "anthropic")


def route(*models: ModelProfile) -> Route:
    """Return a route over these models in their order."""
    return Route(models, RouteChoice(Purpose.EVALUATE, models[0].id, "the test says so", 0.0))


def question(label: str = "1", *, prompt: str = "How good is it?", output_tokens: int = 1_000) -> Question:
    """Return a question for an evaluation."""
    return Question("task-1", Purpose.EVALUATE, Rendered("Be fair.", prompt, "v1"), output_tokens, label)


def billed(text: str = GOOD, finish: Finish = Finish.STOP, *, tokens: int = 100) -> Completion:
    """Return an answer that bills as many input as output tokens."""
    return Completion(text, Usage(tokens, tokens), finish)


@dataclass(frozen=True, slots=True)
class Booked:
    """What the store holds: (state, cost) of each call in picodollars, and (spent, reserved) of each account."""

    calls: tuple[tuple[str, int], ...]
    accounts: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Bank:
    """One run in a database."""

    database: Database
    ledger: Ledger
    fence: int

    async def booked(self) -> Booked:
        """Return what stands in the tables."""
        async with self.database.reading() as connection:
            call_rows = await connection.execute(select(calls.c.state, calls.c.cost).order_by(calls.c.id))
            account_rows = await connection.execute(select(accounts))
            return Booked(
                tuple((row.state, row.cost) for row in call_rows),
                {row.id: (row.spent, row.reserved) for row in account_rows},
            )

    def gateway(
        self,
        providers: Mapping[str, Provider],
        *,
        max_usd: float = 1.0,
        slots: int = 1,
        persistence: Persistence = IMPATIENT,
        charged: tuple[str, ...] = (f"run:{RUN}",),
        spent: int = 0,
        task_cap: int | None = None,
    ) -> Gateway:
        """Return a gateway of this run, as the engine makes one."""
        budget = Budget(max_usd)
        budget.carry(spent, 0.0)
        return Gateway(providers, budget, self.ledger, charged, Slots(slots), persistence, task_cap=task_cap)


@asynccontextmanager
async def bank(path: Path, *, max_usd: float = 1.0, shared: Mapping[str, float] | None = None) -> AsyncIterator[Bank]:
    """Open the database at a path and claim the run in it; `shared` are the caps of further accounts in USD."""
    async with Database.open(f"sqlite:///{path}") as database:
        runs = RunStore(database)
        await runs.create(RUN, title="A run", job={}, source="", output_dir="")
        fence = await runs.claim(RUN)
        ledger = Ledger(database, RUN, fence)
        caps = {f"run:{RUN}": max_usd, **(shared or {})}
        await ledger.open_accounts({account: to_pico(cap) for account, cap in caps.items()})
        await ledger.recover()
        yield Bank(database, ledger, fence)
