"""What is wrong with policies before anything is spent: contradictions, rules without effect, names nobody knows.

Whether a set leaves a model is asked of `routing`, the one place where a model is chosen, over the whole catalog: a
provider without a key is no fault of a policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.budget import to_usd
from orchestrator.catalog import Catalog, FlatPrice, ModelProfile, load_catalog
from orchestrator.codes import Code
from orchestrator.errors import NoModel, SpecError, SpecFinding, UsageError
from orchestrator.limits import OUTPUT_TOKENS
from orchestrator.optimization import GreedyBackend
from orchestrator.policy import EnforcementMode, Origin, Policy, PolicySet, judge
from orchestrator.policy_files import PolicyHierarchy
from orchestrator.policy_rules import ALLOWED, NAMING, RULES, contains, names_of, overlap, strength, unknown_names
from orchestrator.routing import ESTIMATE_TOKENS, Need, Router
from orchestrator.state import Purpose, TaskType
from orchestrator.strict import nearest

# Stands for the server of LOCAL_LLM_BASE_URL where a policy names it on a machine without one: nothing rules it out
# but a rule about models, providers or regions.
_LOCAL = ModelProfile(
    id="local",
    provider="local",
    price=FlatPrice(0, 0),
    context_tokens=10**6,
    max_output_tokens=10**5,
    quality=1.0,
    latency_ms=1,
    structured="json_schema",
    regions=("local", "eu", "us", "global"),
    trains_on_data=False,
)


class Kind(StrEnum):
    """What a finding is about."""

    NO_MODEL = "no_model"
    CONTRADICTION = "contradiction"
    EMPTY = "empty"
    CAP = "cap"
    WIDENED = "widened"
    DUPLICATE = "duplicate"
    SHADOWED = "shadowed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """One thing wrong with policies; an error makes the set unusable, everything else is a warning.

    `path` is empty, and `line` and `column` mean nothing, where the policy came from no file.
    """

    kind: Kind
    error: bool
    policy: str
    rule: str
    message: str
    path: str = ""
    line: int = 1
    column: int = 1

    @property
    def code(self) -> Code:
        """The published code of the finding's kind."""
        return Code(f"policy_{self.kind}")

    @property
    def subject(self) -> str:
        """The policy and its rule, as people name them."""
        return f"policy {self.policy}: {self.rule}" if self.rule else f"policy {self.policy}"

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.path else ""
        return f"{where}{self.subject}: {self.message}"


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What `PolicyAnalyzer.analyze` found, in the order of the policies."""

    findings: tuple[PolicyFinding, ...] = ()

    @property
    def errors(self) -> list[str]:
        """What makes the set unusable, one sentence each, with file and line where there is a file."""
        return [str(one) for one in self.findings if one.error]

    @property
    def warnings(self) -> list[str]:
        """What the set can be used with, though it hardly means it."""
        return [str(one) for one in self.findings if not one.error]

    def is_clean(self) -> bool:
        """True when there is neither error nor warning."""
        return not self.findings

    def refuse(self) -> None:
        """Raise `SpecError` when there are errors at places in files, `UsageError` when one has no file.

        A set whose only fault is that it forbids every model is no bad file: the run ends without a usable provider,
        and its report says which rule excluded each model (CONTRACT section 2, exit status 4).
        """
        errors = [one for one in self.findings if one.error]
        if all(one.kind is Kind.NO_MODEL for one in errors):
            return
        if all(one.path for one in errors):
            raise SpecError(
                tuple(SpecFinding(one.path, one.line, one.column, one.subject, one.message) for one in errors)
            )
        raise UsageError("\n".join(self.errors), hint="Correct the policies; nothing was asked or spent.")


class PolicyAnalyzer:
    """Static analysis of policies: nothing is asked of a provider, and no key is needed."""

    @staticmethod
    def analyze(
        policies: PolicySet | PolicyHierarchy,
        catalog: Catalog | None = None,
        *,
        offline: bool = False,
        teams: Sequence[str] | None = None,
        jobs: Sequence[str] | None = None,
    ) -> PolicyReport:
        """Return every finding about one set, or about every combination of levels that a hierarchy allows.

        `catalog` is the built-in one by default. `offline` counts the built-in offline model as one that may answer.
        `teams` and `jobs` are the names that exist; a hierarchy's own that are not among them are warnings.
        """
        known = catalog or load_catalog()
        if isinstance(policies, PolicySet):
            return PolicyReport(tuple(_findings(policies, known, offline=offline)))
        names = [*_strangers("team", policies.teams, teams), *_strangers("job", policies.jobs, jobs)]
        combinations = [(team, job) for team in (None, *policies.teams) for job in (None, *policies.jobs)]
        found = [
            finding
            for team, job in combinations
            for finding in _findings(policies.policies_for(team, job), known, offline=offline)
        ]
        return PolicyReport(tuple(dict.fromkeys((*names, *found))))


def models_left(policies: PolicySet, catalog: Catalog, *, offline: bool = False) -> tuple[ModelProfile, ...]:
    """Return the models that no hard policy rules out for a call of ordinary length, in the catalog's order."""
    known = _models(policies, catalog, offline=offline)
    return tuple(
        model for model in known.models.values() if judge(model, policies, known, cost_usd=_ordinary_usd(model)).allowed
    )


