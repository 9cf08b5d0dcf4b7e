"""What a vendor's failed call means to us: one of the three provider errors, with no secret in its text.

Each adapter tells what it saw (an HTTP status, a broken connection, a time-out, a body that does not decode); the
meaning is decided here once for all vendors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orchestrator.errors import ProviderError, ProviderRejected, ProviderUnavailable, RateLimited

# What vendors call an account without money; waiting does not help. 1113 is Zhipu's code for arrears.
# Sources: https://platform.openai.com/docs/guides/error-codes, https://platform.moonshot.ai/docs/api/errors,
# https://docs.bigmodel.cn/cn/api/api-code
_OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "exceeded_current_quota_error", "1113"})
_PASSING = frozenset({408, 409, 425})
# What stood between us and the vendor lost its patience: the vendor may have answered, and billed. 524 is Cloudflare's.
# Source: https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-524/
_GAVE_UP = frozenset({408, 504, 524})
_BAD_KEY = frozenset({401, 403})
_NO_MODEL = "model_not_found"
_LONGEST_MESSAGE = 300


class Failures:
    """The errors of one provider; `key_variables` is what the hint of a refused key names."""

    def __init__(self, provider: str, key: str, key_variables: str) -> None:
        self._provider = provider
        self._key = key
        self._key_variables = key_variables

    def of_status(
        self,
        model: str,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str],
        codes: frozenset[str] = frozenset(),
        retry_after: float | None = None,
        maybe_billed: bool = False,
    ) -> ProviderError:
        """Return the error of an HTTP status; `codes` are the vendor's own words for what went wrong.

        `retry_after`, in seconds, is what the body said; a header wins over it. `maybe_billed` is for an answer that
        had begun.
        """
        header = seconds_to_wait(headers, datetime.now(UTC))
        wait = retry_after if header is None else header
        said = self._said(status, message)
        if status == 429 and not codes & _OUT_OF_CREDIT:
            return RateLimited(
                f"{self._provider} limits the rate of calls to {model}{said}",
                provider=self._provider,
                model=model,
                retry_after=wait,
                maybe_billed=maybe_billed,
            )
        if status in _PASSING or status >= 500:
            return ProviderUnavailable(
                f"{self._provider} could not serve {model}: HTTP {status}{said}",
                provider=self._provider,
                model=model,
                retry_after=wait,
                maybe_billed=maybe_billed or status in _GAVE_UP,
            )
        return ProviderRejected(
            f"{self._provider} refused the call to {model}: HTTP {status}{said}",
            provider=self._provider,
            model=model,
            # Google says 400 to a wrong key; it is the account that is refused, not this request.
            status=401 if "API_KEY_INVALID" in codes else status,
            hint=self._hint(status, codes),
            # A project or a key may be kept from single models: OpenAI has a code for it, others name the model.
            maybe_billed=maybe_billed,
            of_model=status == 403 and (_NO_MODEL in codes or model.casefold() in message.casefold()),
        )

    def of_connection(self, model: str, error: BaseException) -> ProviderUnavailable:
        """Return the error of a connection that was not made or that broke."""
        sent = not _never_connected(error)
        refused = _refused_by_proxy(error)
        what = "the connection broke before the whole answer came" if sent else "no connection could be made"
        return ProviderUnavailable(
            f"{self._provider} could not serve {model}: {'the proxy let no connection through' if refused else what}",
            provider=self._provider,
            model=model,
            maybe_billed=sent,
            hint="Check the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names, and what it lets through."
            if refused
            else "",
        )

    def of_timeout(self, model: str, seconds: float, error: BaseException) -> ProviderUnavailable:
        """Return the error of an answer that did not come in time."""
        if _never_connected(error):
            return self.of_connection(model, error)
        return ProviderUnavailable(
            f"{self._provider} gave no answer from {model} within {seconds:g} seconds",
            provider=self._provider,
            model=model,
            maybe_billed=True,
            timed_out=True,
        )

    def of_body(self, model: str) -> ProviderUnavailable:
        """Return the error of a body that is not what the vendor's API promises."""
        return ProviderUnavailable(
            f"{self._provider} sent an answer from {model} that cannot be decoded",
            provider=self._provider,
            model=model,
            maybe_billed=True,
        )

    def _said(self, status: int, message: str) -> str:
        # Vendors echo parts of a wrong key, so that nothing they say about one is repeated.
        if status == 401 or not message:
            return ""
        text = re.sub(r"\s+", " ", message).strip()
        if self._key:
            text = text.replace(self._key, "***")
        return f": {text[:_LONGEST_MESSAGE]}"

    def _hint(self, status: int, codes: frozenset[str]) -> str:
        if codes & _OUT_OF_CREDIT or status == 402:
            return f"The {self._provider} account has no credit left. Top it up, or use another provider."
        if status in _BAD_KEY or "API_KEY_INVALID" in codes:
            return f"Check the key in {self._key_variables} and what it may use."
        return ""


def seconds_to_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` asks for, or None; header names are lower case.

    `Retry-After` is seconds or an HTTP date (RFC 9110, section 10.2.3); a date in the past means 0.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _never_connected(error: BaseException | None) -> bool:
    import httpx2

    # The last two are raised before anything is sent, of a request that cannot be.
    before = (
        *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError),
        *(httpx2.LocalProtocolError, httpx2.UnsupportedProtocol),
    )
    return _caused_by(error, before)


def _refused_by_proxy(error: BaseException | None) -> bool:
    import httpx2

    return _caused_by(error, (httpx2.ProxyError,))


def _caused_by(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False
