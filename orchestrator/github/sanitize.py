"""Text that goes out: published parts inert, secrets gone.

Two pure parts: `inert` (SECURITY 30) and `Redactor` (SECURITY 31). What strangers hide in text that comes in,
`orchestrator.hidden` leaves out.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Collection, Iterable
from urllib.parse import quote

from markdown_it import MarkdownIt

REDACTED = "[redacted]"
MIN_SECRET = 8
"""Shorter values are no secrets worth the name, and would tear holes into every text."""

# what must not act

JOINER = "\u2060"
"""A word joiner: breaks a mention, command, keyword or tag for GitHub, and shows nothing."""

_MENTION = re.compile(r"(?<![A-Za-z0-9_/])@(?P<name>[A-Za-z0-9][A-Za-z0-9-]{0,38}(?:/[A-Za-z0-9._-]+)?)")
_SLASH_COMMAND = re.compile(r"^(?P<lead>[ \t>*+-]*)(?P<command>/[A-Za-z][^\s]*)", re.MULTILINE)
_CLOSING = re.compile(
    r"\b(?P<word>close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?P<gap>[\s:]{1,8})"
    r"(?P<target>(?:[\w.-]{1,100}/[\w.-]{1,100})?#(?P<number>\d+)|GH-\d+|https?://\S{1,300}/(?:issues|pull)/\d+)",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"!(?=\[)")
# Folding tags are ours and harmless, links in angle brackets are no tags.
_HTML = re.compile(r"<(?=[!/?A-Za-z])(?!/?(?:details|summary)>)(?!https?://)", re.IGNORECASE)
_BLOCKS = MarkdownIt("commonmark", {"maxNesting": 20}).disable(["inline"])


def inert(text: str, *, requester: str = "", closes: int | None = None, commands: Collection[str] = ()) -> str:
    """Return a text that does nothing when GitHub renders it, applied to its own result without change.

    Mentions other than `requester`, commands at line starts other than the `commands` given (such as "/orchestrate"),
    closing keywords for issues other than `closes`, images and HTML, our own marks among it, stay readable but are
    defused. Only blocks of code keep all but the commands, which other bots read there too.
    """

    def mention(match: re.Match[str]) -> str:
        own = requester and match["name"].lower() == requester.lower()
        return match[0] if own else f"@{JOINER}{match['name']}"

    def command(match: re.Match[str]) -> str:
        return match[0] if match["command"] in commands else f"{match['lead']}{JOINER}{match['command']}"

    def closing(match: re.Match[str]) -> str:
        own = match["target"] == f"#{closes}"
        return match[0] if own else f"{match['word']}{match['gap']}{JOINER}{match['target']}"

    def outside(part: str) -> str:
        part = _HTML.sub(f"<{JOINER}", _IMAGE.sub(f"!{JOINER}", part))
        return _CLOSING.sub(closing, _MENTION.sub(mention, part))

    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    code = _code_lines(lines)
    parts: list[str] = []
    for is_code, numbers in itertools.groupby(range(len(lines)), code.__contains__):
        part = "\n".join(lines[number] for number in numbers)
        parts.append(part if is_code else outside(part))
    joined = "\n".join(parts)
    return _SLASH_COMMAND.sub(command, joined)


def _code_lines(lines: list[str]) -> set[int]:
    """Return the numbers of the lines of code blocks, as a Markdown parser sees them: a guess could be led astray."""
    tokens = _BLOCKS.parse("\n".join(lines))
    ranges = [token.map for token in tokens if token.map and token.type in ("fence", "code_block")]
    return {number for begin, end in ranges for number in range(begin, end)}


# what must never be told

_KEY_FORMATS = (
    r"gh[pousr]_[A-Za-z0-9._-]{20,600}",  # GitHub's tokens; those of installations grow to 520 letters, with dots
    r"github_pat_[A-Za-z0-9_]{20,255}",
    r"sk-ant-[A-Za-z0-9_-]{20,200}",
    r"sk-(?:proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,250}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"AKIA[A-Z0-9]{16}",
    r"ASIA[A-Z0-9]{16}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,250}",
    r"glpat-[A-Za-z0-9_-]{20,64}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{50,250}",
    r"hf_[A-Za-z0-9]{30,64}",
    r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}",
)
_KNOWN_KEYS = re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_KEY_FORMATS) + r")")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]{0,20}PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)


class Redactor:
    """Takes configured secrets, in every usual encoding, and known key formats out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        values = {
            value for secret in secrets if len(secret.strip()) >= MIN_SECRET for value in _encodings(secret.strip())
        }
        # The longest first: a secret must not survive because a part of it was replaced before.
        ordered = sorted(values, key=lambda value: (-len(value), value))
        self._values = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return the text with every secret replaced by `[redacted]`."""
        if self._values:
            text = self._values.sub(REDACTED, text)
        return _KNOWN_KEYS.sub(REDACTED, _PRIVATE_KEY.sub(REDACTED, text))

    def finds(self, content: bytes) -> bool:
        """Tell whether a file holds a secret, so that it must not be pushed."""
        text = content.decode("utf-8", "replace")
        return self(text) != text


def _encodings(secret: str) -> set[str]:
    raw = secret.encode()
    found = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], raw.hex(), raw.hex().upper()}
    # In base64 of a longer text the secret starts at one of three offsets; the letters that its neighbours share
    # are cut away.
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            letters = encode(b"\0" * offset + raw).decode().rstrip("=")
            start = (0, 2, 3)[offset]
            end = len(letters) - (1 if (offset + len(raw)) % 3 else 0)
            if end - start >= MIN_SECRET:
                found.add(letters[start:end])
    lines = [line.strip() for line in secret.splitlines() if len(line.strip()) >= 24]
    return found | (set(lines) if len(lines) > 1 else set())
