"""The table of the guide's blocks: what each is given, what it lacks, and what must have happened when it has run."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import TracingConfig, configure_tracing
from orchestrator.catalog import load_catalog
from orchestrator.specs import load_project_file
from orchestrator.state import ProjectStatus
from tests.e2e.guide import JOB, ORIGINAL, ROOT, Place, Supplied, blocks, notes, plan_of, task
from tests.loopback import Answer, Asked, Script

Script_ = Callable[[], Script]
ASYNCIO = "import asyncio"
CORE = "from orchestrator import Budget, Orchestrator"
ORCH = "orch = Orchestrator(budget=Budget(max_usd=10.0))"
RUN = (("run_project(...)", f"run_project({JOB})"),)
PATTERNS = {"layered", "hexagonal", "cqrs", "event-driven", "mvc", "clean", "script"}
TOPOLOGIES = {"monolith", "modular-monolith", "microservices", "serverless", "bff", "library"}
PARADIGMS = {"rest", "graphql", "grpc", "websocket", "cli", "none"}
DATA = {"relational", "document", "key-value", "time-series", "graph", "none"}
PLANNING = ("architecture", "decompose")
TEXT = {block.id: block.text for block in blocks(ORIGINAL)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One block: `given` prepares its place, `script` is what the models say, `then` asserts what it has done."""

    then: Callable[[Place], None]
    supplied: Supplied = field(default_factory=Supplied)
    given: Callable[[Place], None] | None = None
    script: Script_ = notes
    slow: bool = False


def completed(place: Place, runs: int = 1) -> None:
    """Every run of the place has ended well, and was paid for within its cap."""
    states = place.states()
    assert [state.status for state in states] == [ProjectStatus.COMPLETED] * runs
    assert all(0 < state.budget.spent_usd <= state.budget.max_usd for state in states)


# The command line


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
    place.python(f"{ASYNCIO}\n{CORE}\nasyncio.run(Orchestrator().run_project({JOB}, project_id='lakes'))")


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


# The Python examples


def basic(place: Place) -> None:
    completed(place)
    (state,) = place.states()
    assert place.lines == ["Status: completed", f"Spent: ${state.budget.spent_usd:.4f}", "Tasks completed: 1"]
    assert (state.budget.max_usd, state.budget.max_time_seconds) == (5.0, 3600)


def forecasts(place: Place) -> None:
    """The forecast is a positive sum under half of the budget, and the run that it allowed has taught the predictor."""
    total, risk = place.lines
    assert float(total.removeprefix("Estimated total: $")) > 0
    assert risk == "Risk level: low"
    completed(place)


def routes_by_weights(place: Place) -> None:
    """The backend that was set last is what routes: quality wins over the price that greedy would have taken."""
    completed(place)
    (state,) = place.states()
    (result,) = state.results.values()
    assert "weighted" in result.routes[0].reason
    assert {call.model for call in place.of("generate")} != {"deepseek-chat"}


def keeps_out_forbidden_providers(place: Place) -> None:
    """DeepSeek, which plain routing would have asked, serves no allowed region and trains: nothing went there."""
    completed(place)
    assert place.providers() <= {"openai", "anthropic", "google"}
    assert len(place.calls) >= 5


def broken_first() -> Script:
    """Models whose first answer is no Python, and whose planning costs most of its phase."""

    def generate(asked: Asked) -> Answer:
        usual = script.default(asked)
        if asked.turn == 0:
            return Answer({**json.loads(usual.text), "files": [{"path": "part.py", "content": "def (\n"}]})
        return usual

    script = Script(
        answers={
            "decompose": lambda _: Answer(plan_of("part.py").content, input_tokens=1_700_000),
            "generate": generate,
        }
    )
    return script


def hears_the_run(place: Place) -> None:
    """Each of the three hooks has printed what it heard."""
    completed(place)
    (state,) = place.states()
    (result,) = state.results.values()
    assert f"✓ notes: score={result.score:.3f}, cost=${result.cost_usd:.4f}" in place.lines
    assert [line for line in place.lines if line.startswith("✗")] == ["✗ notes: validator failed"]
    warnings = [line for line in place.lines if line.startswith("⚠")]
    assert [line for line in warnings if line.startswith("⚠ decomposition: ")]
    assert all(line.endswith("% of budget used") for line in warnings)


