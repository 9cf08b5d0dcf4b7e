"""What our branches and commits are called, and whose a commit is by its trailers; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from orchestrator.errors import GitHubError

SLUG_LETTERS = 40
RUN_TRAILER = "Orchestrator-Run"
ROUND_TRAILER = "Orchestrator-Round"
CI_TRAILER = "Orchestrator-Ci"
SKIP_CHECKS = "skip-checks: true"


def slug(title: str) -> str:
    """Return a title as `[a-z0-9-]`, at most 40 letters cut at a word, or `build` when nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > SLUG_LETTERS:
        cut = words[: SLUG_LETTERS + 1].rpartition("-")[0]
        words = (cut or words[:SLUG_LETTERS]).strip("-")
    return words or "build"


def branch_name(prefix: str, issue: int | None, title: str, run_id: str, *, round_: int = 1) -> str:
    """Return our branch: `{prefix}{issue}-{slug}`, without an issue `{prefix}{slug}-{run}`, `-2` for a second round."""
    if not re.fullmatch(r"[A-Za-z0-9._/-]{0,60}", prefix) or ".." in prefix or prefix.startswith(("-", "/", ".")):
        raise GitHubError(f"The branch prefix {prefix!r} has letters that no branch of ours may have.")
    suffix = f"-{round_}" if round_ > 1 else ""
    name = f"{issue}-{slug(title)}" if issue is not None else f"{slug(title)}-{run_id.removeprefix('r-')}"
    return f"{prefix}{name}{suffix}"


def commit_message(
    title: str,
    body: str,
    run_id: str,
    *,
    skip_checks: bool,
    round_id: str = "",
    ci_id: str = "",
    trailers: Sequence[str] = (),
) -> str:
    """Return a commit's message, our trailers after the given ones.

    `round_id` and `ci_id` name the round, or the command that lets CI run, that the commit is of.

    `skip_checks` keeps GitHub from running the repository's CI:
    https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/collaborating-on-repositories-with-code-quality-features/about-status-checks#skipping-and-requesting-checks-for-individual-commits
    """
    subject = " ".join(title.split())[:72] or "Build"
    text = f"{subject}\n\n{body.strip()}" if body.strip() else subject
    named = {RUN_TRAILER: run_id, ROUND_TRAILER: round_id, CI_TRAILER: ci_id}
    listed = "\n".join([*trailers, *(f"{name}: {value}" for name, value in named.items() if value)])
    if skip_checks:
        return f"{text}\n\n\n{listed}\n{SKIP_CHECKS}\n"
    return f"{text}\n\n{listed}\n"


def is_ours(message: str, run_id: str) -> bool:
    """Tell whether a commit message carries the trailer of a run, or of a round of that id, in its last paragraph."""
    return run_id in (trailer(message, RUN_TRAILER), trailer(message, ROUND_TRAILER))


def is_own(message: str, run_id: str) -> bool:
    """Tell whether a commit message says that a run or round of that id built it: no later round, no word for CI."""
    by = trailer(message, ROUND_TRAILER) or trailer(message, RUN_TRAILER)
    return by == run_id and not trailer(message, CI_TRAILER)


def trailer(message: str, name: str) -> str:
    """Return what a trailer in a commit message's last paragraph says, or an empty string."""
    last = message.rstrip().split("\n\n")[-1].strip().splitlines()
    return next((line.partition(": ")[2] for line in last if line.startswith(f"{name}: ")), "")


def holds_ci(message: str) -> bool:
    """Tell whether a commit's message keeps the repository's CI from running (SECURITY 27)."""
    return trailer(message, "skip-checks") == "true"
