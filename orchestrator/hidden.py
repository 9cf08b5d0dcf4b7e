"""What a reader would not see in a text from strangers, found and left out before a model sees it (SECURITY 29).

A repository's files are shown without it too, and keep it: an edit quotes the text as it was shown, `locate` finds the
place in the file as it is, and what is hidden outside of that place stays.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_OPENING = list("<!--")
_KEPT_CONTROLS = frozenset("\n\t")
_HIDDEN_LETTERS = frozenset("\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0")
_HIDDEN_RANGES = ((0xFE00, 0xFE0F), (0xE0000, 0xE0FFF))
# Files that people read rendered, where a comment is hidden. In any other file `<!--` is text like all the rest of it,
# and an unclosed one, in a regular expression say, must not hide the code below it.
_MARKDOWN = (".md", ".markdown", ".mdown")
_HTML = (".html", ".htm", ".xhtml")
_MAY_HIDE = re.compile(r"<[!?]|\]:|`{3}|~{3}")
# What HTML hides besides comments, by how it begins and ends: https://spec.commonmark.org/0.31.2/#raw-html
_INSTRUCTION = re.compile(r"<\?|<!\[CDATA\[|<!(?=[A-Za-z])")
_ENDS = {"<?": "?>", "<![CDATA[": "]]>", "<!": ">"}
_FENCE = re.compile(r"(?:`{3,}|~{3,})[ \t]*[^\s`]*")
_TICKS = re.compile(r"\\[!-/:-@\[-`{-~]|`+|<!--")
_LABEL = re.compile(r"\[([^\[\]]+)\]")
_PASSES = 20
# A parser may take the square of a paragraph's length; nobody writes longer ones.
_PARAGRAPH = 10_000
_CODE, _HIDDEN = 1, 2


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as it is shown, and for each of its letters the place it has in the whole text."""

    text: str
    places: Sequence[int]


def visible(text: str, *, plain: bool = False) -> str:
    """Return a Markdown text without what a reader on GitHub would not see, applied to its own result without change.

    Removed: HTML comments, also unclosed, declarations and instructions; link definitions that nothing refers to; what
    stands behind a fence's language; zero-width, bidirectional, tag and other format characters, variation selectors,
    blank letters and control characters. Fenced code and code spans keep what they show. Line ends become `\\n`.
    In a `plain` text, a title say, only characters hide.
    """
    seen = _characters(text)
    return seen.text if plain else _rendered(seen).text


def shown(path: str, text: str) -> Shown:
    """Return a file's text without what is hidden in it: characters in every file, and more in Markdown and HTML."""
    seen, name = _characters(text), path.casefold()
    if name.endswith(_MARKDOWN):
        return _rendered(seen)
    return _uncommented(seen) if name.endswith(_HTML) else seen


def locate(path: str, text: str, search: str) -> tuple[int, int] | None:
    """Return where in a file's text a search stands that quotes the file as it was shown; None unless exactly once."""
    view = shown(path, text)
    start = view.text.find(search)
    if not search or start < 0 or view.text.find(search, start + 1) >= 0:
        return None
    return view.places[start], view.places[start + len(search) - 1] + 1


def _characters(text: str) -> Shown:
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        if letter == "\r" and text[place + 1 : place + 2] != "\n":
            letter = "\n"
        if not _is_hidden(letter):
            letters.append(letter)
            places.append(place)
    return Shown("".join(letters), places)


def _rendered(seen: Shown) -> Shown:
    """Return Markdown without what is hidden in it: as often as what was removed brings something new together."""
    for _ in range(_PASSES):
        if not _MAY_HIDE.search(seen.text):
            return seen
        left = _uncommented(seen, _marked(seen.text))
        if left.text == seen.text:
            return seen
        seen = left
    # Nobody writes such a text but to lead astray: what could hide anything goes, code or not.
    kept = [at for at, letter in enumerate(seen.text) if letter not in "<:`~"]
    return Shown("".join(seen.text[at] for at in kept), [seen.places[at] for at in kept])


def _uncommented(seen: Shown, marks: bytearray | None = None) -> Shown:
    """Return a text without HTML comments, read once: nested ones cost no more than others.

    `marks` say of each letter whether it is code, which holds no comments, or hidden.
    """
    text, places = seen.text, seen.places
    letters: list[str] = []
    kept: list[int] = []
    at = 0
    while at < len(text):
        mark = marks[at] if marks else 0
        at += 1
        if mark == _HIDDEN:
            continue
        letters.append(text[at - 1])
        kept.append(places[at - 1])
        # What stands before and after a removed comment may make up a new one.
        if letters[-1] == "-" and letters[-4:] == _OPENING and mark != _CODE:
            del letters[-4:], kept[-4:]
            end = text.find("-->", at)
            at = end + 3 if end >= 0 else len(text)
    return Shown("".join(letters), kept)


