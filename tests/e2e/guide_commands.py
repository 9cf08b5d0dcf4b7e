"""The guide's commands: what each is given, and what it must have done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

from orchestrator.specs import load_project_file
from tests.e2e.guide import JOB, ROOT, TEXT, Place, completed, task
from tests.loopback import Answer, Script


def report(place: Place, folder: str) -> dict[str, Any]:
    """Return the report below a folder."""
    found: dict[str, Any] = json.loads((place.folder / folder / ".orchestrator/report.json").read_text())
    return found


def a_copy_and_a_virtual_environment(place: Place) -> None:
    """Stand in a copy of this repository, with an empty virtual environment whose `pip` is the one that is called."""
    for name in ("orchestrator", "bot", "action"):
        shutil.copytree(ROOT / name, place.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, place.folder)
    subprocess.run([sys.executable, "-m", "venv", place.folder.parent / "venv"], check=True)
    place.interpreter = str(place.folder.parent / "venv/bin/python")


def installs(place: Place) -> None:
    """Everything that was asked for is there, and what was installed starts."""
    assert place.status == 0, place.out
    modules = "openai, anthropic, google.genai, aiosqlite, yaml, dotenv, pytest, ruff, jsonschema"
    place.bash(f"cd / && python -I -c 'import {modules}' && python -I -m orchestrator --version")
    assert (place.status, place.out) == (0, "orchestrator 0.1.0\n")


def reads_the_keys_of_the_file(place: Place) -> None:
    """The three keys of the `.env` are those that the vendors see when the command line runs beside it."""
    assert (place.folder / ".env").read_text().splitlines() == [
        "OPENAI_API_KEY=loopback-openai-key",
        "ANTHROPIC_API_KEY=loopback-anthropic-key",
        "GOOGLE_API_KEY=loopback-google-key",
    ]
    place.bash(f"python -m orchestrator --project {JOB.split(',')[0]} --criteria 'One file'")
    assert place.status == 0, place.out
    assert place.providers() <= {"openai", "anthropic", "google"}
    assert {call.key for call in place.calls} == {f"loopback-{name}-key" for name in place.providers()}


def without_keys(place: Place) -> None:
    for name in [name for name in place.environment if name.endswith("_API_KEY")]:
        del place.environment[name]


def ten_tasks() -> Script:
    """Models that cut a service into ten tasks, as the guide says, and write them."""
    names = [f"part-{number}" for number in range(1, 11)]
    tasks = [task(name, f"{name}.md", after=(names[0],) if number else ()) for number, name in enumerate(names)]
    return Script(answers={"decompose": lambda _: Answer({"tasks": tasks})})


def builds_the_service(place: Place) -> None:
    """The app type was detected, ten tasks were routed to the cheapest, reviewed by others, and delivered."""
    assert place.status == 0, place.out
    found = report(place, "results")
    assert (found["status"], found["app_type"], found["budget"]["max_usd"]) == ("completed", "fastapi", 8.0)
    assert 10 <= len(found["tasks"]) <= 12
    assert {one["status"] for one in found["tasks"]} == {"completed"}
    (state,) = place.states()
    for result in state.results.values():
        written = next(route for route in result.routes if route.purpose == "generate")
        assert written.forecast_usd <= written.next_forecast_usd
        assert result.review
        assert result.review.provider != result.provider
    assert {path.name for path in (place.folder / "results").glob("*.md")} == {f"part-{n}.md" for n in range(1, 11)}


def two_providers(place: Place) -> None:
    """Keep the keys of two vendors that one SDK speaks to: a process loads no other."""
    place.environment = {
        name: value
        for name, value in place.environment.items()
        if not name.endswith(("_API_KEY", "_BASE_URL")) or name.startswith(("OPENAI", "DEEPSEEK"))
    }


def builds_the_storefront(place: Place) -> None:
    """The words chose Next.js, every prompt says so, and the files lie in the folder that was named."""
    assert place.status == 0, place.out
    found = report(place, "storefront")
    assert (found["status"], found["app_type"]) == ("completed", "nextjs")
    assert (place.folder / "storefront/notes.md").is_file()
    assert all("nextjs" in call.prompt + call.system for call in place.of("architecture") + place.of("decompose"))


def projects_are_here(place: Place) -> None:
    two_providers(place)
    (place.folder / "projects").mkdir()
    for path in (ROOT / "projects").glob("*.yaml"):
        (place.folder / "projects" / path.name).write_bytes(path.read_bytes())
    source = (ROOT / "projects/legacy_flat.yaml").read_text()
    (place.folder / "projects/my_project.yaml").write_text(source)
    # The full example charges a team and a job, whose budgets are the operator's to give.
    config = place.folder.parent / "operator.yaml"
    config.write_text("budgets:\n  teams: {eng: 50}\n  jobs: {job_001: 10}\n")
    place.environment["ORCHESTRATOR_CONFIG"] = str(config)


def builds_the_file(place: Place) -> None:
    """The file's caps and policy hold: no provider that it does not allow was asked."""
    assert "\nrun" not in place.out
    found = report(place, "results")
    assert found["budget"]["max_usd"] == 5.0
    assert found["title"] == "Rate limiter library"
    assert place.providers() == {"openai"}


