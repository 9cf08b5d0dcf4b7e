from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from orchestrator.bucket import content_bucket
from orchestrator.state import (
    Forecast,
    ProjectStatus,
    Purpose,
    Task,
    TaskResult,
    TaskStatus,
    TaskType,
    ValidationResult,
    ValidationStatus,
)
from orchestrator.store import (
    AuditStore,
    CancellationStore,
    ContentStore,
    Database,
    Delivery,
    DeliveryStore,
    EffectStore,
    Ledger,
    ObservationStore,
    PreviewStore,
    RunStore,
    forget,
)
from orchestrator.store.schema import accounts, calls, deliveries, effects, holds, metadata, previews, runs
from tests.conftest import POSTGRESQL
from tests.unit.orchestrator.store.conftest import Clock

DAY = 24 * 3600.0
JOB = {"description": "d", "criteria": "", "budget": {"max_usd": 2.0, "max_time_seconds": 60.0}}


def delivery(number: int, run_id: str, *, state: str = "done") -> Delivery:
    return Delivery(
        id=f"d-{number}",
        event="issue_comment",
        repository="octo/demo",
        payload='{"body": "a prompt"}',
        run_id=run_id,
        command_key=f"33:comment:{number}",
        issue=number,
        actor="ada",
    )


async def ended(database: Database, number: int, status: ProjectStatus) -> str:
    """Keep a run with an answer, its delivery, an effect and a preview, and end it so; returns its id."""
    run_id, runs, store = f"r-{number}", RunStore(database), DeliveryStore(database)
    await store.accept(delivery(number, run_id))
    await runs.create(run_id, title="t", job=JOB, source="octo/demo", output_dir="")
    fence = await runs.claim(run_id)
    ledger = Ledger(database, run_id, fence)
    await ledger.open_accounts({f"run:{run_id}": 1000})
    call = await ledger.reserve(
        charged=(f"run:{run_id}",), task_id="", purpose=Purpose.GENERATE, provider="p", model="m", amount=10,
        input_tokens=1, output_tokens=1,
    )  # fmt: skip
    await ledger.settle(call, cost=7, input_tokens=1, output_tokens=1, key="question", answer="an answer")
    await runs.save(run_id, fence, status=status)
    await EffectStore(database, run_id).begin("comment", f"{number}:<!-- orchestrator:report run={run_id} -->")
    await PreviewStore(database, run_id).keep("a preview")
    await CancellationStore(database).ask(run_id, "ada")
    await store.finish(f"d-{number}")
    return run_id


async def kept(database: Database, run_id: str) -> dict[str, Any]:
    """Return what is still there of a run."""
    async with database.reading() as connection:
        answer = await connection.scalar(select(calls.c.answer).where(calls.c.run_id == run_id))
        payload = await connection.scalar(select(deliveries.c.payload).where(deliveries.c.run_id == run_id))
        effect = await connection.scalar(select(effects.c.state).where(effects.c.run_id == run_id))
        preview = await connection.scalar(select(previews.c.preview).where(previews.c.run_id == run_id))
    return {
        "answer": answer,
        "payload": payload,
        "effect": effect,
        "preview": preview,
        "cancelled": await CancellationStore(database).actor(run_id),
    }


EVERYTHING = {
    "answer": "an answer",
    "payload": '{"body": "a prompt"}',
    "effect": "begun",
    "preview": "a preview",
    "cancelled": "ada",
}
NOTHING = {"answer": None, "payload": "", "effect": None, "preview": None, "cancelled": None}


NO_CHANGE = dict.fromkeys(
    ("ids", "deliveries", "previews", "cancellations", "holds", "effects", "accounts", "content", "runs"), 0
)


