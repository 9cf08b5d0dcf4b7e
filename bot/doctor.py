"""`orchestrator-bot doctor`: each part that the bot needs, tried without changing or paying anything, one line each."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlsplit

import requests

from bot import credentials
from bot.rules import rules_of
from bot.settings import Settings
from orchestrator.diagnosis import (
    Diagnosis,
    Health,
    diagnose_database,
    diagnose_operator,
    diagnose_providers,
    diagnose_sandbox,
    fail,
    ok,
    warn,
)
from orchestrator.errors import GitHubError, UsageError
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.grants import Grants, grants_of_app, grants_of_installations, hook_of_app
from orchestrator.github.api.hook import attempts_after
from orchestrator.github.api.registration import APP_PERMISSIONS
from orchestrator.github.rendering.sanitize import Redactor, secrets_of_addresses
from orchestrator.operator_config import OperatorConfig

ANSWER_SECONDS = 5
RECENT_SECONDS = 24 * 3600.0
SECRET_SUFFIXES = ("_KEY", "_TOKEN", "_SECRET", "_SECRET_PREVIOUS", "_HEADERS", "_PASSWORD")


def doctor(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Print a line for each part as it is found and return the exit status: 1 when one of them fails, else 0."""
    argparse.ArgumentParser(prog="orchestrator-bot doctor", description=__doc__).parse_args(arguments)
    try:
        redactor = Redactor(_secrets(credentials.environment(env)))
    except UsageError:  # which `examine` tells
        redactor = Redactor(_secrets(env))

    async def run() -> bool:
        failed = False
        async for found in examine(env):
            print(redactor(str(found)), flush=True)
            failed = failed or found.health is Health.FAIL
        return failed

    return 1 if asyncio.run(run()) else 0


async def examine(env: Mapping[str, str]) -> AsyncIterator[Diagnosis]:
    """Yield what is found of each part; none keeps the later ones from being looked at.

    `env` is the environment without what `/setup` has kept, which is read here.
    """
    settings = None
    try:
        env = credentials.environment(env)
        settings = Settings.from_environment(env)
        if settings.set_up_mode:
            raise UsageError("Nothing is configured yet.", hint="Start the bot, and open the set-up page it names.")
        yield ok("settings", f"the environment can be used; the bot listens on {settings.host}:{settings.port}.")
    except UsageError as error:
        yield fail("settings", error)
    operator, found = diagnose_operator(env)
    yield found
    for one in await _diagnose_github(settings, operator, env):
        yield one
    if settings is not None:
        yield await diagnose_public_url(settings)
    yield await diagnose_database(env)
    yield await diagnose_sandbox(operator)
    for one in await diagnose_providers(env):
        yield one


async def _diagnose_github(
    settings: Settings | None, operator: OperatorConfig, env: Mapping[str, str]
) -> list[Diagnosis]:
    part = "credentials"
    try:
        github = GitHubConnection.from_environment(env)
        if github.app is None:
            login = await github.login(github.repository("octo/none"))
            return [ok(part, f"GitHub takes the token, which acts as {login}.")]
        slug = await github.app_slug()
        found = [ok(part, f"GitHub knows the App {slug} of {await github.app_owner()}.")]
        return found + await _diagnose_app(github, settings, operator)
    except (UsageError, GitHubError) as error:
        return [fail(part, error)]


async def _diagnose_app(
    github: GitHubConnection, settings: Settings | None, operator: OperatorConfig
) -> list[Diagnosis]:
    try:
        found = [_judge(await grants_of_app(github), "Change it in the App's settings, on its page of permissions.")]
        installations = await grants_of_installations(github)
        accounts = (await rules_of(settings or Settings(), operator, github)).accounts
    except (UsageError, GitHubError) as error:
        return [fail("permissions", error)]
    if not installations:
        todo = f"Install it: {github.server_url}/apps/{await github.app_slug()}/installations/new"
        found.append(warn("installations", "the App is installed nowhere.", todo))
    for one in installations:
        found.append(_judge(one, "Whoever owns it accepts the App's new permissions in its settings there."))
        if accounts is not None and one.account.lower() not in {account.lower() for account in accounts}:
            todo = f"Add {one.account} to `installations` in the operator's configuration, or take the App away there."
            found.append(warn(f"installation on {one.account}", "it is not served.", todo))
    if settings is not None:
        found.append(await _diagnose_hook(github, settings))
    return found


