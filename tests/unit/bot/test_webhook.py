from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.app import LARGE_AT_ONCE, MAX_BODY_BYTES
from bot.intake import Rules
from orchestrator.store import Database, DeliveryStore, EffectStore, RunStore
from tests.unit.bot.conftest import SETTINGS, StartBot, Worker, running_bot
from tests.unit.bot.deliveries import (
    NOW,
    PREVIOUS,
    RUN,
    SECRET,
    headers,
    issue_comment,
    press,
    signature,
    signed_request,
)

RUN_ID = "r-76ej2cz6fjedt2lt"


async def test_a_run_command_is_kept_and_answered_with_its_run(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    answer = await bot.deliver(issue_comment())
    assert (answer.status_code, answer.json()) == (202, {"status": "queued", "run_id": RUN_ID})
    kept = await DeliveryStore(bot.database).unfinished()
    assert [(one.id, one.run_id, one.repository, one.issue, one.actor) for one in kept] == [
        ("d-1", RUN_ID, "octo/demo", 5, "ada")
    ]


async def test_a_button_is_about_the_pull_request_of_its_run_whichever_ones_the_head_stands_in(
    start_bot: StartBot,
) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    await bot.deliver(issue_comment())
    await RunStore(bot.database).create(RUN_ID, title="t", job={}, source="octo/demo", output_dir="")
    effects, report = EffectStore(bot.database, RUN_ID), f"8:<!-- orchestrator:report run={RUN_ID} -->"
    await effects.begin("comment", report)
    await effects.done("comment", report, "91")
    check = {"id": 81, "name": "orchestrator/review", "head_sha": "a" * 40, "external_id": RUN_ID}
    check["pull_requests"] = [{"number": 3, "base": {"repo": {"id": 33}}}]
    payload = {name: issue_comment()[name] for name in ("repository", "sender", "installation")}
    payload |= {"action": "requested_action", "check_run": check, "requested_action": {"identifier": "revise_findings"}}

    answer = await bot.deliver(payload, delivery="d-2", event="check_run")

    assert answer.status_code == 202
    _, kept = await DeliveryStore(bot.database).unfinished()
    assert (kept.id, kept.issue) == ("d-2", 8)


@pytest.mark.parametrize("name", ["run", "plan", "run --budget 2.5 please", "an ordinary sentence as the job"])
async def test_what_starts_a_run_is_queued(start_bot: StartBot, name: str) -> None:
    bot = await start_bot()
    assert (await bot.deliver(issue_comment(f"/orchestrate {name}"))).json() == {"status": "queued", "run_id": RUN_ID}


@pytest.mark.parametrize("name", ["status", "cancel", "resume", "approve"])
async def test_a_command_about_a_run_is_answered_with_that_run(start_bot: StartBot, name: str) -> None:
    bot = await start_bot()
    await bot.deliver(issue_comment())
    await RunStore(bot.database).create(RUN_ID, title="t", job={}, source="octo/demo", output_dir="")
    answer = await bot.deliver(issue_comment(f"/orchestrate {name}", comment=72), delivery="d-2")
    assert (answer.status_code, answer.json()) == (202, {"status": "queued", "run_id": RUN_ID})


@pytest.mark.parametrize("body", ["/orchestrate help", "/orchestrate staus"])
async def test_help_is_ignored_in_the_answer_and_worked_on(start_bot: StartBot, body: str) -> None:
    bot = await start_bot()
    answer = await bot.deliver(issue_comment(body))
    assert answer.status_code == 200
    assert answer.json() == {"status": "ignored", "reason": "the comment starts no run; it is answered on GitHub"}
    async with asyncio.timeout(5):
        await bot.worker.finished.wait()
    assert bot.worker.done == ["d-1"]


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        ("ping", {"zen": "Keep it logically awesome."}, "ping asks for nothing"),
        ("issue_comment", issue_comment("thanks!"), "the comment holds no command"),
        ("issue_comment", issue_comment("> /orchestrate"), "the comment holds no command"),
        (
            "issue_comment",
            issue_comment(created_at="2026-11-27T00:53:19Z"),
            "the comment is older than GitHub's redelivery window",
        ),
    ],
)
async def test_all_else_is_ignored_with_a_reason(
    start_bot: StartBot, event: str, payload: dict[str, object], reason: str
) -> None:
    bot = await start_bot()
    answer = await bot.deliver(payload, event=event)
    assert (answer.status_code, answer.json()) == (200, {"status": "ignored", "reason": reason})
    again = await bot.deliver(payload, event=event)
    assert (again.status_code, again.json()) == (200, {"status": "duplicate"})


