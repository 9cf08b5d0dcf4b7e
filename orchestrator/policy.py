"""Which models a task may use, and why not: policies as data, and the one pure rule that judges a model by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from orchestrator.catalog import Catalog, ModelProfile
from orchestrator.strict import STRICT, nearest
from orchestrator.yaml_marks import Document, Loc, Place

MAX_USD = 1_000_000.0
PROVIDERS = ("openai", "anthropic", "google", "deepseek", "moonshot", "minimax", "zhipu", "local", "offline")

_TOP = Place(1, 1)
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
    gateway to hold, or to report where it is not hard, `review_documents` for the executor; `judge` decides by all the
    others. Of a cost it sees one call's forecast; what a task's calls cost together, the gateway holds to a hard cap.
    `cost_cap_usd` is another name of `max_cost_per_task_usd`. Raises `ValueError` for a value that cannot be.
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
            description="The most that one task may cost, in USD: rules out models whose forecast for one call is "
            "above it, and, where it is hard, every call that could take the task above it.",
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


@plain_dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy comes from: the file and place it was read at, and its level among those that bind together.

    An empty `path` is a policy that no file gave. `level` is how people call the level (`global`, `team eng`), and the
    higher `rank`, the lower the level: what stands lower may narrow, never widen. `rules` are the places of the rules
    that were written out, by field name.
    """

    path: str = ""
    level: str = ""
    rank: int = 0
    place: Place = _TOP
    rules: Mapping[str, Place] = field(default_factory=dict)

    def at(self, rule: str = "") -> Place:
        """Return where a rule stands, or the policy where the rule was not written out."""
        return self.rules.get(rule, self.place)


@dataclass(frozen=True, slots=True, config=STRICT)
class PolicySet:
    """The policies that bind a run, all at once: the strictest wins.

    `origins` says beside each policy where it comes from, for the analyzer's findings; it takes no part in comparing
    and is not kept with a run.
    """

    policies: Annotated[Sequence[Policy], AfterValidator(tuple)] = ()
    origins: Annotated[Sequence[Origin], AfterValidator(tuple), Field(exclude=True)] = field(
        default=(), compare=False, repr=False
    )

    @property
    def placed(self) -> tuple[tuple[Policy, Origin], ...]:
        """Each policy with its origin, an empty one where none is known."""
        origins = self.origins if len(self.origins) == len(self.policies) else [Origin()] * len(self.policies)
        return tuple(zip(self.policies, origins, strict=True))

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
    def task_cap_usd(self) -> float | None:
        """The lowest cost of one task that a hard policy allows, in USD, or None."""
        caps = [
            policy.max_cost_per_task_usd
            for policy in self.policies
            if policy.max_cost_per_task_usd is not None and policy.enforcement_mode is EnforcementMode.HARD
        ]
        return min(caps, default=None)

    @property
    def reviews_documents(self) -> bool:
        """True when a policy that binds asks for the review of documents."""
        return any(
            one.review_documents and one.enforcement_mode is not EnforcementMode.MONITOR for one in self.policies
        )

    @property
    def advised_rates(self) -> dict[str, int]:
        """The calls per minute that soft and monitor policies want at most, by the policy as reports name it."""
        return {
            f"{policy.enforcement_mode} policy {policy.name}": policy.rate_limit
            for policy in self.policies
            if policy.rate_limit is not None and policy.enforcement_mode is not EnforcementMode.HARD
        }


@plain_dataclass(frozen=True, slots=True)
class Violation:
    """One rule of one policy that a model does not meet; `rule` is the field's name."""

    policy: str
    rule: str
    mode: EnforcementMode
    message: str

    def __str__(self) -> str:
        return f"{self.mode} policy {self.policy}: {self.message}"


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
    """Return what the policies say of a model for a call that is forecast to cost `cost_usd` with it."""
    return Verdict(
        tuple(
            Violation(policy.name, rule, policy.enforcement_mode, message)
            for policy in policies.policies
            for rule, message in _broken(model, policy, catalog, cost_usd)
        )
    )


