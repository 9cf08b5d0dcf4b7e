"""Codes are published words: none is renamed or taken away, each has its sentence, and somebody uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.generate import CODES
from orchestrator.codes import Code, CodeKind, validator_code
from orchestrator.errors import OrchestratorError
from orchestrator.policy_analysis import Kind
from orchestrator.sections import VALIDATORS
from orchestrator.state import Outcome

ROOT = Path(__file__).parents[2]
SOURCES = [path for name in ("orchestrator", "bot", "action") for path in (ROOT / name).rglob("*.py")]


def test_every_frozen_code_is_still_there_and_every_code_is_frozen() -> None:
    frozen = json.loads(CODES.read_text(encoding="utf-8"))
    assert [code for code in frozen if code not in set(Code)] == [], "a published code was renamed or taken away"
    assert [code for code in Code if code not in frozen] == [], "a code is new; run `make docs` and commit the list"


@pytest.mark.parametrize("code", Code)
def test_every_code_is_one_word_with_a_sentence(code: Code) -> None:
    assert code.replace("_", "").isalpha()
    assert code == code.lower()
    assert code.meaning[0].isupper() or code.meaning.startswith("`")
    assert code.meaning.endswith(".")


def test_every_code_is_used() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES if path.name != "codes.py")
    made = {validator_code(name) for name in VALIDATORS} | {Code(f"policy_{kind}") for kind in Kind}
    made |= {Code.COMMAND, Code.DEPENDENCIES}
    assert [code.value for code in Code if f"Code.{code.name}" not in text and code not in made] == []


def test_every_validator_and_every_kind_of_policy_finding_has_its_own_code() -> None:
    assert [name for name in VALIDATORS if validator_code(name) != name] == []
    assert validator_code("make test") == "command"
    assert validator_code("failed") == "command"
    assert {Code(f"policy_{kind}").kind for kind in Kind} == {CodeKind.FINDING}


def _all(kind: type[OrchestratorError]) -> list[type[OrchestratorError]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _all(below))]


def test_every_error_carries_the_code_of_an_ending() -> None:
    codes = {kind.__name__: kind.code for kind in _all(OrchestratorError)}
    others = {name for name, code in codes.items() if code.kind is not CodeKind.ENDING}
    assert others == {"ChangeError", "TaskCapReached"}
    assert (codes["OutOfTime"], codes["NoModel"], codes["StoreError"]) == (
        "timed_out",
        "no_model",
        "store_unavailable",
    )


def test_an_outcome_takes_no_word_that_is_not_published() -> None:
    assert Outcome("", "").code == ""
    assert Outcome("changed", "Done.").code == Code.CHANGED
    with pytest.raises(ValueError, match="'done' is not a valid Code"):
        Outcome("done", "Done.")