async def test_a_re_run_of_a_check_whose_run_is_forgotten_is_worked_on_and_a_button_of_it_is_not(
    start_bot: StartBot,
) -> None:
    bot = await start_bot()
    again = await bot.deliver(press("rerequested"), event="check_run")
    button = press("requested_action") | {"requested_action": {"identifier": "retry_failed"}}
    pressed = await bot.deliver(button, event="check_run", delivery="d-2")
    assert (again.status_code, again.json()) == (202, {"status": "queued", "run_id": RUN})
    assert pressed.json() == {"status": "ignored", "reason": "the check run belongs to no run of ours"}
    async with asyncio.timeout(5):
        await bot.worker.finished.wait()
    assert bot.worker.done == ["d-1"]


def _push(repository: str = "octo/demo") -> dict[str, object]:
    commit = {"added": [], "modified": [".orchestrator.yaml"], "removed": []}
    payload = issue_comment(repository=repository)
    about = {name: payload[name] for name in ("repository", "sender", "installation")}
    pushed = {"ref": "refs/heads/main", "before": "a" * 40, "after": "b" * 40, "created": False, "forced": False}
    return {**about, **pushed, "deleted": False, "commits": [commit]}


async def test_a_lint_is_ignored_in_the_answer_once_it_is_kept_and_worked_on(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    answers = [await bot.deliver(_push(), event="push") for _ in range(2)]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "ignored"),
        (200, "duplicate"),
    ]
    kept = await DeliveryStore(bot.database).unfinished()
    assert [(one.id, one.event, one.issue, one.actor) for one in kept] == [("d-1", "push", 0, "")]
    assert kept[0].run_id.startswith("lint-")
    assert "lint-" not in (await bot.client.get("/api/runs")).text


async def test_sec_11_an_account_that_is_not_listed_is_not_linted(start_bot: StartBot) -> None:
    bot = await start_bot(rules=Rules(accounts=("Octo",)))
    stranger = await bot.deliver(_push("mallory/demo"), event="push")
    assert stranger.json()["reason"] == "mallory is not among the accounts that this bot serves"
    assert await DeliveryStore(bot.database).unfinished() == ()


async def test_sec_11_an_account_that_is_not_listed_is_not_served(start_bot: StartBot) -> None:
    bot = await start_bot(rules=Rules(accounts=("Octo",)))
    assert (await bot.deliver(issue_comment())).status_code == 202
    stranger = await bot.deliver(issue_comment(repository="mallory/demo"), delivery="d-2")
    assert stranger.json() == {
        "status": "ignored",
        "reason": "mallory is not among the accounts that this bot serves",
    }


