"""One completion: replay, reservation, time limit, retry, fallback, and an answer that follows its schema.

for each model of the route, those of a provider that serves no call at last:
    ask -> the answer of an earlier process, if this very question was answered in this run
        -> reserve its upper bound -> call -> settle what it cost
    parse -> the reply, or the same model once more with what was wrong
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from orchestrator.bounds import (
    billed_cost,
    bounded,
    cached_part,
    output_limit,
)
from orchestrator.breaker import Breaker
from orchestrator.budget import Budget
from orchestrator.catalog import ModelProfile
from orchestrator.errors import (
    BudgetExhausted,
    NoModel,
    OrchestratorError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
)
from orchestrator.pace import Pace
from orchestrator.persistence import Persistence
from orchestrator.prompts import Rendered
from orchestrator.providers.base import Completion, CompletionRequest, Finish, Provider, Usage
from orchestrator.reservations import Held, Reservations
from orchestrator.routing import Route
from orchestrator.slots import Slots
from orchestrator.state import Purpose
from orchestrator.store import Ledger, finished
from orchestrator.wire import UnreadableAnswer, parse, schema_for

Reply = TypeVar("Reply", bound=BaseModel)

# A wrong key, no credit, no permission, no credit in OpenAI's words: the vendor refuses the account, not the request.
_ACCOUNT_REFUSED = frozenset({401, 402, 403, 429})
# Each model that gives no answer in time costs a whole time limit, and counts as spent: a third one is not asked.
_TIME_OUTS = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `label` tells this attempt from every other one of the run, so that none answers another's."""

    task_id: str
    purpose: Purpose
    prompt: Rendered
    output_tokens: int
    label: str
    task_type: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Reply]):
    """A reply that follows its schema, the model that gave it, and those whose answers before it were of no use.

    `passed_over` says of each provider that was asked after others because it serves no call, since when.
    """

    reply: Reply
    model: ModelProfile
    unusable: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BookedCall:
    """One call that was paid, or may be: `cost` in picodollars, `seconds` until its answer.

    `usage` and `finish` are None when the answer was lost, and the call counts as spent at its reservation.
    """

    question: Question
    model: ModelProfile
    cost: int
    usage: Usage | None
    seconds: float
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that brought nothing usable.

    `kind` is one of `FAILURE_KINDS`; `retried` says that the same model is asked again. `latency_seconds` is how long
    the provider took to fail, None where it answered, and was billed, and the answer was of no use.
    """

    task_id: str
    purpose: Purpose
    model: ModelProfile
    kind: str
    retried: bool
    latency_seconds: float | None = None


FAILURE_KINDS = ("rate_limited", "unavailable", "rejected", "refused", "cut_off", "malformed")


class UnusableAnswers(OrchestratorError):
    """Models answered, and none of the answers could be used; `models` are those that gave them."""

    def __init__(self, message: str, *, hint: str = "", models: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.models = models


@dataclass(slots=True)
class Gateway:
    """Every call of a run goes through here, made by somebody who holds a slot; `charged` names the accounts that pay.

    A call that waits, for a provider, for money or for its turn, gives its slot back meanwhile. `task_cap` is the most,
    in picodollars, that a hard policy lets the calls of one task cost together. `calls_per_minute` is the most that a
    hard policy allows to one model, over all runs that share `pace`; `advised_rates` are what softer ones want, by
    name, and `overruns` collects where that was not kept. `breaker` knows which providers serve no call, `outages`
    collects what that changed, and `miscounts` what vendors cannot have billed. `may_call` raises `RunCancelled` when
    no call may be made any more.
    """

    providers: Mapping[str, Provider]
    budget: Budget
    ledger: Ledger
    charged: tuple[str, ...]
    slots: Slots
    persistence: Persistence = field(default_factory=Persistence)
    pace: Pace = field(default_factory=Pace)
    breaker: Breaker = field(default_factory=Breaker)
    calls_per_minute: int | None = None
    task_cap: int | None = None
    on_failed: Callable[[Failure], None] | None = None
    on_booked: Callable[[BookedCall], Awaitable[None]] | None = None
    advised_rates: Mapping[str, int] = field(default_factory=dict)
    may_call: Callable[[], None] | None = None
    overruns: dict[str, None] = field(init=False, default_factory=dict)
    outages: dict[str, None] = field(init=False, default_factory=dict)
    miscounts: dict[str, None] = field(init=False, default_factory=dict)
    _reservations: Reservations = field(init=False)
    _down: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._reservations = Reservations(self.budget, self.ledger, self.charged, self.slots, self.task_cap)

    async def ask(self, question: Question, route: Route, kind: type[Reply]) -> Answer[Reply]:
        """Return the first usable reply along the route, where providers that serve no call are asked last.

        Raises `BudgetExhausted` when no model of the route can be paid (`TaskCapReached` where only the task may not
        cost that much), `NoModel` when every provider failed, and `UnusableAnswers` when there were answers but none
        of use.
        """
        poor: BudgetExhausted | None = None
        failures: list[tuple[str, str]] = []
        hints: dict[str, None] = {}
        unusable: list[str] = []
        passed_over: dict[str, None] = {}
        timed_out: Counter[str] = Counter()
        left = list(route.chain)
        while left:
            model = await self._next(question, left, passed_over)
            why = self._why_not_asked(model.provider, timed_out)
            if why and not await self._is_kept(question, model):
                failures.append((model.id, why))
                continue
            try:
                with self.breaker.asking(model.provider):
                    reply = await self._usable(question, model, kind)
            except BudgetExhausted as error:
                poor = error
            except ProviderError as error:
                failures.append((model.id, error.message))
                if error.hint:
                    hints[error.hint] = None
                if _refuses_the_account(error):
                    self._down[model.provider] = error.message
                timed_out[model.provider] += isinstance(error, ProviderUnavailable) and error.timed_out
            except UnusableAnswers as error:
                unusable.append(model.id)
                failures.append((model.id, error.message))
            else:
                return Answer(reply, model, tuple(unusable), tuple(passed_over))
        if poor is not None:
            raise poor
        said = "; ".join(dict.fromkeys(why for _, why in failures))
        if unusable:
            raise UnusableAnswers(
                f"No usable answer to the {question.purpose} call. {said}",
                hint="Go on with the run to ask again, or allow models of other providers.",
                models=tuple(unusable),
            )
        raise NoModel(
            f"Every provider failed at the {question.purpose} call. {said}",
            hint=" ".join(hints) or "Check the keys and the providers' status, then go on with the run.",
            excluded=dict(failures),
        )

    async def _next(self, question: Question, left: list[ModelProfile], passed_over: dict[str, None]) -> ModelProfile:
        """Take the model to ask next: one whose provider serves no call comes last, unless its answer is kept."""
        chosen = left[0]
        for model in left:
            if not self.breaker.is_open(model.provider) or await self._is_kept(question, model):
                chosen = model
                break
        for provider in {one.provider: None for one in left[: left.index(chosen)]}:
            since = self.breaker.since(provider)
            if since and provider != chosen.provider:
                said = f"{provider} has served no call since {since}: other providers were asked first"
                passed_over[said] = self.outages[said] = None
        left.remove(chosen)
        return chosen

    async def _is_kept(self, question: Question, model: ModelProfile) -> bool:
        return await self.ledger.answer(_key(question, self._request(question, model, 0), 0)) is not None

    def _why_not_asked(self, provider: str, timed_out: Mapping[str, int]) -> str:
        if provider not in self._down and timed_out.get(provider, 0) >= _TIME_OUTS:
            return f"{provider}'s other models were not asked, after {_TIME_OUTS} gave no answer in time"
        return self._down.get(provider, "")

    def _request(self, question: Question, model: ModelProfile, number: int, complaint: str = "") -> CompletionRequest:
        prompt = question.prompt.prompt + (f"\nYour last answer could not be used: {complaint}\n" if number else "")
        return CompletionRequest(
            purpose=question.purpose,
            model=model,
            system=question.prompt.system,
            prompt=prompt,
            schema=schema_for(question.purpose),
            max_output_tokens=output_limit(model, question.output_tokens, doubled=number > 0),
            timeout_seconds=self.persistence.call_seconds,
            stable=cached_part(model, question.purpose, question.prompt),
        )

    async def _usable(self, question: Question, model: ModelProfile, kind: type[Reply]) -> Reply:
        """Ask one model until its answer follows the schema; each time it does not, tell it what was wrong."""
        wrong = complaint = ""
        for number in range(self.persistence.answers):
            request = self._request(question, model, number, complaint)
            completion, fresh = await self._completed(question, request, number)
            told = partial(
                self._tell_unusable, question, model, fresh=fresh, last=number + 1 == self.persistence.answers
            )
            if completion.finish is Finish.REFUSAL:
                told("refused", last=True)
                raise UnusableAnswers(f"{model.provider}'s {model.id}: it refused to answer")
            if completion.finish is Finish.LENGTH:
                told("cut_off")
                wrong = "it was cut off at the output limit"
                complaint = f"{wrong}; answer more briefly, in one complete JSON object"
                continue
            try:
                return parse(completion.text, kind)
            except UnreadableAnswer as error:
                told("malformed")
                wrong = str(error)
                complaint = f"{wrong}; {error.advice}" if error.advice else wrong
        raise UnusableAnswers(f"{model.provider}'s {model.id}: {wrong}")

    def _tell_unusable(self, question: Question, model: ModelProfile, kind: str, *, fresh: bool, last: bool) -> None:
        """Tell of an answer that is of no use; one that an earlier process got was told of then."""
        if fresh and self.on_failed is not None:
            self.on_failed(Failure(question.task_id, question.purpose, model, kind, retried=not last))

    async def _completed(self, question: Question, request: CompletionRequest, number: int) -> tuple[Completion, bool]:
        """Return the answer, and whether it is fresh: False for one that an earlier process got and kept."""
        key = _key(question, request, number)
        kept = await self.ledger.answer(key)
        if kept is not None:
            return _COMPLETION.validate_json(kept), False
        attempt = 0
        while True:
            completion, pause = await self._paid(question, request, key, attempt)
            if completion is not None:
                return completion, True
            attempt += 1
            async with self.slots.given_back():
                await asyncio.sleep(pause)

    def _pause(self, attempt: int, provider: str, error: ProviderError) -> float | None:
        """Return the seconds until the same model is tried again, or None; notes whether its provider serves calls."""
        if not isinstance(error, ProviderUnavailable):
            self.breaker.answered(provider)
            return self.persistence.wait(attempt, error.retry_after) if isinstance(error, RateLimited) else None
        pause = None if self.breaker.is_open(provider) else self.persistence.wait(attempt, error.retry_after)
        if pause is None:
            self.breaker.failed(provider)
        return pause

    async def _paid(
        self, question: Question, request: CompletionRequest, key: str, attempt: int
    ) -> tuple[Completion | None, float]:
        """Reserve, call, settle; whatever happens in between, the reservation is resolved.

        Without an answer, the call is to be tried again after that many seconds.
        """
        held = await self._admitted(question, request)
        began = time.monotonic()
        resolve = partial(self._lose, held, question, request.model, began)
        try:
            provider = self.providers[request.model.provider]
            asked = replace(request, max_output_tokens=held.output_tokens)
            completion = self._counted(_encodable(await provider.complete(asked)), asked)
            self.breaker.answered(request.model.provider)
            resolve = partial(self._settle, held, question, request.model, completion, key, time.monotonic() - began)
        except (RateLimited, ProviderRejected, ProviderUnavailable) as error:
            if not error.maybe_billed:
                resolve = partial(self._reservations.release, held)
            pause = self._pause(attempt, request.model.provider, error)
            if self.on_failed is not None:
                kind, latency = _failure_kind(error), time.monotonic() - began
                again = pause is not None
                self.on_failed(Failure(question.task_id, question.purpose, request.model, kind, again, latency))
            if pause is None:
                raise
            return None, pause
        finally:
            # To its end, because a cancelled run must still book what the provider may bill.
            await finished(resolve())
        return completion, 0.0

    async def _admitted(self, question: Question, request: CompletionRequest) -> Held:
        """Reserve once the model may be called again; nothing is held while the call waits for its turn.

        The turn is taken last: a call that waited for money may find that others were called meanwhile.
        """
        while True:
            while pause := self.pace.pause(request.model.id, self.calls_per_minute):
                async with self.slots.given_back():
                    await self.pace.sleep(pause)
            if self.may_call is not None:
                self.may_call()
            held = await self._reservations.reserve(request, task_id=question.task_id, purpose=question.purpose)
            if self.pace.take(request.model.id, self.calls_per_minute):
                self._note_overruns(request.model.id)
                return held
            await finished(self._reservations.release(held))

    def _counted(self, completion: Completion, request: CompletionRequest) -> Completion:
        """Return the answer with a usage that can be, and note where the vendor reported another one."""
        usage = bounded(completion.usage, request)
        if usage != completion.usage:
            model = request.model
            said = f"{model.provider} reported tokens for {model.id} that cannot be: the call counts at its upper bound"
            self.miscounts[said] = None
        return replace(completion, usage=usage)

    def _note_overruns(self, model: str) -> None:
        for policy, limit in self.advised_rates.items():
            if self.pace.count(model) > limit:
                self.overruns[f"{policy}: {model} was called more than {limit} times in a minute"] = None

    async def _settle(
        self, held: Held, question: Question, model: ModelProfile, completion: Completion, key: str, seconds: float
    ) -> None:
        usage = completion.usage
        cost = billed_cost(model, usage)
        await self._reservations.settle(held, cost, usage, key=key, answer=_COMPLETION.dump_json(completion).decode())
        await self._tell(BookedCall(question, model, cost, usage, seconds, completion.finish))

    async def _lose(self, held: Held, question: Question, model: ModelProfile, began: float) -> None:
        amount = await self._reservations.lose(held)
        await self._tell(BookedCall(question, model, amount, None, time.monotonic() - began))

    async def _tell(self, booked: BookedCall) -> None:
        if self.on_booked is not None:
            await self.on_booked(booked)


_COMPLETION = TypeAdapter(Completion)


def _failure_kind(error: ProviderError) -> str:
    if isinstance(error, RateLimited):
        return "rate_limited"
    return "unavailable" if isinstance(error, ProviderUnavailable) else "rejected"


def _refuses_the_account(error: ProviderError) -> bool:
    return isinstance(error, ProviderRejected) and error.status in _ACCOUNT_REFUSED and not error.of_model


def _encodable(completion: Completion) -> Completion:
    """Return the answer without halves of surrogate pairs, which JSON can carry and no file or database can hold."""
    return replace(completion, text=completion.text.encode("utf-8", "replace").decode("utf-8"))


def _key(question: Question, request: CompletionRequest, number: int) -> str:
    parts = [
        question.task_id,
        question.label,
        question.purpose.value,
        question.prompt.version,
        request.model.id,
        request.system,
        request.prompt,
        str(number),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
