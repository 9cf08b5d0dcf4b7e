"""`orchestrator-bot replay payload.json`: one kept payload as if GitHub had just delivered it, for real or only shown.

With `--dry-run` everything runs, models within the cap included, and every write is printed instead of made: in a
throw-away database, so that the same command given on GitHub is still new.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bot import logs, scratch
from bot.intake import Asked, CloseAsked, LintAsked, read_delivery, read_payload
from bot.origins import made_out, run_meant
from bot.rules import rules_of
from bot.settings import Settings
from bot.shared_jobs import held
from bot.work import Workshop
from orchestrator.control_plane import ControlPlane
from orchestrator.errors import UsageError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.staging.preview import Preview, line, texts
from orchestrator.github.triggers.trigger import Ignored
from orchestrator.store import Database, Delivery, DeliveryStore, RunStore

MAX_BYTES = 25 * 2**20

# What only payloads of that event hold, the narrower first; GitHub says it in a header, which no file has.
_SHAPES = (
    ("pull_request_review_comment", ("pull_request", "comment")),
    ("pull_request_review", ("pull_request", "review")),
    ("issue_comment", ("issue", "comment")),
    ("check_run", ("check_run",)),
    ("check_suite", ("check_suite",)),
    ("pull_request", ("pull_request",)),
    ("issues", ("issue",)),
    ("push", ("ref", "before", "after")),
    ("ping", ("zen",)),
)


def event_of(payload: Mapping[str, Any]) -> str:
    """Return the event that a payload is of, by its shape; raises `UsageError` when none fits."""
    for event, names in _SHAPES:
        if all(name in payload for name in names):
            return event
    raise UsageError("The payload's event cannot be told by its shape.", hint="Name it, as in: --event issue_comment")


@dataclass(slots=True)
class PrintedPreviews:
    """Previews that are printed as they come: the call as one line, and below it what it says to people."""

    always: bool = True
    kept_texts: list[str] = field(default_factory=list)

    async def kept(self) -> tuple[str, ...]:
        """Return them in the order in which they came."""
        return tuple(self.kept_texts)

    async def keep(self, preview: str) -> None:
        """Keep one more, and print it."""
        self.kept_texts.append(preview)
        write = Preview.from_json(preview)
        print(line(write))
        for text in texts(write).splitlines():
            print(f"    {text}".rstrip())
        sys.stdout.flush()


def replay(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Replay what the arguments name and return the exit status: 0 when it was worked on, ignored or seen before.

    Raises `OrchestratorError`; one of usage for a file or an environment that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="orchestrator-bot replay", description="Work on one kept payload.")
    parser.add_argument("payload", type=Path, help="a file with the payload of a delivery, as JSON")
    parser.add_argument("--event", default="", help="its event (default: told by its shape)")
    parser.add_argument("--dry-run", action="store_true", help="print the calls that would be made, and make none")
    options = parser.parse_args(arguments)
    payload = _read(options.payload)
    event = options.event or event_of(payload)
    digest = hashlib.sha256(options.payload.read_bytes()).hexdigest()[:32]
    # Nothing is verified here, so that a secret of the webhook is not needed.
    acts = any(env.get(name) for name in ("GITHUB_APP_ID", "GITHUB_TOKEN"))
    secret = {"GITHUB_WEBHOOK_SECRET": env.get("GITHUB_WEBHOOK_SECRET") or digest} if acts else {}
    settings = Settings.from_environment({**env, **secret})
    logs.start(settings.secrets)
    with scratch.own_folder(), tempfile.TemporaryDirectory(prefix="orchestrator-replay-") as folder:
        known = dict(env)
        if options.dry_run:
            known["ORCHESTRATOR_DATABASE_URL"] = f"sqlite:///{folder}/state.db"
            if not _has_models(env):
                print("No provider key is set, so the built-in offline model is used.", file=sys.stderr)
                known["ORCHESTRATOR_OFFLINE"] = "1"
        return asyncio.run(_replayed(known, settings, event, payload, f"replay-{digest}", options.dry_run))


def _has_models(env: Mapping[str, str]) -> bool:
    return any(value.strip() and name.endswith(("_API_KEY", "_LLM_BASE_URL")) for name, value in env.items())


async def _replayed(
    env: Mapping[str, str], settings: Settings, event: str, payload: Mapping[str, Any], delivery_id: str, dry: bool
) -> int:
    async with ControlPlane.open(env) as plane:
        github = GitHubConnection.from_environment(env)
        rules = await rules_of(settings, plane.operator, github)
        # A dry run changes nothing, so that it may look at what is too old to be acted on.
        shown = replace(rules, redelivery_seconds=float("inf")) if dry else rules
        asked = read_delivery(event, delivery_id, payload, shown, plane.database.clock())
        if isinstance(asked, Ignored):
            print(f"ignored: {asked.reason}")
            return 0
        previews = PrintedPreviews()
        workshop = Workshop(
            plane, github, rules, settings.secrets, staged=dry, previews_of=(lambda _: previews) if dry else None
        )
        store = DeliveryStore(plane.database)
        for delivery in await asked_for(asked, plane.database):
            # Bots on the same database leave it alone, and take it over should this process end.
            async with held(plane.database, delivery):
                if await store.accept(delivery) != "queued":
                    print("duplicate: this delivery, or its comment's command, was taken before")
                    continue
                await workshop.fenced(delivery).work(delivery)
                await store.finish(delivery.id)
                print(f"{'shown' if dry else 'done'}: {delivery.run_id}")
        return 0


async def asked_for(asked: Asked | LintAsked | CloseAsked, database: Database) -> tuple[Delivery, ...]:
    """Return what is kept of a payload, as the bot keeps it; raises `UsageError` for a press that is about no run."""
    if isinstance(asked, CloseAsked):
        return (asked.delivery(),)
    if isinstance(asked, LintAsked):
        again = await made_out(database, asked.rerun) if asked.rerun else None
        return (*((again.delivery(again.trigger.run),) if again else ()), asked.delivery())
    known = await made_out(database, asked) if asked.pressed else asked
    if known is None or (asked.pressed and not await RunStore(database).knows(known.trigger.run)):
        raise UsageError(
            "What was pressed is about a run, and this database knows none that it could be.",
            hint="Replay it with the bot's own ORCHESTRATOR_DATABASE_URL, and without --dry-run.",
        )
    return (known.delivery(await run_meant(DeliveryStore(database), known)),)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path} has {len(content)} bytes; a payload has at most {MAX_BYTES}.")
        return read_payload(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint="Give a payload's JSON file.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no payload: {error}.", hint="Give the JSON object that GitHub sent.") from error
