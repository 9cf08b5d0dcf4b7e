"""A provider that serves no call, in the gateway: asked last and once, told of, and tried again after a pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.breaker import Breaker
from orchestrator.errors import NoModel, ProviderError, ProviderRejected, ProviderUnavailable, RateLimited
from orchestrator.gateway import Answer, Failure, Gateway
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted, ScriptedProvider
from orchestrator.routing import Route
from orchestrator.wire import EvaluationReply
from tests.unit.orchestrator.gateways import FIRST, SECOND, bank, billed, model, question, route

THIRD, FOURTH = model("third", "openai"), model("fourth", "openai")
MIXED = route(FIRST, THIRD, FOURTH, SECOND)
ALONE = route(FIRST, THIRD, FOURTH)
SINCE = "openai has served no call since 2027-01-15 08:00 UTC: other providers were asked first"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Moody:
    """A provider that says the same until its `mood` changes."""

    def __init__(self, mood: Scripted) -> None:
        self.mood = mood
        self.scripted = ScriptedProvider(self._answer)

    def _answer(self, _: CompletionRequest) -> Scripted:
        return self.mood

    def asked(self) -> list[str]:
        """Return the models asked since the last look."""
        models = [request.model.id for request in self.scripted.requests]
        self.scripted.requests.clear()
        return models


def down(*, timed_out: bool = False) -> ProviderUnavailable:
    return ProviderUnavailable("no answer", provider="openai", model="first", timed_out=timed_out)


def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, lambda: 1_800_000_000.0)


async def ask(gateway: Gateway, label: str, along: Route = MIXED) -> Answer[EvaluationReply]:
    async with gateway.slots.held():
        return await gateway.ask(question(label), along, EvaluationReply)


async def test_a_provider_that_serves_no_call_is_passed_over_until_a_trial_is_answered(tmp_path: Path) -> None:
    openai, other, clock = Moody(down()), Moody(billed()), Clock()
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": openai.scripted, "anthropic": other.scripted})
        gateway.breaker = breaker(clock)

        # its models that are left go behind those of others, and are not asked at the next question either
        first = await ask(gateway, "a")
        assert (openai.asked(), other.asked()) == (["first"] * 4, ["second"])
        second = await ask(gateway, "b")
        assert (openai.asked(), other.asked()) == ([], ["second"])
        assert (first.passed_over, second.passed_over) == ((SINCE,), (SINCE,))

        # after a minute one trial with one try, after two more the next, which is answered
        clock.now += 60
        await ask(gateway, "c")
        assert (openai.asked(), other.asked()) == (["first"], ["second"])
        clock.now += 60
        await ask(gateway, "d")
        assert openai.asked() == []
        clock.now += 60
        openai.mood = billed()
        assert (await ask(gateway, "e")).passed_over == ()
        openai.mood = down()
        await ask(gateway, "f")
        assert openai.asked() == ["first"] * 5
    assert list(gateway.outages) == [SINCE]


async def test_it_is_asked_last_and_once_where_the_others_fail_too(tmp_path: Path) -> None:
    refused = ProviderRejected("HTTP 400", provider="anthropic", model="second", status=400)
    openai, other = Moody(down()), Moody(refused)
    told: list[Failure] = []
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": openai.scripted, "anthropic": other.scripted})
        gateway.on_failed = told.append
        with pytest.raises(NoModel):
            await ask(gateway, "a")

    assert openai.asked() == ["first"] * 4 + ["third", "fourth"]
    assert [(it.model.id, it.retried) for it in told] == [
        *[("first", True)] * 3,
        ("first", False),
        ("second", False),
        ("third", False),
        ("fourth", False),
    ]


async def test_of_an_only_provider_that_gives_no_answer_in_time_two_models_are_asked(tmp_path: Path) -> None:
    openai = Moody(down(timed_out=True))
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": openai.scripted})
        with pytest.raises(NoModel) as caught:
            await ask(gateway, "a", ALONE)
        assert openai.asked() == ["first"] * 4 + ["third"]
        with pytest.raises(NoModel):
            await ask(gateway, "b", ALONE)

    assert openai.asked() == ["first", "third"]
    assert caught.value.message == (
        "Every provider failed at the evaluate call. no answer; openai's other models were not asked, after 2 gave no "
        "answer in time"
    )
    assert gateway.outages == {}


@pytest.mark.parametrize(
    "said",
    [
        RateLimited("too many calls", provider="openai", model="first"),
        ProviderRejected("HTTP 400", provider="openai", model="first", status=400),
    ],
)
async def test_a_limited_rate_or_a_refused_request_opens_no_circuit(tmp_path: Path, said: ProviderError) -> None:
    openai, other = Moody(said), Moody(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": openai.scripted, "anthropic": other.scripted})
        answer = await ask(gateway, "a")

    assert list(dict.fromkeys(openai.asked())) == ["first", "third", "fourth"]
    assert answer.passed_over == ()
    assert not gateway.breaker.is_open("openai")


async def test_runs_that_share_a_breaker_share_what_they_know(tmp_path: Path) -> None:
    openai, other = Moody(down()), Moody(billed())
    async with bank(tmp_path / "db") as one:
        providers = {"openai": openai.scripted, "anthropic": other.scripted}
        run, another = one.gateway(providers), one.gateway(providers)
        run.breaker = another.breaker = breaker(Clock())
        await ask(run, "a")
        openai.asked()
        await ask(another, "b")

    assert openai.asked() == []
    assert list(another.outages) == [SINCE]


async def test_an_answer_that_was_paid_before_the_outage_is_used_and_nobody_else_is_asked(tmp_path: Path) -> None:
    openai, other = Moody(billed()), Moody(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": openai.scripted, "anthropic": other.scripted})
        await ask(gateway, "a")
        gateway.breaker.failed("openai")
        answer = await ask(gateway, "a")

    assert answer.model == FIRST
    assert (openai.asked(), other.asked()) == (["first"], [])


def test_the_choice_says_who_was_passed_over_since_when_and_who_answered() -> None:
    assert MIXED.answered(SECOND, (SINCE,)).reason == f"the test says so; {SINCE}; second answered"
    assert MIXED.answered(SECOND).reason == "the test says so"
