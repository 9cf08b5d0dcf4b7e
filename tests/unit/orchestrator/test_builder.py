"""The app builder: a folder with an app, and its architecture printed when it is decided."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from orchestrator import AppBuilder, Budget, Policy, PolicySet, ProjectStatus
from orchestrator.errors import OutputConflict, UsageError
from orchestrator.providers.scripted import ScriptedProvider
from tests.unit.orchestrator.models import Models

BLOCK = """\
🏗 Architecture
   Structural pattern: layered
   Topology:           library
   API paradigm:       none
   Data paradigm:      none
   Rationale:          Nothing larger is needed.
"""


def builder(models: Models, home: Path, **given: Any) -> AppBuilder:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return AppBuilder(env={"ORCHESTRATOR_HOME": str(home)}, providers=providers, **given)


async def test_an_app_is_built_into_a_folder_and_its_architecture_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # when
    result = await builder(Models(), tmp_path / "home").build(
        description="Notes about lakes", criteria="One note", output_dir=tmp_path / "out", app_type="library"
    )
    # then
    assert result.success
    assert result.state.status is ProjectStatus.COMPLETED
    profile = result.profile
    assert (profile.app_type, profile.structural_pattern, profile.topology) == ("library", "layered", "library")
    assert (profile.api_paradigm, profile.data_paradigm) == ("none", "none")
    assert profile.rationale == "Nothing larger is needed."
    out = tmp_path / "out"
    assert result.assembly.files_written == [out / "a.md", out / "docs" / "adr" / "0001-architecture.md"]
    assert all(path.is_file() for path in result.assembly.files_written)
    assert capsys.readouterr() == (BLOCK, "")


async def test_without_a_folder_the_files_go_to_results_and_the_kind_of_app_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    result = await builder(Models(), tmp_path / "home", stream=stream).build("A REST API for lakes")
    assert result.profile.app_type == "fastapi"
    assert (tmp_path / "results" / "a.md").is_file()
    assert stream.getvalue() == BLOCK


async def test_what_could_not_be_built_is_no_success_and_says_why(tmp_path: Path) -> None:
    models = Models()
    broke = await builder(models, tmp_path, budget=Budget(0.0)).build("Notes", output_dir=tmp_path / "out")
    assert (broke.success, broke.state.status) == (False, ProjectStatus.BUDGET_EXHAUSTED)
    assert broke.profile.structural_pattern == ""
    assert broke.assembly.files_written == []
    closed = PolicySet([Policy(allowed_providers=["moonshot"])])
    shut = await builder(models, tmp_path, policy_set=closed).build("Notes", output_dir=tmp_path / "out")
    assert (shut.success, shut.state.outcome.code) == (False, "no_model")
    assert models.asked == []


async def test_an_unknown_app_type_and_files_of_the_user_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fastapi"):
        await builder(Models(), tmp_path / "home").build("Notes", app_type="fastap")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.md").write_text("mine")
    with pytest.raises(OutputConflict):
        await builder(Models(), tmp_path / "home", stream=io.StringIO()).build("Notes", output_dir=out)
    assert (out / "a.md").read_text() == "mine"


async def test_the_id_of_a_build_that_ended_early_goes_on_with_it(tmp_path: Path) -> None:
    models, out = Models(), tmp_path / "out"
    await builder(models, tmp_path, budget=Budget(0.0)).build("Notes", output_dir=out, project_id="one")
    result = await builder(models, tmp_path, stream=io.StringIO()).build("Notes", output_dir=out, project_id="one")
    assert (result.success, result.state.project_id) == (True, "one")
