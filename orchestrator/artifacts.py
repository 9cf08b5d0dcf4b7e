"""Files and edits out of a model's answer, as changes that may be applied, never outside the workspace.

Everything is pure: a tree is read, changes come out as path to content (None for a deletion), and nothing touches the
disk here.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from wcmatch import glob

from orchestrator.errors import ChangeError
from orchestrator.hidden import locate, shown
from orchestrator.limits import MAX_FILE_BYTES, MAX_FILES, MAX_PATH_BYTES, MAX_TOTAL_BYTES
from orchestrator.wire import ChangesReply, Edit

Changes = Mapping[str, bytes | None]

MAX_COMPONENT_BYTES = 200
MAX_COUNTED = 20
MAX_COMPARED_LINES = 20_000
MAX_COMPARED_LETTERS = 200
MAX_COMPARED = 50
LIKE_ENOUGH = 0.5

# Never written in a repository unless the operator allows (SECURITY 17).
PROTECTED_PATHS = (
    ".github/**",
    ".orchestrator.yaml",
    ".orchestrator/**",
    "**/.gitmodules",
    "**/.gitattributes",
    "**/CODEOWNERS",
    "**/CLAUDE.md",
    "**/CLAUDE.local.md",
    "**/AGENTS.md",
    "**/GEMINI.md",
    "**/.claude/**",
    "**/.cursor/**",
    "**/.cursorrules",
    "**/.gemini/**",
    "**/.windsurf/**",
    "**/.windsurfrules",
    "**/.clinerules",
    "**/.clinerules/**",
    "**/.mcp.json",
    "**/.devcontainer/**",
    "**/.devcontainer.json",
    "**/.idea/**",
    "**/.vscode/**",
    "**/.husky/**",
    "**/.npmrc",
    "**/.envrc",
)
# In a new folder nobody's configuration is at stake; the run's own report stays ours (SECURITY 17).
PROTECTED_IN_NEW_FOLDER = (".orchestrator/**",)
# What GitHub runs with the repository's secrets: no exception of the operator's opens it (SECURITY 17).
WORKFLOWS = (".github/workflows/**",)

_FORBIDDEN = frozenset('<>:"|?*\\')
# Names of devices, in every folder and with every ending; source:
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)
# `GITMOD~1` is another name of `.gitmodules` where short names are on.
_SHORT_NAME = re.compile(r"~[0-9]")
_GLOB = glob.GLOBSTAR | glob.DOTGLOB | glob.IGNORECASE


class Tree(Protocol):
    """The files that changes apply to."""

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is no file that can be read."""
        ...

    def occupied(self, path: str) -> bool:
        """Say whether a file or a link stands at the path, readable or not."""
        ...

    def is_folder(self, path: str) -> bool:
        """Say whether the path is a folder that holds something."""
        ...


@dataclass(frozen=True, slots=True)
class Protection:
    """Globs of what is never written: `built_in` ones but for the operator's `exceptions`, and the spec's `own`.

    Exceptions never open workflows, nor what the spec protects itself.
    """

    built_in: tuple[str, ...] = PROTECTED_PATHS
    own: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        """Say whether a path is never written."""
        if matches(path, self.own):
            return True
        opened = matches(path, self.exceptions) and not matches(path, WORKFLOWS)
        return matches(path, self.built_in) and not opened


@dataclass(frozen=True, slots=True)
class WriteRules:
    """What a task may write: never what is protected, paths of `others` (other tasks) or `foreign` ones (the user)."""

    protection: Protection = Protection()
    others: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()

    def check(self, path: str) -> str:
        """Return the path when it may be written; raises `ChangeError` with the rule."""
        checked = check_path(path)
        if self.protection.covers(checked):
            raise ChangeError(path, "this path is protected and is never written; leave it out")
        if checked in self.others:
            raise ChangeError(path, "this file belongs to another task; write only the files of your own task")
        if clashes(checked, self.foreign):
            raise ChangeError(path, "a file of the user stands there already; choose another name")
        return checked