def _findings(policies: PolicySet, catalog: Catalog, *, offline: bool) -> Iterator[PolicyFinding]:
    models = _models(policies, catalog, offline=offline)
    for policy, origin in policies.placed:
        yield from _of_one(policy, origin, models)
    placed = policies.placed
    for index, (policy, origin) in enumerate(placed):
        for before, (other, above) in enumerate(placed):
            if before < index:
                yield from _of_two(other, above, policy, origin, models)
    yield from _leftover(policies, models)


def _models(policies: PolicySet, catalog: Catalog, *, offline: bool) -> Catalog:
    """Return the catalog of what could answer: the offline model and a local server only where there or named."""
    named = {name for policy in policies.policies for name in policy.allowed_providers or ()}
    named |= {name.casefold() for policy in policies.policies for name in policy.allowed_models or ()}
    models = dict(catalog.models)
    if not offline and "offline" not in named:
        models.pop("offline", None)
    if "local" in named and not catalog.of(frozenset({"local"})):
        models["local"] = _LOCAL
    return replace(catalog, models=models)


def _of_one(policy: Policy, origin: Origin, catalog: Catalog) -> Iterator[PolicyFinding]:
    """Yield what is wrong with a policy by itself."""
    hard = policy.enforcement_mode is EnforcementMode.HARD
    for rule in ALLOWED:
        if names_of(policy, rule, catalog) == frozenset():
            # Nobody means to be served nowhere; an empty list of models or providers may be meant as a switch.
            slip = hard and rule == "allowed_regions"
            yield _finding(Kind.EMPTY, policy, origin, rule, "is empty, which allows nothing", error=slip)
    for kind in ("models", "providers"):
        both = overlap(policy, policy, kind, catalog)
        if both:
            message = f"{_listed(both)} also stands in blocked_{kind}; nothing can be allowed and blocked at once"
            yield _finding(Kind.CONTRADICTION, policy, origin, f"allowed_{kind}", message, error=hard)
    cap = policy.max_cost_per_task_usd
    cheapest = min(_costs(catalog), default=None)
    if cap is not None and cheapest is not None and cap < cheapest[0]:
        message = f"${cap:g} is below the cheapest possible call, ${cheapest[0]:.6f} with {cheapest[1]}"
        yield _finding(Kind.CAP, policy, origin, "max_cost_per_task_usd", message, error=hard)
    for rule in NAMING:
        for message in unknown_names(rule, getattr(policy, rule) or (), catalog):
            yield _finding(Kind.UNKNOWN, policy, origin, rule, message)


