"""Plumbing on one bare repository: every answer of the local GitHub about code comes from git itself."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

GIT_SECONDS = 60.0
"""A deadline for one git process."""

CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "safe.bareRepository": "explicit",
    "safe.directory": "*",
    "transfer.fsckObjects": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
}

LOG_FORMAT = "%H%n%T%n%P%n%an%n%ae%n%aI%n%cn%n%ce%n%cI%n%B"

_UNSAFE_REF = re.compile(r"[\x00-\x20~^:?*\[\\\x7f]|\.\.|@\{|^[-/]|//|/$|\.lock$|\.$")


class GitError(RuntimeError):
    """A git command failed; `stderr` is what it said."""

    def __init__(self, arguments: Sequence[str], returncode: int, stderr: str) -> None:
        super().__init__(f"git {' '.join(arguments)} ended with {returncode}: {stderr.strip()}")
        self.stderr = stderr


@dataclass(frozen=True)
class Signature:
    """Who wrote a commit, and when."""

    name: str
    email: str
    date: datetime


@dataclass(frozen=True)
class Commit:
    """A commit as git knows it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class TreeEntry:
    """A line of a tree; `size` is None for trees and submodules."""

    mode: str
    type: str
    sha: str
    size: int | None
    path: str


@dataclass(frozen=True)
class FileChange:
    """One changed file between two commits; `status` in GitHub's words."""

    path: str
    previous_path: str | None
    status: str
    sha: str
    additions: int
    deletions: int
    patch: str | None


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a git process: nothing of the caller's but PATH, and our configuration."""
    settings = {"GIT_CONFIG_COUNT": str(len(CONFIGURATION))}
    for index, (key, value) in enumerate(CONFIGURATION.items()):
        settings |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **settings,
        **(extra or {}),
    }


