"""One bot after another on the same state, each killed with SIGKILL at one exact moment of a conversation.

What the matrix promises is decided here: what counts as a moment, and that the bot is dead before anything follows.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bot.localhub.faults import RecordedRequest
from tests.counts import KILLS, count
from tests.e2e.end_state import EndState, end_state, ended, unlike, write_of
from tests.e2e.revising import on_line
from tests.e2e.stage import MAINTAINER, Asked, Scene, Stage, billed_usd, until
from tests.loopback import Asked as Question
from tests.loopback import Fault
from tests.loopback.script import Said

Side = Literal["before", "after"]
Kind = Literal["question", "write", "commit"]
SIDES: tuple[Side, Side] = ("before", "after")
PICODOLLARS = 10**12


@dataclass(frozen=True, slots=True)
class Moment:
    """The `turn`-th of what happens in a conversation under one name, counted from 1.

    A question goes to a model and is named by its purpose; a write goes to GitHub and is named by method and path; a
    commit is named by what its transaction wrote.
    """

    kind: Kind
    what: str
    turn: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Before a moment nothing of it has happened; after it all of it has, and the bot does not know."""

    side: Side
    moment: Moment


@dataclass(frozen=True, slots=True)
class Ending:
    """What a conversation has left behind, and what it took.

    `questions` are those that models were asked, by purpose and task. `lost` is how many calls the ledger counts at
    their reservations, `noted` how often GitHub is told of them.
    """

    end: EndState
    moments: list[Moment]
    questions: Counter[tuple[str, str]]
    lost: int
    noted: int


_SENTENCE = r"- \d+ call\(s\) were in flight when a process died; each counts at its reservation\.\\n"
_NOTE = re.compile(rf"### Notes\\n\\n{_SENTENCE}\\n(?=<!--|#)|{_SENTENCE}")
_BUDGET = re.compile(r"Spent \$ of \$; \$ left; .*?\| Model \| Calls \|.*?(?=\\n\\n|\")")
_TASK = re.compile(r"^Task: (\S+)$", re.MULTILINE)

Talk = Callable[["Conversation"], Coroutine[Any, Any, None]]


async def run(said: Conversation) -> None:
    """A run of two tasks."""
    await said("/orchestrate")


async def plan(said: Conversation) -> None:
    """A plan of two tasks."""
    await said("/orchestrate plan")


async def plan_and_approve(said: Conversation) -> None:
    """A plan of two tasks, and its approval."""
    await plan(said)
    await said("/orchestrate approve")


async def run_and_revise(said: Conversation) -> None:
    """A run of two tasks, and a round on its pull request, on which a line is remarked upon."""
    await run(said)
    scene = said.scene
    (pull,) = scene.hub.pull_requests(scene.repository)
    await on_line(Asked(scene, said.issue, 0, 202, {}), MAINTAINER, "Say what it adds.")
    await said("/orchestrate revise Name the constant.", pull["number"])


@dataclass
class Conversation:
    """What a maintainer says on one new repository."""

    line: Line
    scene: Scene
    issue: int = 0

    async def __call__(self, text: str, number: int = 0) -> None:
        """Say something on the issue, or elsewhere, and wait until the bot has nothing left to do."""
        await self.line.up.wait()
        self.issue = self.issue or self.scene.issue()
        comment = self.scene.comment(number or self.issue, text)
        endings = ("rocket", "confused")
        await until(lambda: [it for it in self.scene.reactions(comment) if it in endings], f"the end of {text}")
        await ended(self.scene)
        assert self.scene.reactions(comment) == ["eyes", "rocket"], self.scene.ours(self.issue)


