"""Many signed deliveries at once over kept connections, from a process of its own, and what became of each."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import multiprocessing
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bot.localhub import render
from tests.counts import DELIVERIES, count
from tests.e2e.stage import MAINTAINER, SECRET, Scene

CONNECTIONS = 64
Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sending:
    """One delivery as it goes onto the wire; `comment` is the id of the comment that its command stands in, or 0."""

    id: str
    event: str
    body: bytes
    comment: int = 0

    def request(self, host: str) -> bytes:
        """Return the whole HTTP request, signed."""
        signature = hmac.new(SECRET.encode(), self.body, hashlib.sha256).hexdigest()
        head = (
            f"POST /webhook HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nContent-Type: application/json\r\n"
            f"User-Agent: GitHub-Hookshot/{self.id[:7]}\r\nX-GitHub-Delivery: {self.id}\r\n"
            f"X-GitHub-Event: {self.event}\r\nX-GitHub-Hook-ID: 1\r\nX-GitHub-Hook-Installation-Target-ID: 1\r\n"
            "X-GitHub-Hook-Installation-Target-Type: integration\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class Answered:
    """How one delivery was answered: HTTP status, JSON, and after how many seconds."""

    id: str
    status: int
    answer: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Flood:
    """All answers, and how many seconds passed from the first request to the last answer."""

    answers: tuple[Answered, ...]
    seconds: float


@contextmanager
def sender() -> Iterator[ProcessPoolExecutor]:
    """Yield a process that sends, so that what is measured shares no interpreter with what measures."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(int).result()
        yield pool


async def flood(pool: ProcessPoolExecutor, address: str, sendings: Sequence[Sending]) -> Flood:
    """Send deliveries to an address by the process of `sender`, each as soon as one of the connections is free."""
    count(DELIVERIES, len(sendings))
    return await asyncio.get_running_loop().run_in_executor(pool, send, address, tuple(sendings), CONNECTIONS)


def send(address: str, sendings: Sequence[Sending], connections: int) -> Flood:
    """Send deliveries over so many connections, one at a time on each, and return how they were answered."""
    return asyncio.run(_send(address, sendings, connections))


async def _send(address: str, sendings: Sequence[Sending], connections: int) -> Flood:
    url = urlsplit(address)
    ready = [(one.id, one.request(url.netloc)) for one in sendings]
    waiting = iter(ready)
    answers: list[Answered] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        for delivery_id, request in waiting:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            seconds = time.perf_counter() - begun
            answers.append(Answered(delivery_id, int(head[9:12]), json.loads(body), seconds))
        writer.close()
        await writer.wait_closed()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(connection())
    return Flood(tuple(answers), time.perf_counter() - begun)


def command(scene: Scene, issue: int, text: str) -> Sending:
    """Comment on an issue without any hook, and return the delivery that GitHub would send of it."""
    hub, number = scene.hub, scene.comment(issue, text)
    repo = hub.repository(scene.repository)
    there = repo.issues[issue]
    comment = next(it for it in reversed(there.comments) if it.id == number)
    body = {
        "action": "created",
        "issue": render.issue_in_webhook(hub.url, repo, there),
        "comment": render.comment(hub.url, repo, there, comment),
        **_common(scene),
    }
    return _sending("issue_comment", body, number)


def ordinary(scene: Scene, issue: int, count: int) -> list[Sending]:
    """Return deliveries of a busy repository that ask for nothing: comments, pushes, stars, edits and workflows."""
    talk = json.loads(command(scene, issue, "It looks good to me, thank you.\n\n> /orchestrate").body)
    common = _common(scene)
    sha = "0123456789abcdef0123456789abcdef01234567"
    commit = {
        "id": sha,
        "tree_id": sha,
        "distinct": True,
        "message": "Say what it is for",
        "timestamp": "2026-11-25T12:00:00+01:00",
        "author": {"name": "Maria", "email": "maria@example.org", "username": MAINTAINER},
        "committer": {"name": "Maria", "email": "maria@example.org", "username": MAINTAINER},
        "added": [],
        "removed": [],
        "modified": ["README.md", "src/library.py"],
    }
    push = {"ref": "refs/heads/topic", "before": sha, "after": sha, "created": False, "deleted": False, "forced": False}
    made: list[tuple[str, Payload]] = [
        ("issue_comment", talk),
        ("push", {**push, "base_ref": None, "commits": [commit] * 3, "head_commit": commit, **common}),
        ("star", {"action": "created", "starred_at": "2026-11-25T12:00:00Z", **common}),
        ("issues", {"action": "edited", "issue": talk["issue"], "changes": {"title": {"from": "Before"}}, **common}),
        ("workflow_run", {"action": "completed", "workflow_run": {"head_sha": sha, "conclusion": "success"}, **common}),
    ]
    return [_sending(event, body) for event, body in itertools.islice(itertools.cycle(made), count)]


def _common(scene: Scene) -> Payload:
    hub = scene.hub
    repo = hub.repository(scene.repository)
    installed = next(it for it in hub.state.installations.values() if repo.id in it.repositories)
    return {
        "repository": render.repository(hub.url, repo),
        "sender": render.user(hub.url, hub.state.users[MAINTAINER]),
        "installation": {"id": installed.id, "node_id": render.node("Installation", installed.id)},
    }


def _sending(event: str, body: Payload, comment: int = 0) -> Sending:
    return Sending(str(uuid.uuid4()), event, json.dumps(body, ensure_ascii=False).encode(), comment)
