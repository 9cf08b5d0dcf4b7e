"""Durable execution: accepted deliveries are the queue, and what a process leaves unfinished the next one takes up.

    accepted ──> waiting ──> working ──> done
                    ^           │
                    └── again ──┘  a failure, after a pause; the last one gives up, and says so on GitHub

Nothing is lost when the process dies, because a delivery is done only when its work is: a crash or a shutdown is no
failure and costs no attempt. Only a delivery during whose work one process after another dies is given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

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
from bot.logs import fields
from orchestrator.errors import StoreError
from orchestrator.github.triggers.spec_change import is_lint
from orchestrator.store import Database, Delivery, DeliveryStore, Stored

AtOnce = Callable[[Delivery], Mapping[str, int]]

RUNS_AT_ONCE = 4
ANSWERS_AT_ONCE = 8

log = logging.getLogger(__name__)


def lane(delivery: Delivery, issue: int | None = None) -> str:
    """Return what only one run at a time may work on: the issue, of the run where it is known, or the pull request."""
    return f"{delivery.repository}#{issue or delivery.issue or delivery.run_id}"


def answers(delivery: Delivery) -> bool:
    """Tell whether it only answers, such as `status` or `cancel`, and must not wait behind the run it is about."""
    return not delivery.actor or is_lint(delivery.run_id)


def alone(delivery: Delivery) -> bool:
    """Tell whether it needs its lane to itself; a lint does, so that a commit's check run is made once."""
    return is_lint(delivery.run_id) or not answers(delivery)


def unlimited(_: Delivery) -> Mapping[str, int]:
    """Return no limit for whatever is asked."""
    return {}


@dataclass(eq=False, slots=True)
class _Job:
    delivery: Delivery
    deliveries: DeliveryStore
    failures: int = 0

    @property
    def lane(self) -> str:
        """What only one run at a time may work on."""
        return lane(self.delivery)

    @property
    def answers(self) -> bool:
        """True for what only answers, or only tells that it is given up."""
        return bool(self.delivery.ending) or answers(self.delivery)

    @property
    def alone(self) -> bool:
        """True for what needs its lane to itself."""
        return not self.delivery.ending and alone(self.delivery)

    async def begin(self) -> Delivery | None:
        """Count the attempt as begun; returns the delivery as it stands now, or None when its work is done."""
        begun = await self.deliveries.begin(self.delivery.id)
        if begun is not None:
            # What could not be kept, on a full disk, is known here all the same.
            self.delivery = replace(begun, ending=self.delivery.ending or begun.ending)
            self.failures = max(self.failures, begun.failures)
        return begun and self.delivery

    async def finish(self) -> None:
        """Mark the delivery's work as done."""
        await self.deliveries.finish(self.delivery.id)

    async def fail(self) -> int:
        """Count a failure; returns how many attempts have failed, since it is given up where it is."""
        self.failures += 1
        with _though_unwritten():
            self.failures = max(self.failures, await self.deliveries.failed(self.delivery.id))
        return self.failures

    async def give_up(self, reason: str) -> None:
        """Keep why the delivery is given up, so that no later attempt does its work."""
        self.delivery, self.failures = replace(self.delivery, ending=reason), 0
        with _though_unwritten():
            await self.deliveries.give_up(self.delivery.id, reason)

    async def hand_over(self) -> None:
        """Note that the attempt ends here, and is no failure: the process closes."""
        with _though_unwritten():
            await self.deliveries.hand_over(self.delivery)

    async def is_lost(self, error: Exception | None = None) -> bool:
        """Return False: nobody else works on this process's queue."""
        return False


@contextmanager
def _though_unwritten() -> Iterator[None]:
    """Go on with what this process knows where the store takes no writes; the next start knows less."""
    try:
        yield
    except StoreError:
        log.exception("how an attempt ended could not be kept")


