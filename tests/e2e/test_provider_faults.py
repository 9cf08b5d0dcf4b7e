"""Every provider x what can go wrong with a call: the run ends completed, or honestly, and no bill is undercounted.

| fault                     | once        | for ever, and nobody else may be asked                              |
| ------------------------- | ----------- | ------------------------------------------------------------------- |
| slow within the deadline  | completed   | completed                                                           |
| slow beyond the deadline  | completed   | `no_model`: gave no answer from … within … seconds                  |
| 429                       | completed   | `no_model`: limits the rate of calls to …                           |
| 429, come back at once    | completed   | `no_model`: limits the rate of calls to …                           |
| 429, come back in an hour | next model  | `no_model`: limits the rate of calls to …, each asked once          |
| 500, 502, 503, 529        | completed   | `no_model`: could not serve …: HTTP …                               |
| dropped before            | completed   | `no_model`: the connection broke before the whole answer came       |
| dropped after             | completed   | `no_model`: the connection broke before the whole answer came       |
| malformed                 | completed   | `failed`: the answer was not JSON, or does not follow the schema    |
| truncated                 | completed   | `failed`: it was cut off at the output limit                        |
| no JSON                   | completed   | `no_model`: sent an answer from … that cannot be decoded            |
| hang                      | completed   | `no_model`: gave no answer from … within … seconds                  |

A provider that serves no call (slow beyond the deadline, 5xx, dropped, no JSON, hang) has all its tries at its first
model and one at each other, of which those that give no answer in time are two at most.
Each once, for ever, and for ever while two others may be asked, which then do all: by the real SDKs over HTTP.
All providers of a row run at once, each in a database of its own.
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.catalog import load_catalog
from orchestrator.control_plane import ControlPlane, OnEvent
from orchestrator.events import Event, EventType
from orchestrator.persistence import Persistence
from orchestrator.specs import parse_spec
from orchestrator.state import ProjectState
from tests.e2e.command_line import SPEC as USERS_SPEC
from tests.e2e.command_line import CommandLine, two_modules
from tests.e2e.command_line import ended as process_ended
from tests.e2e.napping import napping
from tests.loopback import Answer, Asked, Call, Fault, ModelServer, Script
from tests.loopback.script import Said

PROVIDERS = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local")
MODELS = {"openai": 5, "anthropic": 3, "google": 4, "deepseek": 2, "moonshot": 2, "minimax": 1, "zhipu": 1, "local": 1}
"""How many models of each provider the catalog holds: all of them are asked before a run gives up."""
SPEC = """\
version: 1
project: {title: Sample library, description: A sample library., success_criteria: Every part has a test.}
validation: {validators: [python_syntax]}
"""
CALL_SECONDS = 4.0
TRIES = 2
ANSWERS = 2
PATIENCE = Persistence(tries=TRIES, first_wait=0.01, longest_wait=2.0, answers=ANSWERS, call_seconds=60.0)
SHORT = Persistence(tries=TRIES, first_wait=0.01, longest_wait=2.0, answers=ANSWERS, call_seconds=CALL_SECONDS)
UNDISTURBED = ("architecture", "decompose", "generate", "review", "evaluate")
EVERYBODY = ("openai", "anthropic", "deepseek")
"""Two are left when one is down: whoever writes does not review."""
LONGEST_SECONDS = 240.0
"""Far more than any row takes; without a deadline of its own a run that hangs would go on for ever."""
NO_MODEL = (
    "Every provider failed at the architecture call. {said}\n"
    "Check the keys and the providers' status, then go on with the run."
)
UNUSABLE = (
    "No usable answer to the architecture call. {said}\n"
    "Go on with the run to ask again, or allow models of other providers."
)
NOT_JSON = r"{provider}'s {model}: the answer (was not JSON|does not follow the schema): .+"


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, what a run that meets it for ever says of each model, and how often each model is asked.

    `once` is how often the architecture is asked for where the fault comes once; `short` is for calls that end at
    their deadline; `down` is what counts as an outage of the provider.
    """

    said: Said
    tells: str = ""
    tries: int = TRIES
    ending: str = NO_MODEL
    once: int = 2
    short: bool = False
    down: bool = False

    def asked(self, models: int) -> int:
        """Return how often a provider of so many models is asked by one question."""
        if not self.down:
            return self.tries * models
        return self.tries + self.models(models) - 1

    def models(self, models: int) -> int:
        """Return how many models of a provider are asked."""
        return min(models, 2) if self.short else models