@pytest.mark.parametrize("status", [status for status in ProjectStatus if status.final])
async def test_sec_33_what_an_ended_run_was_asked_and_answered_is_forgotten_after_its_days(
    database: Database, clock: Clock, status: ProjectStatus
) -> None:
    run_id = await ended(database, 1, status)
    clock.now += 30 * DAY
    assert await forget(database, 30) == NO_CHANGE
    assert await kept(database, run_id) == EVERYTHING
    # when the thirtieth day is over
    clock.now += 1
    assert await forget(database, 30) == NO_CHANGE | {
        "deliveries": 1, "previews": 1, "cancellations": 1, "effects": 1, "accounts": 1, "runs": 1,
    }  # fmt: skip
    # then the run is gone with all that it held
    assert await kept(database, run_id) == NOTHING
    assert await RunStore(database).state(run_id) is None
    assert await DeliveryStore(database).origin(run_id) is None


async def rows(database: Database) -> dict[str, int]:
    """Return how many rows each table has that has any."""
    async with database.reading() as connection:
        counted = {
            table.name: int(await connection.scalar(select(func.count()).select_from(table)) or 0)
            for table in metadata.sorted_tables
        }
    return {name: count for name, count in counted.items() if count}


async def test_sec_33_no_table_but_the_audit_keeps_a_row_of_what_ended_long_ago(
    database: Database, clock: Clock
) -> None:
    # given a run with something in every table
    run_id = await ended(database, 1, ProjectStatus.COMPLETED)
    runs, fence = RunStore(database), await RunStore(database).claim("r-1")
    task = Task("t", "T", TaskType.CODE_GENERATION, "d", (), ("a.py",))
    await runs.save_plan(run_id, fence, [task], Forecast(0.0, 0.0, {}, {}))
    await runs.finish_task(run_id, fence, TaskResult("t", TaskStatus.COMPLETED), {"a.py": b"a secret plan"}, 1.0)
    await runs.save_validation(run_id, fence, [ValidationResult("ruff", ValidationStatus.PASSED)])
    await ObservationStore(database, "octo", {}).freeze(run_id, fence, ())
    await AuditStore(database, run_id).add("d-1", "ada", "handled", {})
    await ContentStore(database, content_bucket()).take("octo", progress=False)
    async with database.transaction() as connection:
        await connection.execute(insert(holds).values(account="org", run_id=run_id, amount=1, until=clock.now))
    assert sorted(await rows(database)) == [
        "accounts", "artifacts", "audit", "calls", "cancellations", "content", "deliveries", "effects", "holds",
        "learned", "previews", "runs", "tasks", "validations",
    ]  # fmt: skip
    # when
    clock.now += 31 * DAY
    await forget(database, 30)
    # then what is left of it is the id and key of its delivery
    assert await rows(database) == {"audit": 1, "deliveries": 1}
    # and that goes once GitHub cannot deliver it again
    clock.now += 30 * DAY
    assert await forget(database, 30) == NO_CHANGE | {"ids": 1}
    assert await rows(database) == {"audit": 1}


async def test_accounts_of_past_days_and_months_go_and_those_that_still_count_stay(
    database: Database, clock: Clock
) -> None:
    # given it is 2027-01-15, and budgets of now and of before
    clock.now = 1_800_000_000.0
    known = [
        "org", "team:eng", "user:ada@2027-01-15", "user:ada@2026-12-16", "user:ada@2026-12-15", "repo:o/d@2026-12",
        "repo:o/d@2026-11", "team:a@2020-01", "account:octo@2027-01",
    ]  # fmt: skip
    async with database.transaction() as connection:
        await connection.execute(
            insert(accounts), [{"id": one, "cap": 9, "spent": 3, "reserved": 0} for one in [*known, "user:bob@2020-01"]]
        )
        await connection.execute(
            insert(accounts).values(id="user:eve@2020-01", cap=9, spent=3, reserved=1)  # a call is under way
        )
    # when
    assert await forget(database, 30) == NO_CHANGE | {"accounts": 3}
    # then
    async with database.reading() as connection:
        left = (await connection.execute(select(accounts.c.id))).scalars().all()
    assert sorted(left) == sorted({*known, "user:eve@2020-01"} - {"user:ada@2026-12-15", "repo:o/d@2026-11"})


