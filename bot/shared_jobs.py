"""Durable execution past one machine: several processes share the accepted deliveries through Procrastinate.

    accepted, and deferred in the same transaction ──> one process takes it ──> done
                                                        ^       │
       a failure, after a pause, or a process that died ┘───────┘

A process that died, or was cut off, loses what it worked on to another within a minute; the attempt's number fences
it off, so that it changes nothing more should it come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg import AsyncConnection as Connection
from psycopg import OperationalError
from psycopg.errors import RaiseException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.attempts import (
    DEADLINE_SECONDS,
    PAUSES_SECONDS,
    TELLING_SECONDS,
    Allowed,
    Boundary,
    Finished,
    GiveUp,
    Work,
    nothing,
)
from bot.jobs import ANSWERS_AT_ONCE, RUNS_AT_ONCE, AtOnce, alone, answers, lane, unlimited
from bot.logs import fields
from orchestrator.errors import RunLost, StoreError
from orchestrator.store import Database, Delivery, DeliveryStore, Stored
from orchestrator.store.patience import PatientConnection

RUNS = "runs"
ANSWERS = "answers"
TASK = "deliver"
STALLED_SECONDS = 25.0
"""So long after its last heartbeat a process counts as dead; heartbeats and looks come five times as often."""
RESTART_SECONDS = 2.0
NO_ROOM_SECONDS = (2.0, 4.0, 8.0, 15.0, 30.0)
"""The pauses of a run that a limit holds back, each after the other and the last one as often as it takes."""
POLL_SECONDS = 1.0
"""A new delivery wakes a worker at once; one that waits for its issue or its pause is found this often."""

log = logging.getLogger(__name__)

_ORPHANS = text(
    "SELECT id FROM deliveries WHERE state = 'queued' AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs "
    "WHERE args->>'delivery' = deliveries.id AND status IN ('todo', 'doing')) AND NOT EXISTS (SELECT 1 FROM pg_locks "
    "WHERE locktype = 'advisory' AND granted AND classid = 1869769578 AND objid::bigint = "
    "hashtext(deliveries.id)::bigint & 4294967295 AND database = (SELECT oid FROM pg_database WHERE "
    "datname = current_database())) ORDER BY received_at, id"
)
"""What is queued and no job of the queue: neither under way nor held by a process outside of it."""
_HOLD = "SELECT pg_advisory_lock(1869769578, hashtext(%s))"
_HELD = text("SELECT status FROM procrastinate_jobs WHERE id = :job AND status = :status FOR UPDATE SKIP LOCKED")
_DROP = text("SELECT procrastinate_finish_job_v1(:job, 'failed', true)")
_TURNS = text(
    "SELECT COALESCE(max(-priority) FILTER (WHERE status = 'doing'), min(-priority), 0) AS now, "
    "COALESCE(max(-priority) FILTER (WHERE args->>'repository' = :repository), 0) AS last "
    "FROM procrastinate_jobs WHERE queue_name = 'runs' AND status IN ('todo', 'doing')"
)
_BEGUN_NOW = text(
    "SELECT id, args->>'delivery' AS delivery FROM procrastinate_jobs "
    "WHERE status = 'todo' AND queue_name = 'runs' AND args->>'run' = :run"
)
_DOING = text("SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND queue_name = 'runs'")
_PAUSING = text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo' AND scheduled_at > now()")
_ADMISSION_LOCK = text("SELECT pg_advisory_xact_lock(1869769577)")
_NOW = text("SELECT now()")
_LONG_AGO = datetime.fromtimestamp(0, UTC)
_SCHEMA_LOCK = text("SELECT pg_advisory_xact_lock(1869769576)")


class _Again(Exception):
    """An attempt failed, or found no room; the next one comes after a pause, `at` a time by the database's clock.

    `telling` is the delivery of which nothing is left but to tell that it is given up, for which nobody waits.
    """

    def __init__(self, at: datetime, telling: str = "") -> None:
        super().__init__(f"tried again at {at.isoformat(timespec='seconds')}")
        self.at = at
        self.telling = telling


async def _again(connection: AsyncConnection, seconds: float, telling: str = "") -> _Again:
    # The database decides when the time has come: this machine's clock may be another.
    now = await connection.scalar(_NOW)
    if not isinstance(now, datetime):
        raise AssertionError("a database knows the time")
    return _Again(now + timedelta(seconds=seconds), telling)


class _Retry(BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, _Again) and exception.telling:
            return RetryDecision(retry_at=exception.at, queue=ANSWERS, lock=f"{ANSWERS} {exception.telling}")
        if isinstance(exception, _Again):
            return RetryDecision(retry_at=exception.at)
        if isinstance(exception, asyncio.CancelledError):
            return RetryDecision(retry_at=_LONG_AGO)  # draining: another process goes on at once
        return None


class _OwnJobs(JobManager):
    """Procrastinate's jobs, where the end of an attempt that was taken over is no error: its job is gone."""

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Set a job to its final state."""
        with _unless_gone(job):
            await super().finish_job(job, status, delete_job)

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Have a job done again."""
        with _unless_gone(job):
            await super().retry_job(job, retry_at, priority, queue, lock)


