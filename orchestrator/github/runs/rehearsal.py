"""A staged run: its client writes to a stage, its effects are of their own, and its previews are kept as they come."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.errors import GitHubError, SpecError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import Refused, RepositoryClient, Unreachable
from orchestrator.github.api.publisher import Effects, EffectState
from orchestrator.github.api.repository import read_text
from orchestrator.github.staging.preview import Preview
from orchestrator.github.staging.shapes import Shapes
from orchestrator.github.staging.stage import Stage
from orchestrator.specs import SPEC_PATH, parse_spec

_STAGED = re.compile(r"(?:^\s+|[{,]\s*)staged\s*:\s*true\b", re.IGNORECASE | re.MULTILINE)


def says_staged(spec: str) -> bool:
    """Tell whether a spec's text asks for previews only, even one that cannot be read as a whole."""
    try:
        return parse_spec(spec, require_project=False).github.staged
    except SpecError:
        return _STAGED.search(spec) is not None


class Previews(Protocol):
    """Where the previews of one run are kept, each as one JSON text.

    `always` tells that nothing is written whatever a repository's spec says.
    """

    @property
    def always(self) -> bool:
        """True where nothing is written in any case."""
        ...

    async def kept(self) -> tuple[str, ...]:
        """Return them in the order in which they came."""
        ...

    async def keep(self, preview: str) -> None:
        """Keep one more."""
        ...


@dataclass(slots=True)
class MemoryPreviews:
    """Previews of a process without a store."""

    always: bool = False
    texts: list[str] = field(default_factory=list)

    async def kept(self) -> tuple[str, ...]:
        """Return them in the order in which they came."""
        return tuple(self.texts)

    async def keep(self, preview: str) -> None:
        """Keep one more."""
        self.texts.append(preview)


@dataclass(frozen=True, slots=True)
class StagedEffects:
    """A run's effects on the stage, apart from those that are real: what stood nowhere is no reason not to write it."""

    effects: Effects

    async def begin(self, kind: str, key: str) -> tuple[EffectState, str]:
        """Note that an effect is about to be tried, and return what was known before."""
        return await self.effects.begin(f"staged:{kind}", key)

    async def done(self, kind: str, key: str, remote_id: str) -> None:
        """Note that the effect is there."""
        await self.effects.done(f"staged:{kind}", key, remote_id)


async def rehearse(
    client: RepositoryClient, github: GitHubConnection, previews: Previews, installation_id: int = 0
) -> None:
    """Have a client write nothing from now on; what it would have written goes to `previews`, and is read back.

    An App's token is a new one, which may only read.
    """
    stage = Stage(Shapes(client.name, await github.login(client), github.api_url, github.server_url))
    stage.recall(Preview.from_json(text) for text in await previews.kept())

    async def keep() -> None:
        for preview in stage.taken():
            await previews.keep(preview.to_json())

    await client.reopen(github.staged_session(client.name, installation_id, stage), keep)


async def rehearse_where_asked(
    client: RepositoryClient, github: GitHubConnection, previews: Previews, installation_id: int = 0
) -> bool:
    """Rehearse if the spec on the default branch asks for it, or an earlier process did; return whether.

    For what is done without the story of a command. Raises `GitHubError` when GitHub does not say.
    """
    if not previews.always and not await previews.kept():
        branch = await client.read("name the default branch", lambda repository: repository.default_branch)
        try:
            text = await read_text(client, SPEC_PATH, branch)
        except (Unreachable, Refused):
            raise
        except GitHubError:
            text = None  # what cannot be read asks for nothing
        if not says_staged(text or ""):
            return False
    await rehearse(client, github, previews, installation_id)
    return True
