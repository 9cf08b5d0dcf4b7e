from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.dashboard.access import COOKIE, Asking, Verdict, decide, may_sign_in, session
from bot.settings import Settings
from tests.unit.bot.conftest import SETTINGS, StartBot
from tests.unit.bot.deliveries import NOW

TOKEN = "the dashboard's token"
LOCAL = Settings(dashboard_token=TOKEN)
LOCAL_WITHOUT = Settings()
WORLD = Settings(host="0.0.0.0", public_url="https://bot.example.org", dashboard_token=TOKEN)
WORLD_WITHOUT = Settings(host="0.0.0.0", public_url="https://bot.example.org")
PROXIED = Settings(public_url="https://bot.example.org", dashboard_token=TOKEN)
PROXIED_WITHOUT = Settings(public_url="https://bot.example.org")
BEARER = {"authorization": f"Bearer {TOKEN}"}
LIVE = {"cookie": f"other=1; {COOKIE}={session(TOKEN, int(NOW) + 1)}"}


def ask(host: str = "localhost:8080", client: str = "127.0.0.1", **headers: str) -> Asking:
    return Asking(client, {"host": host} | headers, NOW)


@pytest.mark.parametrize(
    ("settings", "asking", "expected"),
    [
        # from this machine
        (LOCAL, ask(), Verdict.LET_IN),
        (LOCAL_WITHOUT, ask(), Verdict.LET_IN),
        (LOCAL, ask("127.0.0.1:8080"), Verdict.LET_IN),
        (LOCAL, ask("[::1]:8080", client="::1"), Verdict.LET_IN),
        (LOCAL, ask(origin="http://localhost:8080"), Verdict.LET_IN),
        # through a proxy on this machine
        (LOCAL, ask(**{"x-forwarded-for": "192.0.2.1"}), Verdict.ASK),
        (LOCAL, ask(**{"x-forwarded-port": "443"}), Verdict.ASK),
        (LOCAL, ask(forwarded="for=192.0.2.1"), Verdict.ASK),
        (LOCAL_WITHOUT, ask(forwarded="for=192.0.2.1"), Verdict.LOCAL_ONLY),
        (LOCAL, ask(client="192.0.2.1"), Verdict.ASK),
        (LOCAL, ask(client=""), Verdict.ASK),
        (LOCAL, ask("192.168.1.4:8080"), Verdict.ASK),
        # through one that says nothing, as nginx's `proxy_pass http://127.0.0.1:8080` by itself
        (PROXIED, ask("127.0.0.1:8080"), Verdict.ASK),
        (PROXIED, ask("127.0.0.1:8080", **BEARER), Verdict.LET_IN),
        (PROXIED_WITHOUT, ask("127.0.0.1:8080"), Verdict.LOCAL_ONLY),
        (Settings(public_url="http://localhost:8080"), ask(), Verdict.LET_IN),
        # a foreign name that points at us
        (LOCAL, ask("evil.example.org"), Verdict.WRONG_HOST),
        (LOCAL, ask("evil.example.org", **BEARER), Verdict.WRONG_HOST),
        (LOCAL, ask("localhost@evil.example.org"), Verdict.WRONG_HOST),
        (LOCAL, ask(""), Verdict.WRONG_HOST),
        (LOCAL, ask("[::1"), Verdict.WRONG_HOST),
        (LOCAL, ask(origin="https://evil.example.org"), Verdict.WRONG_ORIGIN),
        (LOCAL, ask(origin="null"), Verdict.WRONG_ORIGIN),
        # beyond loopback, this machine counts for nothing
        (WORLD, ask(), Verdict.ASK),
        (WORLD_WITHOUT, ask(), Verdict.LOCAL_ONLY),
        (WORLD_WITHOUT, ask("bot.example.org", **BEARER), Verdict.LOCAL_ONLY),
        (WORLD_WITHOUT, ask(authorization="Bearer "), Verdict.LOCAL_ONLY),
        (WORLD, ask("bot.example.org", client="192.0.2.1"), Verdict.ASK),
        (WORLD, ask("other.example.org", client="192.0.2.1", **BEARER), Verdict.WRONG_HOST),
        (WORLD, ask("bot.example.org", client="192.0.2.1", **BEARER), Verdict.LET_IN),
        (WORLD, ask("BOT.example.org:443", client="192.0.2.1", **BEARER), Verdict.LET_IN),
        (WORLD, ask("192.168.1.4:8080", client="192.168.1.9", **BEARER), Verdict.LET_IN),
        # a name within its own network, which no foreign DNS server gives
        (WORLD, ask("bot-1:8080", client="172.18.0.5", **BEARER), Verdict.LET_IN),
        (WORLD, ask("bot-1:8080", client="172.18.0.5"), Verdict.ASK),
        (WORLD_WITHOUT, ask("bot-1:8080"), Verdict.LOCAL_ONLY),
        (LOCAL, ask("bot-1:8080"), Verdict.WRONG_HOST),
        (WORLD, ask("bot.example.org", authorization=f"bearer {TOKEN}"), Verdict.LET_IN),
        (WORLD, ask("bot.example.org", authorization=f"Basic {TOKEN}"), Verdict.ASK),
        (WORLD, ask("bot.example.org", authorization=f"Bearer {TOKEN}x"), Verdict.ASK),
        (WORLD, ask("bot.example.org", authorization="Bearer é"), Verdict.ASK),
        (WORLD, ask("bot.example.org", **LIVE), Verdict.LET_IN),
        (WORLD, ask("bot.example.org", cookie=f"{COOKIE}={session(TOKEN, int(NOW))}"), Verdict.ASK),
        (WORLD, ask("bot.example.org", cookie=f"{COOKIE}={session('other', int(NOW) + 9)}"), Verdict.ASK),
        (WORLD, ask("bot.example.org", cookie=f"{COOKIE}={TOKEN}"), Verdict.ASK),
        (WORLD, ask("bot.example.org", cookie=f"{COOKIE}=.."), Verdict.ASK),
    ],
)
def test_sec_05_who_is_let_in(settings: Settings, asking: Asking, expected: Verdict) -> None:
    assert decide(settings, asking) is expected


