"""Which optimization backend a spec's `routing` section names."""

from __future__ import annotations

from orchestrator.optimization import GreedyBackend, OptimizationBackend, ParetoBackend, WeightedSumBackend
from orchestrator.sections import RoutingSpec


def backend_for(routing: RoutingSpec) -> OptimizationBackend:
    """Return the backend of a routing section."""
    match routing.strategy:
        case "greedy":
            return GreedyBackend()
        case "pareto":
            return ParetoBackend()
        case "weighted_sum":
            weights = routing.weights
            return WeightedSumBackend(weights.quality, weights.cost, weights.trust)