def _marked(text: str) -> bytearray:
    """Return for each letter of a Markdown text whether it is code, which GitHub shows as it stands, or hidden.

    Indented code does not count: below a footnote GitHub takes it for text.
    """
    begins = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    marks = bytearray(len(text))
    environment: dict[str, Any] = {}
    blocks: list[tuple[int, int]] = []

    def mark(begin: int, end: int, kind: int) -> None:
        marks[begin:end] = bytes([kind]) * (end - begin)

    def place(line: int) -> int:
        return begins[min(line, len(begins) - 1)]

    for token in _parser(inline=False).parse(text, environment):
        if token.map is None:
            continue
        begin, end = place(token.map[0]), place(token.map[1])
        if token.type == "fence":
            mark(begin, end, _CODE)
            told = _FENCE.search(text, begin, end)
            line_end = place(token.map[0] + 1)
            if told and " " in token.info.strip():
                mark(told.end(), line_end - (text[line_end - 1 : line_end] == "\n"), _HIDDEN)
        elif token.type == "html_block":
            blocks.append((begin, end))
        elif token.type == "inline" and {"`", "<"} <= set(token.content) and len(token.content) <= _PARAGRAPH:
            for first, last in _spans(text[begin:end], token.content):
                mark(begin + first, begin + last, _CODE)
    for first, last in _definitions(text, environment):
        mark(place(first), place(last), _HIDDEN)
    for first, last in _instructions(text, marks, blocks):
        mark(first, last, _HIDDEN)
    return marks


def _spans(raw: str, content: str) -> Iterator[tuple[int, int]]:
    """Give where code spans that hold a `<` stand in the lines of a paragraph.

    A parser does not say where; but only what it calls a code span is one, whatever else a backtick is a part of.
    """
    children = _parser(inline=True).parseInline(content)[0].children or []
    told = Counter(child.content for child in children if child.type == "code_inline" and "<" in child.content)
    runs: dict[int, list[int]] = {}
    for run in re.finditer("`+", raw):
        runs.setdefault(len(run[0]), []).append(run.start())
    at = 0
    while told and (found := _TICKS.search(raw, at)):
        at = found.end()
        if found[0] == "<!--":
            end = raw.find("-->", at)
            at = end + 3 if end >= 0 else len(raw)
        elif found[0][0] == "`":
            places = runs.get(len(found[0]), [])
            number = bisect_left(places, at)
            if number < len(places):
                inside = raw[at : places[number]].replace("\n", " ")
                if inside.strip() and inside[0] == inside[-1] == " ":
                    inside = inside[1:-1]
                if told[inside] > 0:
                    yield at, places[number]
                if "<" not in inside or told[inside] > 0:
                    told[inside] -= 1
                    at = places[number] + len(found[0])


def _definitions(text: str, environment: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Give the lines of the link definitions that nothing in a text refers to."""
    found = [(label, it["map"]) for label, it in environment.get("references", {}).items()]
    found += [("", it["map"]) for it in environment.get("duplicate_refs", ())]
    if not found:
        return
    lines = text.split("\n")
    for _, (first, last) in found:
        lines[first:last] = [""] * (last - first)
    used = {_label(match[1]) for match in _LABEL.finditer("\n".join(lines))}
    yield from ((first, last) for label, (first, last) in found if label not in used)


def _label(text: str) -> str:
    from markdown_it.common.utils import normalizeReference

    return normalizeReference(text)


def _instructions(text: str, marks: bytearray, blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give where declarations and instructions stand; in a block of HTML, unclosed ones hide all the rest of it."""
    unclosed: set[str] = set()
    done = 0
    for found in _INSTRUCTION.finditer(text):
        if found.start() < done or marks[found.start()] == _CODE:
            continue
        closing = _ENDS[found[0]]
        end = -1 if closing in unclosed else text.find(closing, found.end())
        number = bisect_right(blocks, (found.start(), len(text))) - 1
        if end >= 0:
            done = end + len(closing)
        else:
            unclosed.add(closing)
            if number < 0 or blocks[number][1] <= found.start():
                continue
            done = blocks[number][1]
        yield found.start(), done


@cache
def _parser(*, inline: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"maxNesting": 20})
    return parser if inline else parser.disable(["inline"])


def _is_hidden(letter: str) -> bool:
    if letter in _HIDDEN_LETTERS:
        return True
    if unicodedata.category(letter) in ("Cf", "Cc", "Cs", "Co"):
        return letter not in _KEPT_CONTROLS
    return any(low <= ord(letter) <= high for low, high in _HIDDEN_RANGES)
