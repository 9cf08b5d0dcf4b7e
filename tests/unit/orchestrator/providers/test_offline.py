from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import load_catalog
from orchestrator.errors import ProviderRejected
from orchestrator.prompts import fence, render
from orchestrator.providers.base import CompletionRequest, Finish
from orchestrator.providers.offline import OfflineProvider
from orchestrator.state import Purpose
from orchestrator.wire import (
    REPLIES,
    ArchitectureReply,
    ChangesReply,
    DraftReply,
    EvaluationReply,
    PlanReply,
    ReviewReply,
    parse,
    schema_for,
)

NONCE = "k3v9x2q7"
MODEL = load_catalog().models["offline"]
API = "Title: Item API\n\nBuild a REST API with JWT authentication.\n\nSuccess criteria: pytest passes"
LIMITER = "Title: Rate limiter library\n\nImplement token bucket rate limiter"
SHOP = "Title: Shop\n\nA storefront with product listing, cart and checkout"
OTHER = "Title: Text tools\n\nWrap, indent and align paragraphs"

_VARIABLES = {
    Purpose.ARCHITECTURE: ("repository", "feedback"),
    Purpose.DECOMPOSE: ("architecture", "repository", "feedback"),
    Purpose.GENERATE: (
        "architecture", "task_id", "task", "task_files", "plan", "repository", "repository_files", "dependencies",
        "answer_tokens",
    ),
    Purpose.REVISE: (
        "architecture", "task_id", "task", "task_files", "plan", "repository", "repository_files", "dependencies",
        "answer_tokens", "current", "findings",
    ),
    Purpose.REVIEW: (
        "architecture", "plan", "repository", "task_id", "task", "dependencies", "current", "findings", "threshold",
    ),
    Purpose.EVALUATE: ("result", "checks"),
    Purpose.DRAFT: ("known", "draft", "feedback", "faults"),
}  # fmt: skip


def _request(purpose: Purpose, job: str = API, app_type: str = "fastapi", **values: str) -> CompletionRequest:
    filled = {"repository": "Repository: new", "draft": fence('{"policy": {}}', NONCE, "draft")} | values
    variables = {name: filled.get(name, "") for name in _VARIABLES[purpose]}
    rendered = render(purpose, {"app_type": app_type, "job": fence(job, NONCE, "job"), **variables})
    return CompletionRequest(
        purpose=purpose,
        model=MODEL,
        system=rendered.system,
        prompt=rendered.prompt,
        schema=schema_for(purpose),
        max_output_tokens=6_000,
        timeout_seconds=10,
    )


async def _plan(job: str = API, app_type: str = "fastapi", **values: str) -> PlanReply:
    answer = await OfflineProvider().complete(_request(Purpose.DECOMPOSE, job, app_type, **values))
    return parse(answer.text, PlanReply)


async def _changes(purpose: Purpose, job: str, app_type: str, files: list[str], **values: str) -> ChangesReply:
    listed = "\n".join(f"- {path}" for path in files)
    answer = await OfflineProvider().complete(_request(purpose, job, app_type, task_files=listed, **values))
    return parse(answer.text, ChangesReply)


def _tree(*paths: str) -> str:
    tree = "\n".join(f"- {path}" for path in paths)
    return "\n\n".join(["Repository: existing", "Files in the repository", fence(tree, NONCE, "tree"), "File x\n"])


@pytest.mark.parametrize("purpose", list(Purpose))
async def test_every_purpose_gets_an_answer_that_follows_its_schema(purpose: Purpose) -> None:
    answer = await OfflineProvider().complete(_request(purpose))

    assert answer.finish is Finish.STOP
    assert isinstance(parse(answer.text, REPLIES[purpose]), REPLIES[purpose])


async def test_the_same_question_gets_the_same_answer() -> None:
    first = await OfflineProvider().complete(_request(Purpose.DECOMPOSE))
    second = await OfflineProvider().complete(_request(Purpose.DECOMPOSE))

    assert first == second


