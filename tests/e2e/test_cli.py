"""The command line as a user meets it: real processes, the vendors' SDKs, a model server on this machine."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from tests.certificates import certificates
from tests.e2e.command_line import wait_for
from tests.loopback import Answer, Asked, Fault, ModelServer, Script
from tests.reports import read_report
from tests.unit.orchestrator.models import Models

ADR = "docs/adr/0001-architecture.md"
RUN = re.compile(r"^Run (\S+)$", re.MULTILINE)


def plan_of(*names: str) -> Answer:
    tasks = [
        {
            "id": name.partition(".")[0],
            "title": f"Write {name}",
            "type": "creative_writing",
            "description": f"All of {name}.",
            "depends_on": [],
            "files": [name],
            "critical": False,
        }
        for name in names
    ]
    return Answer({"tasks": tasks})


def notes(*names: str, **answers: Any) -> Script:
    """Models that plan and write Markdown files, which need no sandbox to be checked."""
    return Script(answers={"decompose": lambda _: plan_of(*(names or ("a.md", "b.md"))), **answers})


@dataclass
class Ended:
    """A process that has ended; no traceback may ever stand in what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class CommandLine:
    """The command line in a folder of its own, with its own state."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "ORCHESTRATOR_HOME": str(self.folder / "state")}
        return {**certificates(), **own, **self.env, **extra}

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=self.folder,
            env=self.environment(extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in out + err
        return Ended(process.returncode, out, err)

    def __call__(self, *arguments: str, **extra: str) -> Ended:
        return self.ended(self.start(*arguments, **extra))

    def report(self, folder: str = "results") -> dict[str, Any]:
        return read_report(self.folder / folder / ".orchestrator" / "report.json")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def found(self, folder: str = "results") -> list[str]:
        root = self.folder / folder
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer(notes()) as server:
        yield server


@pytest.fixture
def online(cli: CommandLine, models: ModelServer) -> CommandLine:
    # One SDK serves both, and loading it is most of what a run costs here.
    cli.env = models.environment(("openai", "deepseek"))
    return cli


# What needs no run


def test_the_version_and_the_schema_are_printed(cli: CommandLine) -> None:
    version = cli("--version")
    assert version.status == 0
    assert re.fullmatch(r"orchestrator \d+\.\d+\.\d+\S*\n", version.out)
    schema = cli("--print-schema")
    assert schema.status == 0
    published = Path(__file__).parents[2] / "orchestrator.schema.json"
    assert schema.json == json.loads(published.read_text())


def test_a_reader_that_leaves_ends_the_command_without_an_error_of_pythons_own(cli: CommandLine) -> None:
    process = cli.start("--print-schema")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    said = process.stderr.read()
    assert said == (
        "orchestrator: nobody reads standard output any more. What was done so far is kept; --list-projects shows it.\n"
    )
    assert process.wait(timeout=60) == 1
    process.stderr.close()


def test_a_terminal_without_a_character_shows_a_question_mark_and_goes_on(cli: CommandLine) -> None:
    ended = cli("--offline", "--plan", "--project", "A rate limiter for Köln", PYTHONIOENCODING="ascii")
    assert (ended.status, ended.err) == (0, "")
    assert "started: A rate limiter for K?ln (library)" in ended.out


def test_the_id_of_a_run_with_another_plan_is_said_to_go_on_with_that(cli: CommandLine) -> None:
    assert cli("--offline", "--plan", "--project", "A rate limiter library", "--project-id", "one").status == 0
    ended = cli("--offline", "--plan", "--project", "A web shop", "--project-id", "one")
    assert ended.err == (
        "Warning: one goes on with its own plan, for 'A rate limiter library'. "
        "To build something else, give another --project-id.\n"
    )


def test_help_names_every_flag_of_the_contract(cli: CommandLine) -> None:
    ended = cli("--help")
    assert ended.status == 0
    assert set(re.findall(r"--[a-z-]+", ended.out)) >= {
        "--project",
        "--criteria",
        "--file",
        "--budget",
        "--max-time",
        "--output-dir",
        "--app-type",
        "--policy",
        "--concurrency",
        "--project-id",
        "--resume",
        "--list-projects",
        "--plan",
        "--offline",
        "--json",
        "--print-schema",
        "--version",
    }


def test_without_runs_the_list_is_empty(cli: CommandLine) -> None:
    assert cli("--list-projects").out == "No run yet.\n"
    assert cli("--list-projects", "--json").json == {"projects": []}


# Bad usage: exit 2, a sentence, no report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["Nothing to build", "--project", "--file"]),
        (("--project", ""), ["description is empty"]),
        (("--project", "x", "--file", "y.yaml"), ["--file", "--project"]),
        (("--projet", "x"), ["'--projet'", "did you mean '--project'?"]),
        (("--project", "a", "library"), ["'library'", "quotes"]),
        (("--project", "x", "--budget", "much"), ["--budget", "must be a number from 0 up, not 'much'"]),
        (("--project", "x", "--budget", "-1"), ["--budget", "-1"]),
        (("--project", "x", "--budget", "nan"), ["--budget", "nan"]),
        (("--project", "x", "--max-time", "0"), ["max", "time", "above 0"]),
        (("--project", "x", "--concurrency", "0"), ["--concurrency", "from 1 to 100"]),
        (("--project", "x", "--app-type", "fastap"), ["--app-type", "did you mean 'fastapi'?"]),
        (("--project", "x", "--project-id", "../up"), ["'../up' cannot name a run"]),
        (("--resume", "a", "--project-id", "b"), ["--resume", "--project-id"]),
        (("--resume", "unknown-run"), ["--resume", "'unknown-run'", "--list-projects"]),
        (("--file", "missing.yaml"), ["missing.yaml"]),
        (("--file", ""), ["--file", "must not be empty"]),
        (("--project", "x", "--policy", ""), ["--policy", "must not be empty"]),
        (("--project", "x", "--project-id", ""), ["--project-id", "must not be empty"]),
        (("--project", "x", "--output-dir", " "), ["--output-dir", "must not be empty"]),
        (("--project", "x", "--resume", ""), ["--resume", "must not be empty"]),
        (("--project", "x", "--policy", "missing.yaml"), ["missing.yaml"]),
    ],
)
def test_bad_usage_is_a_sentence_that_names_the_flag(
    arguments: tuple[str, ...],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # given: this process as the command line, for there are many cases and a new one takes a second
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ORCHESTRATOR_OFFLINE", "1")
    # when
    try:
        status: object = main(arguments)
    except SystemExit as left:
        status = left.code
    # then
    said = capsys.readouterr()
    assert status == 2
    for word in words:
        assert word in said.err
    assert said.out == ""
    assert not (tmp_path / "results").exists()


def test_a_broken_spec_is_named_by_file_line_and_field_with_what_was_meant(cli: CommandLine) -> None:
    cli.write("job.yaml", "project:\n  description: A library\nbudgett:\n  max_usd: 1\n")
    ended = cli("--file", "job.yaml", "--offline")
    assert ended.status == 2
    assert "job.yaml:3:1: budgett: " in ended.err
    assert "did you mean 'budget'?" in ended.err
    assert not (cli.folder / "results").exists()


def test_a_broken_policy_is_named_by_file_and_line(cli: CommandLine) -> None:
    cli.write("policy.yaml", "name: strict\nallowed_providers: [opnai]\n")
    ended = cli("--project", "x", "--offline", "--policy", "policy.yaml")
    assert ended.status == 2
    assert "policy.yaml:2:" in ended.err
    assert "did you mean 'openai'?" in ended.err


def test_an_output_folder_that_cannot_be_written_to_is_named(online: CommandLine, models: ModelServer) -> None:
    online.write("taken", "a file")
    ended = online("--project", "Notes", "--output-dir", "taken/below")
    assert ended.status == 2
    assert "taken/below cannot be used" in ended.err
    assert models.journal == []


@pytest.mark.slow
def test_an_unknown_run_is_named_with_the_nearest_known_one(online: CommandLine) -> None:
    online("--project", "Notes", "--project-id", "my-notes")
    ended = online("--resume", "my-note")
    assert ended.status == 2
    assert "did you mean 'my-notes'?" in ended.err


# Runs


def test_a_run_writes_its_files_and_both_reports(online: CommandLine) -> None:
    ended = online("--project", "Notes about lakes", "--criteria", "two notes")
    assert ended.status == 0
    assert online.found() == [
        ".orchestrator/files.json",
        ".orchestrator/report.json",
        ".orchestrator/report.md",
        "a.md",
        "b.md",
        ADR,
    ]
    report = online.report()
    assert report["status"] == "completed"
    assert report["files"] == ["a.md", "b.md", ADR]
    assert report["budget"]["max_usd"] == 8.0
    assert report["budget"]["max_time_seconds"] == 5400
    assert "# Notes about lakes" in (online.folder / "results/.orchestrator/report.md").read_text()
    assert "plan: 2 tasks" in ended.out
    assert "task a: completed" in ended.out


def test_json_prints_exactly_the_report_on_standard_output(online: CommandLine, models: ModelServer) -> None:
    ended = online("--project", "Notes", "--json")
    assert ended.status == 0
    assert ended.out.count("\n") == 1
    assert ended.json == online.report()
    assert "🏗 Architecture\n   Structural pattern: layered\n   Topology:           library\n" in ended.err
    assert "plan: 2 tasks" in ended.err
    assert ended.json["budget"]["spent_usd"] == sum(call["cost_usd"] for call in ended.json["calls"])
    billed = sorted((call.input_tokens, call.output_tokens) for call in models.billed)
    assert sorted((call["input_tokens"], call["output_tokens"]) for call in ended.json["calls"]) == billed


@pytest.mark.slow
def test_a_spec_file_gives_the_job_and_flags_win_over_it(online: CommandLine) -> None:
    online.write(
        "job.yaml",
        "project:\n  title: Lakes\n  description: Notes about lakes\n  app_type: library\n"
        "budget:\n  max_usd: 5\n  max_time_seconds: 100\n",
    )
    ended = online("--file", "job.yaml", "--budget", "3", "--app-type", "generic", "--output-dir", "out")
    assert ended.status == 0
    report = online.report("out")
    assert (report["title"], report["app_type"]) == ("Lakes", "generic")
    assert (report["budget"]["max_usd"], report["budget"]["max_time_seconds"]) == (3.0, 100)


@pytest.mark.slow
def test_the_list_shows_every_run(online: CommandLine) -> None:
    online("--project", "Notes about lakes", "--project-id", "lakes")
    listed = online("--list-projects")
    assert listed.status == 0
    assert re.search(r"^lakes +completed +0\.90 +\$ +0\.\d{4} ", listed.out)
    (project,) = online("--list-projects", "--json").json["projects"]
    assert (project["id"], project["status"], project["score"]) == ("lakes", "completed", 0.9)


def test_a_plan_generates_and_writes_nothing(online: CommandLine, models: ModelServer) -> None:
    ended = online("--project", "Notes", "--plan")
    assert ended.status == 0
    assert [call.purpose for call in models.journal] == ["architecture", "decompose"]
    assert "- a: Write a.md" in ended.out
    assert "Forecast: $" in ended.out
    assert not (online.folder / "results").exists()


@pytest.mark.slow
def test_a_plan_can_be_resumed_into_a_build(online: CommandLine, models: ModelServer) -> None:
    planned = online("--project", "Notes", "--plan", "--output-dir", "built")
    run = RUN.search(planned.out)
    assert run
    assert online("--resume", run[1]).status == 0
    assert "a.md" in online.found("built")
    assert [call.purpose for call in models.journal].count("decompose") == 1


@pytest.mark.slow
def test_the_id_of_a_run_that_exists_goes_on_with_it(online: CommandLine, models: ModelServer) -> None:
    assert online("--project", "Notes", "--project-id", "one", "--budget", "0").status == 3
    assert online("--project-id", "one", "--budget", "8").status == 0
    assert len(online("--list-projects", "--json").json["projects"]) == 1


def test_a_cap_that_pays_nothing_exits_3_with_the_command_that_goes_on(online: CommandLine) -> None:
    ended = online("--project", "Notes", "--budget", "0")
    assert ended.status == 3
    assert online.report()["status"] == "budget_exhausted"
    assert "python -m orchestrator --resume" in ended.out
    assert "--budget" in ended.out.splitlines()[-1]


def test_time_that_runs_out_exits_3(cli: CommandLine) -> None:
    with ModelServer(Script(delay=5)) as server:
        cli.env = server.environment(("openai",))
        ended = cli("--project", "Notes", "--max-time", "1")
    assert ended.status == 3
    assert cli.report()["status"] == "timed_out"


@pytest.mark.slow
def test_a_partial_run_exits_1(cli: CommandLine) -> None:
    def judged(asked: Asked) -> Answer:
        bad = "Task: b\n" in asked.prompt
        return Answer({"score": 0.3 if bad else 0.9, "reason": "It says nothing of lakes." if bad else "All is there."})

    with ModelServer(notes(evaluate=judged)) as server:
        cli.env = server.environment(("openai", "anthropic"))
        ended = cli("--project", "Notes")
    assert ended.status == 1
    report = cli.report()
    assert report["status"] == "partial"
    assert {task["id"]: task["status"] for task in report["tasks"]} == {"a": "completed", "b": "failed"}


def test_without_a_key_it_exits_4_names_the_variables_and_writes_the_report(cli: CommandLine) -> None:
    ended = cli("--project", "Notes")
    assert ended.status == 4
    for word in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "--offline"):
        assert word in ended.out + ended.err
    report = cli.report()
    assert (report["status"], report["outcome"]["code"], report["calls"]) == ("failed", "no_model", [])


def test_a_policy_that_cannot_hold_exits_2_at_its_line_before_anything_is_asked(
    online: CommandLine, models: ModelServer
) -> None:
    online.write("policy.yaml", "global:\n  - name: closed\n    allowed_regions: []\n    blocked_models: [gtp-4o]\n")
    ended = online("--project", "Notes", "--policy", "policy.yaml")
    assert ended.status == 2
    assert "policy.yaml:3:5: policy closed: allowed_regions: is empty, which allows nothing" in ended.err
    assert "policy.yaml:4: policy closed: blocked_models: 'gtp-4o' is not a model of the catalog" in ended.err
    assert not (online.folder / "results").exists()
    assert models.journal == []


def test_the_specs_team_and_job_choose_the_levels_of_a_policy_file(online: CommandLine, models: ModelServer) -> None:
    online.write("spec.yaml", "project: {title: Notes}\nbudget: {team: eng, job: enq_job}\n")
    online.write(
        "policies.yaml",
        "team:\n  eng:\n    - {name: theirs, allowed_providers: [zhipu]}\n"
        "job:\n  eng_job:\n    - {name: gentle, rate_limit: 60}\n",
    )
    ended = online("--file", "spec.yaml", "--policy", "policies.yaml")
    assert ended.status == 4
    assert "(policy theirs)" in online.report()["outcome"]["reason"]
    assert "nothing of the job 'enq_job'; did you mean 'eng_job'?" in ended.err
    assert models.journal == []


@pytest.mark.parametrize("allowed", [[], ["zhipu"]], ids=["nobody", "somebody without a key"])
def test_a_policy_that_forbids_all_exits_4_with_the_report(
    online: CommandLine, models: ModelServer, allowed: list[str]
) -> None:
    online.write("policy.json", json.dumps({"name": "closed", "allowed_providers": allowed}))
    ended = online("--project", "Notes", "--policy", "policy.json")
    assert ended.status == 4
    assert "closed" in online.report()["outcome"]["reason"]
    assert models.journal == []


@pytest.mark.slow
def test_when_all_providers_are_down_it_exits_4_with_the_report(cli: CommandLine) -> None:
    with ModelServer(Script(faults={"*": [Fault.status(401)] * 50})) as server:
        cli.env = server.environment(("openai", "anthropic"))
        ended = cli("--project", "Notes")
    assert ended.status == 4
    assert cli.report()["outcome"]["code"] == "no_model"


@pytest.mark.parametrize("which", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_an_interruption_exits_130_and_the_last_line_goes_on(
    online: CommandLine, models: ModelServer, which: signal.Signals
) -> None:
    # given
    models.hold_after(4)
    process = online.start("--project", "Notes", "--json", "--output-dir", "out")
    models.wait_for_answers(4)
    # when
    process.send_signal(which)
    ended = online.ended(process)
    # then
    assert ended.status == 130
    last = ended.err.splitlines()[-1]
    assert "python -m orchestrator --resume " in last
    assert ended.json["status"] == "interrupted"
    assert ended.json == online.report("out")
    assert "running" not in {task["status"] for task in ended.json["tasks"]}
    # when
    models.release()
    resumed = online(*last.partition("python -m orchestrator ")[2].split())
    # then
    assert resumed.status == 0
    assert online.report("out")["status"] == "completed"
    assert [call.purpose for call in models.billed].count("decompose") == 1


def reader_of(pipe: Path) -> int:
    """Wait until somebody reads a pipe, and return what to write to."""
    found: list[int] = []

    def opened() -> bool:
        try:
            found.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
        return bool(found)

    wait_for(opened)
    return found[0]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_second_signal_during_the_delivery_changes_neither_the_status_nor_the_last_line(
    online: CommandLine, models: ModelServer, second: signal.Signals
) -> None:
    # given: a record of our files that is read when the test lets it be, once for the run and once for its delivery
    record = online.folder / "results" / ".orchestrator" / "files.json"
    record.parent.mkdir(parents=True)
    os.mkfifo(record)
    models.hold_after(4)
    process = online.start("--project", "Notes", "--project-id", "notes")
    beginning = reader_of(record)
    os.write(beginning, b"{}")
    os.close(beginning)
    models.wait_for_answers(4)
    # when
    process.send_signal(second)
    delivering = reader_of(record)
    process.send_signal(second)
    os.write(delivering, b"{}")
    os.close(delivering)
    ended = online.ended(process)
    # then
    assert ended.status == 130
    assert ended.err.splitlines()[-1] == "Interrupted. Go on with: python -m orchestrator --resume notes"
    assert online.report()["status"] == "interrupted"


@pytest.mark.slow
def test_an_interruption_before_there_is_a_run_names_none(online: CommandLine) -> None:
    # given: a command that looks at its folder before it begins a run
    record = online.folder / "results" / ".orchestrator" / "files.json"
    record.parent.mkdir(parents=True)
    os.mkfifo(record)
    process = online.start("--project", "Notes")
    looking = reader_of(record)
    # when
    process.send_signal(signal.SIGTERM)
    os.close(looking)
    ended = online.ended(process)
    # then
    assert (ended.status, ended.err) == (130, "Interrupted.\n")
    assert online("--list-projects").out == "No run yet.\n"


def test_a_run_about_a_repository_does_not_go_on_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given: what the bot has run in the same home
    home, base = tmp_path / "state", tmp_path / "base"
    base.mkdir()
    (base / "old.md").write_text("old")
    asyncio.run(Models().run(home, source=base, plan_only=True))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    monkeypatch.setenv("ORCHESTRATOR_OFFLINE", "1")
    # when
    statuses = [main(["--resume", "run-1"]), main(["--project", "x", "--project-id", "run-1"])]
    # then
    assert statuses == [2, 2]
    said = capsys.readouterr().err
    assert said.count("The run run-1 is about sample/repository and goes on there, not in a folder.") == 2
    assert not (tmp_path / "results").exists()


# Files that stand there already


def test_a_file_of_the_user_is_named_and_never_overwritten(online: CommandLine) -> None:
    online.write("results/b.md", "mine")
    ended = online("--project", "Notes")
    assert ended.status == 2
    assert "b.md" in ended.err
    assert online.found() == ["b.md"]
    assert (online.folder / "results/b.md").read_text() == "mine"


@pytest.mark.slow
def test_a_second_run_replaces_our_own_files_but_none_that_the_user_edited(
    online: CommandLine, models: ModelServer
) -> None:
    # given
    assert online("--project", "Notes").status == 0
    # when, then
    assert online("--project", "Notes").status == 0
    # given
    online.write("results/a.md", "edited")
    # when
    ended = online("--project", "Notes")
    # then
    assert ended.status == 2
    assert "a.md" in ended.err
    assert "b.md" not in ended.err
    assert (online.folder / "results/a.md").read_text() == "edited"


@pytest.mark.slow
def test_a_link_in_the_output_folder_is_not_followed(online: CommandLine) -> None:
    outside = online.write("outside/a.md", "mine")
    (online.folder / "results").mkdir()
    (online.folder / "results" / "a.md").symlink_to(outside)
    assert online("--project", "Notes").status == 2
    assert outside.read_text() == "mine"


# .env


def test_keys_come_from_a_dotenv_file_with_their_base_url(cli: CommandLine, models: ModelServer) -> None:
    variables = models.environment(("openai",))
    cli.write(".env", "".join(f"{name}={value}\n" for name, value in variables.items()))
    assert cli("--project", "Notes").status == 0
    assert {call.provider for call in models.journal} == {"openai"}


def test_a_base_url_of_a_dotenv_file_never_gets_a_real_key(cli: CommandLine, models: ModelServer) -> None:
    # given: the key is real, the file leads elsewhere
    with ModelServer(notes()) as stray:
        cli.write(".env", f"OPENAI_BASE_URL={stray.base_url('openai')}\nORCHESTRATOR_OFFLINE=1\n")
        cli.env = models.environment(("openai",))
        # when
        ended = cli("--project", "Notes")
        # then
        assert ended.status == 0
        assert stray.journal == []
        assert {call.provider for call in models.journal} == {"openai"}


@pytest.mark.slow
def test_real_variables_win_over_a_dotenv_file(cli: CommandLine, models: ModelServer) -> None:
    cli.write(".env", "OPENAI_API_KEY=sk-from-the-file\n")
    cli.env = models.environment(("openai",))
    assert cli("--project", "Notes").status == 0
    assert {call.key for call in models.journal} == {models.environment(("openai",))["OPENAI_API_KEY"]}


def test_a_dotenv_file_that_is_no_text_is_named(cli: CommandLine) -> None:
    (cli.folder / ".env").write_bytes(b"\xff\xfe\x00key")
    ended = cli("--project", "Notes", "--offline")
    assert ended.status == 2
    assert ".env" in ended.err
