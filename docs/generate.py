"""`make docs`: what the documents say of the code is made from the code, between markers; so are the public API, the
frozen list of codes and the schema of the report.

A part between `<!-- generated: NAME -->` and `<!-- end -->` belongs to the table of that name below. The tests compare
what stands in the files with what this program would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from docs.public_api import public_api
from orchestrator.budget import PHASE_PERCENT, to_usd
from orchestrator.catalog import ModelProfile, load_catalog
from orchestrator.codes import Code, CodeKind
from orchestrator.events import EventType
from orchestrator.optimization import GreedyBackend, ParetoBackend, WeightedSumBackend
from orchestrator.policy import Policy
from orchestrator.prometheus import prometheus_text
from orchestrator.providers.registry import KEY_VARIABLES
from orchestrator.report_schema import report_schema_text
from orchestrator.sections import APP_TYPES, VALIDATORS
from orchestrator.specs import load_project_file
from orchestrator.state import ApiParadigm, DataParadigm, StructuralPattern, Topology
from orchestrator.strict import Form
from orchestrator.task_types import RULES
from orchestrator.telemetry import Telemetry
from orchestrator.validators.plan import ENDINGS, NPM_INSTALL, PYTEST, RUFF, SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "CAPABILITIES.md", ROOT / "docs/usage_guide.md", ROOT / "docs/codes.md")
PUBLIC_API = ROOT / "tests/contract/public_api.json"
CODES = ROOT / "tests/contract/codes.json"
REPORT_SCHEMA = ROOT / "report.schema.json"
CHEAPEST = 10
_PART = re.compile(r"(<!-- generated: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """Return a document with its generated parts made anew; raises `KeyError` for a part that nobody makes."""
    return _PART.sub(lambda part: f"{part[1]}{TABLES[part[2]]()}\n{part[4]}", text)


def public_api_text() -> str:
    """Return the public API as the file holds it."""
    return json.dumps(public_api(), indent=2, ensure_ascii=False) + "\n"


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(heads), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(names: Iterable[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def codes_text() -> str:
    """Return the frozen codes with those that came since: a code that is gone stays, so that a test breaks."""
    frozen: list[str] = json.loads(CODES.read_text(encoding="utf-8"))
    return json.dumps([*frozen, *(code.value for code in Code if code.value not in frozen)], indent=2) + "\n"


def codes_of(kind: CodeKind) -> str:
    """Return the codes of one kind with their meanings."""
    return table(("code", "meaning"), ((f"`{code.value}`", code.meaning) for code in Code if code.kind is kind))


def models() -> str:
    """Return every model with its provider, price, limits, and what policies ask about it."""
    heads = ("model", "provider", "input", "output", "context", "answer", "quality", "regions", "trains", "structured")
    return table(
        heads,
        (
            (
                f"`{model.id}`",
                model.provider,
                _per_million(model, 1, 0),
                _per_million(model, 0, 1),
                f"{model.context_tokens:,}",
                f"{model.max_output_tokens:,}",
                f"{model.quality:.2f}",
                ", ".join(model.regions),
                "yes" if model.trains_on_data else "no",
                f"`{model.structured}`",
            )
            for model in load_catalog().models.values()
        ),
    )


def cheapest() -> str:
    """Return the models with the lowest price per token of input, the cheapest first."""
    priced = [model for model in load_catalog().models.values() if model.provider != "offline"]
    ranked = sorted(priced, key=lambda model: (model.price.cost(1000, 0), model.price.cost(0, 1000), model.id))
    rows = [
        (rank, f"`{model.id}`", model.provider, _per_million(model, 1, 0), _per_million(model, 0, 1))
        for rank, model in enumerate(ranked[:CHEAPEST], 1)
    ]
    return table(("", "model", "provider", "input", "output"), rows)


def _per_million(model: ModelProfile, input_: int, output: int) -> str:
    """Return USD per million tokens of a short call, which no long-context tier applies to."""
    usd = to_usd(model.price.cost(1000 * input_, 1000 * output)) * 1000
    return f"${usd:.3f}".removesuffix("0")


def aliases() -> str:
    """Return the names that stand for a current model."""
    return table(("name", "stands for"), ((f"`{name}`", f"`{to}`") for name, to in load_catalog().aliases.items()))


def providers() -> str:
    """Return the providers with the variables that make them available."""
    return table(("provider", "available with"), ((name, code(keys)) for name, keys in KEY_VARIABLES.items()))


def policy_fields() -> str:
    """Return the fields of a policy, with their defaults and meanings."""
    properties = Form(Policy).schema["properties"]
    rows = ((f"`{name}`", field["description"], _default(field)) for name, field in properties.items())
    return table(("field", "meaning", "default"), rows)


def _default(field: dict[str, Any]) -> str:
    given = field.get("default")
    return "none" if given is None else f"`{json.dumps(given)}`"


def events() -> str:
    """Return the events by the name in Python and the one that travels."""
    return table(("`EventType`", "on the bus"), ((f"`{event.name}`", f"`{event.value}`") for event in EventType))


def strategies() -> str:
    """Return the optimization backends with what they choose."""
    backends = (GreedyBackend(), WeightedSumBackend(), ParetoBackend())
    rows = ((f"`{type(it).__name__}`", f"`{it.name}`", (it.__doc__ or "").splitlines()[0]) for it in backends)
    return table(("backend", "`routing.strategy`", "chooses"), rows)


def task_types() -> str:
    """Return the task types with what each must reach and how often it is tried."""
    rows = ((f"`{kind.value}`", f"{rules.threshold:.2f}", rules.attempts) for kind, rules in RULES.items())
    return table(("task type", "score it must reach", "attempts"), rows)


def phases() -> str:
    """Return the phases of a budget with their shares."""
    return table(("phase", "share"), ((f"`{phase.value}`", f"{share} %") for phase, share in PHASE_PERCENT.items()))


def vocabularies() -> str:
    """Return the words of each field of an architecture."""
    fields = {
        "structural_pattern": StructuralPattern,
        "topology": Topology,
        "api_paradigm": ApiParadigm,
        "data_paradigm": DataParadigm,
    }
    return table(("field", "values"), ((f"`{name}`", code(it.value for it in kind)) for name, kind in fields.items()))


def metrics() -> str:
    """Return the metrics of the Prometheus exporter with their types and meanings."""
    families = text_string_to_metric_families(prometheus_text(Telemetry()).decode())
    return table(("metric", "type", "meaning"), ((f"`{it.name}`", it.type, it.documentation) for it in families))


def validators() -> str:
    """Return the validators with the files they look at."""
    endings = {name: code(f"*{ending}" for ending in endings) for name, endings in ENDINGS.items()}
    scripts = {name: f"the script `{script}` of `package.json`" for name, script in SCRIPTS.items()}
    others = {RUFF: "Python files", PYTEST: "the project's tests", NPM_INSTALL: "what `package.json` declares"}
    looks_at = {**endings, **scripts, **others}
    return table(("validator", "looks at"), ((f"`{name}`", looks_at[name]) for name in VALIDATORS))


def app_types() -> str:
    """Return the app types with the examples that show each."""
    shown: dict[str, list[str]] = {name: [] for name in APP_TYPES}
    for path in sorted((ROOT / "projects").glob("*.yaml")):
        app_type = load_project_file(path).job.app_type
        if app_type is not None:
            shown[app_type].append(f"[{path.name}](projects/{path.name})")
    return table(("app type", "examples"), ((f"`{name}`", ", ".join(paths)) for name, paths in shown.items()))


TABLES: dict[str, Callable[[], str]] = {
    "models": models,
    "cheapest models": cheapest,
    "aliases": aliases,
    "providers": providers,
    "policy fields": policy_fields,
    "events": events,
    "strategies": strategies,
    "task types": task_types,
    "phases": phases,
    "vocabularies": vocabularies,
    "metrics": metrics,
    "validators": validators,
    "app types": app_types,
    "ending codes": lambda: codes_of(CodeKind.ENDING),
    "task codes": lambda: codes_of(CodeKind.TASK),
    "refusal codes": lambda: codes_of(CodeKind.REFUSAL),
    "finding codes": lambda: codes_of(CodeKind.FINDING),
}


def main() -> None:
    """Write every generated part, the public API, the frozen codes and the report's schema."""
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    PUBLIC_API.write_text(public_api_text(), encoding="utf-8")
    CODES.write_text(codes_text(), encoding="utf-8")
    REPORT_SCHEMA.write_text(report_schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
