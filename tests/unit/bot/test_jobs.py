from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import NoReturn

import pytest

from bot.jobs import Jobs
from bot.limits import at_once
from orchestrator.errors import GitHubError
from orchestrator.github.api.client import Unreachable
from orchestrator.operator_config import Limits, OperatorConfig
from orchestrator.store import Database, Delivery, DeliveryStore, EffectStore, RunStore
from tests.unit.bot.conftest import Worker


def delivery(number: int, *, repository: str = "octo/demo", issue: int = 5, actor: str = "ada") -> Delivery:
    return Delivery(
        id=f"d-{number}",
        event="issue_comment",
        repository=repository,
        payload="{}",
        run_id=f"r-{number}",
        command_key=f"33:comment:{number}",
        issue=issue,
        actor=actor,
    )


async def accept(database: Database, *deliveries: Delivery) -> None:
    for one in deliveries:
        assert await DeliveryStore(database).accept(one) == "queued"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- the database answers from threads, and sets no event of ours
            await asyncio.sleep(0)


async def left(database: Database) -> list[str]:
    return [one.id for one in await DeliveryStore(database).unfinished()]


async def test_what_an_earlier_process_left_is_worked_on_at_the_start(database: Database) -> None:
    await accept(database, delivery(1), delivery(2, issue=6))
    worker = Worker()
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: jobs.finished.done == 2)
    assert sorted(worker.done) == ["d-1", "d-2"]
    assert await left(database) == []


async def test_one_issue_has_one_run_at_a_time_in_order(database: Database) -> None:
    await accept(database, delivery(1), delivery(2), delivery(3, issue=6))
    gate = asyncio.Event()
    worker = Worker(gate=gate)
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: len(worker.began) == 2)
        assert worker.began == ["d-1", "d-3"]
        gate.set()
        await until(lambda: jobs.finished.done == 3)
    assert worker.began == ["d-1", "d-3", "d-2"]


async def test_no_more_runs_than_allowed_and_an_answer_does_not_wait_behind_them(database: Database) -> None:
    runs = [delivery(number, issue=number) for number in range(1, 6)]
    await accept(database, *runs, delivery(9, issue=1, actor=""))
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up, runs_at_once=2)
    async with jobs.running():
        await until(lambda: len(worker.began) == 3)
        assert sorted(worker.began) == ["d-1", "d-2", "d-9"]
        assert len(jobs.waiting) == 3
    assert sorted(await left(database)) == ["d-1", "d-2", "d-3", "d-4", "d-5", "d-9"]


async def test_a_repository_with_many_commands_does_not_starve_another(database: Database) -> None:
    crowd = [delivery(number, issue=number) for number in range(1, 5)]
    await accept(database, *crowd, delivery(9, repository="octo/other"))
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up, runs_at_once=2)
    async with jobs.running():
        await until(lambda: len(worker.began) == 2)
    assert worker.began == ["d-1", "d-9"]


async def test_a_failure_is_tried_again_and_then_done(database: Database) -> None:
    attempts: list[str] = []

    async def second_time_lucky(one: Delivery) -> None:
        attempts.append(one.id)
        if len(attempts) == 1:
            raise GitHubError("GitHub cannot be reached.")

    await accept(database, delivery(1))
    jobs = Jobs(database, second_time_lucky, Worker().give_up, pauses=(0.0,))
    async with jobs.running():
        await until(lambda: jobs.finished.done == 1)
    assert attempts == ["d-1", "d-1"]
    assert await left(database) == []


async def broken(_: Delivery) -> NoReturn:
    raise RuntimeError("a secret detail")


async def cancelled_within(_: Delivery) -> NoReturn:
    raise asyncio.CancelledError


@pytest.mark.parametrize(("work", "kind"), [(broken, "RuntimeError"), (cancelled_within, "RuntimeError")])
async def test_sec_36_a_delivery_that_keeps_failing_is_given_up_and_the_others_go_on(
    database: Database, work: Callable[[Delivery], Awaitable[None]], kind: str
) -> None:
    worker = Worker()

    async def first_fails(one: Delivery) -> None:
        await (work(one) if one.id == "d-1" else worker.work(one))

    await accept(database, delivery(1), delivery(2))
    jobs = Jobs(database, first_fails, worker.give_up, pauses=(0.0, 0.0))
    async with jobs.running():
        await until(lambda: jobs.finished.done == 1)
    assert worker.given_up == [("d-1", f"The bot ran into an internal failure ({kind}); its log says more.")]
    assert (jobs.finished.failed, jobs.finished.given_up) == (3, 1)
    assert worker.done == ["d-2"]
    assert await left(database) == []


