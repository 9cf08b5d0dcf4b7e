"""SECURITY 4 and 33: texts go after thirty days, the keys by which nothing is accepted twice stay."""

from __future__ import annotations

from sqlalchemy import insert, select

from orchestrator.store import Database, Delivery, DeliveryStore, PreviewStore, RetentionStore, RunStore
from orchestrator.store.schema import calls, deliveries
from tests.unit.orchestrator.store.conftest import Clock

DAY = 24 * 3600.0


def asked(number: int, run: str) -> Delivery:
    return Delivery(f"d-{number}", "issue_comment", "octo/demo", '{"words": 1}', run, f"33:c:{number}:run", 5, "ada")


async def _run(database: Database, run_id: str, status: str) -> None:
    runs = RunStore(database)
    await runs.create(run_id, title="t", job={}, source="octo/demo", output_dir="")
    await runs.save(run_id, await runs.claim(run_id), status=status)


async def test_sec_04_a_command_whose_payload_is_forgotten_is_still_a_duplicate(
    database: Database, clock: Clock
) -> None:
    store = DeliveryStore(database)
    assert await store.accept(asked(1, "r-1")) == "queued"
    await store.finish("d-1")
    clock.now += 31 * DAY
    assert await RetentionStore(database).forget() == 1
    assert await store.origin("r-1") is None
    assert await store.accept(asked(1, "r-1")) == "duplicate"
    again = Delivery("d-other", "issue_comment", "octo/demo", "{}", "r-1", "33:c:1:run", 5, "ada")
    assert await store.accept(again) == "duplicate"


async def test_sec_33_after_thirty_days_payloads_answers_and_previews_are_gone_but_of_runs_that_live(
    database: Database, clock: Clock
) -> None:
    store, kept = DeliveryStore(database), RetentionStore(database)
    for number, status in ((1, "completed"), (2, "waiting"), (3, "")):
        await store.accept(asked(number, f"r-{number}"))
        if status:
            await store.finish(f"d-{number}")
            await _run(database, f"r-{number}", status)
            await _answer(database, f"r-{number}")
    await PreviewStore(database, "r-1").keep("the words of a preview")
    clock.now += 30 * DAY
    assert await kept.forget() == 0
    clock.now += 1
    assert await kept.forget() == 1
    async with database.reading() as connection:
        payloads = await connection.execute(select(deliveries.c.payload).order_by(deliveries.c.id))
        answers = await connection.execute(select(calls.c.answer, calls.c.cost).order_by(calls.c.run_id))
        assert list(payloads.scalars()) == ["", '{"words": 1}', '{"words": 1}']
        assert [tuple(row) for row in answers] == [(None, 7), ("the words of a model", 7)]
    assert await PreviewStore(database, "r-1").kept() == ()


async def _answer(database: Database, run_id: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            insert(calls).values(
                run_id=run_id,
                task_id="t",
                purpose="generate",
                provider="openai",
                model="m",
                state="settled",
                accounts="[]",
                reserved=9,
                cost=7,
                input_tokens=1,
                output_tokens=1,
                key="k",
                answer="the words of a model",
                created_at=database.clock(),
            )
        )
