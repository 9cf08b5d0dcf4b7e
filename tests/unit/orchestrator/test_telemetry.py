"""Telemetry: numbers from events, and merging that equals having seen everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import Event, EventType
from orchestrator.telemetry import ACCURACY, LATENCY_SECONDS, Distribution, Telemetry, merge_telemetry

SAMPLES = st.lists(st.floats(0, 1e6, allow_nan=False), max_size=60)


def event(of: EventType, /, **data: Any) -> Event:
    return Event(of, "run-1", data, 0.0)


def settled(latency: float = 1.0, *, model: str = "m", cost: float = 0.25, task_id: str = "") -> Event:
    return event(
        EventType.CALL_SETTLED,
        task_id=task_id, provider="openai", model=model, input_tokens=100, output_tokens=10, cost_usd=cost,
        latency_seconds=latency,
    )  # fmt: skip


def failed(kind: str, *, retried: bool) -> Event:
    return event(EventType.CALL_FAILED, provider="openai", model="m", kind=kind, retried=retried, latency_seconds=0.1)


def ended_task(of: EventType, attempts: int, score: float, *, model: str = "m", kind: str = "code_generation") -> Event:
    provider = "openai" if model else ""
    return event(of, task_id="a", type=kind, provider=provider, model=model, attempts=attempts, score=score)


def ended_run(status: str, spent: float, cap: float, *, run: str = "run-1", at: float = 0.0) -> Event:
    return Event(EventType.PROJECT_COMPLETED, run, {"status": status, "spent_usd": spent, "max_usd": cap}, at)


def told(events: Sequence[Event]) -> Telemetry:
    telemetry = Telemetry()
    for one in events:
        telemetry.take(one)
    return telemetry


def distribution(samples: Sequence[float]) -> Distribution:
    made = Distribution(LATENCY_SECONDS)
    for sample in samples:
        made.add(sample)
    return made


def nearest_rank(samples: Sequence[float], percent: float) -> float:
    ordered = sorted(samples)
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]


def test_calls_are_summed_and_failures_counted_by_kind() -> None:
    telemetry = told(
        [settled(1.0), settled(3.0), failed("rate_limited", retried=True), failed("rejected", retried=False)]
    )
    model = telemetry.models["openai", "m"]
    assert (model.calls, model.input_tokens, model.output_tokens, model.cost_usd) == (2, 200, 20, 0.5)
    assert model.latency.mean == 2.0
    assert model.failures == {"rate_limited": 1, "rejected": 1}
    assert model.retries == {"rate_limited": 1}


def test_a_call_whose_answer_was_lost_costs_and_is_no_answer() -> None:
    lost = event(EventType.CALL_LOST, task_id="a", provider="openai", model="m", cost_usd=0.5, latency_seconds=9.0)
    started = event(EventType.TASK_STARTED, task_id="a", type="code_generation")

    telemetry = told([started, settled(1.0), lost])

    model = telemetry.models["openai", "m"]
    assert (model.calls, model.cost_usd, model.latency.count) == (1, 0.75, 1)
    assert telemetry.task_types["code_generation"].cost_usd == 0.5


def test_of_runs_that_ended_long_ago_only_the_sums_are_kept() -> None:
    ended = [ended_run("completed", 0.25, 1.0, run=f"run-{number}", at=float(number)) for number in range(10_003)]

    telemetry = told([*ended, ended_run("completed", 0.5, 1.0, run="run-10002", at=20_000.0)])

    assert (len(telemetry.budgets), next(iter(telemetry.budgets))) == (10_000, "run-3")
    assert (telemetry.spent_usd, telemetry.budget_usd) == (10_003 * 0.25 + 0.25, 10_003.0)
    assert merge_telemetry([telemetry]) == telemetry


def test_tasks_count_for_their_type_and_for_the_model_that_wrote_them() -> None:
    telemetry = told(
        [
            ended_task(EventType.TASK_COMPLETED, 1, 0.9),
            ended_task(EventType.TASK_COMPLETED, 2, 0.7),
            ended_task(EventType.TASK_FAILED, 3, 0.2),
            ended_task(EventType.TASK_FAILED, 1, 0.0, model=""),
            event(EventType.TASK_SKIPPED, type="code_generation"),
        ]
    )
    kind, model = telemetry.task_types["code_generation"], telemetry.models["openai", "m"]
    assert kind.tasks == {"completed": 2, "failed": 2, "skipped": 1}
    assert (kind.attempts, kind.first_attempt_passes) == (7, 1)
    assert model.tasks == {"completed": 2, "failed": 1}
    assert (model.first_attempt_passes, kind.scores.count) == (1, 3)
    assert model.scores.mean == pytest.approx(0.6)
    assert list(telemetry.models) == [("openai", "m")]


def test_what_a_task_costs_counts_for_its_type_once_though_it_is_tried_again_later() -> None:
    started = event(EventType.TASK_STARTED, task_id="a", type="summarization")
    ended = ended_task(EventType.TASK_FAILED, 1, 0.0, kind="summarization")
    one_round = [started, settled(task_id="a"), ended, settled(), settled(task_id="a")]
    telemetry = told([*one_round, ended_run("partial", 0.25, 1.0), *one_round])
    assert telemetry.task_types["summarization"].cost_usd == 0.5
    assert telemetry.models["openai", "m"].cost_usd == 1.5


def test_the_budget_ratio_is_of_sums_and_no_mean_of_ratios() -> None:
    small, large = told([ended_run("completed", 1.0, 1.0)]), told([ended_run("partial", 0.0, 9.0, run="run-2")])
    merged = merge_telemetry([small, large])
    assert merged.budget_ratio == 0.1
    assert merged.runs == {"completed": 1, "partial": 1}
    assert Telemetry().budget_ratio == 0.0


def test_a_run_that_goes_on_spends_one_budget_whoever_went_on_with_it() -> None:
    first = told([ended_run("interrupted", 2.0, 8.0, at=1.0)])
    second = told([ended_run("budget_exhausted", 4.0, 4.0, at=2.0), ended_run("completed", 5.0, 10.0, at=3.0)])
    for parts in ([first, second], [second, first]):
        merged = merge_telemetry(parts)
        assert (merged.spent_usd, merged.budget_usd, merged.budget_ratio) == (5.0, 10.0, 0.5)
        assert merged.runs == {"interrupted": 1, "budget_exhausted": 1, "completed": 1}


def test_a_mean_of_two_unequal_parts_is_that_of_all_samples() -> None:
    merged = merge_telemetry([told([settled(1.0)]), told([settled(4.0)] * 2)])
    assert merged.models["openai", "m"].latency.mean == 3.0


def test_merging_leaves_the_parts_as_they_are() -> None:
    one, two = told([settled(1.0)]), told([settled(2.0), failed("rejected", retried=False)])
    before = asdict(one), asdict(two)
    merge_telemetry([one, two]).take(settled(3.0))
    assert (asdict(one), asdict(two)) == before


@given(st.lists(SAMPLES, max_size=4), st.floats(0, 100))
def test_merged_samples_have_the_percentiles_means_and_buckets_of_all_of_them(
    parts: list[list[float]], percent: float
) -> None:
    # given
    everything = [sample for part in parts for sample in part]
    # when
    merged = distribution([])
    for part in parts:
        merged.merge(distribution(part))
    # then
    alone = distribution(everything)
    assert (merged.count, merged.buckets, merged.cells) == (alone.count, alone.buckets, alone.cells)
    assert merged.percentile(percent) == alone.percentile(percent)
    if everything:
        exact = nearest_rank(everything, percent)
        assert merged.percentile(percent) == pytest.approx(exact, rel=ACCURACY * 1.001, abs=2e-9)
        assert merged.mean == pytest.approx(math.fsum(everything) / len(everything))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a", "b"]), st.floats(0, 100)), max_size=30))
def test_merged_telemetry_is_that_of_all_events_whoever_saw_them(seen: list[tuple[int, str, float]]) -> None:
    # given
    parts: list[list[Event]] = [[], [], []]
    for agent, model, latency in seen:
        # Costs are powers of two, so that their sums are exact in any order.
        parts[agent].append(settled(latency, model=model, cost=0.25))
    # when
    merged = merge_telemetry(told(part) for part in parts)
    # then
    alone = told([one for part in parts for one in part])
    assert merged.models.keys() == alone.models.keys()
    for key, model_telemetry in merged.models.items():
        expected = alone.models[key]
        assert model_telemetry.calls == expected.calls
        assert model_telemetry.cost_usd == expected.cost_usd
        assert model_telemetry.latency.cells == expected.latency.cells


def test_what_is_no_sample_is_refused() -> None:
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite number"):
            distribution([]).add(wrong)
    with pytest.raises(ValueError, match="0 to 100"):
        distribution([1.0]).percentile(101)
    with pytest.raises(ValueError, match="different bounds"):
        distribution([]).merge(Distribution((1.0,)))
    assert (distribution([]).percentile(50), distribution([0.0]).percentile(50)) == (0.0, 0.0)
