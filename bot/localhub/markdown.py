"""Markdown to HTML that is safe to show: raw HTML is escaped but for a few plain tags, comments are hidden."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_PLAIN_TAG = re.compile(r"&lt;(/?(?:details|summary|sub|sup|kbd|br|b|i|em|strong))(?: open)?\s*/?&gt;", re.IGNORECASE)


def inert_html(text: str) -> str:
    """Return raw HTML escaped, without its comments, but with a few tags that carry no attributes."""
    shown = _COMMENT.sub("", text)
    return _PLAIN_TAG.sub(r"<\1>", html.escape(shown, quote=True)) if shown.strip() or not text.strip() else ""


class _Renderer(RendererHTML):
    """markdown-it's renderer, but raw HTML becomes inert and images become links: a page here loads nothing foreign."""

    def html_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Render a block of raw HTML."""
        return inert_html(tokens[idx].content)

    def html_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Render raw HTML inside a line."""
        return inert_html(tokens[idx].content)

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Render a block of code; a suggestion as the lines that it replaces and those that it puts there."""
        token = tokens[idx]
        if token.info.split()[:1] != ["suggestion"]:
            return super().fence(tokens, idx, options, env)
        lines = [("del", line) for line in env.get("original", ())]
        lines += [("add", line) for line in token.content.removesuffix("\n").split("\n") if token.content]
        shown = "".join(f'<span class="{kind}">{html.escape(line)}\n</span>' for kind, line in lines)
        return f'<pre class="diff suggestion">{shown}</pre>\n'

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Render an image as a link to it."""
        source, text = str(tokens[idx].attrGet("src") or ""), tokens[idx].content
        return f'<a href="{html.escape(source)}" rel="nofollow noopener">{html.escape(text or source)}</a>'


# Raw HTML must be recognised to be told apart from text; the renderer above, not this option, decides what is shown.
_PARSER = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable(["table", "strikethrough"])


def to_html(text: str | None, original: Sequence[str] = ()) -> Markup:
    """Return `text` rendered; the result holds no script, no foreign image and no attribute but a link's.

    `original` are the lines that suggestions in it would replace.
    """
    return Markup(_PARSER.render(text or "", {"original": original}))  # noqa: S704  (the renderer escapes)
