"""The whole set in one place: a local GitHub, the vendors' models on loopback, and the real bot as a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import genai_prices
import httpx
import psycopg

from bot.localhub import LocalHub
from bot.localhub.faults import RecordedRequest
from tests.certificates import certificates
from tests.counts import DELIVERIES, FAULTS, KILLS, count
from tests.e2e.endorsements import endorsements
from tests.loopback import Call, ModelServer, Script
from tests.reports import valid

MAINTAINER = "maria"
STRANGER = "stranger"
BOT = "orchestrator[bot]"
SECRET = "0123456789abcdef0123456789abcdef"
SPEC = "version: 1\nvalidation:\n  validators: [python_syntax]\n  commands: ['true']\n"
TITLE = "Sample library"
BODY = "Write a small library whose functions add one.\n\nDone when every part has a test."
CHECKS = ["orchestrator/architecture", "orchestrator/budget", "orchestrator/review", "orchestrator/validation"]
GOOD_CHECKS = dict.fromkeys(CHECKS, "success")
DEADLINE_SECONDS = 180.0
_WRITES = ("POST", "PATCH", "PUT", "DELETE")
_TASK = re.compile(r"^Task: (\S+)$", re.MULTILINE)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Return the condition's first true value; raises `TimeoutError` that says what did not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{what} did not happen within {seconds:g} s")


def plain_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing is configured but a folder for state."""
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "ORCHESTRATOR_HOME": str(home / "state"), "LANG": "C.UTF-8"}
    return certificates() | own


