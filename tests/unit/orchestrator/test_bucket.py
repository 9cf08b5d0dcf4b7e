from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bucket import content_bucket

BUCKET = content_bucket()
_ASKS = st.lists(st.tuples(st.floats(0, 400), st.booleans(), st.integers(1, 60)), min_size=1, max_size=60)


def _granted(asks: list[tuple[float, bool, int]]) -> list[float]:
    """Return when each write was granted, of asks that come after a pause, many at a time."""
    now, room, granted = 0.0, BUCKET.capacity, list[float]()
    for pause, progress, many in asks:
        now += pause
        for position in range(many):
            room, wait = BUCKET.after(room, 0.0 if position else pause, progress=progress)
            if not wait:
                granted.append(now)
    return granted


@given(_ASKS)
def test_no_minute_holds_more_than_80_writes_and_no_hour_more_than_500(asks: list[tuple[float, bool, int]]) -> None:
    granted = _granted(asks)
    for begin in granted:
        assert sum(begin <= at < begin + 60 for at in granted) <= 80
        assert sum(begin <= at < begin + 3600 for at in granted) <= 500


@given(_ASKS)
def test_progress_alone_leaves_room_for_what_must_be_said_at_the_end(asks: list[tuple[float, bool, int]]) -> None:
    room = BUCKET.capacity
    for pause, _, many in asks:
        for _ in range(many):
            room, _ = BUCKET.after(room, pause, progress=True)
    assert room >= 24.0


def test_a_wait_is_as_long_as_it_takes_until_the_next_write_fits() -> None:
    left, wait = BUCKET.after(0.5, 0.0, progress=False)
    assert (left, round(wait, 1)) == (0.5, 4.2)
    assert BUCKET.after(left, wait + 0.001, progress=False)[1] == 0.0


def test_other_numbers_of_an_hour_keep_the_proportions() -> None:
    half = content_bucket(250)
    assert round(half.capacity + 60 * half.a_second, 6) == 40
    assert round(half.capacity + 3600 * half.a_second, 6) == 250
