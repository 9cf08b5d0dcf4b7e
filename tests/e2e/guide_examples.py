"""The guide's Python examples: what the models say, and what each example must have done."""

from __future__ import annotations

import json
from collections.abc import Callable

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.guide import TEXT, Place, completed, notes, plan_of
from tests.loopback import Answer, Asked, Script

PATTERNS = {"layered", "hexagonal", "cqrs", "event-driven", "mvc", "clean", "script"}
TOPOLOGIES = {"monolith", "modular-monolith", "microservices", "serverless", "bff", "library"}
PARADIGMS = {"rest", "graphql", "grpc", "websocket", "cli", "none"}
DATA = {"relational", "document", "key-value", "time-series", "graph", "none"}


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


def spans_arrive(place: Place) -> None:
    """The receiver got the run's spans under the service's name, calls to models among them."""
    completed(place)
    assert {one["service.name"] for one in place.collector.resources} == {"orchestrator"}
    names = [span.name for span in place.collector.spans]
    assert len(names) >= len(place.calls)
    assert any(call.model in name for name in names for call in place.calls)