def _status(code: int) -> Row:
    return Row(
        Fault.status(code), rf"{{provider}} could not serve {{model}}: HTTP {code}: the script says so", down=True
    )


LIMITS = r"{provider} limits the rate of calls to {model}: the script says so"
BROKE = r"{provider} could not serve {model}: the connection broke before the whole answer came"
PASSED_OVER = r"openai has served no call since \d{4}-\d\d-\d\d \d\d:\d\d UTC: other providers were asked first"
CUT = r"{provider}'s {model}: it was cut off at the output limit"
NO_ANSWER = r"{provider} gave no answer from {model} within 4 seconds"
ROWS: dict[str, Row] = {
    "slow within the deadline": Row(Answer("", delay=0.5), once=1),
    "slow beyond the deadline": Row(Answer("", delay=CALL_SECONDS + 1), NO_ANSWER, short=True, down=True),
    "429": Row(Fault.status(429), LIMITS),
    "429, come back at once": Row(Fault.status(429, retry_after=0), LIMITS),
    "429, come back in an hour": Row(Fault.status(429, retry_after=3600), LIMITS, tries=1),
    **{str(code): _status(code) for code in (500, 502, 503, 529)},
    "dropped before": Row(Fault("drop"), BROKE, down=True),
    "dropped after": Row(Fault("drop_after"), BROKE, down=True),
    "malformed": Row(Fault("malformed"), NOT_JSON, ANSWERS, UNUSABLE),
    "truncated": Row(
        Fault("truncated"), r"{provider}'s {model}: it was cut off at the output limit", ANSWERS, UNUSABLE
    ),
    "no JSON": Row(Fault("not_json"), r"{provider} sent an answer from {model} that cannot be decoded", down=True),
    "hang": Row(Fault("hang"), NO_ANSWER, short=True, down=True),
}


