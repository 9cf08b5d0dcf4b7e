from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from bot.dashboard import pages
from bot.dashboard.pages import run_page
from bot.readiness import READY_SECONDS
from orchestrator.budget import Budget
from orchestrator.github.staging.preview import Preview, Shown
from orchestrator.state import (
    ArchitectureDecision,
    CallRecord,
    Finding,
    Forecast,
    Outcome,
    ProjectState,
    ProjectStatus,
    Purpose,
    Review,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.store import Database, Delivery, PreviewStore, RunStore
from tests.unit.bot.conftest import StartBot, Worker
from tests.unit.bot.deliveries import issue_comment

ATTACK = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
RUN_ID = "r-76ej2cz6fjedt2lt"


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


async def add_run(database: Database, run_id: str, title: str, **columns: Any) -> None:
    runs = RunStore(database)
    job = {"description": "d", "criteria": "c", "budget": {"max_usd": 2.0, "max_time_seconds": 600.0}}
    assert await runs.create(run_id, title=title, job=job, source="", output_dir="")
    if columns:
        await runs.save(run_id, await runs.claim(run_id), **columns)


def full_state(word: str) -> ProjectState:
    """Return a run in which every text is `word`."""
    review = Review("google", word, 0.9, True, (Finding(word, 1, word),))
    task = Task(word, word, TaskType.CODE_GENERATION, word, (word,), (word,))
    return ProjectState(
        project_id=word,
        title=word,
        description=word,
        criteria=word,
        budget=Budget(2.0, 600.0),
        status=ProjectStatus.PARTIAL,
        architecture=ArchitectureDecision(word, word, word, word, word),
        tasks=(task,),
        results={word: TaskResult(word, TaskStatus.COMPLETED, 0.9, word, word, 1, 0.01, review=review, reason=word)},
        calls=(CallRecord(word, Purpose.GENERATE, word, word, 10, 20, 0.01, estimated=True),),
        validation=(ValidationResult(word, ValidationStatus.FAILED, (Finding(word, 3, word),), word),),
        forecast=Forecast(0.0, 0.0, {}, {}),
        outcome=Outcome("incomplete", word),
        files=(word,),
        sandbox=word,
        notes=(word,),
    )


def test_markup_in_any_text_of_a_run_is_shown_as_text() -> None:
    harmless, attacked = Page(run_page(full_state("word"))), Page(run_page(full_state(ATTACK)))
    assert attacked.tags == harmless.tags
    assert attacked.attributes == harmless.attributes
    assert ATTACK in attacked.words
    assert "script" not in attacked.tags


def test_markup_in_a_preview_is_shown_as_text() -> None:
    previews = (Shown(ATTACK, ATTACK, ((ATTACK, ATTACK),), ATTACK, f"+{ATTACK}"),)
    plain = Page(run_page(ProjectState("r-1", "title", "d", "c", Budget(1.0)), previews))
    assert "script" not in plain.tags
    assert "img" not in plain.tags
    assert not [name for name in plain.attributes if name.startswith("on")]
    assert plain.words.count(ATTACK) == 6


async def test_what_was_only_answered_on_a_stage_has_a_page_too(start_bot: StartBot) -> None:
    bot = await start_bot()
    preview = Preview("POST", "/repos/octo/demo/issues/1/comments", {"body": "The commands"}, {"id": 1})
    await PreviewStore(bot.database, RUN_ID).keep(preview.to_json())
    answer = await bot.client.get(f"/runs/{RUN_ID}")
    assert answer.status_code == 200
    assert "Staged: nothing was written on GitHub." in answer.text
    assert "The commands" in answer.text


async def test_the_list_escapes_titles_and_shows_status_and_money(start_bot: StartBot) -> None:
    bot = await start_bot()
    await add_run(bot.database, "r-1", ATTACK, status="completed")
    answer = await bot.client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script>" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    words = Page(answer.text).words
    assert "completed" in words
    assert "$0.00 of $2.00" in words


async def test_an_empty_list_says_how_to_start_a_run(start_bot: StartBot) -> None:
    bot = await start_bot()
    assert "Comment /orchestrate on an issue to start one." in Page((await bot.client.get("/")).text).words


@pytest.mark.parametrize(("status", "reloads"), [("running", True), ("completed", False)])
async def test_only_a_living_run_reloads_its_page(start_bot: StartBot, status: str, reloads: bool) -> None:
    bot = await start_bot()
    await add_run(bot.database, "r-1", "A limiter", status=status)
    for path in ("/", "/runs/r-1"):
        answer = await bot.client.get(path)
        assert answer.status_code == 200
        assert ('http-equiv="refresh"' in answer.text) is reloads


async def test_a_run_that_is_accepted_and_has_not_begun_is_queued_everywhere(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    await bot.deliver(issue_comment())
    assert (await bot.client.get("/api/runs")).json() == {"runs": [{"id": RUN_ID, "status": "queued"}]}
    assert (await bot.client.get(f"/api/runs/{RUN_ID}")).json() == {"project_id": RUN_ID, "status": "queued"}
    assert "queued" in Page((await bot.client.get(f"/runs/{RUN_ID}")).text).words
    assert RUN_ID in (await bot.client.get("/")).text


async def test_the_api_gives_the_report_of_a_run(start_bot: StartBot) -> None:
    bot = await start_bot()
    await add_run(bot.database, "r-1", "A limiter", status="failed")
    told = (await bot.client.get("/api/runs/r-1")).json()
    assert (told["project_id"], told["status"], told["budget"]["max_usd"]) == ("r-1", "failed", 2.0)
    (line,) = (await bot.client.get("/api/runs")).json()["runs"]
    assert (line["id"], line["status"], line["title"], line["spent_usd"]) == ("r-1", "failed", "A limiter", 0.0)
    assert line["created_at"] == "2026-11-30T00:53:20Z"


@pytest.mark.parametrize("path", ["/runs/r-none", "/api/runs/r-none", "/runs/%00", "/api/runs/..%2f"])
async def test_an_unknown_run_is_404(start_bot: StartBot, path: str) -> None:
    bot = await start_bot()
    assert (await bot.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 50),
        ("per_page=7", 7),
        ("limit=7", 7),
        ("per_page=100000", 100),
        ("per_page=0", 1),
        ("per_page=-3", 50),
        ("per_page=many&page=x&unknown=1", 50),
        ("per_page=²", 50),
        ("per_page=100&page=2", 20),
        ("page=999999999999999999999", 0),
    ],
)
async def test_page_sizes_are_capped_and_parameters_never_refused(start_bot: StartBot, query: str, count: int) -> None:
    bot = await start_bot()
    for number in range(120):
        await add_run(bot.database, f"r-{number}", "A limiter")
    answer = await bot.client.get(f"/api/runs?{query}")
    assert answer.status_code == 200
    assert len(answer.json()["runs"]) == count


