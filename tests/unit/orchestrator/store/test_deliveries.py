"""Which runs an event is about: beside which none begins, what an account has under way, what moves with a name."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.errors import StoreError
from orchestrator.store import Database, Delivery, DeliveryStore, EffectStore, RunStore
from orchestrator.store.schema import runs
from tests.unit.orchestrator.store.conftest import Clock


async def _kept(
    database: Database, number: int, *, status: str = "", repository: str = "octo/demo", of: int = 33, issue: int = 5
) -> None:
    """Keep a command; with a status also its run, which stands so."""
    run = f"r-{number}"
    one = Delivery(f"d-{number}", "issue_comment", repository, "{}", run, f"{of}:comment:{number}", issue, "ada")
    if not status:
        assert await DeliveryStore(database).accept(one) == "queued"
        return
    await DeliveryStore(database).record(one)
    store = RunStore(database)
    await store.create(run, title="t", job={}, source=repository, output_dir="")
    await store.save(run, await store.claim(run), status=status)


async def test_beside_a_run_stand_those_of_its_issue_that_exist_and_have_not_ended(database: Database) -> None:
    store = DeliveryStore(database)
    await _kept(database, 1, status="completed")
    await _kept(database, 2, status="running", issue=6)
    await _kept(database, 3)
    assert await store.standing_run_of("octo/demo", 5, besides="r-9") is None

    await _kept(database, 4, status="waiting")

    assert await store.standing_run_of("octo/demo", 5, besides="r-9") == "r-4"
    assert await store.standing_run_of("octo/demo", 5, besides="r-4") is None


async def test_what_was_asked_for_and_refused_is_no_run_of_the_issue(database: Database) -> None:
    store = DeliveryStore(database)
    await _kept(database, 1)
    waits = await store.run_of("octo/demo", 5)
    await store.finish("d-1")
    refused = await store.run_of("octo/demo", 5)
    await _kept(database, 2, status="completed")

    assert (waits, refused, await store.run_of("octo/demo", 5)) == ("r-1", None, "r-2")


async def test_an_accounts_runs_are_those_of_all_its_repositories_whatever_their_case(database: Database) -> None:
    store = DeliveryStore(database)
    await _kept(database, 1, status="running")
    await _kept(database, 2, status="waiting", repository="Octo/other", of=34)
    await _kept(database, 3, status="failed")
    await _kept(database, 4, repository="octo/third", of=35)
    await _kept(database, 5, status="running", repository="octopus/demo", of=36)

    assert sorted(await store.unfinished_runs(account="OCTO")) == ["r-1", "r-2", "r-4"]
    assert await store.unfinished_runs(repositories=("Octo/Demo", "octo/OTHER")) == ("r-1",)
    assert await store.unfinished_runs() == ()


async def test_under_a_new_name_a_repository_keeps_its_commands_and_runs_and_another_of_the_old_name_its_own(
    database: Database,
) -> None:
    store = DeliveryStore(database)
    await _kept(database, 1, status="waiting")
    await _kept(database, 2, status="waiting", of=99, issue=8)
    mine = Delivery("d-1", "issue_comment", "octo/demo", "{}", "r-1")

    await store.move(33, "octo/moved")

    assert await store.run_of("octo/moved", 5) == "r-1"
    assert await store.run_of("octo/demo", 8) == "r-2"
    assert await store.unfinished_runs(account="octo") == ("r-1", "r-2")
    assert (await store.current(mine)).repository == "octo/moved"
    await store.complete("d-1", '{"found": 1}')
    assert (await store.current(mine)).payload == '{"found": 1}'
    assert (await store.current(Delivery("d-9", "push", "octo/demo", "{}"))).repository == "octo/demo"


async def test_a_run_is_found_by_its_branch_and_its_pull_request_by_the_run(database: Database) -> None:
    store, effects = DeliveryStore(database), EffectStore(database, "r-1")
    await _kept(database, 1, status="completed")
    await effects.begin("branch", "decided")
    await effects.done("branch", "decided", "orchestrator/5-a")
    await effects.begin("comment", "7:<!-- orchestrator:report run=r-1 -->")

    assert await store.run_of_branch("octo/demo", "orchestrator/5-a") == "r-1"
    assert await store.run_of_branch("octo/other", "orchestrator/5-a") is None
    assert await store.run_of_branch("octo/demo", "") is None
    assert (await store.pull_request_of("r-1"), await store.pull_request_of("r-2")) == (7, None)


async def test_a_press_may_be_pressed_again_once_it_is_done_and_a_comment_never(database: Database) -> None:
    store = DeliveryStore(database)
    for event, again in (("check_run", "queued"), ("issue_comment", "duplicate")):
        first, second, third = (
            Delivery(f"{event}-{number}", event, "octo/demo", "{}", "r-1", f"33:{event}") for number in range(3)
        )
        assert [await store.accept(first), await store.accept(second)] == ["queued", "duplicate"]
        await store.finish(first.id)
        assert await store.accept(third) == again
        assert await store.accept(first) == "duplicate"


async def test_runs_are_counted_within_their_hour_by_repository_or_account(database: Database, clock: Clock) -> None:
    runs = RunStore(database)
    await _kept(database, 1, status="completed")
    clock.now += 3000
    await _kept(database, 2, status="running", repository="octo/other")

    assert [await runs.begun_within(owner, 3600) for owner in ("Octo/demo", "octo", "oct")] == [1, 2, 0]
    clock.now += 700
    assert await runs.begun_within("octo", 3600) == 1


def _new(number: int) -> Delivery:
    return Delivery(f"n-{number}", "issue_comment", "octo/demo", "{}", f"r-{number}", f"33:comment:{number}", 5, "ada")


async def test_deliveries_that_come_at_once_are_kept_together_and_of_two_alike_one_is_new(database: Database) -> None:
    # given fifty commands, each delivered twice under its id and once more under another
    store = DeliveryStore(database)
    transactions: set[AsyncConnection] = set()

    async def note(connection: AsyncConnection, _: Delivery) -> None:
        transactions.add(connection)

    commands = [_new(number) for number in range(50)]
    others = [replace(one, id=f"other-{one.id}") for one in commands]
    # when
    ended = await asyncio.gather(*(store.accept(one, also=note) for one in (*commands, *commands, *others)))
    # then
    assert ended == ["queued"] * 50 + ["duplicate"] * 100
    assert sorted(one.id for one in await store.unfinished()) == sorted(one.id for one in commands)
    # and one transaction was enough
    assert len(transactions) == 1


async def test_what_the_database_refuses_keeps_nothing_out_that_came_with_it(database: Database) -> None:
    store = DeliveryStore(database)

    async def also(connection: AsyncConnection, one: Delivery) -> None:
        if one.id == "n-3":
            await connection.execute(insert(runs).values(id="r-3", title=None))

    ended = await asyncio.gather(*(store.accept(_new(it), also=also) for it in range(6)), return_exceptions=True)

    assert [type(it) if isinstance(it, Exception) else it for it in ended] == [
        "queued", "queued", "queued", StoreError, "queued", "queued",
    ]  # fmt: skip
    assert sorted(one.id for one in await store.unfinished()) == ["n-0", "n-1", "n-2", "n-4", "n-5"]


async def test_an_error_of_another_kind_leaves_nobody_waiting_that_came_with_it(database: Database) -> None:
    store = DeliveryStore(database)

    async def also(_: AsyncConnection, one: Delivery) -> None:
        if one.id == "n-1":
            raise ValueError(one.id)

    ended = await asyncio.gather(*(store.accept(_new(it), also=also) for it in range(3)), return_exceptions=True)

    # then it is raised by the first one, and the others try without it
    assert [type(it) if isinstance(it, Exception) else it for it in ended] == [ValueError, ValueError, "queued"]


async def test_runs_of_a_clock_that_was_a_day_ahead_do_not_count_until_that_day_is_over(
    database: Database, clock: Clock
) -> None:
    clock.now += 24 * 3600
    await _kept(database, 1, status="completed")
    clock.now -= 24 * 3600
    assert await RunStore(database).begun_within("octo", 3600) == 0
