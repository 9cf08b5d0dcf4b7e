from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.github.triggers.command import NAMES, Command, Refusal, distance, parse_command
from orchestrator.sections import APP_TYPES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/orchestrate", Command("run")),
        ("/orchestrate run", Command("run")),
        ("/Orchestrate PLAN", Command("plan")),
        ("Hello\r\n\r\n/orchestrate plan\r\n", Command("plan")),
        ("/orchestrate add a health endpoint", Command("run", text="add a health endpoint")),
        ("/orchestrate run --budget 2.50 add docs", Command("run", 2.5, text="add docs")),
        ("/orchestrate --budget=$3 --app-type FastAPI --force", Command("run", 3.0, "fastapi", force=True)),
        ("/orchestrate run --base dev/1.x", Command("run", base="dev/1.x")),
        ("/orchestrate —budget 2 go on please", Command("run", 2.0, text="go on please")),
        ("/orchestrate --budget 4 plan", Command("plan", 4.0)),
        ("/orchestrate write tests --budget 2 for all", Command("run", 2.0, text="write tests for all")),
        ("/orchestrate add a --verbose flag", Command("run", text="add a --verbose flag")),
        ("/orchestrate\u00a0plan", Command("plan")),
        ("   /orchestrate status", Command("status")),
        ("/orchestrate an API\nwith two routes\n/orchestrate plan", Command("run", text="an API\nwith two routes")),
        ("> quoted\n/orchestrate help", Command("help")),
        ("/orchestrate fix the login bug", Command("run", text="fix the login bug")),
        ("/orchestrate 日本語で作って", Command("run", text="日本語で作って")),
    ],
)  # fmt: skip
def test_a_command_is_read(text: str, expected: Command) -> None:
    assert parse_command(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "please /orchestrate run",
        "> /orchestrate run",
        "    /orchestrate run",
        "\t/orchestrate run",
        "```\n/orchestrate run\n```",
        "~~~sh\n/orchestrate run",
        "````\n```\n/orchestrate run\n```\n````",
        "- ```\n  /orchestrate run\n  ```",
        "`code\n/orchestrate run\ncode`",
        "<!--\n/orchestrate run\n-->",
        "<!-- never closed\n\n/orchestrate run",
        "text <!-- never closed\n\n/orchestrate run",
        "<pre>\n/orchestrate run\n</pre>",
        "<details>\n<!--\n\n/orchestrate run",
        "/orchestrated",
        "/orchestrate-all",
    ],
)
def test_sec_08_what_stands_in_quotes_code_or_html_comments_is_no_command(text: str) -> None:
    assert parse_command(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "`<!--` opens a comment\n\n/orchestrate run",
        "<!-- closed -->\n/orchestrate run",
        "```\n<!--\n```\n/orchestrate run",
        '<img width="1" src="https://example.org/a.png">\n/orchestrate run',
        "```\n/orchestrate plan\n```\n/orchestrate run",
    ],
)
def test_a_command_after_code_comments_or_pictures_counts(text: str) -> None:
    assert parse_command(text) == Command("run")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("/orchestrate staus", "status"),
        ("/orchestrate paln for later", "plan"),
        ("/orchestrate halp me", "help"),
        ("/orchestrate ru the tests", "run"),
        ("/orchestrate xyzzy", "run"),
        ("/orchestrate --bugdet 3", "run"),
        ("/orchestrate --budget", "run"),
        ("/orchestrate --budget lots", "run"),
        ("/orchestrate --budget -1 x", "run"),
        ("/orchestrate --budget 0 x", "run"),
        ("/orchestrate --budget 1e9 x", "run"),
        ("/orchestrate --budget nan x", "run"),
        ("/orchestrate --app-type djnago", "run"),
        ("/orchestrate --base x;touch${IFS}pwned", "run"),
        ("/orchestrate --base -x", "run"),
        ("/orchestrate --base a..b", "run"),
        ("/orchestrate status --budget 3", "status"),
        ("/orchestrate revise make it blue", "run"),
    ],
)
def test_sec_08_what_cannot_be_meant_is_refused_with_the_nearest(text: str, nearest: str) -> None:
    found = parse_command(text)
    assert isinstance(found, Refusal)
    assert found.nearest == nearest


def test_on_a_pull_request_other_commands_work() -> None:
    assert parse_command("/orchestrate revise blue", on_pull_request=True) == Command("revise", text="blue")
    assert isinstance(parse_command("/orchestrate revise", on_pull_request=True), Refusal)
    assert isinstance(parse_command("/orchestrate make it", on_pull_request=True), Refusal)


def test_the_app_may_be_mentioned_before_the_command() -> None:
    assert parse_command("@my-bot /orchestrate plan", app_slug="my-bot") == Command("plan")
    assert parse_command("@other /orchestrate plan", app_slug="my-bot") is None


@given(st.text(max_size=400), st.booleans())
def test_any_text_is_read_without_an_error(text: str, on_pull_request: bool) -> None:
    found = parse_command(f"/orchestrate {text}", on_pull_request=on_pull_request)
    if isinstance(found, Command):
        assert found.name in NAMES
        assert found.app_type is None or found.app_type in APP_TYPES
        assert found.budget_usd is None or 0 < found.budget_usd < 1e10


@given(st.text("`~<!->\n /orchestrate\\abc", max_size=300))
def test_sec_08_a_command_is_found_only_where_a_line_begins_with_it(text: str) -> None:
    if parse_command(text) is not None:
        assert any(line.lstrip(" ").startswith("/orchestrate") for line in text.split("\n"))


@given(st.sampled_from([name for name in NAMES if len(name) > 3]), st.data())
def test_a_word_one_letter_off_a_command_is_refused(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    word = name[:at] + letter + name[at + 1 :]
    found = parse_command(f"/orchestrate {word} the thing")
    assert isinstance(found, Refusal) or word in NAMES


@settings(deadline=5000, max_examples=20)
@given(
    st.sampled_from(["[", ">", "- ", "`a``b", "<!--", "<b>\n", "> a\n", "\\`", "1. ", "```\n", "a\n-\n", "x <!--\n\n"])
)
def test_a_huge_comment_is_read_in_bounded_time(piece: str) -> None:
    found = parse_command("/orchestrate x\n" + piece * (65_000 // len(piece)) + "\n/orchestrate run")
    assert found is not None


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_distance_of_words_is_symmetric_and_zero_only_for_equals(left: str, right: str) -> None:
    assert distance(left, right) == distance(right, left)
    assert (distance(left, right) == 0) == (left == right)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\n@my-bot /orchestrate plan\nand more", Command("plan", text="and more")),
        ("I would ask:\n/orchestrate plan", None),
        ("> /orchestrate plan\n\n/orchestrate plan", None),
        ("    /orchestrate plan", None),
        ("", None),
    ],
)
def test_where_it_must_lead_a_command_counts_only_when_nothing_stands_before_it(
    text: str, found: Command | None
) -> None:
    assert parse_command(text, app_slug="my-bot", leading=True) == found