async def test_pages_leave_out_no_run_behind_those_that_are_queued(start_bot: StartBot) -> None:
    # given five that are queued, and seven runs
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    for number in range(5):
        await bot.deliver(issue_comment(comment=100 + number, issue=1 + number), delivery=f"d-{number}")
    for number in range(7):
        await add_run(bot.database, f"r-{number}", "A limiter", status="completed")
    # when
    pages = [(await bot.client.get(f"/api/runs?per_page=4&page={page}")).json()["runs"] for page in range(1, 5)]
    # then
    assert [len(page) for page in pages] == [4, 4, 4, 0]
    assert [run["status"] for page in pages for run in page] == ["queued"] * 5 + ["completed"] * 7
    assert len({run["id"] for page in pages for run in page}) == 12


async def test_the_list_shows_no_more_on_a_page_however_many_are_queued(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    for number in range(30):
        await bot.deliver(issue_comment(comment=100 + number, issue=1 + number), delivery=f"d-{number}")
    assert (await bot.client.get("/")).text.count('<a href="/runs/') == 25
    assert (await bot.client.get("/?page=2")).text.count('<a href="/runs/') == 5


async def test_metrics_are_read_by_prometheus(start_bot: StartBot) -> None:
    bot = await start_bot(worker=Worker(gate=asyncio.Event()))
    await add_run(bot.database, "r-1", "A limiter", status="completed")
    await bot.deliver(issue_comment())
    await bot.deliver(issue_comment())
    await bot.client.post("/webhook")
    answer = await bot.client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    read = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert read["orchestrator_deliveries_total", "queued"] == 1
    assert read["orchestrator_deliveries_total", "duplicate"] == 1
    assert read["orchestrator_deliveries_total", "malformed"] == 1
    assert read["orchestrator_deliveries_total", "unsigned"] == 0
    assert read["orchestrator_runs", "completed"] == 1
    assert read["orchestrator_runs", "failed"] == 0
    assert read[("orchestrator_spent_usd",)] == 0
    assert read[("orchestrator_queue_length",)] + read[("orchestrator_deliveries_in_flight",)] == 1
    # What runs did stands there under the same names as in the library's exports.
    assert read[("orchestrator_budget_used_ratio",)] == 0
    assert "# TYPE orchestrator_model_call_duration_seconds histogram" in answer.text
    assert "octo" not in answer.text


async def test_without_the_database_metrics_tell_what_memory_knows_and_pages_say_so(start_bot: StartBot) -> None:
    bot = await start_bot()
    async with bot.database.transaction() as connection:
        for table in ("runs", "deliveries"):
            await connection.execute(text(f"ALTER TABLE {table} RENAME TO lost_{table}"))
    assert (await bot.deliver(issue_comment())).status_code == 503
    answer = await bot.client.get("/metrics")
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert 'orchestrator_deliveries_total{answer="unstored"} 1.0' in lines
    assert "orchestrator_database_up 0.0" in lines
    assert "orchestrator_deliveries_in_flight 0.0" in lines
    assert not [line for line in lines if line.startswith(("orchestrator_runs", "orchestrator_queue_length"))]
    sentence = "The database cannot be used just now; the bot's log says why. Try again later."
    for path in ("/", "/runs/r-1"):
        page = await bot.client.get(path)
        assert (page.status_code, page.text, page.headers["Retry-After"]) == (503, f"{sentence}\n", "60")
    for path in ("/api/runs", "/api/runs/r-1"):
        told = await bot.client.get(path)
        assert (told.status_code, told.json()) == (503, {"error": sentence})
    assert (await bot.client.get("/healthz")).status_code == 200


async def test_what_pauses_after_a_failure_does_not_count_as_waiting_for_work(start_bot: StartBot) -> None:
    class Failing(Worker):
        async def work(self, delivery: Delivery) -> None:
            self.finished.set()
            raise ValueError("not now")

    bot = await start_bot(worker=Failing())
    await bot.deliver(issue_comment())
    async with asyncio.timeout(5):
        await bot.worker.finished.wait()
        lines: list[str] = []
        while "orchestrator_deliveries_pausing 1.0" not in lines:
            lines = (await bot.client.get("/metrics")).text.splitlines()
    assert "orchestrator_queue_length 0.0" in lines
    assert 'orchestrator_attempts_total{outcome="failed"} 1.0' in lines


async def test_readiness_says_what_is_missing(start_bot: StartBot) -> None:
    bot = await start_bot()
    assert (await bot.client.get("/readyz")).json() == {"status": "ready"}
    bot.jobs.drain()
    answer = await bot.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "reason": "the worker takes up nothing"}
    assert (await bot.client.get("/healthz")).status_code == 200


