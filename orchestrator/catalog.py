"""The catalog: which models exist, who serves them, what they can do, and what a call costs at list price.

Capabilities stand in `catalog.yaml`; prices come from the genai-prices library by exact id, never by its fuzzy
matching, or from the operator's overrides. A model without an exact price is not in the catalog that `load_catalog`
returns; `Catalog.unpriced` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal, Protocol, TypeVar

import genai_prices
import yaml

from orchestrator.budget import PICO, to_pico
from orchestrator.errors import UsageError

TOKENS_PER_MILLION = 10**6
DEFAULT_TRUST = 0.8
OPERATOR = "the operator's configuration"

Structured = Literal["json_schema", "tool", "json_object"]
Value = TypeVar("Value")


class Price(Protocol):
    """What tokens cost: picodollars for one call, at list price."""

    def cost(
        self, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0, cache_write_tokens: int = 0
    ) -> int:
        """Return picodollars for a call; `input_tokens` includes those read from a cache or written to it."""
        ...


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """A price per token that does not change with length; `input_usd` and `output_usd` are per million tokens."""

    input_usd: float
    output_usd: float

    def cost(
        self, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0, cache_write_tokens: int = 0
    ) -> int:
        """Return picodollars; input of the vendor's cache costs the same as other input."""
        usd = Decimal(str(self.input_usd)) * input_tokens + Decimal(str(self.output_usd)) * output_tokens
        return to_pico(usd / TOKENS_PER_MILLION)


@dataclass(frozen=True, slots=True)
class LibraryPrice:
    """A price of the genai-prices library, tiers for long contexts and cached input included.

    Where the price changes with the hour of the day, the dearest hour counts: a reservation made before the change
    must still hold after it.
    """

    provider: str
    model: str

    def cost(
        self, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0, cache_write_tokens: int = 0
    ) -> int:
        """Return picodollars at the library's list price, rounded up."""
        today = datetime.now(UTC).date().isoformat()
        return _list_price(
            self.provider, self.model, today, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens
        )


# A route asks for the price of every model, and a call for the same amount several times.
@lru_cache(maxsize=16_384)
def _list_price(
    provider: str, model: str, day: str, input_tokens: int, output_tokens: int, cached: int, written: int
) -> int:
    usage: dict[str, Any] = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    if cached:
        usage["cache_read_tokens"] = cached
    if written:
        usage["cache_write_tokens"] = written
    priced = genai_prices.calc_price(
        genai_prices.Usage(**usage),
        model,
        provider_id=provider,
        genai_request_timestamp=_dearest_hour(provider, model, day),
    )
    return int((priced.total_price * PICO).to_integral_value(rounding=ROUND_CEILING))


@cache
def _dearest_hour(provider: str, model: str, day: str) -> datetime:
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    hours = [midnight + timedelta(hours=hour) for hour in range(24)]
    probe = genai_prices.Usage(input_tokens=1000, output_tokens=1000)
    return max(
        hours,
        key=lambda hour: (
            genai_prices.calc_price(probe, model, provider_id=provider, genai_request_timestamp=hour).total_price
        ),
    )


def _library_price(reference: str) -> LibraryPrice | None:
    """Return the price of `provider/model`, or None when the library does not know that exact id."""
    provider, _, model = reference.partition("/")
    probe = genai_prices.Usage(input_tokens=1, output_tokens=1)
    try:
        found = genai_prices.calc_price(probe, model, provider_id=provider)
    except LookupError:
        return None
    return LibraryPrice(provider, model) if found.model.id == model else None


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One model: `id` is the name its provider knows it by.

    `context_tokens` bounds input plus output, `max_output_tokens` the answer; `quality` and `trust` are from 0 to 1;
    `latency_ms` is a prior for ranking. `reasoning` models spend output tokens on thinking before they answer.
    `surcharge` is the percent on top of `price` for an answer that the vendor computed in one region.
    `source` says where `regions` and `trains_on_data` come from, `checked` on which day (ISO) that was read.
    """

    id: str
    provider: str
    price: Price
    context_tokens: int
    max_output_tokens: int
    quality: float
    latency_ms: float
    structured: Structured
    regions: tuple[str, ...]
    trains_on_data: bool
    reasoning: bool = False
    trust: float = DEFAULT_TRUST
    surcharge: int = 0
    source: str = ""
    checked: str = ""

    @property
    def caches_on_request(self) -> bool:
        """True where a prompt is cached when asked for, and its price knows what writing to the cache costs."""
        return self.provider == "anthropic" and isinstance(self.price, LibraryPrice)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models with a price, the names that stand for them, and the models that lack a price."""

    models: Mapping[str, ModelProfile]
    aliases: Mapping[str, str]
    unpriced: tuple[str, ...] = ()

    def resolve(self, name: str) -> ModelProfile | None:
        """Return the model of an id, else the current model of the family that the name stands for, or None.

        Upper and lower case are one, so that a policy that blocks `glm-4.7` blocks GLM-4.7.
        """
        exact = self.models.get(name) or _folded(self.models).get(name.casefold())
        family = self.aliases.get(name) or _folded(self.aliases).get(name.casefold(), "")
        return exact or self.models.get(family)

    def of(self, providers: frozenset[str]) -> tuple[ModelProfile, ...]:
        """Return the models that these providers serve, in the catalog's order."""
        return tuple(model for model in self.models.values() if model.provider in providers)


