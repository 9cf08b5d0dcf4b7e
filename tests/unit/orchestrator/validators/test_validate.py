"""The stages of validation on real projects, in the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.sandbox import Finished, Rung, Sandbox, open_sandbox
from orchestrator.state import Finding, Suggestion, ValidationResult, ValidationStatus
from orchestrator.validators import Environment, ValidationPlan, nothing_to_check, validate
from orchestrator.validators.lint import read_ruff, suggested
from orchestrator.validators.tests import read_pytest
from tests.unit.orchestrator.validators.conftest import Write

DETECT = ValidationPlan()
PASSED, FAILED, NOT_RUN = ValidationStatus.PASSED, ValidationStatus.FAILED, ValidationStatus.NOT_RUN
GOOD = {
    "src/adder.py": "def add(a: int, b: int) -> int:\n    return a + b\n",
    "tests/test_adder.py": "from adder import add\n\n\ndef test_add() -> None:\n    assert add(1, 2) == 3\n",
}


def statuses(results: tuple[ValidationResult, ...]) -> dict[str, str]:
    return {result.validator: result.status.value for result in results}


def one(results: tuple[ValidationResult, ...], validator: str) -> ValidationResult:
    return next(result for result in results if result.validator == validator)


async def test_a_good_project_passes_what_is_detected(write: Write, sandbox: Sandbox, environment: Environment) -> None:
    root = write(GOOD | {"a.json": "{}", "b.yaml": "a: !tag 1\n---\nb: 2\n", "pyproject.toml": "[tool.ruff]\n"})

    results = await validate(root, sandbox, DETECT, environment=environment)

    assert statuses(results) == {
        "python_syntax": "passed", "json_syntax": "passed", "yaml_syntax": "passed", "toml_syntax": "passed",
        "ruff": "passed", "pytest": "passed",
    }  # fmt: skip
    assert one(results, "pytest").detail == "1 passed"


async def test_nothing_of_the_validation_is_left_in_the_project(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD)

    await validate(root, sandbox, DETECT, environment=environment)

    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == sorted(GOOD)


async def test_a_project_without_python_gets_only_what_looks_at_its_files(write: Write, sandbox: Sandbox) -> None:
    root = write({"package.json": "{}", "index.html": "<p>"})

    results = await validate(root, sandbox, DETECT, environment=None)

    assert statuses(results) == {"json_syntax": "passed"}


async def test_files_that_do_not_parse_are_named_with_their_line(write: Write, sandbox: Sandbox) -> None:
    root = write(
        {"a.py": "x = 1\ndef f(:\n", "b.json": '{\n"a": }', "c.yaml": "a: [1\nb: 2", "d.toml": "a = 1\nb =\n",
         "e.schema.json": '{"type": 3}', "f.py": "return 1\n"}
    )  # fmt: skip

    results = await validate(root, sandbox, DETECT, environment=None)

    assert [(f.path, f.line) for result in results[:5] for f in result.findings] == [
        ("a.py", 2), ("f.py", 1), ("b.json", 2), ("c.yaml", 2), ("d.toml", 2), ("e.schema.json", 1),
    ]  # fmt: skip
    assert one(results, "python_syntax").findings[1].message == "SyntaxError: 'return' outside function"


async def test_tests_do_not_run_when_a_file_does_not_parse(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD | {"broken.py": "def"})

    result = one(await validate(root, sandbox, DETECT, environment=environment), "pytest")

    assert (result.status, result.detail) == (NOT_RUN, "Not run because python_syntax failed.")


async def test_absurd_nesting_is_a_finding_and_not_a_crash(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.json": "[" * 1_000_000, "b.yaml": "[" * 20_000, "c.py": "x = " + "-" * 1_000_000 + "1"})

    plan = ValidationPlan(("python_syntax", "json_syntax", "yaml_syntax"))

    results = await validate(root, sandbox, plan, environment=None)

    assert [(result.validator, [f.path for f in result.findings]) for result in results] == [
        ("python_syntax", ["c.py"]), ("json_syntax", ["a.json"]), ("yaml_syntax", ["b.yaml"]),
    ]  # fmt: skip


async def test_templates_and_json_with_comments_are_left_alone(write: Write, sandbox: Sandbox) -> None:
    root = write({"tsconfig.json": "{ /* why */ }", "chart/templates/a.yaml": "{{- if .x }}\na: 1\n{{- end }}"})

    results = await validate(root, sandbox, DETECT, environment=None)

    assert statuses(results) == {"json_syntax": "passed", "yaml_syntax": "passed"}


async def test_ruff_names_rule_path_and_line(write: Write, sandbox: Sandbox) -> None:
    root = write({"a/b.py": "x = 1\nprint(undefined)\n"})

    result = one(await validate(root, sandbox, DETECT, environment=None), "ruff")

    found = Finding("a/b.py", 2, "F821: Undefined name `undefined`", rule="F821")
    assert (result.status, result.findings) == (FAILED, (found,))
    assert [finding.code for finding in result.coded] == ["ruff"]


async def test_a_safe_fix_of_ruffs_is_a_suggestion_for_whole_lines(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.py": "import os\nimport sys\n\nx = 'é', f'a', sys.argv\n"})

    result = one(await validate(root, sandbox, DETECT, environment=None), "ruff")

    assert [(it.line, it.suggestion) for it in result.findings] == [
        (1, Suggestion(1, 1, "")),
        (4, Suggestion(4, 4, "x = 'é', 'a', sys.argv")),
    ]


@pytest.mark.parametrize(
    ("begin", "end", "content", "expected"),
    [
        ((1, 5), (1, 8), "2", Suggestion(1, 1, "one 2")),
        ((1, 1), (3, 1), "new\n", Suggestion(1, 2, "new")),
        ((1, 1), (3, 1), "", Suggestion(1, 2, "")),
        ((1, 8), (2, 1), "; ", Suggestion(1, 2, "one two; three")),
        ((3, 1), (3, 1), "last", Suggestion(3, 3, "last")),
        ((2, 1), (9, 1), "beyond", None),
    ],
)
def test_an_edit_of_ruffs_becomes_text_for_the_lines_that_it_touches(
    begin: tuple[int, int], end: tuple[int, int], content: str, expected: Suggestion | None
) -> None:
    edit = {
        "content": content,
        "location": {"row": begin[0], "column": begin[1]},
        "end_location": {"row": end[0], "column": end[1]},
    }
    assert suggested(edit, "one two\nthree\n") == expected


async def test_ruff_follows_the_projects_own_configuration(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.py": "print(undefined)\n", "pyproject.toml": '[tool.ruff.lint]\nignore = ["F821"]\n'})

    assert one(await validate(root, sandbox, DETECT, environment=None), "ruff").status == PASSED


async def test_a_configuration_that_ruff_cannot_read_is_a_finding(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.py": "x = 1\n", "pyproject.toml": '[tool.ruff]\nline-length = "wide"\n'})

    result = one(await validate(root, sandbox, DETECT, environment=None), "ruff")

    assert (result.status, result.findings[0].path) == (FAILED, "pyproject.toml")
    assert "line-length" in result.findings[0].message


async def test_ruff_fixes_nothing_even_when_the_project_asks_for_it(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.py": "import os\n", "ruff.toml": "fix = true\n"})

    result = one(await validate(root, sandbox, DETECT, environment=None), "ruff")

    assert (result.status, (root / "a.py").read_text()) == (FAILED, "import os\n")


async def test_a_failed_test_gives_the_assertion_at_its_place(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD | {"src/adder.py": "def add(a: int, b: int) -> int:\n    return a - b\n"})

    result = one(await validate(root, sandbox, DETECT, environment=environment), "pytest")

    assert [(f.path, f.line) for f in result.findings] == [("tests/test_adder.py", 5)]
    assert "assert -1 == 3" in result.findings[0].message
    assert (result.status, result.detail) == (FAILED, "1 failed")


async def test_an_error_inside_the_project_is_placed_where_it_was_raised(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD | {"src/adder.py": "def add(a: int, b: int) -> int:\n    raise ValueError('no')\n"})

    result = one(await validate(root, sandbox, DETECT, environment=environment), "pytest")

    assert [(f.path, f.line) for f in result.findings] == [("src/adder.py", 2)]


async def test_a_module_that_cannot_be_imported_is_a_finding(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write({"tests/test_a.py": "x = 1\nimport absent_module  # noqa\n"})

    result = one(await validate(root, sandbox, DETECT, environment=environment), "pytest")

    assert [(f.path, f.line) for f in result.findings] == [("tests/test_a.py", 2)]
    assert "No module named 'absent_module'" in result.findings[0].message


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("import os\n\n\ndef test_a():\n    os._exit(0)\n", FAILED, "ended with status 0"),
        ("import pytest\n\n\n@pytest.mark.skip\ndef test_a():\n    pass\n", NOT_RUN, "1 skipped"),
        ("def test_a():\n    print('x' * 3_000_000)\n    assert False\n", FAILED, "1 failed"),
        ("import sys\n\n\ndef test_a():\n    sys.exit(0)\n", FAILED, "1 failed"),
    ],
)
async def test_what_ends_badly_or_runs_nothing_never_counts_as_passed(
    write: Write, sandbox: Sandbox, environment: Environment, code: str, status: ValidationStatus, words: str
) -> None:
    root = write({"test_a.py": code})

    (result,) = await validate(root, sandbox, ValidationPlan(("pytest",)), environment=environment)

    assert result.status is status
    assert words in result.detail


async def test_pytest_asked_for_without_a_test_fails(write: Write, sandbox: Sandbox, environment: Environment) -> None:
    root = write({"a.py": "x = 1\n"})

    (result,) = await validate(root, sandbox, ValidationPlan(("pytest",)), environment=environment)

    assert (result.status, result.detail) == (FAILED, "No tests ran. Write tests in files named test_*.py.")


async def test_a_long_message_keeps_its_end(write: Write, sandbox: Sandbox, environment: Environment) -> None:
    root = write({"test_a.py": "def test_a():\n    raise ValueError('x' * 9000 + 'the end')\n"})

    (result,) = await validate(root, sandbox, ValidationPlan(("pytest",)), environment=environment)

    assert len(result.findings[0].message) <= 1500
    assert result.findings[0].path == "test_a.py"


async def test_tests_do_not_run_without_their_dependencies(write: Write, sandbox: Sandbox) -> None:
    root = write(GOOD)
    broken = Environment(None, (ValidationResult("dependencies", NOT_RUN, (), "The index is away."),))

    without = one(await validate(root, sandbox, DETECT, environment=None), "pytest")
    failed = one(await validate(root, sandbox, DETECT, environment=broken), "pytest")

    assert (without.status, without.detail) == (NOT_RUN, "Not run because the dependencies were not installed.")
    assert (failed.status, failed.detail) == (NOT_RUN, "Not run because of dependencies: The index is away.")


async def test_with_paths_only_these_files_are_looked_at(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD | {"broken.py": "def", "tests/test_broken.py": "def test_b():\n    assert False\n"})

    source = await validate(root, sandbox, DETECT, environment=environment, paths=["src/adder.py", "absent.py"])
    tests = await validate(root, sandbox, DETECT, environment=environment, paths=["tests/test_adder.py"])

    assert statuses(source) == {"python_syntax": "passed", "ruff": "passed"}
    assert statuses(tests) == {"python_syntax": "passed", "ruff": "passed", "pytest": "passed"}


async def test_commands_run_last_and_their_end_is_the_finding(write: Write, sandbox: Sandbox) -> None:
    root = write({"data.txt": "x"})
    plan = ValidationPlan(commands=("test -f data.txt", "echo why; exit 3"))

    results = await validate(root, sandbox, plan, environment=None)

    assert results == (
        ValidationResult("test -f data.txt", PASSED, (), "exit status 0"),
        ValidationResult(
            "echo why; exit 3",
            FAILED,
            (Finding(".orchestrator.yaml", 1, "`echo why; exit 3` ended with status 3.\nwhy"),),
            "ended with status 3",
        ),
    )


async def test_commands_find_the_installed_programs(write: Write, sandbox: Sandbox, environment: Environment) -> None:
    root = write(GOOD)

    results = await validate(
        root, sandbox, ValidationPlan((), ("pytest -q -p no:cacheprovider",)), environment=environment
    )

    assert statuses(results) == {"pytest -q -p no:cacheprovider": "passed"}


async def test_a_validator_that_does_not_exist_is_said_so(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.py": "x = 1\n"})

    (result,) = await validate(root, sandbox, ValidationPlan(("pylint",)), environment=None)

    assert (result.validator, result.status) == ("pylint", NOT_RUN)


async def test_sec_21_without_isolation_only_static_checks_run(write: Write, environment: Environment) -> None:
    root = write(GOOD)
    sandbox = await open_sandbox(Rung.LIMITS)

    results = await validate(root, sandbox, ValidationPlan(commands=("touch made",)), environment=environment)

    assert statuses(results) == {
        "python_syntax": "passed", "ruff": "passed", "pytest": "not_run", "touch made": "not_run",
    }  # fmt: skip
    assert not (root / "made").exists()


@pytest.mark.parametrize("table", ["[tool.ruff]\nextend", "[tool.ruff.lint]\nselect"])
async def test_sec_21_without_isolation_no_configuration_makes_ruff_quote_a_file_of_this_machine(
    write: Write, tmp_path: Path, table: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("TOKEN=hunter2\n")
    root = write({"a.py": "A = 1\n", "pyproject.toml": f"{table} = {json.dumps(str(outside))}\n"})

    results = await validate(root, await open_sandbox(Rung.LIMITS), DETECT, environment=None)

    assert one(results, "ruff").status is PASSED
    assert "hunter2" not in repr(results)


async def test_sec_21_without_isolation_no_link_leads_a_static_check_to_a_file_of_this_machine(
    write: Write, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("TOKEN=hunter2\n")
    (outside / "secret.json").write_text('{"properties": {"a": {"const": "hunter2"}}}')
    root = write({"a.py": "A = 1\n", "b.json": '{"$schema": "folder/secret.json", "a": 1}'})
    (root / "leak.py").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "inner.py").symlink_to("a.py")

    results = await validate(root, await open_sandbox(Rung.LIMITS), DETECT, environment=None)

    assert "hunter2" not in repr(results)
    assert statuses(results) == {"python_syntax": "passed", "json_syntax": "passed", "ruff": "passed"}
    assert sorted(path.name for path in root.iterdir()) == ["a.py", "b.json", "inner.py"]


def test_sec_21_what_ruff_says_of_its_own_failure_without_isolation_is_kept_back() -> None:
    said = read_ruff(Finished(2, "1 | TOKEN=hunter2\n", False), "/workspace", quoted=False)
    assert said.findings[0].message == "ruff cannot check this project: it ended with status 2."


async def test_folders_below_folders_at_any_depth_are_checked(
    write: Write, sandbox: Sandbox, environment: Environment
) -> None:
    root = write(GOOD)
    deep = root / "/".join("d" * 700)
    deep.mkdir(parents=True)
    (deep / "broken.py").write_text("def")

    results = await validate(root, sandbox, DETECT, environment=environment)

    assert one(results, "python_syntax").status is FAILED


async def test_numbers_of_any_length_are_no_reason_for_a_check_to_end(write: Write, sandbox: Sandbox) -> None:
    root = write({"a.json": "1" * 5000, "b.toml": f"a = {'1' * 5000}", "c.toml": '[" line x "]\n[" line x "]'})

    results = await validate(root, sandbox, DETECT, environment=None)

    assert one(results, "json_syntax").status is PASSED
    said = [(it.path, it.line, it.message[:9]) for it in one(results, "toml_syntax").findings]
    assert said == [("b.toml", 1, "not TOML:"), ("c.toml", 2, "not TOML:")]


@pytest.mark.parametrize(
    "printed",
    ["[]", "{}", "1", "null", "[" * 100_000, '{"passed": 1, "failed": 0, "skipped": 0, "findings": [1]}',
     '{"passed": [], "failed": 0, "skipped": 0, "findings": []}', '{"passed": 1e999, "failed": 0, "skipped": 0}'],
)  # fmt: skip
def test_a_test_that_prints_a_report_of_its_own_fails_and_nothing_else(printed: str) -> None:
    result = read_pytest(Finished(0, f"\nWORD{printed}\n", False), "WORD")
    assert result.status is FAILED


@pytest.mark.parametrize(
    ("paths", "validators", "nothing"),
    [
        (["a.md", "b.txt"], None, True),
        (["a.md", "app.py"], None, False),
        (["data.json"], None, False),
        (["a.md"], ("length",), False),
        (None, None, False),
    ],
)
def test_files_that_no_detected_validator_looks_at_need_no_copy(
    paths: list[str] | None, validators: tuple[str, ...] | None, nothing: bool
) -> None:
    assert nothing_to_check(ValidationPlan(validators), paths) is nothing
