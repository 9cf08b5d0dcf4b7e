"""Webhook deliveries: each is accepted once, kept with its work in one transaction, and taken up again at start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.errors import RunLost, StoreError
from orchestrator.state import ProjectStatus
from orchestrator.store.database import Database
from orchestrator.store.schema import deliveries, effects, runs
from orchestrator.store.uninterrupted import uninterrupted

Stored = Literal["queued", "ignored", "duplicate"]
Also = Callable[[AsyncConnection, "Delivery"], Awaitable[None]]
_PRESSED = ("check_run", "check_suite")
_LIVING = tuple(status.value for status in ProjectStatus if not status.final)
_ONE_LESS = case((deliveries.c.begun > 0, deliveries.c.begun - 1), else_=0)
_NEWEST = (runs.c.id.is_(None), deliveries.c.received_at.desc(), deliveries.c.id.desc())
"""The newest first, and runs that exist before those that were only asked for: these may still be refused."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery; `command_key` names (repository, comment, command) where it carries one, `payload` is JSON.

    `issue` is the number of the issue or pull request it speaks about, or 0; `actor` is who starts a run with it, and
    empty when it starts none; `attempt` numbers the tries at its work, and fences the earlier ones off. `failures` of
    them failed, `begun` have begun and not ended: that of now, and those whose process died. `ending` is why it is
    given up: only that is left to be told.
    """

    id: str
    event: str
    repository: str
    payload: str
    run_id: str = ""
    command_key: str = ""
    issue: int = 0
    actor: str = ""
    attempt: int = 0
    failures: int = 0
    begun: int = 0
    ending: str = ""


@dataclass(eq=False, slots=True)
class _Arrived:
    """A delivery that is to be kept, what is done with it, and how it ended: one of the two, once its group has."""

    delivery: Delivery
    also: Also | None
    stored: Stored | None = None
    error: StoreError | None = None

    @property
    def settled(self) -> bool:
        """True once it is known how it ended."""
        return self.stored is not None or self.error is not None

    @property
    def state(self) -> Literal["queued", "ignored"]:
        """What it is kept as when it is new."""
        return "queued" if self.delivery.run_id else "ignored"


@uninterrupted
class DeliveryStore:
    """Accepts deliveries and hands out the unfinished ones."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._arrived: list[_Arrived] = []
        self._accepting = asyncio.Lock()

    async def accept(self, delivery: Delivery, *, also: Also | None = None) -> Stored:
        """Keep the delivery, once for its id and once for its command.

        A delivery with a run id is `queued`, one without is `ignored`; one that was seen before is a `duplicate`.
        `also` is done for a queued one in the same transaction. What arrives while another one is written is kept
        together in the next transaction: a flush of the disk takes as long for many as for one.
        """
        mine = _Arrived(delivery, also)
        self._arrived.append(mine)
        async with self._accepting:
            if not mine.settled:
                await self._accept_arrived()
        if mine.stored is None:
            raise mine.error or AssertionError("a delivery was left out of its group")
        return mine.stored

    async def _accept_arrived(self) -> None:
        """Keep all that has arrived; what the database refuses for its content keeps no other delivery out."""
        group: list[_Arrived] = []
        try:
            async with self._database.transaction(durable=True) as connection:
                group, self._arrived = self._arrived, []
                stored = await self._added(connection, group)
        except StoreError as error:
            if not group:
                group, self._arrived = self._arrived, []
            await self._accept_each(group, error)
        else:
            for one, ended in zip(group, stored, strict=True):
                one.stored = ended
        finally:
            # After an error of another kind, which the first one raises, the next one tries with the others.
            self._arrived[:0] = [one for one in group[1:] if not one.settled]

    async def _accept_each(self, group: Sequence[_Arrived], error: StoreError) -> None:
        """Keep the deliveries of a group that failed one by one, unless the database as a whole cannot be used."""
        for one in group:
            if len(group) > 1 and not isinstance(error.__cause__, OperationalError):
                try:
                    async with self._database.transaction(durable=True) as connection:
                        (one.stored,) = await self._added(connection, [one])
                    continue
                except StoreError as own:
                    error = own
            one.stored, one.error = None, error

    async def _added(self, connection: AsyncConnection, group: Sequence[_Arrived]) -> list[Stored]:
        now, add = self._database.clock(), _ADD_NEW[connection.dialect.name]
        rows = [_row(one.delivery, one.state, now) for one in group]
        fresh = set((await connection.execute(add, rows)).scalars())
        stored: list[Stored] = []
        for one in group:
            new = one.delivery.id in fresh
            # Of two with one id the first is new.
            fresh.discard(one.delivery.id)
            stored.append(one.state if new else "duplicate")
            if new and one.also is not None and one.state == "queued":
                await one.also(connection, one.delivery)
        return stored

    async def record(self, delivery: Delivery) -> None:
        """Keep what somebody else works on, so that later commands find its run; once for its command."""
        async with self._database.transaction(durable=True) as connection:
            row = _row(delivery, "done", self._database.clock())
            await connection.execute(_ADD[connection.dialect.name], [row])

    async def unfinished(self) -> tuple[Delivery, ...]:
        """Return the queued deliveries, the oldest first."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                select(deliveries)
                .where(deliveries.c.state == "queued")
                .order_by(deliveries.c.received_at, deliveries.c.id)
            )
            return tuple(_delivery(row) for row in rows)

    async def queued_count(self) -> int:
        """Return how many deliveries are not done."""
        async with self._database.reading() as connection:
            found = await connection.scalar(
                select(func.count()).select_from(deliveries).where(deliveries.c.state == "queued")
            )
            return int(found or 0)

    async def queued(self, delivery_id: str, connection: AsyncConnection) -> Delivery | None:
        """Return a delivery whose work is not done, within a transaction, or None."""
        row = await connection.execute(
            select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.state == "queued")
        )
        found = row.one_or_none()
        return _delivery(found) if found is not None else None

    async def claim(self, delivery_id: str, connection: AsyncConnection, *, job: int | None) -> Delivery | None:
        """Begin an attempt at a delivery's work, within a transaction, which fences earlier attempts off.

        `job` is the queue's number of it. Returns None when the work is done.
        """
        row = await connection.execute(
            update(deliveries)
            .where(deliveries.c.id == delivery_id, deliveries.c.state == "queued")
            .values(attempt=deliveries.c.attempt + 1, begun=deliveries.c.begun + 1, job=job)
            .returning(deliveries)
        )
        found = row.one_or_none()
        return _delivery(found) if found is not None else None

    async def begin(self, delivery_id: str) -> Delivery | None:
        """Begin an attempt at a delivery's work where no other process does; None when the work is done."""
        async with self._database.transaction() as connection:
            return await self.claim(delivery_id, connection, job=None)

    async def worked_on(self, jobs: Collection[int], connection: AsyncConnection) -> tuple[Delivery, ...]:
        """Return the deliveries whose attempts are these jobs of the queue, within a transaction."""
        rows = await connection.execute(select(deliveries).where(deliveries.c.job.in_(jobs)))
        return tuple(_delivery(row) for row in rows)

    async def failed(self, delivery_id: str) -> int:
        """Count an attempt at a delivery's work as failed, and return how many there were."""
        async with self._database.transaction() as connection:
            failures = await connection.scalar(
                update(deliveries)
                .where(deliveries.c.id == delivery_id)
                .values(failures=deliveries.c.failures + 1, begun=_ONE_LESS)
                .returning(deliveries.c.failures)
            )
            return int(failures or 0)

    async def hand_over(self, delivery: Delivery) -> None:
        """Note that an attempt ended without a word on its work, which another process goes on with."""
        mine = (deliveries.c.id == delivery.id, deliveries.c.attempt == delivery.attempt)
        async with self._database.transaction() as connection:
            await connection.execute(update(deliveries).where(*mine).values(begun=_ONE_LESS))

    async def give_up(self, delivery_id: str, reason: str) -> None:
        """Keep why a delivery is given up; failures to tell it are counted from now on, in this attempt and later."""
        kept = {"ending": reason, "failures": 0, "begun": 1}
        async with self._database.transaction() as connection:
            await connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**kept))

    async def check(self, delivery: Delivery) -> None:
        """Raise `RunLost` when a later attempt at the delivery's work has begun."""
        async with self._database.reading() as connection:
            attempt = await connection.scalar(select(deliveries.c.attempt).where(deliveries.c.id == delivery.id))
        if attempt != delivery.attempt:
            raise RunLost(
                f"Another process has taken over the delivery {delivery.id}; this one changes nothing more.",
                hint="Let the other process finish.",
            )

    async def issue_of_run(self, run_id: str, connection: AsyncConnection) -> int | None:
        """Return the issue that a run was asked for on, within a transaction, or None when it is not known."""
        issue: int | None = await connection.scalar(_asked_for(deliveries.c.issue, run_id).limit(1))
        return issue

    async def charge(self, delivery_id: str, actor: str) -> None:
        """Count a kept delivery among those that its actor has started something with."""
        async with self._database.transaction() as connection:
            await connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(actor=actor))

    async def started_before(self, delivery: Delivery, seconds: float) -> int:
        """Return how many runs the delivery's actor had started in the `seconds` before it was received."""
        earlier = deliveries.alias("earlier")
        this = deliveries.alias("this")
        async with self._database.reading() as connection:
            count = await connection.execute(
                select(func.count())
                .select_from(earlier.join(this, earlier.c.actor == this.c.actor))
                .where(
                    this.c.id == delivery.id,
                    this.c.actor != "",
                    earlier.c.received_at > this.c.received_at - seconds,
                    tuple_(earlier.c.received_at, earlier.c.id) < tuple_(this.c.received_at, this.c.id),
                )
            )
            return int(count.scalar_one())

    async def run_of(self, repository: str, issue: int) -> str | None:
        """Return the newest run that was started on the issue or pull request, or None.

        One that exists is preferred to one that is only asked for: that may still be refused, and then it is none.
        """
        asked = select(deliveries.c.run_id).outerjoin(runs, runs.c.id == deliveries.c.run_id)
        there = or_(runs.c.id.is_not(None), deliveries.c.state == "queued")
        return await self._first(asked.where(_started_on(repository, issue), there).order_by(*_NEWEST))

    async def run_about(self, repository: str, number: int, *, pull_request: bool, unfinished: bool) -> str | None:
        """Return the run that a command on an issue or pull request is about, or None.

        On an issue it is the newest one, on a pull request the one that it belongs to; with `unfinished` rather one
        that was started there and has not ended for good. Of a run whose pull request was revised it is the newest
        round.
        """
        if unfinished and (living := await self.unfinished_run_of(repository, number)):
            return living
        of_its_own = self.run_of_pull_request if pull_request else self.run_of
        root = await of_its_own(repository, number)
        return (await self.newest_round(root) if root else None) or root

    async def newest_round(self, root: str) -> str | None:
        """Return the newest round of the pull request that a run opened, or None."""
        return await self._linked(select(effects.c.key), effects.c.run_id == root, runs.c.id == effects.c.key)

    async def root_of(self, run_id: str) -> str | None:
        """Return the run whose pull request a round is about, or None for a run that is no round."""
        return await self._linked(select(effects.c.run_id), effects.c.key == run_id, runs.c.id == effects.c.run_id)

    async def _linked(self, wanted: Select[str], one: ColumnElement[bool], other: ColumnElement[bool]) -> str | None:
        rounds = wanted.join(runs, other).where(effects.c.kind == "round", one)
        return await self._first(rounds.order_by(runs.c.created_at.desc(), runs.c.id.desc()))

    async def unfinished_run_of(self, repository: str, issue: int) -> str | None:
        """Return the newest run of the issue that has not ended for good, one that is only asked for at last."""
        asked = select(deliveries.c.run_id).outerjoin(runs, runs.c.id == deliveries.c.run_id)
        waits = and_(runs.c.id.is_(None), deliveries.c.state == "queued")
        unfinished = asked.where(_started_on(repository, issue), or_(runs.c.status.in_(_LIVING), waits))
        return await self._first(unfinished.order_by(*_NEWEST))

    async def standing_run_of(self, repository: str, issue: int, *, besides: str) -> str | None:
        """Return the newest run of the issue that exists and has not ended for good, other than `besides`."""
        standing = (
            select(runs.c.id)
            .join(deliveries, deliveries.c.run_id == runs.c.id)
            .where(_started_on(repository, issue), runs.c.id != besides, runs.c.status.in_(_LIVING))
        )
        return await self._first(standing.order_by(runs.c.created_at.desc()))

    async def unfinished_runs(self, *, account: str = "", repositories: Collection[str] = ()) -> tuple[str, ...]:
        """Return the runs in an account's repositories, or in these, that have not ended for good, asked for included.

        A plan that waits is among an account's only: nobody works on it, and it spends nothing.
        """
        names = [name.lower() for name in repositories]

        def of(column: ColumnElement[str]) -> ColumnElement[bool]:
            held = func.lower(column)
            return held.startswith(f"{account.lower()}/", autoescape=True) if account else held.in_(names)

        living = [status for status in _LIVING if account or status != ProjectStatus.WAITING.value]
        known = select(runs.c.id).where(of(runs.c.source), runs.c.status.in_(living)).order_by(runs.c.id)
        asked = (
            select(deliveries.c.run_id)
            .outerjoin(runs, runs.c.id == deliveries.c.run_id)
            .where(
                of(deliveries.c.repository),
                deliveries.c.state == "queued",
                deliveries.c.actor != "",
                deliveries.c.run_id.startswith("r-"),
                runs.c.id.is_(None),
            )
            .order_by(deliveries.c.run_id)
        )
        async with self._database.reading() as connection:
            found = [row for query in (known, asked) for row in (await connection.execute(query)).scalars()]
            return tuple(dict.fromkeys(found))

    async def move(self, repository_id: int, repository: str) -> None:
        """Give what was kept of a repository, and its runs, its new name."""
        mine = deliveries.c.command_key.startswith(f"{repository_id}:", autoescape=True)
        async with self._database.transaction() as connection:
            of = select(deliveries.c.run_id).where(mine, deliveries.c.run_id.is_not(None))
            await connection.execute(update(runs).where(runs.c.id.in_(of)).values(source=repository))
            await connection.execute(update(deliveries).where(mine).values(repository=repository))

    async def current(self, delivery: Delivery) -> Delivery:
        """Return a delivery as it is kept now, under the name that its repository bears."""
        kept = select(deliveries.c.repository, deliveries.c.payload).where(deliveries.c.id == delivery.id)
        async with self._database.reading() as connection:
            row = (await connection.execute(kept)).one_or_none()
            return delivery if row is None else replace(delivery, repository=row.repository, payload=row.payload)

    async def complete(self, delivery_id: str, payload: str) -> None:
        """Keep what was found out for a delivery, so that whoever goes on with its run finds the same."""
        async with self._database.transaction() as connection:
            await connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(payload=payload))

    async def run_of_pull_request(self, repository: str, number: int) -> str | None:
        """Return the run whose report stands on a pull request, or None: it is none of ours."""
        report = effects.c.key.startswith(f"{number}:<!-- orchestrator:report ", autoescape=True)
        reported = _left_in(repository, effects.c.kind == "comment", report)
        return await self._first(reported.order_by(runs.c.created_at.desc()))

    async def pull_request_of(self, run_id: str) -> int | None:
        """Return the number of the pull request on which a run's report stands, or None."""
        report = effects.c.key.contains(":<!-- orchestrator:report ", autoescape=True)
        key = await self._first(
            select(effects.c.key).where(effects.c.run_id == run_id, effects.c.kind == "comment", report)
        )
        return None if key is None else int(key.partition(":")[0])

    async def run_of_branch(self, repository: str, branch: str) -> str | None:
        """Return the run that builds on a branch, or None: it is none of ours."""
        named = (effects.c.remote_id == branch, effects.c.remote_id != "")
        building = _left_in(repository, effects.c.kind == "branch", *named)
        return await self._first(building.order_by(runs.c.created_at))

    async def origin(self, run_id: str) -> str | None:
        """Return the payload of the delivery that asked for a run, or None when it is not known, or not any more."""
        return await self._first(_asked_for(deliveries.c.payload, run_id)) or None

    async def _first(self, wanted: Select[str]) -> str | None:
        async with self._database.reading() as connection:
            return (await connection.execute(wanted.limit(1))).scalar_one_or_none()

    async def finish(self, delivery_id: str) -> None:
        """Mark a delivery's work as done; a button or a re-run may be pressed again then."""
        key = case((deliveries.c.event.in_(_PRESSED), None), else_=deliveries.c.command_key)
        async with self._database.transaction() as connection:
            done = update(deliveries).where(deliveries.c.id == delivery_id)
            await connection.execute(done.values(state="done", command_key=key))


