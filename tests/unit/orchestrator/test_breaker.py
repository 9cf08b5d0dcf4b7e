"""Which providers serve no call: a circuit opens, lets one trial through after a pause, and closes with an answer."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_circuit_opens_for_a_minute_and_only_that_of_the_provider() -> None:
    clock = Clock()
    breaker = Breaker(clock, lambda: 1_800_000_000.0)
    assert (breaker.is_open("openai"), breaker.since("openai")) == (False, "")

    breaker.failed("openai")

    assert breaker.is_open("openai")
    assert breaker.since("openai") == "2027-01-15 08:00 UTC"
    assert not breaker.is_open("anthropic")
    clock.now += 60
    assert not breaker.is_open("openai")


def test_one_trial_at_a_time_is_let_through_and_its_answer_closes_the_circuit() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed("openai")
    clock.now += 60

    with breaker.asking("openai"):
        assert breaker.is_open("openai")
        with breaker.asking("openai"):
            pass
        assert breaker.is_open("openai")
        breaker.answered("openai")

    assert (breaker.is_open("openai"), breaker.since("openai")) == (False, "")


def test_pauses_double_with_each_failed_trial_up_to_ten_minutes() -> None:
    clock, pauses = Clock(), []
    breaker = Breaker(clock)
    breaker.failed("openai")
    for _ in range(5):
        began = clock.now
        while breaker.is_open("openai"):
            clock.now += 1
        pauses.append(clock.now - began)
        with breaker.asking("openai"):
            breaker.failed("openai")

    assert pauses == [60, 120, 240, 480, 600]


def test_calls_that_fail_while_the_circuit_is_open_do_not_prolong_the_pause() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed("openai")
    clock.now += 59
    with breaker.asking("openai"):
        breaker.failed("openai")
    clock.now += 1

    assert not breaker.is_open("openai")


def test_a_trial_that_was_cut_off_leaves_room_for_the_next() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed("openai")
    clock.now += 60

    with pytest.raises(asyncio.CancelledError), breaker.asking("openai"):
        raise asyncio.CancelledError

    assert not breaker.is_open("openai")


@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from(["failed", "answered", "trial"]))))
def test_whatever_happens_a_circuit_is_open_for_ten_minutes_at_most(steps: list[tuple[int, str]]) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for seconds, step in steps:
        clock.now += seconds
        with breaker.asking("openai"):
            if step == "answered":
                breaker.answered("openai")
                assert not breaker.is_open("openai")
            elif step == "failed":
                breaker.failed("openai")
                assert breaker.is_open("openai")
    clock.now += 600

    assert not breaker.is_open("openai")
