"""Targets for texts: commands, what is published, secrets, hidden text, Markdown's parts and diffs."""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from html import escape
from urllib.parse import quote, quote_plus

from markdown_it import MarkdownIt
from markdown_it.token import Token

from orchestrator.diff import MAX_PARTS, PART_BYTES, FileDiff, cut, lines_of, rendered
from orchestrator.github.rendering.markdown import cell, code, fit, one_line, table
from orchestrator.github.rendering.sanitize import JOINER, REDACTED, Redactor, inert
from orchestrator.github.triggers.command import NAMES, Command, Refusal, parse_command
from orchestrator.hidden import locate, shown, visible
from orchestrator.sections import APP_TYPES
from tests.fuzz.target import text_of

_COMMONMARK = MarkdownIt("commonmark", {"maxNesting": 20})
_TABLES = MarkdownIt("commonmark").enable("table")
_OURS = re.compile(r"</?(?:details|summary)>", re.IGNORECASE)
_TAG = re.compile(r"<(?!https?://)[!/?A-Za-z]")
_MENTION = re.compile(r"(?<![A-Za-z0-9])@(?!maria(?![A-Za-z0-9-]|/[A-Za-z0-9._-]))[A-Za-z0-9]", re.IGNORECASE)
# What GitHub makes a link of up to its end, where a mention is none.
_LINKED = re.compile(r"(?:^|[\s*_~(<])https?://(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+/(?:[^\s<>()\[\]|`]*/)?$")
_CLOSES = re.compile(
    r"(?<![A-Za-z0-9])(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?:[^\w#&/.,;!?\u2060]|_)+"
    r"(?:#(?!1(?![0-9]))[0-9]|https?://[a-z.]+/[a-z]/[a-z]/issues/[0-9])",
    re.IGNORECASE,
)
_COMMAND_LINE = re.compile(r"[\s>*+\-\ufeff\u200b]*/[A-Za-z]")
_SKIP = re.compile(
    r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]|^skip-checks:", re.IGNORECASE | re.MULTILINE
)
_BASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")


def command(data: bytes) -> None:
    """A command is one of ours with values in bounds, a refusal names one, and code holds none."""
    text = text_of(data)
    for on_pull_request in (False, True):
        found = parse_command(text, app_slug="orch", on_pull_request=on_pull_request)
        if isinstance(found, Refusal):
            assert found.nearest in NAMES
            assert "\n" not in found.message
            assert len(found.message) < 400
        elif found is not None:
            _check_command(found)
    longest = max(map(len, re.findall("~+", text)), default=0)
    fence = "~" * max(3, longest + 1)
    assert parse_command(f"{fence}\n{text}\n{fence}") is None


def _check_command(found: Command) -> None:
    assert found.name in NAMES
    assert found.budget_usd is None or (found.budget_usd > 0 and math.isfinite(found.budget_usd))
    assert found.app_type is None or found.app_type in APP_TYPES
    assert found.base is None or (_BASE.fullmatch(found.base) and ".." not in found.base)
    assert found.text == found.text.strip()


def published(data: bytes) -> None:
    """What is inert stays as it is when made inert again, and a Markdown parser finds nothing in it that acts."""
    text = text_of(data)
    once = inert(text, requester="maria", closes=1)
    assert inert(once, requester="maria", closes=1) == once
    assert not _acts_anywhere(once)
    for token in _tokens(once):
        assert token.type != "image"
        # Below a footnote, which this parser does not know, GitHub shows as text what is indented code elsewhere.
        if token.type == "fence":
            continue
        assert not _CLOSES.search(token.content)
        if token.type in ("html_block", "html_inline"):
            assert not _TAG.search(_OURS.sub("", token.content))
        if token.type in ("html_block", "text", "inline", "code_block"):
            assert not _mentions(token.content)
    plain = inert(text, requester="maria", closes=1, plain=True)
    assert inert(plain, requester="maria", closes=1, plain=True) == plain
    assert not _acts_anywhere(plain)
    assert not _mentions(plain)
    assert not _CLOSES.search(plain)


def _acts_anywhere(text: str) -> bool:
    return any(map(_COMMAND_LINE.match, text.splitlines())) or _SKIP.search(text) is not None


def _mentions(text: str) -> bool:
    return any(not _LINKED.search(text[: it.start()]) for it in _MENTION.finditer(text))


def _tokens(text: str) -> Iterator[Token]:
    for block in _COMMONMARK.parse(text):
        yield block
        yield from block.children or ()


SECRETS = (
    "s3cr3t/with+odd=letters&more",
    'quo"ted\\ pässwörd <8>',
    "line one of a longer secret\nline two of that secret",
)
_REDACT = Redactor(SECRETS)