async def test_giving_up_that_fails_too_still_ends_the_delivery(database: Database) -> None:
    async def cannot_tell(one: Delivery, reason: str) -> None:
        raise GitHubError("GitHub cannot be reached.")

    await accept(database, delivery(1))
    jobs = Jobs(database, broken, cannot_tell, pauses=())
    async with jobs.running():
        await until(lambda: not jobs.working)
    assert await left(database) == []


async def test_an_attempt_past_its_deadline_is_stopped_and_counts_as_one_that_failed(database: Database) -> None:
    worker, gate = Worker(), asyncio.Event()

    async def hangs_once(one: Delivery) -> None:
        worker.began.append(one.id)
        if len(worker.began) == 1:
            await gate.wait()

    await accept(database, delivery(1))
    jobs = Jobs(database, hangs_once, worker.give_up, deadline=0.01, pauses=(0.0,))
    async with jobs.running():
        await until(lambda: jobs.finished.done == 1)
    assert (worker.began, jobs.finished.failed, worker.given_up) == (["d-1", "d-1"], 1, [])


async def test_the_last_attempt_past_its_deadline_is_given_up(database: Database) -> None:
    await accept(database, delivery(1))
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up, deadline=0.01, pauses=())
    async with jobs.running():
        await until(lambda: worker.finished.is_set() and not jobs.working)
    assert worker.given_up == [("d-1", "The run did not end within 0.01 seconds and was stopped.")]


async def test_an_attempt_is_not_stopped_within_the_limit_of_its_own_run(database: Database) -> None:
    await accept(database, delivery(1))
    worker = Worker(gate=asyncio.Event())
    asked = asyncio.Event()

    async def an_hour(_: Delivery) -> float:
        asked.set()
        return 3600.0

    jobs = Jobs(database, worker.work, worker.give_up, deadline=0.01, pauses=(), allowed=an_hour)
    async with jobs.running():
        async with asyncio.timeout(5):
            await asked.wait()
        assert worker.gate is not None
        worker.gate.set()
        await until(lambda: not jobs.working)
    assert (worker.done, worker.given_up) == (["d-1"], [])


async def ended_while_at_work(database: Database, times: int) -> None:
    """Leave what so many processes leave that are killed while they work on the first delivery."""
    for _ in range(times):
        assert await DeliveryStore(database).begin("d-1")


@pytest.mark.parametrize(
    ("times", "began", "given_up"),
    [(9, ["d-1"], []), (10, [], [("d-1", "The bot ended 10 times while it worked on this.")])],
)
async def test_a_delivery_during_whose_work_the_bot_keeps_dying_is_given_up(
    database: Database, times: int, began: list[str], given_up: list[tuple[str, str]]
) -> None:
    await accept(database, delivery(1))
    await ended_while_at_work(database, times)
    worker = Worker()
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: worker.finished.is_set() and not jobs.working)
    assert (worker.began, worker.given_up) == (began, given_up)
    assert await left(database) == []


def at_work(jobs: Jobs) -> bool:
    return bool(jobs.working)


def has_failed(jobs: Jobs) -> bool:
    return jobs.finished.failed == 1 and not jobs.working


async def test_neither_a_drain_nor_a_failure_counts_as_a_death_of_the_bot(database: Database) -> None:
    await accept(database, delivery(1))
    await ended_while_at_work(database, 9)
    for work in (Worker(gate=asyncio.Event()).work, broken, Worker(gate=asyncio.Event()).work):
        jobs = Jobs(database, work, Worker().give_up, pauses=(3600.0, 3600.0))
        async with jobs.running():
            await until(partial(at_work, jobs))
            if work is broken:
                await until(partial(has_failed, jobs))
    worker = Worker()
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: jobs.finished.done == 1)
    assert (worker.began, worker.given_up) == (["d-1"], [])


async def test_sec_36_that_a_run_is_given_up_is_told_once_github_is_back_whatever_ends_meanwhile(
    database: Database,
) -> None:
    # given: a GitHub that is down when the delivery is given up, and when that is told the first time
    await accept(database, delivery(1), delivery(2))
    told: list[tuple[str, str]] = []

    async def tell(one: Delivery, reason: str) -> None:
        told.append((one.id, reason))
        if len(told) < 3:
            raise Unreachable("GitHub cannot be reached.")

    worker = Worker()

    async def first_is_broken(one: Delivery) -> None:
        await (broken(one) if one.id == "d-1" else worker.work(one))

    jobs = Jobs(database, first_is_broken, tell, pauses=(), telling=(0.0, 3600.0))
    async with jobs.running():
        await until(lambda: len(told) == 2 and jobs.finished.done == 1)
        # The issue is free meanwhile.
        assert worker.done == ["d-2"]
        await until(lambda: not jobs.working)
    assert await left(database) == ["d-1"]

    # when
    later = Jobs(database, worker.work, tell, pauses=(), telling=(0.0, 3600.0))
    async with later.running():
        await until(lambda: len(told) == 3 and not later.working)

    # then
    assert told == [("d-1", "The bot ran into an internal failure (RuntimeError); its log says more.")] * 3
    assert worker.done == ["d-2"]
    assert await left(database) == []


