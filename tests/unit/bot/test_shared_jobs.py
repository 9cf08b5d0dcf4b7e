"""Several processes' jobs on one real PostgreSQL; each `SharedJobs` here stands for a process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bot.shared_jobs import SharedJobs, held
from orchestrator.errors import GitHubError
from orchestrator.github.api.client import Unreachable
from orchestrator.store import Database, Delivery, DeliveryStore
from tests.postgresql import Cluster
from tests.unit.bot.conftest import Worker
from tests.unit.bot.deliveries import NOW

pytestmark = [pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]


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


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    async with Database.open(cluster.new_database(), clock=lambda: NOW) as opened:
        yield opened


@asynccontextmanager
async def process(database: Database, worker: Worker, **options: Any) -> AsyncIterator[SharedJobs]:
    jobs = SharedJobs(database, worker.work, worker.give_up, **options)
    async with jobs.running():
        yield jobs


async def left(database: Database) -> list[str]:
    return [one.id for one in await DeliveryStore(database).unfinished()]


async def test_two_processes_share_the_work_and_do_each_delivery_once(database: Database) -> None:
    # given
    one, other = Worker(gate=asyncio.Event()), Worker(gate=asyncio.Event())
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(process(database, one, runs_at_once=2))
        await stack.enter_async_context(process(database, other, runs_at_once=2))
        # when
        for number in range(1, 5):
            assert await first.keep(delivery(number, issue=number)) == "queued"
        assert await first.keep(delivery(1, issue=1)) == "duplicate"
        await until(lambda: len(one.began) == len(other.began) == 2)
        for worker in (one, other):
            assert worker.gate is not None
            worker.gate.set()
        await until(lambda: len(one.done) + len(other.done) == 4)
        await until(lambda: _empty(database))
    # then
    assert sorted(one.done + other.done) == ["d-1", "d-2", "d-3", "d-4"]


async def _empty(database: Database) -> bool:
    return await left(database) == []


async def test_one_issue_has_one_run_at_a_time_whichever_process_works(database: Database) -> None:
    one, other = Worker(gate=asyncio.Event()), Worker(gate=asyncio.Event())
    async with process(database, one) as first, process(database, other):
        for number in (1, 2):
            await first.keep(delivery(number))
        # An answer is nobody's run, and waits for none.
        await first.keep(delivery(3, actor=""))
        await until(lambda: sorted(one.began + other.began) == ["d-1", "d-3"])
        for worker in (one, other):
            assert worker.gate is not None
            worker.gate.set()
        await until(lambda: len(one.done + other.done) == 3)
    began = one.began + other.began
    assert sorted(began) == ["d-1", "d-2", "d-3"]


async def test_what_is_above_a_limit_on_all_processes_together_waits_and_others_do_not(database: Database) -> None:
    def one_for_each_user(one: Delivery) -> dict[str, int]:
        return {one.actor: 1}

    one, other = Worker(gate=asyncio.Event()), Worker(gate=asyncio.Event())
    limited = partial(process, database, at_once=one_for_each_user)
    async with limited(one) as first, limited(other):
        for number, actor in ((1, "ada"), (2, "ada"), (3, "bob")):
            await first.keep(delivery(number, issue=number, actor=actor))
        await until(lambda: len(one.began + other.began) == 2)
        # Whichever of Ada's two is admitted first, the other waits.
        assert sorted(one.began + other.began) in (["d-1", "d-3"], ["d-2", "d-3"])
        for worker in (one, other):
            assert worker.gate is not None
            worker.gate.set()
        await until(lambda: len(one.done + other.done) == 3)
    assert sorted(one.done + other.done) == ["d-1", "d-2", "d-3"]


async def test_a_repository_with_many_commands_does_not_starve_another(database: Database) -> None:
    worker = Worker(gate=asyncio.Event())
    order: list[str] = []

    async def noted(one: Delivery) -> None:
        order.append(one.id)
        await worker.work(one)

    jobs = SharedJobs(database, noted, worker.give_up, runs_at_once=1)
    async with jobs.running():
        for number in range(1, 7):
            await jobs.keep(delivery(number, issue=number))
        await jobs.keep(delivery(9, repository="octo/other"))
        assert worker.gate is not None
        worker.gate.set()
        await until(lambda: len(worker.done) == 7)
    assert order.index("d-9") <= 2


async def test_nobody_starves_where_as_much_arrives_as_is_done(database: Database) -> None:
    # given: six runs of one repository, and with each run that is done one of a repository that was not there before
    order: list[str] = []

    async def another_one_arrives(one: Delivery) -> None:
        order.append(one.id)
        if len(order) < 16:
            number = 100 + len(order)
            await jobs.keep(delivery(number, repository=f"octo/other-{number}"))

    jobs = SharedJobs(database, another_one_arrives, Worker().give_up, runs_at_once=1)
    # when
    async with jobs.running():
        for number in range(1, 7):
            await jobs.keep(delivery(number, issue=5 if number in (3, 4) else number))
        await until(lambda: len(order) >= 16)
    # then
    assert [one for one in order if len(one) == 3] == [f"d-{number}" for number in range(1, 7)]
    assert 2 <= order.index("d-101") <= 8


async def test_what_is_drained_goes_to_another_process_at_once(database: Database) -> None:
    one, other = Worker(gate=asyncio.Event()), Worker()
    async with process(database, one) as first:
        await first.keep(delivery(1))
        await until(lambda: one.began == ["d-1"])
    assert (one.done, await left(database)) == ([], ["d-1"])
    async with process(database, other):
        await until(lambda: other.done == ["d-1"])
        await until(lambda: _empty(database))


SILENT = """
import asyncio, sys
from bot.shared_jobs import SharedJobs
from orchestrator.errors import RunLost
from orchestrator.store import Database, DeliveryStore