@dataclass
class Line:
    """One bot at a time on one stage: `up` while it listens, and started again once it was killed."""

    stage: Stage
    starter: asyncio.subprocess.Process
    socket: Path
    up: asyncio.Event = field(default_factory=asyncio.Event)
    bots: int = 0
    told: Callable[[Side, str], None] = field(default_factory=lambda: _nothing)
    _pidfd: int = -1

    async def start(self) -> None:
        """Start the next bot on what the last one has left, and return when it listens."""
        self.bots += 1
        output, log = (self.stage.folder / f"bot-{self.bots}.{suffix}" for suffix in ("out", "log"))
        files = {"socket": str(self.socket), "output": str(output), "log": str(log)}
        assert self.starter.stdin
        assert self.starter.stdout
        self.starter.stdin.write(json.dumps({"environment": self.stage.environment(), **files}).encode() + b"\n")
        self._pidfd = os.pidfd_open(int(await self.starter.stdout.readline()))
        listening = re.compile(r"Listening on (\S+),")

        def address() -> str:
            found = listening.search(output.read_text()) if output.exists() else None
            assert found or not self.dead, log.read_text()
            return found[1] if found else ""

        url = await until(address, "the start of a bot")
        self.stage.hub.set_webhook(self.stage.app_id, f"{url}/webhook")
        self.up.set()

    @property
    def dead(self) -> bool:
        """True when the bot has ended, however."""
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def kill(self) -> None:
        """End the bot as a power cut would, here and now: it is dead when this returns. Any thread may call it."""
        count(KILLS)
        self.up.clear()
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        select.select([self._pidfd], [], [])

    async def start_again(self) -> None:
        """Start a bot in the place of the dead one, once GitHub knows that the dead one answers nothing more."""
        os.close(self._pidfd)
        await self.stage.hub.settled()
        await self.start()

    async def stop(self) -> None:
        """End the bot as an operator would."""
        if not self.dead:
            signal.pidfd_send_signal(self._pidfd, signal.SIGINT)
            await until(lambda: self.dead, "the end of the last bot", 30)
        os.close(self._pidfd)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear what a bot tells of its commits, and let it go on."""
        try:
            while line := await reader.readline():
                side, what = json.loads(line)
                self.told(side, what)
                writer.write(b".")
        except ConnectionError:
            pass  # it was killed with something on its lips
        finally:
            writer.close()


@asynccontextmanager
async def open_line(stage: Stage) -> AsyncIterator[Line]:
    """Start a first bot on the stage; yields the line, and stops whichever bot is the last."""
    path = stage.folder / "commits"
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.watched_bots", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    line = Line(stage, starter, path)
    assert starter.stdin
    try:
        async with await asyncio.start_unix_server(line.serve, path):
            await line.start()
            yield line
            await line.stop()
    finally:
        starter.stdin.close()
        await starter.wait()


class Watch:
    """Notes what happens in one conversation, in order, and kills the bot at one moment of it."""

    def __init__(self, line: Line, scene: Scene, kill: Kill | None) -> None:
        self._line = line
        self._scene = scene
        self._kill = kill
        self._turns: Counter[tuple[Side, str]] = Counter()
        self.moments: list[Moment] = []
        self.killed = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the models, the database and GitHub until the block ends."""
        models, faults = self._scene.stage.models, self._scene.hub.faults
        usual = models.script

        def script(asked: Question) -> Said:
            if self._is_it("before", "question", asked.purpose):
                self._end()
                return Fault("drop")
            said = usual(asked)
            if self._is_it("after", "question", asked.purpose):
                self._end()
            return said

        models.script, self._line.told = script, self._told
        after = self._kill is not None and self._kill.side == "after"
        faults.add(path_regex="", kind="drop_after" if after else "drop_before", when=self._written, then=self._end)
        try:
            yield
        finally:
            models.script, self._line.told = usual, _nothing
            # What was broken off with its client is counted as a kill.
            faults.clear()

    def _told(self, side: Side, what: str) -> None:
        if self._is_it(side, "commit", what):
            self._end()

    def _written(self, request: RecordedRequest) -> bool:
        shape = write_of(self._scene, request)
        token = self._scene.hub.state.tokens.get(request.headers.get("authorization", "").rpartition(" ")[2])
        if shape is None or token is None or token.installation is None:
            return False  # what people do, and what the App does for a token, is no effect of the bot
        # The fault that this is asked for happens before the request has had its effect, or after it.
        before, after = (self._is_it(side, "write", shape) for side in SIDES)
        return before or after

    def _is_it(self, side: Side, kind: Kind, what: str) -> bool:
        """Note a moment, and tell whether the bot is to be killed at it."""
        self._turns[side, what] += 1
        moment = Moment(kind, what, self._turns[side, what])
        if side == "before":
            self.moments.append(moment)
        return not self.killed and Kill(side, moment) == self._kill

    def _end(self) -> None:
        self.killed = True
        self._line.kill()