def exports_metrics(place: Place) -> None:
    """The table was printed, and both files hold what their readers parse."""
    completed(place)
    assert len(place.lines) >= 4
    assert any(set(line.strip()) <= set("+-=| ") for line in place.lines if line.strip())
    data = json.loads((place.folder / "metrics.json").read_text())
    assert data
    families = list(text_string_to_metric_families((place.folder / "orch.prom").read_text()))
    assert {family.type for family in families} >= {"counter", "gauge"}
    samples = [sample for family in families for sample in family.samples]
    assert any(sample.value > 0 for sample in samples if "cost" in sample.name)


def picks_the_best(place: Place) -> None:
    """Both agents ran; the winner's name is one of theirs."""
    completed(place, 2)
    assert place.lines[-1] in ("Best strategy: pareto", "Best strategy: greedy")
    reasons = {route.reason for state in place.states() for result in state.results.values() for route in result.routes}
    assert len(reasons) > 1


def sample(block: str) -> list[str]:
    """Return the guide's own output of an example, a line for each label."""
    lines: list[str] = []
    for line in TEXT[block].splitlines():
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines


def decided(block: str) -> dict[str, str]:
    """Return the architecture that an example's output shows."""
    said = {label.strip("✓ ").casefold(): value for label, _, value in (it.partition(": ") for it in sample(block))}
    names = {
        "structural_pattern": ("structural pattern", "architecture pattern"),
        "topology": ("topology",),
        "api_paradigm": ("api paradigm",),
        "data_paradigm": ("data paradigm", "data storage"),
        "rationale": ("rationale",),
    }
    return {name: next(said[label] for label in labels if label in said) for name, labels in names.items()}


def the_service_of_the_guide() -> Script:
    """Models that decide as the guide's output shows, and write as many files, one of them the decision's own."""
    files = [f"docs/page_{number}.md" for number in range(1, 23)]
    return notes(*files, architecture=lambda _: Answer(decided("example-8/2")))


def prints_the_sample_of_the_builder(place: Place) -> None:
    """The printed fields are the guide's output, the files lie where it was told, and DeepSeek Chat has decided."""
    completed(place)
    assert place.lines[-len(sample("example-8/2")) :] == sample("example-8/2")
    assert (place.folder / "my_api/docs/page_22.md").is_file()
    assert "hexagonal" in (place.folder / "my_api/docs/adr/0001-architecture.md").read_text()
    assert {call.model for call in place.of("architecture")} == {"deepseek-chat"}
    assert all("hexagonal" in call.prompt for call in place.of("generate"))


def prints_the_sample_of_the_advisor(place: Place) -> None:
    """The printed fields are the guide's output, one request was made, and nothing was built."""
    assert place.lines == sample("example-9/2")
    assert [call.purpose for call in place.calls] == ["architecture"]


def of_the_closed_vocabularies(block: str) -> Callable[[Place], None]:
    def check(_: Place) -> None:
        found = decided(block)
        assert found["structural_pattern"] in PATTERNS
        assert found["topology"] in TOPOLOGIES
        assert found["api_paradigm"] in PARADIGMS
        assert found["data_paradigm"] in DATA

    return check


def policies_are_here(place: Place) -> None:
    """Write the guide's own policies as YAML and as JSON."""
    text = TEXT["example-11/2"]
    (place.folder / "policies.yaml").write_text(text)
    (place.folder / "policies.json").write_text(json.dumps(yaml.safe_load(text)))


def finds_no_contradiction(place: Place) -> None:
    """The guide's policies hold together, so nothing is printed; contradictory ones are, with their line."""
    assert place.out == ""
    names = [policy.name for policy in place.names["hierarchy"].policies_for(team="eng").policies]
    assert names == ["gdpr", "eu_only"]
    contradictory = "global:\n  - name: a\n    allowed_models: [gpt-4o]\n    blocked_models: [gpt-4o]\n"
    (place.folder / "policies.yaml").write_text(contradictory)
    (place.folder / "policies.json").write_text(json.dumps(yaml.safe_load(contradictory)))
    place.python(TEXT["example-11/1"])
    first, second = place.lines
    assert first.startswith("Policy errors: [")
    assert "gpt-4o" in first
    assert second.startswith("Policy warnings: [")


