"""What goes wrong at a vendor, through its real SDK: one request each, one of our errors, and no key in any text."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from orchestrator.errors import ProviderError, ProviderRejected, ProviderUnavailable, RateLimited
from orchestrator.providers.base import Finish
from orchestrator.providers.registry import Endpoint, open_provider
from tests.loopback import Answer, Asked, Fault, ModelServer, Script
from tests.unit.orchestrator.providers.conftest import Open, Serve, question

VENDORS = ("openai", "anthropic", "google", "deepseek")
STREAMED = 50000

vendors = pytest.mark.parametrize("provider", VENDORS)
with_streams = pytest.mark.parametrize(
    ("provider", "limit"), [*((vendor, 1000) for vendor in VENDORS), ("anthropic", STREAMED)]
)


async def failure(
    opened: Open, server: ModelServer, provider: str, *, limit: int = 1000, timeout_seconds: float = 20
) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await opened(server, provider).complete(
            question(provider, max_output_tokens=limit, timeout_seconds=timeout_seconds)
        )
    assert f"loopback-{provider}-key" not in str(caught.value)
    assert caught.value.provider == provider
    assert len(server.journal) == 1
    return caught.value


@with_streams
async def test_a_429_says_how_long_to_wait(provider: str, limit: int, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault.status(429, retry_after=7)]}))

    error = await failure(opened, server, provider, limit=limit)

    assert isinstance(error, RateLimited)
    assert error.retry_after == 7.0


@vendors
async def test_a_429_without_a_header_names_no_time(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault.status(429)]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, RateLimited)
    assert error.retry_after is None


@vendors
async def test_a_429_may_name_a_date(provider: str, serve: Serve, opened: Open) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server = serve(Script(faults={"*": [Fault.status(429, retry_after=date)]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, RateLimited)
    assert error.retry_after is not None
    assert 60 < error.retry_after <= 100


@vendors
async def test_milliseconds_win_over_seconds(provider: str, serve: Serve, opened: Open) -> None:
    fault = Fault.status(429, retry_after=7, headers={"retry-after-ms": "1500"})
    server = serve(Script(faults={"*": [fault]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, RateLimited)
    assert error.retry_after == 1.5


@pytest.mark.parametrize("provider", ["openai", "deepseek"])
async def test_an_account_without_credit_is_not_worth_waiting_for(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault.status(429, error="insufficient_quota", retry_after=1)]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, ProviderRejected)
    assert error.status == 429
    assert error.hint == f"The {provider} account has no credit left. Top it up, or use another provider."


@pytest.mark.parametrize("status", [409, 500, 502, 503, 529])
@vendors
async def test_a_passing_failure_may_succeed_later(provider: str, status: int, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault.status(status, retry_after=3)]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == 3.0
    assert not error.maybe_billed


@pytest.mark.parametrize("status", [408, 504, 524])
@vendors
async def test_what_a_proxy_gave_up_waiting_for_may_have_been_billed(
    provider: str, status: int, serve: Serve, opened: Open
) -> None:
    server = serve(Script(faults={"*": [Fault.status(status, retry_after=3)]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after == 3.0
    assert error.maybe_billed


@vendors
async def test_a_proxy_that_lets_nothing_through_is_named_and_nothing_was_billed(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a proxy that refuses every CONNECT
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        adapter = open_provider(Endpoint(provider, "k", "https://vendor.invalid/v1"))
        # when
        with pytest.raises(ProviderUnavailable, match="the proxy let no connection through") as caught:
            await adapter.complete(question(provider))
        await adapter.aclose()
    # then
    assert not caught.value.maybe_billed
    assert "HTTPS_PROXY" in caught.value.hint


@pytest.mark.parametrize("status", [302, 400, 402, 404, 413, 422])
@vendors
async def test_a_request_that_never_succeeds_is_rejected(
    provider: str, status: int, serve: Serve, opened: Open
) -> None:
    fault = Fault.status(status, message="no such thing", headers={"location": "/elsewhere"})
    server = serve(Script(faults={"*": [fault]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, ProviderRejected)
    assert error.status == status
    assert f"HTTP {status}: no such thing" in error.message


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("google", "GOOGLE_API_KEY or GEMINI_API_KEY"),
        ("moonshot", "MOONSHOT_API_KEY or KIMI_API_KEY"),
    ],
)
async def test_a_wrong_key_is_a_401_named_by_its_variable_and_never_repeated(
    provider: str, variable: str, serve: Serve
) -> None:
    server = serve(Script())
    adapter = open_provider(Endpoint(provider, "wrong-key-0815", server.base_url(provider)))

    with pytest.raises(ProviderRejected) as caught:
        await adapter.complete(question(provider))
    await adapter.aclose()

    assert caught.value.status == 401
    assert caught.value.hint == f"Check the key in {variable} and what it may use."
    assert "0815" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(server.journal) == 1


@vendors
async def test_a_key_that_a_vendor_echoes_is_taken_out(provider: str, serve: Serve, opened: Open) -> None:
    fault = Fault.status(400, message=f"bad request by loopback-{provider}-key\nsecond line")
    server = serve(Script(faults={"*": [fault]}))

    error = await failure(opened, server, provider)

    assert error.message.endswith("HTTP 400: bad request by *** second line")


@with_streams
async def test_a_dropped_connection_may_succeed_later(provider: str, limit: int, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("drop")]}))

    error = await failure(opened, server, provider, limit=limit)

    assert isinstance(error, ProviderUnavailable)
    assert error.maybe_billed
    assert error.message.endswith("the connection broke before the whole answer came")


@with_streams
async def test_an_answer_cut_in_the_middle_may_have_been_billed(
    provider: str, limit: int, serve: Serve, opened: Open
) -> None:
    server = serve(Script(faults={"*": [Fault("drop_after")]}))

    error = await failure(opened, server, provider, limit=limit)

    assert isinstance(error, ProviderUnavailable)
    assert error.maybe_billed
    assert len(server.billed) == 1


async def failure_after(answer: bytes, provider: str, *, limit: int = 1000) -> ProviderError:
    """Return the error of a call that is answered by these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        adapter = open_provider(Endpoint(provider, "k", f"http://127.0.0.1:{port}"))
        with pytest.raises(ProviderError) as caught:
            await adapter.complete(question(provider, max_output_tokens=limit))
        await adapter.aclose()
    return caught.value


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("overloaded_error", ProviderUnavailable),
        ("rate_limit_error", RateLimited),
        ("invalid_request_error", ProviderRejected),
        ("something_new", ProviderUnavailable),
    ],
)
async def test_an_error_in_the_middle_of_a_stream_may_have_been_billed(
    kind: str, error_type: type[ProviderError]
) -> None:
    # given: an answer that has begun, and its input counted, when the vendor gives up
    events = (
        b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m", "type": "message", "role": '
        b'"assistant", "model": "m", "content": [], "usage": {"input_tokens": 900, "output_tokens": 1}}}\n\n'
        b'event: error\ndata: {"type": "error", "error": {"type": "%s", "message": "It gave up"}}\n\n'
    ) % kind.encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    # when
    error = await failure_after(head + events, "anthropic", limit=STREAMED)
    # then
    assert type(error) is error_type
    assert error.maybe_billed
    assert "It gave up" in error.message


