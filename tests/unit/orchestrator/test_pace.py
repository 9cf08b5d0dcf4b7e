"""How fast each model is called: whatever minute one looks at, it holds no more calls than the limit."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.pace import Pace
from orchestrator.runtime import Runtime


class Clock:
    """A clock that stands still until somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_call_over_the_limit_waits_until_the_oldest_is_a_minute_old() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.take("m", 2)
    clock.now += 10
    assert pace.take("m", 2)
    assert not pace.take("m", 2)
    assert pace.pause("m", 2) == 50.0
    clock.now += 50
    assert pace.pause("m", 2) == 0.0
    assert pace.take("m", 2)
    assert pace.pause("m", 2) == 10.0


def test_each_model_has_its_own_minute_and_no_limit_never_waits() -> None:
    pace = Pace(Clock())
    assert pace.take("m", 1)
    assert pace.take("other", 1)
    assert pace.pause("m", None) == 0.0
    assert pace.take("m", None)


def test_calls_of_runs_without_a_limit_count_for_those_with_one() -> None:
    pace = Pace(Clock())
    assert pace.take("m", None)
    assert pace.take("m", None)
    assert not pace.take("m", 2)


async def test_all_runs_of_a_process_have_one_pace_whatever_their_state(tmp_path: Path) -> None:
    homes = [{"ORCHESTRATOR_HOME": str(tmp_path / name)} for name in ("one", "other")]

    async with Runtime.open(homes[0], providers={}) as one, Runtime.open(homes[1], providers={}) as other:
        assert one.pace is other.pace


@given(limit=st.integers(1, 5), gaps=st.lists(st.floats(0, 40), max_size=40))
def test_no_minute_holds_more_calls_than_the_limit(limit: int, gaps: list[float]) -> None:
    clock = Clock()
    pace = Pace(clock)
    taken: list[float] = []
    for gap in gaps:
        clock.now += gap
        if pace.take("m", limit):
            taken.append(clock.now)
        else:
            assert 0 < pace.pause("m", limit) <= 60
    for start in taken:
        assert sum(start <= one < start + 60 for one in taken) <= limit