async def test_what_cannot_be_told_for_as_long_as_it_is_tried_is_left(database: Database) -> None:
    async def cannot_tell(one: Delivery, reason: str) -> None:
        raise Unreachable("GitHub cannot be reached.")

    await accept(database, delivery(1))
    jobs = Jobs(database, broken, cannot_tell, pauses=(), telling=(0.0, 0.0))
    async with jobs.running():
        await until(lambda: not jobs.working and not jobs.waiting)
    assert await left(database) == []
    assert jobs.finished.given_up == 1


async def test_draining_stops_what_runs_and_leaves_it_for_the_next_start(database: Database) -> None:
    await accept(database, delivery(1))
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: worker.began == ["d-1"])
        jobs.drain()
        assert not jobs.alive
        await accept(database, delivery(2, issue=6))
        jobs.offer(delivery(2, issue=6))
    assert (worker.began, worker.done, worker.given_up) == (["d-1"], [], [])
    assert await left(database) == ["d-1", "d-2"]


async def test_a_drain_while_a_failure_pauses_leaves_the_delivery_queued(database: Database) -> None:
    await accept(database, delivery(1))
    jobs = Jobs(database, broken, Worker().give_up, pauses=(3600.0,))
    async with jobs.running():
        await until(lambda: jobs.finished.failed == 1)
        await until(lambda: not jobs.working)
        assert [one.id for one in jobs.waiting] == ["d-1"]
    assert await left(database) == ["d-1"]


async def test_the_hour_of_a_user_counts_what_was_started_before(database: Database) -> None:
    store = DeliveryStore(database)
    others = [delivery(number, issue=number) for number in range(1, 4)]
    await accept(database, *others, delivery(7, actor="bob"), delivery(8, actor=""))
    counted = [await store.started_before(one, 3600.0) for one in others]
    assert counted == [0, 1, 2]
    assert await store.started_before(delivery(7, actor="bob"), 3600.0) == 0
    assert await store.started_before(delivery(8, actor=""), 3600.0) == 0


async def test_a_cancelled_run_that_waits_begins_at_once_though_as_many_as_may_are_at_work(database: Database) -> None:
    await accept(database, delivery(1, issue=1), delivery(2, issue=2), delivery(3, issue=1))
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up, runs_at_once=1)
    async with jobs.running():
        await until(lambda: worker.began == ["d-1"])
        await jobs.begin_now("r-3")  # its issue is being worked on
        await jobs.begin_now("r-2")
        await until(lambda: len(worker.began) == 2)
        assert worker.began == ["d-1", "d-2"]


async def test_an_answer_leaves_its_issue_free_for_the_next_run(database: Database) -> None:
    worker = Worker()
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await accept(database, delivery(1, actor=""), delivery(2))
        jobs.offer(delivery(1, actor=""))
        await until(lambda: jobs.finished.done == 1)
        jobs.offer(delivery(2))
        await until(lambda: jobs.finished.done == 2)
    assert worker.done == ["d-1", "d-2"]


async def test_a_resume_from_the_pull_request_waits_for_the_run_that_its_issue_works_on(database: Database) -> None:
    run, resume = delivery(1, issue=1), replace(delivery(2, issue=7), run_id="r-1")
    await accept(database, run, resume)
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up)
    async with jobs.running():
        await until(lambda: worker.began == ["d-1"])
        assert [one.id for one in jobs.waiting] == ["d-2"]


