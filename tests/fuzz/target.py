"""One target: a parser, the properties that hold whatever it is given, and what its fuzzing starts from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """`attempt` raises for an input that breaks a property; `tokens` are pieces that inputs are likely made of.

    `linear` says that the work of `attempt` on a piece repeated grows no faster than the repetition.
    """

    name: str
    attempt: Callable[[bytes], None]
    tokens: Sequence[str]
    linear: bool = True

    def kept(self) -> list[bytes]:
        """Return the inputs that are kept: seeds, and every input that once broke a property."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]


def text_of(data: bytes) -> str:
    """Return any bytes as a text; lone surrogates may stand in it."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def calls(attempt: Callable[[bytes], None], data: bytes) -> int:
    """Return how many functions an attempt calls: its work as a count, which no other load on the machine changes."""
    number = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        attempt(data)
    finally:
        sys.setprofile(before)
    return number
