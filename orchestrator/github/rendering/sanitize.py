"""Text that goes out: published parts inert, secrets gone.

Two pure parts: `inert` (SECURITY 30) and `Redactor` (SECURITY 31). What strangers hide in text that comes in,
`orchestrator.hidden` leaves out.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from html import escape
from urllib.parse import quote, quote_plus, unquote, urlsplit

from markdown_it import MarkdownIt

REDACTED = "[redacted]"
MIN_SECRET = 8
"""Shorter values are no secrets worth the name, and would tear holes into every text."""

# what must not act

JOINER = "\u2060"
"""A word joiner: breaks a mention, command, keyword or tag for GitHub, and shows nothing."""

_MENTION = re.compile(r"(?<![A-Za-z0-9])@(?P<name>[A-Za-z0-9][A-Za-z0-9-]{0,38}(?:/[A-Za-z0-9._-]+)?)")
# An address such as https://medium.com/@joe stays one, where GitHub makes a link of all of it: it begins where one may,
# https://github.github.com/gfm/#autolinks-extension-, and holds no letter that could end it.
_IN_ADDRESS = re.compile(
    r"(?:\A|(?<=[\s*_~(<]))https?://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+/[A-Za-z0-9._/?#=%+,:;@!$-]{0,200}\Z"
)
# What some program or other takes for the end of a line, besides the usual one.
_LINE_ENDS = "\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_SLASH_COMMAND = re.compile(
    rf"(?:^|(?<=[{_LINE_ENDS}]))(?P<lead>(?:[^\S\n{_LINE_ENDS}]|[>*+\-\ufeff\u200b])*)(?P<command>/[A-Za-z][^\s]*)",
    re.MULTILINE,
)
# Marks of emphasis, links and code between the keyword and its issue are none of what a reader sees.
_CLOSING = re.compile(
    r"(?<![A-Za-z0-9])(?P<word>close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?P<gap>(?:[^\w#&/.,;!?\\\u2060]|_|\\(?!#))++)"
    r"(?P<target>(?:[\w.\\-]{1,100}/[\w.\\-]{1,100})?\\?#(?P<number>\d+)|GH-\d+|https?://\S{1,300}/(?:issues|pull)/\d+)",
    re.IGNORECASE,
)
# In a commit's message, which a pull request's title and text become too, these keep CI from running:
# https://docs.github.com/en/actions/how-tos/manage-workflow-runs/skip-workflow-runs
_SKIP = re.compile(
    r"\[(?=\s*(?:(?:skip|no)[\s_-]+(?:ci|actions|checks?)|(?:ci|actions)[\s_-]+skip)\s*\])"
    rf"|(?:^|(?<=[{_LINE_ENDS}]))[^\S\n{_LINE_ENDS}]*skip-(?=checks\s*:)",
    re.IGNORECASE | re.MULTILINE,
)
_IMAGE = re.compile(r"!(?=\[)")
# Folding tags are ours and harmless, links in angle brackets are no tags.
_HTML = re.compile(r"<(?=[!/?A-Za-z])(?!/?(?:details|summary)>)(?!https?://)", re.IGNORECASE)
# References to characters that act, which a renderer reads as the characters themselves.
_REFERENCE = re.compile(r"&(?=#[0-9Xx]|(?:commat|num|sol|colon|excl|lsqb|lbrack|Tab|NewLine|nbsp|lowbar);)")
_BLOCKS = MarkdownIt("commonmark", {"maxNesting": 20}).disable(["inline"])


def inert(
    text: str, *, requester: str = "", closes: int | None = None, commands: Collection[str] = (), plain: bool = False
) -> str:
    """Return a text that does nothing when GitHub renders it, applied to its own result without change.

    Mentions other than `requester`, commands at line starts other than the `commands` given (such as "/orchestrate"),
    closing keywords for issues other than `closes`, images and HTML, our own marks among it, stay readable but are
    defused. Only fenced blocks of code keep all but the commands, which other bots read there too, and what keeps CI
    from running. In a `plain` text, a title or a commit's message say, there is no code: GitHub reads it as it stands.
    """

    def mention(match: re.Match[str]) -> str:
        # `@maria\\-x` is another's name to a reader, and so is `@maria_x`.
        own = match["name"].lower() == requester.lower() and match.string[match.end() : match.end() + 1] not in (
            "\\",
            "_",
        )
        begin = match.start()
        linked = match.string[begin - 1 : begin] == "/" and _IN_ADDRESS.search(
            match.string[max(0, begin - 300) : begin]
        )
        return match[0] if own or linked else f"@{JOINER}{match['name']}"

    def command(match: re.Match[str]) -> str:
        return match[0] if match["command"] in commands else f"{match['lead']}{JOINER}{match['command']}"

    def closing(match: re.Match[str]) -> str:
        own = match["target"] == f"#{closes}"
        return match[0] if own else f"{match['word']}{match['gap']}{JOINER}{match['target']}"

    def outside(part: str) -> str:
        part = _REFERENCE.sub("&amp;", _HTML.sub(f"<{JOINER}", _IMAGE.sub(f"!{JOINER}", part)))
        return _CLOSING.sub(closing, _MENTION.sub(mention, part))

    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    code = frozenset() if plain else _code_lines(lines)
    parts: list[str] = []
    for is_code, numbers in itertools.groupby(range(len(lines)), code.__contains__):
        part = "\n".join(lines[number] for number in numbers)
        parts.append(part if is_code else outside(part))
    joined = "\n".join(parts)
    return _SLASH_COMMAND.sub(command, _SKIP.sub(lambda match: f"{match[0]}{JOINER}", joined))


def _code_lines(lines: list[str]) -> frozenset[int]:
    """Return the numbers of the lines of fenced code, as a Markdown parser sees them: a guess could be led astray.

    It sees the tags defused, as the reader's will: a block of HTML that is none any more must hide no fence. Indented
    code does not count: below a footnote GitHub shows it as text.
    """
    tokens = _BLOCKS.parse(_HTML.sub(f"<{JOINER}", "\n".join(lines)))
    ranges = [token.map for token in tokens if token.map and token.type == "fence"]
    return frozenset(number for begin, end in ranges for number in range(begin, end))


# what must never be told

# What follows a key without a break goes with it: the rest of a longer one, or another key.
_KEY_FORMATS = (
    r"gh[pousr]_[A-Za-z0-9._-]{20,}",  # GitHub's tokens; those of installations grow to 520 letters, with dots
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"sk-ant-[A-Za-z0-9_-]{20,}",
    r"sk-(?:proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"AKIA[A-Z0-9]{16}",
    r"ASIA[A-Z0-9]{16}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{50,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,}",
)
_KNOWN_KEYS = re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_KEY_FORMATS) + r")[A-Za-z0-9_]*")
_ADDRESS_NAMES = re.compile(r"(?:_URL|_PROXY|_ENDPOINT)\Z", re.IGNORECASE)
_PERCENT = re.compile("%[0-9A-F]{2}")
# The end of a line, as it is or as JSON writes it: alone, with the marks of quotes, comments, lists and tables, and
# between two halves of a literal. Each begins where a run of its letters does, so that a long one is read once.
_BREAKS = (
    re.compile(r"(?<![ \t])[ \t]*(?:[\r\n]|\\[rn])(?:\\[rn]|\s)*"),
    re.compile(r"(?<![ \t|])[ \t|]*(?:[\r\n]|\\[rn])(?:\\[rn]|[\s>#*|-])*"),
    re.compile(r"[\"'][ \t]*(?:\+[ \t]*)?(?:\\[ \t]*)?[\r\n]\s*(?:\+[ \t]*)?[\"']"),
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]{0,20}PRIVATE KEY)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)


def secrets_of_addresses(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the passwords in the addresses that an environment names, of database and proxies too.

    Each as it stands there and as it is meant, where letters are written by their numbers.
    """
    found: list[str] = []
    for name, value in env.items():
        if _ADDRESS_NAMES.search(name) and "@" in value:
            try:
                password = urlsplit(value if "://" in value else f"//{value}").password or ""
            except ValueError:
                password = value
            found += [password, unquote(password)]
    return tuple(dict.fromkeys(secret for secret in found if secret))


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
        """Return the text with every secret replaced by `[redacted]`, also where a line was broken within one."""
        if self._values:
            text = self._values.sub(REDACTED, text)
            for line_break in _BREAKS:
                text = _without_broken(self._values, line_break, text)
        return _KNOWN_KEYS.sub(REDACTED, _PRIVATE_KEY.sub(REDACTED, text))

    def finds(self, content: bytes) -> bool:
        """Tell whether a file holds a secret, so that it must not be pushed."""
        text = content.decode("utf-8", "replace")
        return self(text) != text


def _without_broken(values: re.Pattern[str], line_break: re.Pattern[str], text: str) -> str:
    """Return the text without the values that only stand in it once its lines are joined."""
    kept, begins, joined, length = [], [], [], 0
    end = 0
    for broken in [*line_break.finditer(text), None]:
        part = text[end : broken.start() if broken else len(text)]
        begins.append(length)
        kept.append(end)
        joined.append(part)
        length += len(part)
        end = broken.end() if broken else end
    if len(joined) == 1:
        return text

    def place(position: int) -> int:
        number = bisect_right(begins, position) - 1
        return kept[number] + position - begins[number]

    whole, done = [], 0
    for match in values.finditer("".join(joined)):
        whole += [text[done : place(match.start())], REDACTED]
        done = place(match.end() - 1) + 1
    return "".join([*whole, text[done:]])


def _encodings(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "replace")
    found = {secret, escape(secret), raw.hex(), raw.hex().upper()}
    found |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        found |= {quoted, _PERCENT.sub(lambda match: match[0].lower(), quoted)}
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
