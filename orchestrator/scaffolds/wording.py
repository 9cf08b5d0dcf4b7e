"""What a job's text says: its title in plain letters, a package's name, and whether it asks for a feature."""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from collections.abc import Iterable

TITLE_COLUMNS = 60
PACKAGE_LETTERS = 25
PACKAGE_WORDS = 3
SLUG_LETTERS = 40

_TITLE_LABEL = re.compile(r"\s*(?:title|project)\s*:", re.IGNORECASE)
_PLAIN = frozenset(" -.,:'&+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
_DENIED = r"(?<!\bno )(?<!\bno user )(?<!\bwithout )(?<!\bwithout any )(?<!\bwithout user )"
# Words that say that something is to be built, not what.
_FILLER = re.compile(
    r"an?|the|please|add|build|create|develop|implement|make|write|new|small|simple|tiny|typed|python|py|library|lib"
    r"|package|module"
)
# Words before the name of a thing: what shall be done with it.
_ORDER = re.compile(r"an?|the|please|add|build|create|develop|implement|make|write|new|me|us")
# What follows one of these describes the thing; it does not name it.
_STOP = re.compile(r"that|which|with|for|using|to|in|on|from|by|as|and|or")
# Importing these must keep reaching what they belong to: the tools that work on the package, and its own folders.
_TAKEN = re.compile(
    r"app|build|conftest|dist|docs|iniconfig|packaging|pip|pluggy|py|pygments|pytest|ruff|setuptools|src|tests?"
)


def plain_title(text: str) -> str:
    """Return the first line that says something, at most 60 columns wide, without any letter that could be markup.

    A leading `Title:` and Markdown's marks fall away. Only letters, digits, spaces and `-.,:'&+` are left, so that
    the title can stand in TOML, Python and Markdown as it is. Empty when no line has a letter or digit.
    """
    for line in text.splitlines():
        letters = unicodedata.normalize("NFC", _TITLE_LABEL.sub("", line, count=1))
        kept = "".join(letter if letter.isalnum() or letter in _PLAIN else " " for letter in letters)
        title = _cut(kept.split()).strip(" -.,:'&+")
        if title:
            return title
    return ""


def title_in_ascii(title: str) -> str:
    """Return a title without accents, or an empty string when it is not written in Latin letters."""
    decomposed = unicodedata.normalize("NFKD", title)
    base = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return base[:TITLE_COLUMNS].strip() if base.isascii() else ""


def name_from(title: str) -> str:
    """Return what a title calls the thing: without a verb and an article before it, and without what describes it."""
    kept: list[str] = []
    for word in title.split():
        plain = word.strip(",.:").lower()
        if _STOP.fullmatch(plain) and kept:
            break
        if kept or not _ORDER.fullmatch(plain):
            kept.append(word)
    name = " ".join(kept).rstrip(" ,.:") or title
    return name[:1].upper() + name[1:]


def slug_from(title: str) -> str:
    """Return the name of a package of the npm registry's form for what a title calls the thing."""
    return "-".join(_words(name_from(title)).split())[:SLUG_LETTERS].strip("-") or "starter"


def package_from(title: str) -> str:
    """Return an importable name for what a title names, at most 25 letters; never one that is taken."""
    named: list[str] = []
    for word in _words(title).split():
        if _STOP.fullmatch(word) and named:
            break
        if not _FILLER.fullmatch(word) and not _STOP.fullmatch(word):
            named.append(word)
    name = "_".join(named[:PACKAGE_WORDS])[:PACKAGE_LETTERS].strip("_") or "starter"
    if name[0].isdigit():
        name = f"lib_{name}"[:PACKAGE_LETTERS].strip("_")
    taken = _TAKEN.fullmatch(name) or name in sys.stdlib_module_names or keyword.iskeyword(name)
    return f"{name}_lib" if taken else name


def asks_for(text: str, words: Iterable[str], ignored: Iterable[str] = ()) -> bool:
    """Say whether a text has one of the words or phrases, and not only after "no" or "without".

    Letter case, hyphens, underscores and camel case make no difference. `ignored` phrases are taken out first.
    """
    said = _words(text)
    for phrase in ignored:
        said = re.sub(rf"\b{re.escape(phrase)}\b", " ", said)
    phrases = "|".join(re.escape(word) for word in words)
    return re.search(rf"{_DENIED}\b(?:{phrases})\b", said) is not None


def _words(text: str) -> str:
    return _NOT_A_WORD.sub(" ", _CAMEL.sub(" ", text).lower())


def _cut(words: list[str]) -> str:
    title = ""
    for word in words:
        longer = f"{title} {word}" if title else word
        if _columns(longer) > TITLE_COLUMNS:
            break
        title = longer
    if not title and words:
        # One endless word: as much of it as fits even when every letter is two columns wide.
        return words[0][: TITLE_COLUMNS // 2]
    return title


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