def clashes(path: str, taken: Collection[str]) -> bool:
    """Say whether one of the taken files stands at the path, above it or below it."""
    return path in taken or any(one.startswith(f"{path}/") or path.startswith(f"{one}/") for one in taken)


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a path matches one of the globs; `**` spans folders, case does not count.

    A glob is tried folder by folder: as one expression, a few `**` in it take hours with a path that nearly matches.
    """
    components = path.split("/")
    return any(_matches(components, _glob(pattern)) for pattern in patterns)


def _matches(components: list[str], pattern: tuple[_Component | None, ...]) -> bool:
    """Follow all ways through a path at once; `reached` are the places up to which the pattern so far may match."""
    end = len(components)
    reached = {0}
    for place, wanted in enumerate(pattern, 1):
        if not reached:
            return False
        if wanted is not None:
            reached = {at + 1 for at in reached if at < end and wanted.match(components[at])}
        elif place == len(pattern):
            return min(reached) < end  # what is below a folder, not the folder
        else:
            reached = set(range(min(reached), end + 1))
    return end in reached


class _Component(Protocol):
    def match(self, filename: str) -> bool:
        """Say whether the name of one file or folder matches."""
        ...


@lru_cache(maxsize=2048)
def _glob(pattern: str) -> tuple[_Component | None, ...]:
    """Return what a glob wants of each component, None for any number of them."""
    parts = pattern.split("/")
    return tuple(None if part == "**" else glob.compile(part, flags=_GLOB) for part in parts)


def check_path(path: str) -> str:
    """Return a generated path when it is safe on every system we write to (SECURITY 18); raises `ChangeError`."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise ChangeError(path[:80], f"a path has from 1 to {MAX_PATH_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        raise ChangeError(path, "a path is written in Unicode normal form NFC")
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in path):
        raise ChangeError(path, "a path holds no control, format or unassigned character")
    if _FORBIDDEN & set(path):
        raise ChangeError(path, 'a path holds none of < > : " | ? * and no backslash')
    if path.startswith("/"):
        raise ChangeError(path, "a path is relative to the project's folder")
    for component in path.split("/"):
        _check_component(path, component)
    return path


def _check_component(path: str, component: str) -> None:
    if component in ("", ".", ".."):
        raise ChangeError(path, "a path has no empty component, no `.` and no `..`")
    if component[0] in "~-" or component[-1] in " .":
        raise ChangeError(path, "no component starts with `~` or `-`, or ends with a blank or a dot")
    if len(component.encode()) > MAX_COMPONENT_BYTES:
        raise ChangeError(path, f"a component has at most {MAX_COMPONENT_BYTES} bytes")
    if _DEVICE.match(component):
        raise ChangeError(path, "no component is the name of a device, such as con, nul or com1")
    folded = unicodedata.normalize("NFKC", component).casefold()
    if folded == ".git":
        raise ChangeError(path, "nothing is written into .git")
    if _SHORT_NAME.search(folded):
        raise ChangeError(path, "no component looks like a short name, such as git~1")


def apply_reply(reply: ChangesReply, tree: Tree, rules: WriteRules) -> dict[str, bytes | None]:
    """Return the changes of an answer against a tree; raises `ChangeError` for the first that may not be applied.

    Renames come first, then deletions, whole files and edits, so that an answer can move a file and edit it.
    """
    laid = _Laid(tree)
    for rename in reply.renames:
        source, target = rules.check(rename.source), rules.check(rename.target)
        content = laid.read(source)
        if content is None:
            raise ChangeError(source, "there is no such file to rename")
        if laid.occupied(target):
            raise ChangeError(target, "a file stands there already; a rename does not replace it")
        laid.changes[source] = None
        laid.put(target, content)
    for name in reply.deletions:
        path = rules.check(name)
        if not laid.occupied(path):
            raise ChangeError(path, "there is no such file to delete")
        laid.changes[path] = None
    for file in reply.files:
        laid.put(rules.check(file.path), file.content.encode("utf-8", "replace"))
    for edit in reply.edits:
        path = rules.check(edit.path)
        laid.changes[path] = _edited(path, laid.read(path), edit)
    _check_sizes(laid.changes)
    return laid.changes


def check_changes(changes: Changes, tree: Tree, rules: WriteRules) -> None:
    """Check finished changes against a tree, as those of an answer are; raises `ChangeError` for the first.

    How many there are in all is for the caller to limit.
    """
    laid = _Laid(tree)
    for path in [path for path, content in changes.items() if content is None]:
        if not laid.occupied(rules.check(path)):
            raise ChangeError(path, "there is no such file to delete")
        laid.changes[path] = None
    for path, content in changes.items():
        if content is not None:
            laid.put(rules.check(path), content)