class Disturbed(Script):
    """A script per provider, of which the first answer, or all, are what the row says: of `broken` or of everybody."""

    def __init__(self, row: Row, *, broken: str = "", for_ever: bool) -> None:
        super().__init__(tasks=1)
        self._row, self._broken, self._for_ever = row, broken, for_ever
        self._usual = {provider: Script(tasks=1) for provider in PROVIDERS}
        self._met: set[str] = set()

    def __call__(self, asked: Asked) -> Said:
        """Return what is said to one request."""
        usual = self._usual[asked.provider](asked)
        if self._broken not in ("", asked.provider) or (asked.provider in self._met and not self._for_ever):
            return usual
        self._met.add(asked.provider)
        said = self._row.said
        return (
            Answer(usual.content, delay=said.delay) if isinstance(said, Answer) and isinstance(usual, Answer) else said
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """How one run ended: its state, the calls that came, and what the accounts hold in picodollars."""

    state: ProjectState
    calls: list[Call]
    spent: int
    reserved: int

    @property
    def reason(self) -> str:
        """Why it ended so."""
        return self.state.outcome.reason

    def asked(self, purpose: str = "architecture") -> list[Call]:
        """Return the calls of a purpose."""
        return [call for call in self.calls if call.purpose == purpose]


async def run(
    server: ModelServer, home: Path, providers: tuple[str, ...], patience: Persistence, follow: OnEvent | None = None
) -> Ended:
    """Build a small library with these providers, in a database of its own."""
    env = server.environment(providers) | {"ORCHESTRATOR_HOME": str(home), "PATH": os.environ["PATH"]}
    async with ControlPlane.open(env, persistence=patience) as plane:
        state = await plane.submit(parse_spec(SPEC, "spec.yaml", require_project=True), run_id="run-1", on_event=follow)
        async with plane.database.reading() as connection:
            query = text("SELECT spent, reserved FROM accounts WHERE id = 'run:run-1'")
            spent, reserved = (await connection.execute(query)).one()
    return Ended(state, [], spent, reserved)


async def runs(tmp_path: Path, row: Row, *, for_ever: bool) -> dict[str, Ended]:
    """Return how the runs of all providers end, each of which may ask no other."""
    with ModelServer(Disturbed(row, for_ever=for_ever)) as server:
        async with asyncio.timeout(LONGEST_SECONDS), asyncio.TaskGroup() as group:
            patience = SHORT if row.short else PATIENCE
            tasks = {name: group.create_task(run(server, tmp_path / name, (name,), patience)) for name in PROVIDERS}
        return {name: _with_calls(task.result(), server, (name,)) for name, task in tasks.items()}


def _with_calls(ended: Ended, server: ModelServer, providers: tuple[str, ...]) -> Ended:
    calls = [call for call in server.journal if call.provider in providers]
    return Ended(ended.state, calls, ended.spent, ended.reserved)


def billed(calls: list[Call]) -> int:
    """Return what the vendors bill at list prices, in picodollars."""
    models = load_catalog(local_model="loopback-model").models
    return sum(models[it.model].price.cost(it.input_tokens, it.output_tokens) for it in calls if it.billed)


def children() -> set[int]:
    """Return the processes that this one has started and not ended."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fault", ROWS)
async def test_a_fault_that_passes_leaves_no_trace_but_one_more_call(tmp_path: Path, fault: str) -> None:
    # given
    row, before = ROWS[fault], children()
    # when
    ended = await runs(tmp_path, row, for_ever=False)
    # then
    alone = [name for name, models in MODELS.items() if models == 1 and row.tries == 1]
    for provider, it in ended.items():
        if provider in alone:
            assert (it.state.status.value, it.state.outcome.code) == ("failed", "no_model"), it.reason
            assert len(it.calls) == 1
        else:
            assert it.state.status.value == "completed", (provider, it.reason)
            assert len(it.asked()) == row.once, provider
            assert [call.purpose for call in it.calls[len(it.asked()) - 1 :]] == list(UNDISTURBED)
        assert it.spent >= billed(it.calls), provider
        assert it.reserved == 0, provider
    assert children() == before


@pytest.mark.slow
@pytest.mark.parametrize("fault", [name for name, row in ROWS.items() if row.tells])
async def test_a_fault_that_stays_ends_the_run_and_says_which_provider_did_what(tmp_path: Path, fault: str) -> None:
    # given
    row, before = ROWS[fault], children()
    # when
    ended = await runs(tmp_path, row, for_ever=True)
    # then
    for provider, it in ended.items():
        code = "no_model" if row.ending == NO_MODEL else "failed"
        assert (it.state.status.value, it.state.outcome.code) == ("failed", code), provider
        models = list(dict.fromkeys(call.model for call in it.calls))
        assert len(models) == row.models(MODELS[provider])
        said = "; ".join(row.tells.format(provider=provider, model=re.escape(model)) for model in models)
        if len(models) < MODELS[provider]:
            said += f"; {provider}'s other models were not asked, after 2 gave no answer in time"
        head, tail = (re.escape(part) for part in row.ending.split("{said}"))
        assert re.fullmatch(f"{head}{said}{tail}", it.reason), it.reason
        assert len(it.calls) == row.asked(MODELS[provider])
        assert {call.purpose for call in it.calls} == {"architecture"}
        assert it.spent >= billed(it.calls), provider
        assert it.reserved == 0, provider
    assert children() == before


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name != "dropped before" else [])
        for name, row in ROWS.items()
        if row.tells
    ],
)
async def test_where_another_provider_may_be_asked_it_does_what_the_first_one_cannot(
    tmp_path: Path, fault: str
) -> None:
    # given
    row, before = ROWS[fault], children()
    with ModelServer(Disturbed(row, broken="openai", for_ever=True)) as server:
        failed: list[tuple[str, str]] = []

        async def follow(event: Event) -> None:
            if event.type in (EventType.CALL_FAILED, EventType.ANSWER_REJECTED):
                failed.append((event.data["provider"], event.data["kind"]))

        # when
        async with asyncio.timeout(LONGEST_SECONDS):
            ended = await run(server, tmp_path / "home", EVERYBODY, SHORT if row.short else PATIENCE, follow)
        ended = _with_calls(ended, server, EVERYBODY)
    # then
    assert ended.state.status.value == "completed", ended.reason
    assert {provider for provider, _ in failed} == {"openai"}
    broken = [call for call in ended.calls if call.provider == "openai"]
    assert len(failed) == len(broken)
    assert len(broken) == 2 or not row.down
    assert len([note for note in ended.state.notes if re.fullmatch(PASSED_OVER, note)]) == row.down
    reasons = [choice.reason for result in ended.state.results.values() for choice in result.routes]
    assert any(re.search(f"; {PASSED_OVER}; .+ answered$", reason) for reason in reasons) == row.down
    assert [call.purpose for call in ended.calls if call.provider != "openai"] == list(UNDISTURBED)
    assert ended.spent >= billed(ended.calls)
    assert ended.reserved == 0
    assert children() == before


# The same through the command line, a process of its own with the waits that users have


@dataclass(frozen=True, slots=True)
class Cell:
    """A fault for the process, and how it ends: exit status, code, how its reason begins, requests at most."""

    said: Fault
    for_ever: bool
    status: int
    code: str
    reason: str
    requests: int


LEFT = "Every provider failed at the architecture call. deepseek limits the rate of calls to deepseek-chat: the script"
CELLS = {
    "a billed answer breaks off once": Cell(Fault("drop_after"), False, 0, "changed", "Every task and every", 8),
    "nothing before an hour": Cell(Fault.status(429, retry_after=3600), True, 4, "no_model", LEFT, 7),
    "cut off for ever": Cell(Fault("truncated"), True, 1, "failed", "No usable answer to the architecture call. ", 21),
    "no answer ever": Cell(Fault("hang"), True, 3, "timed_out", "The time limit of 8 s is reached.", 1),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "hour" not in name else []) for name in CELLS]
)
def test_a_process_meets_a_fault_and_ends_with_its_status_and_leaves_nobody_behind(
    tmp_path: Path, name: str, nap: str
) -> None:
    # given
    cell = CELLS[name]
    usual, met = two_modules(), []

    class Broken(Script):
        def __call__(self, asked: Asked) -> Said:
            met.append(asked.purpose)
            return cell.said if cell.for_ever or len(met) == 1 else usual(asked)

    # and a check that leaves a process behind, in a session of its own
    (tmp_path / "spec.yaml").write_text(f"{USERS_SPEC}  commands: ['setsid sleep {nap} & sleep 0.1']\n")
    with ModelServer(Broken()) as server:
        user = CommandLine(tmp_path, server)
        # when
        ending = process_ended(user.build(*(["--max-time", "8"] if cell.said.kind == "hang" else [])))
        report = user.report()
    # then
    assert ending.status == cell.status, ending
    assert report["outcome"]["code"] == cell.code
    assert report["outcome"]["reason"].startswith(cell.reason), report["outcome"]["reason"]
    assert "Traceback" not in ending.out + ending.err
    assert len(server.journal) <= cell.requests
    spent, reserved = user.accounts()["run:sample"]
    assert spent >= billed(server.journal)
    assert reserved == 0
    checked = [it["passed"] for it in report["validation"] if str(nap) in it["validator"]]
    assert checked == ([True] if cell.status == 0 else [])
    assert napping(nap) == []
