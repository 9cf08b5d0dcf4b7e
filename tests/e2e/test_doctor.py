"""`orchestrator-bot doctor` over the local GitHub and the models on loopback: all is well, and each thing broken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.store import SCHEMA_VERSION
from tests.e2e.stage import Scene, Stage, until

pytestmark = pytest.mark.slow


async def examined(stage: Stage, changes: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Return the doctor's exit status and lines; nothing that it prints may hold a secret."""
    env = {name: value for name, value in (stage.environment() | dict(changes or {})).items() if value}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert err.decode() == ""
    for name, value in env.items():
        if name.endswith(("_KEY", "_SECRET", "_TOKEN")):
            assert value not in out.decode(), name
    return process.returncode or 0, out.decode().splitlines()


def line(lines: list[str], part: str) -> str:
    (found,) = [one for one in lines if one[6:].startswith(f"{part}: ")]
    return found


@pytest.fixture
async def scene(stage: Stage) -> Scene:
    return await stage.scene()


async def test_where_all_is_well_every_line_is_ok_and_nothing_is_asked_of_a_model_or_written(
    stage: Stage, scene: Scene
) -> None:
    async with stage.bot({"PUBLIC_URL": ""}) as bot:
        status, lines = await examined(stage, {"PUBLIC_URL": bot.address})
    assert {found[:4] for found in lines} == {"ok  "}
    assert status == 0
    assert [found[6:].partition(":")[0] for found in lines] == [
        "settings",
        "operator's configuration",
        "credentials",
        "permissions of the App",
        "permissions on octo",
        "webhook",
        "PUBLIC_URL",
        "database",
        "sandbox",
        "provider openai",
        "provider anthropic",
        "provider google",
        "provider deepseek",
        "provider moonshot",
    ]
    assert (
        line(lines, "database")
        == f"ok    database: SQLite in {stage.database} can be written; its schema is {SCHEMA_VERSION}."
    )
    assert (stage.models.journal, scene.writes()) == ([], [])


async def test_a_database_that_is_not_there_yet_is_not_made_by_looking(stage: Stage, scene: Scene) -> None:
    _, lines = await examined(stage)
    assert line(lines, "database") == (
        f"ok    database: SQLite in {stage.database} is empty; the first start makes the tables."
    )
    assert not stage.database.exists()


NO_KEY = "-----BEGIN RSA PRIVATE KEY-----\nnone\n-----END RSA PRIVATE KEY-----"
BROKEN = [
    (
        {
            "GITHUB_WEBHOOK_SECRET": "",
            "GITHUB_APP_ID": "99",
            "ORCHESTRATOR_CONFIG": "/no/such/file",
            "ORCHESTRATOR_DATABASE_URL": "mysql://root:geheim@h/n",
            "OPENAI_API_KEY": "sk-wrong-wrong-wrong-wrong",
            "GOOGLE_API_KEY": "wrong-wrong-wrong",
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        },
        {
            "settings": "fail  settings: GITHUB_WEBHOOK_SECRET is not set",
            "operator's configuration": "fail  operator's configuration: ORCHESTRATOR_CONFIG names /no/such/file",
            "credentials": "fail  credentials: GitHub did not say which App this is",
            "database": "fail  database: ORCHESTRATOR_DATABASE_URL is not a database that",
            "provider openai": "fail  provider openai: openai refuses the key: HTTP 401 Set OPENAI_API_KEY to",
            "provider google": "fail  provider google: google refuses the key: HTTP 400",
            "provider anthropic": "warn  provider anthropic: anthropic did not answer (ConnectError).",
            "provider deepseek": "ok    provider deepseek: answers and takes the key.",
        },
    ),
    (
        {
            "GITHUB_APP_PRIVATE_KEY": NO_KEY,
            "PUBLIC_URL": "http://127.0.0.1:9",
            "ORCHESTRATOR_DATABASE_URL": "postgresql://someone:geheim-geheim@127.0.0.1:9/n",
            "DEEPSEEK_BASE_URL": "http://deepseek.example",
        },
        {
            "credentials": "fail  credentials: The App's private key signs nothing.",
            "PUBLIC_URL": "warn  PUBLIC_URL: nothing answers there from this machine (ConnectionError).",
            "database": "fail  database: The database server 127.0.0.1:9 cannot be reached. Start it, or mend the way",
            "providers": "fail  providers: DEEPSEEK_BASE_URL would send keys and code in the clear",
        },
    ),
    (
        {
            "GITHUB_APP_ID": "",
            "GITHUB_APP_PRIVATE_KEY": "",
            "GITHUB_TOKEN": "ghp_" + "0" * 36,
            "GITHUB_WEBHOOK_SECRET": "short",
            "ORCHESTRATOR_DATABASE_URL": "sqlite:////dev/null/state.db",
            "LOCAL_LLM_MODEL": "none",
        },
        {
            "settings": "fail  settings: GITHUB_WEBHOOK_SECRET has 5 characters; at least 16 are needed.",
            "credentials": "fail  credentials: GitHub would not say whose token this is: 401",
            "database": "fail  database: The database cannot be made: /dev/null is not writable.",
            "providers": "fail  providers: LOCAL_LLM_BASE_URL and LOCAL_LLM_MODEL belong together",
        },
    ),
    (
        {"GITHUB_API_URL": "http://127.0.0.1:9"},
        {"credentials": "fail  credentials: GitHub did not say which App this is (ConnectionError)."},
    ),
]