def encodings(secret: str) -> set[str]:
    """Return a secret as it is usually written inside of other texts."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        escape(secret),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }


FORMS = sorted(form for secret in SECRETS for form in encodings(secret))


def secrets(data: bytes) -> None:
    """No configured secret survives in any usual encoding, and redacting again changes nothing."""
    text = text_of(data)
    redacted = _REDACT(text)
    for part in redacted.split(REDACTED):
        assert not any(form in part for form in FORMS)
    assert _REDACT(redacted) == redacted
    if any(form in text for form in FORMS):
        assert _REDACT.finds(text.encode("utf-8", "surrogatepass"))


def hidden(data: bytes) -> None:
    """What is shown holds nothing hidden, stays when shown again, and stands in the text where it says."""
    text = text_of(data)
    seen = visible(text)
    assert visible(seen) == seen
    for token in _tokens(seen):
        if token.type in ("html_block", "html_inline"):
            assert not re.search(r"<!--|<\?.*\?>|<![A-Za-z].*>", token.content, re.DOTALL)
    assert "<!--" not in shown("a.html", text).text
    assert not [letter for letter in seen if unicodedata.category(letter) in ("Cf", "Cs", "Co")]
    for path in ("a.md", "a.py"):
        view = shown(path, text)
        assert [text[place].replace("\r", "\n") for place in view.places] == list(view.text)
        quoted = view.text[: len(view.text) // 2 + 1]
        if quoted and view.text.find(quoted, 1) < 0:
            assert locate(path, text, quoted) is not None


def parts(data: bytes) -> None:
    """No text breaks out of its line, its cell or its code span, and a cut text is within its limit."""
    text = text_of(data)
    line, inside = one_line(text), code(text)
    assert "\n" not in line
    assert not _TAG.search(line)
    assert len(line) <= 4001
    rows = [token for token in _TABLES.parse(table(["a", "b"], [[cell(text), "x"]])) if token.type == "td_open"]
    assert len(rows) == 2
    spans = _COMMONMARK.parseInline(f"`{inside}`")[0].children or []
    assert [token.type for token in spans] == ["code_inline"]
    assert len(fit(text, 400)) <= 400


def diff(data: bytes) -> None:
    """Lines have numbers of the new file, and what a model reads of a diff is within bounds."""
    text = text_of(data)
    for line in lines_of(text):
        assert line.mark in "+- "
        assert (line.number is None) == (line.mark == "-")
    file = FileDiff("src/a.md", "modified", text)
    assert len(rendered(file).split("\n")) >= len(file.lines())
    pieces = cut([file, file])
    assert len(pieces.parts) <= MAX_PARTS
    assert all(
        sum(len(rendered(one).encode("utf-8", "replace")) for one in part) <= PART_BYTES for part in pieces.parts
    )


COMMAND_TOKENS = (
    *("/orchestrate", "/orchestrate ", "@orch /orchestrate ", *NAMES, "--budget ", "--budget=2", "$2.50", "--base "),
    *(
        "--app-type ",
        "--force",
        "\u2014budget 3",
        "main",
        "fastapi",
        "\n",
        "\r\n",
        "```",
        "~~~",
        "`",
        "<!--",
        "-->",
        "> ",
    ),
    *("    ", "<details>", "<pre>", "</pre>", "<div><!--\n\n", "- ", "\\", "\0", "\ufeff", "1e309", "a"),
)
PUBLISHED_TOKENS = (
    *(
        "@joe",
        "@maria",
        "@octo/team",
        "/merge",
        "fixes #12",
        "Closes: #1",
        "_fixes #3_",
        "octo/x#3",
        "GH-7",
        "![",
        "](x)",
    ),
    *(
        "<img src=x>",
        "<!--",
        "-->",
        "<details>",
        "</details>",
        "<pre>",
        "</pre>",
        "<div>",
        "<https://a.b>",
        "```",
        "~~~",
    ),
    *(
        "\n",
        "\n\n",
        "    ",
        "\t",
        "> ",
        "- ",
        "&#64;",
        "&commat;",
        "&num;",
        "\\",
        "`",
        "[a]: b",
        JOINER,
        "a",
        " ",
        "\r",
    ),
    *("[^1]: x", "\n\n    ", "ahttps://a.b/", "https://a.b/x|/", "/@joe", "https://a.b/@joe", "**Fixes** ", "#12"),
    *(
        "Fixes <https://github.com/o/r/issues/1>",
        "Fixes [#1",
        " " * 9,
        "\u2028",
        "\u00a0",
        "[skip ci]",
        "skip-checks: true",
    ),
)
SECRET_TOKENS = (
    *(
        *FORMS,
        "ghs_" + "a" * 40,
        "sk-" + "b" * 30,
        "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20,
        "AKIA" + "A" * 16,
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", REDACTED, "-", "\n", "x", "%", "="),
)
HIDDEN_TOKENS = (
    *(
        "`",
        "``",
        "```",
        "~~~",
        "\n\n",
        "    ",
        "> ",
        "- ",
        "[a]: b",
        "[a]",
        "<?",
        "?>",
        "<!X",
        "<div>",
        '<a title="',
        '"',
    ),
    "<!--",
    "-->",
    "<!-",
    "-",
    ">",
    "<",
    "!",
    "\u200b",
    "\u202e",
    "\U000e0041",
    "\r",
    "\n",
    "\ufe0f",
    "a",
    "ü",
)
PARTS_TOKENS = (
    "|",
    "\\|",
    "\\\\|",
    "`",
    "``",
    "<b>",
    "<!--",
    "\n",
    "```\n",
    "<details>",
    "\\",
    "#",
    " ",
    "a",
    "&#124;",
)
DIFF_TOKENS = (
    *("@@ -1,2 +1,2 @@", "@@ -1 +3 @@ def", "\n", "+", "-", " ", "\\ No newline", "<!--", "-->", "\r", "\u200b", "a"),
    *("@@ -1 +" + "9" * 30 + " @@", "+++ b/x", "ü"),
)
