"""What is forgotten of runs that ended long ago: answers, payloads, previews and effects; ids, keys and money stay.

A delivery's id and its command's key outlive the payload, so that nothing old is accepted again (SECURITY 4 and 33).
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Delete, Update, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.state import ProjectStatus
from orchestrator.store.database import Database
from orchestrator.store.schema import calls, cancellations, deliveries, effects, previews, runs
from orchestrator.store.uninterrupted import finished

DAY_SECONDS = 24 * 3600.0
# How far the redelivery of hooks has come: one row of an App, which the next sweep begins at.
_MARK = and_(effects.c.run_id == "redelivery", effects.c.kind == "hook")


async def forget(database: Database, days: float) -> Mapping[str, int]:
    """Forget what is older than so many days, and return how many rows of each table changed.

    A run that has not ended for good keeps everything, however old; so does one whose last change is younger, the run
    whose pull request it is a round of, and a delivery that waits.
    """
    return await finished(_forget(database, database.clock() - days * DAY_SECONDS))


async def _forget(database: Database, before: float) -> dict[str, int]:
    async with database.transaction() as connection:
        # Effects come last: by them rounds are told from other runs.
        return {
            "calls": await _changed(
                connection,
                update(calls)
                .where(calls.c.answer.is_not(None), calls.c.created_at < before, _is_over(calls.c.run_id, before))
                .values(key=None, answer=None),
            ),
            "deliveries": await _changed(
                connection,
                update(deliveries)
                .where(
                    deliveries.c.payload != "",
                    deliveries.c.state != "queued",
                    deliveries.c.received_at < before,
                    or_(deliveries.c.run_id.is_(None), _is_over(deliveries.c.run_id, before)),
                )
                .values(payload=""),
            ),
            "previews": await _changed(
                connection, delete(previews).where(previews.c.at < before, _is_over(previews.c.run_id, before))
            ),
            "cancellations": await _changed(
                connection,
                delete(cancellations).where(cancellations.c.at < before, _is_over(cancellations.c.run_id, before)),
            ),
            "effects": await _changed(
                connection, delete(effects).where(effects.c.at < before, ~_MARK, _is_over(effects.c.run_id, before))
            ),
        }


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
