"""SECURITY 22: what a project declares, and how it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandbox import Finished, Rung, Sandbox, open_sandbox
from orchestrator.state import Finding, ValidationStatus
from orchestrator.validators import Environment, install, requirement_key
from orchestrator.validators.dependencies import Declared, declared, read_pip, requirement_or_finding
from tests.unit.orchestrator.validators.conftest import Write

PYPROJECT = """
[project]
name = "thing"
dependencies = ["iniconfig>=2", "Thing[test]"]
[project.optional-dependencies]
test = ["pluggy"]
docs = ["mkdocs"]
[dependency-groups]
dev = ["packaging", {include-group = "more"}]
more = ["idna"]
"""


def test_all_declared_places_are_read(write: Write) -> None:
    root = write(
        {"pyproject.toml": PYPROJECT, "requirements.txt": "-r more/base.txt\nhttpx==0.28.1  # why\n\n",
         "more/base.txt": "certifi==2025.1.1 \\\n  --hash=sha256:aa\n", "tests/test_a.py": ""}
    )  # fmt: skip

    assert declared(root).requirements == (
        "certifi==2025.1.1", "httpx==0.28.1", "idna", "iniconfig>=2", "packaging", "pluggy", "pytest",
    )  # fmt: skip
    assert declared(root).findings == ()


def test_a_project_that_declares_nothing_and_has_no_tests_needs_nothing(write: Write) -> None:
    assert declared(write({"a.py": "x = 1"})).requirements == ()


@pytest.mark.parametrize(
    "line",
    ["-e .", "--index-url https://x.example/simple", "--extra-index-url=https://x.example", "./local", "/etc/passwd",
     "git+https://x.example/a.git", "https://x.example/a.whl", "name @ https://x.example/a.whl", "name @ file:///a.whl",
     "-r ../outside.txt", "-r /etc/passwd", "--find-links x", "-c constraints.txt"],
)  # fmt: skip
def test_sec_22_private_and_direct_sources_are_findings(write: Write, line: str) -> None:
    root = write({"requirements.txt": f"idna\n{line}\n"})

    found = declared(root)

    assert found.requirements == ("idna",)
    assert [(f.path, f.line) for f in found.findings] == [("requirements.txt", 2)]
    assert "Private or direct sources are not installed" in found.findings[0].message


@given(st.text(max_size=60))
def test_sec_22_no_line_becomes_an_option_or_a_url(line: str) -> None:
    entry = requirement_or_finding(line, "requirements.txt", 1)

    assert isinstance(entry, Finding) or (not entry.startswith("-") and "://" not in entry and entry[0].isalnum())


def test_a_requirements_file_that_is_a_link_is_not_followed(write: Write, tmp_path: Path) -> None:
    root = write({"a.py": ""})
    (tmp_path / "outside.txt").write_text("idna\n")
    (root / "requirements.txt").symlink_to(tmp_path / "outside.txt")

    assert declared(root).requirements == ()


def test_sec_21_no_link_on_the_way_to_an_included_file_is_followed(write: Write, tmp_path: Path) -> None:
    root = write({"requirements.txt": "-r folder/keys.txt\n"})
    (tmp_path / "keys.txt").write_text("OPENAI_API_KEY=sk-canary\n")
    (root / "folder").symlink_to(tmp_path)

    assert declared(root) == Declared((), ())


def test_files_that_include_each_other_come_to_an_end(write: Write) -> None:
    root = write({"requirements.txt": "-r b.txt\nidna\n", "b.txt": "-r requirements.txt\npluggy\n"})

    assert declared(root).requirements == ("idna", "pluggy")


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 100_000}",
        f"a = {'1' * 5000}",
        f'[project]\ndependencies = ["a; {"(" * 1500}"]',
        f'[project]\ndependencies = ["a{" " * 200_000}b"]',
        "[dependency-groups]\n" + "\n".join(f'g{n} = [{{include-group = "g{n + 1}"}}]' for n in range(2000)),
        "[dependency-groups]\ndev = [{include-group = 'g0'}]\n"
        + "\n".join(f"g{n} = [{{include-group = 'g{n + 1}'}}, {{include-group = 'g{n + 1}'}}]" for n in range(99)),
    ],
)
def test_a_pyproject_made_to_break_its_reader_declares_nothing_that_is_installed(write: Write, text: str) -> None:
    assert declared(write({"pyproject.toml": text})).requirements == ()


def test_requirements_made_to_break_their_reader_are_read(write: Write) -> None:
    chain = {f"requirements{n}.in": f"-r requirements{n + 1}.in\n" for n in range(1500)}
    lines = ["-r requirements0.in", f"-r {'=' * 200_000} x y", f"-r {'a' * 300}.txt", "-r a\0b", f"a; {'(' * 1900}"]
    root = write(chain | {"requirements.txt": "\n".join(lines), "requirements1500.in": "idna\n"})
    found = declared(root)
    assert found.requirements == ("idna",)
    assert [one.line for one in found.findings] == [2, 5]


def test_the_key_changes_with_what_is_declared_and_with_nothing_else(write: Write) -> None:
    root = write({"requirements.txt": "idna\n"})
    before = requirement_key(root)

    write({"a.py": "x = 1"})
    same = requirement_key(root)
    write({"requirements.txt": "idna\npluggy\n"})

    assert same == before
    assert requirement_key(root) != before


async def test_sec_22_a_package_of_the_index_is_installed(environment: Environment) -> None:
    assert [(result.validator, result.status) for result in environment.results] == [
        ("dependencies", ValidationStatus.PASSED)
    ]
    assert environment.path is not None
    assert (environment.path / "pytest" / "__init__.py").is_file()
    assert (environment.path / "bin" / "pytest").is_file()


async def test_sec_22_a_name_that_does_not_exist_fails_and_is_named(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = write({"requirements.txt": "no-such-package-of-ours-9137\n"})

    environment = await install(root, sandbox, tmp_path / "into")

    (result,) = environment.results
    assert (environment.path, result.status) == (None, ValidationStatus.FAILED)
    assert "no-such-package-of-ours-9137" in result.findings[0].message


async def test_sec_22_where_the_operator_names_an_index_pip_installs_from_that_one_and_no_other(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = write({"requirements.txt": "iniconfig==2.0.0\n"})
    own = Sandbox(sandbox.rung, hosts=["packages.invalid"])

    environment = await install(root, own, tmp_path / "deps")

    (result,) = environment.results
    assert result.status is ValidationStatus.NOT_RUN
    assert result.detail.startswith("The package index cannot be reached: gaierror")


async def test_sec_22_private_sources_keep_everything_from_being_installed(
    write: Write, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = write({"requirements.txt": "idna\n-e .\n"})

    environment = await install(root, sandbox, tmp_path / "into")

    assert environment.results[0].status is ValidationStatus.FAILED
    assert [finding.code for finding in environment.results[0].coded] == ["private_source"]
    assert not (tmp_path / "into").exists()


async def test_sec_22_without_isolation_nothing_is_installed(write: Write, tmp_path: Path) -> None:
    root = write({"requirements.txt": "idna\n"})

    environment = await install(root, await open_sandbox(Rung.LIMITS), tmp_path / "into")

    assert (environment.path, environment.results[0].status) == (None, ValidationStatus.NOT_RUN)


async def test_nothing_declared_gives_no_result(write: Write, sandbox: Sandbox, tmp_path: Path) -> None:
    environment = await install(write({"a.txt": ""}), sandbox, tmp_path / "into")

    assert (environment.path, environment.results) == (None, ())


def test_an_index_out_of_reach_is_not_the_projects_fault() -> None:
    finished = Finished(status=1, output="ERROR: No matching distribution", index_failures=("gaierror: no name",))

    result = read_pip(finished, ("idna",), "pyproject.toml")

    assert (result.status, result.detail) == (
        ValidationStatus.NOT_RUN,
        "The package index cannot be reached: gaierror: no name",
    )
