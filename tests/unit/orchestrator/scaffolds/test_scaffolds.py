from __future__ import annotations

import json
import posixpath
import re
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
from orchestrator.sections import APP_TYPES
from tests.unit.orchestrator.scaffolds.starters import PYTHON, STARTERS, with_dependencies, write

NO_TITLE_NO_FEATURE = "\n"
# A title that would break out of TOML, Python, Markdown and the templates, were it not made plain.
HOSTILE = 'x" """ \\ \'; import os #\n${package} $(id) </h1><img src=a onerror=b> @team [a](b) `c` \u202e\u0000'


@pytest.fixture(params=sorted(STARTERS))
def starter(request: pytest.FixtureRequest) -> tuple[str, str]:
    return STARTERS[request.param]


def _complaints(folder: Path) -> list[str]:
    """Return what ruff says about the projects in a folder: under their own rules, the default ones, as a formatter."""
    # Each is checked from its own top: which imports are its own depends on where ruff starts.
    projects = sorted(folder.iterdir())
    runs = [(project, ["check", *rules]) for project in projects for rules in ([], ["--isolated"])]
    runs.append((folder, ["format", "--check", "--exclude=*.md"]))
    said = []
    for place, arguments in runs:
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=60)
        said += [f"{place.name}: {done.stdout}{done.stderr}"] if done.returncode else []
    return said


def test_there_is_a_starter_for_every_app_type() -> None:
    assert scaffolds.app_types() == ("cli", "fastapi", "generic", "html", "library", "nextjs", "react-vite")
    assert set(scaffolds.app_types()) == set(APP_TYPES)


def test_an_app_type_without_a_starter_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(KeyError, match="no starter project for 'fortran'; there is one for cli, fastapi, generic"):
        scaffolds.plan("fortran", "Site")


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
        f"{app_type}/{path.replace('text_tools/', '_package_/').replace('rate_limiter/', '_package_/')}"
        for app_type, text in STARTERS.values()
        for task in scaffolds.plan(app_type, text)
        for path in task.files
    }
    root = Path(str(resources.files("orchestrator.scaffolds")))
    templates = [template.relative_to(root).parts for template in root.rglob("*.tmpl")]
    paths = {f"{app_type}/{'/'.join(path)}".removesuffix(".tmpl") for app_type, _layer, *path in templates}

    kept = {path.replace("/gitignore", "/.gitignore").replace("/_slug_/", "/[slug]/") for path in paths}
    assert kept == planned


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


def test_every_folder_is_a_feature_or_two_in_their_order() -> None:
    root = Path(str(resources.files("orchestrator.scaffolds")))
    for app_type in scaffolds.app_types():
        features = list(yaml.safe_load((root / app_type / "scaffold.yaml").read_text("utf-8"))["features"])
        for folder in (path.name for path in (root / app_type).iterdir() if path.is_dir()):
            places = [features.index(name) for name in folder.split("+") if folder != "base"]
            assert places == sorted(places), folder


def test_what_the_guide_promises_of_an_api_with_tokens_is_ten_to_twelve_tasks() -> None:
    text = "Build a FastAPI authentication service with JWT tokens"

    tasks = scaffolds.plan(
        "fastapi", f"{text}\n\nAll endpoints tested, OpenAPI docs complete, requirements.txt present"
    )

    assert [task.id for task in tasks] == [
        "setup", "passwords", "tokens", "settings", "database", "users", "dependencies", "item-routes", "auth-routes",
        "application", "auth-tests", "documentation",
    ]  # fmt: skip


def test_what_the_guide_promises_of_a_storefront_is_in_its_plan() -> None:
    files = {path for task in scaffolds.plan(*STARTERS["nextjs-storefront"]) for path in task.files}

    assert {
        "next.config.ts", "tailwind.config.ts", "tsconfig.json", "jest.config.mjs", "components/reveal.tsx",
        "app/page.tsx", "app/products/[slug]/page.tsx", "app/cart/page.tsx", "app/checkout/page.tsx",
    } <= files  # fmt: skip


def test_what_two_features_need_together_wins_over_what_each_needs() -> None:
    content = scaffolds.render(*STARTERS["fastapi-all"], "app/main.py")

    assert content is not None
    assert "app.include_router(auth.router)" in content
    assert "app.include_router(live.router)" in content


@pytest.mark.parametrize("name", ["nextjs", "nextjs-storefront", "react-vite"])
def test_every_version_of_a_package_is_pinned_to_its_patches(name: str) -> None:
    app_type, text = STARTERS[name]

    package = json.loads(scaffolds.render(app_type, text, "package.json") or "")

    versions = [*package["dependencies"].values(), *package["devDependencies"].values()]
    assert [version for version in versions if not re.fullmatch(r"~\d+\.\d+\.\d+", version)] == []
    assert {"build", "lint", "test"} <= set(package["scripts"])


@pytest.mark.parametrize("name", ["nextjs", "nextjs-storefront", "react-vite"])
def test_every_import_of_a_file_of_the_project_leads_to_one(name: str) -> None:
    app_type, text = STARTERS[name]
    files = {path for task in scaffolds.plan(app_type, text) for path in task.files}

    for path in sorted(files):
        if path.endswith((".ts", ".tsx")):
            for target in _imported(path, scaffolds.render(app_type, text, path) or ""):
                assert {target, f"{target}.ts", f"{target}.tsx", f"{target}/page.tsx"} & files, (path, target)


def _imported(path: str, content: str) -> list[str]:
    """Return what a TypeScript file imports from its own project, relative to the project."""
    names = re.findall(r'(?:from|import) "([^"]+)"', content)
    beside = [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in names if name[0] == "."]
    return beside + [name.removeprefix("@/") for name in names if name.startswith("@/")]


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


@pytest.mark.parametrize("name", [name for name, (app_type, _) in STARTERS.items() if app_type in PYTHON])
def test_every_state_on_the_way_is_clean_for_ruff(name: str, tmp_path: Path) -> None:
    tasks = scaffolds.plan(*STARTERS[name])
    for task in tasks:
        write(tmp_path / task.id, *STARTERS[name], with_dependencies(tasks, task))

    assert _complaints(tmp_path) == []


@pytest.mark.parametrize(
    "title", [HOSTILE, NO_TITLE_NO_FEATURE, "Überprüfung — Größe", "图书馆 " * 30, "x" * 500, "ok " * 200]
)
@pytest.mark.parametrize("app_type", PYTHON)
def test_no_title_breaks_a_project(app_type: str, title: str, tmp_path: Path) -> None:
    for name, text in (("plain", title), ("feature", f"{title}\njwt, websocket, persistence, rate limiter")):
        write(tmp_path / name, app_type, text, scaffolds.plan(app_type, text))
        tomllib.loads((tmp_path / name / "pyproject.toml").read_text(encoding="utf-8"))

    assert _complaints(tmp_path) == []


@settings(max_examples=15, deadline=None)
@given(text=st.text(max_size=80), app_type=st.sampled_from(scaffolds.app_types()))
def test_any_text_gives_files_that_parse(text: str, app_type: str) -> None:
    for task in scaffolds.plan(app_type, text):
        for path in task.files:
            content = scaffolds.render(app_type, text, path)
            assert content is not None
            if path.endswith(".py"):
                compile(content, path, "exec")
            if path.endswith(".toml"):
                tomllib.loads(content)
            if path.endswith(".json"):
                json.loads(content)
            if path == "lib/site.ts" or path == "src/site.ts":
                assert content.count('"') % 2 == 0
                assert "\\" not in content


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
            assert "-----BEGIN" not in content
            assert "eyJ" not in content