@dataclass
class Bot:
    """The bot as a process of its own."""

    process: asyncio.subprocess.Process
    address: str
    log: Path

    async def kill(self) -> None:
        """End it as a power cut would."""
        count(KILLS)
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        """End it as an operator would, if it still runs."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                await self.process.wait()

    async def get(self, path: str) -> httpx.Response:
        """Return the answer to a GET."""
        async with httpx.AsyncClient(base_url=self.address, trust_env=False, timeout=30) as client:
            return await client.get(path)

    async def report(self, run_id: str) -> dict[str, Any]:
        """Return a run's report, which the published schema allows."""
        answer = await self.get(f"/api/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        loaded: dict[str, Any] = answer.json()
        return loaded if loaded["status"] == "queued" else valid(loaded)

    def logged(self) -> list[dict[str, Any]]:
        """Return what it logged so far, without a line that is still being written."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


@dataclass
class Scene:
    """One repository and what happened in it."""

    stage: Stage
    repository: str

    @property
    def hub(self) -> LocalHub:
        """The local GitHub."""
        return self.stage.hub

    def issue(self, title: str = TITLE, body: str = BODY, user: str = MAINTAINER) -> int:
        """Open an issue and return its number."""
        return self.hub.create_issue(self.repository, title, body, user=user)

    def comment(self, issue: int, text: str, user: str = MAINTAINER) -> int:
        """Comment on an issue, which sends a delivery, and return the comment's id."""
        return self.hub.comment(self.repository, issue, text, user=user)

    async def command(self, text: str = "/orchestrate", user: str = MAINTAINER) -> Asked:
        """Open an issue, give a command on it, and return it with the bot's answer."""
        issue = self.issue()
        return await self.answered(issue, self.comment(issue, text, user))

    async def answered(self, issue: int, comment: int) -> Asked:
        """Wait until the bot has answered the comment's delivery."""
        return Asked(self, issue, comment, *await self.stage.answer_to(comment))

    def reactions(self, comment: int) -> list[str]:
        """Return our reactions to a comment, the oldest first."""
        return [content for login, content in self.hub.reactions(self.repository, comment) if login == BOT]

    def ours(self, issue: int) -> list[str]:
        """Return the bodies of our comments on an issue or pull request."""
        return [it["body"] for it in self.hub.comments(self.repository, issue) if it["user"]["login"] == BOT]

    def checks(self, sha: str | None = None) -> dict[str, str]:
        """Return the conclusions of the check runs; raises when one name is there twice."""
        runs = self.hub.check_runs(self.repository, sha)
        assert len({run["name"] for run in runs}) == len(runs)
        return {run["name"]: run["conclusion"] for run in runs}

    def requests(self, method: str, path: str) -> list[RecordedRequest]:
        """Return the API requests of a method about this repository whose path ends so, a regular expression."""
        pattern = re.compile(rf"/repos/{re.escape(self.repository)}{path}\Z")
        return [it for it in self.hub.requests if re.fullmatch(method, it.method) and pattern.search(it.path)]

    def writes(self) -> list[str]:
        """Return every write about this repository that succeeded, as `METHOD path` with numbers left out."""
        start = f"/repos/{self.repository}/"
        return [
            f"{it.method} {re.sub(r'/(?:[0-9a-f]{40}|[0-9]+)(?=/|$)', '/N', '/' + it.path.partition(start)[2])}"
            for it in self.hub.requests
            if it.method in _WRITES and start in it.path and it.status < 300
        ]


@dataclass
class Asked:
    """A command and how its delivery was answered."""

    scene: Scene
    issue: int
    comment: int
    status: int
    answer: dict[str, str]

    @property
    def run_id(self) -> str:
        """The run's id as the bot answered it."""
        return self.answer["run_id"]

    async def reacted(self, content: str) -> None:
        """Wait for the reaction that ends the run; raises when it is another one."""
        ended = ("rocket", "confused")
        await until(
            lambda: [it for it in self.scene.reactions(self.comment) if it in ended], f"the end of #{self.issue}"
        )
        assert self.scene.reactions(self.comment)[-1] == content, self.scene.ours(self.issue)

    async def settled(self) -> None:
        """Wait until the bot has nothing left to do with the command."""
        await until(lambda: self.scene.stage.delivery_states() <= {"done", "ignored"}, "the end of all work")

    @property
    def pull(self) -> dict[str, Any]:
        """The only pull request."""
        (pull,) = self.scene.hub.pull_requests(self.scene.repository)
        return pull


@dataclass
class Stage:
    """A local GitHub with an App, the models, and the state that a bot starts from; it may be started many times.

    The state is in an SQLite file of the folder, or in the database that `postgresql` is the URL of.
    """

    folder: Path
    hub: LocalHub
    models: ModelServer
    app_id: int
    private_key: str
    postgresql: str = ""
    starts: int = 0
    scenes: list[Scene] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The bot's database."""
        return self.folder / "bot.db"

    def environment(self) -> dict[str, str]:
        """Return the bot's environment, the models' keys included."""
        return {
            **plain_environment(self.folder),
            **self.models.environment(),
            "GITHUB_API_URL": self.hub.api_url,
            "GITHUB_SERVER_URL": self.hub.url,
            "GITHUB_APP_ID": str(self.app_id),
            "GITHUB_APP_PRIVATE_KEY": self.private_key,
            "GITHUB_WEBHOOK_SECRET": SECRET,
            "ORCHESTRATOR_DATABASE_URL": self.postgresql or f"sqlite:///{self.database}",
            "HOST": "127.0.0.1",
            "PORT": "0",
        }

    async def scene(self, spec: str = SPEC, *, installed: bool = True, owner: str = "octo") -> Scene:
        """Make a repository that holds its spec only; the App is installed on it, unless told otherwise."""
        name = f"{owner}/demo-{len(self.scenes) + 1}"
        await self.hub.create_repository(name, {".orchestrator.yaml": spec})
        self.hub.set_permission(name, MAINTAINER, "write")
        self.hub.set_permission(name, STRANGER, "read")
        if installed:
            self.hub.install_app(self.app_id, name)
        scene = Scene(self, name)
        self.scenes.append(scene)
        return scene

    @asynccontextmanager
    async def bot(
        self,
        changes: Mapping[str, str] | None = None,
        *,
        code: Path | None = None,
        command: Sequence[str] = ("bot",),
        within: Sequence[str] = (),
    ) -> AsyncIterator[Bot]:
        """Start the bot on this stage's state, point the App's webhook at it, and stop it in the end.

        `code` is a folder with the code of another version, `command` the module that is started, with its arguments,
        and `within` a command that becomes the one after it.
        """
        self.starts += 1
        log = self.folder / f"bot-{self.starts}.log"
        env = {name: value for name, value in (self.environment() | dict(changes or {})).items() if value}
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(*within, sys.executable, "-m", *command),
                env=env,
                cwd=code,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        try:
            address = await _address(process, log)
            self.hub.set_webhook(self.app_id, f"{address}/webhook", SECRET)
            bot = Bot(process, address, log)
            yield bot
        finally:
            if process.returncode is None:
                # A person's signal, which is not made to wait for a balancer.
                process.send_signal(signal.SIGINT)
                async with asyncio.timeout(30):
                    await process.wait()

    async def answer_to(self, comment: int) -> tuple[int, dict[str, str]]:
        """Return the status and JSON that the delivery of a comment was answered with."""

        def answered() -> list[tuple[int, dict[str, str]]]:
            return [
                (it.status_code, json.loads(it.response_body))
                for it in self.hub.deliveries
                if it.event == "issue_comment"
                and it.status_code
                and it.response_body
                and not it.redelivery
                and _comment_of(it) == comment
            ]

        found: list[tuple[int, dict[str, str]]] = await until(answered, f"an answer about comment {comment}")
        return found[0]

    def generated(self, calls: list[Call] | None = None) -> list[str]:
        """Return the task of each answered `generate` and `revise` call, in order."""
        chosen = self.models.journal if calls is None else calls
        return [task_of(it) for it in chosen if it.purpose in ("generate", "revise") and it.outcome == "answer"]

    # what the bot's database holds

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the bot's database."""
        if self.postgresql:
            with psycopg.connect(self.postgresql, autocommit=True) as opened:
                return opened.execute(query.encode()).fetchall()
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def delivery_states(self) -> set[str]:
        """Return the states that deliveries are in."""
        return {str(state) for (state,) in self.rows("SELECT DISTINCT state FROM deliveries")}

    def finished_tasks(self) -> set[str]:
        """Return the tasks that the database knows as completed."""
        return {str(task) for (task,) in self.rows("SELECT id FROM tasks WHERE status = 'completed'")}

    def reserved(self) -> int:
        """Return what is still set aside on all accounts, in picodollars."""
        return int(self.rows("SELECT COALESCE(SUM(reserved), 0) FROM accounts")[0][0])


@dataclass(frozen=True, slots=True)
class House:
    """A stage whose bot runs for many tests; each makes a repository of its own."""

    stage: Stage
    bot: Bot

    async def scene(self, spec: str = SPEC, script: Script | None = None, owner: str = "octo") -> Scene:
        """Make a repository, and let the models answer by a script from now on."""
        self.stage.models.script = script or Script(tasks=1)
        return await self.stage.scene(spec, owner=owner)

    def calls_since(self, count: int) -> list[Call]:
        """Return the model calls after the first `count`."""
        return self.stage.models.journal[count:]


def task_of(call: Call) -> str:
    """Return the task that a call is about."""
    found = _TASK.search(call.prompt)
    assert found, call.prompt
    return found[1]


def billed_usd(calls: list[Call]) -> float:
    """Return what the vendors bill for calls, by their list prices."""
    return sum(
        float(
            genai_prices.calc_price(
                genai_prices.Usage(input_tokens=it.input_tokens, output_tokens=it.output_tokens),
                it.model,
                provider_id={"moonshot": "moonshotai"}.get(it.provider, it.provider),
            ).total_price
        )
        for it in calls
        if it.billed
    )


def _comment_of(delivery: Any) -> int:
    return int(json.loads(delivery.body)["comment"]["id"])


@asynccontextmanager
async def started(
    stage: Stage, changes: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[], Awaitable[str]]]]:
    """Start the bot with its address left alone; yields the process and what gives its next line, and stops it."""
    stage.starts += 1
    env = {name: value for name, value in (stage.environment() | dict(changes)).items() if value}
    with (stage.folder / f"bot-{stage.starts}.log").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", env=env, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )

    async def line() -> str:
        assert process.stdout
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await process.stdout.readline()).decode()

    try:
        yield process, line
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                await process.wait()


@asynccontextmanager
async def open_stage(
    folder: Path, script: Script | None = None, *, postgresql: str = "", config: str = ""
) -> AsyncIterator[Stage]:
    """Set the stage: a maintainer, a stranger, an App, and models that answer by the script.

    `config` is the operator's configuration.
    """
    if config:
        (folder / "state").mkdir(mode=0o700)
        (folder / "state" / "config.yaml").write_text(config)
    async with LocalHub(folder / "hub", page_user=MAINTAINER) as hub:
        for login in (MAINTAINER, STRANGER):
            hub.create_user(login)
        app_id, key = hub.create_app("Orchestrator", None, SECRET)
        with ModelServer(script or Script()) as models:
            yield Stage(folder, hub, models, app_id, key, postgresql)
        count(FAULTS, sum(fault.hits for fault in hub.faults.waiting))
        count(DELIVERIES, len(hub.deliveries))
        assert endorsements(hub.requests) == []


async def _address(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in process.stdout:
            if found := re.search(rb"http://\S+?(?=[,\s])", line):
                return found.group().decode()
    raise RuntimeError(f"the bot did not start:\n{await asyncio.to_thread(log.read_text)}")
