"""The orchestrator as a library: one object, one coroutine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Budget, Orchestrator, Policy, PolicySet, ProjectStatus
from orchestrator.errors import UsageError
from orchestrator.providers.scripted import ScriptedProvider
from orchestrator.titles import new_run_id, slug
from tests.unit.orchestrator.models import Models


def orchestrator(models: Models, home: Path, **given_: object) -> Orchestrator:
    providers = {name: ScriptedProvider(models.answer) for name in models.names}
    return Orchestrator(env={"ORCHESTRATOR_HOME": str(home)}, providers=providers, **given_)  # type: ignore[arg-type]


async def test_a_project_is_built_into_a_folder(tmp_path: Path) -> None:
    state = await orchestrator(Models(), tmp_path / "home").run_project(
        "Notes about lakes", "one note", output_dir=tmp_path / "out"
    )
    assert state.status is ProjectStatus.COMPLETED
    assert (tmp_path / "out" / "a.md").read_text() == "# a.md\n"
    assert state.criteria == "one note"


async def test_its_budget_and_policies_bind(tmp_path: Path) -> None:
    models = Models()
    broke = await orchestrator(models, tmp_path, budget=Budget(0.0)).run_project("Notes")
    assert broke.status is ProjectStatus.BUDGET_EXHAUSTED
    closed = PolicySet([Policy(allowed_providers=["google"])])
    shut = await orchestrator(models, tmp_path, policy_set=closed).run_project("Notes")
    assert shut.outcome.code == "no_model"
    assert models.asked == []


async def test_the_id_of_a_run_that_exists_goes_on_with_it(tmp_path: Path) -> None:
    models = Models()
    await orchestrator(models, tmp_path, budget=Budget(0.0)).run_project("Notes", project_id="one")
    state = await orchestrator(models, tmp_path).run_project("Notes", project_id="one")
    assert (state.project_id, state.status) == ("one", ProjectStatus.COMPLETED)


async def test_without_a_folder_no_file_is_written_and_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # when
    state = await orchestrator(Models(), tmp_path / "home").run_project(
        project_description="Notes", success_criteria="one note", project_id="one", output_dir=None
    )
    # then
    assert state.files == ("a.md", "docs/adr/0001-architecture.md")
    assert list(folder.iterdir()) == []
    assert capsys.readouterr() == ("", "")


async def test_the_id_of_a_run_that_is_complete_pays_for_nothing_again(tmp_path: Path) -> None:
    models = Models()
    first = await orchestrator(models, tmp_path).run_project("Notes", project_id="my-project-001")
    asked = len(models.asked)
    second = await orchestrator(models, tmp_path).run_project("Notes", project_id="my-project-001")
    assert (second.project_id, second.status) == ("my-project-001", ProjectStatus.COMPLETED)
    assert second.budget.spent_usd == first.budget.spent_usd
    assert len(models.asked) == asked


async def test_without_a_description_there_is_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        await orchestrator(Models(), tmp_path).run_project("  ")


@given(st.text(max_size=80))
def test_a_slug_is_short_and_plain_and_never_empty(title: str) -> None:
    made = slug(title)
    assert 1 <= len(made) <= 40
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert made.strip("-") == made


def test_two_runs_of_one_title_get_two_ids() -> None:
    one, two = new_run_id("Lakes!"), new_run_id("Lakes!")
    assert one != two
    assert one.startswith("lakes-")
    assert new_run_id("湖").startswith("run-")
