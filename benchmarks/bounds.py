"""The bounds that the benchmarks print beside their figures: one that is missed ends the benchmark."""

from __future__ import annotations


def at_most(name: str, value: float, bound: float) -> None:
    """Raise unless a figure is at most its bound."""
    if not value <= bound:
        raise RuntimeError(f"{name} is {value:.3f}, and may be at most {bound:g}")


def at_least(name: str, value: float, bound: float) -> None:
    """Raise unless a figure is at least its bound."""
    if not value >= bound:
        raise RuntimeError(f"{name} is {value:.3f}, and must be at least {bound:g}")
