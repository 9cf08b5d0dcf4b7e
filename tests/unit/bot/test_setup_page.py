from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from bot.settings import Settings
from bot.setup_page import create_setup_app

TOKEN = "the console's token"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_setup_app(Settings(), TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 503),
        ("POST", "/webhook", 503),
        ("GET", "/setup", 403),
        ("GET", "/setup?token=guess", 403),
        ("GET", "/setup?token=", 403),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/api/runs", 404),
        ("GET", "/dashboard.css", 404),
    ],
)
async def test_in_set_up_mode_only_health_and_setup_answer(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert (answer.headers.get("Retry-After") == "60") is (status == 503)


async def test_sec_05_the_token_opens_setup_once_for_one_browser(client: httpx.AsyncClient) -> None:
    first = await client.get("/setup", params={"token": TOKEN})
    assert first.status_code == 200
    assert "GITHUB_WEBHOOK_SECRET" in first.text
    assert "http://localhost:8080/webhook" in first.text
    assert (await client.get("/setup")).status_code == 200
    client.cookies.clear()
    assert (await client.get("/setup", params={"token": TOKEN})).status_code == 403


async def test_sec_01_setup_makes_a_secret_of_32_random_bytes(client: httpx.AsyncClient) -> None:
    page = (await client.get("/setup", params={"token": TOKEN})).text
    (secret,) = [word for word in page.replace("<", ">").split(">") if len(word) == 64 and word.isalnum()]
    assert len(bytes.fromhex(secret)) == 32


async def test_sec_05_setup_answers_under_its_own_names_only(client: httpx.AsyncClient) -> None:
    answer = await client.get("/setup", params={"token": TOKEN}, headers={"Host": "evil.example.org"})
    assert answer.status_code == 421
    assert (await client.get("/setup", params={"token": TOKEN})).status_code == 200