def _judge(grants: Grants, todo: str) -> Diagnosis:
    part = f"permissions on {grants.account}" if grants.account else "permissions of the App"
    if grants.suspended:
        return warn(part, "the installation is suspended.", "Whoever owns it can end that in its settings.")
    lacking = ", ".join(grants.missing_permissions)
    if any(name.partition(":")[0] in APP_PERMISSIONS for name in grants.missing_permissions):
        return fail(part, GitHubError(f"missing {lacking}.", hint=todo))
    if lacking:
        return warn(part, f"missing {lacking}, without which a run cannot read failing jobs.", todo)
    if grants.missing_events:
        return warn(part, f"not told of {', '.join(grants.missing_events)}.", todo)
    return ok(part, "all that the commands need.")


async def _diagnose_hook(github: GitHubConnection, settings: Settings) -> Diagnosis:
    """Say whether the App's hook comes here with our secret, as far as GitHub shows it: its last answer tells."""
    part = "webhook"
    try:
        hook = await hook_of_app(github)
        attempts, _ = await attempts_after(github, 0, time.time() - RECENT_SECONDS, pages=1)
    except GitHubError as error:
        return fail(part, error)
    wanted = f"{settings.public_url}/webhook" if settings.public_url else ""
    if not hook.url or not hook.has_secret:
        lacking = "secret" if hook.url else "address"
        missing = GitHubError(f"the App's hook has no {lacking}.", hint="Set it in the App's settings.")
        return fail(part, missing)
    if not hook.is_json or not hook.verifies_tls:
        return warn(part, "it is not sent as JSON over verified TLS.", "Set both in the App's settings.")
    if wanted and hook.url != wanted:
        return warn(part, f"it goes to {hook.url}, and PUBLIC_URL says {wanted}.", "Make the two agree.")
    answers = [it.status_code for it in attempts if not it.pending]
    if answers and answers[0] == 401:
        differ = GitHubError(
            "the last delivery was refused with 401: GitHub signs with another secret.",
            hint="Set GITHUB_WEBHOOK_SECRET and the secret in the App's settings to the same value.",
        )
        return fail(part, differ)
    if answers and not 200 <= answers[0] < 300:
        return warn(
            part,
            f"GitHub's last delivery to {hook.url} did not arrive ({answers[0] or 'no answer'}).",
            "Check that the bot runs and can be reached from there; what failed is asked for again.",
        )
    last = "the last delivery arrived" if answers else "nothing was delivered within a day"
    return ok(part, f"it goes to {hook.url}; {last}.")


async def diagnose_public_url(settings: Settings) -> Diagnosis:
    """Say whether the bot answers at `PUBLIC_URL`, and keeps its runs to itself there."""
    part = "PUBLIC_URL"
    if not settings.public_url:
        return warn(part, "it is not set, so that reports link to no dashboard.", "Set it to the bot's own address.")
    host = urlsplit(settings.public_url).hostname
    try:
        answer, runs = [
            await asyncio.to_thread(
                requests.get, settings.public_url + path, timeout=ANSWER_SECONDS, allow_redirects=False
            )
            for path in ("/healthz", "/api/runs")
        ]
    except requests.RequestException as error:
        return warn(
            part,
            f"nothing answers there from this machine ({type(error).__name__}).",
            f"Start the bot, and see that {host} leads to it; GitHub must reach it too.",
        )
    if answer.status_code != 200:
        return warn(part, f"{host} answers {answer.status_code} to /healthz.", "See what stands there instead.")
    if runs.status_code == 200 and settings.is_public:
        opened = UsageError(
            f"{host} shows the runs to everybody: /api/runs answers without a token.",
            hint="Start the bot with this PUBLIC_URL, and see that no proxy adds credentials of its own.",
        )
        return fail(part, opened)
    return ok(part, "the bot answers there; that GitHub reaches it too is shown by the webhook.")


def _secrets(env: Mapping[str, str]) -> list[str]:
    """Return what may not be printed, also where the settings cannot be read."""
    found = [value for name, value in env.items() if name.endswith(SECRET_SUFFIXES)]
    return [*found, *secrets_of_addresses(env)]