@vendors
async def test_a_body_that_is_no_json_may_have_been_billed(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("not_json")]}))

    error = await failure(opened, server, provider)

    assert isinstance(error, ProviderUnavailable)
    assert error.maybe_billed
    assert error.message.endswith("cannot be decoded")


@pytest.mark.parametrize("body", [b"5", b"[1]", b'"x"', b"null", b"{}"])
@vendors
async def test_json_that_is_no_answer_may_have_been_billed(provider: str, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"

    error = await failure_after(head + body, provider)

    assert isinstance(error, ProviderUnavailable)
    assert error.maybe_billed
    assert error.message.endswith("cannot be decoded")


@vendors
async def test_a_server_that_is_not_there_billed_nothing(provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    adapter = open_provider(Endpoint(provider, "k", f"http://127.0.0.1:{port}/v1"))

    with pytest.raises(ProviderUnavailable, match="no connection could be made") as caught:
        await adapter.complete(question(provider))
    await adapter.aclose()

    assert not caught.value.maybe_billed


@with_streams
async def test_an_answer_that_never_comes_ends_at_its_time_limit(
    provider: str, limit: int, serve: Serve, opened: Open
) -> None:
    server = serve(Script(faults={"*": [Fault("hang")]}))
    began = time.monotonic()

    error = await failure(opened, server, provider, limit=limit, timeout_seconds=0.4)

    assert isinstance(error, ProviderUnavailable)
    assert error.maybe_billed
    assert "within 0.4 seconds" in error.message
    assert time.monotonic() - began < 10


@vendors
async def test_a_cancelled_call_closes_its_connection(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("hang")]}))
    call = asyncio.create_task(opened(server, provider).complete(question(provider)))
    await asyncio.to_thread(server.wait_for_calls, 1)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(server.wait_for_end_of, 0)
    assert server.journal[0].outcome == "hang"


