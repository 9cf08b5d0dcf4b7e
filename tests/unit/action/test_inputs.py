from __future__ import annotations

from pathlib import Path

import pytest

from action.inputs import Inputs, Runner, fail_on, half_of, process_environment, secrets_of
from orchestrator.errors import UsageError

RUNNER = Runner(Path("/t/output"), Path("/t/summary"), Path("/t"), Path("/ws"))


def test_no_inputs_are_the_defaults_of_the_action() -> None:
    inputs = Inputs.from_environment({"INPUT_GITHUB_TOKEN": " token "}, Path("/ws"))
    assert inputs == Inputs(github_token="token", spec=".orchestrator.yaml")
    assert fail_on({}) == "error"


@pytest.mark.parametrize(("text", "amount"), [("2", 2.0), ("$2.50", 2.5), (".5", 0.5), ("", None)])
def test_a_budget_is_an_amount_in_usd(text: str, amount: float | None) -> None:
    assert Inputs.from_environment({"INPUT_BUDGET": text}, Path("/ws")).budget_usd == amount


@pytest.mark.parametrize("text", ["0", "-1", "1e9", "nan", "inf", "two", "1,50"])
def test_a_budget_that_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="budget is"):
        Inputs.from_environment({"INPUT_BUDGET": text}, Path("/ws"))


@pytest.mark.parametrize(
    "text", ["../other.yaml", "/etc/passwd", "a/../../b", "a\\b", "~a", "a*", "a/[b].yaml", "a" * 201]
)
def test_a_spec_outside_the_repository_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="spec is"):
        Inputs.from_environment({"INPUT_SPEC": text}, Path("/ws"))


def test_an_output_dir_lies_inside_the_workspace_also_behind_links(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "away").symlink_to(tmp_path)
    found = Inputs.from_environment({"INPUT_OUTPUT_DIR": "built/here"}, workspace)
    assert found.output_dir == workspace.resolve() / "built/here"
    for outside in ("..", "/etc", "away/built"):
        with pytest.raises(UsageError, match="outside the workspace"):
            Inputs.from_environment({"INPUT_OUTPUT_DIR": outside}, workspace)


def test_an_unknown_word_for_fail_on_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="never, error, criteria"):
        fail_on({"INPUT_FAIL_ON": "sometimes"})


def test_every_key_token_and_password_counts_as_a_secret() -> None:
    found = secrets_of(
        {
            "OPENAI_API_KEY": "sk-one",
            "KIMI_API_KEY": "",
            "INPUT_GITHUB_TOKEN": "ghs_two",
            "ACTIONS_RUNTIME_TOKEN": "three",
            "GITHUB_WEBHOOK_SECRET_PREVIOUS": "four-four",
            "ORCHESTRATOR_DATABASE_URL": "postgresql://bot:five%40five@db/runs",
            "https_proxy": "http://me:six-six@proxy:3128",
            "ALL_PROXY": "me:seven-7@proxy:1080",
            "GITHUB_REPOSITORY": "octo/demo",
            "SHORT_TOKEN": "abc",
        }
    )
    assert found == ("sk-one", "ghs_two", "three", "four-four", "five%40five", "five@five", "six-six", "seven-7")


def test_a_run_acts_by_the_inputs_token_and_keeps_its_state_outside_the_workspace() -> None:
    env = {"GITHUB_TOKEN": "another", "GITHUB_APP_ID": "1", "GITHUB_APP_PRIVATE_KEY": "key", "OPENAI_API_KEY": "sk"}
    opened = process_environment(env, Inputs(github_token="given"), RUNNER)
    assert opened == {
        "OPENAI_API_KEY": "sk",
        "GITHUB_TOKEN": "given",
        "ORCHESTRATOR_HOME": "/t/orchestrator",
        "ORCHESTRATOR_DATABASE_URL": "sqlite:////t/orchestrator/state.db",
    }


def test_a_shared_database_of_the_operator_is_used() -> None:
    opened = process_environment({"ORCHESTRATOR_DATABASE_URL": "postgresql://db/runs"}, Inputs(), RUNNER)
    assert opened["ORCHESTRATOR_DATABASE_URL"] == "postgresql://db/runs"


def test_outside_of_a_workflow_the_missing_variable_is_named() -> None:
    with pytest.raises(UsageError, match="GITHUB_OUTPUT is not set"):
        Runner.from_environment({})


def test_a_half_of_a_run_is_known_by_its_word_and_takes_no_options_and_no_output_dir() -> None:
    assert [half_of({"INPUT_COMMAND": text}) for text in ("generate", "/orchestrate Publish", "run", "", "plan x")] == [
        "generate",
        "publish",
        "",
        "",
        "",
    ]
    with pytest.raises(UsageError, match="`generate` takes nothing after it"):
        half_of({"INPUT_COMMAND": "generate --budget 2"})
    with pytest.raises(UsageError, match="output-dir does not go with `command: publish`"):
        Inputs.from_environment({"INPUT_COMMAND": "publish", "INPUT_OUTPUT_DIR": "built"}, Path("/ws"))
