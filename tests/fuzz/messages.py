"""Targets for messages: what models reply, what GitHub delivers, and what the dashboard shows of both."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from bot.dashboard.pages import run_page
from bot.intake import Asked, CloseAsked, LintAsked, Rules, read_delivery, read_payload, repository_of
from orchestrator.github.triggers.trigger import Ignored, Trigger
from orchestrator.wire import REPLIES, UnreadableAnswer, parse
from tests.fuzz.target import text_of
from tests.unit.bot.test_dashboard import full_state

EVENTS = (
    *("issue_comment", "issues", "pull_request", "pull_request_review", "pull_request_review_comment", "push"),
    *("check_run", "check_suite", "installation", "installation_repositories", "repository", "ping"),
)
_RULES = Rules(accounts=("octo",), bots=("helper[bot]",), app_slug="orch")
_LARGEST = 2**63 - 1


def reply(data: bytes) -> None:
    """A model's answer is an object of its purpose that reads the same when written, or a sentence for the model."""
    text = text_of(data)
    for kind in set(REPLIES.values()):
        try:
            found = parse(text, kind)
        except UnreadableAnswer as error:
            assert 0 < len(str(error)) <= 4000
            continue
        written = found.model_dump_json(by_alias=True)
        assert parse(written, kind) == found


def payload(data: bytes) -> None:
    """A signed delivery is refused, ignored for a reason, or kept as texts and numbers that every database takes."""
    try:
        read = read_payload(data)
    except ValueError as error:
        assert str(error)
        return
    assert len(repository_of(read)) <= 200
    for event in EVENTS:
        asked = read_delivery(event, "d-1", read, _RULES, 1_796_000_000.0)
        if isinstance(asked, Ignored):
            assert asked.reason
            continue
        kept = asked.delivery()
        assert len(kept.id) <= 80
        assert 0 <= kept.issue <= _LARGEST
        assert kept.repository.partition("/")[0].casefold() in ("octo", "")
        for text in (kept.payload, kept.repository, kept.run_id, kept.actor, kept.command_key or ""):
            assert "\0" not in text
            text.encode()
        if isinstance(asked, Asked):
            assert Trigger.from_json(kept.payload) == asked.trigger
        assert isinstance(asked, Asked | LintAsked | CloseAsked)
        json.loads(kept.payload, parse_constant=_no_constant)


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} is kept, which is no JSON")


class _Tags(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


_PLAIN = _Tags(run_page(full_state("word"))).found


def page(data: bytes) -> None:
    """Whatever stands in a run's texts, its page has the tags and attributes of a run of plain words."""
    text = text_of(data).encode("utf-8", "replace").decode()
    assert _Tags(run_page(full_state(text or "word"))).found == _PLAIN


REPLY_TOKENS = (
    *(
        '{"tasks": [',
        '{"id": "a", ',
        '"title": "t", ',
        '"type": "code_generation", ',
        '"description": ""',
        "}",
        "]",
        ", ",
    ),
    *(
        '{"findings": [], ',
        '"verdict": "approve", ',
        '"score": 0.5',
        '"score": NaN',
        '"score": "90%"',
        '"reason": "r", ',
    ),
    *(
        '{"job": {',
        '"policy": {',
        '"project": {',
        '"budget": null',
        '"max_usd": 1e999',
        '"rationale": ""',
        "```json\n",
        "\n```",
    ),
    *(
        '"structural_pattern": "layered", ',
        "\\ud800",
        "9" * 5000,
        '"line": 1e300',
        "[" * 30,
        '"',
        "null",
        "Infinity",
        "-0.0",
    ),
)
PAYLOAD_TOKENS = (
    *(
        '{"action": "created", ',
        '"comment": {',
        '"id": 7, ',
        '"body": "/orchestrate", ',
        '"user": {"login": "ada", "type": "User"}',
    ),
    *(
        '"issue": {"number": 5, "id": 505}',
        '"repository": {"id": 33, "full_name": "octo/demo"}',
        '"sender": {"login": "ada"}',
        "}",
    ),
    *(
        '"action": "removed"',
        '"repositories_removed": 5',
        '"installation": {"account": {"login": "octo"}}',
        "null",
        "[",
        "]",
    ),
    *(
        '"pull_requests": [7]',
        '"commits": [3]',
        '"ref": "refs/heads/main"',
        "1e999",
        "9" * 5000,
        "\\u0000",
        "\\ud800",
        ", ",
        '"',
    ),
)
PAGE_TOKENS = (
    "<script>",
    '">',
    "'",
    "<!--",
    "&lt;",
    "{{ x }}",
    "{% x %}",
    "javascript:",
    "</details>",
    "<",
    "&",
    "a",
    "\n",
)