@dataclass(frozen=True, slots=True)
class _Laid:
    """A tree under the changes of one answer."""

    tree: Tree
    changes: dict[str, bytes | None] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        return self.changes[path] if path in self.changes else self.tree.read(path)

    def occupied(self, path: str) -> bool:
        return self.changes[path] is not None if path in self.changes else self.tree.occupied(path)

    def put(self, path: str, content: bytes) -> None:
        """Lay a whole file down; raises `ChangeError` where a file stands above it, or a folder in its place."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if self.occupied(above):
                raise ChangeError(path, f"{above} is a file, so that nothing can stand below it")
        below = any(other.startswith(f"{path}/") for other, kept in self.changes.items() if kept is not None)
        if below or self.tree.is_folder(path):
            raise ChangeError(path, "a folder of this name exists; choose another name for the file")
        self.changes[path] = content


def _edited(path: str, content: bytes | None, edit: Edit) -> bytes:
    if content is None:
        raise ChangeError(path, "there is no such file to edit; give the whole file in `files`")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ChangeError(path, "this file is not UTF-8 text and cannot be edited") from error
    count = _occurrences(text, edit.search)
    start = text.find(edit.search)
    place = (start, start + len(edit.search)) if count == 1 else None
    if count == 0:
        place = locate(path, text, edit.search)  # the model was not shown what is hidden in the file
    if place is None:
        view = shown(path, text).text
        nearest = _nearest(view, edit.search)
        raise ChangeError(
            path,
            f"the searched text stands {count or _occurrences(view, edit.search)} times, it must stand exactly once. "
            + (f"The nearest text in the file is:\n{nearest}" if nearest else "Give the whole file in `files`."),
        )
    return (text[: place[0]] + _like(text, edit.replace) + text[place[1] :]).encode("utf-8", "replace")


def _occurrences(text: str, search: str) -> int:
    """Return how often a text stands in another, overlaps counted, up to `MAX_COUNTED`: more are no help to anybody."""
    count, start = 0, text.find(search) if search else -1
    while start >= 0 and count < MAX_COUNTED:
        count += 1
        start = text.find(search, start + 1)
    return count


def _like(text: str, replacement: str) -> str:
    """Return a replacement with the line ends of the file it goes into."""
    windows = "\r\n" in text and "\r" not in replacement
    return replacement.replace("\n", "\r\n") if windows else replacement


def _nearest(text: str, search: str) -> str:
    """Return the lines of the file that are most like the searched ones, for the model to quote from."""
    lines, wanted = text.splitlines(), search.splitlines()
    if not lines or not wanted or len(lines) > MAX_COMPARED_LINES:
        return ""
    # Comparing takes the product of both lengths and more, and everybody else waits for it: a line that is longer is
    # known by its begin, and only those are compared letter by letter that have most letters in common.
    begins = [line[:MAX_COMPARED_LETTERS] for line in lines]
    matcher = difflib.SequenceMatcher(b=wanted[0][:MAX_COMPARED_LETTERS])

    def likeness(number: int, *, whole: bool) -> tuple[float, int]:
        matcher.set_seq1(begins[number])
        return (matcher.ratio() if whole else matcher.quick_ratio()), -number

    alike = heapq.nlargest(MAX_COMPARED, range(len(begins)), key=lambda number: likeness(number, whole=False))
    ratio, place = max(likeness(number, whole=True) for number in alike)
    return "\n".join(lines[-place : -place + len(wanted)]) if ratio >= LIKE_ENOUGH else ""


def blob_sha(content: bytes) -> str:
    """Return how git names a content: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def executables(changes: Changes, before: Mapping[str, str]) -> frozenset[str]:
    """Return the paths of written files that can be executed, by the executable files `before` and their `blob_sha`.

    A file keeps its executable bit, also under a new name. Changes do not say what was renamed: a new file stands for
    one that is gone when it has the same content, or the same name in another folder.
    """
    written = {path: content for path, content in changes.items() if content is not None}
    gone = {path: sha for path, sha in before.items() if path in changes and path not in written}
    names = {path.rpartition("/")[2] for path in gone}
    moved = {
        path
        for path, content in written.items()
        if gone and (path.rpartition("/")[2] in names or blob_sha(content) in gone.values())
    }
    return frozenset(moved | (written.keys() & before.keys()))


def _check_sizes(changes: Changes) -> None:
    if len(changes) > MAX_FILES:
        raise ChangeError(next(iter(changes)), f"an answer changes at most {MAX_FILES} files, not {len(changes)}")
    total = 0
    for path, content in changes.items():
        size = len(content or b"")
        total += size
        if size > MAX_FILE_BYTES:
            raise ChangeError(path, f"a file has at most {MAX_FILE_BYTES} bytes, not {size}")
    if total > MAX_TOTAL_BYTES:
        raise ChangeError(next(iter(changes)), f"an answer holds at most {MAX_TOTAL_BYTES} bytes, not {total}")
