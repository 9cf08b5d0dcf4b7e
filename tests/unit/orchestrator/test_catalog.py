"""The catalog: exact list prices, models without one left out, the operator's overrides on top."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from importlib import resources
from typing import Any

import pytest
import yaml

from orchestrator.catalog import FlatPrice, LibraryPrice, load_catalog
from orchestrator.errors import UsageError

MILLION = 10**6
# USD per million tokens of input and output at the base tier, list prices of November 2026.
LIST_PRICES = {
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4o": (2.5, 10.0),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5.4-mini": (0.75, 4.5),
    "gpt-5.4": (2.5, 15.0),
    "claude-haiku-4-5": (1.0, 5.0),
    "claude-sonnet-4-6": (3.0, 15.0),
    "claude-opus-4-8": (5.0, 25.0),
    "gemini-2.5-flash-lite": (0.1, 0.4),
    "gemini-2.5-flash": (0.3, 2.5),
    "gemini-2.5-pro": (1.25, 10.0),
    "gemini-3-flash-preview": (0.5, 3.0),
    "deepseek-chat": (0.27, 1.1),
    "deepseek-reasoner": (0.55, 2.19),
    "kimi-k2.5": (0.6, 3.0),
    "kimi-k2.6": (0.95, 4.0),
    "MiniMax-M2.7": (0.3, 1.2),
    "GLM-4.7": (0.276, 1.103),
}


@pytest.mark.parametrize("name", sorted(LIST_PRICES))
def test_a_models_price_is_the_list_price(name: str) -> None:
    price = load_catalog().models[name].price

    # A thousand tokens each stay within the base tier; picodollars per thousand tokens are USD per million times 1e9.
    assert price.cost(1_000, 0) == pytest.approx(LIST_PRICES[name][0] * 10**9)
    assert price.cost(0, 1_000) == pytest.approx(LIST_PRICES[name][1] * 10**9)


def test_every_model_of_the_catalog_has_its_price_checked() -> None:
    catalog = load_catalog()

    assert set(catalog.models) - {"offline"} == set(LIST_PRICES)
    assert catalog.unpriced == ()


@pytest.mark.parametrize("name", ["gpt-5.4", "gemini-2.5-pro"])
def test_long_contexts_cost_what_their_tier_says(name: str) -> None:
    price = load_catalog().models[name].price

    assert price.cost(400_000, 0) > 400 * price.cost(1_000, 0)


def test_cached_input_is_cheaper_and_counts_as_input() -> None:
    price = load_catalog().models["gpt-5-mini"].price

    assert 0 < price.cost(1_000, 0, 1_000) < price.cost(1_000, 0)


def test_writing_to_the_cache_costs_a_quarter_more_where_the_vendor_charges_for_it() -> None:
    haiku, mini = (load_catalog().models[name].price for name in ("claude-haiku-4-5", "gpt-5-mini"))
    assert haiku.cost(1_000_000, 0, cache_write_tokens=1_000_000) == 1_250_000_000_000
    assert haiku.cost(1_000_000, 0, 400_000, 400_000) == 740_000_000_000
    assert mini.cost(1_000_000, 0, cache_write_tokens=1_000_000) == mini.cost(1_000_000, 0)


def test_only_a_price_that_knows_what_writing_costs_lets_a_prompt_be_cached() -> None:
    assert [name for name, one in load_catalog().models.items() if one.caches_on_request] == [
        "claude-haiku-4-5",
        "claude-sonnet-4-6",
        "claude-opus-4-8",
    ]
    own = load_catalog({"claude-haiku-4-5": {"input": 2, "output": 3}})
    assert own.models["claude-haiku-4-5"].caches_on_request is False


def test_every_alias_stands_for_a_model() -> None:
    catalog = load_catalog()

    assert [alias for alias in catalog.aliases if catalog.resolve(alias) is None] == []
    assert catalog.resolve("no-such-model") is None


def test_a_model_that_the_price_library_only_nearly_knows_is_left_out_and_named() -> None:
    catalog = load_catalog({"MiniMax-M2.5": {"provider": "minimax"}, "gpt-99": {"provider": "openai"}})

    assert "MiniMax-M2.5" not in catalog.models
    assert catalog.unpriced == ("MiniMax-M2.5", "gpt-99")


def test_the_operator_can_give_the_missing_price() -> None:
    catalog = load_catalog({"gpt-99": {"provider": "openai", "input": 2.0, "output": 8.0}})

    assert catalog.models["gpt-99"].price == FlatPrice(2.0, 8.0)
    assert catalog.models["gpt-99"].price.cost(MILLION, MILLION) == 10 * 10**12
    assert catalog.unpriced == ()


def test_an_override_changes_only_what_it_names() -> None:
    before = load_catalog().models["gpt-4o"]

    after = load_catalog({"gpt-4o": {"quality": 0.5, "max_output": 100}}).models["gpt-4o"]

    assert (after.quality, after.max_output_tokens) == (0.5, 100)
    assert (after.price, after.context_tokens) == (before.price, before.context_tokens)
    assert before.price == LibraryPrice("openai", "gpt-4o")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"provider": "openai", "inptu": 1}, "models.new: unknown field 'inptu'"),
        ({"quality": 0.5}, "models.new: provider must be one of"),
        ({"provider": "acme"}, "models.new: provider must be one of"),
    ],
)
def test_an_override_that_cannot_be_is_refused(override: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_catalog({"new": override})


def test_the_local_model_is_free_and_keeps_what_the_operator_says_of_it() -> None:
    catalog = load_catalog(
        {"llama": {"context": 8192, "quality": 0.9, "input": 3.0, "output": 3.0}}, local_model="llama"
    )

    local = catalog.models["llama"]
    assert (local.provider, local.price) == ("local", FlatPrice(0, 0))
    assert (local.context_tokens, local.quality) == (8192, 0.9)


def test_only_the_models_of_the_available_providers_are_offered() -> None:
    models = load_catalog().of(frozenset({"deepseek"}))

    assert [model.id for model in models] == ["deepseek-chat", "deepseek-reasoner"]


def test_every_provider_says_where_its_facts_come_from_and_when_they_were_read() -> None:
    raw = yaml.safe_load(resources.files("orchestrator").joinpath("catalog.yaml").read_text(encoding="utf-8"))

    for name, facts in raw["providers"].items():
        assert isinstance(facts["checked"], date), name
        assert facts["note"], name
        assert set(facts["regions"]) <= {"eu", "us", "cn", "sg", "global", "local"}, name
        if name not in ("local", "offline"):
            assert facts["source"].startswith("https://"), name


def test_no_vendors_default_api_is_said_to_serve_from_the_eu() -> None:
    models = load_catalog().models.values()

    assert [model.id for model in models if "eu" in model.regions] == ["offline"]


def test_a_model_carries_its_providers_facts_and_what_the_operator_says_instead() -> None:
    catalog = load_catalog({"gpt-4o": {"regions": ["eu"]}, "gpt-5.4": {"quality": 0.9}})

    own, others = catalog.models["gpt-4o"], catalog.models["gpt-5.4"]
    assert (own.regions, own.trains_on_data, own.source, own.checked) == (
        ("eu",),
        False,
        "the operator's configuration",
        "",
    )
    assert (others.regions, others.source, others.checked) == (
        ("us", "global"),
        "https://platform.openai.com/docs/guides/your-data",
        "2026-11-25",
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("claude-opus", "claude-opus-4-8"),
        ("Claude-Opus", "claude-opus-4-8"),
        ("gpt-4o", "gpt-4o"),
        ("glm-4.7", "GLM-4.7"),
        ("kimi", "kimi-k2.6"),
    ],
)
def test_a_familys_name_is_its_current_model_and_an_id_is_itself(name: str, model: str) -> None:
    found = load_catalog().resolve(name)

    assert found is not None
    assert found.id == model


def test_an_alias_never_takes_an_exact_id_away_from_its_model() -> None:
    catalog = load_catalog()

    assert {name: aliased for name, aliased in catalog.aliases.items() if name in catalog.models} == {
        "gpt-4o": "gpt-4o"
    }
    moved = replace(catalog, aliases={"gpt-4o": "gpt-5.4"}).resolve("gpt-4o")
    assert moved is not None
    assert moved.id == "gpt-4o"
