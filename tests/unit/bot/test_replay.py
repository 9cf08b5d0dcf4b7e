from __future__ import annotations

import pytest

from bot.intake import Asked, Rules, read_delivery
from bot.replay import asked_for
from orchestrator.errors import UsageError
from orchestrator.store import Database, DeliveryStore, EffectStore, RunStore
from tests.unit.bot.deliveries import NOW, issue_comment

RUN = "r-abcdefghijklmnop"


def _rerun() -> Asked:
    check = {"id": 81, "name": "orchestrator/review", "head_sha": "a" * 40, "external_id": RUN}
    check |= {"app": {"id": 4, "slug": "our-app"}, "check_suite": {"head_branch": "orchestrator/5-a"}}
    about = {name: issue_comment()[name] for name in ("repository", "sender", "installation")}
    payload = {"action": "rerequested", "check_run": {**check, "pull_requests": []}, **about}
    asked = read_delivery("check_run", "replay-1", payload, Rules(app_slug="our-app"), NOW)
    assert isinstance(asked, Asked)
    return asked


async def test_a_re_run_is_replayed_about_its_run_and_pull_request(database: Database) -> None:
    # given: the run that an issue asked for, with its report on a pull request
    store, effects = DeliveryStore(database), EffectStore(database, RUN)
    first = read_delivery("issue_comment", "d-1", issue_comment(), Rules(), NOW)
    assert isinstance(first, Asked)
    await store.accept(first.delivery(RUN))
    await RunStore(database).create(RUN, title="t", job={}, source="octo/demo", output_dir="")
    await effects.begin("comment", f"8:<!-- orchestrator:report run={RUN} -->")
    # when
    (kept,) = await asked_for(_rerun(), database)
    # then
    assert (kept.run_id, kept.issue, kept.actor) == (RUN, 8, "ada")


async def test_a_re_run_of_a_run_that_nobody_knows_is_told_in_a_sentence(database: Database) -> None:
    with pytest.raises(UsageError, match="What was pressed is about a run, and this database knows none"):
        await asked_for(_rerun(), database)
