"""Which model gets a call: policies filter, a backend ranks, the rest is the fallback chain, every choice explained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.budget import to_usd
from orchestrator.catalog import Catalog, ModelProfile
from orchestrator.errors import NoModel, NoReviewer
from orchestrator.optimization import Candidate, OptimizationBackend
from orchestrator.policy import EnforcementMode, PolicySet, judge
from orchestrator.prediction import Standing
from orchestrator.state import Purpose, RouteChoice

# How good a model must be for a purpose, from 0 to 1, against the catalog's quality. Judging and shaping weigh more
# than writing one file, which is checked and reviewed afterwards.
NEEDED_QUALITY = {
    Purpose.ARCHITECTURE: 0.80,
    Purpose.DECOMPOSE: 0.80,
    Purpose.GENERATE: 0.80,
    Purpose.REVISE: 0.80,
    Purpose.REVIEW: 0.80,
    Purpose.EVALUATE: 0.70,
    Purpose.DRAFT: 0.80,
}
CRITICAL_QUALITY = 0.85
# What first attempts say of a model, they say of its writing.
_WRITING = frozenset({Purpose.GENERATE, Purpose.REVISE})
# Forecasts count input in steps: a finer one is not in an estimate, and prices of equal steps are looked up once.
ESTIMATE_TOKENS = 250


@dataclass(frozen=True, slots=True)
class Need:
    """What a call needs: an estimate of its input and its output limit in tokens, and how much rides on it.

    `prefer` are ids of models that are asked before all others, in this order, where they are eligible.
    `impartial` leaves what is to be avoided out of the chain, where any other model is eligible. `independent` takes
    the provider to avoid only where policies and keys leave no other, not where the others' contexts are too small.
    """

    purpose: Purpose
    input_tokens: int
    output_tokens: int
    critical: bool = False
    avoid_provider: str = ""
    avoid_models: frozenset[str] = frozenset()
    task_type: str = ""
    prefer: tuple[str, ...] = ()
    impartial: bool = False
    independent: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """The models to try in order, and why the first is first.

    `violations` is what soft and monitor policies say against each model, by its id; `good_enough` says whether one of
    them reaches the wanted quality.
    """

    chain: tuple[ModelProfile, ...]
    choice: RouteChoice
    violations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    good_enough: bool = True

    def answered(self, model: ModelProfile, passed_over: Sequence[str] = ()) -> RouteChoice:
        """Return the choice with what policies say against the model of the chain that answered.

        `passed_over` says which providers were asked after others although they rank before them, and why.
        """
        reason = "; ".join((self.choice.reason, *passed_over))
        if passed_over:
            reason += f"; {model.id} answered"
        return replace(self.choice, reason=reason, violations=self.violations.get(model.id, ()))


@dataclass(frozen=True, slots=True)
class Router:
    """Chooses among the models of the available providers.

    `standings` are what was observed by (model, task type) before the run began. Writing is ranked by them, shrunken
    towards the catalog's quality and trust (`prediction.Standing`); policies go by the catalog's word alone, so that
    what is forbidden does not move.
    """

    catalog: Catalog
    available: frozenset[str]
    policies: PolicySet
    backend: OptimizationBackend
    standings: Mapping[tuple[str, str], Standing] = field(default_factory=dict)

    def route(self, need: Need) -> Route:
        """Return the chain for a call; raises `NoModel` with the rule that excluded each model, or `NoReviewer`.

        A provider or model to avoid comes last: one that failed twice is asked when no other one is eligible, or none
        of them answers; for an impartial call (the writer's own, for a review) in the first case only.
        """
        excluded: list[tuple[str, str]] = []
        candidates: list[Candidate] = []
        for model in self.catalog.of(self.available):
            rejection = self._rejection(model, need)
            if isinstance(rejection, str):
                excluded.append((model.id, rejection))
            else:
                candidates.append(rejection)
        if not candidates:
            raise no_model(need.purpose, self.available, excluded)
        ranked = sorted(
            self.backend.rank(candidates),
            key=lambda one: (_avoided(one.model, need), not one.preferred, _place(one.model, need)),
        )
        if need.independent and ranked[0].model.provider == need.avoid_provider:
            self._refuse_own_review(need)
        if not _avoided(ranked[0].model, need):
            avoided = [one.model for one in ranked if _avoided(one.model, need)]
            excluded += [(model.id, _why_avoided(model, need)) for model in avoided]
        eligible = [one for one in ranked if one.model.id not in dict(excluded)]
        chain = eligible if need.impartial else ranked
        return Route(
            tuple(one.model for one in chain),
            self._explain(need, eligible, excluded),
            {one.model.id: one.violations for one in ranked if one.violations},
            any(one.good_enough for one in ranked),
        )

    def _refuse_own_review(self, need: Need) -> None:
        """Raise `NoReviewer` where another provider is allowed, and only the contexts of its models are too small."""
        others = [
            model
            for model in self.catalog.of(self.available)
            if model.provider != need.avoid_provider
            and not _fits(model, need)
            and judge(model, self.policies, self.catalog, cost_usd=_forecast(model, need)).allowed
        ]
        if others:
            largest = max(others, key=lambda model: model.context_tokens)
            providers = " or ".join(sorted({model.provider for model in others}))
            raise NoReviewer(
                f"{need.avoid_provider} may not approve its own work while {providers} is allowed, and what is to be "
                f"reviewed needs {need.input_tokens + need.output_tokens} tokens: the largest context there, that of "
                f"{largest.id}, holds {largest.context_tokens}.",
                hint=f"Ask for smaller files, set the key of a provider with a larger context, or block {providers} by "
                f"a policy: then {need.avoid_provider} reviews itself, and the report says so.",
            )

    def _rejection(self, model: ModelProfile, need: Need) -> Candidate | str:
        if not _fits(model, need):
            return _too_large(model, need)
        cost = _forecast(model, need)
        verdict = judge(model, self.policies, self.catalog, cost_usd=cost)
        if not verdict.allowed:
            hard = [one for one in verdict.violations if one.mode is EnforcementMode.HARD]
            return "; ".join(f"{one.message} (policy {one.policy})" for one in hard)
        needed = NEEDED_QUALITY[need.purpose] if not need.critical else CRITICAL_QUALITY
        seen = self._seen(model, need)
        quality = seen.quality_over(model.quality) if seen else model.quality
        return Candidate(
            model=model,
            cost_usd=cost,
            quality=quality,
            trust=seen.trust_over(model.trust) if seen else model.trust,
            latency_ms=model.latency_ms,
            good_enough=quality >= needed,
            preferred=verdict.preferred,
            violations=tuple(map(str, verdict.violations)),
        )

    def _seen(self, model: ModelProfile, need: Need) -> Standing | None:
        return self.standings.get((model.id, need.task_type)) if need.purpose in _WRITING else None

    def _explain(self, need: Need, ranked: list[Candidate], excluded: list[tuple[str, str]]) -> RouteChoice:
        best = ranked[0]
        following = ranked[1] if len(ranked) > 1 else None
        seen = self._seen(best.model, need)
        moved = f"; quality {best.quality:.2f} after {seen.tried} first attempts seen" if seen else ""
        return RouteChoice(
            purpose=need.purpose,
            model=best.model.id,
            reason=(f"preferred for {need.purpose}" if best.model.id in need.prefer else self.backend.name)
            + f": first of {len(ranked)} eligible"
            + ("" if best.good_enough else ", though below the wanted quality")
            + moved,
            forecast_usd=best.cost_usd,
            next_model=following.model.id if following else "",
            next_forecast_usd=following.cost_usd if following else 0.0,
            excluded=tuple(excluded),
        )


def _fits(model: ModelProfile, need: Need) -> bool:
    return need.input_tokens + need.output_tokens <= model.context_tokens


def _too_large(model: ModelProfile, need: Need) -> str:
    return f"needs {need.input_tokens + need.output_tokens} tokens, its context holds {model.context_tokens}"


def _forecast(model: ModelProfile, need: Need) -> float:
    """Return what one call costs with its whole output, in USD."""
    estimate = -(-need.input_tokens // ESTIMATE_TOKENS) * ESTIMATE_TOKENS
    return to_usd(model.price.cost(estimate, min(need.output_tokens, model.max_output_tokens)))


def _avoided(model: ModelProfile, need: Need) -> bool:
    return model.provider == need.avoid_provider or model.id in need.avoid_models


def _place(model: ModelProfile, need: Need) -> int:
    return need.prefer.index(model.id) if model.id in need.prefer else len(need.prefer)


def _why_avoided(model: ModelProfile, need: Need) -> str:
    if model.provider == need.avoid_provider:
        return "its provider wrote what is reviewed"
    return "it wrote what is judged" if need.impartial else "it failed at this task before"


def no_model(purpose: Purpose, available: Collection[str], excluded: list[tuple[str, str]]) -> NoModel:
    """Return the error that says why no model can take a call."""
    if not available:
        return NoModel(
            "No provider is available: no provider key is set.",
            hint="Set one of OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY, DEEPSEEK_API_KEY, MOONSHOT_API_KEY, "
            "MINIMAX_API_KEY or ZHIPU_API_KEY, or LOCAL_LLM_BASE_URL and LOCAL_LLM_MODEL for a server of your own. "
            "Without any, ORCHESTRATOR_OFFLINE=1 (`--offline` on the command line) builds starter projects with the "
            "built-in model.",
        )
    why = "; ".join(f"{model}: {reason}" for model, reason in excluded) or "the catalog has no model of theirs"
    return NoModel(
        f"No model may answer the {purpose} call. Available providers: {', '.join(sorted(available))}. {why}",
        hint="Set the key of another provider, or begin a new run under a wider policy: one that exists keeps its own.",
        excluded=dict(excluded),
    )
