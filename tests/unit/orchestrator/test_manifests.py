"""SECURITY 23: a dependency is its name and where it comes from, in every file that names some."""

from __future__ import annotations

import json

import pytest

from orchestrator.manifests import declared_in, newly_declared
from orchestrator.npm_manifests import REGISTRY

PUBLIC = f"https://{REGISTRY}"


def told(path: str, content: str | bytes) -> list[tuple[str, str, int]]:
    raw = content if isinstance(content, bytes) else content.encode()
    return [(it.name, it.source, it.line) for it in declared_in(path, raw)]


@pytest.mark.parametrize(
    ("line", "name", "source"),
    [
        ("evil @ https://evil.example/x.whl", "evil", "https://evil.example/x.whl"),
        ("evil @ git+https://e.org/x@main#sub=1", "evil", "git+https://e.org/x"),
        ("git+https://e.org/x@v1#egg=Evil_x", "evil-x", "git+https://e.org/x"),
        ("https://e.org/x.whl", "", "https://e.org/x.whl"),
        ("./wheels/x-1-py3-none-any.whl", "", "./wheels/x-1-py3-none-any.whl"),
        ("--extra-index-url https://e.org/simple", "", "https://e.org/simple"),
        ("--extra-i=https://e.org/simple", "", "https://e.org/simple"),
        ("-ihttps://e.org/simple", "", "https://e.org/simple"),
        ("-f https://e.org/links.html", "", "https://e.org/links.html"),
        ("-e git+ssh://git@e.org/x.git", "", "git+ssh://git@e.org/x.git"),
        ("-r https://e.org/more.txt", "", "https://e.org/more.txt"),
        ("${HIDDEN}", "", "${HIDDEN}"),
    ],
)
def test_sec_23_a_line_of_requirements_names_its_source(line: str, name: str, source: str) -> None:
    assert told("requirements.txt", f"# deps\n{line}\n") == [(name, source, 2)]


def test_what_belongs_to_the_project_or_changes_no_source_is_named_nowhere() -> None:
    lines = ["-e .", "./local", "-r more.txt", "--require-hashes", "-i https://pypi.org/simple", "--no-binary :all:"]
    assert told("requirements.txt", "\n".join(lines)) == []


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig", "utf-32"])
def test_sec_23_requirements_are_read_by_their_byte_order_mark_as_pip_does(codec: str) -> None:
    assert told("requirements.txt", "evil\n".encode(codec)) == [("evil", "", 1)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"dependencies": {"left-pad": "github:evil/x#v1"}}, [("left-pad", "github:evil/x", 3)]),
        ({"dependencies": {"left-pad": "evil/x"}}, [("left-pad", "evil/x", 3)]),
        ({"devDependencies": {"a": "npm:other@^1"}}, [("other", "", 3)]),
        ({"overrides": {"lodash": "npm:evil@1", "b": "2", "c": "$a"}}, [("evil", "", 3)]),
        ({"overrides": {"x": {"lodash@1": "https://e.org/l.tgz"}}}, [("lodash", "https://e.org/l.tgz", 4)]),
        ({"resolutions": {"lodash": "npm:evil@1"}}, [("evil", "", 3)]),
        ({"pnpm": {"overrides": {"lodash": "npm:evil@1"}}}, [("evil", "", 4)]),
        ({"dependencies": {"a": "workspace:*", "b": "file:../b", "c": "link:./c", "d": "catalog:"}}, []),
        ({"dependencies": {"a": "file:vendored/a.tgz"}}, [("a", "file:vendored/a.tgz", 3)]),
    ],
)
def test_sec_23_a_package_json_names_aliases_and_sources(
    document: dict[str, object], expected: list[tuple[str, str, int]]
) -> None:
    assert told("package.json", json.dumps(document, indent=1)) == expected


def test_sec_23_a_lock_names_aliases_other_registries_and_archives_of_other_packages() -> None:
    packages = {
        "": {"name": "site"},
        "node_modules/a": {"resolved": f"{PUBLIC}/a/-/a-1.0.0.tgz"},
        "node_modules/lodash": {"resolved": f"{PUBLIC}/evil/-/evil-1.0.0.tgz"},
        "node_modules/alias": {"name": "real", "resolved": f"{PUBLIC}/real/-/real-1.0.0.tgz"},
        "node_modules/c": {"resolved": "https://npm.corp.example/c/-/c-1.0.0.tgz"},
        "node_modules/d": {"resolved": "git+ssh://git@github.com/evil/d.git#0123"},
        "node_modules/own": {"resolved": "packages/own", "link": True},
    }
    assert told("package-lock.json", json.dumps({"packages": packages})) == [
        ("lodash", f"{PUBLIC}/evil/-/evil-1.0.0.tgz", 1),
        ("real", "", 1),
        ("", "https://npm.corp.example", 1),
        ("d", "git+ssh://git@github.com/evil/d.git", 1),
    ]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (
            "pyproject.toml",
            '[tool.poetry]\nname = "own"\n[tool.poetry.dependencies]\npython = "^3.11"\nFlask = "^3"\n'
            'evil = {git = "https://e.org/x"}\nlib = {path = "../lib"}\n'
            '[tool.poetry.group.dev.dependencies]\nrich = "*"\n'
            '[[tool.poetry.source]]\nname = "corp"\nurl = "https://e.org/simple"\n',
            [("flask", "", 5), ("evil", "https://e.org/x", 6), ("rich", "", 9), ("", "https://e.org/simple", 12)],
        ),
        (
            "pyproject.toml",
            '[project]\ndependencies = ["httpx", "evil @ https://e.org/e.whl", "own-lib"]\n'
            '[tool.uv.sources]\nhttpx = {git = "https://e.org/h"}\nown-lib = {workspace = true}\n',
            [("evil", "https://e.org/e.whl", 2), ("httpx", "https://e.org/h", 2)],
        ),
        (
            "Pipfile",
            '[[source]]\nurl = "https://pypi.org/simple"\n[packages]\nflask = "*"\nevil = {git = "https://e.org/x"}\n'
            '[dev-packages]\nrich = {version = "*"}\n[requires]\npython_version = "3.11"\n',
            [("flask", "", 4), ("evil", "https://e.org/x", 5), ("rich", "", 7)],
        ),
        (
            "setup.cfg",
            "[options]\ninstall_requires =\n  flask>=1; python_version < '4'\n  evil @ https://e.org/x.whl\n"
            "setup_requires = a; b\n[options.extras_require]\ndev = rich\n",
            [("flask", "", 3), ("evil", "https://e.org/x.whl", 4), ("a", "", 2), ("b", "", 5), ("rich", "", 7)],
        ),
    ],
)
def test_sec_23_other_files_of_python_projects_are_read_too(
    path: str, content: str, expected: list[tuple[str, str, int]]
) -> None:
    assert [it[:2] for it in told(path, content)] == [it[:2] for it in expected]


def test_sec_23_a_known_name_that_now_comes_from_elsewhere_is_new_and_another_version_is_not() -> None:
    before = {"package.json": b'{"dependencies": {"a": "1", "b": "evil/b#v1"}}'}
    after = {"package.json": b'{"dependencies": {"a": "https://e.org/a.tgz", "b": "evil/b#v2"}}'}
    assert [(it.name, it.source) for it in newly_declared(before, after)] == [("a", "https://e.org/a.tgz")]
