"""What the loopback server saw and billed, and ways to wait for it from another thread."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """One request; times are seconds since the epoch, tokens are as billed and 0 where nothing is.

    `could_bill_input` and `max_output_tokens` bound what a call in flight may still cost. `outcome` is "" while it is
    in flight, then "answer", "rejected" for a request that a vendor refuses, or the kind of the fault. `ended` and the
    bill stand before the first byte of the answer leaves.
    """

    index: int
    provider: str
    model: str
    purpose: str
    started: float
    key: str
    system: str
    prompt: str
    could_bill_input: int
    max_output_tokens: int
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None
    status: int = 0
    outcome: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def billed(self) -> bool:
        """True when the vendor bills this call."""
        return bool(self.input_tokens or self.output_tokens)

    def as_json(self) -> dict[str, Any]:
        """Return the call as a JSON object."""
        return asdict(self) | {"billed": self.billed}


class Journal:
    """The calls in the order they came, and how many answers have left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._answers = 0

    @property
    def calls(self) -> list[Call]:
        """The calls so far."""
        with self._changed:
            return list(self._calls)

    @property
    def answers(self) -> int:
        """How many billed answers have left completely."""
        with self._changed:
            return self._answers

    def add(self, call: Call) -> None:
        """Note a request that came."""
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def changed(self) -> None:
        """Wake those who wait, after a call has ended."""
        with self._changed:
            self._changed.notify_all()

    def sent(self) -> None:
        """Note that a billed answer left completely."""
        with self._changed:
            self._answers += 1
            self._changed.notify_all()

    def wait_for_calls(self, count: int, timeout: float = 30.0) -> None:
        """Block until that many requests came; raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: len(self._calls) >= count, f"{count} calls", timeout)

    def wait_for_answers(self, count: int, timeout: float = 30.0) -> None:
        """Block until that many billed answers left; raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self._answers >= count, f"{count} answers", timeout)

    def wait_for_end_of(self, index: int, timeout: float = 30.0) -> None:
        """Block until the call of that index has ended; raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: len(self._calls) > index and self._calls[index].ended is not None, f"call {index}", timeout)

    def _wait(self, ready: Any, what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                raise TimeoutError(f"{what} did not come within {timeout:g} s: {len(self._calls)}, {self._answers}")