def is_a_project_file(place: Place) -> None:
    """The sections mean what they say, and the command line takes them."""
    path = place.folder / "project.yaml"
    path.write_text(TEXT["3-from-project-yaml-file/2"])
    job = load_project_file(path).job
    assert (job.title, job.description) == ("Rate limiter library", "Implement token bucket rate limiter")
    assert job.criteria == "pytest passes, ruff clean, README complete"
    assert (job.budget.max_usd, job.budget.max_time_seconds) == (5.0, 3600)
    (policy,) = job.policies.policies
    assert policy.allowed_providers == ("openai", "anthropic")


def an_interrupted_run(place: Place) -> None:
    """Kill a run when the first of its two tasks is done, as a power cut would."""
    two_providers(place)
    place.models.hold_after(5)
    command = [sys.executable, "-m", "orchestrator", "--project", "Write notes", "--project-id", "lakes"]
    process = subprocess.Popen(
        command, cwd=place.folder, env=place.environment | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    place.models.wait_for_calls(6)
    process.kill()
    process.wait()
    place.models.release()


def two_tasks() -> Script:
    tasks = [task("one", "one.md"), task("two", "two.md", after=("one",))]
    return Script(answers={"decompose": lambda _: Answer({"tasks": tasks})})


def goes_on(place: Place) -> None:
    """The run is finished, and what was done before the cut was neither asked nor paid again."""
    assert place.status == 0, place.out
    completed(place)
    assert [call.purpose for call in place.calls].count("decompose") == 1
    first = [call for call in place.of("generate") if "Task: one" in call.prompt]
    assert len(first) == 1
    assert {path.name for path in (place.folder / "results").glob("*.md")} == {"one.md", "two.md"}


def a_finished_run(place: Place) -> None:
    run = f"Orchestrator().run_project({JOB}, project_id='lakes')"
    place.python(f"import asyncio\nfrom orchestrator import Orchestrator\nasyncio.run({run})")


def lists_the_run(place: Place) -> None:
    assert place.status == 0
    (line,) = place.lines
    assert line.split()[:3] == ["lakes", "completed", "0.90"]
    assert line.endswith("Write notes about lakes")


def prints_the_key(place: Place) -> None:
    assert place.lines == ["loopback-openai-key"]


def runs_both(place: Place) -> None:
    """The file's run and the text's run are two runs; the old form of this file was said to be deprecated."""
    assert place.status == 0, place.out
    completed(place, 2)
    assert {state.title for state in place.states()} == {
        "very long description...",
        "Build a Python library that parses durations such as 1h30m",
    }
    assert "projects/my_project.yaml:3: this flat form is deprecated" in place.out
