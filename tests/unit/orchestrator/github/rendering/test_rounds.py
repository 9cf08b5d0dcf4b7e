"""How rounds are listed, and how a published text says that CI runs."""

from __future__ import annotations

from orchestrator.github.rendering.rounds import Round, section
from orchestrator.github.runs.untrusted import held_back, released
from tests.unit.orchestrator.github.states import completed, failing, running


def test_a_round_says_its_number_who_asked_and_what_came_of_those_before_it() -> None:
    before = [Round("r-1", "a" * 40, completed()), Round("r-2", "b" * 40)]
    state = failing()

    said = section(42, before, state, "maria").splitlines()

    assert said[2] == "Round 3 of `/orchestrate revise` on #42, asked for by `maria`."
    assert said[4:] == [
        "| Round | Commit or run | Ending | Cost |",
        "| --- | --- | --- | --- |",
        "| 1 | `aaaaaaaaaaaa` | Done | $1.84 |",
        "| 2 | `bbbbbbbbbbbb` | not known here |  |",
        f"| 3 | `{state.project_id}` | Partly done | ${state.budget.spent_usd:.2f} |",
    ]
    assert "| at work |" in section(42, [], running(), "maria")


def test_the_word_that_ci_was_held_back_becomes_the_word_that_it_runs_and_nothing_else_changes() -> None:
    body = f"Rate limiter\n\n{held_back('files changed')}\n\nCloses #7"

    assert released(body, "c" * 40, "maria") == (
        "Rate limiter\n\nThe repository's own CI runs since `cccccccccccc`, as `maria` asked.\n\nCloses #7"
    )
