"""What of an existing repository a model sees: the tree, and the files closest to the request, within a budget."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from array import array
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.artifacts import check_path, matches
from orchestrator.errors import ChangeError
from orchestrator.hidden import shown
from orchestrator.prompts import fence
from orchestrator.workspace import Workspace

BYTES_PER_TOKEN = 4
TREE_LINES = 400
MAX_FILE_BYTES = 60_000
MAX_INDEXED_BYTES = 48 * 1024 * 1024
"""So much text of a repository is searched for words; of what comes after it only the paths are known."""
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


@dataclass(frozen=True, slots=True)
class Index:
    """The files of a base that may be shown: their paths in order, the words of each, and in which files words are.

    `files` gives each path's place in `paths`, `sizes` its bytes, None for a file that cannot be shown; `holders` the
    places of the files that hold a word.
    """

    paths: tuple[str, ...]
    files: Mapping[str, int]
    sizes: tuple[int | None, ...]
    path_words: tuple[frozenset[str], ...]
    holders: Mapping[str, array[int]]
    tree: str


class Repository:
    """What prompts show of a run's base, which nobody changes: it is read and indexed once, when it is first shown."""

    def __init__(self, base: Workspace, rules: ContextRules) -> None:
        self._base = base
        self._rules = rules
        self._index: Index | None = None
        self._indexing = asyncio.Lock()

    async def sections(
        self, seen: Workspace, request: str, nonce: str, max_tokens: int, *, without: Collection[str] = ()
    ) -> tuple[str, str]:
        """Return `repository_sections` of the files as `seen` has them; a thread reads and ranks them."""
        async with self._indexing:
            if self._index is None:
                self._index = await self._indexed()
        return await asyncio.to_thread(
            repository_sections, self._index, seen, request, nonce, max_tokens, without=without
        )

    async def _indexed(self) -> Index:
        stop = threading.Event()
        try:
            return await asyncio.to_thread(index, self._base, self._rules, stop)
        finally:
            stop.set()  # whoever is cancelled does not wait: the thread sees it at its next file


def index(
    base: Workspace,
    rules: ContextRules,
    stop: threading.Event | None = None,
    *,
    max_bytes: int = MAX_INDEXED_BYTES,
) -> Index:
    """Read a base once, in the order of its paths; once `stop` is set, the rest is left out."""
    paths = tuple(path for path in base.base_paths() if rules.shows(path))
    holders: dict[str, array[int]] = {}
    sizes: list[int | None] = []
    room = max_bytes
    for place, path in enumerate(paths):
        if stop is not None and stop.is_set():
            sizes += [None] * (len(paths) - place)
            break
        size = base.size(path)
        sizes.append(size if size is not None and size <= MAX_FILE_BYTES else None)
        if size is None or size > min(room, MAX_FILE_BYTES):
            continue
        room -= size
        text = _text(base, path)
        if text is None:
            sizes[-1] = None
            continue
        for word in _words(text):
            held = holders.get(word)
            if held is None:
                held = holders[word] = array("I")
            held.append(place)
    tree = "\n".join(f"- {path}" for path in paths[:TREE_LINES])
    if len(paths) > TREE_LINES:
        tree += f"\n(and {len(paths) - TREE_LINES} more files)"
    words = tuple(_words(path.replace("/", " ")) for path in paths)
    return Index(paths, {path: place for place, path in enumerate(paths)}, tuple(sizes), words, holders, tree)


def repository_sections(
    index: Index, seen: Workspace, request: str, nonce: str, max_tokens: int, *, without: Collection[str] = ()
) -> tuple[str, str]:
    """Return the prompt's sections about the repository: its tree, the same for every request, and files for this one.

    A new project has one line and no files; without a request there are none either. Files named in the request come
    first, then those that share most rare words with it; a file is shown whole or not at all, as `seen` has it, and
    those of `without` are not. `max_tokens` counts four bytes a token.
    """
    if not index.paths:
        return "Repository: new", ""
    listed = "\n\n".join(["Repository: existing", f"Files in the repository\n{fence(index.tree, nonce, 'tree')}"])
    room = max_tokens * BYTES_PER_TOKEN - len(index.tree.encode())
    parts = []
    for path, size in ranked_files(index, seen, request, without) if request else ():
        text = _text(seen, path) if size <= room else None
        if text is not None:
            room -= size
            parts.append(file_section(path, text, nonce))
    return listed, "\n\n".join(parts)


def file_section(path: str, text: str, nonce: str) -> str:
    """Return one file as prompts show it, without what a reader would not see, and with a word about that.

    Its path stands in a fence of its own, since whoever named the file wrote it, and the file's lines keep their count.
    """
    seen = shown(path, text).text
    word = "" if len(seen) == len(text.replace("\r\n", "\n")) else HIDDEN_WORD
    return f"{fence(f'File {path}{word}', nonce, 'path')}\n{fence(seen, nonce, 'file')}"


def ranked_files(
    index: Index, seen: Workspace, request: str, without: Collection[str] = ()
) -> Iterator[tuple[str, int]]:
    """Yield path and bytes of the readable text files that have to do with the request, the closest first."""
    wanted = {word for word in map(str.lower, _WORD.findall(request)) if word not in _COMMON}
    mentioned = {token.rstrip(".,;:!?") for token in _NAME.findall(request)}
    # What has changed since is read anew.
    changed = {path: _text(seen, path) for path in seen.accepted if path in index.files}
    sizes = dict(zip(index.paths, index.sizes, strict=True))
    sizes |= {path: None if text is None else len(text.encode()) for path, text in changed.items()}
    holders = {word: {index.paths[place] for place in index.holders.get(word, ())} - set(changed) for word in wanted}
    for path, text in changed.items():
        for word in wanted & _words(text or ""):
            holders[word].add(path)
    for word in wanted:
        holders[word].difference_update(without)
    shared: dict[str, list[float]] = {}
    for word in wanted:
        for path in holders[word]:
            shared.setdefault(path, []).append(1.0 / len(holders[word]))
    scores: dict[str, tuple[bool, float]] = {}
    for path, words in zip(index.paths, index.path_words, strict=True):
        named = path in mentioned or path.rsplit("/", 1)[-1] in mentioned
        scores[path] = (named, PATH_WORD_WEIGHT * len(wanted & words) + math.fsum(shared.get(path, ())))
    alike = [path for path in index.paths if scores[path] > (False, 0.0) and path not in without]
    for path in sorted(alike, key=lambda path: (not scores[path][0], -scores[path][1], path)):
        size = sizes[path]
        if size is not None:
            yield path, size


def _words(text: str) -> frozenset[str]:
    return frozenset(map(str.lower, _WORD.findall(text)))


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