class Jobs:
    """Works on accepted deliveries, at most `runs_at_once`, one at a time for an issue, fair between repositories.

    `at_once` says for a run's delivery how many may be at work for each of its holders: what is above that waits.
    `work`, `give_up`, `allowed` and the times, in seconds, are those of the `Boundary`.
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
    ) -> None:
        self._deliveries = DeliveryStore(database)
        self._work = work
        self._runs_at_once = runs_at_once
        self._at_once = at_once
        self._boundary = Boundary(self._do, give_up, deadline, tuple(pauses), tuple(telling), allowed)
        self._waiting: list[_Job] = []
        self._pausing: set[_Job] = set()
        self._working: dict[_Job, asyncio.Task[None]] = {}
        self._lanes: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    @property
    def finished(self) -> Finished:
        """How many attempts ended in which way since the process started."""
        return self._boundary.finished

    @property
    def alive(self) -> bool:
        """True while new work is taken up."""
        return self._group is not None

    @property
    def waiting(self) -> tuple[Delivery, ...]:
        """The deliveries whose work has not begun or will begin again, the oldest first."""
        return tuple(job.delivery for job in (*self._waiting, *self._pausing))

    @property
    def working(self) -> tuple[Delivery, ...]:
        """The deliveries that are being worked on."""
        return tuple(job.delivery for job in self._working)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take up what an earlier process left, then work until the block ends, which `drain`s."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for delivery in await self._deliveries.unfinished():
                self._waiting.append(_Job(delivery, self._deliveries))
            if self._waiting:
                log.info("taking up what was left", extra=fields(deliveries=len(self._waiting)))
            self._begin_what_fits()
            try:
                yield
            finally:
                self.drain()

    async def keep(self, delivery: Delivery) -> Stored:
        """Accept a delivery, and work on it when it is new."""
        stored = await self._deliveries.accept(delivery)
        if stored == "queued":
            self.offer(delivery)
        return stored

    async def unfinished(self) -> tuple[Delivery, ...]:
        """Return what is accepted and not done, the oldest first."""
        return await self._deliveries.unfinished()

    async def pausing(self) -> int:
        """Return how many deliveries wait for the end of the pause after a failure."""
        return len(self._pausing)

    def offer(self, delivery: Delivery) -> None:
        """Work on a delivery that the store has just accepted; while draining it stays there for the next start."""
        if self.alive:
            self._waiting.append(_Job(delivery, self._deliveries))
            self._begin_what_fits()

    async def begin_now(self, run_id: str) -> None:
        """Begin a run that waits in the queue even if as many as may are at work: it was cancelled, and will end."""
        for job in self._waiting:
            if self._group is not None and job.delivery.run_id == run_id and self._lane_is_free(job):
                self._begin(job)
                return

    def drain(self) -> None:
        """Take up nothing more and cancel what runs: it stops at its last checkpoint, its delivery stays queued."""
        if self._group is None:
            return
        self._group = None
        log.info("draining", extra=fields(working=len(self._working), waiting=len(self.waiting)))
        for task in self._working.values():
            task.cancel()

    def _begin_what_fits(self) -> None:
        while self._group is not None and (job := self._next()):
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        if self._group is None:
            raise AssertionError("nothing begins while draining")
        self._waiting.remove(job)
        if job.alone:
            self._lanes.add(job.lane)
        self._working[job] = self._group.create_task(self._run(job), name=f"delivery {job.delivery.id}")

    def _lane_is_free(self, job: _Job) -> bool:
        """Tell whether nobody works on the job's issue, nor on its run from another place: a pull request."""
        at_work = (one.delivery.run_id for one in self._working if not one.answers)
        return bool(job.failures) or (job.lane not in self._lanes and job.delivery.run_id not in at_work)

    def _is_within(self, job: _Job, held: Mapping[str, int]) -> bool:
        return all(held.get(holder, 0) < limit for holder, limit in self._at_once(job.delivery).items())

    def _next(self) -> _Job | None:
        """Return the oldest job that may begin, of the repository that has the fewest at work."""
        runs = [job for job in self._working if not job.answers]
        busy = Counter(job.delivery.repository for job in self._working)
        held = Counter(holder for job in runs for holder in self._at_once(job.delivery))
        may_run = len(runs) < self._runs_at_once
        may_answer = len(self._working) - len(runs) < ANSWERS_AT_ONCE
        fitting = (
            job
            for job in self._waiting
            if (may_answer if job.answers else may_run and self._is_within(job, held))
            and (not job.alone or self._lane_is_free(job))
        )
        return min(fitting, key=lambda job: busy[job.delivery.repository], default=None)

    async def _run(self, job: _Job) -> None:
        pause, alone = None, job.alone
        try:
            pause = await self._boundary.attempt(job)
        finally:
            del self._working[job]
            if alone and (pause is None or not job.alone):
                self._lanes.discard(job.lane)
            if pause is not None:
                self._pause(job, pause)
            self._begin_what_fits()

    def _pause(self, job: _Job, seconds: float) -> None:
        """Put a job that failed back after its pause; it keeps its issue's lane, but no place among the runs."""

        def resume() -> None:
            self._pausing.discard(job)
            self._waiting.insert(0, job)
            self._begin_what_fits()

        self._pausing.add(job)
        asyncio.get_running_loop().call_later(seconds, resume)

    async def _do(self, delivery: Delivery) -> None:
        try:
            await self._work(delivery)
        except asyncio.CancelledError as error:
            if self.alive:
                raise RuntimeError("the work was cancelled from within") from error
            raise
