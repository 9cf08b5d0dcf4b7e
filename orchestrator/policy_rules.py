"""What a policy's rules name, and how two policies' rules compare: which one forbids all that the other one forbids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.catalog import Catalog
from orchestrator.policy import EnforcementMode, Policy, folded, ids_of
from orchestrator.strict import nearest

ALLOWED = ("allowed_models", "allowed_providers", "allowed_regions")
BLOCKED = ("blocked_models", "blocked_providers")
FLAGS = ("allow_training_on_output", "pii_allowed")
CEILINGS = ("max_cost_per_task_usd", "max_latency_ms", "rate_limit")
FLOORS = ("min_quality_score",)
RULES = (*ALLOWED, *BLOCKED, *FLAGS, *CEILINGS, *FLOORS)

NAMING = ("allowed_models", "blocked_models", "allowed_regions")
REGIONS = ("eu", "us", "cn", "sg", "global", "local")

_STRENGTH = {EnforcementMode.MONITOR: 0, EnforcementMode.SOFT: 1, EnforcementMode.HARD: 2}


def strength(policy: Policy) -> int:
    """Return how strongly a policy binds: more than another one, or as much."""
    return _STRENGTH[policy.enforcement_mode]


def names_of(policy: Policy, rule: str, catalog: Catalog) -> frozenset[str] | None:
    """Return what a list rule names, models by their ids and all in one case; None where it rules nothing."""
    names = getattr(policy, rule)
    if names is None:
        return None
    return ids_of(names, catalog) if rule.endswith("_models") else folded(names)


def regions_of(catalog: Catalog) -> list[str]:
    """Return the regions that a policy may name, sorted: the usual ones, and those of the catalog's models."""
    return sorted({*REGIONS, *(region for one in catalog.models.values() for region in one.regions)})


def unknown_names(rule: str, names: Iterable[str], catalog: Catalog) -> Iterator[str]:
    """Yield a sentence for each name under a rule of `NAMING` that the catalog does not know, with the nearest one."""
    if rule == "allowed_regions":
        regions = regions_of(catalog)
        known = folded(regions)
        yield from (
            f"{name!r} is not a region of the catalog{nearest(name, regions)}"
            for name in names
            if name.casefold() not in known
        )
        return
    models = [*catalog.models, *catalog.aliases]
    for name in names:
        if name in catalog.unpriced:
            yield f"{name!r} has no list price and is never used; the operator can give one under `models:`"
        elif catalog.resolve(name) is None and name.casefold() != "offline":
            yield f"{name!r} is not a model of the catalog{nearest(name, models)}"


def overlap(allowing: Policy, blocking: Policy, kind: str, catalog: Catalog) -> frozenset[str]:
    """Return the `models` or `providers` that one policy allows by name and the other one blocks."""
    allowed = names_of(allowing, f"allowed_{kind}", catalog) or frozenset()
    return allowed & (names_of(blocking, f"blocked_{kind}", catalog) or frozenset())


def contains(loose: Policy, strict: Policy, rule: str, catalog: Catalog) -> bool:
    """Say whether both have the rule, and `strict` forbids by it at least what `loose` does."""
    if rule in ALLOWED or rule in BLOCKED:
        wide, narrow = names_of(loose, rule, catalog), names_of(strict, rule, catalog)
        if wide is None or narrow is None:
            return False
        return narrow <= wide if rule in ALLOWED else wide <= narrow
    one, other = getattr(loose, rule), getattr(strict, rule)
    if rule in FLAGS:
        return one is False and other is False
    if one is None or other is None:
        return False
    return bool(other <= one if rule in CEILINGS else other >= one)
