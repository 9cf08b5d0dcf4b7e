"""SECURITY 26, 31 and 32: caps on what is published, secrets in disguise, and private repositories."""

from __future__ import annotations

import base64

import pytest

from orchestrator.catalog import load_catalog
from orchestrator.errors import GitHubError
from orchestrator.github.rendering.checks import Annotation, CheckRun, RunningCheck
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.stories.build import job_of, refuse_leaks
from orchestrator.github.triggers.command import Command
from orchestrator.github.triggers.trigger import Trigger
from orchestrator.operator_config import OperatorConfig, bind
from orchestrator.policy import PolicySet, judge
from orchestrator.specs import parse_spec
from tests.unit.orchestrator.github.conftest import REPO, Scene

SPEC = "version: 1\npolicy: {enforcement_mode: monitor, allow_training_on_output: true}\n"
TOKEN = "ghs_" + ("A1b2C3d4.E5f6G7h8_" * 29)[:516]
SECRET = "correct horse battery staple"


def _policies(*, private: bool, operator: OperatorConfig) -> PolicySet:
    trigger = Trigger.for_workflow(
        repository=REPO, repository_id=1, default_branch="main", private=private, actor="maria", source="workflow:1",
        title="A tool", body="Write it.",
    )  # fmt: skip
    spec = bind(parse_spec(SPEC, ".orchestrator.yaml", require_project=False), operator)
    return job_of(spec, trigger, Command("run"), operator).policies


def test_sec_32_a_private_repository_reaches_no_provider_that_trains_whatever_its_spec_says() -> None:
    catalog = load_catalog()
    trusting = OperatorConfig(allow_training_on_private=True)
    kinds = (
        _policies(private=True, operator=OperatorConfig()),
        _policies(private=False, operator=OperatorConfig()),
        _policies(private=True, operator=trusting),
    )
    training = [model for model in catalog.models.values() if model.trains_on_data]
    others = [model for model in catalog.models.values() if not model.trains_on_data]
    assert training
    assert others
    allowed = [[judge(model, policies, catalog, cost_usd=0.1).allowed for model in training] for policies in kinds]
    assert [set(one) for one in allowed] == [{False}, {True}, {True}]
    assert {judge(model, kinds[0], catalog, cost_usd=0.1).allowed for model in others} == {True}


async def test_sec_26_comments_annotations_and_titles_are_capped_whatever_a_model_says(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "T", "B", user="maria")
    head = (await scene.hub.branches(REPO))["main"]
    publisher = scene.publisher()
    await publisher.upsert_comment(issue, "<!-- orchestrator:note run=r-aaaaaaaaaaaaaaaa -->", "long " * 40_000)
    notes = tuple(
        Annotation("a.py", number, "warning", f"{number} {'x' * 70_000}", "t" * 900) for number in range(1, 4)
    )
    check = CheckRun("orchestrator/review", "failure", "title " * 200, "summary " * 20_000, notes)
    await publisher.upsert_check_run(head, check)
    sent = [it for it in scene.hub.requests if it.method in ("POST", "PATCH") and b"long " in it.body]
    assert [len(it.body) <= 65_535 for it in sent] == [True]
    (made,) = scene.hub.check_runs(REPO, head)
    assert len(made["output"]["title"]) <= 255
    assert len(made["output"]["summary"]) <= 65_535
    assert made["output"]["annotations_count"] == 3


@pytest.mark.parametrize("letter", ["é", "漢", "🧪"])
async def test_a_check_run_is_cut_by_bytes_whatever_a_model_writes_in(scene: Scene, letter: str) -> None:
    head, publisher = (await scene.hub.branches(REPO))["main"], scene.publisher()
    summary = f"- {letter * 500}\n" * 100
    await publisher.progress_check_run(head, RunningCheck("orchestrator/review", "at work", summary))
    note = Annotation("a.py", 1, "warning", letter * 20_000)
    await publisher.upsert_check_run(head, CheckRun("orchestrator/review", "failure", "wrong", summary, (note,)))
    (made,) = scene.hub.check_runs(REPO, head)
    shown = made["output"]["summary"]
    assert 60_000 < len(shown.encode()) <= 65_535
    assert shown.startswith(f"- {letter * 500}\n")
    assert shown.endswith("… cut here: GitHub takes no longer text. The run's page and the pull request hold the rest.")
    assert len(made["annotations"][0]["message"].encode()) <= 65_536


@pytest.mark.parametrize(
    "form",
    [
        TOKEN,
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(f"user:{SECRET}".encode()).decode(),
        SECRET.encode().hex().upper(),
        SECRET.replace(" ", "%20"),
        f"a-line\n{SECRET}\n",
    ],
)
def test_sec_31_a_secret_in_disguise_in_a_generated_file_blocks_the_push(form: str) -> None:
    with pytest.raises(GitHubError, match=r"A secret stands in generated files.*b\.txt"):
        refuse_leaks({"a.txt": b"nothing", "b.txt": f"key = {form}".encode(), "c.txt": None}, Redactor([SECRET]))


def test_sec_31_a_token_of_520_letters_with_dots_goes_whole() -> None:
    assert len(TOKEN) == 520
    assert Redactor()(f"before {TOKEN} after") == "before [redacted] after"