async def test_sec_04_five_equal_deliveries_at_once_are_one_queued_and_four_duplicates(start_bot: StartBot) -> None:
    bot = await start_bot()
    answers = await asyncio.gather(*(bot.deliver(issue_comment()) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
    assert sorted(answer.json()["status"] for answer in answers) == ["duplicate"] * 4 + ["queued"]
    async with asyncio.timeout(5):
        await bot.worker.finished.wait()
    assert bot.worker.began == ["d-1"]


async def test_sec_04_the_same_comment_under_other_delivery_ids_is_accepted_once(start_bot: StartBot) -> None:
    bot = await start_bot()
    answers = await asyncio.gather(*(bot.deliver(issue_comment(), delivery=f"d-{n}") for n in range(5)))
    assert sorted(answer.json()["status"] for answer in answers) == ["duplicate"] * 4 + ["queued"]


@pytest.mark.parametrize(
    ("signed_with", "status"),
    [
        (signature(b"{}", SECRET), 200),
        (signature(b"{}", PREVIOUS), 200),
        (signature(b"{}", "another secret, long enough"), 401),
        (signature(b"{} ", SECRET), 401),
        (signature(b"{}", SECRET).removeprefix("sha256="), 401),
        (signature(b"{}", SECRET).replace("sha256=", "sha1="), 401),
        (signature(b"{}", SECRET).upper(), 401),
        ("sha256=", 401),
        ("", 401),
        (None, 401),
    ],
)
async def test_sec_02_only_a_signature_over_the_raw_bytes_counts(
    start_bot: StartBot, signed_with: str | None, status: int
) -> None:
    bot = await start_bot()
    sent = headers(b"{}")
    del sent["X-Hub-Signature-256"]
    if signed_with is not None:
        sent["X-Hub-Signature-256"] = signed_with
    assert (await bot.client.post("/webhook", content=b"{}", headers=sent)).status_code == status


async def test_sec_02_a_signature_of_other_than_ascii_is_wrong_and_no_failure(start_bot: StartBot) -> None:
    bot = await start_bot()
    sent: list[tuple[bytes, bytes]] = [
        (name.encode(), value.encode()) for name, value in headers(b"{}").items() if name != "X-Hub-Signature-256"
    ]
    sent.append((b"X-Hub-Signature-256", "sha256=é".encode()))
    assert (await bot.client.post("/webhook", content=b"{}", headers=sent)).status_code == 401


@pytest.mark.parametrize("name", ["X-GitHub-Event", "X-GitHub-Delivery"])
@pytest.mark.parametrize("value", [None, "", "a b", "x" * 81])
async def test_a_request_without_the_event_headers_is_400(start_bot: StartBot, name: str, value: str | None) -> None:
    bot = await start_bot()
    sent = headers(b"{}")
    del sent[name]
    if value is not None:
        sent[name] = value
    assert (await bot.client.post("/webhook", content=b"{}", headers=sent)).status_code == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
async def test_sec_03_only_json_is_taken(start_bot: StartBot, content_type: str, status: int) -> None:
    bot = await start_bot()
    sent = headers(b"{}") | {"Content-Type": content_type}
    assert (await bot.client.post("/webhook", content=b"{}", headers=sent)).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"issue": {"number": ' + b"9" * 30 + b"}}",
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' * 200_000,
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_sec_03_what_is_no_sane_json_object_is_400(start_bot: StartBot, body: bytes) -> None:
    bot = await start_bot()
    assert (await bot.client.post("/webhook", content=body, headers=headers(body))).status_code == 400


async def test_sec_03_text_that_no_database_keeps_is_replaced(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    payload = issue_comment("/orchestrate a \0 b \ud800 c")
    assert (await bot.deliver(payload)).status_code == 202
    (kept,) = await DeliveryStore(bot.database).unfinished()
    assert json.loads(kept.payload)["comment"] == "/orchestrate a \ufffd b \ufffd c"


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)])
@pytest.mark.parametrize("declared", [True, False])
async def test_sec_03_a_body_over_25_mib_is_413(start_bot: StartBot, size: int, status: int, declared: bool) -> None:
    bot = await start_bot()
    body = b'{"a": "' + b"x" * (size - 9) + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**20):
            yield body[start : start + 2**20]

    answer = await bot.client.post("/webhook", content=body if declared else in_pieces(), headers=headers(body))
    assert answer.status_code == status


class Read:
    """A body in pieces that notes how many were asked for, and after the first ones waits for `more`."""

    def __init__(self, pieces: list[bytes], at_first: int = 0) -> None:
        self.pieces = pieces
        self.at_first = at_first
        self.more = asyncio.Event()
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if self.read == self.at_first:
                await self.more.wait()
            self.read += 1
            yield piece


