from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bot.intake import Asked, LintAsked, Rules, asked_by, read_delivery
from bot.limits import Denials
from bot.localhub import LocalHub
from bot.work import Workshop
from orchestrator.bucket import Bucket
from orchestrator.codes import Code
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import GitHubError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.limits import MemoryRoom
from orchestrator.github.api.publisher import Publisher
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.live import show_round
from orchestrator.state import Outcome, ProjectStatus, Purpose
from orchestrator.store import AuditStore, Delivery, DeliveryStore, EffectStore, HoldStore, Ledger, RunStore
from orchestrator.store.schema import accounts, holds
from tests.unit.bot.deliveries import NOW, RUN, issue_comment, press


@dataclass
class Scene:
    """A workshop before a local GitHub with an issue and a comment on it."""

    hub: LocalHub
    workshop: Workshop
    comment: int

    async def kept(
        self, text: str = "/orchestrate", actor: str = "octocat", delivery: str = "d-1"
    ) -> tuple[Asked, Delivery]:
        comment = self.comment if delivery == "d-1" else self.hub.comment("octo/demo", 1, text, user=actor)
        asked = read_delivery(
            "issue_comment",
            delivery,
            issue_comment(text, comment=comment, issue=1, actor=actor),
            Rules(),
            NOW,
        )
        assert isinstance(asked, Asked)
        kept = asked.delivery()
        assert await DeliveryStore(self.workshop.plane.database).accept(kept) == "queued"
        return asked, kept

    async def pushed(self, sha: str) -> Delivery:
        payload = {
            "ref": "refs/heads/main",
            "before": "a" * 40,
            "after": sha,
            "created": False,
            "forced": False,
            "commits": [{"added": [".orchestrator.yaml"], "modified": [], "removed": []}],
            **{name: issue_comment()[name] for name in ("repository", "sender")},
        }
        asked = read_delivery("push", "d-2", payload, Rules(), NOW)
        assert isinstance(asked, LintAsked)
        assert await DeliveryStore(self.workshop.plane.database).accept(asked.delivery()) == "queued"
        return asked.delivery()

    def statuses(self) -> list[tuple[str, str, str]]:
        shown = self.hub.statuses("octo/demo")
        return [(status["context"], status["state"], status["description"]) for status in shown]

    def said(self) -> list[str]:
        bodies = [comment["body"] for comment in self.hub.comments("octo/demo", 1)]
        return [body for body in bodies if body != "/orchestrate"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "config.yaml").write_text("runs_per_hour: 0\n")
    async with opened_scene(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def opened_scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Open a workshop whose operator's configuration is already written."""
    config = tmp_path / "config.yaml"
    async with LocalHub(tmp_path / "hub") as hub:
        hub.create_user("octocat")
        hub.create_user("mallory")
        await hub.create_repository("octo/demo", {"README.md": "# Demo\n"})
        hub.set_permission("octo/demo", "octocat", "admin")
        hub.create_issue("octo/demo", "A limiter", "Build one.")
        comment = hub.comment("octo/demo", 1, "/orchestrate")
        env = {
            "ORCHESTRATOR_HOME": str(tmp_path / "state"),
            "ORCHESTRATOR_CONFIG": str(config),
            "ORCHESTRATOR_OFFLINE": "1",
            "GITHUB_API_URL": hub.api_url,
            "GITHUB_SERVER_URL": hub.url,
            "GITHUB_TOKEN": hub.token_for("octocat"),
        }
        async with ControlPlane.open(env) as plane:
            workshop = Workshop(plane, GitHubConnection.from_environment(env), Rules())
            yield Scene(hub, workshop, comment)


async def test_sec_10_a_run_above_the_hourly_limit_is_refused_on_github(scene: Scene) -> None:
    asked, delivery = await scene.kept()
    await scene.workshop.work(delivery)
    (said,) = scene.said()
    assert "has started 0 runs within an hour, and the limit is 0" in said
    assert ("octocat", "confused") in scene.hub.reactions("octo/demo", scene.comment)
    assert await scene.workshop.plane.state(asked.own_run_id) is None


async def test_sec_10_of_somebody_who_was_denied_twenty_times_within_the_hour_nothing_more_is_done(
    scene: Scene,
) -> None:
    # given
    database = scene.workshop.plane.database
    for number in range(19):
        await Denials(database, 33, "Mallory").add(f"earlier-{number}")
    reactions = []
    for delivery in ("d-20", "d-21"):
        # when
        _, kept = await scene.kept("/orchestrate status", actor="mallory", delivery=delivery)
        before = len(scene.hub.requests)
        await scene.workshop.work(kept)
        comment = scene.hub.comments("octo/demo", 1)[-1]["id"]
        reactions.append([content for _, content in scene.hub.reactions("octo/demo", comment)])
        asked = len(scene.hub.requests) - before
    # then
    assert (reactions, asked) == ([["confused"], []], 0)
    # Others are answered, and so is she elsewhere.
    assert not await Denials(database, 33, "octocat").too_many()
    assert not await Denials(database, 34, "mallory").too_many()


async def test_sec_10_where_there_is_no_room_a_stranger_is_not_even_reacted_to_and_nothing_waits_for_it(
    scene: Scene,
) -> None:
    room = MemoryRoom(Bucket(2, 1, reserve=2))
    scene.workshop.github.count_content(1, lambda _: room)
    scene.comment = scene.hub.comment("octo/demo", 1, "/orchestrate", user="mallory")
    _, stranger = await scene.kept(actor="mallory")
    await scene.workshop.work(stranger)
    assert scene.hub.reactions("octo/demo", scene.comment) == []


async def test_a_command_that_starts_no_run_is_not_limited(scene: Scene) -> None:
    _, delivery = await scene.kept("/orchestrate status")
    await scene.workshop.work(delivery)
    (said,) = scene.said()
    assert "There is no run for this issue yet." in said


async def test_sec_36_a_run_that_is_given_up_ends_as_failed_in_the_store_and_on_github(scene: Scene) -> None:
    asked, delivery = await scene.kept()
    runs = RunStore(scene.workshop.plane.database)
    job = {"description": "d", "criteria": "", "budget": {"max_usd": 2.0, "max_time_seconds": 60.0}}
    assert await runs.create(asked.own_run_id, title="A limiter", job=job, source="", output_dir="")
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure (KeyError); its log says more.")
    state = await runs.state(asked.own_run_id)
    assert state
    assert (state.status, state.outcome.code) == (ProjectStatus.FAILED, "failed")
    (said,) = scene.said()
    assert said.startswith(
        "Failed: The bot ran into an internal failure (KeyError); its log says more.\n\n"
        "To go on with it once that is mended, comment `/orchestrate resume`."
    )
    assert said.endswith(f"<!-- orchestrator:status run={asked.own_run_id} -->")
    assert ("octocat", "confused") in scene.hub.reactions("octo/demo", scene.comment)


async def test_sec_36_a_completed_run_whose_delivery_is_given_up_is_said_to_be_built_and_stays_completed(
    scene: Scene,
) -> None:
    asked, delivery = await scene.kept()
    runs = RunStore(scene.workshop.plane.database)
    job = {"description": "d", "criteria": "", "budget": {"max_usd": 2.0, "max_time_seconds": 60.0}}
    assert await runs.create(asked.own_run_id, title="A limiter", job=job, source="", output_dir="")
    fence = await runs.claim(asked.own_run_id)
    await runs.conclude(asked.own_run_id, fence, status="completed", outcome=Outcome(Code.CHANGED, ""))
    await scene.workshop.give_up(delivery, "GitHub could not be reached.")
    state = await runs.state(asked.own_run_id)
    assert state
    assert state.status is ProjectStatus.COMPLETED
    (said,) = scene.said()
    assert said.startswith("Built, but not delivered: GitHub could not be reached.\n\nTo go on with it")


async def test_sec_36_an_interrupted_run_that_is_given_up_holds_no_money_and_its_issue_is_free_for_another(
    scene: Scene,
) -> None:
    # given: an interrupted run, and a call in flight on an account that outlives it
    asked, delivery = await scene.kept()
    database = scene.workshop.plane.database
    runs, run_id = RunStore(database), asked.own_run_id
    job = {"description": "d", "criteria": "", "budget": {"max_usd": 2.0, "max_time_seconds": 60.0}}
    assert await runs.create(run_id, title="A limiter", job=job, source="octo/demo", output_dir="")
    fence = await runs.claim(run_id)
    await runs.save(run_id, fence, status=ProjectStatus.INTERRUPTED.value)
    ledger = Ledger(database, run_id, fence)
    await ledger.open_accounts({f"run:{run_id}": 200, "org": 500})
    await ledger.reserve(
        charged=(f"run:{run_id}", "org"),
        task_id="t-1",
        purpose=Purpose.GENERATE,
        provider="p",
        model="m",
        amount=70,
        input_tokens=1,
        output_tokens=1,
    )
    await HoldStore(database).admit(run_id, caps={"org": 500}, amount=200, seconds=60.0)

    # when
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure (KeyError); its log says more.")

    # then
    state = await runs.state(run_id)
    assert state
    assert (state.status, [call.estimated for call in state.calls]) == (ProjectStatus.FAILED, [True])
    assert await DeliveryStore(database).standing_run_of("octo/demo", 1, besides="") is None
    async with database.reading() as connection:
        booked = (await connection.execute(select(accounts.c.spent, accounts.c.reserved))).all()
        held = (await connection.execute(select(holds))).all()
    assert ([tuple(row) for row in booked], held) == ([(70, 0), (70, 0)], [])


async def test_sec_36_what_a_round_has_left_open_on_a_head_ends_as_failure_when_the_run_is_given_up(
    scene: Scene,
) -> None:
    asked, delivery = await scene.kept()
    runs, effects = (
        RunStore(scene.workshop.plane.database),
        EffectStore(scene.workshop.plane.database, asked.own_run_id),
    )
    job = {"description": "d", "criteria": "", "budget": {"max_usd": 2.0, "max_time_seconds": 60.0}}
    assert await runs.create(asked.own_run_id, title="A limiter", job=job, source="", output_dir="")
    state = await runs.state(asked.own_run_id)
    assert state
    client = scene.workshop.github.repository("octo/demo")
    publisher = Publisher(client, run_id=asked.own_run_id, redactor=Redactor([]), effects=effects, login="octocat")
    head = (await scene.hub.branches("octo/demo"))["main"]
    await show_round(publisher, state, head, ["orchestrator/run"])
    assert scene.statuses() == [("orchestrator/run", "pending", "Queued · $0.00 of $2.00")]

    await scene.workshop.give_up(delivery, "The bot ran into an internal failure (KeyError); its log says more.")
    assert scene.statuses()[1:] == [("orchestrator/run", "failure", "failure: Failed")]


async def test_sec_10_what_never_became_a_run_is_given_up_in_silence(scene: Scene) -> None:
    _, delivery = await scene.kept(actor="mallory")
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure.")
    assert scene.said() == []
    assert scene.hub.reactions("octo/demo", scene.comment) == []


async def test_what_is_run_again_of_a_run_that_is_forgotten_is_told_as_much_and_given_up_as_failure(
    scene: Scene,
) -> None:
    repo, sha = scene.hub.repository("octo/demo"), (await scene.hub.branches("octo/demo"))["main"]
    payload = press("rerequested", head_sha=sha) | {"sender": {"login": "octocat", "type": "User"}}
    payload["repository"] |= {"id": repo.id}
    asked = read_delivery("check_run", "d-9", payload, Rules(), NOW)
    assert isinstance(asked, Asked)
    delivery = asked.delivery(RUN)
    assert await DeliveryStore(scene.workshop.plane.database).accept(delivery) == "queued"

    await scene.workshop.work(delivery)
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure.")

    assert scene.statuses() == [
        ("orchestrator/review", "error", "action_required: It cannot be run again from here"),
        ("orchestrator/review", "failure", "failure: It could not be run again"),
    ]


def test_what_is_kept_asks_for_the_same_when_it_is_read_again() -> None:
    asked = read_delivery("issue_comment", "d-1", issue_comment("/orchestrate plan"), Rules(), NOW)
    assert isinstance(asked, Asked)
    assert asked_by(asked.trigger.from_json(asked.delivery().payload), None) == asked


async def test_sec_10_a_lint_above_the_hourly_limit_is_not_done_and_says_so(scene: Scene) -> None:
    sha = await scene.hub.commit("octo/demo", {".orchestrator.yaml": "version: 1\n"})
    await scene.workshop.work(await scene.pushed(sha))
    assert scene.statuses() == [("orchestrator/spec", "error", "action_required: Not checked: too many requests")]


async def test_sec_36_a_lint_that_is_given_up_ends_as_failed_where_something_was_to_lint(scene: Scene) -> None:
    sha = await scene.hub.commit("octo/demo", {".orchestrator.yaml": "version: 1\n"})
    delivery = await scene.pushed(sha)
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure (KeyError); its log says more.")
    assert scene.statuses() == []
    scene.hub.faults.add(method="POST", path_regex="/statuses/", kind="status", status=422)
    with pytest.raises(GitHubError):
        await scene.workshop.work(delivery)
    await scene.workshop.give_up(delivery, "The bot ran into an internal failure (KeyError); its log says more.")
    assert scene.statuses() == [("orchestrator/spec", "failure", "failure: The spec could not be checked")]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            "repositories: {octo/demo: {runs_per_hour: 0}}",
            "`octo/demo` has started 0 runs within an hour, and the limit is 0",
        ),
        ("per_account: {runs_per_hour: 0}", "`octo` has started 0 runs within an hour, and the limit is 0"),
        ("per_user: {runs_per_hour: 0}", "has started 0 runs within an hour, and the limit is 0"),
        ("accounts: {octo: {usd_per_month: 0}}", "the budget of octo for "),
        ("usd_per_day: 0", "the budget of octocat for "),
    ],
)
async def test_sec_10_above_a_limit_a_command_is_refused_and_a_stranger_gets_no_comment(
    tmp_path: Path, limits: str, says: str
) -> None:
    (tmp_path / "config.yaml").write_text(f"{limits}\n")
    async with opened_scene(tmp_path) as scene:
        _, stranger = await scene.kept(actor="mallory", delivery="d-0")
        await scene.workshop.work(stranger)
        assert scene.said() == []
        asked, delivery = await scene.kept()
        await scene.workshop.work(delivery)
        (said,) = scene.said()
        assert says in said
        assert "Then give the command again." in said
        if "usd" in limits:
            assert " turns on 2" in said
        assert await scene.workshop.plane.state(asked.own_run_id) is None