async def test_a_command_is_about_the_newest_run_of_its_issue_or_the_run_that_reported_on_its_pull_request(
    database: Database,
) -> None:
    store, runs = DeliveryStore(database), RunStore(database)
    for number, one in enumerate((delivery(1), delivery(2))):
        await runs.create(one.run_id, title="t", job={}, source="octo/demo", output_dir="")
        await runs.save(one.run_id, await runs.claim(one.run_id), status=["running", "completed"][number])
        await store.record(one)
    await EffectStore(database, "r-1").begin("comment", "7:<!-- orchestrator:report run=r-1 -->")

    async def about(number: int, *, pull_request: bool = False, unfinished: bool = False) -> str | None:
        return await store.run_about("octo/demo", number, pull_request=pull_request, unfinished=unfinished)

    assert await about(5) == "r-2"
    assert await about(5, unfinished=True) == "r-1"
    assert await about(7, pull_request=True) == "r-1"
    assert await about(77, pull_request=True) is None
    assert await about(6) is None
    assert (await store.origin("r-1"), await store.origin("r-9")) == ("{}", None)
    assert await store.unfinished() == ()
    assert await store.accept(delivery(1)) == "duplicate"


async def test_once_a_pull_request_was_revised_commands_there_and_on_its_issue_are_about_the_newest_round(
    database: Database,
) -> None:
    store, runs = DeliveryStore(database), RunStore(database)
    root, one, two = delivery(1, issue=5), delivery(2, issue=7), delivery(3, issue=7)
    await EffectStore(database, "r-1").begin("comment", "7:<!-- orchestrator:report run=r-1 -->")
    for done in (root, one, two):
        await runs.create(done.run_id, title="t", job={}, source="octo/demo", output_dir="")
        await runs.save(done.run_id, await runs.claim(done.run_id), status="completed")
        await store.record(done)
        if done is not root:
            await EffectStore(database, "r-1").begin("round", done.run_id)
    await accept(database, delivery(4, issue=7))

    async def about(number: int, *, unfinished: bool = False) -> str | None:
        return await store.run_about("octo/demo", number, pull_request=number == 7, unfinished=unfinished)

    assert [await about(number) for number in (5, 7)] == ["r-3", "r-3"]
    assert await about(7, unfinished=True) == "r-4"  # the next round, which waits
    assert [await store.root_of(one) for one in ("r-3", "r-1", "r-4")] == ["r-1", None, None]
    assert await store.run_of_pull_request("octo/demo", 7) == "r-1"


async def test_a_lint_waits_for_no_run_and_one_at_a_time_works_on_a_commit(database: Database) -> None:
    lints = [replace(delivery(number, issue=0, actor=""), run_id="lint-a", command_key="") for number in (2, 3)]
    other = replace(delivery(4, issue=0), run_id="lint-b", command_key="")
    await accept(database, delivery(1), *lints, other)
    gate = asyncio.Event()
    worker = Worker(gate=gate)
    jobs = Jobs(database, worker.work, worker.give_up, runs_at_once=1)
    async with jobs.running():
        await until(lambda: len(worker.began) == 3)
        assert sorted(worker.began) == ["d-1", "d-2", "d-4"]
        gate.set()
        await until(lambda: jobs.finished.done == 4)


async def test_fifty_runs_of_a_noisy_repository_leave_room_for_another_that_comes_last(database: Database) -> None:
    crowd = [delivery(number, issue=number, repository="loud/noisy") for number in range(1, 51)]
    await accept(database, *crowd)
    worker = Worker(gate=asyncio.Event())
    jobs = Jobs(database, worker.work, worker.give_up, at_once=at_once(OperatorConfig()))
    async with jobs.running():
        await until(lambda: len(worker.began) == 3)
        assert len(jobs.waiting) == 47
        quiet = delivery(99, repository="octo/quiet", actor="bob")
        await accept(database, quiet)
        jobs.offer(quiet)
        await until(lambda: len(worker.began) == 4)
        assert worker.began[3] == "d-99"
        assert len(jobs.waiting) == 47


async def test_sec_10_what_is_above_the_runs_at_once_of_its_user_or_account_waits_in_the_queue(
    database: Database,
) -> None:
    operator = OperatorConfig(per_user=Limits(runs_at_once=1), accounts={"loud": Limits(runs_at_once=1)})
    await accept(
        database,
        delivery(1, issue=1, repository="loud/one", actor="ada"),
        delivery(2, issue=2, repository="octo/demo", actor="Ada"),
        delivery(3, issue=3, repository="LOUD/two", actor="bob"),
        delivery(4, issue=4, repository="octo/demo", actor="cleo"),
    )
    gate = asyncio.Event()
    worker = Worker(gate=gate)
    jobs = Jobs(database, worker.work, worker.give_up, at_once=at_once(operator))
    async with jobs.running():
        await until(lambda: len(worker.began) == 2)
        assert worker.began == ["d-1", "d-4"]
        gate.set()
        await until(lambda: jobs.finished.done == 4)
    assert sorted(worker.done) == ["d-1", "d-2", "d-3", "d-4"]