@pytest.mark.parametrize("signed_with", [None, "", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 63])
async def test_sec_03_of_what_bears_no_signature_nothing_is_read(start_bot: StartBot, signed_with: str | None) -> None:
    bot = await start_bot()
    sent = headers(b"{}")
    del sent["X-Hub-Signature-256"]
    if signed_with is not None:
        sent["X-Hub-Signature-256"] = signed_with
    body = Read([b"x"])
    async with asyncio.timeout(5):
        answer = await bot.client.post("/webhook", content=body, headers=sent)
    assert (answer.status_code, body.read) == (401, 0)


async def test_sec_03_few_large_bodies_are_read_at_once_and_small_ones_beside_them(start_bot: StartBot) -> None:
    # given as many large bodies as are held at once, none of them rightly signed, that do not end
    bot = await start_bot()
    sent = headers(b"anything")
    large = [Read([b"x" * 2**20] * 4, at_first=2) for _ in range(LARGE_AT_ONCE)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(bot.client.post("/webhook", content=body, headers=sent)) for body in large]
        async with asyncio.timeout(5):
            assert (await bot.deliver(issue_comment())).status_code == 202
            assert [body.read for body in large] == [2, 2, 2, 2]
            # when there is one more
            more = Read([b"x" * 2**20] * 4)
            more.more.set()
            asked.append(group.create_task(bot.client.post("/webhook", content=more, headers=sent)))
            assert (await bot.deliver(issue_comment(comment=72), delivery="d-2")).status_code == 202
        # then it is read no further than a small one, until another has ended
        assert (more.read, asked[-1].done()) == (2, False)
        for body in large:
            body.more.set()
    assert more.read == 4
    assert {task.result().status_code for task in asked} == {401}


async def test_the_store_failing_is_503_with_a_time_to_come_back(start_bot: StartBot) -> None:
    bot = await start_bot()
    async with bot.database.transaction() as connection:
        await connection.execute(text("ALTER TABLE deliveries RENAME TO lost"))
    answer = await bot.deliver(issue_comment())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    async with bot.database.transaction() as connection:
        await connection.execute(text("ALTER TABLE lost RENAME TO deliveries"))
    assert (await bot.deliver(issue_comment())).status_code == 202


async def test_a_delivery_that_was_accepted_is_taken_up_by_the_next_process(database: Database, tmp_path: Path) -> None:
    first, second = Worker(gate=asyncio.Event()), Worker()
    async with running_bot(database, SETTINGS, Rules(), first, "127.0.0.1") as bot:
        await bot.deliver(issue_comment())
    assert (first.began, first.done) in ((["d-1"], []), ([], []))

    async with running_bot(database, SETTINGS, Rules(), second, "127.0.0.1") as bot:
        async with asyncio.timeout(5):
            await second.finished.wait()
        redelivered = await bot.deliver(issue_comment())
    assert second.done == ["d-1"]
    assert redelivered.json() == {"status": "duplicate"}

    async with Database.open(f"sqlite:///{tmp_path / 'state.db'}", clock=lambda: NOW) as reopened:
        assert await DeliveryStore(reopened).unfinished() == ()


async def test_of_a_payload_only_what_the_command_needs_is_kept(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    await bot.deliver(issue_comment() | {"organization": {"secret_field": "private"}})
    (kept,) = await DeliveryStore(bot.database).unfinished()
    assert "secret_field" not in kept.payload


async def test_get_on_the_webhook_is_405(start_bot: StartBot) -> None:
    bot = await start_bot()
    assert (await bot.client.get("/webhook")).status_code == 405


async def test_a_delivery_is_served_under_any_host_name(start_bot: StartBot) -> None:
    bot = await start_bot()
    body, sent = signed_request(issue_comment())
    answer = await bot.client.post(
        "/webhook", content=body, headers=sent | {"Host": "bot.example.org", "X-Forwarded-For": "192.0.2.1"}
    )
    assert answer.status_code == 202