def is_a_policy_file(place: Place) -> None:
    """Each level holds its policies, and `cost_cap_usd` is the cap that it is another name of."""
    policies_are_here(place)
    place.python('from orchestrator.policy_dsl import load_policy_file\nhierarchy = load_policy_file("policies.yaml")')
    hierarchy = place.names["hierarchy"]
    everything = hierarchy.policies_for(team="eng", job="job_001").policies
    assert [policy.name for policy in everything] == ["gdpr", "eu_only", "high_quality"]
    assert everything[1].max_cost_per_task_usd == 0.5
    assert [policy.name for policy in hierarchy.policies_for(team="ops").policies] == ["gdpr"]


# The recipes


def run_it(place: Place, name: str = "orch") -> None:
    """Run the sample job by the orchestrator that a block has made."""
    place.python(f"import asyncio\nasyncio.run({name}.run_project({JOB}))")


def routes_to_the_cheapest(place: Place) -> None:
    run_it(place)
    completed(place)
    (state,) = place.states()
    assert state.budget.max_usd == 2.0
    prices = [load_catalog().models[call.model].price.cost(1000, 1000) for call in place.of("generate")]
    assert max(prices) * 10 < load_catalog().models["claude-opus-4-8"].price.cost(1000, 1000)
    assert "weighted_sum" in state.results["notes"].routes[0].reason


def asks_only_the_premium_models(place: Place) -> None:
    """Only the models that the two names stand for were asked, and the report says which those are."""
    run_it(place)
    (state,) = place.states()
    assert state.budget.max_usd == 50.0
    assert {call.model.partition("-")[0] for call in place.calls} <= {"claude", "gpt"}
    assert all("mini" not in call.model and "haiku" not in call.model for call in place.calls)
    assert any("claude-opus" in note for note in state.notes)


def checks_the_hierarchy(place: Place) -> None:
    """A run is charged to the organisation; one whose cap no level can hold raises before anything is asked."""
    run_it(place)
    completed(place)
    before = len(place.calls)
    tight = (
        "small = BudgetHierarchy(org_max_usd=100.0, job_budgets={'job_001': 0.0})\n"
        "poor = Orchestrator(budget=Budget(max_usd=10.0), budget_hierarchy=small, job='job_001')\n"
        "try:\n    asyncio.run(poor.run_project('Write notes'))\nexcept ValueError as error:\n    print(error)\n"
    )
    place.python(f"import asyncio\n{tight}")
    assert "job_001" in place.out
    assert len(place.calls) == before


def a_draft() -> Script:
    """Models that draft what was asked for, and answer the feedback with what it asks to change."""

    def draft(asked: Asked) -> Answer:
        euro = asked.turn == 0
        policy: dict[str, Any] = {
            "name": "data",
            "allowed_regions": ["eu", "global"] if euro else ["eu", "us", "global"],
        }
        job = {"project": {"description": "A code review pipeline"}, "budget": {"max_usd": 2.0 if euro else 5.0}}
        return Answer({"job": job, "policy": policy, "rationale": "EU only." if euro else "US too."})

    return notes(draft=draft)


def drafts_refines_and_submits(place: Place) -> None:
    """Draft and refinement were printed, and the refined job has run under the refined policy."""
    state, *drafts = place.states()
    assert (state.status, state.budget.max_usd) == (ProjectStatus.COMPLETED, 5.0)
    assert {draft.outcome.code for draft in drafts} == {"drafted"}
    assert [line.partition(":")[0] for line in place.lines][:3] == ["Draft job spec", "Draft policy spec", "Rationale"]
    assert "2.0" in place.lines[0]
    assert len(place.of("draft")) == 2
    assert "deepseek" not in {call.provider for call in place.calls if call.purpose != "draft"}


def monitors(place: Place) -> None:
    """The watcher saw the task and the end, and ended by itself."""
    completed(place)
    (state,) = place.states()
    assert f"✓ notes: {state.results['notes'].score:.3f}" in place.lines
    assert place.lines[-1] == "🏁 Project finished: completed"


# Answers and practices


def caps(max_usd: float, max_time_seconds: float = 5400.0) -> Callable[[Place], None]:
    def check(place: Place) -> None:
        budget = place.names["budget"]
        assert (budget.max_usd, budget.max_time_seconds) == (max_usd, max_time_seconds)

    return check


