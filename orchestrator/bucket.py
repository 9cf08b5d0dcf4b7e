"""A token bucket as plain arithmetic: whether there is room for one more write, and when there will be."""

from __future__ import annotations

from dataclasses import dataclass

GITHUB_AN_HOUR = 500
_A_MINUTE = 80
"""Content that one account may create on GitHub.

Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
"""
_SHARE_OF_ENDINGS = 1 / 3


@dataclass(frozen=True, slots=True)
class Bucket:
    """Room for `capacity` writes at once, and for `a_second` more with every second.

    Any stretch of time holds at most `capacity` and what flows in meanwhile. Mere progress leaves `reserve` to what
    must be said at the end.
    """

    capacity: float
    a_second: float
    reserve: float

    def after(self, room: float, seconds: float, *, progress: bool) -> tuple[float, float]:
        """Return the room that is left after one write, `seconds` after there was `room`, and how long to wait.

        A wait above 0 means that nothing was taken.
        """
        there = min(self.capacity, room + max(0.0, seconds) * self.a_second)
        needed = 1.0 + (self.reserve if progress else 0.0)
        if there >= needed:
            return there - 1.0, 0.0
        return there, (needed - there) / self.a_second


def content_bucket(an_hour: int = GITHUB_AN_HOUR) -> Bucket:
    """Return the bucket that keeps any hour within `an_hour` writes and any minute within GitHub's share of that."""
    # capacity + 60 s · flow = 80 and capacity + 3600 s · flow = 500, both at once, for GitHub's own numbers.
    flow = (GITHUB_AN_HOUR - _A_MINUTE) / (3600.0 - 60.0)
    capacity = _A_MINUTE - 60.0 * flow
    share = an_hour / GITHUB_AN_HOUR
    return Bucket(capacity * share, flow * share, capacity * share * _SHARE_OF_ENDINGS)
