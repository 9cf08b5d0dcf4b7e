"""What is forgotten of runs that ended long ago: all of them but the audit, and what budgets of later months need.

A delivery's id and its command's key outlive the payload by as long again, so that nothing old is accepted twice
(SECURITY 4 and 33): after that a comment is too old to be accepted at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Delete, Update, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.quotas import is_past
from orchestrator.state import ProjectStatus
from orchestrator.store.database import Database
from orchestrator.store.schema import (
    accounts,
    cancellations,
    content,
    deliveries,
    effects,
    holds,
    previews,
    runs,
)
from orchestrator.store.uninterrupted import finished

DAY_SECONDS = 24 * 3600.0
# How far the redelivery of hooks has come: one row of an App, which the next sweep begins at.
_MARK = and_(effects.c.run_id == "redelivery", effects.c.kind == "hook")
_ACCOUNT_OF_RUN = "run:"


async def forget(database: Database, days: float) -> Mapping[str, int]:
    """Forget what is older than so many days, and return how many rows of each table changed.

    With a run go its tasks, files, validations, calls and what it chose its models by. A run that has not ended for
    good keeps everything, however old; so does one whose last change is younger, the run whose pull request it is a
    round of, and a delivery that waits. Accounts of budgets that have no period stay, as does the audit.
    """
    now = database.clock()
    return await finished(_forget(database, now - days * DAY_SECONDS, now - 2 * days * DAY_SECONDS))


async def _forget(database: Database, before: float, long_before: float) -> dict[str, int]:
    async with database.transaction() as connection:
        over = _is_over(deliveries.c.run_id, before)
        done = and_(deliveries.c.state != "queued", or_(deliveries.c.run_id.is_(None), over))
        # Runs go late: by them it is told what is over. Effects go before them, and by them rounds are told. Nobody
        # takes a run up again while its row is locked; of one that was taken up before that, each statement hears.
        await connection.execute(select(runs.c.id).where(_is_over(runs.c.id, before)).with_for_update())
        changed = {
            "ids": await _changed(
                connection,
                # What asked for nothing is ignored again.
                delete(deliveries).where(
                    done,
                    or_(
                        deliveries.c.received_at < long_before,
                        and_(deliveries.c.run_id.is_(None), deliveries.c.received_at < before),
                    ),
                ),
            ),
            "deliveries": await _changed(
                connection,
                update(deliveries)
                .where(deliveries.c.payload != "", deliveries.c.received_at < before, done)
                .values(payload=""),
            ),
            "previews": await _changed(
                connection, delete(previews).where(previews.c.at < before, _is_over(previews.c.run_id, before))
            ),
            "cancellations": await _changed(
                connection,
                delete(cancellations).where(cancellations.c.at < before, _is_over(cancellations.c.run_id, before)),
            ),
            "holds": await _changed(connection, delete(holds).where(holds.c.until < before)),
            "effects": await _changed(
                connection, delete(effects).where(effects.c.at < before, ~_MARK, _is_over(effects.c.run_id, before))
            ),
            "content": await _changed(connection, delete(content).where(content.c.at < before)),
        }
        over_now = delete(runs).where(_is_over(runs.c.id, before)).returning(runs.c.id)
        gone = (await connection.execute(over_now)).scalars().all()
        return changed | {"runs": len(gone), "accounts": await _forget_accounts(connection, gone, before)}


async def _forget_accounts(connection: AsyncConnection, gone: Sequence[str], before: float) -> int:
    """Remove the accounts of runs that go, and of days and months that were over by then."""
    known = await connection.execute(select(accounts.c.id).where(accounts.c.id.contains("@"), accounts.c.reserved == 0))
    past = [account for account in known.scalars() if is_past(account, before)]
    ids = [*(f"{_ACCOUNT_OF_RUN}{run_id}" for run_id in gone), *past]
    return sum([await _changed(connection, delete(accounts).where(accounts.c.id == one)) for one in ids])


def _is_over(run_id: ColumnElement[str], before: float) -> ColumnElement[bool]:
    """Tell of a run's id whether nobody can go on with it: what is no run at all, such as a lint, is over too."""
    final = [status.value for status in ProjectStatus if status.final]
    held = (
        select(runs.c.id)
        .where(or_(runs.c.status.not_in(final), runs.c.updated_at >= before))
        .union(select(deliveries.c.run_id).where(deliveries.c.state == "queued", deliveries.c.run_id.is_not(None)))
    )
    other = effects.alias()
    roots = select(other.c.run_id).where(other.c.kind == "round", other.c.key.in_(held))
    return and_(run_id.not_in(held), run_id.not_in(roots))


async def _changed(connection: AsyncConnection, statement: Update | Delete) -> int:
    result = await connection.execute(statement)
    return int(result.rowcount)