async def main(url, folder):
    async with Database.open(url) as database:
        async def work(one):
            open(folder + "/began", "w").close()
            try:
                await asyncio.sleep(1)
            finally:
                try:
                    await DeliveryStore(database).check(one)
                except RunLost:
                    open(folder + "/lost", "w").close()
                    raise
                open(folder + "/went on", "w").close()

        async def give_up(one, reason):
            open(folder + "/gave up", "w").close()

        async with SharedJobs(database, work, give_up, stalled_after=2).running():
            await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_a_paused_process_held_is_taken_over_and_its_return_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    # given a process that stands still while it works
    assert await DeliveryStore(database).accept(delivery(1)) == "queued"
    arguments = ("-c", SILENT, database.conninfo, str(tmp_path))
    silent = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        await until((tmp_path / "began").exists)
        silent.send_signal(signal.SIGSTOP)
        # when
        other = Worker(gate=asyncio.Event())
        async with process(database, other, stalled_after=2) as taker:
            await until(lambda: other.began == ["d-1"])
            silent.send_signal(signal.SIGCONT)
            await until((tmp_path / "lost").exists)
            assert other.gate is not None
            other.gate.set()
            await until(lambda: taker.finished.done == 1)
    finally:
        silent.kill()
        await silent.wait()
    # then
    assert (other.began, other.done, other.given_up) == (["d-1"], ["d-1"], [])
    assert sorted(os.listdir(tmp_path)) == ["began", "lost"]
    assert await left(database) == []


async def test_the_end_of_an_attempt_that_was_taken_over_is_no_error(database: Database) -> None:
    # given: what is worked on is taken from the queue, as is done with what a process that fell silent holds
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    worker = Worker(gate=asyncio.Event())
    async with process(database, worker) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: worker.began == ["d-1"])
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM procrastinate_jobs"))
        # when
        assert worker.gate is not None
        worker.gate.set()
        await until(lambda: jobs.finished.done == 1)
        await until(lambda: not any(task.get_name().startswith("process job") for task in asyncio.all_tasks()))
    gc.collect()
    # then
    assert complaints == []


