from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.rendering.commits import branch_name, commit_message, holds_ci, is_ours, slug
from tests.unit.orchestrator.github.conftest import RUN


def test_a_branch_is_named_after_issue_and_title() -> None:
    assert branch_name("orchestrator/", 42, "Füge JWT-Auth hinzu!", RUN) == "orchestrator/42-fuge-jwt-auth-hinzu"
    assert branch_name("orchestrator/", 42, "日本語", RUN, round_=2) == "orchestrator/42-build-2"
    assert branch_name("bot/", None, "A tool", RUN) == "bot/a-tool-aaaaaaaaaaaaaaaa"


def test_sec_27_a_commit_that_must_not_run_ci_ends_with_its_trailer_after_two_blank_lines() -> None:
    message = commit_message("Build it", "- a", RUN, skip_checks=True)
    assert message == f"Build it\n\n- a\n\n\nOrchestrator-Run: {RUN}\nskip-checks: true\n"
    assert is_ours(message, RUN)


@given(st.text(max_size=300))
def test_sec_19_a_slug_has_only_letters_digits_and_hyphens(title: str) -> None:
    found = slug(title)
    assert 1 <= len(found) <= 40
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert found == found.strip("-")
    assert slug(found) == found


def test_the_trailers_of_a_message_count_in_its_last_paragraph_only() -> None:
    message = commit_message("Revise: it", "- a", RUN, skip_checks=True, round_id="r-bbbbbbbbbbbbbbbb")

    assert message == (
        f"Revise: it\n\n- a\n\n\nOrchestrator-Run: {RUN}\nOrchestrator-Round: r-bbbbbbbbbbbbbbbb\nskip-checks: true\n"
    )
    assert is_ours(message, RUN)
    assert is_ours(message, "r-bbbbbbbbbbbbbbbb")
    assert holds_ci(message)
    assert not holds_ci(commit_message("skip-checks: true", "skip-checks: true", RUN, skip_checks=False))
    assert not is_ours(f"{message}\n\nSigned-off-by: maria", RUN)