def _folded(named: Mapping[str, Value]) -> dict[str, Value]:
    return {name.casefold(): value for name, value in named.items()}


def load_catalog(
    overrides: Mapping[str, Mapping[str, Any]] | None = None, *, local_model: str | None = None
) -> Catalog:
    """Return the built-in catalog with the operator's `models:` overrides laid over it.

    An override may change any field of `catalog.yaml`, add a model, or give `input` and `output` in USD per million
    tokens. `local_model` adds the model of `LOCAL_LLM_MODEL` at $0. Raises `UsageError` for an unknown field.
    """
    raw = _built_in()
    entries: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in raw["models"].items()}
    for name, override in (overrides or {}).items():
        entries[name] = {**entries.get(name, _UNKNOWN_MODEL), **override}
    if local_model:
        said = (overrides or {}).get(local_model, {})
        entries[local_model] = {**_UNKNOWN_MODEL, **said, "provider": "local", "input": 0, "output": 0}
    models: dict[str, ModelProfile] = {"offline": _offline(raw["providers"]["offline"])}
    unpriced = []
    for name, entry in entries.items():
        profile = _profile(name, entry, raw["providers"])
        if profile is None:
            unpriced.append(name)
        else:
            models[name] = profile
    return Catalog(models, raw["aliases"], tuple(unpriced))


@cache
def _built_in() -> Mapping[str, Any]:
    """Read the catalog's file, once a process."""
    text = resources.files("orchestrator").joinpath("catalog.yaml").read_text(encoding="utf-8")
    raw: dict[str, Any] = yaml.safe_load(text)
    return raw


_UNKNOWN_MODEL: dict[str, Any] = {
    "context": 32768,
    "max_output": 8192,
    "quality": 0.7,
    "latency_ms": 3000,
    "structured": "json_schema",
}
_FIELDS = {
    *_UNKNOWN_MODEL,
    "provider",
    "price",
    "input",
    "output",
    "reasoning",
    "trust",
    "regions",
    "trains_on_data",
    "surcharge",
    "source",
    "checked",
}
_FACTS = ("regions", "trains_on_data")


def _profile(name: str, entry: Mapping[str, Any], providers: Mapping[str, Any]) -> ModelProfile | None:
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        raise UsageError(
            f"models.{name}: unknown field {unknown[0]!r}", hint=f"Known fields: {', '.join(sorted(_FIELDS))}."
        )
    provider = str(entry.get("provider", ""))
    if provider not in providers:
        raise UsageError(f"models.{name}: provider must be one of {', '.join(providers)}, not {provider!r}")
    price: Price | None
    if "input" in entry and "output" in entry:
        price = FlatPrice(float(entry["input"]), float(entry["output"]))
    else:
        price = _library_price(str(entry.get("price", f"{provider}/{name}")))
    if price is None:
        return None
    # A model with facts of its own has them from its own source: the operator's word, where none is named.
    facts = {**providers[provider], "source": OPERATOR, "checked": "", **entry}
    facts = facts if any(fact in entry for fact in _FACTS) else providers[provider]
    return ModelProfile(
        id=name,
        provider=provider,
        price=price,
        context_tokens=int(entry["context"]),
        max_output_tokens=int(entry["max_output"]),
        quality=float(entry["quality"]),
        latency_ms=float(entry["latency_ms"]),
        structured=entry["structured"],
        regions=tuple(facts["regions"]),
        trains_on_data=bool(facts["trains_on_data"]),
        reasoning=bool(entry.get("reasoning", False)),
        trust=float(entry.get("trust", DEFAULT_TRUST)),
        # Who gives a price gives what the account pays.
        surcharge=int({**providers[provider], **entry}.get("surcharge", 0)) if isinstance(price, LibraryPrice) else 0,
        source=str(facts["source"]),
        checked=str(facts["checked"]),
    )


def _offline(where: Mapping[str, Any]) -> ModelProfile:
    return ModelProfile(
        id="offline",
        provider="offline",
        price=FlatPrice(0, 0),
        context_tokens=10**6,
        max_output_tokens=10**5,
        quality=1.0,
        latency_ms=1,
        structured="json_schema",
        regions=tuple(where["regions"]),
        trains_on_data=False,
        trust=1.0,
        source=where["source"],
        checked=str(where["checked"]),
    )
