"""A repository's pull request template, filled: its headings stay, our text goes where it fits; pure."""

from __future__ import annotations

import re
from itertools import pairwise

from markdown_it import MarkdownIt

from orchestrator.hidden import visible

FOLDERS = (".github", "", "docs")
"""Where GitHub looks, in this order: https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/creating-a-pull-request-template-for-your-repository"""
NAMES = ("pull_request_template.md", "pull_request_template.txt", "pull_request_template")
MAX_LETTERS = 20_000
"""A longer one is left out, so that our own text always fits into what GitHub takes."""
BEGIN = "<!-- orchestrator:summary -->"
END = "<!-- orchestrator:end-of-summary -->"

_FITS = frozenset({"summary", "description", "what", "overview", "changes", "proposed", "purpose", "about", "describe"})
_PASSED_OVER = frozenset({"a", "an", "the", "pr", "pull", "request", "brief", "short", "general", "of", "this"})
_TICKED = re.compile(r"^(?P<lead>[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+)\[[xX]\]", re.MULTILINE)
_BLANKS = re.compile(r"\n{3,}")
_BLOCKS = MarkdownIt("commonmark", {"maxNesting": 20}).disable(["inline"])


def prepared(template: str) -> str:
    """Return what is kept of a template: no comments or other hidden text, no box ticked; empty for one too long."""
    text = _BLANKS.sub("\n\n", _TICKED.sub(r"\g<lead>[ ]", visible(template))).strip()
    return text if len(text) <= MAX_LETTERS else ""


def filled(template: str, ours: str) -> str:
    """Return a prepared template with our part below the first heading that fits, else before everything.

    Our part stands between two marks, by which `kept` finds it again.
    """
    part = f"{BEGIN}\n{ours}\n{END}"
    if not template:
        return part
    lines = template.split("\n")
    place = _place(template)
    if place is None:
        return f"{part}\n\n{template}"
    rest = "\n".join(lines[place:]).strip("\n")
    return "\n".join(lines[:place]) + f"\n\n{part}\n" + (f"\n{rest}" if rest else "")


def kept(there: str, new: str) -> str:
    """Return a pull request's text with only our part brought up to date: what people wrote around it stays."""
    there = there.replace("\r\n", "\n")
    before, begun, rest = there.partition(BEGIN)
    _, ended, after = rest.partition(END)
    part = new[new.find(BEGIN) : new.find(END) + len(END)]
    if not (begun and ended and part.startswith(BEGIN)):
        return new
    return f"{before}{part}{after}"


def _place(template: str) -> int | None:
    """Return the line after the first heading of the text that fits; headings in code and quotes are none."""
    tokens = _BLOCKS.parse(template)
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map and _fits(content.content):
            return token.map[1]
    return None


def _fits(heading: str) -> bool:
    words = [word for word in re.findall(r"[a-z]+", heading.lower()) if word not in _PASSED_OVER]
    return bool(words) and words[0] in _FITS