@given(st.dictionaries(st.sampled_from(["host", "origin", "authorization", "cookie", "forwarded"]), st.text()))
def test_sec_05_no_header_however_strange_gets_in_or_fails(headers: dict[str, str]) -> None:
    assert decide(WORLD, Asking("192.0.2.1", headers, NOW)) is not Verdict.LET_IN
    assert not may_sign_in(WORLD, headers)


PATHS = [
    "/",
    "/runs/r-1",
    "/api/runs",
    "/api/runs/r-1",
    "/api/runs/r-1/audit",
    "/metrics",
    "/dashboard.css",
    "/setup",
    "/docs",
    "/no/such",
]


@pytest.mark.parametrize("path", PATHS)
async def test_sec_05_nothing_but_the_open_paths_answers_strangers(start_bot: StartBot, path: str) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    assert (await bot.client.get(path)).status_code == 401
    bot.client.headers["Authorization"] = f"Bearer {TOKEN}"
    assert (await bot.client.get(path)).status_code in (200, 404)


WORLD_SETTINGS = Settings(
    host="0.0.0.0",
    public_url="https://bot.example.org",
    github_token="t",
    webhook_secret=SETTINGS.webhook_secret,
    dashboard_token=TOKEN,
)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_probes_answer_everybody(start_bot: StartBot, path: str, method: str) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    assert (await bot.client.request(method, path, headers={"Host": "10.0.0.7:8080"})).status_code == 200


HTML = {"Accept": "text/html"}
OURS = {"Origin": "https://bot.example.org", **HTML}


async def test_the_token_of_the_form_becomes_a_cookie_that_scripts_cannot_read(start_bot: StartBot) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    bot.client.base_url = "https://bot.example.org"
    exchanged = await bot.client.post("/api/runs?page=2", data={"token": TOKEN}, headers=OURS)
    assert (exchanged.status_code, exchanged.headers["Location"]) == (303, "/api/runs?page=2")
    cookie = exchanged.headers["Set-Cookie"]
    assert TOKEN not in cookie
    for attribute in ("HttpOnly", "SameSite=strict", "Secure", "Max-Age=43200"):
        assert attribute in cookie
    assert (await bot.client.get("/api/runs")).status_code == 200


async def test_sec_31_a_token_in_the_address_opens_nothing_and_no_page_of_ours_puts_it_there(
    start_bot: StartBot,
) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    answer = await bot.client.get("/", params={"token": TOKEN}, headers=HTML)
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
    assert '<form method="post">' in answer.text
    # A browser that sends no referrer names no origin either, and its form would be refused.
    assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://bot.example.org", 303),
        ("http://127.0.0.1:8080", 303),
        ("http://127.0.0.1:9999", 403),
        ("https://evil.example.org", 403),
        ("null", 403),
        (None, 403),
    ],
)
async def test_sec_05_the_form_counts_from_our_own_pages_only(
    start_bot: StartBot, origin: str | None, status: int
) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    answer = await bot.client.post("/", data={"token": TOKEN}, headers={"Origin": origin} if origin else {})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (status, status == 303)


@pytest.mark.parametrize("content", ["token=guess", "token=", "", "&" * 20, "x=1&token=" + "t" * 9000, "token=%ff"])
async def test_a_form_without_the_token_is_asked_for_it_again(start_bot: StartBot, content: str) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = await bot.client.post("https://bot.example.org/", content=content, headers=OURS | form)
    assert (page.status_code, "Set-Cookie" in page.headers) == (401, False)
    assert "That is not the token." in page.text


async def test_signing_in_leads_to_no_other_site(start_bot: StartBot) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    answer = await bot.client.post("http://127.0.0.1:8080//evil.example.org/", data={"token": TOKEN}, headers=OURS)
    assert answer.headers["Location"] == "/evil.example.org/"


async def test_a_browser_is_shown_a_form_and_a_program_a_challenge(start_bot: StartBot) -> None:
    bot = await start_bot(WORLD_SETTINGS, client="192.0.2.1")
    page = await bot.client.get("/", headers=HTML)
    assert (page.status_code, page.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    assert 'name="token"' in page.text
    assert "That is not the token." not in page.text
    assert (await bot.client.get("/api/runs")).headers["WWW-Authenticate"] == 'Bearer realm="orchestrator"'


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/runs", "/no/such"])
async def test_every_answer_carries_the_security_headers_and_no_cors(start_bot: StartBot, path: str) -> None:
    bot = await start_bot()
    headers: Any = (await bot.client.get(path, headers={"Origin": "http://localhost:8080"})).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_foreign_host_name_is_421_and_a_foreign_origin_403(start_bot: StartBot) -> None:
    bot = await start_bot()
    assert (await bot.client.get("/", headers={"Host": "evil.example.org"})).status_code == 421
    assert (await bot.client.get("/", headers={"Origin": "https://evil.example.org"})).status_code == 403
