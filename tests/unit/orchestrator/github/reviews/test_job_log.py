"""What a model is shown of a log: its first error with what came before, as a person reads it, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.reviews.job_log import MAX_LETTERS, MAX_LINES, excerpt, job_of_check
from orchestrator.hidden import shown


def test_the_first_error_is_shown_with_what_came_before_and_without_times_colours_and_hidden_letters() -> None:
    log = (
        "\ufeff2026-11-25T12:00:00.1234567Z ##[group]Run make test\r\n"
        "2026-11-25T12:00:01.1234567Z \x1b[31;1mE   assert 1 == 2\x1b[0m\u200b\r\n"
        "2026-11-25T12:00:01.2234567Z <!-- in a log this is text -->\r\n"
        "2026-11-25T12:00:02Z ##[error]Process completed with exit code 1.\r\n"
        "2026-11-25T12:00:03Z \x1b]0;title\x07Cleaning up\r\n"
    )
    assert excerpt(log) == (
        "##[group]Run make test\n"
        "E   assert 1 == 2\n"
        "<!-- in a log this is text -->\n"
        "##[error]Process completed with exit code 1.\n"
        "Cleaning up"
    )


def test_of_a_long_log_the_lines_around_the_first_error_are_shown() -> None:
    lines = [f"line {number}" for number in range(1, 301)]
    lines[199] = "##[error]first"
    lines[299] = "##[error]last"
    shown_lines = excerpt("\n".join(lines)).split("\n")
    assert (len(shown_lines), shown_lines[0], shown_lines[-1]) == (100, "line 111", "line 210")
    assert "##[error]first" in shown_lines


def test_without_a_marked_error_the_last_lines_are_shown() -> None:
    shown_lines = excerpt("\n".join(f"line {number}" for number in range(1, 301))).split("\n")
    assert (len(shown_lines), shown_lines[-1]) == (100, "line 300")


def test_a_log_that_says_nothing_shows_nothing() -> None:
    assert excerpt("\ufeff\n\n") == ""


@given(st.text(alphabet=st.sampled_from("ab\x1b[]0m\n\r\x07\u200b\ufeff#error<!->\U000e0041"), max_size=2_000))
def test_an_excerpt_is_bounded_and_hides_nothing(log: str) -> None:
    text = excerpt(log * 20)
    assert len(text) <= MAX_LETTERS
    assert text.count("\n") < MAX_LINES
    assert "\x1b" not in text
    assert shown(".log", text).text == text


@pytest.mark.parametrize(
    ("url", "app", "job"),
    [
        ("https://github.com/octo/demo/actions/runs/12/job/34", "github-actions", 34),
        ("https://github.com/Octo/Demo/actions/runs/12/job/34?pr=5", "github-actions", 34),
        ("https://github.com/octo/demo/actions/runs/12/job/34", "other-app", None),
        ("https://github.com/octo/other/actions/runs/12/job/34", "github-actions", None),
        ("https://github.com/octo/demo/runs/34", "github-actions", None),
        ("https://github.com/octo/demo/actions/runs/12/job/x", "github-actions", None),
        ("", "github-actions", None),
    ],
)
def test_only_a_check_run_of_github_actions_for_a_job_of_this_repository_has_a_log(
    url: str, app: str, job: int | None
) -> None:
    assert job_of_check(url, app, "octo/demo") == job
