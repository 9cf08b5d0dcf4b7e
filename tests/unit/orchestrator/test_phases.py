"""Warnings of the budget: every threshold once, exactly when it is reached, however the money is spent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget import PHASE_PERCENT, Budget, Phase
from orchestrator.phases import BudgetWarning, Meter
from orchestrator.state import Purpose, phase_of

PICO = 10**12
SPENDING = st.lists(st.tuples(st.sampled_from(list(Phase)), st.integers(0, 3 * PICO)), max_size=30)


def named(warnings: list[BudgetWarning]) -> list[tuple[str, float]]:
    return [(one.phase, one.threshold) for one in warnings]


def test_the_shares_of_the_phases_make_up_the_cap() -> None:
    assert Budget(10.0).phases == {
        Phase.DECOMPOSITION: 0.5,
        Phase.GENERATION: 4.5,
        Phase.CROSS_REVIEW: 2.5,
        Phase.EVALUATION: 1.5,
        Phase.RESERVE: 1.0,
    }


@pytest.mark.parametrize(
    ("purpose", "task_id", "phase"),
    [
        (Purpose.ARCHITECTURE, "", Phase.DECOMPOSITION),
        (Purpose.DECOMPOSE, "", Phase.DECOMPOSITION),
        (Purpose.GENERATE, "a", Phase.GENERATION),
        (Purpose.REVISE, "a", Phase.GENERATION),
        (Purpose.REVIEW, "a", Phase.CROSS_REVIEW),
        (Purpose.EVALUATE, "", Phase.EVALUATION),
        (Purpose.REVISE, "repair-1", Phase.RESERVE),
        (Purpose.REVIEW, "repair-1", Phase.RESERVE),
    ],
)
def test_every_call_takes_the_share_of_its_phase(purpose: Purpose, task_id: str, phase: Phase) -> None:
    assert phase_of(purpose, task_id) is phase


def test_a_phase_warns_at_80_and_at_100_percent_of_its_share_and_says_how_much_that_is() -> None:
    # given: ten dollars, half a dollar of it for decomposition
    meter = Meter(10 * PICO, {})
    # when, then
    assert meter.add(Phase.DECOMPOSITION, 4 * 10**11 - 1) == []
    assert meter.add(Phase.DECOMPOSITION, 1) == [BudgetWarning("decomposition", 0.8, 0.8, 0.4, 0.5)]
    assert named(meter.add(Phase.DECOMPOSITION, 10**11)) == [("decomposition", 1.0)]
    assert meter.add(Phase.DECOMPOSITION, 10**11) == []


def test_the_whole_warns_at_50_80_and_95_percent() -> None:
    meter = Meter(10 * PICO, {})
    steps = [named(meter.add(Phase.GENERATION, PICO)) for _ in range(10)]
    assert [[threshold for phase, threshold in step if phase == "total"] for step in steps] == [
        [],
        [],
        [],
        [],
        [0.5],
        [],
        [],
        [0.8],
        [],
        [0.95],
    ]


def test_one_call_that_passes_several_thresholds_warns_of_each() -> None:
    assert named(Meter(PICO, {}).add(Phase.RESERVE, PICO)) == [
        ("reserve", 0.8),
        ("reserve", 1.0),
        ("total", 0.5),
        ("total", 0.8),
        ("total", 0.95),
    ]


@given(cap=st.integers(0, 20 * PICO), spending=SPENDING, at=st.integers(0, 30))
def test_each_threshold_is_told_once_if_it_is_reached_and_a_resume_repeats_none(
    cap: int, spending: list[tuple[Phase, int]], at: int
) -> None:
    # given
    told: list[BudgetWarning] = []
    meter = Meter(cap, {})
    # when: another process goes on in the middle, knowing only what was spent
    for number, (phase, cost) in enumerate(spending):
        if number == at:
            meter = Meter(cap, dict(meter.spent))
        told += meter.add(phase, cost)
    # then
    spent = {phase: sum(cost for one, cost in spending if one is phase) for phase in Phase}
    reached = {
        (phase.value, percent / 100)
        for phase in Phase
        for percent in (80, 100)
        if cap and spent[phase] * 10_000 >= cap * PHASE_PERCENT[phase] * percent
    }
    reached |= {
        ("total", percent / 100) for percent in (50, 80, 95) if cap and sum(spent.values()) * 100 >= cap * percent
    }
    assert sorted(named(told)) == sorted(reached)
    assert all(one.ratio >= one.threshold for one in told)
