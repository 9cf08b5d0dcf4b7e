"""SECURITY 22 and honesty: npm installs without keys and scripts, and what did not run never counts as passed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.sandbox import Finished, Rung, Sandbox, node_tools, open_sandbox
from orchestrator.state import ValidationStatus
from orchestrator.validators import Environment, ValidationPlan, needs_packages, npm_install, npm_key, validate
from orchestrator.validators.npm import give_modules, read_install, read_script
from orchestrator.validators.package_json import Package, read_package
from tests.unit.orchestrator.validators.conftest import Write

PASSED, FAILED, NOT_RUN = ValidationStatus.PASSED, ValidationStatus.FAILED, ValidationStatus.NOT_RUN
# Packages without dependencies of their own, so that installing them costs a second.
ONE = {"is-number": "7.0.0"}
BAD_ENGINE = """\
npm warn EBADENGINE Unsupported engine {
npm warn EBADENGINE   package: 'next@16.4.6',
npm warn EBADENGINE   required: { node: '>=20.9.0' },
npm warn EBADENGINE   current: { node: 'v18.19.0', npm: '9.2.0' }
npm warn EBADENGINE }

added 3 packages in 2s
"""


def package(scripts: dict[str, str] | None = None, dependencies: dict[str, str] | None = None) -> str:
    return json.dumps({"name": "site", "scripts": scripts or {}, "dependencies": dependencies or {}}, indent=2)


async def results(root: Path, sandbox: Sandbox, plan: ValidationPlan, into: Path) -> dict[str, ValidationStatus]:
    packages = await npm_install(root, sandbox, into) if needs_packages(root, plan, None) else None
    found = await validate(root, sandbox, plan, environment=None, packages=packages)
    return {one.validator: one.status for one in found if one.validator.startswith("npm_")}


@pytest.mark.node
@pytest.mark.slow
async def test_sec_22_a_package_is_installed_without_running_its_scripts_and_is_used_without_a_network(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    check = "require('is-number')(1) || process.exit(1); require('node:https').get('https://example.com')"
    refused = f"{check}.on('error', () => process.exit(0)).on('response', () => process.exit(1))"
    root = write(
        {"package.json": package({"test": "node test.cjs", "postinstall": "touch ran"}, ONE), "test.cjs": refused}
    )

    found = await results(root, sandbox, ValidationPlan(), tmp_path / "into")

    assert found == {"npm_install": PASSED, "npm_test": PASSED}
    assert not (tmp_path / "into" / "ran").exists()
    assert (
        json.loads((tmp_path / "into" / "node_modules" / "is-number" / "package.json").read_text())["version"]
        == "7.0.0"
    )


@pytest.mark.node
@pytest.mark.slow
async def test_sec_22_a_name_that_does_not_exist_fails_at_its_line(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = write({"package.json": package(dependencies={"no-such-package-of-ours-9137": "1.0.0"})})

    environment = await npm_install(root, sandbox, tmp_path / "into")

    (result,) = environment.results
    assert (environment.path, result.status) == (None, FAILED)
    assert [(one.path, one.line) for one in result.findings] == [("package.json", 5)]
    assert "no-such-package-of-ours-9137" in result.findings[0].message


@pytest.mark.node
@pytest.mark.slow
async def test_sec_22_a_source_of_another_kind_keeps_everything_from_being_installed(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = write({"package.json": package({"test": "node --test"}, {**ONE, "thing": "git+https://x.example/a.git"})})

    found = await results(root, sandbox, ValidationPlan(), tmp_path / "into")

    assert found == {"npm_install": FAILED, "npm_test": NOT_RUN}
    assert not (tmp_path / "into").exists()


@pytest.mark.node
@pytest.mark.slow
async def test_scripts_run_in_the_order_of_the_stages_and_each_failure_is_placed(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    scripts = {"test": "node --test", "build": "exit 3", "lint": "node -e 1"}
    failing = "require('node:test')('adds', () => { throw new Error('no') })\n"
    root = write({"package.json": package(scripts), "a.test.cjs": failing})

    environment = await npm_install(root, sandbox, tmp_path / "into")
    found = await validate(root, sandbox, ValidationPlan(), environment=None, packages=environment)

    npm = [one for one in found if one.validator.startswith("npm_")]
    assert [(one.validator, one.status) for one in npm] == [
        ("npm_install", PASSED), ("npm_lint", PASSED), ("npm_build", FAILED), ("npm_test", FAILED),
    ]  # fmt: skip
    places = [(finding.path, finding.line) for one in npm for finding in one.findings]
    assert places == [("package.json", 5), ("a.test.cjs", 1)]
    assert "`npm run build` ended with status 3." in npm[2].findings[0].message


async def test_without_node_everything_is_not_run_and_says_what_to_install(
    write: Write, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = write({"package.json": package({"build": "next build"}, ONE)})

    environment = await npm_install(root, sandbox, tmp_path / "into")
    found = await validate(root, sandbox, ValidationPlan(), environment=None, packages=environment)

    assert [(one.validator, one.status) for one in found][-2:] == [("npm_install", NOT_RUN), ("npm_build", NOT_RUN)]
    assert "install Node.js 20 or newer with its npm" in found[-2].detail


@pytest.mark.node
@pytest.mark.slow
async def test_sec_22_without_isolation_nothing_is_installed_and_nothing_runs(write: Write, tmp_path: Path) -> None:
    root = write({"package.json": package({"test": "exit 0"}, ONE)})

    found = await results(root, await open_sandbox(Rung.LIMITS), ValidationPlan(), tmp_path / "into")

    assert found == {"npm_install": NOT_RUN, "npm_test": NOT_RUN}


async def test_a_task_of_its_own_runs_no_script(write: Write, sandbox: Sandbox) -> None:
    root = write({"package.json": package({"test": "exit 1"}), "a.ts": ""})

    found = await validate(root, sandbox, ValidationPlan(), environment=None, paths=["package.json", "a.ts"])

    assert [(one.validator, one.status) for one in found] == [("json_syntax", PASSED)]


async def test_a_script_that_was_asked_for_and_is_not_there_is_not_run(write: Write, sandbox: Sandbox) -> None:
    root = write({"package.json": package({"test": "exit 0"})})
    plan = ValidationPlan(("npm_lint",))

    found = await validate(root, sandbox, plan, environment=None, packages=Environment(None, ()))

    assert [(one.validator, one.status, one.detail) for one in found] == [
        ("npm_lint", NOT_RUN, "package.json has no script `lint`.")
    ]


async def test_a_project_without_a_package_json_is_told_so_when_npm_was_asked_for(
    write: Write, sandbox: Sandbox
) -> None:
    plan = ValidationPlan(("npm_test",))

    found = await validate(write({"a.txt": ""}), sandbox, plan, environment=None)

    assert [(one.validator, one.status) for one in found] == [("npm_test", NOT_RUN)]


def test_packages_are_needed_for_scripts_and_for_commands_on_the_whole_project_only(write: Write) -> None:
    root = write({"package.json": package({"build": "vite build"})})

    assert needs_packages(root, ValidationPlan(), None)
    assert needs_packages(root, ValidationPlan(("npm_test",)), None)
    assert needs_packages(root, ValidationPlan(("ruff",), ("npm run e2e",)), None)
    assert not needs_packages(root, ValidationPlan(("ruff",)), None)
    assert not needs_packages(root, ValidationPlan(), ["package.json"])


def test_a_package_json_without_a_script_to_run_asks_for_nothing(write: Write) -> None:
    root = write({"package.json": package({"start": "node ."}, ONE)})

    assert not needs_packages(root, ValidationPlan(), None)


def test_the_key_changes_with_what_is_declared_and_with_nothing_else(write: Write) -> None:
    before = npm_key(write({"package.json": package({"test": "jest"}, ONE)}))
    same = npm_key(write({"package.json": package({"test": "vitest"}, ONE), "a.ts": "x"}))
    other = npm_key(write({"package.json": package({"test": "jest"}, {"is-number": "6.0.0"})}))

    assert before == same
    assert before != other


def test_a_node_that_is_too_old_says_nothing_about_the_project(write: Write) -> None:
    declared = read_package(write({"package.json": package(dependencies={"next": "~16.4.6"})}))
    assert declared is not None

    result = read_install(Finished(status=0, output=BAD_ENGINE), declared, "")

    assert (result.status, result.detail) == (
        NOT_RUN,
        "This machine's Node.js does not fit (node: 'v18.19.0', npm: '9.2.0'): next wants node: '>=20.9.0'.",
    )


def test_an_engine_of_somebody_elses_choice_does_not_matter(write: Write) -> None:
    declared = read_package(write({"package.json": package(dependencies=ONE)}))
    assert declared is not None

    assert read_install(Finished(status=0, output=BAD_ENGINE), declared, "").status is PASSED


def test_a_registry_out_of_reach_is_not_the_projects_fault(write: Write) -> None:
    declared = read_package(write({"package.json": package(dependencies=ONE)}))
    assert declared is not None
    finished = Finished(status=1, output="npm error code ENOTFOUND", index_failures=("gaierror: no name",))

    result = read_install(finished, declared, "")

    assert (result.status, result.detail) == (NOT_RUN, "The package registry cannot be reached: gaierror: no name")


@pytest.mark.parametrize(
    ("finished", "said"),
    [
        (Finished(status=137, output="", timed_out=True), "did not end within 600 seconds"),
        (Finished(status=137, output="", out_of_memory=True), "used more than 4096 MiB of memory"),
        (Finished(status=1, output="no"), "ended with status 1"),
    ],
)
def test_a_script_that_did_not_end_well_failed_whatever_it_printed(write: Write, finished: Finished, said: str) -> None:
    root = write({"package.json": package({"build": "next build"})})
    declared = read_package(root)
    assert declared is not None

    result = read_script("npm_build", finished, declared, root)

    assert (result.status, result.detail) == (FAILED, said)
    assert result.findings[0].message.startswith(f"`npm run build` {said}.")


def test_a_version_switchers_node_is_found_with_the_npm_beside_it(tmp_path: Path) -> None:
    script = tmp_path / "node" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    program = tmp_path / "node" / "bin" / "node"
    for path in (script, program):
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    tools = node_tools(str(program.parent))

    assert tools is not None
    assert (tools.node, tools.npm, tools.in_system) == (program, script.parent.parent, False)


@pytest.mark.node
@pytest.mark.slow
async def test_a_node_outside_of_the_system_is_shown_to_the_sandbox(
    write: Write, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = node_tools()
    assert tools is not None
    own = tmp_path / "own"
    (own / "bin").mkdir(parents=True)
    shutil.copy(tools.node, own / "bin" / "node")
    shutil.copytree(tools.npm, own / "lib" / "node_modules" / "npm", symlinks=True)
    monkeypatch.setenv("PATH", str(own / "bin"))
    root = write({"package.json": package({"test": "node -e 'process.exit(0)'"}, ONE)})

    found = await results(root, sandbox, ValidationPlan(), tmp_path / "into")

    assert found == {"npm_install": PASSED, "npm_test": PASSED}


async def test_sec_21_packages_are_not_copied_to_where_a_link_of_the_project_leads(tmp_path: Path) -> None:
    root, installed = tmp_path / "root", tmp_path / "installed"
    (installed / "node_modules").mkdir(parents=True)
    root.mkdir()
    (root / "node_modules").symlink_to(tmp_path / "outside")

    await give_modules(Environment(installed, ()), root)

    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "part",
    ["EBADENGINE package: '", "EBADENGINE package: '@@@@@@@@", "EBADENGINE  ", "'a@", "EBADENGINE package: 'a@1',\n{"],
)
def test_a_megabyte_of_almost_a_complaint_about_engines_is_read_at_once(part: str) -> None:
    output = part * (1024 * 1024 // len(part))
    assert read_install(Finished(status=0, output=output), Package(), "").status is PASSED