@contextmanager
def _unless_gone(job: Job) -> Iterator[None]:
    try:
        yield
    except ConnectorException as error:
        # What Procrastinate's own functions raise in the database, and only they: the job is not there.
        if not isinstance(error.__cause__, RaiseException):
            raise
        log.info("the job of an attempt that was taken over is gone", extra=fields(job=job.id))


@dataclass(slots=True)
class _Attempt:
    delivery: Delivery
    deliveries: DeliveryStore

    async def begin(self) -> Delivery:
        """Return the delivery: the attempt was counted in the transaction that admitted it."""
        return self.delivery

    async def finish(self) -> None:
        """Mark the delivery's work as done; raises `RunLost` where another process has taken it over."""
        await self.deliveries.check(self.delivery)
        await self.deliveries.finish(self.delivery.id)

    async def fail(self) -> int:
        """Count a failure, of whichever process; returns how many have failed, since it is given up where it is."""
        return await self.deliveries.failed(self.delivery.id)

    async def give_up(self, reason: str) -> None:
        """Keep why the delivery is given up, so that no later attempt does its work."""
        await self.deliveries.check(self.delivery)
        await self.deliveries.give_up(self.delivery.id, reason)
        self.delivery = replace(self.delivery, ending=reason)

    async def hand_over(self) -> None:
        """Note that the attempt ends here, and is no failure: the process closes."""
        try:
            await self.deliveries.hand_over(self.delivery)
        except StoreError:
            log.exception("how an attempt ended could not be kept")

    async def is_lost(self, error: Exception | None = None) -> bool:
        """Tell whether a failure came of another process's attempt, whatever it looked like here."""
        if isinstance(error, RunLost):
            return True
        try:
            await self.deliveries.check(self.delivery)
        except RunLost:
            return True
        return False


@asynccontextmanager
async def held(database: Database, delivery: Delivery) -> AsyncIterator[None]:
    """Keep the processes that share a database from taking a delivery up while the block runs, or this process lives.

    For work outside of the queue; it does nothing for a database that is not shared. The work is to be fenced.
    """
    if not database.conninfo:
        yield
        return
    try:
        # A session of its own, outside of a transaction: the lock goes with it, however the process ends.
        holding = await Connection.connect(database.conninfo, autocommit=True)
        async with holding:
            await holding.execute(_HOLD, (delivery.id,))
            yield
    except OperationalError as error:
        raise StoreError("The delivery could not be held.", hint="See to the database.") from error


