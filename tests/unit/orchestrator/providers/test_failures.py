"""What a failed call means: the seconds to wait, and no secret in any text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ProviderRejected, ProviderUnavailable, RateLimited
from orchestrator.providers.failures import Failures, seconds_to_wait

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:01:30 -0000"}, 90.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_is_read_from_every_form_of_the_header(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_to_wait(headers, NOW) == seconds


@given(st.text(), st.text())
def test_no_header_breaks_the_reading(value: str, milliseconds: str) -> None:
    seconds = seconds_to_wait({"retry-after": value, "retry-after-ms": milliseconds}, NOW)

    assert seconds is None or seconds >= 0


@given(st.integers(min_value=300, max_value=599))
def test_every_status_means_exactly_one_error(status: int) -> None:
    error = Failures("openai", "k-1", "OPENAI_API_KEY").of_status("m", status, "", headers={})

    expected = ProviderRejected
    if status == 429:
        expected = RateLimited  # type: ignore[assignment]
    elif status in (408, 409, 425) or status >= 500:
        expected = ProviderUnavailable  # type: ignore[assignment]
    assert type(error) is expected


@given(st.text(), st.integers(min_value=300, max_value=599))
def test_no_message_of_a_vendor_brings_the_key_along(message: str, status: int) -> None:
    error = Failures("openai", "sk-secret", "OPENAI_API_KEY").of_status(
        "m", status, f"{message}sk-secret{message}", headers={}
    )

    assert "sk-secret" not in str(error)


@pytest.mark.parametrize(
    ("status", "message", "codes", "of_model"),
    [
        (403, "Project `proj_1` does not have access to it", {"model_not_found"}, True),
        (403, "Your key may not use GPT-5-mini.", set(), True),
        (403, "Country not supported", {"unsupported_country_region_territory"}, False),
        (401, "no key for gpt-5-mini", set(), False),
        (402, "no credit for gpt-5-mini", set(), False),
    ],
)
def test_a_refusal_of_one_model_is_told_from_one_of_the_account(
    status: int, message: str, codes: set[str], of_model: bool
) -> None:
    failures = Failures("openai", "k", "OPENAI_API_KEY")

    error = failures.of_status("gpt-5-mini", status, message, headers={}, codes=frozenset(codes))

    assert isinstance(error, ProviderRejected)
    assert error.of_model is of_model


def test_a_time_from_the_body_serves_where_no_header_names_one() -> None:
    failures = Failures("google", "k", "GOOGLE_API_KEY")

    from_body = failures.of_status("m", 429, "", headers={}, retry_after=12.0)
    from_header = failures.of_status("m", 429, "", headers={"retry-after": "3"}, retry_after=12.0)

    assert isinstance(from_body, RateLimited)
    assert isinstance(from_header, RateLimited)
    assert (from_body.retry_after, from_header.retry_after) == (12.0, 3.0)