async def test_tokens_are_a_quarter_of_the_bytes() -> None:
    answer = await OfflineProvider().complete(_request(Purpose.REVIEW))

    assert answer.text == '{"findings":[],"verdict":"approve","score":0.9}'
    assert answer.usage.output_tokens == 11
    assert answer.usage.input_tokens > 300


async def test_an_answer_is_cut_at_the_output_limit() -> None:
    answer = await OfflineProvider().complete(replace(_request(Purpose.DECOMPOSE), max_output_tokens=10))

    assert answer.finish is Finish.LENGTH
    assert len(answer.text) == 40
    assert answer.usage.output_tokens == 10


@pytest.mark.parametrize(
    ("job", "app_type"),
    [
        (API, "fastapi"),
        ("Title: Items", "fastapi"),
        (LIMITER, "library"),
        (OTHER, "library"),
        (OTHER, "cli"),
        (OTHER, "generic"),
        (OTHER, "html"),
        (OTHER, "react-vite"),
        (OTHER, "nextjs"),
        (SHOP, "nextjs"),
    ],
)
async def test_every_file_of_the_plan_is_generated_by_its_task(job: str, app_type: str) -> None:
    plan = await _plan(job, app_type)

    for task in plan.tasks:
        changes = await _changes(Purpose.GENERATE, job, app_type, task.files, task_id=task.id)
        assert [file.path for file in changes.files] == task.files
        assert all(file.content for file in changes.files)
        assert changes.notes == "From the offline model's built-in starter project."


async def test_authentication_is_planned_when_it_is_asked_for() -> None:
    with_login = {task.id for task in (await _plan("Title: Items\n\nwith login")).tasks}
    without = {task.id for task in (await _plan("Title: Items\n\nwithout login")).tasks}

    assert with_login - without == {"passwords", "tokens", "users", "auth-routes", "auth-tests"}


async def test_words_of_the_prompt_outside_the_job_choose_nothing() -> None:
    plan = await _plan("Title: Items", architecture="JWT authentication with a login", feedback="login token")

    assert "tokens" not in {task.id for task in plan.tasks}


async def test_an_api_is_told_to_be_layered_and_relational() -> None:
    answer = await OfflineProvider().complete(_request(Purpose.ARCHITECTURE))
    reply = parse(answer.text, ArchitectureReply)

    assert (reply.structural_pattern, reply.topology, reply.api_paradigm, reply.data_paradigm) == (
        "layered", "monolith", "rest", "relational",
    )  # fmt: skip
    assert "built-in starter project" in reply.rationale


async def test_a_library_has_no_interface_and_no_data() -> None:
    answer = await OfflineProvider().complete(_request(Purpose.ARCHITECTURE, LIMITER, "library"))
    reply = parse(answer.text, ArchitectureReply)

    assert (reply.topology, reply.api_paradigm, reply.data_paradigm) == ("library", "none", "none")


async def test_a_file_of_another_plan_gets_an_honest_answer_and_no_file() -> None:
    changes = await _changes(Purpose.GENERATE, API, "fastapi", ["app/payments.py", "app/tokens.py"])

    assert [file.path for file in changes.files] == ["app/tokens.py"]
    assert "cannot write app/payments.py: its starter project has no such file" in changes.notes


async def test_a_task_without_files_gets_none() -> None:
    changes = await _changes(Purpose.GENERATE, API, "fastapi", [])

    assert changes.files == []
    assert "names no files" in changes.notes


async def test_a_revision_is_the_same_again_and_says_so() -> None:
    first = await _changes(Purpose.GENERATE, API, "fastapi", ["app/tokens.py"])
    current = fence('Files of this task\n- README.md\n"""', NONCE, "file")
    second = await _changes(Purpose.REVISE, API, "fastapi", ["app/tokens.py"], current=current, findings="- line 3")

    assert second.files == first.files
    assert "It has no other version of these files" in second.notes


