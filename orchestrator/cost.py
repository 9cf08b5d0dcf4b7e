"""What a plan will cost before anything is spent on it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.budget import to_usd
from orchestrator.catalog import ModelProfile
from orchestrator.routing import Need, Router
from orchestrator.state import Forecast, Purpose, Task

# Tokens of one task's calls, (low, high), from the catalog's priors: a small file written once, against a large one
# written and revised twice.
_GENERATE_INPUT = (1_500, 12_000)
_GENERATE_OUTPUT_PER_FILE = (600, 3_000)
_REVIEW_OUTPUT = (200, 1_500)
_ROUNDS = (1, 3)


def forecast(tasks: Sequence[Task], router: Router) -> Forecast:
    """Return a low and a high estimate in USD for the plan, from list prices and the models the router would choose.

    Low: every task passes at once. High: every task takes three rounds with long files. Raises `NoModel`.
    """
    by_task: dict[str, tuple[float, float]] = {}
    models: dict[str, str] = {}
    for task in tasks:
        writer = router.route(
            Need(Purpose.GENERATE, _GENERATE_INPUT[1], _GENERATE_OUTPUT_PER_FILE[1], critical=task.critical)
        ).chain[0]
        reviewer = router.route(
            Need(
                Purpose.REVIEW,
                _GENERATE_INPUT[1],
                _REVIEW_OUTPUT[1],
                critical=task.critical,
                avoid_provider=writer.provider,
            )
        ).chain[0]
        low, high = (_task_cost(task, writer, reviewer, bound) for bound in (0, 1))
        by_task[task.id] = (low, high)
        models[task.id] = writer.id
    return Forecast(
        low_usd=sum(low for low, _ in by_task.values()),
        high_usd=sum(high for _, high in by_task.values()),
        by_task=by_task,
        models=models,
    )


def _task_cost(task: Task, writer: ModelProfile, reviewer: ModelProfile, bound: int) -> float:
    written = _GENERATE_OUTPUT_PER_FILE[bound] * max(1, len(task.files))
    generate = writer.price.cost(_GENERATE_INPUT[bound], written)
    review = reviewer.price.cost(_GENERATE_INPUT[bound] + written, _REVIEW_OUTPUT[bound])
    return to_usd(_ROUNDS[bound] * (generate + review))