def _costs(catalog: Catalog) -> list[tuple[float, str]]:
    """Return what the smallest call costs with each model, by the shortest output limit that any purpose has."""
    least = min(OUTPUT_TOKENS.values())
    return [
        (to_usd(model.price.cost(ESTIMATE_TOKENS, min(least, model.max_output_tokens))), model.id)
        for model in catalog.models.values()
    ]


def _of_two(first: Policy, above: Origin, second: Policy, below: Origin, catalog: Catalog) -> Iterator[PolicyFinding]:
    """Yield what is wrong with two policies together, of which the second stands later, or on a lower level."""
    if below.rank > above.rank:
        yield from _widened(first, above, second, below, catalog)
        return
    if replace(first, name=second.name) == second:
        yield _finding(Kind.DUPLICATE, second, below, "", f"says the same as {_called(first, above)}")
        return
    if first.name == second.name:
        yield _finding(Kind.DUPLICATE, second, below, "name", f"is the name of {_called(first, above)} too")
    for kind in ("models", "providers"):
        both = overlap(first, second, kind, catalog) | overlap(second, first, kind, catalog)
        if both:
            message = f"allows and blocks {_listed(both)} together with {_called(first, above)}; blocked it is"
            yield _finding(Kind.CONTRADICTION, second, below, f"allowed_{kind}", message)
    for rule in RULES:
        if strength(second) <= strength(first) and contains(second, first, rule, catalog):
            message = f"has no effect: {_called(first, above)} is as strict or stricter"
            yield _finding(Kind.SHADOWED, second, below, rule, message)
        elif strength(first) <= strength(second) and contains(first, second, rule, catalog):
            message = f"has no effect: {_called(second, below)} is as strict or stricter"
            yield _finding(Kind.SHADOWED, first, above, rule, message)


def _widened(higher: Policy, above: Origin, lower: Policy, below: Origin, catalog: Catalog) -> Iterator[PolicyFinding]:
    """Yield where a lower level says less than a higher one, which holds in any case."""
    if higher.enforcement_mode is not EnforcementMode.HARD:
        return
    hard = lower.enforcement_mode is EnforcementMode.HARD
    told = f"{_called(higher, above)} of the level above"
    for rule in ALLOWED:
        ceiling, wanted = names_of(higher, rule, catalog), names_of(lower, rule, catalog)
        if ceiling is None or not wanted or wanted <= ceiling:
            continue
        # A model may be served in two regions, and meet one level by each.
        none_left = rule != "allowed_regions" and not wanted & ceiling
        message = f"{_listed(wanted - ceiling)} is not allowed by {told}, which holds" + (
            "; nothing that both allow is left" if none_left else ""
        )
        yield _finding(Kind.WIDENED, lower, below, rule, message, error=hard and none_left)
    for kind in ("models", "providers"):
        both = overlap(lower, higher, kind, catalog)
        if both:
            none_left = both == names_of(lower, f"allowed_{kind}", catalog)
            message = f"{_listed(both)} is blocked by {told}, which holds"
            yield _finding(Kind.WIDENED, lower, below, f"allowed_{kind}", message, error=hard and none_left)
    for rule in RULES:
        if rule in ALLOWED or rule.startswith("blocked_"):
            continue
        if contains(lower, higher, rule, catalog) and not contains(higher, lower, rule, catalog):
            message = f"{getattr(lower, rule):g} is wider than the {getattr(higher, rule):g} of {told}, which holds"
            yield _finding(Kind.WIDENED, lower, below, rule, message)
        elif getattr(higher, rule) is False and getattr(lower, rule) is True and rule in below.rules:
            yield _finding(Kind.WIDENED, lower, below, rule, f"true is wider than the false of {told}, which holds")
    if lower.name == higher.name and not hard:
        message = f"{lower.enforcement_mode} is weaker than the hard of {told}, which holds"
        yield _finding(Kind.WIDENED, lower, below, "enforcement_mode", message)


