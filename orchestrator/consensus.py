"""What several reviewers of one change say together: findings merged, who agrees, and where they disagree; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.state import Finding, Review, Severity

NEAR_LINES = 3
"""Reviewers of one fault point at the line that they would mend, which is seldom the very same."""
SIMILAR = 0.25
"""The share of words that two descriptions of one fault have in common, as tried on pairs from different vendors."""

_WORD = re.compile(r"[a-z0-9_]{3,}")
_FILLERS = frozenset(
    {
        "the",
        "and",
        "for",
        "this",
        "that",
        "with",
        "not",
        "are",
        "was",
        "has",
        "have",
        "will",
        "would",
        "should",
        "could",
    }
    | {"when", "then", "than", "from", "into", "its", "but", "which", "there", "here", "used", "instead"}
    | {"line", "file", "code", "function", "value", "use"}
)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one provider says of the whole change; `models` are those that answered, `score` is its lowest."""

    provider: str
    models: tuple[str, ...]
    approved: bool
    score: float
    findings: int


@dataclass(frozen=True, slots=True)
class SharedFinding:
    """A finding and the providers that made it; where several did, it has the gravest of their severities."""

    finding: Finding
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consensus:
    """All opinions and findings, the gravest first and at one severity those of several before those of one."""

    opinions: tuple[Opinion, ...] = ()
    findings: tuple[SharedFinding, ...] = ()

    @property
    def approved(self) -> bool:
        """True when somebody reviewed the change and everybody who did approves."""
        return bool(self.opinions) and all(opinion.approved for opinion in self.opinions)

    @property
    def divided(self) -> bool:
        """True when one approves and another one requests changes."""
        return len({opinion.approved for opinion in self.opinions}) > 1

    @property
    def agreed(self) -> tuple[SharedFinding, ...]:
        """The findings that more than one provider made."""
        return tuple(shared for shared in self.findings if len(shared.by) > 1)


def consensus(reviews: Sequence[Review]) -> Consensus:
    """Return what reviews of one change, or of its parts, say together."""
    providers = list(dict.fromkeys(review.provider for review in reviews))
    opinions = [_opinion(one, [review for review in reviews if review.provider == one]) for one in providers]
    merged: list[SharedFinding] = []
    for review in reviews:
        for finding in dict.fromkeys(review.findings):
            _merge(merged, finding, review.provider)
    order = list(Severity)
    merged.sort(key=lambda one: (order.index(one.finding.severity), -len(one.by), one.finding.path, one.finding.line))
    return Consensus(tuple(opinions), tuple(merged))


def same_fault(one: Finding, other: Finding) -> bool:
    """Tell whether two findings are about one fault: the same path, near lines, similar words."""
    return one.path == other.path and abs(one.line - other.line) <= NEAR_LINES and similar(one.message, other.message)


def similar(one: str, other: str) -> bool:
    """Tell whether two texts have enough of their words in common, fillers left out; equal texts always are."""
    left, right = _words(one), _words(other)
    if not left or not right:
        return one.split() == other.split()
    return len(left & right) / len(left | right) >= SIMILAR


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _FILLERS


def _opinion(provider: str, reviews: Sequence[Review]) -> Opinion:
    return Opinion(
        provider=provider,
        models=tuple(dict.fromkeys(review.model for review in reviews)),
        approved=all(review.approved for review in reviews),
        score=min(review.score for review in reviews),
        findings=sum(len(review.findings) for review in reviews),
    )


def _merge(merged: list[SharedFinding], finding: Finding, provider: str) -> None:
    order = list(Severity)
    for place, known in enumerate(merged):
        if provider in known.by or not same_fault(known.finding, finding):
            continue
        gravest = min(known.finding.severity, finding.severity, key=order.index)
        merged[place] = SharedFinding(replace(known.finding, severity=gravest), (*known.by, provider))
        return
    merged.append(SharedFinding(finding, (provider,)))
