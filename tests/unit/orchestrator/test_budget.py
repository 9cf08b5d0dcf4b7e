"""The budget of one run: nothing is reserved beyond the cap, and every reservation ends once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.budget import Budget, Reservation, dollars, to_pico, to_usd
from orchestrator.errors import BudgetExhausted

PICO = 10**12


@pytest.mark.parametrize(
    ("usd", "pico"),
    [(0, 0), (8.0, 8 * PICO), (0.1, 10**11), (0.05, 5 * 10**10), ("0.0000000000001", 1), (Decimal("1e-12"), 1)],
)
def test_money_becomes_whole_picodollars_and_is_never_understated(usd: float | str | Decimal, pico: int) -> None:
    assert to_pico(usd) == pico


@given(st.integers(0, 10**15))
def test_picodollars_come_back_unchanged_from_dollars(pico: int) -> None:
    assert to_pico(to_usd(pico)) == pico


@pytest.mark.parametrize("value", [-0.01, float("inf"), float("nan"), "5"])
def test_a_cap_is_a_number_from_zero_up(value: float) -> None:
    with pytest.raises(ValueError, match="max_usd must be a number from 0 up"):
        Budget(max_usd=value)
    with pytest.raises(ValueError, match="max_time_seconds must be a number from 0 up"):
        Budget(max_time_seconds=value)


def test_a_reservation_is_settled_at_what_the_call_cost() -> None:
    budget = Budget(1.0)
    one, two = budget.reserve(6 * 10**11), budget.reserve(4 * 10**11)
    budget.settle(one, 10**11)
    budget.release(two)

    assert (budget.spent_usd, budget.reserved_usd, budget.remaining_usd) == (0.1, 0.0, 0.9)


def test_what_the_cap_has_no_room_for_is_refused_and_changes_nothing() -> None:
    budget = Budget(1.0)
    budget.reserve(10**12 - 1)

    with pytest.raises(BudgetExhausted, match=r"could cost \$0\.5000, and \$0\.0000 of \$1\.00 is left"):
        budget.reserve(5 * 10**11)

    assert (budget.spent, budget.reserved, budget.remaining) == (0, 10**12 - 1, 1)


def test_the_last_picodollar_can_be_reserved_and_not_one_more() -> None:
    budget = Budget(0.05)

    budget.reserve(5 * 10**10)

    with pytest.raises(BudgetExhausted):
        budget.reserve(1)


def test_a_reservation_ends_once() -> None:
    budget = Budget(1.0)
    one = budget.reserve(5)
    budget.settle(one, 3)

    with pytest.raises(KeyError):
        budget.release(one)

    assert (budget.spent, budget.reserved) == (3, 0)


@pytest.mark.parametrize("amount", [-1, -(10**12)])
def test_money_never_flows_back(amount: int) -> None:
    budget = Budget(1.0)

    with pytest.raises(ValueError, match="cannot be negative"):
        budget.reserve(amount)
    with pytest.raises(ValueError, match="cannot be negative"):
        budget.settle(budget.reserve(1), amount)


def test_a_vendor_that_bills_too_much_is_recorded_and_nothing_more_is_reserved() -> None:
    budget = Budget(1.0)
    budget.settle(budget.reserve(10**12), 2 * 10**12)

    assert (budget.spent_usd, budget.remaining, budget.remaining_usd) == (2.0, -(10**12), 0.0)
    with pytest.raises(BudgetExhausted):
        budget.reserve(1)


def test_a_run_goes_on_with_what_was_spent_before() -> None:
    budget = Budget(1.0)
    budget.carry(9 * 10**11, 12.5)

    assert (budget.spent_usd, budget.elapsed_seconds, budget.remaining) == (0.9, 12.5, 10**11)


@given(
    cap=st.integers(0, 10**13),
    steps=st.lists(
        st.tuples(st.integers(0, 5 * 10**12), st.sampled_from(["settle", "release", "keep"]), st.integers(0, 100))
    ),
)
def test_spent_and_reserved_never_pass_the_cap(cap: int, steps: list[tuple[int, str, int]]) -> None:
    budget = Budget(to_usd(cap))
    kept: list[Reservation] = []
    for amount, ending, percent in steps:
        try:
            reservation = budget.reserve(amount)
        except BudgetExhausted:
            continue
        assert budget.spent + budget.reserved <= cap
        if ending == "settle":
            budget.settle(reservation, amount * percent // 100)
        elif ending == "release":
            budget.release(reservation)
        else:
            kept.append(reservation)

    assert budget.spent + budget.reserved <= cap
    assert budget.reserved == sum(reservation.amount for reservation in kept)


@pytest.mark.parametrize(("usd", "said"), [(8.0, "$8.00"), (0.0, "$0.00"), (0.1, "$0.10"), (0.001, "$0.0010")])
def test_a_cap_below_a_cent_is_not_said_to_be_nothing(usd: float, said: str) -> None:
    assert dollars(usd) == said


def test_a_call_without_room_names_a_cap_of_less_than_a_cent() -> None:
    with pytest.raises(BudgetExhausted, match=r"could cost \$0\.0020, and \$0\.0010 of \$0\.0010 is left"):
        Budget(0.001).reserve(to_pico(0.002))
