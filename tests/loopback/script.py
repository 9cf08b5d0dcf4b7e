"""What the loopback models answer: a default for every purpose, faults by their turn, overrides by callables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tests.loopback import library

FaultKind = Literal["status", "drop", "drop_after", "truncated", "malformed", "empty", "refusal", "hang", "not_json"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read from the vendor's wire format; `turn` counts the requests of this purpose from 0."""

    provider: str
    model: str
    purpose: str
    system: str
    prompt: str
    schema: dict[str, Any]
    max_output_tokens: int
    body: dict[str, Any]
    key: str
    headers: dict[str, str]
    stream: bool = False
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says: `content` is an object, or text as it stands.

    Tokens not given are a quarter of the bytes. `full_output` bills the whole output limit. `usage=False` leaves the
    usage out of the answer, though it is billed. `delay` is in seconds. `raw` is laid
    over the finished body of an unstreamed answer, for what only one vendor says.
    """

    content: dict[str, Any] | str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    full_output: bool = False
    usage: bool = True
    delay: float = 0.0
    raw: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content if isinstance(self.content, str) else json.dumps(self.content)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong instead.

    status: an HTTP error, unbilled. drop: the connection closes before an answer, unbilled. drop_after: it closes in
    the middle of a billed answer. truncated: billed, ends at the output limit within the JSON. malformed, empty,
    refusal: billed answers of that kind. not_json: a billed HTTP 200 whose body is no JSON. hang: nothing ever comes.
    """

    kind: FaultKind
    code: int = 500
    retry_after: str | None = None
    message: str = "the script says so"
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def status(
        cls,
        code: int,
        *,
        retry_after: str | float | None = None,
        message: str = "the script says so",
        error: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Answer with an HTTP status; `error` is the vendor's code or type where it differs from the usual one."""
        wait = None if retry_after is None else str(retry_after)
        return cls("status", code, wait, message, error, headers or {})


Said: TypeAlias = Answer | Fault
Answerer: TypeAlias = Callable[[Asked], Said]


class Script:
    """Answers every purpose as a model that builds a small Python library would.

    The plan has `tasks` tasks in `chains` independent chains, each with a test unless `tested` says otherwise; it
    declares a package unless `installs` does.
    `answers` overrides a purpose by a callable, which may return `script.default(asked)`. `faults` gives a purpose, or
    "*" for all, what its first requests meet; None in that list means the usual answer. `delay` in seconds passes
    before every answer; `full_output` bills every answer at its whole output limit.
    """

    def __init__(
        self,
        *,
        tasks: int = 3,
        chains: int = 1,
        answers: Mapping[str, Answerer] | None = None,
        faults: Mapping[str, Sequence[Fault | None]] | None = None,
        delay: float = 0.0,
        full_output: bool = False,
        tested: bool = True,
        installs: bool = True,
    ) -> None:
        self.tasks = tasks
        self.chains = chains
        self.tested = tested
        self.installs = installs
        self.delay = delay
        self.full_output = full_output
        self._answers = dict(answers or {})
        self._faults = {purpose: list(faults) for purpose, faults in (faults or {}).items()}

    def __call__(self, asked: Asked) -> Said:
        """Return what is said to one request."""
        for purpose in (asked.purpose, "*"):
            if self._faults.get(purpose):
                fault = self._faults[purpose].pop(0)
                if fault is not None:
                    return fault
                break
        return self._answers.get(asked.purpose, self.default)(asked)

    def default(self, asked: Asked) -> Answer:
        """Return the sensible answer to a purpose."""
        return Answer(self._content(asked), delay=self.delay, full_output=self.full_output)

    def _content(self, asked: Asked) -> dict[str, Any] | str:
        match asked.purpose:
            case "architecture":
                return library.ARCHITECTURE
            case "decompose":
                return library.plan(self.tasks, self.chains, tested=self.tested, installs=self.installs)
            case "generate" | "revise":
                return library.changes(asked.prompt, asked.turn)
            case "review":
                return {"score": 0.9, "verdict": "approve", "findings": []}
            case "evaluate":
                return {"score": 0.9, "reason": "Everything that was asked for is there."}
            case "draft":
                return {"job": {}, "policy": {}, "rationale": "Nothing had to be narrowed."}
        return "Hello."