class SharedJobs:
    """Works on accepted deliveries together with every other process on the same database.

    A process takes at most `runs_at_once` runs and some answers; one at a time is worked on for an issue. Repositories
    take turns, so that none starves another, and what waits is taken however much comes later. `at_once` and the rest
    are those of `Jobs`; the limits of `at_once` hold for all processes together. Times are in seconds.
    """

    def __init__(
        self,
        database: Database,
        work: Work,
        give_up: GiveUp,
        *,
        runs_at_once: int = RUNS_AT_ONCE,
        at_once: AtOnce = unlimited,
        deadline: float = DEADLINE_SECONDS,
        pauses: Sequence[float] = PAUSES_SECONDS,
        telling: Sequence[float] = TELLING_SECONDS,
        allowed: Allowed = nothing,
        stalled_after: float = STALLED_SECONDS,
    ) -> None:
        self._database = database
        self._deliveries = DeliveryStore(database)
        self._runs_at_once = runs_at_once
        self._at_once = at_once
        self._boundary = Boundary(work, give_up, deadline, tuple(pauses), tuple(telling), allowed)
        self._stalled_after = stalled_after
        self._app = App(
            connector=PsycopgConnector(
                conninfo=database.conninfo, connection_class=PatientConnection, min_size=1, max_size=4, timeout=10
            )
        )
        self._app.job_manager = _OwnJobs(self._app.connector)
        self._app.task(name=TASK, queue=RUNS, pass_context=True, retry=_Retry())(self._deliver)
        # By the queue's number of the attempt: a process that fell silent may take over its own delivery.
        self._working: dict[int | None, Delivery] = {}
        self._workers: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def finished(self) -> Finished:
        """How many attempts ended in which way since the process started."""
        return self._boundary.finished

    @property
    def alive(self) -> bool:
        """True while new work is taken up."""
        return self._workers is not None and not self._workers.done() and not self._stopping

    @property
    def working(self) -> tuple[Delivery, ...]:
        """The deliveries that this process works on."""
        return tuple(self._working.values())

    async def keep(self, delivery: Delivery) -> Stored:
        """Accept a delivery; what is new is queued in the same transaction, for whichever process is free."""
        return await self._deliveries.accept(delivery, also=self._defer)

    async def begin_now(self, run_id: str) -> None:
        """Move a waiting run to where it begins at once, although all places for runs may be taken: it will end."""
        async with self._database.transaction() as connection:
            for row in (await connection.execute(_BEGUN_NOW, {"run": run_id})).all():
                if (await connection.execute(_HELD, {"job": row.id, "status": "todo"})).first() is None:
                    continue
                await connection.execute(_DROP, {"job": row.id})
                delivery = await self._deliveries.queued(row.delivery, connection)
                if delivery is not None:
                    await self._defer(connection, delivery, queue=ANSWERS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what waits, and what a dead process left, until the block ends, which `drain`s."""
        await self._make_tables()
        async with self._app.open_async():
            await self._sweep()
            self._workers = asyncio.create_task(self._run_workers(), name="workers")
            try:
                yield
            finally:
                self.drain()
                await asyncio.wait({self._workers})

    def drain(self) -> None:
        """Take up nothing more and cancel what runs: it stops at its last checkpoint and goes to another process."""
        self._stopping = True
        if self._workers is not None:
            self._workers.cancel()

    async def unfinished(self) -> tuple[Delivery, ...]:
        """Return what is accepted and not done, by whichever process, the oldest first."""
        return await self._deliveries.unfinished()

    async def pausing(self) -> int:
        """Return how many deliveries wait for the end of the pause after a failure, of whichever process."""
        async with self._database.reading() as connection:
            return int(await connection.scalar(_PAUSING) or 0)

    # what is queued

    async def _defer(
        self, connection: AsyncConnection, delivery: Delivery, *, queue: str = "", priority: int | None = None
    ) -> None:
        first = await self._deliveries.issue_of_run(delivery.run_id, connection)
        where = queue or (ANSWERS if answers(delivery) or delivery.ending else RUNS)
        if where != RUNS:
            priority = 0
        elif priority is None:
            priority = -await self._turn(connection, delivery.repository)
        task = self._app.configure_task(
            TASK,
            queue=where,
            lock=lane(delivery, first) if alone(delivery) and not delivery.ending else None,
            priority=priority,
            connection=(await connection.get_raw_connection()).driver_connection,
        )
        try:
            await task.defer_async(delivery=delivery.id, repository=delivery.repository, run=delivery.run_id)
        except ConnectorException as error:
            raise StoreError("The delivery could not be queued.", hint="See to the database.") from error

    async def _turn(self, connection: AsyncConnection, repository: str) -> int:
        """Return the turn in which a repository's next run is taken: its last one's next, and none that is over.

        Turns only go up, so that what waits is overtaken by no more than one run of each other repository a turn.
        Self-clocked fair queueing, with one run as the unit: S. J. Golestani, INFOCOM 1994.
        """
        turns = (await connection.execute(_TURNS, {"repository": repository})).one()
        return max(int(turns.now), int(turns.last)) + 1

    # who works

    async def _run_workers(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._worker(RUNS, self._runs_at_once))
            group.create_task(self._worker(ANSWERS, ANSWERS_AT_ONCE))
            group.create_task(self._sweeping())

    async def _worker(self, queue: str, concurrency: int) -> None:
        """Work until cancelled; a worker ends by itself when the database is gone, and is started again."""
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[queue],
                    name=queue,
                    concurrency=concurrency,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0,
                    fetch_job_polling_interval=POLL_SECONDS,
                    update_heartbeat_interval=self._stalled_after / 5,
                    stalled_worker_timeout=self._stalled_after,
                    delete_jobs="always",
                )
                log.error("a worker stopped", extra=fields(queue=queue))
            except ConnectorException:
                log.exception("a worker cannot reach the database", extra=fields(queue=queue))
            await asyncio.sleep(RESTART_SECONDS)

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(self._stalled_after / 5)
            try:
                await self._sweep()
            except (ConnectorException, StoreError):
                log.exception("the queue cannot be looked through")

    async def _sweep(self) -> None:
        """Queue again what a dead process worked on, and whatever is accepted and not queued."""
        stalled = await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled_after)
        turns: dict[object, int] = {}
        async with self._database.transaction() as connection:
            for job in stalled:
                # A new job, not the old one again: should its worker come back, it must not settle the other's.
                if (await connection.execute(_HELD, {"job": job.id, "status": "doing"})).first() is not None:
                    await connection.execute(_DROP, {"job": job.id})
                    turns[job.task_kwargs.get("delivery")] = job.priority
            for delivery_id in (await connection.scalars(_ORPHANS)).all():
                delivery = await self._deliveries.queued(delivery_id, connection)
                if delivery is not None:
                    about = fields(delivery=delivery_id, repository=delivery.repository, run=delivery.run_id)
                    log.warning("taking over", extra=about)
                    # In its old turn, before what its issue was asked later.
                    await self._defer(connection, delivery, priority=turns.get(delivery_id))

    async def _deliver(self, context: JobContext, /, *, delivery: str, **_: Any) -> None:
        """Do a delivery's work once: the task that Procrastinate calls."""
        admitted = await self._admitted(delivery, context)
        if admitted is None:
            return
        self._working[context.job.id] = admitted
        attempt = _Attempt(admitted, self._deliveries)
        try:
            pause = await self._boundary.attempt(attempt)
        finally:
            del self._working[context.job.id]
        if pause is not None:
            async with self._database.reading() as connection:
                raise await _again(connection, pause, delivery if attempt.delivery.ending else "")

    async def _admitted(self, delivery_id: str, context: JobContext) -> Delivery | None:
        """Begin an attempt, where the limits on what is at work at once leave room; None for what is done already."""
        async with self._database.transaction() as connection:
            # One at a time is admitted, or else two that find room for one would both take it.
            await connection.execute(_ADMISSION_LOCK)
            delivery = await self._deliveries.queued(delivery_id, connection)
            if delivery is None:
                return None
            if context.job.queue != ANSWERS:
                at_work = await self._deliveries.worked_on((await connection.scalars(_DOING)).all(), connection)
                held = Counter(holder for one in at_work if one.id != delivery_id for holder in self._at_once(one))
                if any(held[holder] >= limit for holder, limit in self._at_once(delivery).items()):
                    before = min(context.job.attempts, len(NO_ROOM_SECONDS) - 1)
                    raise await _again(connection, NO_ROOM_SECONDS[before])
            return await self._deliveries.claim(delivery_id, connection, job=context.job.id)

    async def _make_tables(self) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_SCHEMA_LOCK)
            there = await connection.scalar(text("SELECT to_regclass('procrastinate_jobs')"))
            if there is None:
                raw: Any = (await connection.get_raw_connection()).driver_connection
                await raw.execute(self._app.schema_manager.get_schema())
