"""A hard policy's rate limit in the gateway: calls wait for their turn, and hold neither a slot nor money meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.gateway import Gateway
from orchestrator.pace import Pace
from orchestrator.providers.base import Completion, CompletionRequest
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.wire import EvaluationReply
from tests.unit.orchestrator.gateways import FIRST, RUN, SECOND, bank, billed, question, route


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def ask(gateway: Gateway, label: str, *, second: bool = False) -> None:
    async with gateway.slots.held():
        await gateway.ask(question(label), route(SECOND if second else FIRST), EvaluationReply)


async def test_calls_over_the_limit_are_sent_in_a_later_minute(tmp_path: Path) -> None:
    clock, sent = Clock(), []

    def answer(request: CompletionRequest) -> Completion:
        sent.append(clock.now)
        return billed()

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": ScriptedProvider(answer)}, slots=5)
        gateway.pace, gateway.calls_per_minute = Pace(clock, clock.sleep), 2
        for number in range(5):
            await ask(gateway, str(number))

    assert sent == [0.0, 0.0, 60.0, 60.0, 120.0]


async def test_two_runs_of_a_process_share_a_models_minute(tmp_path: Path) -> None:
    clock, sent = Clock(), []

    def answer(request: CompletionRequest) -> Completion:
        sent.append(clock.now)
        return billed()

    async with bank(tmp_path / "db") as one:
        pace = Pace(clock, clock.sleep)
        free = one.gateway({"openai": ScriptedProvider(answer)})
        limited = one.gateway({"openai": ScriptedProvider(answer)})
        free.pace = limited.pace = pace
        limited.calls_per_minute = 1
        await ask(free, "a")
        await ask(limited, "b")

    assert sent == [0.0, 60.0]


async def test_a_retry_is_a_call_too(tmp_path: Path) -> None:
    clock, sent = Clock(), []

    def answer(request: CompletionRequest) -> Completion:
        sent.append(clock.now)
        return billed("{" if len(sent) == 1 else billed().text)

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": ScriptedProvider(answer)})
        gateway.pace, gateway.calls_per_minute = Pace(clock, clock.sleep), 1
        await ask(gateway, "a")

    assert sent == [0.0, 60.0]


async def test_a_call_that_waits_for_its_turn_gives_its_slot_back_and_reserves_nothing(tmp_path: Path) -> None:
    # given: one slot, and a model whose minute is full
    turn, waiting = asyncio.Event(), asyncio.Event()
    clock = Clock()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await turn.wait()
        clock.now += seconds

    asked: list[str] = []

    def answer(request: CompletionRequest) -> Completion:
        asked.append(request.model.id)
        return billed()

    provider = ScriptedProvider(answer)
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider, "anthropic": provider}, slots=1)
        gateway.pace, gateway.calls_per_minute = Pace(clock, sleep), 1
        await ask(gateway, "a")
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(gateway, "b"))
            await waiting.wait()
            # when: somebody else wants the slot meanwhile
            await ask(gateway, "c", second=True)
            between = await one.booked()
            turn.set()
    # then
    assert asked == ["first", "second", "first"]
    assert between.accounts[f"run:{RUN}"][1] == 0


async def test_a_call_that_is_stopped_while_it_waits_for_its_turn_is_never_made(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    provider = ScriptedProvider(lambda _: billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider}, slots=1)
        gateway.pace, gateway.calls_per_minute = Pace(Clock(), sleep), 1
        await ask(gateway, "a")
        stopped = asyncio.create_task(ask(gateway, "b"))
        await waiting.wait()
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
        booked = await one.booked()
        async with asyncio.timeout(5), gateway.slots.held():
            pass  # its slot is free again

    assert len(provider.requests) == 1
    assert booked.accounts[f"run:{RUN}"] == (200_000_000, 0)