async def test_a_failure_is_tried_again_after_its_pause_and_the_last_one_is_given_up(database: Database) -> None:
    worker = Worker()
    attempts: list[str] = []

    async def broken(one: Delivery) -> None:
        attempts.append(one.id)
        raise GitHubError("GitHub cannot be reached.")

    jobs = SharedJobs(database, broken, worker.give_up, pauses=(0.0,))
    async with jobs.running():
        await jobs.keep(delivery(1))
        await until(lambda: jobs.finished.given_up == 1)
        await until(lambda: _empty(database))
    assert attempts == ["d-1", "d-1"]
    assert [one for one, _ in worker.given_up] == ["d-1"]


async def test_what_pauses_after_a_failure_is_counted_by_every_process(database: Database) -> None:
    async def broken(one: Delivery) -> None:
        raise GitHubError("GitHub cannot be reached.")

    jobs = SharedJobs(database, broken, Worker().give_up, pauses=(600.0,))
    other = SharedJobs(database, broken, Worker().give_up)
    async with jobs.running():
        await jobs.keep(delivery(1))

        async def pauses() -> bool:
            return (await jobs.pausing(), await other.pausing()) == (1, 1)

        await until(pauses)


async def test_a_run_that_was_cancelled_while_it_waited_begins_although_all_places_are_taken(
    database: Database,
) -> None:
    worker = Worker(gate=asyncio.Event())
    async with process(database, worker, runs_at_once=1) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: worker.began == ["d-1"])
        await jobs.keep(delivery(2, issue=6))
        await jobs.begin_now("r-2")
        await until(lambda: len(worker.began) == 2)
    assert worker.began == ["d-1", "d-2"]


async def test_a_run_that_was_cancelled_while_a_limit_held_it_back_begins_at_once(database: Database) -> None:
    worker = Worker(gate=asyncio.Event())
    async with process(database, worker, at_once=lambda one: {one.actor: 1}) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: worker.began == ["d-1"])
        await jobs.keep(delivery(2, issue=6))
        await jobs.begin_now("r-2")
        await until(lambda: len(worker.began) == 2)
    assert worker.began == ["d-1", "d-2"]


async def test_a_run_that_waits_long_for_room_asks_for_it_less_often(database: Database) -> None:
    worker = Worker(gate=asyncio.Event())

    async def tried(times: int) -> bool:
        async with database.reading() as connection:
            return await connection.scalar(_WAITING_FOR_ROOM, {"times": times}) is not None

    async with process(database, worker, at_once=lambda one: {one.actor: 1}) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: worker.began == ["d-1"])
        await jobs.keep(delivery(2, issue=6))
        await until(lambda: tried(1))
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE procrastinate_jobs SET attempts = 9, scheduled_at = NULL"))
        await until(lambda: tried(10))
        async with database.reading() as connection:
            pause = await connection.scalar(_WAITING_FOR_ROOM, {"times": 10})
    assert pause is not None
    assert 20 < pause <= 30


_WAITING_FOR_ROOM = text(
    "SELECT extract(epoch FROM scheduled_at - now()) FROM procrastinate_jobs "
    "WHERE status = 'todo' AND scheduled_at IS NOT NULL AND attempts >= :times"
)


async def test_what_a_dead_process_worked_on_comes_before_what_its_issue_was_asked_later(database: Database) -> None:
    one, other = Worker(gate=asyncio.Event()), Worker()
    async with process(database, one, stalled_after=300) as dead:
        for number in (1, 2, 3):
            await dead.keep(delivery(number))
        await until(lambda: one.began == ["d-1"])
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE procrastinate_workers SET last_heartbeat = 'epoch'"))
        async with process(database, other, runs_at_once=1):
            await until(lambda: len(other.done) + len(one.began) >= 2)
            assert one.gate is not None
            one.gate.set()
            await until(lambda: _empty(database))
    assert [it for it in dict.fromkeys(one.began + other.began) if it != "d-1"] == ["d-2", "d-3"]
    assert (one.began + other.began).count("d-1") == 2