async def test_sec_04_ids_and_keys_of_commands_outlive_what_is_forgotten(database: Database, clock: Clock) -> None:
    await ended(database, 1, ProjectStatus.COMPLETED)
    clock.now += 31 * DAY
    await forget(database, 30)
    store = DeliveryStore(database)
    assert await store.accept(delivery(1, "r-9")) == "duplicate"
    again = delivery(1, "r-9")
    assert (
        await store.accept(Delivery("d-9", again.event, again.repository, "{}", "r-9", "33:comment:1")) == "duplicate"
    )


@pytest.mark.parametrize("status", [status for status in ProjectStatus if not status.final])
async def test_a_run_that_goes_on_by_itself_keeps_everything_however_old(
    database: Database, clock: Clock, status: ProjectStatus
) -> None:
    run_id = await ended(database, 1, status)
    clock.now += 1000 * DAY
    assert not any((await forget(database, 30)).values())
    assert await kept(database, run_id) == EVERYTHING


async def test_a_delivery_that_waits_keeps_its_payload_and_what_was_begun_for_it(
    database: Database, clock: Clock
) -> None:
    await DeliveryStore(database).accept(delivery(1, "r-1"))
    await EffectStore(database, "r-1").begin("limits", "admitted")
    clock.now += 1000 * DAY
    assert not any((await forget(database, 30)).values())
    (waiting,) = await DeliveryStore(database).unfinished()
    assert waiting.payload == '{"body": "a prompt"}'


async def test_the_run_of_a_pull_request_keeps_everything_as_long_as_one_of_its_rounds_does(
    database: Database, clock: Clock
) -> None:
    # given a pull request's run, and a round of it a month later
    root = await ended(database, 1, ProjectStatus.COMPLETED)
    clock.now += 20 * DAY
    round_ = await ended(database, 2, ProjectStatus.COMPLETED)
    await EffectStore(database, root).begin("round", round_)
    # when
    clock.now += 15 * DAY
    assert not any((await forget(database, 30)).values())
    # then both go together
    clock.now += 16 * DAY
    await forget(database, 30)
    assert (await kept(database, root), await kept(database, round_)) == (NOTHING, NOTHING)


async def test_what_is_no_run_is_forgotten_too_but_not_how_far_redelivery_has_come(
    database: Database, clock: Clock
) -> None:
    # given a lint with its preview, a delivery that asked for nothing, and the marks of redelivery
    store, marks = DeliveryStore(database), EffectStore(database, "redelivery")
    await store.accept(delivery(1, "lint-1"))
    await store.finish("d-1")
    await store.accept(Delivery("d-2", "ping", "octo/demo", '{"zen": "…"}'))
    await PreviewStore(database, "lint-1").keep("a preview")
    await marks.begin("hook", "1")
    await marks.done("hook", "1", "77")
    await marks.begin("delivery", "some-guid")
    # when
    clock.now += 31 * DAY
    # then
    assert await forget(database, 30) == NO_CHANGE | {"ids": 1, "deliveries": 1, "previews": 1, "effects": 1}
    assert await marks.begin("hook", "1") == ("done", "77")
    assert await forget(database, 30) == NO_CHANGE


@pytest.mark.parametrize("database_url", [POSTGRESQL], indirect=True)
async def test_a_run_that_is_taken_up_again_meanwhile_keeps_everything(database: Database, clock: Clock) -> None:
    # given: a run that is old enough, and a process that takes it up in a transaction that is not at its end yet
    run_id = await ended(database, 1, ProjectStatus.PARTIAL)
    clock.now += 31 * DAY
    async with database.transaction() as connection:
        await connection.execute(update(runs).where(runs.c.id == run_id).values(updated_at=clock.now))
        # when
        forgetting = asyncio.create_task(forget(database, 30))
        async with asyncio.timeout(20):
            while not await waits_for_a_lock(database):
                pass
    await forgetting
    # then
    assert await kept(database, run_id) == EVERYTHING


async def waits_for_a_lock(database: Database) -> bool:
    async with database.reading() as connection:
        return bool((await connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))).scalar_one())
