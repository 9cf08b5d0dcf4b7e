"""What a comment asks for: the first `/orchestrate` that starts a line, outside quotes, code and HTML comments.

Markdown's block structure comes from markdown-it, without its inline rules, so that the time stays linear; code spans
and HTML comments inside the text are found here. Everything is pure.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt

from orchestrator.codes import Code
from orchestrator.sections import APP_TYPES

NAMES = ("run", "plan", "approve", "status", "cancel", "resume", "revise", "review", "ci", "help")

MAX_CHARACTERS = 65_536
"""GitHub's limit for the text of an issue or comment; what follows cannot have come from there."""

_ON_ISSUES_ONLY = frozenset({"run", "plan", "approve"})
_ON_PULL_REQUESTS_ONLY = frozenset({"revise", "review", "ci"})
_BUILD_OPTIONS = ("--budget", "--app-type", "--base", "--force")
_OPTIONS: dict[str, tuple[str, ...]] = {"run": _BUILD_OPTIONS, "plan": _BUILD_OPTIONS, "resume": ("--budget",)}
_WITH_TEXT = frozenset({"run", "plan", "revise"})

_WORD = re.compile(r"\s*(\S+)")
# Phones turn two hyphens into a dash.
_OPTION = re.compile(r"(?:--|[\u2013\u2014])(?P<name>[A-Za-z][A-Za-z-]*)(?:=(?P<value>\S*))?\Z")
_BUDGET_IN_TEXT = re.compile(r"(?:^|(?<=\s))(?:--|[\u2013\u2014])budget(?:=|[^\S\n]+)(\S+)")
_AMOUNT = re.compile(r"\$?(?P<number>[0-9]{1,9}(?:\.[0-9]{0,6})?|\.[0-9]{1,6})(?:\$|usd)?\Z", re.IGNORECASE)
_BRANCH = re.compile(r"(?![-./])(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)))[A-Za-z0-9._/-]{1,200}(?<![./])\Z")
_OPAQUE_HTML = re.compile(r"<(?:!|\?|(?:pre|code|script|style|textarea|blockquote|samp|kbd)\b)", re.IGNORECASE)
_INLINE = re.compile(r"\\[\\`<]|`+|<!--")
_BLOCKS = MarkdownIt("commonmark", {"maxNesting": 20}).disable(["inline"])


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked; `budget_usd` is in USD and only ever narrows, `text` is the free text word for word."""

    name: str
    budget_usd: float | None = None
    app_type: str | None = None
    base: str | None = None
    force: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that cannot be meant as it stands; `message` says why, `nearest` is the command to write instead."""

    message: str
    nearest: str = "help"
    code: Code = Code.REFUSED


def parse_command(
    text: str, *, app_slug: str | None = None, on_pull_request: bool = False, leading: bool = False
) -> Command | Refusal | None:
    """Return the first command of a comment, a refusal that names the nearest one, or None when there is none.

    `app_slug` is the App's own name: `@slug` or `@slug[bot]` may stand before the command. With `leading` it counts
    only where nothing stands before it. The free text goes on to the next command line or the end.
    """
    lines = _lines(text)
    start = _line_start(app_slug)
    if leading and not start.match(next((line for line in lines if line.strip()), "")):
        return None
    found = [(number, match) for number, match in _starts(lines, start) if match]
    if not found:
        return None
    first, match = found[0]
    last = found[1][0] if len(found) > 1 else len(lines)
    rest = "\n".join([lines[first][match.end() :], *lines[first + 1 : last]])
    return _read(rest, on_pull_request=on_pull_request)


