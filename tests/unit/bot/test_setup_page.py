from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bot.localhub import LocalHub
from bot.settings import Settings
from bot.setup_page import create_setup_app
from orchestrator.errors import UsageError
from orchestrator.github.api.registration import RegisteredApp

TOKEN = "the console's token"


async def _ready() -> None:
    pass


async def _keeps_nothing(app: RegisteredApp) -> None:
    raise AssertionError(f"{app.slug} was registered")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_setup_app(Settings(), TOKEN, _ready, _keeps_nothing))
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


async def test_without_a_public_url_nothing_can_be_registered_and_the_page_says_why(client: httpx.AsyncClient) -> None:
    page = (await client.get("/setup", params={"token": TOKEN})).text
    assert "<code>PUBLIC_URL</code> is not set" in page
    assert "<form" not in page


# registering, with the local GitHub at the other end


@dataclass
class Visit:
    """A browser's way: the bot in set-up mode, GitHub, and what was kept."""

    hub: LocalHub
    bot: httpx.AsyncClient
    github: httpx.AsyncClient
    kept: list[RegisteredApp] = field(default_factory=list)
    problems: list[UsageError] = field(default_factory=list)

    async def form(self) -> tuple[str, dict[str, str]]:
        """Open the page and return where its first form leads, and its fields."""
        page = (await self.bot.get("/setup", params={"token": TOKEN})).text
        action = re.search(r'<form method="post" action="([^"]+)"', page)
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
        assert action
        return html.unescape(action[1]), {name: html.unescape(value) for name, value in fields}

    async def confirmed(self) -> str:
        """Press the button on GitHub and return where GitHub leads back to, without the bot's address."""
        action, fields = await self.form()
        state = parse_qs(urlsplit(action).query)["state"][0]
        answer = await self.github.post(
            "/settings/apps/create",
            params={"state": state},
            data={"manifest": fields["manifest"], "name": "orchestrator-1"},
            headers={"Origin": self.hub.url},
        )
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"].removeprefix("http://localhost:8080")


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[Visit]:
    async with LocalHub(tmp_path / "hub") as hub:
        kept: list[RegisteredApp] = []
        problems: list[UsageError] = []

        async def ready() -> None:
            if problems:
                raise problems.pop()

        async def registered(app: RegisteredApp) -> None:
            kept.append(app)

        settings = Settings(public_url="https://bot.example.org", github_api_url=hub.api_url, github_server_url=hub.url)
        transport = httpx.ASGITransport(create_setup_app(settings, TOKEN, ready, registered))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as bot,
            httpx.AsyncClient(base_url=hub.url, trust_env=False) as github,
        ):
            yield Visit(hub, bot, github, kept, problems)


async def test_a_code_becomes_the_apps_credentials_and_the_account_that_registered_it_owns_it(visit: Visit) -> None:
    answer = await visit.bot.get(await visit.confirmed())

    assert answer.status_code == 200
    assert f"{visit.hub.url}/github-apps/orchestrator-1/installations/new" in answer.text
    (app,) = visit.kept
    (made,) = [it for it in visit.hub.state.apps.values() if it.name == "orchestrator-1"]
    assert (app.app_id, app.slug, app.owner) == (str(made.id), "orchestrator-1", "octocat")
    assert app.private_key.startswith("-----BEGIN PRIVATE KEY-----")
    assert made.webhook_url == "https://bot.example.org/webhook"
    assert (app.webhook_secret, app.webhook_secret_previous) == (made.webhook_secret, "")
    assert len(bytes.fromhex(app.webhook_secret)) == 32
    assert app.private_key not in answer.text


async def test_an_app_that_could_not_be_kept_is_not_asked_for_until_it_can_be(visit: Visit) -> None:
    back = await visit.confirmed()
    visit.problems.append(UsageError("The App's credentials could not be kept.", hint="Free space there."))
    told = await visit.bot.get(back)
    assert (told.status_code, visit.kept) == (503, [])
    assert told.text.startswith("The App's credentials could not be kept.")
    # when there is room, the same page goes on
    assert (await visit.bot.get(back)).status_code == 200
    assert len(visit.kept) == 1


async def test_where_github_takes_no_secret_of_ours_its_own_one_stays(visit: Visit) -> None:
    visit.hub.faults.add(method="PATCH", path_regex="/app/hook/config$", kind="drop_after")

    await visit.bot.get(await visit.confirmed())

    (app,) = visit.kept
    (made,) = [it for it in visit.hub.state.apps.values() if it.name == "orchestrator-1"]
    assert len(app.webhook_secret) == 40
    assert app.webhook_secret_previous == made.webhook_secret  # the answer was lost after the secret was taken


async def test_sec_05_setup_locks_after_use(visit: Visit) -> None:
    back = await visit.confirmed()
    assert (await visit.bot.get(back)).status_code == 200
    assert (await visit.bot.get(back)).status_code == 403
    assert (await visit.bot.get("/setup")).status_code == 403
    assert (await visit.bot.get("/setup", params={"token": TOKEN})).status_code == 403
    assert len(visit.kept) == 1


async def test_sec_05_an_answer_with_another_state_or_from_another_browser_registers_nothing(visit: Visit) -> None:
    back = await visit.confirmed()
    forged = re.sub("state=[^&]+", "state=guess", back)
    assert (await visit.bot.get(forged)).status_code == 403
    visit.bot.cookies.clear()
    assert (await visit.bot.get(back)).status_code == 403
    assert visit.kept == []


async def test_a_code_that_is_worth_nothing_shows_the_form_again_with_a_sentence(visit: Visit) -> None:
    back = await visit.confirmed()
    answer = await visit.bot.get(re.sub("code=[^&]+", "code=old", back))
    assert answer.status_code == 502
    assert "GitHub gave nothing for the code: 404." in html.unescape(answer.text)
    assert visit.kept == []
    # The state is another one now, and the first answer is no longer good.
    assert (await visit.bot.get(back)).status_code == 403


async def test_sec_05_the_form_for_an_organisation_is_good_from_our_own_page_only(visit: Visit) -> None:
    _, fields = await visit.form()
    form = {"manifest": fields["manifest"], "state": fields["state"], "organization": "octo"}
    ours = {"Origin": "http://localhost:8080"}

    async def posted(headers: dict[str, str], **changed: str) -> httpx.Response:
        return await visit.bot.post("/setup/organization", data=form | changed, headers=headers)

    assert (await posted({})).status_code == 403
    assert (await posted({"Origin": "https://evil.example.org"})).status_code == 403
    assert (await posted(ours, state="guess")).status_code == 403
    assert (await posted(ours, organization="../evil")).status_code == 422
    sent_on = await posted(ours)
    assert (sent_on.status_code, sent_on.headers["Location"]) == (
        307,
        f"{visit.hub.url}/organizations/octo/settings/apps/new?state={form['state']}",
    )
