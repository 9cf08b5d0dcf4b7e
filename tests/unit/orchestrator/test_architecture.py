"""The architect: who decides first, in which words, and what happens to a word of his own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.architecture import architects
from orchestrator.policy import Policy, PolicySet
from orchestrator.prompts import render
from orchestrator.providers.base import CompletionRequest
from orchestrator.state import ProjectStatus, Purpose
from orchestrator.wire import schema_for
from tests.unit.orchestrator.models import ARCHITECTURE, Models, a_job, in_turn

SHORT = "Notes about lakes"
FIFTY_WORDS = " ".join(["lakes"] * 50)
FIFTY_ONE_WORDS = " ".join(["lakes"] * 51)
ALLOWED = ["deepseek-chat", "claude-haiku-4-5"]
ALL = ("openai", "anthropic", "google", "deepseek", "moonshot")


@pytest.mark.parametrize(
    ("description", "names", "policy", "first"),
    [
        (SHORT, ALL, Policy(), "deepseek-chat"),
        (FIFTY_WORDS, ALL, Policy(), "deepseek-chat"),
        (FIFTY_ONE_WORDS, ALL, Policy(), "deepseek-reasoner"),
        (FIFTY_ONE_WORDS, ALL, Policy(blocked_models=["deepseek-reasoner"]), "deepseek-chat"),
        (SHORT, ALL, Policy(allow_training_on_output=False, allowed_models=ALLOWED), "claude-haiku-4-5"),
        (SHORT, ("anthropic",), Policy(), "claude-haiku-4-5"),
    ],
)
async def test_deepseek_decides_first_where_it_may_be_asked(
    tmp_path: Path, description: str, names: tuple[str, ...], policy: Policy, first: str
) -> None:
    # given
    models = Models(names=names)
    job = a_job(description, policies=PolicySet([policy]))
    # when
    await models.run(tmp_path, job=job, plan_only=True)
    # then
    assert [request.model.id for request in models.of(Purpose.ARCHITECTURE)] == [first]


def test_only_the_architecture_prefers_anybody() -> None:
    assert architects(SHORT) == ("deepseek-chat",)
    assert architects(FIFTY_ONE_WORDS) == ("deepseek-reasoner", "deepseek-chat")


@pytest.mark.parametrize("field", ["structural_pattern", "topology", "api_paradigm", "data_paradigm"])
async def test_a_word_out_of_the_vocabulary_is_asked_again_with_what_was_wrong(tmp_path: Path, field: str) -> None:
    # given
    wrong = json.dumps({**ARCHITECTURE, field: "spaghetti"})
    models = Models(say={"architecture": in_turn(wrong, json.dumps(ARCHITECTURE))})
    # when
    state = await models.run(tmp_path, plan_only=True)
    # then
    first, second = models.of(Purpose.ARCHITECTURE)
    assert "could not be used" not in first.prompt
    said = second.prompt.split("Your last answer could not be used: ")[1]
    assert f"{field}: Input should be '" in said
    for word in schema_for(Purpose.ARCHITECTURE)["properties"][field]["enum"]:
        assert f"'{word}'" in said
    assert state.architecture is not None
    assert len([call for call in state.calls if call.purpose is Purpose.ARCHITECTURE]) == 2


async def test_words_that_stay_wrong_end_the_run_before_it_plans(tmp_path: Path) -> None:
    models = Models(say={"architecture": lambda _: json.dumps({**ARCHITECTURE, "topology": "cloud"})})
    state = await models.run(tmp_path)
    assert state.status is ProjectStatus.FAILED
    assert "topology: Input should be 'monolith'" in state.outcome.reason
    assert models.of(Purpose.DECOMPOSE) == []


async def test_the_decision_constrains_the_plan_and_every_generation_and_is_recorded(tmp_path: Path) -> None:
    # given
    decided: Mapping[str, str] = {
        "structural_pattern": "hexagonal",
        "topology": "modular-monolith",
        "api_paradigm": "grpc",
        "data_paradigm": "time-series",
        "rationale": "Because of the tides.",
    }
    models = Models(say={"architecture": lambda _: json.dumps(decided)})
    # when
    state = await models.run(tmp_path / "home", output=tmp_path / "out")
    # then
    bound: list[CompletionRequest] = [*models.of(Purpose.DECOMPOSE), *models.of(Purpose.GENERATE)]
    assert len(bound) == 2
    for request in bound:
        for word in decided.values():
            assert word in request.prompt
    record = (tmp_path / "out" / "docs" / "adr" / "0001-architecture.md").read_text()
    for word in decided.values():
        assert word in record
    assert state.architecture is not None
    assert repr(state.architecture.structural_pattern) == "'hexagonal'"


def test_the_prompt_lists_every_word_of_the_four_vocabularies() -> None:
    system = render(Purpose.ARCHITECTURE, dict.fromkeys(("app_type", "job", "repository", "feedback"), "")).system
    said = " ".join(system.split()).replace(" or ", ", ")
    for name, node in schema_for(Purpose.ARCHITECTURE)["properties"].items():
        if "enum" in node:
            assert f"`{name}`: {', '.join(node['enum'])}" in said
