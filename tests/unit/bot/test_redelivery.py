from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bot.localhub import LocalHub
from bot.redelivery import Redelivery
from orchestrator.errors import GitHubError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.store import Database

DAY = 24 * 3600.0


@dataclass
class Hook:
    """An App whose receiver is down, and sweeps over what it missed."""

    hub: LocalHub
    app_id: int
    sweeper: Redelivery
    time: list[float]

    def wait(self, minutes: float) -> None:
        """Let time go by."""
        self.time[0] += 60 * minutes

    async def misses(self, count: int) -> None:
        """Send deliveries that nobody takes."""
        for _ in range(count):
            self.hub.deliver("ping", {"zen": "Keep it simple."}, app_id=self.app_id)
        await self.hub.settled()

    def asked(self) -> list[str]:
        """Return the GUIDs that were delivered again, in order."""
        return [it.guid for it in self.hub.deliveries if it.redelivery]


@asynccontextmanager
async def _hook(folder: Path) -> AsyncIterator[Hook]:
    now = [time.time()]
    opened = Database.open(f"sqlite:///{folder / 'state.db'}", clock=lambda: now[0])
    async with LocalHub(folder / "hub") as hub, opened as database:
        app_id, key = hub.create_app("Orchestrator", "http://127.0.0.1:9/webhook", "x" * 16)
        env = {"GITHUB_API_URL": hub.api_url, "GITHUB_SERVER_URL": hub.url}
        github = GitHubConnection.from_environment(env | {"GITHUB_APP_ID": str(app_id), "GITHUB_APP_PRIVATE_KEY": key})
        yield Hook(hub, app_id, Redelivery(github, database, 3 * DAY), now)


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    async with _hook(tmp_path) as opened:
        yield opened


async def test_each_failed_delivery_is_asked_for_once_the_oldest_first_and_again_after_ten_minutes(hook: Hook) -> None:
    await hook.misses(3)
    missed = [it.guid for it in hook.hub.deliveries]

    assert await hook.sweeper.sweep() == 3
    assert hook.asked() == missed
    await hook.hub.settled()
    # The second attempts failed too.
    assert await hook.sweeper.sweep() == 0
    hook.wait(10)
    assert await hook.sweeper.sweep() == 3
    assert hook.asked() == [*missed, *missed]


async def test_a_sweep_looks_at_what_is_new_only(hook: Hook) -> None:
    await hook.misses(3)
    hook.hub.set_webhook(hook.app_id, None)
    for delivery in hook.hub.deliveries:
        delivery.status_code = 202

    assert await hook.sweeper.sweep() == 0
    for delivery in hook.hub.deliveries:
        delivery.status_code = 502
    assert await hook.sweeper.sweep() == 0


async def test_what_arrived_later_is_not_asked_for(hook: Hook) -> None:
    await hook.misses(2)
    again = hook.hub.redeliver(hook.hub.deliveries[0].id)
    await hook.hub.settled()
    again.status_code = 200

    assert await hook.sweeper.sweep() == 1
    assert hook.asked()[1:] == [hook.hub.deliveries[1].guid]


async def test_what_is_under_way_is_neither_asked_for_nor_forgotten(hook: Hook) -> None:
    await hook.misses(2)
    slow = hook.hub.deliveries[0]
    slow.status, slow.status_code = "pending", 0
    assert await hook.sweeper.sweep() == 1

    await hook.hub.settled()
    slow.status, slow.status_code = "timed out", 504
    await hook.sweeper.sweep()
    assert slow.guid in hook.asked()


async def test_a_clock_that_was_a_day_ahead_puts_nothing_off_until_that_day_is_over(hook: Hook) -> None:
    await hook.misses(1)
    hook.wait(24 * 60)
    assert await hook.sweeper.sweep() == 1
    await hook.hub.settled()
    hook.wait(-24 * 60)
    assert await hook.sweeper.sweep() == 1


