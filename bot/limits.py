"""What is too much: runs within an hour and at once, dollars of a day or month, per user, repository and account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.control_plane import ControlPlane
from orchestrator.operator_config import OperatorConfig
from orchestrator.quotas import named, turns
from orchestrator.store import Database, Delivery, DeliveryStore, EffectStore, RunStore, spent_up

HOUR_SECONDS = 3600.0
DENIED_AN_HOUR = 20
"""So many commands of somebody without the permission get their reaction; of the rest nothing is done."""


def at_once(operator: OperatorConfig) -> Callable[[Delivery], Mapping[str, int]]:
    """Return what says how many runs may be at work at once for each that a delivery's run would count for."""

    def limits(delivery: Delivery) -> Mapping[str, int]:
        holders = (
            (f"user {delivery.actor.lower()}", operator.per_user.runs_at_once),
            (f"repository {delivery.repository.lower()}", operator.of_repository(delivery.repository).runs_at_once),
            (f"account {_account(delivery)}", operator.of_account(_account(delivery)).runs_at_once),
        )
        return {holder: limit for holder, limit in holders if limit is not None}

    return limits


@dataclass(frozen=True, slots=True)
class Denials:
    """How often somebody was denied in a repository, by the number that GitHub gives it."""

    database: Database
    repository_id: int
    actor: str

    async def add(self, delivery_id: str) -> None:
        """Count a delivery as denied, however often it is tried."""
        await self._kept.begin("denied", f"{self._of}{delivery_id}")

    async def too_many(self) -> bool:
        """Tell whether there were so many within the hour that nothing more is done."""
        return await self._kept.count("denied", self._of, HOUR_SECONDS) >= DENIED_AN_HOUR

    @property
    def _kept(self) -> EffectStore:
        return EffectStore(self.database, f"denied:{self.repository_id}")

    @property
    def _of(self) -> str:
        return f"{self.actor.lower()} "


async def above_hour(plane: ControlPlane, delivery: Delivery, actor: str) -> str:
    """Return a sentence when somebody has started too much within the hour, runs and lints together."""
    operator = plane.operator
    started = await DeliveryStore(plane.database).started_before(delivery, HOUR_SECONDS)
    limit = min(operator.runs_per_hour, _or_all(operator.per_user.runs_per_hour))
    return _too_many(f"@{actor} has started", started, limit)


async def above_limits(plane: ControlPlane, delivery: Delivery) -> str:
    """Return a sentence when a command is above its user's, repository's or account's limits, or an empty string.

    What was within them once is not asked again: a run that was begun is delivered, whatever it has used up.
    """
    operator, runs, repository = plane.operator, RunStore(plane.database), delivery.repository
    if refusal := await above_hour(plane, delivery, delivery.actor):
        return refusal
    # Counted are runs that exist: somebody without the permission never made one, and takes nothing from anybody.
    if await plane.state(delivery.run_id) is None:
        for owner, limit in (
            (repository, operator.of_repository(repository).runs_per_hour),
            (_account(delivery), operator.of_account(_account(delivery)).runs_per_hour),
        ):
            begun = 0 if limit is None else await runs.begun_within(owner, HOUR_SECONDS)
            if refusal := _too_many(f"`{owner}` has started", begun, _or_all(limit)):
                return refusal
    quotas = operator.quotas(delivery.actor, repository, plane.database.clock())
    full = await spent_up(plane.database, {quota.account: quota.usd for quota in quotas})
    if full is None:
        return ""
    quota = next(one for one in quotas if one.account == full)
    return f"the budget of {named(full)}, ${quota.usd:.2f}, is used up. {turns(full)}"


def _account(delivery: Delivery) -> str:
    return delivery.repository.partition("/")[0].lower()


def _or_all(limit: int | None) -> float:
    return float("inf") if limit is None else limit


def _too_many(who: str, started: int, limit: float) -> str:
    if started < limit:
        return ""
    return f"{who} {started} runs within an hour, and the limit is {limit:g}. Wait until the hour has passed."
