from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import scaffolds
from tests.unit.orchestrator.scaffolds.starters import STARTERS, with_dependencies, write

NO_TITLE_NO_FEATURE = "\n"
# A title that would break out of TOML, Python, Markdown and the templates, were it not made plain.
HOSTILE = 'x" """ \\ \'; import os #\n${package} $(id) </h1><img src=a onerror=b> @team [a](b) `c` \u202e\u0000'


@pytest.fixture(params=sorted(STARTERS))
def starter(request: pytest.FixtureRequest) -> tuple[str, str]:
    return STARTERS[request.param]


def _complaints(folder: Path) -> list[str]:
    """Return what ruff says in a project's folder under its own rules, the default rules, and as a formatter."""
    runs = (["check"], ["check", "--isolated"], ["format", "--check", "--exclude=*.md"])
    said = []
    for arguments in runs:
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        said += [f"{folder.name}: {done.stdout}{done.stderr}"] if done.returncode else []
    return said


def test_there_is_a_starter_for_an_api_and_for_a_library() -> None:
    assert scaffolds.app_types() == ("fastapi", "library")


def test_an_app_type_without_a_starter_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(KeyError, match="no starter project for 'nextjs'; there is one for fastapi, library"):
        scaffolds.plan("nextjs", "Site")


def test_every_planned_file_is_served(starter: tuple[str, str]) -> None:
    app_type, text = starter

    files = [path for task in scaffolds.plan(app_type, text) for path in task.files]

    assert [path for path in files if not scaffolds.render(app_type, text, path)] == []


def test_no_file_is_planned_twice(starter: tuple[str, str]) -> None:
    files = [path for task in scaffolds.plan(*starter) for path in task.files]

    assert sorted(set(files)) == sorted(files)


def test_a_task_depends_on_earlier_tasks_only(starter: tuple[str, str]) -> None:
    seen: set[str] = set()
    for task in scaffolds.plan(*starter):
        assert set(task.depends_on) <= seen
        assert task.id not in seen
        seen.add(task.id)


def test_every_template_stands_in_a_plan() -> None:
    planned = {
        f"{app_type}/{path.replace('text_tools', '_package_').replace('rate_limiter', '_package_')}"
        for app_type, text in STARTERS.values()
        for task in scaffolds.plan(app_type, text)
        for path in task.files
    }
    root = Path(str(resources.files("orchestrator.scaffolds")))
    templates = [template.relative_to(root).parts for template in root.rglob("*.tmpl")]
    paths = {f"{app_type}/{'/'.join(path)}".removesuffix(".tmpl") for app_type, _layer, *path in templates}

    assert {path.replace("/gitignore", "/.gitignore") for path in paths} == planned


def test_every_id_named_in_a_scaffold_exists() -> None:
    for app_type in scaffolds.app_types():
        text = resources.files("orchestrator.scaffolds").joinpath(app_type, "scaffold.yaml").read_text("utf-8")
        raw = yaml.safe_load(text)
        ids = {task["id"] for task in raw["tasks"]}
        features = {""} | set(raw["features"])
        for task in raw["tasks"]:
            assert set(task.get("depends_on", [])) <= ids
            assert {task.get("feature", ""), task.get("unless", "")} <= features
        assert {path for path in raw["keep"] if "$" in path} == set()


def test_tasks_with_security_code_are_critical() -> None:
    tasks = scaffolds.plan(*STARTERS["fastapi-jwt"])

    assert {task.id for task in tasks if task.critical} == {
        "passwords",
        "tokens",
        "users",
        "dependencies",
        "auth-routes",
    }


def test_independent_parts_of_the_api_may_be_built_at_once() -> None:
    tasks = scaffolds.plan(*STARTERS["fastapi-jwt"])

    assert [task.id for task in tasks if task.depends_on == ("setup",)] == ["passwords", "tokens", "database"]


def test_a_file_outside_the_plan_is_not_served(starter: tuple[str, str]) -> None:
    for path in ("app/payments.py", "../scaffold.yaml", "scaffold.yaml", "", "/", "_package_/errors.py", "app"):
        assert scaffolds.render(*starter, path) is None


def test_a_file_of_a_feature_is_not_served_without_it() -> None:
    assert scaffolds.render(*STARTERS["fastapi"], "app/tokens.py") is None
    assert scaffolds.render(*STARTERS["library-rate-limiter"], "rate_limiter/registry.py") is None


def test_every_state_on_the_way_is_clean_for_ruff(starter: tuple[str, str], tmp_path: Path) -> None:
    tasks = scaffolds.plan(*starter)
    for task in tasks:
        write(tmp_path / task.id, *starter, with_dependencies(tasks, task))

    assert [said for task in tasks for said in _complaints(tmp_path / task.id)] == []


@pytest.mark.parametrize(
    "title", [HOSTILE, NO_TITLE_NO_FEATURE, "Überprüfung — Größe", "图书馆 " * 30, "x" * 500, "ok " * 200]
)
@pytest.mark.parametrize("app_type", ["fastapi", "library"])
def test_no_title_breaks_a_project(app_type: str, title: str, tmp_path: Path) -> None:
    for name, text in (("plain", title), ("feature", f"{title}\njwt, rate limiter")):
        write(tmp_path / name, app_type, text, scaffolds.plan(app_type, text))
        tomllib.loads((tmp_path / name / "pyproject.toml").read_text(encoding="utf-8"))

    assert _complaints(tmp_path / "plain") + _complaints(tmp_path / "feature") == []


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=80), app_type=st.sampled_from(["fastapi", "library"]))
def test_any_text_gives_files_that_parse(text: str, app_type: str) -> None:
    for task in scaffolds.plan(app_type, text):
        for path in task.files:
            content = scaffolds.render(app_type, text, path)
            assert content is not None
            if path.endswith(".py"):
                compile(content, path, "exec")
            if path.endswith(".toml"):
                tomllib.loads(content)


def test_the_title_and_the_package_come_from_the_request() -> None:
    text = "Title: Rate limiter library\nDescription: Implement token bucket rate limiter"

    readme = scaffolds.render("library", text, "README.md")

    assert readme is not None
    assert readme.startswith("# Rate limiter library\n")
    assert "from rate_limiter import RateLimiter, TokenBucket" in readme


def test_no_secret_stands_in_a_starter(starter: tuple[str, str]) -> None:
    app_type, text = starter
    for task in scaffolds.plan(app_type, text):
        for path in task.files:
            content = scaffolds.render(app_type, text, path)
            assert content is not None
            assert "BEGIN" not in content
            assert "eyJ" not in content