@pytest.mark.slow
async def test_a_delivery_that_never_arrives_is_asked_for_less_and_less_and_nine_times(hook: Hook) -> None:
    await hook.misses(1)
    asked = [await hook.sweeper.sweep()]
    for minutes in (10, 20, 40, 80, 160, 320, 640, 1280):
        await hook.hub.settled()
        hook.wait(minutes - 1)
        asked.append(await hook.sweeper.sweep())
        hook.wait(1)
        asked.append(await hook.sweeper.sweep())
    hook.wait(10_000)
    assert await hook.sweeper.sweep() == 0
    assert asked == [1, *[0, 1] * 8]


async def test_one_sweep_asks_for_so_many_and_the_next_one_for_the_rest(hook: Hook) -> None:
    await hook.misses(5)
    first = [it.guid for it in hook.hub.deliveries]
    sweeper = replace(hook.sweeper, asked_a_sweep=3)

    assert await sweeper.sweep() == 3
    await hook.hub.settled()
    for delivery in hook.hub.deliveries:
        if delivery.redelivery:
            delivery.status_code = 200
    assert await sweeper.sweep() == 2
    assert hook.asked() == first


async def test_what_one_sweep_does_not_come_to_the_next_ones_do_and_none_is_asked_for_twice(hook: Hook) -> None:
    # given: three pages of deliveries, of which the oldest and the newest failed
    await hook.misses(201)
    oldest, *others, newest = hook.hub.deliveries
    for delivery in others:
        delivery.status_code = 202
    sweeper = replace(hook.sweeper, pages_a_sweep=1)
    # when
    first = await sweeper.sweep()
    # then: what arrives between two sweeps keeps neither from going on
    for delivery in hook.hub.deliveries[201:]:
        delivery.status_code = 200
    await hook.misses(1)
    assert [first, *[await sweeper.sweep() for _ in range(3)]] == [1, 0, 1, 1]
    assert hook.asked() == [newest.guid, oldest.guid, hook.hub.deliveries[202].guid]
    # Nothing is left to be looked at but what was asked for just now.
    await hook.hub.settled()
    before = len(hook.hub.requests)
    await sweeper.sweep()
    assert len(hook.hub.requests) - before == 1


async def test_a_cursor_that_github_does_not_know_any_more_is_forgotten(hook: Hook) -> None:
    await hook.misses(101)
    sweeper = replace(hook.sweeper, pages_a_sweep=1, asked_a_sweep=0)
    await sweeper.sweep()
    refused = hook.hub.faults.add(path_regex="/app/hook/deliveries$", kind="status", status=422)
    with pytest.raises(GitHubError):
        await sweeper.sweep()
    assert refused.hits == 1
    await sweeper.sweep()
    assert ["cursor" in it.query for it in hook.hub.requests] == [False, True, False]


async def test_what_is_older_than_the_window_is_left(hook: Hook) -> None:
    await hook.misses(1)
    later = Redelivery(hook.sweeper.github, hook.sweeper.database, -60.0)
    assert await later.sweep() == 0


async def test_one_that_github_does_not_have_any_more_stands_in_nobodys_way(hook: Hook) -> None:
    await hook.misses(2)
    hook.hub.faults.add(method="POST", path_regex="/attempts$", kind="status", status=404)
    await hook.sweeper.sweep()
    assert hook.asked() == [hook.hub.deliveries[1].guid]
    hook.wait(10)
    await hook.sweeper.sweep()
    assert set(hook.asked()) == {hook.hub.deliveries[1].guid}


async def test_a_token_asks_for_nothing(hook: Hook) -> None:
    await hook.misses(1)
    given = Redelivery(GitHubConnection(given_token="t"), hook.sweeper.database, 3 * DAY)
    assert await given.sweep() == 0
    assert [it.path for it in hook.hub.requests] == []


async def test_a_github_that_is_down_is_told_and_nothing_is_taken_for_seen(hook: Hook) -> None:
    await hook.misses(1)
    hook.hub.faults.add(path_regex="/app/hook/deliveries$", kind="status", status=502)
    with pytest.raises(GitHubError, match="GitHub would not list the deliveries: 502"):
        await hook.sweeper.sweep()
    hook.hub.faults.add(method="POST", path_regex="/attempts$", kind="drop_before")
    with pytest.raises(GitHubError, match="GitHub could not be reached to deliver once more"):
        await hook.sweeper.sweep()
    assert await hook.sweeper.sweep() == 1