@with_streams
async def test_a_truncated_answer_comes_back_as_billed(provider: str, limit: int, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("truncated")]}))

    completion = await opened(server, provider).complete(question(provider, max_output_tokens=limit))

    assert completion.finish is Finish.LENGTH
    assert completion.usage.output_tokens == limit


@vendors
async def test_a_refusal_comes_back_as_billed(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("refusal")]}))

    completion = await opened(server, provider).complete(question(provider))

    assert completion.finish is Finish.REFUSAL
    assert completion.usage.input_tokens == server.journal[0].input_tokens


@vendors
async def test_an_empty_answer_comes_back_as_billed(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("empty")]}))

    completion = await opened(server, provider).complete(question(provider))

    assert (completion.text, completion.finish) == ("", Finish.STOP)
    assert completion.usage.output_tokens == 1


@pytest.mark.parametrize("provider", ["openai", "google", "deepseek"])
async def test_malformed_json_comes_back_as_the_model_wrote_it(provider: str, serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault("malformed")]}))

    completion = await opened(server, provider).complete(question(provider))

    assert completion.text == '{"score": 0.9, "verdict": "approve", "findings": [],]'
    assert completion.finish is Finish.STOP


async def test_the_answer_after_a_fault_is_the_usual_one(serve: Serve, opened: Open) -> None:
    server = serve(Script(faults={"*": [Fault.status(500)]}))
    provider = opened(server, "openai")

    with pytest.raises(ProviderUnavailable):
        await provider.complete(question("openai"))
    completion = await provider.complete(question("openai"))

    assert completion.finish is Finish.STOP


async def test_minimax_says_no_under_http_200(serve: Serve, opened: Open) -> None:
    def says(asked: Asked) -> Answer:
        return Answer('{"score": 1, "reason": "ok"}', raw={"base_resp": codes.pop(0), "choices": None})

    codes = [
        {"status_code": 1002, "status_msg": "rate limit"},
        {"status_code": 1008, "status_msg": "insufficient balance"},
        {"status_code": 1013, "status_msg": "internal"},
    ]
    server = serve(Script(answers={"review": says}))
    provider = opened(server, "minimax")

    with pytest.raises(RateLimited):
        await provider.complete(question("minimax"))
    with pytest.raises(ProviderRejected, match="insufficient balance"):
        await provider.complete(question("minimax"))
    with pytest.raises(ProviderUnavailable):
        await provider.complete(question("minimax"))
