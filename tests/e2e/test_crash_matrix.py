"""The crash matrix: SIGKILL at every checkpoint, and before and after everything that a conversation does outside.

    SQLite, PostgreSQL  x  every question to a model, write to GitHub, commit  x  before, after

The cells are what an undisturbed conversation was seen to do. Each is a conversation of its own in which one bot is
killed once, exactly there, and another one is started on what it has left: the end must be the undisturbed one.

Of a commit and what came right before it, nothing happens outside in between unless that was a write or a question:
to be killed after the one commit or before the next is the same then, and is tried once. A kill within a commit is the
database's own affair: what is on its log without the end of a transaction is not there. What PostgreSQL's queue commits
by itself lies between commits of ours: a job is taken after its delivery is accepted and before the first of its run,
and ended after the last, so that the cells next to these find it in each of its states but gone. What GitHub tells of
our own writes is kept by the same commit as a command, at moments that differ from run to run: it is left out.

What goes on with a run (an approval, a round) is killed at each question and write that it adds, on SQLite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.e2e.conversing import conversable
from tests.e2e.killing import (
    SIDES,
    Ending,
    Kill,
    Line,
    Moment,
    Talk,
    converse,
    open_line,
    plan,
    plan_and_approve,
    problems,
    run,
    run_and_revise,
)
from tests.e2e.stage import open_stage
from tests.postgresql import Cluster

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)
"""In no group: each worker may have a server of its own, and the cells are too many for one."""
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

CONFIG = f"""\
runs_per_hour: 10000
takeover_seconds: 5
installations: [{", ".join(f"octo{number}" for number in range(1, 1000))}]
"""
QUESTIONS = ["architecture", "decompose", "generate", "review", "generate", "review", "evaluate"]
DELIVERING = {"POST /git/blobs", "POST /git/trees", "POST /git/commits", "POST /check-runs"}
TELLING = {"PATCH /issues/comments/N", "POST /issues/comments/N/reactions"}
OPENING = {"POST /git/refs", "POST /pulls", "POST /pulls/N/requested_reviewers", "POST /issues/N/comments"}
ADDING = {
    "PATCH /git/refs/heads/orchestrator/1-sample-library",
    "PATCH /pulls/N",
    "POST /pulls/N/comments/N/replies",
    "PATCH /check-runs/N",
}
SHARES = 6
"""Tests for one set of cells, so that it spreads over the workers."""


@dataclass
class Bots:
    """A line of bots on one database, and how undisturbed conversations end there, each had once."""

    line: Line
    _endings: dict[Talk, Ending] = field(default_factory=dict)

    async def undisturbed(self, talk: Talk) -> Ending:
        """Return how a conversation ends in which nobody is killed."""
        if talk not in self._endings:
            self._endings[talk] = await converse(self.line, talk)
        return self._endings[talk]

    async def differences(self, talk: Talk, kills: Sequence[Kill]) -> dict[Kill, list[object]]:
        """Return for each kill what ends otherwise than undisturbed; nothing when all is well."""
        expected = await self.undisturbed(talk)
        found = {}
        for kill in kills:
            print(kill)  # the last one is where it stopped, if it does
            found[kill] = problems(expected, await converse(self.line, talk, kill))
        return {kill: what for kill, what in found.items() if what}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", POSTGRESQL])
async def bots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bots]:
    """Bots on either database, of which the first has done what a bot does once when it starts."""
    url = ""
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.new_database()
    folder = tmp_path_factory.mktemp("crash")
    stage = open_stage(folder, conversable(installs=False), postgresql=url, config=CONFIG)
    async with stage as opened, open_line(opened) as line:
        await converse(line, plan)
        yield Bots(line)


def is_echo(moment: Moment) -> bool:
    """Tell whether a commit keeps what GitHub tells of our own writes; these come together in one, or one by one."""
    return moment.what == "INSERT deliveries" and moment.turn > 1


def kills_at(seen: Sequence[Moment]) -> list[Kill]:
    """Return a kill for each state that the moments go through, as it is explained above."""
    moments = [moment for moment in seen if not is_echo(moment)]
    found = []
    for earlier, moment in zip([None, *moments], moments, strict=False):
        same = earlier is not None and earlier.kind == moment.kind == "commit"
        found += [Kill(side, moment) for side in SIDES if not (same and side == "before")]
    return found


@pytest.mark.parametrize("share", range(SHARES))
async def test_a_run_killed_at_any_checkpoint_or_effect_ends_as_if_undisturbed(bots: Bots, share: int) -> None:
    moments = (await bots.undisturbed(run)).moments
    assert [it.what for it in moments if it.kind == "question"] == QUESTIONS
    assert {it.what for it in moments if it.kind == "write"} == DELIVERING | TELLING | OPENING
    assert sum(it.kind == "commit" for it in moments) > 80

    assert await bots.differences(run, kills_at(moments)[share::SHARES]) == {}


@pytest.mark.parametrize("bots", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("talk", "begun", "questions", "written"),
    [(plan_and_approve, plan, QUESTIONS[2:], OPENING), (run_and_revise, run, [*QUESTIONS[:4], "evaluate"], ADDING)],
    ids=["approve", "revise"],
)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_run_killed_at_any_effect_while_it_goes_on_ends_as_if_undisturbed(
    bots: Bots, talk: Talk, begun: Talk, questions: list[str], written: set[str], share: int
) -> None:
    known = set((await bots.undisturbed(begun)).moments)
    moments = [it for it in (await bots.undisturbed(talk)).moments if it.kind != "commit" and it not in known]
    assert [it.what for it in moments if it.kind == "question"] == questions
    assert {it.what for it in moments if it.kind == "write"} == DELIVERING | TELLING | written

    assert await bots.differences(talk, kills_at(moments)[share::SHARES]) == {}
