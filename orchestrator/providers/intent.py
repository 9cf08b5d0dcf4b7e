"""What the offline model reads out of somebody's words about a job: amounts, regions, training, kinds of app.

It is a handful of rules, no understanding: a figure after a dollar sign, a region's name, a kind of app's name. What
they do not match stays as it was, and the rationale names everything that was matched.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from orchestrator.wire import DraftBudget, DraftJob, DraftPolicy, DraftReply

_USD = re.compile(
    r"(?:\$\s?(?P<after>\d[\d,]*(?:\.\d+)?)|(?P<before>\d[\d,]*(?:\.\d+)?)\s?(?:USD\b|dollars?\b))"
    r"(?P<task>\s*(?:per|a|each)\s+task\b)?",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(?:within|under|at most|max(?:imum)?|no more than|time(?: limit)?(?: to| of)?)\s+"
    r"(?P<number>\d+(?:\.\d+)?)\s?(?P<unit>seconds?|minutes?|min|hours?)\b",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_REGIONS = {
    "eu": re.compile(r"\bEU\b|(?i:\beurope(?:an)?\b|\bgdpr\b)"),
    "us": re.compile(r"\bUSA?\b|\bU\.S\.(?:A\.)?|(?i:\bamerican?\b|\bunited states\b)"),
}
_NEGATED = re.compile(r"\b(?:no|not|without|never|except|excluding|outside)\b[^,.;]*$", re.IGNORECASE)
_ADDED = re.compile(r"\b(?:allow|add|also|include|plus|too)\b", re.IGNORECASE)
_NO_TRAINING = re.compile(r"\b(?:no|not|without|never|don't)\b[^,.;]*\btrain(?:ing|s|ed)?\b", re.IGNORECASE)
_APP_TYPE = re.compile(r"\b(?P<name>fastapi|next\.?js|react-vite|html|library|cli)\b", re.IGNORECASE)


def read_intent(text: str, *, app_type: str, regions: Collection[str] | None, refining: bool) -> DraftReply:
    """Return what the words change in a draft.

    `app_type` is the kind that a request's words were sorted into. `regions` are those allowed so far, None for all.
    With `refining` the text is feedback: only a kind of app that it names by itself changes the draft's.
    """
    found: list[str] = []
    job: dict[str, object] = {}
    budget: dict[str, float] = {}
    policy: dict[str, object] = {}
    for match in _USD.finditer(text):
        usd = float((match["after"] or match["before"]).replace(",", ""))
        if match["task"]:
            policy["max_cost_per_task_usd"] = usd
        else:
            budget["max_usd"] = usd
        found.append(f"'{match[0].strip()}' as a cap of ${usd:g}{' a task' if match['task'] else ''}")
    for match in _TIME.finditer(text):
        budget["max_time_seconds"] = float(match["number"]) * _SECONDS[match["unit"][0].lower()]
        found.append(f"'{match[0]}' as a limit of {budget['max_time_seconds']:g} seconds")
    named = [region for region, words in _REGIONS.items() if _affirmed(text, words)]
    if named and not (refining and regions is None and _ADDED.search(text)):
        kept = list(regions or ()) if refining and _ADDED.search(text) else []
        allowed = list(dict.fromkeys([*kept, *named]))
        policy["allowed_regions"] = allowed
        found.append(f"the allowed regions {', '.join(allowed)}")
    if _NO_TRAINING.search(text):
        policy["allow_training_on_output"] = False
        found.append("no provider that trains on what it is sent")
    own = _APP_TYPE.search(text)
    kind = own["name"].lower().replace(".", "") if own else "" if refining or app_type == "generic" else app_type
    if kind:
        job["app_type"] = kind
        found.append(f"the app type {kind}")
    said = "; ".join(found) if found else "nothing"
    return DraftReply(
        job=DraftJob.model_validate({**job, "budget": DraftBudget(**budget)}),
        policy=DraftPolicy.model_validate(policy),
        rationale="The offline model read this by a few rules, and understands no more. It recognised"
        f" {said}. Everything else stays as it was: read it before you submit it, or set a provider's key.",
    )


def _affirmed(text: str, words: re.Pattern[str]) -> bool:
    return any(not _NEGATED.search(text[: match.start()]) for match in words.finditer(text))
