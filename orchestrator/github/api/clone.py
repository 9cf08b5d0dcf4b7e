"""A folder with the files of one commit, fetched so that nothing of the repository runs on this machine (SECURITY 20).

Hooks, filters, external protocols, submodules and LFS are off, links become plain files, the process has a HOME of its
own, and size and time are bounded. The token travels in the environment only.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import GitHubError
from orchestrator.github.api.client import ATTEMPTS, LATER, Sleep, Unreachable, backoff
from orchestrator.workspace import walk_files

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/(?!\.{1,2}\Z)[A-Za-z0-9_.-]+\Z")
_POLL_SECONDS = 0.05
_CHUNK_BYTES = 64 * 1024

# What git needs of the caller's environment: programs, certificates, proxies. Everything else is blanked.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_KEPT = {"PATH", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT", "GIT_EXEC_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
_KEPT |= {"CURL_CA_BUNDLE", "GIT_SSL_CAINFO", *_PROXIES, *(name.upper() for name in _PROXIES)}
_CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.autocrlf": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.attributesFile": "/dev/null",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
}


# How git says that the server was down, over its limits or cut off, or that a proxy answered in its place. GitHub's
# packs come with a sign of life every five seconds, so that half a minute of silence is no large repository.
_PASSING = re.compile(
    r"returned error: (?:408|429|5\d\d)|unable to access '[^']*': (?!The requested URL)|RPC failed; curl|hung up|"
    r"early EOF|unexpected disconnect|dumb http|bad line length|protocol error|expected .* after|"
    r"is this a git repository|invalid server response"
)
_LIMITED = re.compile(r"returned error: 403")


class _GitFailed(GitHubError):
    """git ended with an error; `said` is all of it."""

    def __init__(self, command: str, said: str) -> None:
        first = next(iter(said.strip().splitlines()), "it said nothing")[:300]
        super().__init__(f"git {command} failed: {first}", hint="Check the App's access to contents.")
        self.said = said


@dataclass(frozen=True, slots=True)
class CloneLimits:
    """How much of a repository is taken: bytes on the wire and on disk, files, seconds."""

    fetched_bytes: int = 512 * 1024 * 1024
    file_bytes: int = 1024 * 1024 * 1024
    files: int = 100_000
    seconds: float = 300.0


async def clone(
    server_url: str,
    repository: str,
    sha: str,
    into: Path,
    *,
    token: str,
    limits: CloneLimits | None = None,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Fill `into`, which must not exist, with the files of one commit, without a `.git` folder.

    Raises `Unreachable` when GitHub is down, slow or over its limits, and `GitHubError` when the commit cannot be
    fetched, or is larger or slower than the limits.
    """
    limits = limits or CloneLimits()
    if not _SHA.match(sha) or not _NAME.match(repository):
        raise GitHubError(f"{repository}@{sha} names no commit of a repository.")
    await asyncio.to_thread(into.mkdir, 0o700, parents=True)
    with tempfile.TemporaryDirectory(prefix="orchestrator-git-") as home:
        folder = into / ".git"
        environment = _environment(Path(home), into, server_url, token)
        try:
            async with asyncio.timeout(limits.seconds):
                await _git(into, environment, "init", "--quiet", "--template=", ".")
                _keep_bytes(folder)
                await _fetch(into, environment, f"{server_url}/{repository}.git", sha, limits, sleep)
                await _check_size(into, environment, sha, limits)
                await _git(into, environment, "read-tree", "--end-of-options", sha)
                await _git(into, environment, "checkout-index", "--quiet", "--all", "--force")
        except TimeoutError as error:
            raise GitHubError(
                f"{repository} could not be cloned within {limits.seconds:.0f} seconds.",
                hint="Try again; if it stays so, the repository is too large for this machine's connection.",
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _environment(home: Path, into: Path, server_url: str, token: str) -> dict[str, str]:
    parts = urlsplit(server_url)
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    settings = {
        **_CONFIGURATION,
        f"protocol.{parts.scheme}.allow": "always",
        f"http.{parts.scheme}://{parts.netloc}/.extraHeader": f"Authorization: Basic {basic}",
    }
    blank = {name: "" for name in os.environ if name not in _KEPT and not name.startswith("GIT_")}
    # GitPython adds to the caller's environment; what git would take amiss when blank is set to our own value.
    git = {name: "" for name in os.environ if name.startswith(("GIT_TRACE", "GIT_CURL_VERBOSE"))}
    return {
        **blank,
        **git,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_DIR": str(into / ".git"),
        "GIT_WORK_TREE": str(into),
        "GIT_INDEX_FILE": str(into / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(into / ".git" / "objects"),
        "GIT_COMMON_DIR": str(into / ".git"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_ALLOW_PROTOCOL": parts.scheme,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_SSH_COMMAND": "false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        **_as_variables(settings),
    }


def _as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for index, (key, value) in enumerate(settings.items()):
        found |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return found


def _keep_bytes(folder: Path) -> None:
    # The highest attributes of all: whatever the repository's own say, files arrive as they are stored.
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "attributes").write_text("* -text -ident -filter -working-tree-encoding\n", encoding="ascii")


async def _fetch(
    into: Path, environment: dict[str, str], address: str, sha: str, limits: CloneLimits, sleep: Sleep
) -> None:
    """Fetch one commit, trying again what may pass; a secondary limit is a 403 as a missing permission is."""
    options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await _git(into, environment, "fetch", *options, "--end-of-options", address, sha, limit=limits)
            return
        except _GitFailed as error:
            passing = _PASSING.search(error.said) is not None
            if not passing and not _LIMITED.search(error.said):
                raise
            if attempt == ATTEMPTS:
                if not passing:
                    raise
                raise Unreachable(
                    f"GitHub would not let git fetch the commit: {error.said[:300]}", hint=LATER
                ) from error
        await sleep(backoff(attempt))


async def _git(
    into: Path,
    environment: dict[str, str],
    *arguments: str,
    limit: CloneLimits | None = None,
    read: Callable[[subprocess.Popen[bytes]], str] | None = None,
) -> None:
    """Run git; stops it when what it writes into its folder passes the limit, or on cancellation.

    `read` reads its standard output in a thread, and says what is wrong with it, upon which git is stopped too.
    """
    import git

    running = git.Git(str(into)).execute(["git", *arguments], env=environment, as_process=True, start_new_session=True)
    process: subprocess.Popen[bytes] | None = running.proc
    if process is None:
        raise GitHubError(f"git {arguments[0]} did not start.", hint="Install git.")
    finished = asyncio.ensure_future(asyncio.to_thread(_ended, process, read))
    too_large = False
    try:
        while not (await asyncio.wait({finished}, timeout=_POLL_SECONDS))[0]:
            if limit and await asyncio.to_thread(_size_of, into) > limit.fetched_bytes:
                too_large = True
                _kill(process)
    finally:
        if not finished.done():
            _kill(process)
    wrong, said = await finished
    if too_large and limit:
        wrong = f"The repository has more than {limit.fetched_bytes // 1024**2} MiB at this commit."
    if wrong:
        raise GitHubError(wrong)
    if process.returncode != 0:
        raise _GitFailed(arguments[0], said.decode("utf-8", "replace"))


def _ended(
    process: subprocess.Popen[bytes], read: Callable[[subprocess.Popen[bytes]], str] | None
) -> tuple[str, bytes]:
    """Wait for git's end; returns what is wrong with its output, and what it said on standard error."""
    wrong = read(process) if read else ""
    if wrong:
        _kill(process)
    return wrong, process.communicate()[1]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End git with all its helpers, each of which holds the token in its environment."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _size_of(folder: Path) -> int:
    total = 0
    for path in walk_files(folder):
        try:
            total += os.lstat(folder / path).st_size
        except FileNotFoundError:
            continue  # git renames its temporary files while we look
    return total


async def _check_size(into: Path, environment: dict[str, str], sha: str, limits: CloneLimits) -> None:
    """Refuse a commit with too many files, folders or bytes before anything of it is laid out.

    Ten trees, each of which names the next one ten times, are a few hundred bytes and list ten thousand million files:
    the list is counted while git writes it, never kept.
    """
    options = ("-r", "-t", "-l", "-z", "--full-tree", "--end-of-options")
    await _git(into, environment, "ls-tree", *options, sha, read=lambda process: _too_large(process, limits))


def _too_large(process: subprocess.Popen[bytes], limits: CloneLimits) -> str:
    """Read a listing until it passes the limits; returns the sentence that refuses it, or nothing."""
    if process.stdout is None:
        raise AssertionError("git's standard output is read here")
    files = folders = size = 0
    rest = b""
    while chunk := process.stdout.read(_CHUNK_BYTES):
        *entries, rest = (rest + chunk).split(b"\0")
        for entry in entries:
            _, kind, _, length = entry.split(b"\t", 1)[0].split()
            folders += kind == b"tree"
            files += kind != b"tree"
            size += int(length) if length != b"-" else 0
        if max(files, folders) > limits.files:
            named = "files" if files > limits.files else "folders"
            return f"The repository has more than {limits.files} {named} at this commit, which is the limit."
        if size > limits.file_bytes:
            return f"The repository's files are larger than {limits.file_bytes // 1024**2} MiB at this commit."
        if len(rest) > _CHUNK_BYTES:
            return f"The repository has a path of more than {_CHUNK_BYTES} bytes at this commit."
    return ""