@pytest.mark.slow
async def test_what_was_within_its_limits_once_is_delivered_though_it_used_them_up(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("accounts: {octo: {usd_per_month: 0.5, runs_per_hour: 1}}\n")
    async with opened_scene(tmp_path) as scene:
        asked, delivery = await scene.kept()
        database = scene.workshop.plane.database
        failing = scene.hub.faults.add(method="POST", path_regex="/pulls$", kind="status", status=500, times=2)
        with pytest.raises(Unreachable):
            await scene.workshop.work(delivery)
        assert failing.hits == 2
        (quota,) = scene.workshop.plane.operator.quotas("", "octo/demo", database.clock())
        async with database.transaction() as connection:
            used_up = await connection.execute(
                update(accounts).where(accounts.c.id == quota.account).values(spent=10**12)
            )
        assert used_up.rowcount == 1

        await scene.workshop.work(delivery)
        _, later = await scene.kept(delivery="d-2")
        await scene.workshop.work(later)

    (pull,) = scene.hub.pull_requests("octo/demo")
    assert "Closes #1" in pull["body"]
    status, refused = scene.said()
    assert status.startswith("Done: ")
    assert "`octo` has started 1 runs within an hour, and the limit is 1" in refused
    assert asked.own_run_id in status


async def test_sec_37_the_audit_tells_who_asked_what_github_answered_and_what_came_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("max_usd: 1\n")
    async with opened_scene(tmp_path) as scene:
        asked, delivery = await scene.kept()
        await scene.workshop.work(delivery)
        told = {it.kind: it for it in await AuditStore(scene.workshop.plane.database, asked.own_run_id).entries()}
        (pull,) = scene.hub.pull_requests("octo/demo")
    assert {(it.actor, it.delivery) for it in told.values()} == {("octocat", delivery.id)}
    assert (told["delivery"].facts["command"], told["delivery"].facts["repository"]) == ("run", "octo/demo")
    assert told["access"].facts["detail"] == "octocat has the role admin"
    assert re.fullmatch(r"0 findings, sha256 [0-9a-f]{64}", told["spec"].facts["detail"])
    handled = told["handled"].facts
    assert (handled["status"], handled["cost_usd"], handled["pull_request"]) == ("completed", 0.0, pull["number"])
    assert handled["head"] == pull["head"]["sha"]
    assert [it.partition("/")[0] for it in handled["models"]] == ["offline"]
    assert "limiter/__init__.py" in handled["files"]


async def test_sec_37_a_lint_is_in_the_audit_with_its_commit(scene: Scene) -> None:
    delivery = await scene.pushed(await scene.hub.commit("octo/demo", {".orchestrator.yaml": "enabled: true\n"}))
    await scene.workshop.work(delivery)
    (entry,) = await AuditStore(scene.workshop.plane.database, delivery.run_id).entries()
    assert (entry.kind, entry.delivery, entry.facts["repository"]) == ("linted", "d-2", "octo/demo")
    assert len(entry.facts["commit"]) == 40


async def test_sec_37_a_stranger_who_is_denied_is_in_the_audit_and_no_secret_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("max_usd: 1\n")
    async with opened_scene(tmp_path) as scene:
        scene.comment = scene.hub.comment("octo/demo", 1, "/orchestrate", user="mallory")
        asked, delivery = await scene.kept(actor="mallory")
        await scene.workshop.work(delivery)
        entries = await AuditStore(scene.workshop.plane.database, asked.own_run_id).entries()
        token = scene.workshop.github.given_token
    assert [it.actor for it in entries] == ["mallory"] * len(entries)
    assert entries[-1].facts["status"] == "denied"
    assert token
    assert token not in str(entries)
