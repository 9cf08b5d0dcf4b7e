"""What a reader would not see in a text from strangers, found and left out before a model sees it (SECURITY 29).

A repository's files are shown without it too, and keep it: an edit quotes the text as it was shown, `locate` finds the
place in the file as it is, and what is hidden outside of that place stays.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_OPENING = list("<!--")
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
    return _uncommented(seen, places) if comments and "<!--" in seen else Shown(seen, places)


def _uncommented(text: str, places: Sequence[int]) -> Shown:
    """Return a text without HTML comments, read once: nested ones cost no more than others."""
    letters: list[str] = []
    kept: list[int] = []
    at = 0
    while at < len(text):
        letters.append(text[at])
        kept.append(places[at])
        at += 1
        # What stands before and after a removed comment may make up a new one.
        if letters[-1] == "-" and letters[-4:] == _OPENING:
            del letters[-4:], kept[-4:]
            end = text.find("-->", at)
            at = end + 3 if end >= 0 else len(text)
    return Shown("".join(letters), kept)


def _is_hidden(letter: str) -> bool:
    if letter in _HIDDEN_LETTERS:
        return True
    if unicodedata.category(letter) in ("Cf", "Cc", "Cs", "Co"):
        return letter not in _KEPT_CONTROLS
    return any(low <= ord(letter) <= high for low, high in _HIDDEN_RANGES)
