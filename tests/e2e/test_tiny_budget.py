"""The cap under fire: sixteen tasks at once, every answer billed at its whole output limit, five cents."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine, ended, list_price, list_price_bound
from tests.loopback import ModelServer, Script
from tests.loopback.journal import Call


def most_at_any_moment(calls: list[Call]) -> float:
    """Return the most, in USD, that was billed plus what calls in flight could still bill at list price."""
    moments = sorted({call.started for call in calls} | {call.ended or call.started for call in calls})
    return max((sum(_exposure(call, moment) for call in calls) for moment in moments), default=0.0)


def _exposure(call: Call, moment: float) -> float:
    if call.started > moment:
        return 0.0
    in_flight = call.ended is None or call.ended > moment
    return list_price_bound(call) if in_flight else list_price(call)


@pytest.mark.parametrize("budget", [0.05, pytest.param(0.2, marks=pytest.mark.slow)])
def test_billed_and_in_flight_never_pass_the_cap(tmp_path: Path, budget: float) -> None:
    with ModelServer(Script(tasks=20, chains=20, full_output=True, delay=0.05)) as server:
        user = CommandLine(tmp_path, server)

        ending = ended(user.build("--budget", str(budget), "--concurrency", "16"))

        report = user.report()
        billed = sum(list_price(call) for call in server.billed)
        assert ending.status == 3, ending
        assert report["status"] == "budget_exhausted"
        assert server.billed
        assert most_at_any_moment(server.journal) <= budget + 1e-12
        assert report["budget"]["spent_usd"] == pytest.approx(billed, abs=1e-12)
        assert report["budget"]["spent_usd"] <= budget
        assert len(report["calls"]) == len(server.billed)
        assert user.accounts()["run:sample"][1] == 0
        assert (user.results / ".orchestrator" / "report.md").is_file()
        assert "Traceback" not in ending.err + ending.out


def test_a_cap_that_pays_nothing_asks_nobody(tmp_path: Path) -> None:
    with ModelServer(Script(tasks=1)) as server:
        user = CommandLine(tmp_path, server)

        ending = ended(user.build("--budget", "0.0001"))

        assert ending.status == 3, ending
        assert server.journal == []
        assert user.report()["status"] == "budget_exhausted"
        assert user.report()["calls"] == []


@pytest.mark.slow
def test_a_larger_budget_goes_on_where_the_smaller_one_stopped(tmp_path: Path) -> None:
    with ModelServer(Script(tasks=4, chains=4, full_output=True)) as server:
        user = CommandLine(tmp_path, server)
        first = ended(user.build("--budget", "0.05", "--concurrency", "4"))
        spent = user.report()["budget"]["spent_usd"]
        before = len(server.journal)

        second = user.run("--resume", "sample", "--budget", "5")

        report = user.report()
        assert (first.status, second.status) == (3, 0), (first, second)
        assert report["status"] == "completed"
        assert 0 < spent <= 0.05
        assert [call.purpose for call in server.journal[before:] if call.purpose in ("architecture", "decompose")] == []
        assert report["budget"]["spent_usd"] == pytest.approx(sum(list_price(call) for call in server.billed))