async def test_a_heading_inside_the_job_lists_nothing() -> None:
    job = f"{API}\n\nFiles of this task\n- app/users.py\n\nFiles in the repository\n- app/main.py"

    changes = await _changes(Purpose.GENERATE, job, "fastapi", ["app/tokens.py"])
    plan = await _plan(job)

    assert [file.path for file in changes.files] == ["app/tokens.py"]
    assert "app/main.py" in {path for task in plan.tasks for path in task.files}


async def test_what_a_repository_has_already_is_left_alone() -> None:
    plan = await _plan(repository=_tree("README.md", "pyproject.toml", "docs/notes.md"))
    files = {path for task in plan.tasks for path in task.files}

    assert not files & {"README.md", "pyproject.toml"}
    assert {"requirements.txt", "app/main.py"} <= files
    assert "documentation" not in {task.id for task in plan.tasks}


async def test_code_that_a_repository_has_already_is_never_replaced() -> None:
    with pytest.raises(
        ProviderRejected, match=r"the repository already has app/main\.py, tests/conftest\.py"
    ) as caught:
        await _plan(repository=_tree("README.md", "tests/conftest.py", "app/main.py"))

    assert caught.value.status == 422
    assert "real model" in caught.value.hint


@pytest.mark.parametrize("purpose", [one for one in Purpose if one is not Purpose.DRAFT])
async def test_an_app_type_without_a_starter_is_rejected(purpose: Purpose) -> None:
    with pytest.raises(ProviderRejected, match="app type fortran; it serves cli, fastapi, generic, html") as caught:
        await OfflineProvider().complete(_request(purpose, app_type="fortran"))

    assert (caught.value.status, caught.value.provider, caught.value.model) == (422, "offline", "offline")


async def test_a_request_it_recognised_is_worth_more_than_a_starting_point() -> None:
    known = parse(
        (await OfflineProvider().complete(_request(Purpose.EVALUATE, LIMITER, "library"))).text, EvaluationReply
    )
    other = parse(
        (await OfflineProvider().complete(_request(Purpose.EVALUATE, OTHER, "library"))).text, EvaluationReply
    )

    assert (known.score, other.score) == (0.9, 0.5)
    assert "recognised this in the request: rate-limiter" in known.reason
    assert "what the request asks beyond it is not built" in other.reason


async def test_a_review_finds_nothing_and_gives_no_full_score() -> None:
    answer = await OfflineProvider().complete(_request(Purpose.REVIEW))

    assert parse(answer.text, ReviewReply) == ReviewReply(score=0.9, verdict="approve", findings=[])


@given(job=st.text(max_size=200), purpose=st.sampled_from(list(Purpose)))
async def test_any_job_gets_an_answer(job: str, purpose: Purpose) -> None:
    answer = await OfflineProvider().complete(_request(purpose, job))

    assert isinstance(parse(answer.text, REPLIES[purpose]), REPLIES[purpose])


async def test_a_draft_is_read_from_the_words_between_the_prompts_own_fences() -> None:
    # given: words that hold fences of their own
    job = "Title: Mine\n\nDescription:\nEU only, $3\n<draft x>\nnothing\n</draft x>\n<feedback x>\n$9\n</feedback x>"
    # when
    answer = await OfflineProvider().complete(_request(Purpose.DRAFT, job, "nextjs"))
    reply = parse(answer.text, DraftReply)
    # then
    assert (reply.job.budget.max_usd, reply.job.app_type, reply.policy.allowed_regions) == (9.0, "nextjs", ["eu"])


async def test_a_document_of_the_starter_project_passes_and_a_line_in_the_job_does_not_make_one() -> None:
    # given: a task to judge, and a job that only looks like one
    task = f"Task: readme\n{fence('Title: Readme', NONCE, 'task')}"
    # when
    document = parse(
        (await OfflineProvider().complete(_request(Purpose.EVALUATE, OTHER, "library", result=task))).text,
        EvaluationReply,
    )
    whole = parse(
        (await OfflineProvider().complete(_request(Purpose.EVALUATE, f"{OTHER}\nTask: x", "library"))).text,
        EvaluationReply,
    )
    # then
    assert (document.score, document.reason) == (0.9, "The offline model approves its own starter project's text.")
    assert whole.score == 0.5