async def run(
    arguments: Sequence[str], *, data: bytes = b"", extra: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)
) -> bytes:
    """Run git with `arguments` and return its standard output; GitError for an exit status not in `accept`."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
    )
    try:
        async with asyncio.timeout(GIT_SECONDS):
            out, err = await process.communicate(data)
    except BaseException:
        # A cancelled request must not leave its git behind.
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode not in accept:
        raise GitError(arguments, process.returncode or 0, err.decode("utf-8", "replace"))
    return out


def valid_ref(name: str) -> bool:
    """Tell whether git would take `name` as a part of a ref; a pure stand-in for `git check-ref-format`."""
    return bool(name) and _UNSAFE_REF.search(name) is None and not any(p.startswith(".") for p in name.split("/"))


class Git:
    """One bare repository at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __call__(
        self, *arguments: str, data: bytes = b"", extra: Mapping[str, str] | None = None, accept: Sequence[int] = (0,)
    ) -> bytes:
        """Run git on this repository and return its standard output."""
        return await run(["--git-dir", str(self.path), *arguments], data=data, extra=extra, accept=accept)

    async def create(self, default_branch: str) -> None:
        """Make the empty repository."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        await run(["init", "--quiet", "--bare", f"--initial-branch={default_branch}", "--", str(self.path)])

    # refs

    async def resolve(self, name: str, kind: str = "commit") -> str | None:
        """Return the SHA of a branch, tag, full ref or SHA as an object of `kind`, or None."""
        if not valid_ref(name):
            return None
        for candidate in (f"refs/heads/{name}", f"refs/tags/{name}", f"refs/{name}", name):
            out = await self(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{candidate}^{{{kind}}}", accept=(0, 1, 128)
            )
            if out.strip():
                return out.decode().strip()
        return None

    async def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Return every ref below `prefix` with the SHA it points to."""
        out = await self("for-each-ref", "--format=%(refname) %(objectname)", prefix)
        return {line.split(" ")[0]: line.split(" ")[1] for line in out.decode().splitlines()}

    async def ref(self, name: str) -> str | None:
        """Return what the full ref `name` points to, or None."""
        return (await self.refs(name)).get(name) if valid_ref(name) else None

    async def update_ref(self, name: str, new: str, old: str) -> None:
        """Move `name` from `old` (40 zeros: must not exist) to `new`, atomically; GitError when it moved meanwhile."""
        await self("update-ref", "--end-of-options", name, new, old)

    async def delete_ref(self, name: str, old: str) -> None:
        """Delete the ref `name`, which must still point to `old`."""
        await self("update-ref", "-d", "--end-of-options", name, old)

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether `new` contains `old`."""
        counted = await self("rev-list", "--count", "--end-of-options", f"{new}..{old}", accept=(0, 128))
        return counted.strip() == b"0"

    async def merge_base(self, left: str, right: str) -> str | None:
        """Return the best common ancestor, or None for unrelated histories."""
        return (await self("merge-base", left, right, accept=(0, 1))).decode().strip() or None

    # objects

    async def object_type(self, sha: str) -> str | None:
        """Return blob, tree, commit or tag, or None when there is no such object."""
        if not re.fullmatch(r"[0-9a-f]{40}", sha):
            return None
        out = await self("cat-file", "--batch-check=%(objecttype)", data=sha.encode() + b"\n")
        word = out.decode().split()[-1]
        return word if word in ("blob", "tree", "commit", "tag") else None

    async def write_blob(self, content: bytes) -> str:
        """Store `content` and return its SHA."""
        return (await self("hash-object", "-w", "--stdin", data=content)).decode().strip()

    async def blob(self, sha: str) -> bytes:
        """Return the content of a blob."""
        return await self("cat-file", "blob", sha)

    async def tree(self, sha: str, *, recursive: bool = False, path: str = "") -> list[TreeEntry]:
        """Return the entries of a tree, with its subtrees' when recursive; `path` narrows it to that one entry."""
        flags = ["-r", "-t"] if recursive else []
        arguments = ["ls-tree", "-z", "-l", "--full-tree", *flags, "--end-of-options", sha]
        out = await self(*arguments, *(["--", path] if path else []))
        entries = []
        for record in out.decode("utf-8", "surrogateescape").split("\0"):
            if record:
                head, name = record.split("\t", 1)
                mode, kind, entry_sha, size = head.split()
                entries.append(TreeEntry(mode, kind, entry_sha, None if size == "-" else int(size), name))
        return entries

    async def write_tree(self, base: str | None, entries: Sequence[tuple[str, str, str | None]]) -> str:
        """Return the SHA of `base` with `entries` of (mode, path, SHA or None to delete) applied."""
        async with self._index() as index:
            if base:
                await self("read-tree", base, extra=index)
            lines = [f"{mode} {sha}\t{path}" if sha else f"0 {'0' * 40}\t{path}" for mode, path, sha in entries]
            data = "".join(line + "\0" for line in lines).encode()
            await self("update-index", "--replace", "-z", "--index-info", data=data, extra=index)
            return (await self("write-tree", extra=index)).decode().strip()

    @asynccontextmanager
    async def _index(self) -> AsyncIterator[dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="localhub-index-") as folder:
            yield {"GIT_INDEX_FILE": str(Path(folder) / "index")}

    async def write_commit(
        self, message: str, tree: str, parents: Sequence[str], author: Signature, committer: Signature
    ) -> str:
        """Store a commit, its message word for word, and return its SHA."""
        extra: dict[str, str] = {}
        for role, who in (("AUTHOR", author), ("COMMITTER", committer)):
            extra |= {
                f"GIT_{role}_NAME": who.name,
                f"GIT_{role}_EMAIL": who.email,
                f"GIT_{role}_DATE": f"{int(who.date.timestamp())} {who.date.strftime('%z')}",
            }
        chain = [argument for parent in parents for argument in ("-p", parent)]
        return (await self("commit-tree", *chain, tree, data=message.encode(), extra=extra)).decode().strip()

    # history

    async def log(self, revision: str, *, count: int | None = None, path: str = "") -> list[Commit]:
        """Return the commits of `revision` (a SHA or `a..b`), newest first."""
        limit = [f"--max-count={count}"] if count else []
        out = await self(
            "log", "-z", f"--format={LOG_FORMAT}", *limit, "--end-of-options", revision, *(["--", path] if path else [])
        )
        return [parse_commit(record) for record in out.decode("utf-8", "replace").split("\0") if record]

    async def commit(self, sha: str) -> Commit:
        """Return one commit."""
        return (await self.log(sha, count=1))[0]

    async def changes(self, old: str | None, new: str) -> list[FileChange]:
        """Return the changed files from `old` (None: the empty tree) to `new`, renames detected, with patches."""
        start = old or await self.write_tree(None, [])
        flags = ("-M", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", start, new, "--")
        raw, numbers, patch = await asyncio.gather(
            self("diff", "--raw", "--abbrev=40", "-z", *flags),
            self("diff", "--numstat", "-z", *flags),
            self("diff", *flags),
        )
        return parse_changes(*(part.decode("utf-8", "replace") for part in (raw, numbers, patch)))

    async def diff(self, old: str, new: str) -> bytes:
        """Return the unified diff from `old` to `new`."""
        return await self("diff", "-M", "--no-ext-diff", "--no-textconv", "--no-color", old, new, "--")

    async def merge_tree(self, base: str, head: str) -> str | None:
        """Return the tree of merging `head` into `base`, or None for a conflict."""
        out = await self("merge-tree", "--write-tree", base, head, accept=(0, 1))
        lines = out.decode("utf-8", "replace").splitlines()
        return lines[0] if len(lines) == 1 else None


def parse_commit(record: str) -> Commit:
    """Read one record of LOG_FORMAT."""
    sha, tree, parents, *people, message = record.split("\n", 9)
    author, committer = (
        Signature(name, email, datetime.fromisoformat(date)) for name, email, date in (people[:3], people[3:])
    )
    return Commit(sha, tree, tuple(parents.split()), author, committer, message.removesuffix("\n"))


def parse_changes(raw: str, numbers: str, patch: str) -> list[FileChange]:
    """Join git's three views of one diff (`--raw -z`, `--numstat -z`, the patch), which name the files in one order."""
    words = {"A": "added", "D": "removed", "R": "renamed", "C": "copied"}
    patches = re.split(r"(?m)^(?=diff --git )", patch)[1:]
    fields, counts = iter(raw.split("\0")), iter(numbers.split("\0"))
    changes = []
    for text in patches:
        head = next(fields)
        _, _, old_sha, new_sha, letter = head.split()
        first = next(fields)
        path = next(fields) if letter[0] in "RC" else first
        added, deleted, name = next(counts).split("\t")
        if not name:
            # With -z a rename is followed by its two names.
            next(counts), next(counts)
        hunks = text.find("\n@@ ")
        changes.append(
            FileChange(
                path=path,
                previous_path=first if letter[0] in "RC" else None,
                status=words.get(letter[0], "modified"),
                sha=old_sha if letter[0] == "D" else new_sha,
                additions=int(added) if added != "-" else 0,
                deletions=int(deleted) if deleted != "-" else 0,
                patch=text[hunks + 1 :].rstrip("\n") if hunks >= 0 else None,
            )
        )
    return changes


def line_after(patch: str, line: int) -> int | None:
    """Return where a line of the old file stands in the new one, or None when the patch changes or removes it."""
    old = new = 1
    for text in patch.split("\n"):
        if text.startswith("@@ "):
            starts = [part[1:].split(",") for part in text.split(" ")[1:3]]
            # A side without lines is counted from the line before it.
            first, second = (int(start) + (size == ["0"]) for start, *size in starts)
            if line < first:
                break
            old, new = first, second
        elif text.startswith("+"):
            new += 1
        elif text.startswith("-"):
            if old == line:
                return None
            old += 1
        elif not text.startswith("\\"):
            if old == line:
                return new
            old, new = old + 1, new + 1
    return line + new - old