@pytest.mark.parametrize(("changes", "wanted"), BROKEN)
async def test_each_thing_that_is_broken_has_a_line_and_the_rest_is_looked_at_all_the_same(
    stage: Stage, scene: Scene, changes: dict[str, str], wanted: dict[str, str]
) -> None:
    status, lines = await examined(stage, changes)
    for part, begin in wanted.items():
        assert line(lines, part).startswith(begin)
    assert status == 1
    assert "geheim" not in "\n".join(lines)
    assert line(lines, "sandbox").startswith("ok")


async def test_the_offline_model_alone_is_a_warning(stage: Stage, scene: Scene) -> None:
    _, lines = await examined(stage, {"ORCHESTRATOR_OFFLINE": "1"})
    assert line(lines, "providers").startswith("warn  providers: only the built-in offline model is used.")


async def test_without_any_provider_no_run_can_begin(stage: Stage, scene: Scene) -> None:
    keys = dict.fromkeys((name for name in stage.environment() if name.endswith("_API_KEY")), "")
    status, lines = await examined(stage, keys)
    assert status == 1
    assert line(lines, "providers").startswith(
        "fail  providers: There is no provider, so no run can begin. Set at least one of OPENAI_API_KEY, "
    )


async def test_a_file_that_is_no_database_and_one_that_is_read_only_fail(stage: Stage, scene: Scene) -> None:
    stage.database.write_text("no database at all, but a text that is long enough to be taken for one" * 20)
    status, lines = await examined(stage)
    assert status == 1
    assert line(lines, "database").startswith(f"fail  database: The file {stage.database} is not a database. Move it")


async def test_an_operator_who_forces_a_rung_without_isolation_is_warned(stage: Stage, scene: Scene) -> None:
    config = stage.folder / "config.yaml"
    config.write_text("sandbox: limits\nenabled: false\n")
    _, lines = await examined(stage, {"ORCHESTRATOR_CONFIG": str(config)})
    assert line(lines, "sandbox").startswith(
        "warn  sandbox: no rung isolates here, so that generated code does not run"
    )
    assert line(lines, "operator's configuration").startswith("warn")


async def test_what_an_installation_does_not_grant_is_named(stage: Stage) -> None:
    scene = await stage.scene(installed=False)
    _, nowhere = await examined(stage)
    assert line(nowhere, "installations").startswith("warn  installations: the App is installed nowhere.")
    installation = stage.hub.install_app(
        stage.app_id,
        scene.repository,
        permissions={"contents": "read", "issues": "write", "metadata": "read", "pull_requests": "write"},
    )
    status, lines = await examined(stage)
    assert status == 1
    assert line(lines, "permissions on octo") == (
        "fail  permissions on octo: missing actions: read, checks: write, contents: write, statuses: write. "
        "Whoever owns it accepts the App's new permissions in its settings there."
    )
    stage.hub.suspend_installation(installation)
    _, lines = await examined(stage)
    assert line(lines, "permissions on octo").startswith("warn  permissions on octo: the installation is suspended.")


async def test_an_account_that_is_not_served_is_named(stage: Stage, scene: Scene) -> None:
    config = stage.folder / "config.yaml"
    config.write_text("installations: [acme]\n")
    _, lines = await examined(stage, {"ORCHESTRATOR_CONFIG": str(config)})
    assert line(lines, "installation on octo").startswith("warn  installation on octo: it is not served. Add octo to")


async def test_a_hook_without_an_address_or_to_another_place_or_signed_with_another_secret_is_found(
    stage: Stage, scene: Scene
) -> None:
    status, lines = await examined(stage)
    assert (status, line(lines, "webhook")) == (
        1,
        "fail  webhook: the App's hook has no address. Set it in the App's settings.",
    )
    async with stage.bot() as bot:
        _, lines = await examined(stage, {"PUBLIC_URL": "http://127.0.0.1:9"})
        assert line(lines, "webhook").startswith(
            f"warn  webhook: it goes to {bot.address}/webhook, and PUBLIC_URL says"
        )
        stage.hub.set_webhook(stage.app_id, f"{bot.address}/webhook", "f" * 32)
        scene.comment(scene.issue(), "/orchestrate status")
        await until(lambda: [it for it in stage.hub.deliveries if it.status_code == 401], "a refused delivery")
        status, lines = await examined(stage)
    assert status == 1
    assert "the last delivery was refused with 401" in line(lines, "webhook")


async def test_an_argument_that_the_doctor_does_not_know_is_refused(stage: Stage) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "doctor", "--heal"),
        env={"PATH": stage.environment()["PATH"], "HOME": str(Path(stage.folder))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert b"unrecognized arguments: --heal" in err
