from __future__ import annotations

from pathlib import Path

from orchestrator.diagnosis import (
    Diagnosis,
    Health,
    diagnose_database,
    diagnose_operator,
    diagnose_providers,
    diagnose_sandbox,
)
from orchestrator.operator_config import OperatorConfig
from orchestrator.store import SCHEMA_VERSION, Database


def test_a_diagnosis_is_one_line_whatever_it_holds() -> None:
    assert str(Diagnosis("part", Health.OK, "works.")) == "ok    part: works."
    assert str(Diagnosis("part", Health.FAIL, "a\nb.", "do\nthis.")) == "fail  part: a b. do this."


async def test_a_database_is_looked_at_and_left_as_it_is(database_url: str) -> None:
    env = {"ORCHESTRATOR_DATABASE_URL": database_url}
    before = await diagnose_database(env)
    assert (before.health, before.found.partition(" is empty")[2]) == (Health.OK, "; the first start makes the tables.")
    async with Database.open(database_url):
        pass
    after = await diagnose_database(env)
    assert (after.health, after.found.partition(" can be ")[2]) == (
        Health.OK,
        f"written; its schema is {SCHEMA_VERSION}.",
    )


async def test_the_database_s_address_is_never_told_with_its_password() -> None:
    url = "postgresql://someone:geheim-geheim@127.0.0.1:9/n"
    found = await diagnose_database({"ORCHESTRATOR_DATABASE_URL": url})
    assert found.health is Health.FAIL
    assert "geheim" not in str(found)


async def test_no_provider_at_all_fails_and_the_offline_model_warns() -> None:
    (none,) = await diagnose_providers({})
    assert (none.health, none.found) == (Health.FAIL, "There is no provider, so no run can begin.")
    (offline,) = await diagnose_providers({"ORCHESTRATOR_OFFLINE": "1"})
    assert offline.health is Health.WARN


async def test_a_rung_without_isolation_warns_of_what_follows() -> None:
    held = await diagnose_sandbox(OperatorConfig(sandbox="limits"))
    let = await diagnose_sandbox(OperatorConfig(sandbox="limits", allow_unisolated=True))
    assert (held.health, let.health) == (Health.WARN, Health.WARN)
    assert "does not run, and is not tested" in held.found
    assert "runs all the same, as allow_unisolated says" in let.found


def test_a_configuration_that_cannot_be_used_fails_and_all_defaults_hold_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("keep_days: 3\n")
    config, found = diagnose_operator({"ORCHESTRATOR_CONFIG": str(path)})
    assert (config, found.health) == (OperatorConfig(), Health.FAIL)
    assert "keep_days" in str(found)