def _started_on(repository: str, issue: int) -> ColumnElement[bool]:
    """Return which deliveries started something on an issue or pull request."""
    return and_(deliveries.c.repository == repository, deliveries.c.issue == issue, deliveries.c.actor != "")


def _asked_for(column: ColumnElement[Any], run_id: str) -> Select[Any]:
    """Return what the delivery that asked for a run says, the first of several first."""
    asked = select(column).where(deliveries.c.run_id == run_id, deliveries.c.actor != "")
    return asked.order_by(deliveries.c.received_at, deliveries.c.id)


def _left_in(repository: str, *what: ColumnElement[bool]) -> Select[Any]:
    """Return the runs that have left such an effect in a repository."""
    return select(runs.c.id).join(effects, effects.c.run_id == runs.c.id).where(runs.c.source == repository, *what)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        row.id,
        row.event,
        row.repository,
        row.payload,
        row.run_id or "",
        row.command_key or "",
        row.issue,
        row.actor,
        row.attempt,
        row.failures,
        row.begun,
        row.ending,
    )


# Built once: building a statement costs more than running it.
_ADD: Mapping[str, sqlite.Insert | postgresql.Insert] = {
    "sqlite": sqlite.insert(deliveries).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(deliveries).on_conflict_do_nothing(),
}
_ADD_NEW = {dialect: add.returning(deliveries.c.id) for dialect, add in _ADD.items()}


def _row(delivery: Delivery, state: str, now: float) -> dict[str, object]:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "repository": delivery.repository,
        "command_key": delivery.command_key or None,
        "issue": delivery.issue,
        "actor": delivery.actor,
        "run_id": delivery.run_id or None,
        "payload": delivery.payload,
        "attempt": 0,
        "failures": 0,
        "begun": 0,
        "ending": "",
        "state": state,
        "received_at": now,
    }
