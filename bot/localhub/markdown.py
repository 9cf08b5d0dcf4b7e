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

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Render an image as a link to it."""
        source, text = str(tokens[idx].attrGet("src") or ""), tokens[idx].content
        return f'<a href="{html.escape(source)}" rel="nofollow noopener">{html.escape(text or source)}</a>'


# Raw HTML must be recognised to be told apart from text; the renderer above, not this option, decides what is shown.
_PARSER = MarkdownIt("commonmark", {"html": True}, renderer_cls=_Renderer).enable(["table", "strikethrough"])


def to_html(text: str | None) -> Markup:
    """Return `text` rendered; the result holds no script, no foreign image and no attribute but a link's."""
    return Markup(_PARSER.render(text or ""))  # noqa: S704  (the renderer escapes)