async def converse(line: Line, talk: Talk, kill: Kill | None = None) -> Ending:
    """Have a conversation on a new repository, with the bot killed at one moment of it; raises when that never came.

    However it is killed, no money stays set aside, the ledger holds no less than what the models billed, and nothing
    finished is asked for again.
    """
    stage = line.stage
    if line.dead:
        await line.start_again()
    # What models did is learned for an owner, and changes what is asked of them: each conversation has its own.
    scene = await stage.scene(owner=f"octo{len(stage.scenes) + 1}")
    first = after_kill = len(stage.models.journal)
    finished: set[str] = set()
    watch = Watch(line, scene, kill)
    with watch.watching():
        talking = asyncio.create_task(talk(Conversation(line, scene)))
        try:
            await until(lambda: line.dead or talking.done(), "the kill")
            if kill and line.dead:
                after_kill = len(stage.models.journal)
                finished = {
                    str(task) for (task,) in _rows(scene, "SELECT id FROM tasks WHERE status = 'completed' AND {}")
                }
                await line.start_again()
            await talking
            await stage.hub.settled()
        finally:
            talking.cancel()
    assert watch.killed == (kill is not None), f"{kill} never came"

    calls = stage.models.journal[first:]
    questions = Counter((it.purpose, _task_of(it.prompt)) for it in calls)
    assert not kill or finished.isdisjoint(stage.generated(stage.models.journal[after_kill:])), kill
    assert stage.reserved() == 0, kill
    ((cost, lost),) = _rows(
        scene, "SELECT SUM(cost), SUM(CASE WHEN state = 'lost' THEN 1 ELSE 0 END) FROM calls WHERE {}"
    )
    ((spent,),) = _rows(scene, "SELECT SUM(spent) FROM accounts WHERE {}", "SUBSTR(id, 5)")
    assert cost == spent >= round(billed_usd(calls) * PICODOLLARS) > 0, kill
    end, noted = _without_note(await end_state(scene))
    return Ending(end, watch.moments, questions, int(lost), noted)


def problems(expected: Ending, actual: Ending) -> list[object]:
    """Return in what a conversation ended otherwise than the undisturbed one; nothing when all is well.

    A call that was in flight counts at its reservation, which is told in the report and in what it says of the budget.
    Nothing else may differ.
    """
    should, does = _without_budget(expected.end, actual.lost), _without_budget(actual.end, actual.lost)
    found: list[object] = [(part, *unlike(should[part], does[part])) for part in should if should[part] != does[part]]
    missing, more = expected.questions - actual.questions, actual.questions - expected.questions
    if missing or more.total() > actual.lost:
        found.append(("questions", missing, more, "lost", actual.lost))
    if (actual.noted > 0) != (actual.lost > 0):
        found.append(("lost calls", actual.lost, "told of", actual.noted))
    return found


def _rows(scene: Scene, query: str, column: str = "run_id") -> list[tuple[Any, ...]]:
    """Return the rows about the runs of a scene's repository."""
    runs = f"SELECT run_id FROM deliveries WHERE repository = '{scene.repository}'"
    return scene.stage.rows(query.format(f"{column} IN ({runs})"))


def _without_note(end: EndState) -> tuple[EndState, int]:
    """Return an end state without the one sentence that a killed run adds to it, and how often that was there."""
    plain, noted = _NOTE.subn("", json.dumps(end))
    return json.loads(plain), noted


def _without_budget(end: EndState, lost: int) -> EndState:
    """Return an end state without what GitHub is told of the money, where an answer was lost."""
    without: EndState = json.loads(_BUDGET.sub("", json.dumps(end))) if lost else end
    return without


def _task_of(prompt: str) -> str:
    found = _TASK.search(prompt)
    return found[1] if found else ""


def _nothing(_side: Side, _what: str) -> None:
    """Take what a bot tells while nobody watches."""
