"""How far forecasts are from what runs cost, over the example projects, before and after anything was learned.

What it shows: the real pipeline, from the plan to the ledger's sum, on prompts and files of realistic size, billed at
the catalog's list prices: the built-in model's answers, served under the names of two vendors' models, a token for
every four bytes. What it does not show: how a vendor's models think, ramble and fail. Every answer here passes at
once and no thought is billed, so that the actual cost lies below a first forecast, which expects both. Learning is
real: the second forecast of a project rests on what its first run and those of the others paid.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import Budget, ControlPlane, CostForecaster, CostPredictor, JobSpec, PolicySet, ProjectState
from orchestrator.catalog import load_catalog
from orchestrator.providers.offline import OfflineProvider
from orchestrator.sections import RoutingSpec, ValidationSpec
from orchestrator.specs import load_project_file
from orchestrator.state import Forecast

PROJECTS = Path(__file__).parents[1] / "projects"
VENDORS = ("openai", "anthropic")


@dataclass(frozen=True, slots=True)
class Row:
    """One project's forecast and what it really cost, in USD."""

    project: str
    expected: Forecast
    actual: float

    @property
    def ratio(self) -> float:
        """The estimate over the actual cost: 1 is exact."""
        return self.expected.estimated_total_usd / self.actual

    def __str__(self) -> str:
        one = self.expected
        inside = "inside" if one.low_usd <= self.actual <= one.high_usd else "outside"
        return (
            f"{self.project}: ${one.low_usd:.4f} / ${one.estimated_total_usd:.4f} / ${one.high_usd:.4f}, "
            f"actual ${self.actual:.4f} ({inside}), ratio {self.ratio:.2f}"
        )


async def measure() -> dict[str, list[Row]]:
    """Build every project once, then once more, and return the rows without and with what was learned."""
    models = [one for one in load_catalog().models.values() if one.provider in VENDORS]
    jobs = {path.stem: _job(path) for path in sorted(PROJECTS.glob("*.yaml"))}
    rows: dict[str, list[Row]] = {"no history": [], "after learning": []}
    with tempfile.TemporaryDirectory() as home:
        providers = {name: OfflineProvider() for name in VENDORS}
        async with ControlPlane.open({"ORCHESTRATOR_HOME": home}, providers=providers) as plane:
            for name, job in jobs.items():
                state = await _built(plane, job, f"{name}-first")
                unlearned = CostForecaster.forecast(state.tasks, models, CostPredictor(), Budget(job.budget.max_usd))
                rows["no history"].append(Row(name, unlearned, state.budget.spent_usd))
            for name, job in jobs.items():
                state = await _built(plane, job, f"{name}-again")
                if state.forecast is not None:
                    rows["after learning"].append(Row(name, state.forecast, state.budget.spent_usd))
    return rows


def _job(path: Path) -> JobSpec:
    """Return an example as it is measured: which vendors a user has, and checks, which cost no money, are left out."""
    validation = ValidationSpec(validators=("python_syntax",))
    return replace(load_project_file(path).job, policies=PolicySet(), routing=RoutingSpec(), validation=validation)


async def _built(plane: ControlPlane, job: JobSpec, run_id: str) -> ProjectState:
    state = await plane.submit(job, run_id=run_id)
    if state.status.value != "completed":
        raise RuntimeError(f"{run_id} ended {state.status.value}: {state.outcome.reason}")
    return state


def main() -> None:
    """Print low / estimate / high, the actual cost and the estimate's ratio to it, and each pass's worst ratio."""
    for name, rows in asyncio.run(measure()).items():
        for row in rows:
            print(f"forecast, {name}: {row}")
        worst = max(max(row.ratio, 1 / row.ratio) for row in rows)
        print(f"forecast, {name}: off by a factor of {worst:.2f} at most")
