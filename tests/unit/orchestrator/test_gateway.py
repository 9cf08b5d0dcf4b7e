"""One completion: what is tried again, what moves on, what each try costs, and what a cancelled one leaves behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.bounds import OVERHEAD_TOKENS, affordable_output, input_bound
from orchestrator.budget import to_pico, to_usd
from orchestrator.catalog import FlatPrice, ModelProfile, load_catalog
from orchestrator.errors import (
    BudgetExhausted,
    NoModel,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RunLost,
    TaskCapReached,
)
from orchestrator.gateway import FAILURE_KINDS, BookedCall, Failure, Gateway, Question, UnusableAnswers
from orchestrator.persistence import Persistence
from orchestrator.prompts import Rendered
from orchestrator.providers.base import Completion, CompletionRequest, Finish, Provider, Usage
from orchestrator.providers.registry import endpoints_from_environment, open_provider
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.state import Purpose
from orchestrator.store import Ledger, RunStore
from orchestrator.wire import EvaluationReply, ReviewReply, schema_for
from tests.loopback import Fault, ModelServer, Script
from tests.unit.orchestrator.gateways import (
    FIRST,
    GOOD,
    RUN,
    SECOND,
    Booked,
    bank,
    billed,
    model,
    question,
    route,
)

EVALUATE = Purpose.EVALUATE
BOTH = route(FIRST, SECOND)
ACCOUNT = f"run:{RUN}"
# 100 input and 100 output tokens at one dollar per million, in picodollars.
COST = 200_000_000
# The upper bound of `question()` at FIRST: its bytes, the overhead and 1,000 output tokens, in picodollars.
BOUND = 2_180_000_000


def script(*answers: Completion | str | Exception) -> ScriptedProvider:
    return ScriptedProvider({EVALUATE: answers})


def rate_limited(retry_after: float | None = None) -> RateLimited:
    return RateLimited("too many calls", provider="openai", model="first", retry_after=retry_after)


def unavailable(*, maybe_billed: bool = False) -> ProviderUnavailable:
    return ProviderUnavailable("HTTP 503", provider="openai", model="first", maybe_billed=maybe_billed)


def rejected(status: int, *, of_model: bool = False) -> ProviderRejected:
    return ProviderRejected(f"HTTP {status}", provider="openai", model="first", status=status, of_model=of_model)


MINI, DEEPSEEK = (load_catalog().models[name] for name in ("gpt-5-mini", "deepseek-chat"))


@asynccontextmanager
async def vendors(server: ModelServer) -> AsyncIterator[dict[str, Provider]]:
    endpoints = endpoints_from_environment(server.environment(("openai", "deepseek")))
    providers = {name: open_provider(endpoint) for name, endpoint in endpoints.items()}
    try:
        yield providers
    finally:
        for provider in providers.values():
            await provider.aclose()


# What a vendor's cache costs

HAIKU = load_catalog().models["claude-haiku-4-5"]


def repeated(begin: str, purpose: Purpose = Purpose.REVIEW) -> Question:
    return Question("task-1", purpose, Rendered("Be fair.", f"{begin}Now this.", "v1", len(begin)), 1_000, "1")


async def test_a_long_begin_is_cached_and_reserved_and_settled_at_the_price_of_writing_it(tmp_path: Path) -> None:
    # given
    said = '{"score": 1, "verdict": "approve", "findings": []}'
    provider = ScriptedProvider({Purpose.REVIEW: [Completion(said, Usage(5_000, 100, 0, 4_000))]})
    begin = "x" * 16_384
    async with bank(tmp_path / "db") as books:
        gateway = books.gateway({"anthropic": provider})
        # when
        async with gateway.slots.held():
            await gateway.ask(repeated(begin), route(HAIKU), ReviewReply)
        booked = await books.booked()
    # then: 1,000 tokens at one dollar a million, 4,000 at 1.25, and 100 at five
    assert provider.requests[0].stable == 16_384
    assert booked.calls == (("settled", 6_500_000_000),)


async def test_an_answer_that_was_computed_in_one_region_is_reserved_and_settled_with_its_surcharge(
    tmp_path: Path,
) -> None:
    # given: a model at 3 and 15 dollars a million, a tenth more in one region, and a cap that leaves just that out
    sonnet = load_catalog().models["claude-sonnet-4-6"]
    provider = ScriptedProvider({EVALUATE: [Completion(GOOD, Usage(1_000, 100, regional=True))]})
    request = CompletionRequest(EVALUATE, sonnet, "Be fair.", question().prompt.prompt, schema_for(EVALUATE), 512, 5)
    least = sonnet.price.cost(input_bound(request), 512)
    async with bank(tmp_path / "db") as books:
        gateway = books.gateway({"anthropic": provider}, max_usd=to_usd(least + least // 11))
        rich = books.gateway({"anthropic": provider})
        # when
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted):
                await gateway.ask(question(), route(sonnet), EvaluationReply)
        async with rich.slots.held():
            await rich.ask(question(), route(sonnet), EvaluationReply)
        booked = await books.booked()
    # then: 0.0045 dollars and a tenth
    assert booked.calls == (("settled", 4_950_000_000),)


async def test_what_the_cap_cannot_pay_at_the_price_of_writing_is_not_asked(tmp_path: Path) -> None:
    # given: a cap that would pay the least answer at the plain price of the input
    provider = ScriptedProvider({Purpose.REVIEW: []})
    asked = repeated("x" * 60_000)
    bound = len("Be fair." + asked.prompt.prompt + json.dumps(schema_for(Purpose.REVIEW))) + OVERHEAD_TOKENS
    cap = to_usd(HAIKU.price.cost(bound, 1_000))
    async with bank(tmp_path / "db", max_usd=cap) as books:
        gateway = books.gateway({"anthropic": provider}, max_usd=cap)
        # when
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted):
                await gateway.ask(asked, route(HAIKU), ReviewReply)
    # then
    assert provider.requests == []


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (repeated("x" * 16_000), HAIKU),
        (repeated("x" * 20_000, Purpose.EVALUATE), HAIKU),
        (repeated("x" * 20_000), model("second", "anthropic")),
        (repeated("x" * 20_000), MINI),
    ],
    ids=["short", "asked once", "price without writing", "caches by itself"],
)
async def test_nothing_is_cached_on_request_where_it_would_not_pay(
    asked: Question, where: ModelProfile, tmp_path: Path
) -> None:
    said = '{"score": 1, "verdict": "approve", "findings": [], "reason": ""}'
    provider = ScriptedProvider({asked.purpose: [said]})
    async with bank(tmp_path / "db") as books:
        gateway = books.gateway({where.provider: provider})
        async with gateway.slots.held():
            await gateway.ask(asked, route(where), ReviewReply)
    assert provider.requests[0].stable == 0


# How long to wait


@given(attempt=st.integers(0, 2))
def test_a_wait_grows_exponentially_with_full_jitter(attempt: int) -> None:
    wait = Persistence(tries=4, first_wait=0.5, longest_wait=30.0).wait(attempt, None)

    assert wait is not None
    assert 0 <= wait <= [0.5, 1.0, 2.0][attempt]


def test_full_jitter_uses_the_whole_range() -> None:
    waits = [Persistence(first_wait=1.0).wait(0, None) or 0.0 for _ in range(400)]

    assert min(waits) < 0.1
    assert max(waits) > 0.9


@given(attempt=st.integers(0, 200))
def test_a_wait_never_passes_the_longest_one(attempt: int) -> None:
    wait = Persistence(tries=1000, first_wait=0.5, longest_wait=3.0).wait(attempt, None)

    assert wait is not None
    assert 0 <= wait <= 3.0


@pytest.mark.parametrize(
    ("attempt", "retry_after", "expected"),
    [(0, 7.0, 7.0), (2, 0.0, 0.0), (0, 30.0, 30.0), (0, 30.1, None), (3, 1.0, None), (3, None, None)],
)
def test_retry_after_is_followed_as_long_as_it_is_worth_it(
    attempt: int, retry_after: float | None, expected: float | None
) -> None:
    assert Persistence(tries=4, longest_wait=30.0).wait(attempt, retry_after) == expected


# What a call may cost


@given(
    system=st.text(max_size=200),
    prompt=st.one_of(
        st.text(max_size=2_000),
        st.text(alphabet=st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF), max_size=500),
        st.text(alphabet="\u200b\u0301\x00\ud800", max_size=500),
    ),
)
def test_the_input_bound_is_never_below_one_token_per_byte(system: str, prompt: str) -> None:
    request = CompletionRequest(EVALUATE, FIRST, system, prompt, schema_for(EVALUATE), 1_000, 5.0)

    tokens = len(system.encode("utf-8", "replace")) + len(prompt.encode("utf-8", "replace"))
    assert input_bound(request) >= tokens + OVERHEAD_TOKENS


@given(
    usd=st.sampled_from([0.0, 0.1, 2.5, 75.0]),
    sent=st.integers(0, 400_000),
    wanted=st.integers(1, 128_000),
    remaining=st.integers(0, 10**13),
)
def test_the_affordable_output_is_the_most_that_can_be_paid(usd: float, sent: int, wanted: int, remaining: int) -> None:
    one = model("one", "openai", usd=usd)

    tokens = affordable_output(one, sent, wanted, remaining)

    assert 0 <= tokens <= wanted
    assert tokens == 0 or one.price.cost(sent, tokens) <= remaining
    assert tokens == wanted or one.price.cost(sent, tokens + 1) > remaining


@pytest.mark.parametrize("name", sorted(load_catalog().models))
@settings(max_examples=15, deadline=None)
@given(
    sent=st.integers(0, 900_000),
    more=st.integers(0, 100_000),
    answered=st.integers(0, 60_000),
    limit=st.integers(0, 60_000),
    cached=st.floats(0, 1),
)
def test_no_call_within_its_bounds_costs_more_than_its_upper_bound(
    name: str, sent: int, more: int, answered: int, limit: int, cached: float
) -> None:
    price = load_catalog().models[name].price

    assert price.cost(sent, min(answered, limit), int(sent * cached)) <= price.cost(sent + more, limit)


# What one answer leads to


async def test_a_good_answer_is_settled_at_what_it_cost(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

        assert answer.reply == EvaluationReply(score=0.5, reason="half of it is there")
        assert answer.model == FIRST
        assert await one.booked() == Booked((("settled", COST),), {ACCOUNT: (COST, 0)})
        assert (gateway.budget.spent, gateway.budget.reserved) == (COST, 0)


async def test_whoever_listens_hears_what_each_billed_answer_cost(tmp_path: Path) -> None:
    heard: list[BookedCall] = []
    failed: list[Failure] = []

    async def listen(call: BookedCall) -> None:
        heard.append(call)

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script("no JSON", billed())})
        gateway.on_booked = listen
        gateway.on_failed = failed.append
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

    assert [(call.question.task_id, call.question.purpose, call.model.id) for call in heard] == [
        ("task-1", EVALUATE, "first")
    ] * 2
    assert (heard[1].cost, heard[1].usage, heard[1].finish) == (COST, Usage(100, 100), Finish.STOP)
    assert 0 <= heard[1].seconds < 5
    assert failed == [Failure("task-1", EVALUATE, FIRST, "malformed", retried=True)]


async def test_whoever_listens_hears_of_each_failure_its_kind_and_whether_it_is_tried_again(tmp_path: Path) -> None:
    failed: list[Failure] = []
    refused = billed("", Finish.REFUSAL)
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway(
            {"openai": script(rate_limited(), unavailable(), rejected(400)), "anthropic": script(refused)}
        )
        gateway.on_failed = failed.append
        async with gateway.slots.held():
            with pytest.raises(UnusableAnswers):
                await gateway.ask(question(), BOTH, EvaluationReply)

    assert [(one.model.id, one.kind, one.retried) for one in failed] == [
        ("first", "rate_limited", True),
        ("first", "unavailable", True),
        ("first", "rejected", False),
        ("second", "refused", False),
    ]
    assert {one.kind for one in failed} <= set(FAILURE_KINDS)
    assert [one.latency_seconds is None for one in failed] == [False, False, False, True]


async def test_the_last_try_says_that_nothing_follows_it(tmp_path: Path) -> None:
    failed: list[Failure] = []
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(unavailable(), unavailable(), unavailable(), unavailable())})
        gateway.on_failed = failed.append
        async with gateway.slots.held():
            with pytest.raises(NoModel):
                await gateway.ask(question(), route(FIRST), EvaluationReply)

    assert [one.retried for one in failed] == [True, True, True, False]


async def test_an_answer_that_an_earlier_process_rejected_is_not_told_of_again(tmp_path: Path) -> None:
    failed: list[Failure] = []
    async with bank(tmp_path / "db") as one:
        for provider in (script("no JSON", billed()), script()):
            gateway = one.gateway({"openai": provider})
            gateway.on_failed = failed.append
            async with gateway.slots.held():
                await gateway.ask(question(), BOTH, EvaluationReply)

    assert [one.kind for one in failed] == ["malformed"]


async def test_whoever_listens_hears_of_an_answer_that_was_lost_too(tmp_path: Path) -> None:
    heard: list[BookedCall] = []

    async def listen(call: BookedCall) -> None:
        heard.append(call)

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(unavailable(maybe_billed=True), billed())})
        gateway.on_booked = listen
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

    assert [(call.cost, call.usage is None) for call in heard] == [(BOUND, True), (COST, False)]


async def test_a_gateway_needs_no_task_and_holds_the_cap_for_it_all_the_same(tmp_path: Path) -> None:
    # given: a call of the whole run, as an advisor's or a draft's, and a cap below what it could cost
    alone = replace(question(), task_id="")
    provider = script(billed())
    async with bank(tmp_path / "db", max_usd=0.0001) as one:
        gateway = one.gateway({"openai": provider}, max_usd=0.0001)
        # when
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted):
                await gateway.ask(alone, route(FIRST), EvaluationReply)
        # then
        assert provider.requests == []
        assert await one.booked() == Booked((), {ACCOUNT: (0, 0)})


async def test_an_answer_names_the_models_whose_answers_before_it_were_of_no_use(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(*["no JSON"] * 6), "anthropic": script(billed(), *["no JSON"] * 3)})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)
            with pytest.raises(UnusableAnswers) as caught:
                await gateway.ask(question("2"), BOTH, EvaluationReply)

    assert (answer.model, answer.unusable) == (SECOND, ("first",))
    assert caught.value.models == ("first", "second")


@pytest.mark.parametrize("error", [rate_limited(), unavailable()])
async def test_a_passing_failure_is_tried_again_and_its_reservation_given_back(
    tmp_path: Path, error: Exception
) -> None:
    provider = script(error, error, billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

        assert len(provider.requests) == 3
        assert await one.booked() == Booked((("released", 0), ("released", 0), ("settled", COST)), {ACCOUNT: (COST, 0)})


async def test_whatever_a_begun_answer_ends_with_it_counts_at_its_reservation(tmp_path: Path) -> None:
    broken = ProviderRejected("it gave up", provider="openai", model="first", status=400, maybe_billed=True)
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(broken), "anthropic": script(billed())})
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

        assert (await one.booked()).calls == (("lost", BOUND), ("settled", COST))


async def test_a_failure_that_may_have_been_billed_counts_at_its_reservation(tmp_path: Path) -> None:
    provider = script(unavailable(maybe_billed=True), billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

        booked = await one.booked()
        assert booked == Booked((("lost", BOUND), ("settled", COST)), {ACCOUNT: (BOUND + COST, 0)})
        assert (gateway.budget.spent, gateway.budget.reserved) == (BOUND + COST, 0)


async def test_when_the_tries_are_used_up_the_next_model_is_asked(tmp_path: Path) -> None:
    failing, other = script(*[unavailable()] * 4), script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": failing, "anthropic": other})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

    assert answer.model == SECOND
    assert (len(failing.requests), len(other.requests)) == (4, 1)


async def test_a_wait_that_is_too_long_leads_to_the_next_model_at_once(tmp_path: Path) -> None:
    failing, other = script(rate_limited(retry_after=60.0)), script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": failing, "anthropic": other})
        async with asyncio.timeout(5), gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

    assert answer.model == SECOND
    assert len(failing.requests) == 1


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(rate_limited(retry_after=0.2), billed())})
        async with gateway.slots.held():
            began = loop.time()
            await gateway.ask(question(), BOTH, EvaluationReply)
            took = loop.time() - began

    assert took >= 0.2


async def test_no_slot_is_held_while_a_call_waits(tmp_path: Path) -> None:
    asked: list[str] = []
    other_done = asyncio.Event()

    def answer(request: CompletionRequest) -> Completion | Exception:
        asked.append(request.prompt)
        return rate_limited(retry_after=0.3) if asked == ["patient"] else billed()

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": ScriptedProvider(answer)}, slots=1)

        async def ask(prompt: str) -> None:
            async with gateway.slots.held():
                await gateway.ask(question(prompt, prompt=prompt), BOTH, EvaluationReply)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask("patient"))
            group.create_task(ask("quick")).add_done_callback(lambda _: other_done.set())
            async with asyncio.timeout(5):
                await other_done.wait()
            asked_when_the_quick_one_was_done = list(asked)

    assert asked_when_the_quick_one_was_done == ["patient", "quick"]
    assert asked == ["patient", "quick", "patient"]


async def test_a_model_that_the_account_may_not_use_leaves_its_provider_in_use(tmp_path: Path) -> None:
    provider = script(rejected(403, of_model=True), billed())
    sibling = model("sibling", "openai")
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), route(FIRST, sibling), EvaluationReply)

    assert answer.model is sibling


async def test_a_kept_answer_is_used_though_its_provider_refuses_the_account_now(tmp_path: Path) -> None:
    # given
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(billed())})
        async with gateway.slots.held():
            await gateway.ask(question("1"), BOTH, EvaluationReply)
    silent = script()
    async with bank(tmp_path / "db") as two:
        gateway = two.gateway({"openai": script(rejected(401)), "anthropic": silent}, spent=COST)
        async with gateway.slots.held():
            with pytest.raises(NoModel):
                await gateway.ask(question("2"), route(FIRST), EvaluationReply)
            # when
            answer = await gateway.ask(question("1"), BOTH, EvaluationReply)
    # then
    assert answer.model is FIRST
    assert silent.requests == []


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_refused_account_is_not_asked_again_in_the_whole_run(tmp_path: Path, status: int) -> None:
    refusing, other = script(rejected(status)), script(billed(), billed())
    sibling = model("sibling", "openai")
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": refusing, "anthropic": other})
        async with gateway.slots.held():
            first = await gateway.ask(question("1"), route(FIRST, sibling, SECOND), EvaluationReply)
            second = await gateway.ask(question("2"), route(FIRST, sibling, SECOND), EvaluationReply)

        assert (first.model, second.model) == (SECOND, SECOND)
        assert len(refusing.requests) == 1
        assert [state for state, _ in (await one.booked()).calls] == ["released", "settled", "settled"]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_rejected_request_moves_on_and_its_provider_stays_in_use(tmp_path: Path, status: int) -> None:
    provider = script(rejected(status), billed(), billed())
    sibling = model("sibling", "openai")
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            first = await gateway.ask(question("1"), route(FIRST, sibling), EvaluationReply)
            second = await gateway.ask(question("2"), route(FIRST, sibling), EvaluationReply)

    assert (first.model.id, second.model.id) == ("sibling", "first")
    assert len(provider.requests) == 3


async def test_when_every_provider_fails_the_error_names_each_and_the_way_out(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(rejected(401)), "anthropic": script(rejected(400))})
        async with gateway.slots.held():
            with pytest.raises(NoModel) as caught:
                await gateway.ask(question(), BOTH, EvaluationReply)

    assert caught.value.excluded == {"first": "HTTP 401", "second": "HTTP 400"}
    assert caught.value.hint == "Check the keys and the providers' status, then go on with the run."


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (billed('{"score": 0.5, "reason"'), "the answer was not JSON: Expecting ':' delimiter at line 1, column 24"),
        (billed(""), "the answer was empty"),
        (billed('{"score": 7, "reason": "x"}'), "score: Input should be less than or equal to 1"),
        (billed(GOOD[:20], Finish.LENGTH), "it was cut off at the output limit"),
        (billed("[" * 100_000), "nested too deeply"),
    ],
)
async def test_an_unusable_answer_is_asked_again_with_what_was_wrong_and_each_is_billed(
    tmp_path: Path, bad: Completion, said: str
) -> None:
    provider = script(bad, billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

        assert answer.reply.score == 0.5
        assert [request.max_output_tokens for request in provider.requests] == [1_000, 2_000]
        assert "could not be used" not in provider.requests[0].prompt
        assert f"Your last answer could not be used: {said}" in provider.requests[1].prompt.replace(
            "the answer does not follow the schema: ", ""
        ).replace("the answer's JSON is ", "")
        assert await one.booked() == Booked((("settled", COST), ("settled", COST)), {ACCOUNT: (2 * COST, 0)})


async def test_a_model_that_never_answers_usably_gives_way_to_the_next(tmp_path: Path) -> None:
    stubborn, other = script("a", "b", "c"), script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": stubborn, "anthropic": other})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

    assert answer.model == SECOND
    assert len(stubborn.requests) == 3
    assert "could not be used" not in other.requests[0].prompt


async def test_a_refusal_is_billed_and_goes_to_the_next_model(tmp_path: Path) -> None:
    refusing, other = script(billed("I will not.", Finish.REFUSAL)), script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": refusing, "anthropic": other})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

        assert answer.model == SECOND
        assert len(refusing.requests) == 1
        assert [state for state, _ in (await one.booked()).calls] == ["settled", "settled"]


async def test_what_was_wrong_is_told_of_each_model_and_advice_to_models_is_not_for_people(tmp_path: Path) -> None:
    cut = billed(GOOD[:20], Finish.LENGTH)
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(cut, cut, cut), "anthropic": script("a", "b", "{")})
        async with gateway.slots.held():
            with pytest.raises(UnusableAnswers) as caught:
                await gateway.ask(question(), BOTH, EvaluationReply)

    assert str(caught.value) == (
        "No usable answer to the evaluate call. openai's first: it was cut off at the output limit; "
        "anthropic's second: the answer was not JSON: Expecting property name enclosed in double quotes at line 1, "
        "column 2\n"
        "Go on with the run to ask again, or allow models of other providers."
    )


async def test_what_was_wrong_with_an_empty_answer_is_told_to_people_and_what_to_do_to_the_model(
    tmp_path: Path,
) -> None:
    provider = script(billed(""), billed(" "), billed(""))
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            with pytest.raises(UnusableAnswers) as caught:
                await gateway.ask(question(), route(FIRST), EvaluationReply)

    assert caught.value.message == "No usable answer to the evaluate call. openai's first: the answer was empty"
    assert provider.requests[1].prompt.endswith(
        "Your last answer could not be used: the answer was empty; answer with one JSON object that follows the "
        "schema\n"
    )


async def test_when_no_answer_is_of_use_the_error_says_so(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(billed("No.", Finish.REFUSAL)), "anthropic": script(rejected(400))})
        async with gateway.slots.held():
            with pytest.raises(UnusableAnswers, match="openai's first: it refused to answer; HTTP 400"):
                await gateway.ask(question(), BOTH, EvaluationReply)


async def test_an_answer_with_half_a_surrogate_pair_is_an_unusable_answer_like_any_other(tmp_path: Path) -> None:
    provider = script(billed('{"score": 0.5, "reason": "\ud800"}'), billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

        answer.reply.reason.encode()
        assert (await one.booked()).accounts[ACCOUNT][1] == 0


# Replay


async def test_what_an_earlier_process_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(billed("broken"), billed())})
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)
    silent = script()
    async with bank(tmp_path / "db") as two:
        spent = await two.ledger.spent()
        gateway = two.gateway({"openai": silent}, spent=spent)
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)

        assert answer.reply.score == 0.5
        assert silent.requests == []
        assert spent == 2 * COST
        assert await two.booked() == Booked((("settled", COST), ("settled", COST)), {ACCOUNT: (2 * COST, 0)})


@pytest.mark.parametrize(
    "other",
    [
        question("2"),
        question("1", prompt="Another one?"),
    ],
)
async def test_another_question_is_not_answered_by_a_kept_answer(tmp_path: Path, other: Question) -> None:
    provider = script(billed(), billed('{"score": 1, "reason": "better"}'))
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        async with gateway.slots.held():
            await gateway.ask(question("1"), BOTH, EvaluationReply)
            answer = await gateway.ask(other, BOTH, EvaluationReply)

    assert answer.reply.score == 1


# Counts that cannot be


@pytest.mark.parametrize(
    "usage",
    [
        Usage(-1, 100),
        Usage(100, -1),
        Usage(100, 100, -5),
        Usage(100, 100, 60, 60),
        Usage(10_000_001, 100),
        Usage(100, 2**63),
        Usage(10**30, 100),
    ],
)
async def test_a_usage_that_cannot_be_counts_at_the_calls_upper_bound_and_is_noted(
    usage: Usage, tmp_path: Path
) -> None:
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": script(Completion(GOOD, usage))})
        async with gateway.slots.held():
            answer = await gateway.ask(question(), BOTH, EvaluationReply)
        booked = await one.booked()

    assert answer.reply.score == 0.5
    assert booked == Booked((("settled", BOUND),), {ACCOUNT: (BOUND, 0)})
    assert list(gateway.miscounts) == [
        "openai reported tokens for first that cannot be: the call counts at its upper bound"
    ]


# Money that is short


async def test_the_output_limit_shrinks_to_what_is_left(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db", max_usd=0.0018) as one:
        gateway = one.gateway({"openai": provider}, max_usd=0.0018)
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

    assert provider.requests[0].max_output_tokens == 620


async def test_a_call_whose_answer_would_be_too_short_to_be_of_use_is_not_made(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db", max_usd=0.0016) as one:
        gateway = one.gateway({"openai": provider, "anthropic": provider}, max_usd=0.0016)
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted, match=r"\$0\.0016 of \$0\.0016 is left"):
                await gateway.ask(question(), BOTH, EvaluationReply)

        assert provider.requests == []
        assert await one.booked() == Booked((), {ACCOUNT: (0, 0)})


async def test_a_task_stops_before_the_call_that_could_take_it_above_its_cap_and_others_go_on(tmp_path: Path) -> None:
    # given: a task may cost what one call may, and its first answer takes a part of that
    provider = script(billed(tokens=400), billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider}, task_cap=BOUND)
        async with gateway.slots.held():
            await gateway.ask(question("1"), route(FIRST), EvaluationReply)
            # when
            with pytest.raises(TaskCapReached, match=r"task task-1 could cost \$0\.0017.*cost \$0\.0022") as caught:
                await gateway.ask(question("2"), route(FIRST), EvaluationReply)
            answer = await gateway.ask(replace(question("3"), task_id="task-2"), route(FIRST), EvaluationReply)
    # then
    assert caught.value.code == "task_cap"
    assert answer.reply.score == 0.5
    assert [request.max_output_tokens for request in provider.requests] == [1_000, 1_000]


async def test_the_output_limit_shrinks_to_what_the_task_may_still_cost(tmp_path: Path) -> None:
    provider = script(billed(), billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider}, task_cap=BOUND)
        async with gateway.slots.held():
            await gateway.ask(question("1"), route(FIRST), EvaluationReply)
            await gateway.ask(question("2"), route(FIRST), EvaluationReply)

    assert [request.max_output_tokens for request in provider.requests] == [1_000, 800]


async def test_a_model_that_thinks_is_not_asked_for_less_than_its_thoughts(tmp_path: Path) -> None:
    thinking = replace(FIRST, reasoning=True)
    provider = script(billed())
    async with bank(tmp_path / "db", max_usd=0.0036) as one:
        gateway = one.gateway({"openai": provider}, max_usd=0.0036)
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted):
                await gateway.ask(question(), route(thinking), EvaluationReply)
            await gateway.ask(question(), route(FIRST), EvaluationReply)

    assert len(provider.requests) == 1


async def test_a_cheaper_model_of_the_route_is_asked_when_the_first_cannot_be_paid(tmp_path: Path) -> None:
    dear, cheap = model("dear", "openai", usd=1_000.0), model("cheap", "anthropic", usd=0.1)
    provider = script(billed())
    async with bank(tmp_path / "db", max_usd=0.01) as one:
        gateway = one.gateway({"openai": script(), "anthropic": provider}, max_usd=0.01)
        async with gateway.slots.held():
            answer = await gateway.ask(question(), route(dear, cheap), EvaluationReply)

    assert answer.model == cheap


@pytest.mark.parametrize("shared", [{}, {"team:eng": 0.004}], ids=["of the run", "of the team"])
async def test_calls_that_cannot_be_paid_at_once_wait_for_one_another(tmp_path: Path, shared: dict[str, float]) -> None:
    run_cap = 1.0 if shared else 0.004
    provider = ScriptedProvider(lambda _: billed(), delay_seconds=0.02)
    async with bank(tmp_path / "db", max_usd=run_cap, shared=shared) as one:
        gateway = one.gateway({"openai": provider}, max_usd=run_cap, slots=8, charged=(ACCOUNT, *shared))

        async def ask(label: str) -> float:
            async with gateway.slots.held():
                return (await gateway.ask(question(label), route(FIRST), EvaluationReply)).reply.score

        scores = await asyncio.gather(*(ask(str(number)) for number in range(6)))
        booked = await one.booked()

    assert scores == [0.5] * 6
    assert booked.accounts[ACCOUNT] == (6 * COST, 0)
    assert [request.max_output_tokens for request in provider.requests] == [1_000] * 6


async def test_the_output_limit_shrinks_to_what_a_shared_account_has_left(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db", shared={"team:eng": 0.0018}) as one:
        gateway = one.gateway({"openai": provider}, charged=(ACCOUNT, "team:eng"))
        async with gateway.slots.held():
            await gateway.ask(question(), BOTH, EvaluationReply)

    assert provider.requests[0].max_output_tokens == 620


async def test_the_account_whose_cap_is_reached_is_named(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db", shared={"team:eng": 0.0016}) as one:
        gateway = one.gateway({"openai": provider, "anthropic": provider}, charged=(ACCOUNT, "team:eng"))
        async with gateway.slots.held():
            with pytest.raises(BudgetExhausted, match="the budget of team:eng has") as caught:
                await gateway.ask(question(), BOTH, EvaluationReply)

        assert caught.value.account == "team:eng"
        assert provider.requests == []
        assert await one.booked() == Booked((), {ACCOUNT: (0, 0), "team:eng": (0, 0)})
        assert gateway.budget.reserved == 0


async def test_a_call_waits_for_another_runs_call_that_holds_the_rest_of_an_account(tmp_path: Path) -> None:
    # given: another run's call holds so much of the team's account that no answer of use can be paid
    charged = (ACCOUNT, "team:eng")
    async with bank(tmp_path / "db", shared={"team:eng": 0.003}) as one:
        runs = RunStore(one.database)
        await runs.create("run-2", title="Another", job={}, source="", output_dir="")
        other = Ledger(one.database, "run-2", await runs.claim("run-2"))
        await other.open_accounts({"team:eng": to_pico(0.003)})
        held = await other.reserve(
            charged=("team:eng",),
            task_id="t",
            purpose=EVALUATE,
            provider="openai",
            model="first",
            amount=to_pico(0.002),
            input_tokens=1,
            output_tokens=1,
        )
        gateway = one.gateway({"openai": script(billed())}, charged=charged)
        waiting = asyncio.create_task(_ask(gateway, "1"))
        await asyncio.sleep(0)
        async with asyncio.timeout(5), gateway.slots.held():
            # when: the slot that was given back is here, so that the call waits
            assert (await one.ledger.room(charged))["team:eng"].reserved == to_pico(0.002)
            await other.release(held)
        await waiting
        # then
        assert (await one.booked()).accounts["team:eng"] == (COST, 0)


# Cancellation and lost runs


async def test_a_call_cancelled_in_flight_counts_at_its_reservation(tmp_path: Path) -> None:
    asked = asyncio.Event()

    def answer(_: CompletionRequest) -> Completion:
        asked.set()
        return billed()

    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": ScriptedProvider(answer, delay_seconds=4)})
        asking = asyncio.create_task(_ask(gateway, "1"))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert await one.booked() == Booked((("lost", BOUND),), {ACCOUNT: (BOUND, 0)})
        assert (gateway.budget.spent, gateway.budget.reserved) == (BOUND, 0)


async def test_cancelled_at_any_moment_and_twice_nothing_stays_reserved(tmp_path: Path) -> None:
    """The moments are counted in turns of the event loop, from before the reservation to after the settlement."""
    async with bank(tmp_path / "db") as one:
        left: list[tuple[int, int]] = []
        for turn in range(120):
            provider = ScriptedProvider(lambda _: billed())
            gateway = one.gateway({"openai": provider}, slots=1)
            asking = asyncio.create_task(_ask(gateway, f"label {turn}"))
            for _ in range(turn):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            booked = await one.booked()
            left.append((booked.accounts[ACCOUNT][1], gateway.budget.reserved))
            assert {state for state, _ in booked.calls} <= {"settled", "lost", "released"}

        booked = await one.booked()

    assert left == [(0, 0)] * 120
    assert booked.accounts[ACCOUNT][0] == sum(cost for _, cost in booked.calls)


async def _ask(gateway: Gateway, label: str) -> None:
    async with gateway.slots.held():
        await gateway.ask(question(label), BOTH, EvaluationReply)


async def test_a_call_cancelled_before_it_was_made_costs_nothing(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as one:
        costs = []
        for turn in range(60):
            provider = ScriptedProvider(lambda _: billed())
            gateway = one.gateway({"openai": provider}, slots=1)
            asking = asyncio.create_task(_ask(gateway, f"label {turn}"))
            for _ in range(turn):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            if not provider.requests:
                costs.append(gateway.budget.spent)

        assert costs
        assert set(costs) == {0}


async def test_a_process_that_lost_its_run_makes_no_call_and_books_nothing(tmp_path: Path) -> None:
    provider = script(billed())
    async with bank(tmp_path / "db") as one:
        gateway = one.gateway({"openai": provider})
        await RunStore(one.database).claim(RUN)
        async with gateway.slots.held():
            with pytest.raises(RunLost):
                await gateway.ask(question(), BOTH, EvaluationReply)

        assert provider.requests == []
        assert await one.booked() == Booked((), {ACCOUNT: (0, 0)})
        assert gateway.budget.reserved == 0


async def test_a_process_that_loses_its_run_during_a_call_leaves_the_booking_to_the_new_one(tmp_path: Path) -> None:
    async with bank(tmp_path / "db") as old:
        asked, answered = asyncio.Event(), asyncio.Event()

        class Slow:
            async def complete(self, request: CompletionRequest) -> Completion:
                asked.set()
                await answered.wait()
                return billed()

            async def aclose(self) -> None:
                return

        gateway = old.gateway({"openai": Slow()})
        asking = asyncio.create_task(_ask(gateway, "1"))
        await asked.wait()
        async with bank(tmp_path / "db") as new:
            taken_over = await new.booked()
            answered.set()
            with pytest.raises(RunLost):
                await asking
            after = await new.booked()

    assert taken_over == Booked((("lost", BOUND),), {ACCOUNT: (BOUND, 0)})
    assert after == taken_over


def _answers(kinds: list[str]) -> Callable[[CompletionRequest], Completion | Exception]:
    left = iter(kinds)

    def answer(request: CompletionRequest) -> Completion | Exception:
        match next(left, "good"):
            case "429":
                return rate_limited()
            case "503":
                return unavailable()
            case "dropped":
                return unavailable(maybe_billed=True)
            case "broken":
                return billed("{")
            case "cut":
                return Completion("{", Usage(900, request.max_output_tokens), Finish.LENGTH)
            case "refused":
                return billed("No.", Finish.REFUSAL)
            case "400":
                return rejected(400)
        return billed()

    return answer


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["good", "429", "503", "dropped", "broken", "cut", "refused", "400"]), max_size=25),
    cap=st.sampled_from([0.0015, 0.003, 0.006, 0.02]),
    slots=st.integers(1, 4),
    cancelled=st.lists(st.integers(0, 60), max_size=3),
)
def test_whatever_the_providers_do_the_cap_holds_and_the_books_agree(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], cap: float, slots: int, cancelled: list[int]
) -> None:
    async def scenario() -> None:
        over: list[int] = []
        async with bank(tmp_path_factory.mktemp("bank") / "db", max_usd=cap) as one:
            answers = _answers(kinds)

            def watched(request: CompletionRequest) -> Completion | Exception:
                over.append(gateway.budget.spent + gateway.budget.reserved - int(cap * 10**12))
                return answers(request)

            provider = ScriptedProvider(watched)
            persistence = Persistence(tries=3, first_wait=0.0, answers=2)
            gateway = one.gateway(
                {"openai": provider, "anthropic": provider}, max_usd=cap, slots=slots, persistence=persistence
            )
            tasks = [asyncio.create_task(_ask(gateway, str(number))) for number in range(6)]
            for turn in range(61):
                for number, at in enumerate(cancelled):
                    if at == turn:
                        tasks[number].cancel()
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                results = await asyncio.gather(*tasks, return_exceptions=True)
            booked = await one.booked()

        expected = (BudgetExhausted, NoModel, UnusableAnswers, asyncio.CancelledError)
        assert [
            error for error in results if isinstance(error, BaseException) and not isinstance(error, expected)
        ] == []
        assert max(over, default=0) <= 0
        assert booked.accounts[ACCOUNT] == (sum(cost for _, cost in booked.calls), 0)
        assert (gateway.budget.spent, gateway.budget.reserved) == booked.accounts[ACCOUNT]
        assert booked.accounts[ACCOUNT][0] <= cap * 10**12

    asyncio.run(scenario())


def test_free_models_need_no_money() -> None:
    free = model("free", "local", usd=0.0)

    assert free.price == FlatPrice(0.0, 0.0)
    assert affordable_output(free, 10**6, 8_000, 0) == 8_000


# The same through a vendor's own SDK


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (Fault.status(429, headers={"retry-after-ms": "20"}), ["released", "settled"]),
        (Fault.status(503), ["released", "settled"]),
        (Fault("drop"), ["lost", "settled"]),
        (Fault("drop_after"), ["lost", "settled"]),
        (Fault("not_json"), ["lost", "settled"]),
        (Fault("truncated"), ["settled", "settled"]),
        (Fault("malformed"), ["settled", "settled"]),
        (Fault("empty"), ["settled", "settled"]),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_a_faulty_answer_over_the_wire_is_followed_by_a_good_one_of_the_same_model(
    tmp_path: Path, fault: Fault, states: list[str]
) -> None:
    with ModelServer(Script(faults={"evaluate": [fault]})) as server:
        async with bank(tmp_path / "db") as one, vendors(server) as providers:
            gateway = one.gateway(providers)
            async with gateway.slots.held():
                answer = await gateway.ask(question(), route(MINI, DEEPSEEK), EvaluationReply)
            booked = await one.booked()
        billed_usd = sum(call.input_tokens * 0.25 + call.output_tokens * 2.0 for call in server.billed) / 10**6

    assert (answer.model.id, answer.reply.score) == ("gpt-5-mini", 0.9)
    assert [state for state, _ in booked.calls] == states
    assert len(server.journal) == 2
    assert booked.accounts[ACCOUNT][0] >= billed_usd * 10**12 - 1
    assert booked.accounts[ACCOUNT][1] == 0


@pytest.mark.parametrize(
    ("fault", "billed_calls"),
    [(Fault.status(401), 1), (Fault.status(400), 1), (Fault("refusal"), 2)],
    ids=["401", "400", "refusal"],
)
async def test_what_cannot_succeed_over_the_wire_goes_to_the_next_vendor_at_once(
    tmp_path: Path, fault: Fault, billed_calls: int
) -> None:
    with ModelServer(Script(faults={"evaluate": [fault]})) as server:
        async with bank(tmp_path / "db") as one, vendors(server) as providers:
            gateway = one.gateway(providers)
            async with gateway.slots.held():
                answer = await gateway.ask(question(), route(MINI, DEEPSEEK), EvaluationReply)

    assert answer.model.id == "deepseek-chat"
    assert [call.provider for call in server.journal] == ["openai", "deepseek"]
    assert len(server.billed) == billed_calls