async def test_a_database_that_cannot_be_written_is_not_ready(start_bot: StartBot) -> None:
    bot = await start_bot()
    async with bot.database.transaction() as connection:
        await connection.execute(text("DROP TABLE deliveries"))
    answer = await bot.client.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "the database cannot be written")


async def test_a_database_that_is_locked_is_not_ready_and_says_so_within_seconds(
    start_bot: StartBot, tmp_path: Path
) -> None:
    bot = await start_bot()
    with closing(sqlite3.connect(tmp_path / "state.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answers = await asyncio.gather(*(bot.client.get("/readyz") for _ in range(20)))
        assert time.monotonic() - began < 2 * READY_SECONDS
        assert {(one.status_code, one.json()["reason"]) for one in answers} == {(503, "the database cannot be written")}
        other.rollback()
    # The one look that all of them share ends once the lock is gone.
    assert (await bot.client.get("/readyz")).json() == {"status": "ready"}


@pytest.mark.parametrize(
    ("amount", "shown"), [(0.0, "$0.00"), (0.00042, "$0.0004"), (0.5, "$0.5000"), (1.0, "$1.00"), (1234.5, "$1,234.50")]
)
def test_money_is_shown_in_usd(amount: float, shown: str) -> None:
    assert pages.usd(amount) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0 s"), (75, "1 min 15 s"), (5400, "1 h 30 min")])
def test_times_are_shown_as_people_say_them(seconds: float, shown: str) -> None:
    assert pages.duration(seconds) == shown


def test_a_state_of_plain_words_is_complete_enough_for_the_page() -> None:
    assert asdict(full_state("word"))["title"] == "word"
    assert "1 billed answer" in Page(run_page(full_state("word"))).words
