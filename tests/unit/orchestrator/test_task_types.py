"""What a task type asks for, and which tasks another provider must review: code decides, not the planner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.state import Task, TaskType
from orchestrator.task_types import attempts, is_critical, threshold


def a_task(type_: TaskType = TaskType.WRITING, *files: str, critical: bool = False) -> Task:
    return Task(id="a", title="A", type=type_, description="d", files=files, critical=critical)


@pytest.mark.parametrize(
    ("type_", "needed"),
    [
        (TaskType.CODE_GENERATION, 0.85),
        (TaskType.CODE_REVIEW, 0.75),
        (TaskType.REASONING, 0.90),
        (TaskType.WRITING, 0.80),
        (TaskType.DATA_EXTRACTION, 0.90),
        (TaskType.SUMMARIZATION, 0.80),
        (TaskType.EVALUATION, 0.80),
    ],
)
def test_each_type_has_its_threshold(type_: TaskType, needed: float) -> None:
    assert threshold(a_task(type_)) == needed


def test_a_tasks_own_values_win_zero_included() -> None:
    own = replace(a_task(TaskType.CODE_GENERATION), acceptance_threshold=0.0, max_attempts=1)
    assert (threshold(own), attempts(own)) == (0.0, 1)


@pytest.mark.parametrize(("name", "value"), [("acceptance_threshold", 1.1), ("max_attempts", 0)])
def test_own_values_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        Task("a", "A", TaskType.WRITING, "d", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    ["README.md", "docs/guide.rst", "LICENSE", "docs/notes.txt", "CHANGELOG.txt", "a/b/how-to.adoc", "readme"],
)
def test_a_text_of_documents_only_is_not_critical(path: str) -> None:
    assert not is_critical(a_task(TaskType.WRITING, path))
    assert not is_critical(a_task(TaskType.SUMMARIZATION, path, "README.md"))


@pytest.mark.parametrize(
    "path",
    [
        "app.py",
        "tests/test_app.py",
        "requirements.txt",
        "robots.txt",
        "CMakeLists.txt",
        "pyproject.toml",
        "api.schema.json",
        "data.json",
        ".github/workflows/ci.md",
        ".github/copilot-instructions.md",
        "pages/index.mdx",
        "Dockerfile",
        "docs/conf.py",
        "index.html",
    ],
)
def test_code_configuration_schemas_and_workflows_are_critical_whatever_the_type_says(path: str) -> None:
    assert is_critical(a_task(TaskType.WRITING, path))
    assert is_critical(a_task(TaskType.SUMMARIZATION, "README.md", path))


def test_what_a_version_really_writes_counts_as_much_as_what_was_planned() -> None:
    assert is_critical(a_task(TaskType.WRITING, "README.md"), ["README.md", "setup.py"])


def test_a_text_that_names_no_file_is_critical() -> None:
    assert is_critical(a_task(TaskType.WRITING))


@given(
    st.sampled_from(list(TaskType)),
    st.lists(st.sampled_from(["README.md", "a.py", "b.yaml", "docs/c.rst"]), max_size=3),
)
def test_the_planners_flag_can_only_add(type_: TaskType, files: list[str]) -> None:
    assert is_critical(a_task(type_, *files, critical=True))
    if type_ not in (TaskType.WRITING, TaskType.SUMMARIZATION):
        assert is_critical(a_task(type_, *files))
