"""Faults on request, and the record of what was asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import github
import httpx2
import pytest

from bot.localhub import LocalHub
from bot.localhub.faults import Kind

COMMENTS = "/repos/octo/demo/issues/1/comments"


def http(hub: LocalHub) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=hub.api_url, headers={"Authorization": f"token {hub.token_for('alice')}"})


async def test_a_status_fault_answers_so_often_and_does_nothing(hub: LocalHub) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    fault = hub.faults.add(
        method="POST", path_regex=r"/comments$", kind="status", status=503, times=2, headers={"Retry-After": "1"}
    )
    async with http(hub) as client:
        answers = [await client.post(COMMENTS, json={"body": "x"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 201]
    assert (answers[0].headers["retry-after"], fault.hits, len(hub.comments("octo/demo"))) == ("1", 2, 1)


@pytest.mark.parametrize(("kind", "written"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_dropped_connection_loses_the_write_or_only_its_answer(hub: LocalHub, kind: Kind, written: int) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    hub.faults.add(method="POST", path_regex="/comments$", kind=kind)
    async with http(hub) as client:
        with pytest.raises(httpx2.TransportError):
            await client.post(COMMENTS, json={"body": "x"})

    assert [comment["body"] for comment in hub.comments("octo/demo")] == ["x"] * written
    assert [(it.method, it.path, it.status) for it in hub.requests] == [("POST", f"/api/v3{COMMENTS}", 0)]


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        ("malformed", "application/json", '{"url":'),
        ("page", "text/html", "<!DOCTYPE html><title>Bad gateway"),
    ],
)
async def test_a_spoilt_answer_has_its_status_and_its_effect(
    hub: LocalHub, kind: Kind, content_type: str, body: str
) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    hub.faults.add(method="POST", path_regex="/comments$", kind=kind)
    async with http(hub) as client:
        answer = await client.post(COMMENTS, json={"body": "x"})

    assert (answer.status_code, answer.headers["content-type"]) == (201, content_type)
    assert answer.text.startswith(body)
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert [comment["body"] for comment in hub.comments("octo/demo")] == ["x"]


async def test_a_truncated_answer_breaks_off_in_its_body(hub: LocalHub) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    hub.faults.add(method="POST", path_regex="/comments$", kind="truncated")
    received = b""
    async with http(hub) as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):  # noqa: PT012
            async with client.stream("POST", COMMENTS, json={"body": "x"}) as answer:
                async for part in answer.aiter_bytes():
                    received += part

    assert received.startswith(b'{"url":')
    assert [comment["body"] for comment in hub.comments("octo/demo")] == ["x"]
    assert [it.status for it in hub.requests] == [201]


async def test_a_delay_fault_lets_a_client_time_out(hub: LocalHub) -> None:
    hub.faults.add(path_regex="/rate_limit$", kind="delay", seconds=30)
    async with http(hub) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get("/rate_limit", timeout=0.05)


async def test_every_request_is_recorded_with_its_body_and_status(hub: LocalHub) -> None:
    async with http(hub) as client:
        await client.post("/repos/octo/demo/issues", json={"title": "One"})
        await client.get("/repos/octo/absent?x=1")

    assert [(it.method, it.path, it.query, it.body, it.status) for it in hub.requests] == [
        ("POST", "/api/v3/repos/octo/demo/issues", "", b'{"title":"One"}', 201),
        ("GET", "/api/v3/repos/octo/absent", "x=1", b"", 404),
    ]


async def test_pygithubs_own_retry_after_a_lost_answer_comments_twice(hub: LocalHub) -> None:
    """Why whoever writes must look first: the client alone cannot know."""
    hub.create_issue("octo/demo", "One", user="alice")
    hub.faults.add(method="POST", path_regex="/comments$", kind="drop_after")

    def work() -> None:
        retry = github.GithubRetry(total=1, backoff_factor=0)
        auth = github.Auth.Token(hub.token_for("alice"))
        client = github.Github(
            base_url=hub.api_url, auth=auth, retry=retry, seconds_between_writes=0, seconds_between_requests=0
        )
        client.get_repo("octo/demo").get_issue(1).create_comment("x")

    await asyncio.to_thread(work)

    assert [comment["body"] for comment in hub.comments("octo/demo")] == ["x", "x"]


async def test_a_port_that_is_taken_is_an_error_that_says_so(hub: LocalHub, tmp_path: Path) -> None:
    port = int(hub.url.rpartition(":")[2])
    with pytest.raises(OSError, match="Address already in use"):
        async with LocalHub(tmp_path / "second", port):
            raise AssertionError("It must not start")


async def test_a_fault_may_wait_for_a_request_of_its_own(hub: LocalHub) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    fault = hub.faults.add(path_regex="", kind="status", when=lambda request: b"second" in request.body)
    async with http(hub) as client:
        answers = [await client.post(COMMENTS, json={"body": body}) for body in ("first", "second", "second again")]

    assert [answer.status_code for answer in answers] == [201, 502, 201]
    assert fault.hits == 1


@pytest.mark.parametrize(("kind", "written"), [("drop_before", 0), ("drop_after", 1)])
async def test_what_comes_with_a_dropped_connection_comes_before_the_client_knows(
    hub: LocalHub, kind: Kind, written: int
) -> None:
    hub.create_issue("octo/demo", "One", user="alice")
    seen = []

    async with http(hub) as client:
        asked = asyncio.ensure_future(client.post(COMMENTS, json={"body": "x"}))
        hub.faults.add(
            method="POST",
            path_regex="/comments$",
            kind=kind,
            then=lambda: seen.append((asked.done(), len(hub.comments("octo/demo")))),
        )
        with pytest.raises(httpx2.TransportError):
            await asked

    assert seen == [(False, written)]