def never_spends_more(max_usd: float) -> Callable[[Place], None]:
    """A run under this budget with answers that use up their limits: spent and in flight stay under the cap."""

    def check(place: Place) -> None:
        caps(max_usd)(place)
        place.python("import asyncio\nfrom orchestrator import *\norch = Orchestrator(budget=budget)\n")
        run_it(place)
        completed(place)
        (state,) = place.states()
        assert state.budget.max_usd == max_usd

    return check


def six_at_once(place: Place) -> None:
    """Six tasks that wait for nothing are all asked for before the first of them is answered."""
    tasks = [task(f"t{number}", f"t{number}.md") for number in range(7)]
    place.models.script = Script(answers={"decompose": lambda _: Answer({"tasks": tasks})})
    place.models.hold_after(len(PLANNING))
    running = Thread(target=run_it, args=(place,))
    running.start()
    try:
        place.models.wait_for_calls(len(PLANNING) + 6)
        assert [call.purpose for call in place.calls] == [*PLANNING, *["generate"] * 6]
    finally:
        place.models.release()
        running.join()
    completed(place)


def comes_back(place: Place) -> None:
    """The second call found the first one's run, and asked for nothing again."""
    completed(place)
    assert [state.project_id for state in place.states()] == ["my-project-001"]
    assert len(place.of("decompose")) == 1


def writes_json(place: Place) -> None:
    assert json.loads((place.folder / "metrics.json").read_text())


def governs_by_a_file(place: Place) -> None:
    assert [policy.name for policy in place.names["hierarchy"].policies_for().policies] == ["gdpr"]
    assert [policy.name for policy in place.names["policies"].policies] == ["gdpr"]


def calls_back(place: Place) -> None:
    completed(place)
    assert place.lines == ["heard notes"]


def decides_for_itself(place: Place) -> None:
    """Both runs decided an architecture; the first detected its app type, the second was told."""
    completed(place, 2)
    second, first = place.states()
    assert (first.app_type, second.app_type) == ("fastapi", "fastapi")
    assert (place.folder / "api/notes.md").is_file()
    assert (place.folder / "results/notes.md").is_file()
    assert any(line in PATTERNS for line in place.lines)


