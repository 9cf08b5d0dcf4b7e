"""Which models a task may use, and why not: policies as data, and the one pure rule that judges a model by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from orchestrator.catalog import Catalog, ModelProfile
from orchestrator.errors import SpecError, SpecFinding
from orchestrator.strict import STRICT, Form, nearest
from orchestrator.yaml_marks import Document, Place, read_file, read_yaml

MAX_USD = 1_000_000.0
PROVIDERS = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local", "offline")

_CAP = "max_cost_per_task_usd"
_CAP_ALIAS = "cost_cap_usd"


class EnforcementMode(StrEnum):
    """How a policy binds: hard forbids, soft prefers and reports, monitor only reports."""

    HARD = "hard"
    SOFT = "soft"
    MONITOR = "monitor"


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise ValueError(f"{name!r} is not a provider{nearest(name, PROVIDERS)}")
    return name


def _frozen(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


_Word = Annotated[str, Field(min_length=1, max_length=200)]
_Provider = Annotated[str, AfterValidator(_provider), Field(json_schema_extra={"enum": list(PROVIDERS)})]
_Frozen = AfterValidator(_frozen)
_Flag = Annotated[bool, Field(strict=True)]


def _with_cap_alias(schema: dict[str, Any]) -> None:
    cap = schema["properties"][_CAP]
    schema["properties"][_CAP_ALIAS] = {**cap, "description": f"Another name for `{_CAP}`."}
    schema["not"] = {"required": [_CAP, _CAP_ALIAS]}


@dataclass(
    frozen=True,
    slots=True,
    kw_only=True,
    config=ConfigDict(**STRICT, json_schema_extra=_with_cap_alias),
)
class Policy:
    """Rules for the models of a task; a rule that is None (or True, for the two flags) rules nothing out.

    An empty list of allowed names allows nothing. Model names may be ids or aliases of the catalog. Costs are in USD,
    latencies in milliseconds, qualities from 0 to 1, `rate_limit` in calls per minute. `rate_limit` is for the
    gateway to hold, `review_documents` for the executor; `judge` decides by all the others. Raises `ValueError` for a
    value that cannot be.
    """

    name: Annotated[_Word, Field(description="How reports call this policy.")] = "policy"
    allowed_models: Annotated[
        Sequence[_Word] | None, _Frozen, Field(description="Only these models, by id or alias.")
    ] = None
    blocked_models: Annotated[
        Sequence[_Word] | None, _Frozen, Field(description="None of these models, by id or alias.")
    ] = None
    allowed_providers: Annotated[
        Sequence[_Provider] | None, _Frozen, Field(description="Only models that these providers serve.")
    ] = None
    blocked_providers: Annotated[
        Sequence[_Provider] | None, _Frozen, Field(description="No model that these providers serve.")
    ] = None
    allowed_regions: Annotated[
        Sequence[_Word] | None, _Frozen, Field(description="Only models that are served in one of these regions.")
    ] = None
    allow_training_on_output: Annotated[
        _Flag, Field(description="False rules out models whose provider trains on API data.")
    ] = True
    pii_allowed: Annotated[
        _Flag,
        Field(description="False rules out models whose provider keeps API data for training, for fear of leaks."),
    ] = True
    max_cost_per_task_usd: Annotated[
        float | None,
        Field(
            strict=True,
            ge=0,
            le=MAX_USD,
            validation_alias=AliasChoices(_CAP, _CAP_ALIAS),
            description="The most that one task may cost with the model, in USD.",
        ),
    ] = None
    max_latency_ms: Annotated[
        float | None, Field(strict=True, ge=0, description="The longest median answer time, in milliseconds.")
    ] = None
    min_quality_score: Annotated[
        float | None, Field(strict=True, ge=0, le=1, description="The lowest quality, from 0 to 1.")
    ] = None
    rate_limit: Annotated[
        int | None, Field(strict=True, ge=1, le=100_000, description="The most calls per minute to one model.")
    ] = None
    review_documents: Annotated[
        _Flag, Field(description="True has another provider review documents too, not only code and configuration.")
    ] = False
    enforcement_mode: Annotated[
        EnforcementMode,
        Field(description="hard forbids, soft prefers and reports, monitor only reports."),
    ] = EnforcementMode.HARD


def _named(value: object) -> object:
    if isinstance(value, dict) and "name" not in value:
        raise ValueError("every policy of a list needs a `name`")
    return value


NamedPolicy = Annotated[Policy, BeforeValidator(_named), Field(json_schema_extra={"required": ["name"]})]


@dataclass(frozen=True, slots=True, config=STRICT)
class PolicySet:
    """The policies that bind a run, all at once: the strictest wins."""

    policies: Annotated[Sequence[Policy], AfterValidator(tuple)] = ()

    @property
    def rate_limit(self) -> int | None:
        """The lowest number of calls per minute that a hard policy allows, or None."""
        limits = [
            policy.rate_limit
            for policy in self.policies
            if policy.rate_limit is not None and policy.enforcement_mode is EnforcementMode.HARD
        ]
        return min(limits, default=None)

    @property
    def reviews_documents(self) -> bool:
        """True when a policy that binds asks for the review of documents."""
        return any(
            one.review_documents and one.enforcement_mode is not EnforcementMode.MONITOR for one in self.policies
        )


@plain_dataclass(frozen=True, slots=True)
class Violation:
    """One rule of one policy that a model does not meet; `rule` is the field's name."""

    policy: str
    rule: str
    mode: EnforcementMode
    message: str


