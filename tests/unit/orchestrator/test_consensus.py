from __future__ import annotations

from orchestrator.consensus import consensus, same_fault
from orchestrator.state import Finding, Review, Severity


def _review(provider: str, *findings: Finding, approved: bool = True, score: float = 0.9) -> Review:
    return Review(provider, f"{provider}-model", score, approved, findings)


LEAK = Finding("a.py", 10, "The connection is never closed when the query raises.", Severity.WARNING)
LEAK_TOO = Finding("a.py", 12, "If the query raises, the database connection stays open and is never closed.")
NAME = Finding("a.py", 11, "The name hides a builtin.", Severity.NOTE)


def test_what_two_providers_found_near_one_line_in_similar_words_is_one_finding_of_both() -> None:
    said = consensus([_review("openai", LEAK), _review("anthropic", NAME, LEAK_TOO)])
    assert [(it.finding.line, it.finding.severity.value, it.by) for it in said.findings] == [
        (10, "error", ("openai", "anthropic")),
        (11, "note", ("anthropic",)),
    ]
    assert [it.finding.message for it in said.agreed] == [LEAK.message]


def test_findings_far_apart_in_other_words_or_of_one_provider_stay_apart() -> None:
    far = Finding("a.py", 30, LEAK.message)
    other = Finding("b.py", 10, LEAK.message)
    said = consensus([_review("openai", LEAK, LEAK_TOO), _review("anthropic", far, other)])
    assert len(said.findings) == 4
    assert not same_fault(LEAK, NAME)


def test_providers_are_divided_when_one_approves_and_the_other_does_not() -> None:
    said = consensus([_review("openai"), _review("anthropic", LEAK_TOO, approved=False, score=0.4)])
    assert (said.divided, said.approved) == (True, False)
    assert [(it.provider, it.approved, it.score) for it in said.opinions] == [
        ("openai", True, 0.9),
        ("anthropic", False, 0.4),
    ]


def test_a_provider_approves_a_change_when_it_approves_every_part_and_nobody_approves_what_nobody_read() -> None:
    said = consensus([_review("openai"), _review("anthropic"), _review("openai", approved=False, score=0.2)])
    assert [(it.provider, it.approved, it.score) for it in said.opinions] == [
        ("openai", False, 0.2),
        ("anthropic", True, 0.9),
    ]
    assert consensus([]).approved is False