async def test_a_delivery_during_whose_work_processes_keep_dying_is_given_up(database: Database) -> None:
    store = DeliveryStore(database)
    assert await store.accept(delivery(1)) == "queued"
    for _ in range(10):
        assert await store.begin("d-1")
    worker = Worker()
    async with process(database, worker) as jobs:
        await until(lambda: jobs.finished.given_up == 1)
        await until(lambda: _empty(database))
    assert worker.given_up == [("d-1", "The bot ended 10 times while it worked on this.")]
    assert worker.began == []


async def test_a_drain_is_no_death(database: Database) -> None:
    one = Worker(gate=asyncio.Event())
    async with process(database, one) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: one.began == ["d-1"])
    (waiting,) = await DeliveryStore(database).unfinished()
    assert (waiting.attempt, waiting.begun) == (1, 0)


async def test_sec_36_that_a_run_is_given_up_is_told_once_github_is_back_and_its_issue_is_free_meanwhile(
    database: Database,
) -> None:
    worker, told = Worker(), list[str]()

    async def first_is_broken(one: Delivery) -> None:
        if one.id == "d-1":
            raise RuntimeError("a secret detail")
        await worker.work(one)

    async def tell(one: Delivery, reason: str) -> None:
        told.append(reason)
        if len(told) == 1:
            raise Unreachable("GitHub cannot be reached.")

    jobs = SharedJobs(database, first_is_broken, tell, pauses=(), telling=(3600.0,))
    async with jobs.running():
        await jobs.keep(delivery(1))
        await until(lambda: len(told) == 1)
        await jobs.keep(delivery(2))
        await until(lambda: worker.done == ["d-2"])
        assert await left(database) == ["d-1"]
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE procrastinate_jobs SET scheduled_at = NULL"))
        await until(lambda: _empty(database))
    assert told == ["The bot ran into an internal failure (RuntimeError); its log says more."] * 2
    assert jobs.finished.given_up == 1


async def test_what_was_accepted_without_a_queue_is_taken_up_at_the_start(database: Database) -> None:
    assert await DeliveryStore(database).accept(delivery(1)) == "queued"
    worker = Worker()
    async with process(database, worker):
        await until(lambda: worker.done == ["d-1"])


async def test_what_somebody_works_on_outside_of_the_queue_is_left_alone_until_they_are_gone(
    database: Database,
) -> None:
    # given: a delivery that is held, and another one that nobody holds
    worker = Worker()
    async with AsyncExitStack() as stack:
        async with held(database, delivery(1)):
            for number in (1, 2):
                assert await DeliveryStore(database).accept(delivery(number, issue=number)) == "queued"
            await stack.enter_async_context(process(database, worker, stalled_after=0.5))
            await until(lambda: worker.done == ["d-2"])
            assert await left(database) == ["d-1"]
        # when: they are gone, and it is not done
        await until(lambda: worker.done == ["d-2", "d-1"])


async def test_a_process_that_only_seemed_dead_takes_its_own_work_over_and_ends_it_once(database: Database) -> None:
    # given: a process at work whose last heartbeat is long ago
    worker = Worker(gate=asyncio.Event())
    assert worker.gate is not None
    async with process(database, worker, runs_at_once=2, stalled_after=300) as jobs:
        await jobs.keep(delivery(1))
        await until(lambda: worker.began == ["d-1"])
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE procrastinate_workers SET last_heartbeat = 'epoch'"))
        # when: another one that starts queues the work again, and leaves
        async with process(database, Worker(gate=asyncio.Event())):
            pass
        await until(lambda: worker.began == ["d-1", "d-1"])
        working = len(jobs.working)
        worker.gate.set()
        await until(lambda: jobs.working == ())
        # then
        assert working == 2
        assert await left(database) == []
        assert (jobs.finished.done, jobs.finished.failed) == (1, 0)