def _leftover(policies: PolicySet, catalog: Catalog) -> Iterator[PolicyFinding]:
    """Yield what kind of task or call is left without a model, or without one that is good enough."""
    hard = [(policy, origin) for policy, origin in policies.placed if policy.enforcement_mode is EnforcementMode.HARD]
    if not hard:
        return
    providers = frozenset(model.provider for model in catalog.models.values())
    router = Router(catalog, providers, policies, GreedyBackend())
    stranded, weak = [], []
    for task_type in TaskType:
        # Code is what another provider must review, and what a better model is wanted for.
        critical = task_type is TaskType.CODE_GENERATION
        left = _left(router, Purpose.GENERATE, critical=critical)
        if left is None:
            stranded.append(task_type.value)
        elif not left:
            weak.append(task_type.value)
    calls = [one.value for one in Purpose if one is not Purpose.GENERATE and _left(router, one) is None]
    policy, origin = hard[-1]
    if stranded:
        tasks = "any task" if len(stranded) == len(TaskType) else f"tasks of type {', '.join(stranded)}"
        message = f"leaves no model for {tasks}: {_excluders(policies, catalog)}"
        yield _finding(Kind.NO_MODEL, policy, origin, "", message, error=True)
    elif calls:
        message = f"leaves no model for the calls {', '.join(calls)}: {_excluders(policies, catalog)}"
        yield _finding(Kind.NO_MODEL, policy, origin, "", message, error=True)
    elif weak:
        message = f"leaves no model of the wanted quality for tasks of type {', '.join(weak)}"
        yield _finding(Kind.NO_MODEL, policy, origin, "", message)


def _left(router: Router, purpose: Purpose, *, critical: bool = False) -> bool | None:
    """Say whether a model that is good enough is left, or None when none is."""
    try:
        route = router.route(Need(purpose, ESTIMATE_TOKENS, OUTPUT_TOKENS[purpose], critical=critical))
    except NoModel:
        return None
    return route.good_enough


def _excluders(policies: PolicySet, catalog: Catalog) -> str:
    """Return which hard rules rule out how many models."""
    counts: Counter[str] = Counter()
    for model in catalog.models.values():
        broken = judge(model, policies, catalog, cost_usd=_ordinary_usd(model)).violations
        # A set: two policies of one name may break on the same model, which is one model all the same.
        counts.update({f"{one.rule} of {one.policy}" for one in broken if one.mode is EnforcementMode.HARD})
    said = ", ".join(f"{rule} rules out {count}" for rule, count in counts.most_common())
    return f"of {len(catalog.models)} models {said}"


def _ordinary_usd(model: ModelProfile) -> float:
    output_tokens = min(OUTPUT_TOKENS[Purpose.GENERATE], model.max_output_tokens)
    return to_usd(model.price.cost(ESTIMATE_TOKENS, output_tokens))


def _strangers(kind: str, levels: Mapping[str, PolicySet], known: Sequence[str] | None) -> list[PolicyFinding]:
    if known is None:
        return []
    found = []
    for name, policies in levels.items():
        if name not in known:
            policy, origin = policies.placed[0] if policies.placed else (Policy(name=name), Origin())
            message = f"{name!r} is no {kind} of the operator's budgets{nearest(name, known) if known else ''}"
            found.append(_finding(Kind.UNKNOWN, policy, origin, kind, message))
    return found


def _finding(
    kind: Kind, policy: Policy, origin: Origin, rule: str, message: str, *, error: bool = False
) -> PolicyFinding:
    place = origin.at(rule)
    return PolicyFinding(kind, error, policy.name, rule, message, origin.path, place.line, place.column)


def _called(policy: Policy, origin: Origin) -> str:
    return f"policy {policy.name}" + (f" ({origin.path}:{origin.place.line})" if origin.path else "")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
