"""What one call can cost at most before it is made, and what it did cost when it is answered."""

from __future__ import annotations

import json

from orchestrator.catalog import ModelProfile
from orchestrator.prompts import Rendered
from orchestrator.providers.base import CompletionRequest, Usage
from orchestrator.state import Purpose

# No vendor's tokenizer makes more than one token of a byte; the rest covers the tokens that vendors add around
# messages and tools. Source: https://docs.claude.com/en/docs/build-with-claude/tool-use/overview#pricing (346 at most).
OVERHEAD_TOKENS = 1_000
# Ten times the largest context of the catalog: no call was ever billed more tokens.
MOST_TOKENS = 10_000_000
# Below this many output tokens an answer is cut before it is of use, and the call would only burn money.
LEAST_OUTPUT_TOKENS = 512
REASONING_TOKENS = 8_000
# What a model thinks at least before a short answer: a quarter of what it is allowed.
LEAST_REASONING_TOKENS = REASONING_TOKENS // 4
# Writing to a cache costs a quarter more: worth it where the same begin comes again and is long enough to be kept.
# Source: https://docs.claude.com/en/docs/build-with-claude/prompt-caching (4,096 tokens), at four bytes a token.
CACHEABLE_BYTES = 4 * 4_096
_REPEATED = frozenset({Purpose.GENERATE, Purpose.REVISE, Purpose.REVIEW})


def least_output(model: ModelProfile, wanted: int) -> int:
    """Return how many output tokens, at most `wanted`, an answer of use takes; what is thought before it counts."""
    return min(wanted, LEAST_OUTPUT_TOKENS + (LEAST_REASONING_TOKENS if model.reasoning else 0))


def input_bound(request: CompletionRequest) -> int:
    """Return an upper bound on the tokens of a request's input, schema included."""
    text = request.system + request.prompt + json.dumps(request.schema)
    return len(text.encode("utf-8", "replace")) + OVERHEAD_TOKENS


def affordable_output(
    model: ModelProfile, input_tokens: int, wanted: int, remaining: int, *, caching: bool = False
) -> int:
    """Return how many output tokens, at most `wanted`, `remaining` picodollars pay besides the input; 0 for none.

    With `caching` all of the input may be written to the vendor's cache, at that price.
    """
    if highest_cost(model, input_tokens, wanted, caching=caching) <= remaining:
        return wanted
    low, high = 0, wanted  # what is affordable, what is not
    while high - low > 1:
        middle = (low + high) // 2
        if highest_cost(model, input_tokens, middle, caching=caching) <= remaining:
            low = middle
        else:
            high = middle
    return low


def highest_cost(model: ModelProfile, input_tokens: int, output_tokens: int, *, caching: bool) -> int:
    """Return the most that a call may cost, in picodollars: with its input cached, and computed in one region."""
    cost = model.price.cost(input_tokens, output_tokens, cache_write_tokens=input_tokens if caching else 0)
    return _surcharged(model, cost)


def billed_cost(model: ModelProfile, usage: Usage) -> int:
    """Return what an answer cost at list price, in picodollars."""
    cost = model.price.cost(
        usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens
    )
    return _surcharged(model, cost) if usage.regional else cost


def bounded(usage: Usage, request: CompletionRequest) -> Usage:
    """Return what a vendor reports, or the most that the call can have used where that cannot be.

    Nobody bills less than nothing, many times what any model holds, or more cached input than there was input. What is
    merely more than was reserved is taken as it is: it may be what the vendor bills.
    """
    cached = usage.cached_input_tokens + usage.cache_write_tokens
    parts = (usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
    held = max(MOST_TOKENS, request.model.context_tokens)
    if min(parts) >= 0 and cached <= usage.input_tokens <= held and usage.output_tokens <= held:
        return usage
    sent = input_bound(request)
    return Usage(sent, request.max_output_tokens, 0, sent if request.stable else 0, regional=True)


def _surcharged(model: ModelProfile, cost: int) -> int:
    """Return a cost with what the vendor adds to all of it for one region, rounded up."""
    return -(-cost * (100 + model.surcharge) // 100)


def cached_part(model: ModelProfile, purpose: Purpose, prompt: Rendered) -> int:
    """Return how many characters of the prompt are worth keeping in a vendor's cache."""
    stable = prompt.stable
    kept = prompt.system + prompt.prompt[:stable]
    worth = purpose in _REPEATED and model.caches_on_request and len(kept.encode()) >= CACHEABLE_BYTES
    return stable if worth else 0


def output_limit(model: ModelProfile, output_tokens: int, *, doubled: bool) -> int:
    """Return the output limit of a request for so many tokens; doubled after an answer that was cut off or wrong."""
    wanted = output_tokens * (2 if doubled else 1) + (REASONING_TOKENS if model.reasoning else 0)
    return min(wanted, model.max_output_tokens)
