from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from action.outputs import (
    NAMES,
    Ending,
    command,
    exit_status,
    fenced,
    masks,
    output_values,
    remarks,
    summary,
    write_outputs,
    write_report,
    write_summary,
)
from orchestrator.budget import Budget
from orchestrator.codes import Code
from orchestrator.errors import SpecFinding
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.stories.handler import HandledRun
from orchestrator.state import Outcome, ProjectState, ProjectStatus
from tests.reports import read_report

LINE_ENDS = re.compile(r"[\r\n]")


def _unescaped(text: str) -> str:
    """Undo the escapes as the runner does: https://github.com/actions/runner, ActionCommand.cs."""
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")


@given(st.text(), st.text(), st.text(min_size=1))
def test_any_text_stays_one_command_and_comes_out_as_it_went_in(message: str, path: str, title: str) -> None:
    said = command("error", message, file=path, line=3, title=title)
    assert not LINE_ENDS.search(said)
    match = re.fullmatch(r"::error (?P<properties>[^:]*)::(?P<message>.*)", said, re.DOTALL)
    assert match
    assert _unescaped(match["message"]) == message
    properties = dict(part.split("=", 1) for part in match["properties"].split(","))
    assert _unescaped(properties.get("file", "")) == path
    assert (properties["line"], _unescaped(properties["title"])) == ("3", title)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\r", codec="utf-8"))))
def test_any_value_stays_one_output(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("outputs") / "output"
    write_outputs(path, values)
    read: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").split("\n")[:-1])
    for line in lines:
        name, _, delimiter = line.partition("<<")
        read[name] = "\n".join(iter(lambda end=delimiter: next(lines), delimiter))  # type: ignore[misc]
    assert read == values


def test_two_files_never_share_a_delimiter(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_outputs(tmp_path / name, {"status": "completed"})
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_fence_opens_and_closes_with_one_token_that_nobody_could_know() -> None:
    out = io.StringIO()
    with fenced(out):
        print("::error::from a model", file=out)
    opened, said, closed = out.getvalue().splitlines()
    assert re.fullmatch(r"::stop-commands::[0-9a-f]{64}", opened)
    assert (said, closed) == ("::error::from a model", f"::{opened.removeprefix('::stop-commands::')}::")


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    assert masks(["one-secret", "-----BEGIN\nabcdef\n\nxy\n"]) == [
        "::add-mask::-----BEGIN",
        "::add-mask::abcdef",
        "::add-mask::one-secret",
    ]


@pytest.mark.parametrize(
    ("status", "exit_code", "never", "error", "criteria"),
    [
        ("completed", 0, 0, 0, 0),
        ("planned", 1, 0, 0, 0),
        ("answered", 1, 0, 0, 0),
        ("ignored", 1, 0, 0, 0),
        ("partial", 1, 0, 0, 1),
        ("budget_exhausted", 3, 0, 3, 3),
        ("denied", 1, 0, 1, 1),
        ("waiting", 1, 0, 1, 1),
        ("interrupted", 130, 0, 130, 130),
    ],
)
def test_fail_on_decides_which_endings_fail(status: str, exit_code: int, never: int, error: int, criteria: int) -> None:
    ending = Ending(status, exit_status=exit_code)
    assert [exit_status(ending, word) for word in ("never", "error", "criteria")] == [never, error, criteria]


def test_findings_of_a_spec_are_annotations_and_a_bad_ending_says_why() -> None:
    finding = SpecFinding(".orchestrator.yaml", 2, 1, "bugdet", "is no key; did you mean budget?")
    ending = Ending("spec_invalid", "The spec is broken.", spec_findings=(finding,))
    assert remarks(ending, Redactor()) == [
        "::error file=.orchestrator.yaml,line=2,title=bugdet::is no key; did you mean budget?",
        "::error title=orchestrator%3A spec_invalid::The spec is broken.",
    ]


def test_sec_31_a_secret_reaches_neither_summary_nor_annotation_nor_report(tmp_path: Path) -> None:
    redactor = Redactor(["hunter2-hunter2"])
    ending = Ending("failed", "The key is hunter2-hunter2.", report="Key: hunter2-hunter2 @everyone", requester="maria")
    path = write_report(tmp_path, ending, redactor)
    written = "\n".join([summary(ending, redactor), *remarks(ending, redactor), path.read_text()])
    assert "hunter2" not in written
    assert "@\u2060everyone" in written


def test_a_job_summary_is_cut_by_bytes(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    write_summary(path, Ending("completed", report="- 漢字漢字\n" * 80_000), Redactor())
    written = path.read_bytes()
    assert 999_000 < len(written) <= 1_048_576
    assert written.decode().endswith(
        "\n\n… cut here: GitHub takes no longer summary. The file that `report-path` names holds the rest.\n"
    )


@pytest.mark.parametrize(
    "status", ["refused", "denied", "spec_invalid", "answered", "planned", "failed", "interrupted"]
)
def test_however_a_step_ended_the_published_schema_allows_its_report(tmp_path: Path, status: str) -> None:
    ending = Ending.of(HandledRun("r-1", status, "It is so.", code=Code.REFUSED))
    report = read_report(write_report(tmp_path, ending, Redactor()))
    assert (report["status"], report["outcome"]) == (status, {"code": "refused", "reason": "It is so."})
    assert ("code `refused`" in summary(ending, Redactor())) is (status not in ("answered", "planned"))


def test_what_kept_a_result_from_being_published_is_the_reports_outcome(tmp_path: Path) -> None:
    state = ProjectState("r-1", "t", "d", "", Budget(1.0), ProjectStatus.COMPLETED, outcome=Outcome("changed", "Done."))
    handled = HandledRun("r-1", "failed", "GitHub would not push: 403", state, code=Code.MISSING_PERMISSION)
    report = read_report(write_report(tmp_path, Ending.of(handled), Redactor()))
    assert report["outcome"] == {"code": "missing_permission", "reason": "GitHub would not push: 403"}


def test_without_a_run_the_report_is_still_a_file_with_every_field(tmp_path: Path) -> None:
    ending = Ending("ignored", "the comment holds no command", code=Code.IGNORED)
    path = write_report(tmp_path / "new", ending, Redactor())
    report = read_report(path)
    assert report["status"] == "ignored"
    assert report["outcome"] == {"code": "ignored", "reason": "the comment holds no command"}
    assert (report["budget"]["spent_usd"], report["tasks"], report["calls"], report["files"]) == (0.0, [], [], [])
    assert output_values(ending, path) == {
        "status": "ignored",
        "project-id": "",
        "branch": "",
        "pull-request-number": "",
        "pull-request-url": "",
        "spent-usd": "0.000000",
        "score": "0.00",
        "report-path": str(path),
    }