def combine(*sets: PolicySet) -> PolicySet:
    """Return one set that binds as all of these do together, each a lower level than those before it.

    It can only be narrower than each.
    """
    joined: dict[Policy, Origin] = {}
    lowest = 0
    for each in sets:
        for policy, origin in each.placed:
            joined.setdefault(policy, replace(origin, rank=origin.rank + lowest))
        lowest = 1 + max((origin.rank for origin in joined.values()), default=lowest - 1)
    return PolicySet(tuple(joined), tuple(joined.values()))


def _broken(model: ModelProfile, policy: Policy, catalog: Catalog, cost_usd: float) -> Iterator[tuple[str, str]]:
    """Yield each rule of the policy that the model does not meet, and the sentence for people.

    Comparisons are written so that a NaN, which compares with nothing, breaks the rule.
    """
    name = model.id.casefold()
    if policy.allowed_models is not None and name not in ids_of(policy.allowed_models, catalog):
        yield "allowed_models", f"{model.id} is not among {_listed(policy.allowed_models)}"
    if policy.blocked_models is not None and name in ids_of(policy.blocked_models, catalog):
        yield "blocked_models", f"{model.id} is blocked"
    if policy.allowed_providers is not None and model.provider not in policy.allowed_providers:
        yield "allowed_providers", f"{model.provider} is not among {_listed(policy.allowed_providers)}"
    if policy.blocked_providers is not None and model.provider in policy.blocked_providers:
        yield "blocked_providers", f"{model.provider} is blocked"
    if policy.allowed_regions is not None and not folded(model.regions) & folded(policy.allowed_regions):
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
        yield _CAP, f"a call is forecast at ${cost_usd:.4f} with {model.id}, above ${cap:.4f}"
    if policy.max_latency_ms is not None and not model.latency_ms <= policy.max_latency_ms:
        yield "max_latency_ms", f"{model.id} takes {model.latency_ms:.0f} ms, above {policy.max_latency_ms:.0f} ms"
    if policy.min_quality_score is not None and not model.quality >= policy.min_quality_score:
        yield "min_quality_score", f"{model.id} has quality {model.quality:.2f}, below {policy.min_quality_score:.2f}"


def resolutions(policies: PolicySet, catalog: Catalog) -> tuple[str, ...]:
    """Return, for the report, which model each name of a family stands for: `policy a: claude-opus is claude-opus-4-8`.

    An exact id is no name of a family, unless the catalog's `aliases` lists it as one too.
    """
    families = folded(catalog.aliases)
    return tuple(
        dict.fromkeys(
            f"policy {policy.name}: {name} is {model.id}"
            for policy in policies.policies
            for name in (*(policy.allowed_models or ()), *(policy.blocked_models or ()))
            if name.casefold() in families and (model := catalog.resolve(name))
        )
    )


def ids_of(names: Sequence[str], catalog: Catalog) -> frozenset[str]:
    """Return the ids, in one case, that the names stand for."""
    resolved = ((name, catalog.resolve(name)) for name in names)
    return folded(model.id if model else name for name, model in resolved)


def folded(names: Iterable[str]) -> frozenset[str]:
    """Return names in one case, in which they are compared."""
    return frozenset(name.casefold() for name in names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def in_file(single: Policy, several: Sequence[Policy], document: Document | None = None, level: str = "") -> PolicySet:
    """Return the policies of a file that may hold a `policy` and a list of named `policies`, with their places."""
    alone = () if single == Policy() else (single,)
    if document is None:
        return PolicySet((*alone, *several))
    places: list[Loc] = [("policy",)] * len(alone) + [("policies", index) for index in range(len(several))]
    return PolicySet((*alone, *several), tuple(origin_at(document, loc, level) for loc in places))


def origin_at(document: Document, loc: Loc, level: str = "", rank: int = 0) -> Origin:
    """Return the origin of the policy that stands at `loc` of a document."""
    rules = {
        _CAP if key[-1] == _CAP_ALIAS else str(key[-1]): place
        for key, place in document.keys.items()
        if key[:-1] == loc and key
    }
    return Origin(document.path, level, rank, document.place(loc), rules)
