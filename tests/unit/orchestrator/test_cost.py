"""The forecast: from what was paid where that is known, else from list prices; low, usual and high; pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Budget, CostForecaster, CostPredictor, Task
from orchestrator.catalog import FlatPrice, ModelProfile
from orchestrator.cost import forecast
from orchestrator.errors import NoModel, UsageError
from orchestrator.prediction import Attempt, Paid, Work
from orchestrator.state import Forecast, Purpose, TaskType
from tests.unit.orchestrator.test_routing import CATALOG, router

CODE = "code_generation"
ONE = Task("a", "", TaskType.CODE_GENERATION, "", (), ("a.py",))


def profile(name: str, provider: str, usd: float, *, trust: float = 1.0, reasoning: bool = False) -> ModelProfile:
    """Return a model that costs the same for each token, whose first attempts always pass, unless told otherwise."""
    return replace(
        CATALOG.models["cheap"],
        id=name,
        provider=provider,
        price=FlatPrice(usd, usd),
        trust=trust,
        quality=0.9,
        reasoning=reasoning,
    )


WRITER = profile("writer", "openai", 1.0)
REVIEWER = profile("reviewer", "anthropic", 2.0)
PAIR = (WRITER, REVIEWER)


def of(
    *tasks: Task, models: tuple[ModelProfile, ...] = PAIR, predictor: CostPredictor | None = None, usd: float = 1.0
) -> Forecast:
    return CostForecaster.forecast(tasks, models, predictor or CostPredictor(), Budget(usd))


def test_without_history_the_forecast_is_the_list_price_of_the_chosen_models() -> None:
    # when: the writer at $1 a million tokens also plans and judges, the reviewer of another provider takes $2
    expected = of(ONE)
    # then: one round of short calls; every round with long files and a full context
    assert expected.models == {"a": "writer"}
    written, reviewed = expected.routes["a"]
    assert (written.purpose, written.model, written.next_model) == (Purpose.GENERATE, "writer", "reviewer")
    assert (reviewed.purpose, reviewed.model) == (Purpose.REVIEW, "reviewer")
    assert reviewed.excluded == (("writer", "its provider wrote what is reviewed"),)
    low = (1_500 + 200) * 1e-6 + (1_200 + 50) * 2e-6
    usual = (4_000 + 800) * 1e-6 + (3_000 + 300) * 2e-6
    high = (24_000 + 3_000 + 2 * (30_000 + 3_000)) * 1e-6 + 3 * (24_000 + 1_500) * 2e-6
    assert expected.by_task["a"] == pytest.approx((low, high))
    assert expected.estimated_by_task["a"] == pytest.approx(usual)
    assert expected.estimated_by_phase == pytest.approx(
        {
            "decomposition": (1_500 + 300 + 2_000 + 1_500) * 1e-6,
            "generation": 4_800e-6,
            "cross_review": 6_600e-6,
            "evaluation": 1_650e-6,
            "reserve": 0.0,
        }
    )
    assert expected.estimated_total_usd == pytest.approx(sum(expected.estimated_by_phase.values()))


def test_what_was_paid_for_such_calls_replaces_the_list_price() -> None:
    # given
    predictor = CostPredictor()
    predictor.observe(Work("writer", Purpose.GENERATE, CODE), Paid(0.5, 1, 1, 30.0))
    predictor.observe(Work("writer", Purpose.GENERATE, "creative_writing"), Paid(9.0, 1, 1, 30.0))
    # when
    expected = of(ONE, predictor=predictor)
    # then
    assert expected.estimated_by_phase["generation"] == pytest.approx(0.5)
    low, high = expected.by_phase["generation"]
    assert low < 0.5 < high


def test_the_more_was_seen_the_closer_low_and_high_come() -> None:
    predictor = CostPredictor()
    widths = []
    for _ in range(20):
        predictor.observe(Work("writer", Purpose.GENERATE, CODE), Paid(0.004, 1, 1, 3.0))
        low, high = of(ONE, predictor=predictor).by_phase["generation"]
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_a_model_whose_first_attempts_fail_is_forecast_to_need_more_rounds() -> None:
    # given: half of the first attempts pass, by the catalog's word: 1 + 0.5 + 0.25 rounds
    models = (profile("writer", "openai", 1.0, trust=0.5), REVIEWER)
    # when
    expected = of(ONE, models=models)
    # then
    assert expected.estimated_by_phase["cross_review"] == pytest.approx(1.75 * 6_600e-6)
    assert expected.estimated_by_phase["generation"] == pytest.approx(4_800e-6 + 0.75 * 6_800e-6)
    # when: a hundred attempts all passed, which weigh 19 at alpha 0.1 against the ten of the catalog
    predictor = CostPredictor()
    for _ in range(200):
        predictor.observe(Work("writer", Purpose.GENERATE, CODE), Attempt(True, 0.9))
    again = 1 - (10 * 0.5 + 19 * 1.0) / 29
    rounds = 1 + again + again**2
    expected = of(ONE, models=models, predictor=predictor)
    # then
    assert expected.estimated_by_phase["cross_review"] == pytest.approx(rounds * 6_600e-6)


def test_low_values_and_estimates_add_up_and_deviations_above_them_in_quadrature() -> None:
    # given: nine tasks alike
    expected = of(*(replace(ONE, id=f"t{number}") for number in range(9)))
    low, high = expected.by_task["t0"]
    usual = expected.estimated_by_task["t0"]
    # then
    assert sum(one for one, _ in expected.by_phase.values()) == pytest.approx(expected.low_usd)
    assert expected.by_phase["generation"][0] + expected.by_phase["cross_review"][0] == pytest.approx(9 * low)
    assert expected.high_usd > expected.estimated_total_usd + 3 * (high - usual)
    assert expected.high_usd < sum(one for _, one in expected.by_phase.values())
    writing_high = expected.by_phase["generation"][1]
    assert writing_high - 9 * 4_800e-6 == pytest.approx(3 * (24_000 + 3_000 + 2 * 33_000 - 4_800) * 1e-6)


def test_a_reasoning_model_pays_for_its_thoughts() -> None:
    thinking = of(ONE, models=(profile("writer", "openai", 1.0, reasoning=True), REVIEWER))
    assert thinking.estimated_by_phase["generation"] == pytest.approx(4_800e-6 + 1_500e-6)


def test_the_seconds_are_those_of_the_longest_chain() -> None:
    # given: 1 s of latency a call and 80 tokens a second; b waits for a, c for nobody
    b = replace(ONE, id="b", depends_on=("a",))
    c = replace(ONE, id="c")
    write, review = 1 + 800 / 80, 1 + 300 / 80
    around = (1 + 300 / 80) + (1 + 1_500 / 80) + (1 + 150 / 80)
    # then
    assert of(ONE, c).critical_path_seconds == pytest.approx(around + write + review)
    assert of(ONE, b, c).critical_path_seconds == pytest.approx(around + 2 * (write + review))


def test_a_dependency_outside_of_the_list_counts_as_done_and_a_cycle_is_an_error() -> None:
    outside = replace(ONE, depends_on=("before",))
    assert of(outside).critical_path_seconds == of(ONE).critical_path_seconds
    with pytest.raises(UsageError, match="The tasks wait for each other: "):
        of(replace(ONE, depends_on=("b",)), replace(ONE, id="b", depends_on=("a",)))


@pytest.mark.parametrize(
    ("share", "risk"), [(0.49, "low"), (0.51, "medium"), (0.79, "medium"), (0.81, "high"), (5.0, "high")]
)
def test_the_risk_is_the_estimate_over_the_budget(share: float, risk: str) -> None:
    estimated = of(ONE).estimated_total_usd
    assert of(ONE, usd=estimated / share).risk_level.value == risk


def test_with_a_budget_of_nothing_any_cost_is_a_high_risk_and_none_is_low() -> None:
    free = profile("free", "local", 0.0)
    assert of(ONE, usd=0.0).risk_level.value == "high"
    assert of(ONE, models=(free,), usd=0.0).risk_level.value == "low"


def test_empty_profiles_mean_the_vendors_models_of_the_catalog() -> None:
    expected = CostForecaster.forecast([ONE], {}, CostPredictor(alpha=0.1), Budget(max_usd=10.0))
    assert expected.estimated_total_usd > 0
    assert expected.models["a"] != "offline"


def test_profiles_may_be_a_mapping_by_name() -> None:
    named = CostForecaster.forecast([ONE], {one.id: one for one in PAIR}, CostPredictor(), Budget(1.0))
    assert named == of(ONE)


def test_what_is_no_task_is_refused_with_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"Ellipsis is no task\.\nGive a sequence of orchestrator\.Task"):
        CostForecaster.forecast([...], {}, CostPredictor(), Budget())  # type: ignore[list-item]


def test_without_a_model_that_can_take_a_call_there_is_no_forecast() -> None:
    with pytest.raises(NoModel):
        of(ONE, models=(replace(WRITER, context_tokens=2_000),))


def test_a_run_that_has_its_plan_counts_what_the_plan_did_cost() -> None:
    expected = forecast([ONE], router(), CostPredictor(), Budget(1.0), planned_usd=0.25)
    assert expected.by_phase["decomposition"] == (0.25, 0.25)
    assert expected.estimated_by_phase["decomposition"] == 0.25


@given(
    files=st.lists(st.integers(0, 8), max_size=6),
    costs=st.lists(st.floats(0, 1), max_size=10),
    alpha=st.floats(0.01, 1),
)
def test_low_is_at_most_usual_and_usual_at_most_high_whatever_was_paid_and_the_same_again(
    files: list[int], costs: list[float], alpha: float
) -> None:
    # given
    tasks = [replace(ONE, id=f"t{n}", files=tuple(f"{n}/{m}" for m in range(count))) for n, count in enumerate(files)]
    predictor = CostPredictor(alpha)
    for usd in costs:
        predictor.observe(Work("writer", Purpose.GENERATE, CODE), Paid(usd, 1, 1, 1.0))
        predictor.observe(Work("reviewer", Purpose.REVIEW, CODE), Paid(usd / 2, 1, 1, 1.0))
    # when
    expected = of(*tasks, predictor=predictor)
    # then
    assert expected.low_usd <= expected.estimated_total_usd + 1e-12
    assert expected.estimated_total_usd <= expected.high_usd + 1e-12
    for name, (low, high) in {**expected.by_task, **expected.by_phase}.items():
        usual = {**expected.estimated_by_task, **expected.estimated_by_phase}[name]
        assert low <= usual + 1e-12
        assert usual <= high + 1e-12
    assert of(*tasks, predictor=predictor) == expected