@plain_dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say of one model: forbidden by a hard rule or not, and every rule it does not meet."""

    violations: tuple[Violation, ...] = ()

    @property
    def allowed(self) -> bool:
        """True unless a hard policy rules the model out."""
        return all(violation.mode is not EnforcementMode.HARD for violation in self.violations)

    @property
    def preferred(self) -> bool:
        """True when no hard or soft policy speaks against the model."""
        return all(violation.mode is EnforcementMode.MONITOR for violation in self.violations)


def judge(model: ModelProfile, policies: PolicySet, catalog: Catalog, *, cost_usd: float) -> Verdict:
    """Return what the policies say of a model for a task that is forecast to cost `cost_usd` with it."""
    return Verdict(
        tuple(
            Violation(policy.name, rule, policy.enforcement_mode, message)
            for policy in policies.policies
            for rule, message in _broken(model, policy, catalog, cost_usd)
        )
    )


def combine(*sets: PolicySet) -> PolicySet:
    """Return one set that binds as all of these do together; it can only be narrower than each."""
    return PolicySet(tuple(dict.fromkeys(policy for each in sets for policy in each.policies)))


def narrower(base: PolicySet, extra: PolicySet) -> PolicySet:
    """Return `base` narrowed by `extra`; nothing that `base` forbids becomes allowed."""
    return combine(base, extra)


def _broken(model: ModelProfile, policy: Policy, catalog: Catalog, cost_usd: float) -> Iterator[tuple[str, str]]:
    """Yield each rule of the policy that the model does not meet, and the sentence for people.

    Comparisons are written so that a NaN, which compares with nothing, breaks the rule.
    """
    name = model.id.casefold()
    if policy.allowed_models is not None and name not in _ids(policy.allowed_models, catalog):
        yield "allowed_models", f"{model.id} is not among {_listed(policy.allowed_models)}"
    if policy.blocked_models is not None and name in _ids(policy.blocked_models, catalog):
        yield "blocked_models", f"{model.id} is blocked"
    if policy.allowed_providers is not None and model.provider not in policy.allowed_providers:
        yield "allowed_providers", f"{model.provider} is not among {_listed(policy.allowed_providers)}"
    if policy.blocked_providers is not None and model.provider in policy.blocked_providers:
        yield "blocked_providers", f"{model.provider} is blocked"
    if policy.allowed_regions is not None and not _folded(model.regions) & _folded(policy.allowed_regions):
        yield (
            "allowed_regions",
            f"{model.id} is served in {_listed(model.regions)}, not in {_listed(policy.allowed_regions)}",
        )
    if not policy.allow_training_on_output and model.trains_on_data:
        yield "allow_training_on_output", f"{model.provider} trains on API data"
    if not policy.pii_allowed and model.trains_on_data:
        yield "pii_allowed", f"{model.provider} keeps API data for training, where personal data could end up"
    cap = policy.max_cost_per_task_usd
    if cap is not None and not cost_usd <= cap:
        yield _CAP, f"a task is forecast at ${cost_usd:.4f} with {model.id}, above ${cap:.4f}"
    if policy.max_latency_ms is not None and not model.latency_ms <= policy.max_latency_ms:
        yield "max_latency_ms", f"{model.id} takes {model.latency_ms:.0f} ms, above {policy.max_latency_ms:.0f} ms"
    if policy.min_quality_score is not None and not model.quality >= policy.min_quality_score:
        yield "min_quality_score", f"{model.id} has quality {model.quality:.2f}, below {policy.min_quality_score:.2f}"


def _ids(names: Sequence[str], catalog: Catalog) -> frozenset[str]:
    """Return what the names stand for, in one case, so that `glm-4.7` blocks GLM-4.7."""
    resolved = ((name, catalog.resolve(name)) for name in names)
    return _folded(model.id if model else name for name, model in resolved)


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


@dataclass(frozen=True, slots=True, config=STRICT)
class _PolicyFile:
    policies: tuple[NamedPolicy, ...] = ()
    policy: Policy = Policy()


@cache
def _file_form() -> Form[_PolicyFile]:
    return Form(_PolicyFile)


@cache
def _single_form() -> Form[Policy]:
    return Form(Policy)


def in_file(single: Policy, several: Sequence[Policy]) -> PolicySet:
    """Return the policies of a file that may hold a `policy` and a list of named `policies`."""
    return PolicySet((*(() if single == Policy() else (single,)), *several))


def load_policies(path: Path) -> PolicySet:
    """Return the policies of a YAML or JSON file: one policy, a list of named ones, or `policies:` with such a list.

    Raises `UsageError` when the file cannot be read, and `SpecError` with every finding when it does not parse.
    """
    return parse_policies(read_file(path), str(path))


def parse_policies(text: str, path: str) -> PolicySet:
    """Return the policies of a text in one of the three shapes of `load_policies`; raises `SpecError`."""
    document = read_yaml(text, path)
    if isinstance(document.value, list):
        read = _file_form().read(_under("policies", document))
        return in_file(read.policy, read.policies)
    if isinstance(document.value, dict) and document.value.keys() & {"policy", "policies"}:
        read = _file_form().read(document)
        return in_file(read.policy, read.policies)
    policy = _single_form().read(document)
    if policy == Policy():
        place = document.place(())
        message = "holds no rule; give a policy, a list of policies, or `policies:` with a list"
        raise SpecError((SpecFinding(path, place.line, place.column, "(top level)", message),))
    return PolicySet((policy,))


def _under(key: str, document: Document) -> Document:
    """Return the document as if its value stood under `key`, for a file that leaves the key away."""
    keys = {(key, *loc): place for loc, place in document.keys.items()}
    values: dict[tuple[str | int, ...], Place] = {(key, *loc): place for loc, place in document.values.items()}
    return Document(document.path, {key: document.value}, keys, values)
