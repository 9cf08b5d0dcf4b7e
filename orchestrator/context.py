"""What of an existing repository a model sees: the tree, and the files closest to the request, within a budget."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.artifacts import check_path, matches
from orchestrator.errors import ChangeError
from orchestrator.hidden import shown
from orchestrator.prompts import fence
from orchestrator.workspace import Workspace

BYTES_PER_TOKEN = 4
TREE_LINES = 400
MAX_FILE_BYTES = 60_000
PATH_WORD_WEIGHT = 4.0
HIDDEN_WORD = " (comments or characters that nobody sees are left out here; an edit keeps them)"
_NAME = re.compile(r"[\w./-]+")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
# Words that are in every request and every file say nothing about which file is meant.
_COMMON_WORDS = (
    "the and for with that this from are not but all can has have should when into use using add make new test tests "
    "def class import return self none true false str int"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_NEVER = (".orchestrator.yaml", "**/.env", "**/.env.*", "**/*.pem", "**/*.key", "**/id_rsa", "**/id_ed25519")
_NOISE = ("**/*.lock", "**/package-lock.json", "**/*.min.js", "**/*.svg", "**/*.map")


@dataclass(frozen=True, slots=True)
class ContextRules:
    """Which files may be shown: globs from the spec's `context` section; an empty `include` means all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def shows(self, path: str) -> bool:
        """Say whether a path may be shown; a hidden one only where `include` names it."""
        if not _ordinary(path) or matches(path, (*_NEVER, *_NOISE, *self.exclude)):
            return False
        hidden = any(component.startswith(".") for component in path.split("/"))
        return path in self.include if hidden else not self.include or matches(path, self.include)


def repository_sections(
    workspace: Workspace,
    request: str,
    rules: ContextRules,
    nonce: str,
    max_tokens: int,
    *,
    without: Collection[str] = (),
) -> tuple[str, str]:
    """Return the prompt's sections about the repository: its tree, the same for every request, and files for this one.

    A new project has one line and no files; without a request there are none either. Files named in the request come
    first, then those that share most rare words with it; a file is shown whole or not at all, and those of `without`
    are not. `max_tokens` counts four bytes a token.
    """
    paths = [path for path in workspace.base_paths() if rules.shows(path)]
    if not paths:
        return "Repository: new", ""
    tree = "\n".join(f"- {path}" for path in paths[:TREE_LINES])
    if len(paths) > TREE_LINES:
        tree += f"\n(and {len(paths) - TREE_LINES} more files)"
    listed = "\n\n".join(["Repository: existing", f"Files in the repository\n{fence(tree, nonce, 'tree')}"])
    parts = []
    room = max_tokens * BYTES_PER_TOKEN - len(tree.encode())
    wanted = [path for path in paths if path not in without] if request else []
    for path, text in ranked_files(workspace, wanted, request):
        size = len(text.encode())
        if size <= room:
            room -= size
            parts.append(file_section(path, text, nonce))
    return listed, "\n\n".join(parts)


def file_section(path: str, text: str, nonce: str) -> str:
    """Return one file as prompts show it: fenced, without what a reader would not see, and with a word about that."""
    seen = shown(path, text).text
    word = "" if len(seen) == len(text.replace("\r\n", "\n")) else HIDDEN_WORD
    return f"File {path}{word}\n{fence(seen, nonce, 'file')}"


def ranked_files(workspace: Workspace, paths: Iterable[str], request: str) -> list[tuple[str, str]]:
    """Return (path, text) of the readable text files that have to do with the request, the closest first."""
    wanted = {word for word in map(str.lower, _WORD.findall(request)) if word not in _COMMON}
    texts = {path: text for path in paths if (text := _text(workspace, path)) is not None}
    words = {path: Counter(map(str.lower, _WORD.findall(text))) for path, text in texts.items()}
    spread = Counter(word for counts in words.values() for word in counts)
    mentioned = {token.rstrip(".,;:!?") for token in _NAME.findall(request)}
    scores: dict[str, tuple[bool, float]] = {}
    for path, counts in words.items():
        named = path in mentioned or path.rsplit("/", 1)[-1] in mentioned
        in_path = PATH_WORD_WEIGHT * len(wanted & {word.lower() for word in _WORD.findall(path.replace("/", " "))})
        shared = math.fsum(1.0 / spread[word] for word in wanted if word in counts)
        scores[path] = (named, in_path + shared)
    alike = [path for path in texts if scores[path] > (False, 0.0)]
    order = sorted(alike, key=lambda path: (not scores[path][0], -scores[path][1], path))
    return [(path, texts[path]) for path in order]


def _ordinary(path: str) -> bool:
    """Say whether a path of the repository is one that we would write ourselves: others could pass for instructions."""
    try:
        check_path(path)
    except ChangeError:
        return False
    return True


def _text(workspace: Workspace, path: str) -> str | None:
    content = workspace.read(path)
    if content is None or len(content) > MAX_FILE_BYTES or b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