def distance(left: str, right: str) -> int:
    """Return the number of letters to insert, delete, replace or swap with the next to turn one word into the other.

    The optimal string alignment distance, https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance; words of more
    than 40 letters are compared by their first 40.
    """
    left, right = left[:40], right[:40]
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        following = [i]
        for j, other in enumerate(right, 1):
            cost = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (one != other))
            if i > 1 and j > 1 and one == right[j - 2] and left[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return row[-1]


# where commands may stand


def _lines(text: str) -> list[str]:
    cut = text[:MAX_CHARACTERS].removeprefix("\ufeff").replace("\0", "\ufffd")
    return cut.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _line_start(app_slug: str | None) -> re.Pattern[str]:
    mention = rf"(?:@{re.escape(app_slug)}(?:\[bot\])?\s+)?" if app_slug else ""
    return re.compile(rf" {{0,3}}{mention}/orchestrate(?=\s|$)", re.IGNORECASE)


def _starts(lines: Sequence[str], start: re.Pattern[str]) -> Iterator[tuple[int, re.Match[str] | None]]:
    if not any(start.match(line) for line in lines):
        return
    hidden = _hidden_lines(lines)
    for number, line in enumerate(lines):
        if number not in hidden:
            yield number, start.match(line)


def _hidden_lines(lines: Sequence[str]) -> set[int]:
    """Return the numbers of the lines that begin inside code or an HTML comment."""
    hidden: set[int] = set()
    texts: list[tuple[int, int, bool]] = []
    for token in _BLOCKS.parse("\n".join(lines)):
        if token.map is None:
            continue
        begin, end = token.map
        block = "\n".join(lines[begin:end]) if token.type == "html_block" else ""
        if token.type in ("fence", "code_block") or _OPAQUE_HTML.search(block):
            hidden.update(range(begin, end))
            if block and end not in hidden and _open_comment(block):
                hidden.update(range(end, len(lines)))
        elif token.type in ("inline", "html_block"):
            texts.append((begin, end, token.type == "inline"))
    closed_at = -1
    for begin, end, with_code in texts:
        if begin >= closed_at:
            closed_at = max(closed_at, _hide_inline(lines, begin, end, with_code, hidden))
    return hidden


def _open_comment(block: str) -> bool:
    return "<!--" in block and "-->" not in block[block.rindex("<!--") :]


def _hide_inline(lines: Sequence[str], begin: int, end: int, with_code: bool, hidden: set[int]) -> int:
    """Hide the lines that begin inside a code span or comment; return the line on which reading goes on."""
    text = "\n".join(lines[begin:end])
    closers: dict[int, list[int]] = {}
    for run in re.finditer("`+", text):
        closers.setdefault(len(run[0]), []).append(run.start())
    at = 0
    while match := _INLINE.search(text, at):
        at = match.end()
        if match[0].startswith("`") and with_code:
            places = closers.get(len(match[0]), [])
            following = bisect_right(places, match.start())
            if following < len(places):
                at = places[following] + len(match[0])
                hidden.update(_lines_between(text, match.start(), at, begin))
        elif match[0] == "<!--":
            closing = text.find("-->", at)
            if closing < 0:
                first = begin + text.count("\n", 0, match.start()) + 1
                closed = next((n for n in range(end, len(lines)) if "-->" in lines[n]), len(lines) - 1)
                hidden.update(range(first, closed + 1))
                return closed + 1
            at = closing + 3
            hidden.update(_lines_between(text, match.start(), at, begin))
    return end


def _lines_between(text: str, start: int, end: int, offset: int) -> range:
    first = text.count("\n", 0, start)
    return range(offset + first + 1, offset + first + 1 + text.count("\n", start, end))


# what a command says


@dataclass(slots=True)
class _Options:
    values: dict[str, str]
    rest: str
    refusal: Refusal | None = None


def _read(rest: str, *, on_pull_request: bool) -> Command | Refusal:
    leading = _take_options(rest)
    if leading.refusal:
        return leading.refusal
    word = _WORD.match(leading.rest)
    name, after = "run", leading.rest
    if word and word[1].lower() in NAMES:
        name, after = word[1].lower(), leading.rest[word.end() :]
    elif word and (refusal := _misspelt(word[1], leading.rest, on_pull_request)):
        return refusal
    trailing = _take_options(after) if name != "run" or after is not leading.rest else _Options({}, after)
    if trailing.refusal:
        return trailing.refusal
    given = leading.values | trailing.values
    return _command(name, given, trailing.rest, on_pull_request=on_pull_request)


def _misspelt(word: str, text: str, on_pull_request: bool) -> Refusal | None:
    lower = word.lower()
    nearest = min(
        (name for name in NAMES if name != "ci" or on_pull_request),
        key=lambda name: (distance(lower, name), NAMES.index(name)),
    )
    lone = word.isascii() and text.split() == [word]
    if not lone and not _resembles(lower, nearest):
        return None
    shown = word[:40].replace("`", "'")
    return Refusal(
        f"`{shown}` is no command; the nearest is `/orchestrate {nearest}`. "
        f"To use it as the text of a job, write `/orchestrate run {shown} …`.",
        nearest,
        Code.UNKNOWN_COMMAND,
    )


def _resembles(word: str, name: str) -> bool:
    """Tell whether a word is within two letters of a command; of the two short ones within one, or else `an` and
    `bug` would be taken for `run`.
    """
    if len(name) < 4:
        return len(word) > 1 and (distance(word, name) <= 1 or ("run" in word and distance(word, name) <= 2))
    return distance(word, name) <= 2


def _take_options(text: str) -> _Options:
    """Take the options at the start of a text, on its first line."""
    values: dict[str, str] = {}
    line, newline, below = text.partition("\n")
    while (word := _WORD.match(line)) and (option := _OPTION.match(word[1])):
        name = f"--{option['name'].lower()}"
        if name not in _BUILD_OPTIONS:
            near = min(_BUILD_OPTIONS, key=lambda known: distance(known, name))
            return _Options(
                {}, text, Refusal(f"`{name[:40]}` is no option; the nearest is `{near}`.", "run", Code.UNKNOWN_OPTION)
            )
        line = line[word.end() :]
        value = option["value"]
        if name != "--force" and value is None:
            following = _WORD.match(line)
            if not following or _OPTION.match(following[1]):
                return _Options({}, text, Refusal(f"`{name}` needs a value after it.", "run", Code.BAD_VALUE))
            value, line = following[1], line[following.end() :]
        values[name] = (value or "").strip("`'\"\u2018\u2019\u201c\u201d")
    return _Options(values, line + newline + below)


def _command(name: str, given: dict[str, str], text: str, *, on_pull_request: bool) -> Command | Refusal:
    if refusal := _misplaced(name, on_pull_request):
        return refusal
    for option in given:
        if option not in _OPTIONS.get(name, ()):
            return Refusal(f"`/orchestrate {name}` takes no `{option}`.", name, Code.UNKNOWN_OPTION)
    text, given = _take_budget_in_text(name, text, given)
    amount = _amount(given.get("--budget", ""))
    if "--budget" in given and amount is None:
        return Refusal("`--budget` takes an amount in USD above 0, such as `--budget 2.50`.", name, Code.BAD_VALUE)
    app_type = given["--app-type"].lower() if "--app-type" in given else None
    if app_type is not None and app_type not in APP_TYPES:
        near = min(APP_TYPES, key=lambda known: distance(known, app_type))
        return Refusal(
            f"`--app-type` takes one of {', '.join(APP_TYPES)}; the nearest is `{near}`.", name, Code.BAD_VALUE
        )
    base = given.get("--base")
    if base is not None and not _BRANCH.match(base):
        return Refusal(
            "`--base` takes the name of a branch: letters, digits, `.`, `_`, `-` and `/`.", name, Code.BAD_VALUE
        )
    if given.get("--force"):
        return Refusal("`--force` takes no value.", name, Code.BAD_VALUE)
    text = text.strip() if name in _WITH_TEXT else ""
    if name == "revise" and not text:
        return Refusal("`/orchestrate revise` needs the feedback after it: what should change?", name, Code.NO_FEEDBACK)
    return Command(name, amount, app_type, base, "--force" in given, text)


def _misplaced(name: str, on_pull_request: bool) -> Refusal | None:
    if on_pull_request and name in _ON_ISSUES_ONLY:
        return Refusal(
            f"`/orchestrate {name}` works on issues. On a pull request use `revise`, `review`, `ci`, `status`, "
            "`cancel` or `resume`.",
            "revise",
            Code.MISPLACED,
        )
    if not on_pull_request and name in _ON_PULL_REQUESTS_ONLY:
        return Refusal(
            f"`/orchestrate {name}` works on pull requests. On an issue use `run` or `plan`.", "run", Code.MISPLACED
        )
    return None


def _take_budget_in_text(name: str, text: str, given: dict[str, str]) -> tuple[str, dict[str, str]]:
    # A cap counts wherever it stands on the line: to miss one would cost somebody money.
    if "--budget" in given or "--budget" not in _OPTIONS.get(name, ()):
        return text, given
    line, newline, below = text.partition("\n")
    match = _BUDGET_IN_TEXT.search(line)
    if not match or _amount(match[1]) is None:
        return text, given
    return line[: match.start()] + line[match.end() :].lstrip() + newline + below, given | {"--budget": match[1]}


def _amount(text: str) -> float | None:
    match = _AMOUNT.match(text)
    amount = float(match["number"]) if match else 0.0
    return amount if amount > 0 and math.isfinite(amount) else None
