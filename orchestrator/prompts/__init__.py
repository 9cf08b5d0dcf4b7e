"""One Markdown prompt per purpose: strict variables, a content hash, and fences around what nobody vouches for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from orchestrator.state import Purpose

_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
_SPLIT = "\n---\n"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt ready to send; `version` is the hash of the template it came from."""

    system: str
    prompt: str
    version: str


def render(purpose: Purpose, values: Mapping[str, str]) -> Rendered:
    """Fill a purpose's template; every variable of the template must be given, and no other (`KeyError`)."""
    template = _template(purpose)
    wanted = set(_VARIABLE.findall(template))
    if wanted != set(values):
        raise KeyError(f"{purpose}.md takes {sorted(wanted)}, got {sorted(values)}")
    system, _, prompt = template.partition(_SPLIT)
    filled = _VARIABLE.sub(lambda match: values[match.group(1)], prompt)
    return Rendered(system.strip(), filled.strip() + "\n", version(purpose))


def version(purpose: Purpose) -> str:
    """Return the hash of a purpose's template."""
    return hashlib.sha256(_template(purpose).encode()).hexdigest()[:16]


def fence(text: str, nonce: str, what: str) -> str:
    """Wrap text that nobody vouches for, so that nothing in it can pass for an instruction of ours.

    The delimiter carries the run's random word, which the text's author cannot know; should the text contain it all
    the same, the word is taken out.
    """
    safe = text
    while nonce in safe:
        safe = safe.replace(nonce, "")
    return f"<{what} {nonce}>\n{safe}\n</{what} {nonce}>"


@cache
def _template(purpose: Purpose) -> str:
    return resources.files("orchestrator.prompts").joinpath(f"{purpose.value}.md").read_text(encoding="utf-8")
