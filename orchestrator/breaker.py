"""Which providers serve no call: a circuit breaker for each, shared by all runs that share their connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 600.0


@dataclass(slots=True)
class _Outage:
    since: float
    pause: float
    until: float
    on_trial: bool = False


@dataclass(slots=True)
class Breaker:
    """The outages of providers; `clock` measures pauses in seconds, `today` is the time of day since the epoch.

    A circuit opens when a call has failed to its last try. After a pause, which doubles from `FIRST_PAUSE` up to
    `LONGEST_PAUSE` seconds, one call at a time is let through as a trial; any answer closes the circuit.
    Source: https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
    """

    clock: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    _outages: dict[str, _Outage] = field(default_factory=dict)

    def is_open(self, provider: str) -> bool:
        """Tell whether a provider serves no call, and neither a trial is due."""
        outage = self._outages.get(provider)
        return outage is not None and (outage.on_trial or self.clock() < outage.until)

    def since(self, provider: str) -> str:
        """Return since when a provider has served no call, to the minute; empty where its last call was served."""
        outage = self._outages.get(provider)
        return f"{datetime.fromtimestamp(outage.since, UTC):%Y-%m-%d %H:%M} UTC" if outage else ""

    @contextmanager
    def asking(self, provider: str) -> Iterator[None]:
        """Ask a provider in the block: where a trial is due, this is the one, and the circuit is open for others."""
        outage = self._outages.get(provider)
        if outage is None or self.is_open(provider):
            yield
            return
        outage.on_trial = True
        try:
            yield
        finally:
            # However it ends: a trial that was cancelled, or could not be paid, leaves room for the next one.
            outage.on_trial = False

    def failed(self, provider: str) -> None:
        """Note that a call was tried to its end in vain; while the circuit is open only a trial's failure counts."""
        outage = self._outages.get(provider)
        if outage is None:
            self._outages[provider] = _Outage(self.today(), FIRST_PAUSE, self.clock() + FIRST_PAUSE)
        elif outage.on_trial:
            outage.pause = min(2 * outage.pause, LONGEST_PAUSE)
            outage.until = self.clock() + outage.pause
            outage.on_trial = False

    def answered(self, provider: str) -> None:
        """Note that a provider gave an answer, be it a refusal: the outage, if there was one, is over."""
        self._outages.pop(provider, None)
