"""What a reader would not see in a text from strangers, found and left out before a model sees it (SECURITY 29).

A repository's files are shown without it too, and keep it: an edit quotes the text as it was shown, `locate` finds the
place in the file as it is, and what is hidden outside of that place stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_KEPT_CONTROLS = frozenset("\n\t")
_HIDDEN_LETTERS = frozenset("\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0")
_HIDDEN_RANGES = ((0xFE00, 0xFE0F), (0xE0000, 0xE0FFF))
# Files that people read rendered, where a comment is hidden. In any other file `<!--` is text like all the rest of it,
# and an unclosed one, in a regular expression say, must not hide the code below it.
_RENDERED = (".md", ".markdown", ".mdown", ".html", ".htm", ".xhtml")


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as it is shown, and for each of its letters the place it has in the whole text."""

    text: str
    places: Sequence[int]


def visible(text: str) -> str:
    """Return a text without what a reader on GitHub would not see, applied to its own result without change.

    Removed: HTML comments, also unclosed; zero-width, bidirectional, tag and other format characters, variation
    selectors, blank letters and control characters. Line ends become `\\n`.
    """
    return _shown(text, comments=True).text


def shown(path: str, text: str) -> Shown:
    """Return a file's text without what is hidden in it: comments in Markdown and HTML, characters in every file."""
    return _shown(text, comments=path.casefold().endswith(_RENDERED))


def locate(path: str, text: str, search: str) -> tuple[int, int] | None:
    """Return where in a file's text a search stands that quotes the file as it was shown; None unless exactly once."""
    view = shown(path, text)
    start = view.text.find(search)
    if not search or start < 0 or view.text.find(search, start + 1) >= 0:
        return None
    return view.places[start], view.places[start + len(search) - 1] + 1


def _shown(text: str, *, comments: bool) -> Shown:
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text):
        if letter == "\r" and text[place + 1 : place + 2] != "\n":
            letter = "\n"
        if not _is_hidden(letter):
            letters.append(letter)
            places.append(place)
    seen = "".join(letters)
    # What stands before and after a removed comment may make up a new one.
    while comments and (found := list(_COMMENT.finditer(seen))):
        kept = [0, *(edge for match in found for edge in match.span()), len(seen)]
        pieces = list(zip(kept[::2], kept[1::2], strict=True))
        seen = "".join(seen[start:end] for start, end in pieces)
        places = [place for start, end in pieces for place in places[start:end]]
    return Shown(seen, places)


def _is_hidden(letter: str) -> bool:
    if letter in _HIDDEN_LETTERS:
        return True
    if unicodedata.category(letter) in ("Cf", "Cc", "Cs", "Co"):
        return letter not in _KEPT_CONTROLS
    return any(low <= ord(letter) <= high for low, high in _HIDDEN_RANGES)