def richer_words_reach_the_architect(place: Place) -> None:
    """What a rich description says is in the request by which the architecture is decided, word for word."""
    tree = ast.parse(TEXT["7-provide-rich-descriptions-for-better-architecture-decisions/1"])
    rich, vague = [node.value.value for node in tree.body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    assert place.names["description"] == vague
    for description in (rich, vague):
        place.names["description"] = description
        place.python(
            "import asyncio\nfrom orchestrator import *\nasyncio.run(ArchitectureAdvisor().analyze(description))"
        )
    asked = [call.prompt for call in place.of("architecture")]
    assert "- 10k concurrent users support" in asked[0]
    assert "Typing indicators" not in asked[1]
    assert "Build a chat app" in asked[1]


def spans_arrive(place: Place) -> None:
    """The receiver got the run's spans under the service's name, calls to models among them."""
    configure_tracing(TracingConfig(enabled=False))
    completed(place)
    assert place.collector.services() == {"orchestrator"}
    names = place.collector.span_names()
    assert len(names) >= len(place.calls)
    assert any(call.model in name for name in names for call in place.calls)


KEYS = (
    ("sk-ant-...", "loopback-anthropic-key"),
    ("sk-...", "loopback-openai-key"),
    ("AIzaSy...", "loopback-google-key"),
)
METRICS_JSON = ("/tmp/metrics.json", "{folder}/metrics.json")
MADE = (ASYNCIO, CORE, ORCH)

ENTRIES: dict[str, Entry] = {
    "installation/1": Entry(installs, given=a_copy_and_a_virtual_environment, slow=True),
    "environment-setup/1": Entry(reads_the_keys_of_the_file, Supplied(fills=KEYS), given=without_keys),
    "1-build-a-fastapi-service-simplest/1": Entry(builds_the_service, given=two_providers, script=ten_tasks),
    "2-build-a-next-js-app/1": Entry(builds_the_storefront, given=two_providers),
    "3-from-project-yaml-file/1": Entry(builds_the_file, given=projects_are_here),
    "3-from-project-yaml-file/2": Entry(is_a_project_file),
    "4-resume-interrupted-run/1": Entry(
        goes_on, Supplied(fills=(("<project_id>", "lakes"),)), given=an_interrupted_run, script=two_tasks
    ),
    "5-list-all-projects/1": Entry(lists_the_run, given=a_finished_run),
    "example-1/1": Entry(basic),
    "example-2/1": Entry(
        forecasts,
        Supplied(
            imports=("from orchestrator import Task, TaskType",),
            fills=(("[...]", '[Task("a", "Write a", TaskType.WRITING, "Write a.", files=("a.md",))]'), *RUN),
        ),
    ),
    "example-3/1": Entry(routes_by_weights, Supplied(fills=RUN)),
    "example-4/1": Entry(keeps_out_forbidden_providers, Supplied(imports=(ASYNCIO,), fills=RUN)),
    "example-5/1": Entry(hears_the_run, Supplied(fills=RUN), script=broken_first),
    "example-6/1": Entry(
        exports_metrics,
        Supplied(fills=RUN, lent=(METRICS_JSON, ("/var/lib/node_exporter/orch.prom", "{folder}/orch.prom"))),
    ),
    "example-7/1": Entry(picks_the_best),
    "example-8/1": Entry(prints_the_sample_of_the_builder, script=the_service_of_the_guide),
    "example-8/2": Entry(of_the_closed_vocabularies("example-8/2")),
    "example-9/1": Entry(
        prints_the_sample_of_the_advisor,
        script=lambda: notes(architecture=lambda _: Answer(decided("example-9/2"))),
    ),
    "example-9/2": Entry(of_the_closed_vocabularies("example-9/2")),
    "example-11/1": Entry(finds_no_contradiction, given=policies_are_here),
    "example-11/2": Entry(is_a_policy_file),
    "example-12/1": Entry(spans_arrive, Supplied(fills=RUN, lent=(("http://localhost:4318", "{collector}"),))),
    "recipe-1/1": Entry(routes_to_the_cheapest),
    "recipe-2/1": Entry(asks_only_the_premium_models),
    "recipe-3/1": Entry(checks_the_hierarchy),
    "recipe-4/1": Entry(drafts_refines_and_submits, script=a_draft),
    "recipe-5/1": Entry(monitors),
    "q-provider-not-available-error/1": Entry(prints_the_key),
    "q-budget-exceeded-but-i-set-a-limit/1": Entry(
        never_spends_more(8.5), Supplied(imports=("from orchestrator import Budget",))
    ),
    "ours:q-budget-exceeded-but-i-set-a-limit/1": Entry(
        never_spends_more(10.0), Supplied(imports=("from orchestrator import Budget",))
    ),
    "q-run-is-slow/1": Entry(six_at_once, Supplied(imports=(CORE,), before=("budget = Budget(max_usd=8.5)",))),
    "q-resume-doesn-t-work/1": Entry(
        comes_back,
        Supplied(
            before=MADE,
            fills=(("    ...,", f"    {JOB},"), ("run_project(...,", f"run_project({JOB},")),
            loop=True,
        ),
    ),
    "1-always-set-explicit-budget/1": Entry(caps(8.0), Supplied(imports=("from orchestrator import Budget",))),
    "2-use-project-files-for-complex-specs/1": Entry(runs_both, given=projects_are_here),
    "3-export-metrics-for-analysis/1": Entry(
        writes_json, Supplied(before=(*MADE, f"asyncio.run(orch.run_project({JOB}))"), lent=(METRICS_JSON,))
    ),
    "4-use-policy-dsl-for-governance/1": Entry(
        governs_by_a_file,
        Supplied(
            imports=(
                "from orchestrator import Policy, PolicySet",
                "from orchestrator.policy_dsl import load_policy_file",
            ),
            fills=(("[...]", '[Policy(name="gdpr")]'),),
        ),
        given=policies_are_here,
    ),
    "5-add-event-hooks-for-monitoring/1": Entry(
        calls_back,
        Supplied(
            imports=("from orchestrator.hooks import EventType",),
            before=(*MADE, "def my_callback(task_id, **_):\n    print('heard', task_id)"),
            fills=RUN,
            loop=True,
        ),
    ),
    "6-use-architectureadvisor-for-code-generation/1": Entry(
        decides_for_itself,
        Supplied(
            imports=("from orchestrator import AppBuilder",),
            fills=(('description="..."', 'description="REST API"'), ('criteria="..."', 'criteria="Tested"')),
            loop=True,
        ),
    ),
    "7-provide-rich-descriptions-for-better-architecture-decisions/1": Entry(richer_words_reach_the_architect),
}
