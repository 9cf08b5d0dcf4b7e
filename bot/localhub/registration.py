"""Registering Apps: by a scene, or by a manifest that a person confirms on a page; and installing them on a page.

Source: https://docs.github.com/en/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.localhub import render, render_apps
from bot.localhub.call import Call, Routes, answer, not_found
from bot.localhub.state import ALL_PERMISSIONS, JSON, App, Installation, State, User
from bot.localhub.world import World

routes = Routes()

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,33})\Z")


@dataclass
class Registered:
    """An App that was made from a manifest, with its private key until the code is exchanged for it."""

    app: App
    private_key: str


def new_key() -> tuple[str, str]:
    """Return a new private key and its public key, both in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def account(state: State, login: str, kind: str) -> User:
    """Return the account `login`, made as `kind` when it is new."""
    user = state.user(login)
    if user is None:
        user = User(state.next_id(), login, kind)
        state.users[login.lower()] = user
    return user


def add_app(
    state: State, number: int, name: str, public_key: str, owner: str, permissions: Mapping[str, str] | None = None
) -> App:
    """Put an App and its bot user into the tables; an owner that does not exist becomes an organisation."""
    slug = "-".join(name.lower().split())
    bot = account(state, f"{slug}[bot]", "Bot")
    granted = {"metadata": "read", **(permissions or ALL_PERMISSIONS)}
    holder = account(state, owner, "Organization")
    app = App(number, slug, name, holder, bot, public_key, None, "", state.next_id(), granted, ())
    state.apps[app.id] = app
    return app


def add_installation(world: World, app: App, owner: User, permissions: dict[str, str], ids: set[int]) -> Installation:
    """Install an App on repositories of one owner, and tell its hook."""
    installation = Installation(world.state.next_id(), app, owner, {"metadata": "read", **permissions}, ids)
    world.state.installations[installation.id] = installation
    tell_installation(world, installation, "created")
    return installation


def tell_installation(world: World, installation: Installation, action: str) -> None:
    """Tell the hook of an App about one of its installations."""
    repos = [repo for repo in world.state.repositories.values() if repo.id in installation.repositories]
    fields = ("id", "node_id", "name", "full_name", "private")
    payload = {
        "action": action,
        "installation": render_apps.installation(world.base, installation),
        "repositories": [{name: render.repository(world.base, repo)[name] for name in fields} for repo in repos],
        "sender": render.user(world.base, installation.account),
    }
    world.webhooks.deliver(installation.app, "installation", payload)


@routes("POST", "/app-manifests/{code}/conversions")
async def convert(call: Call) -> Response:
    """Answer with the App's credentials, once for its code."""
    made = call.world.state.manifests.pop(call.params["code"], None)
    if made is None:
        raise not_found()
    return answer(
        render.app(call.base, made.app)
        | {
            "client_secret": secrets.token_hex(20),
            "webhook_secret": made.app.webhook_secret or None,
            "pem": made.private_key,
        },
        201,
    )


# pages

Render = Callable[..., Response]


def page_routes(world: World, page_account: Callable[[], User], render_page: Render) -> list[Route]:
    """Return the pages on which people register and install Apps; `render_page` renders a template."""
    state = world.state

    def owner_of(request: Request) -> User | None:
        login = request.path_params.get("org")
        found = state.user(login) if login else page_account()
        return None if login and (found is None or found.type != "Organization") else found

    async def confirm(request: Request) -> Response:
        # Anybody's page may post a manifest here: what counts is the button on the page that follows.
        owner, text = owner_of(request), (await _form(request)).get("manifest", "")
        if owner is None:
            return render_page("missing.html")
        problem, manifest = _read(text, state)
        query = urlencode({"state": request.query_params.get("state", "")})
        if problem:
            return PlainTextResponse(f"Invalid GitHub App configuration: {problem}\n", 422)
        back = urlsplit(str(manifest["redirect_url"]))
        page = render_page(
            "app_new.html",
            owner=owner,
            manifest=manifest,
            text=text,
            action=f"{request.url.path.removesuffix('/new')}/create?{query}",
            returns_to=back.geturl(),
        )
        # Browsers look at where a form is led on to as well.
        policy = page.headers["Content-Security-Policy"]
        allowed = f"form-action 'self' {back.scheme}://{back.netloc}"
        page.headers["Content-Security-Policy"] = policy.replace("form-action 'self'", allowed)
        return page

    async def create(request: Request) -> Response:
        owner, form = owner_of(request), await _form(request)
        # Another site's page can post here too, but it cannot forge its Origin.
        if owner is None or request.headers.get("origin") != f"http://{request.headers.get('host')}":
            return PlainTextResponse("This form is for the local GitHub's own pages.", 403)
        problem, manifest = _read(form.get("manifest", ""), state)
        name = form.get("name", "").strip()
        if problem or not _NAME.match(name):
            return PlainTextResponse(f"Invalid GitHub App configuration: {problem or 'the name'}\n", 422)
        private, public = new_key()
        app = add_app(state, state.next_id(), name, public, owner.login, manifest.get("default_permissions") or {})
        hook = manifest.get("hook_attributes") or {}
        app.webhook_url = hook.get("url") if hook.get("active", True) else None
        app.webhook_secret = secrets.token_hex(20) if app.webhook_url else ""
        app.events = tuple(manifest.get("default_events") or ())
        code = secrets.token_hex(20)
        state.manifests[code] = Registered(app, private)
        query = urlencode({"code": code, "state": request.query_params.get("state", "")})
        return RedirectResponse(f"{manifest['redirect_url']}?{query}", 303)

    def app_of(request: Request) -> App | None:
        return next((app for app in state.apps.values() if app.slug == request.path_params["slug"]), None)

    async def choose(request: Request) -> Response:
        app = app_of(request)
        if app is None:
            return render_page("missing.html")
        mine = [repo for repo in state.repositories.values() if repo.owner is app.owner]
        return render_page("app_install.html", app=app, repositories=mine, done=False)

    async def install(request: Request) -> Response:
        app = app_of(request)
        if app is None or request.headers.get("origin") != f"http://{request.headers.get('host')}":
            return PlainTextResponse("This form is for the local GitHub's own pages.", 403)
        mine = [repo for repo in state.repositories.values() if repo.owner is app.owner]
        add_installation(world, app, app.owner, app.permissions, {repo.id for repo in mine})
        return render_page("app_install.html", app=app, repositories=mine, done=True)

    return [
        Route("/settings/apps/new", confirm, methods=["POST"]),
        Route("/settings/apps/create", create, methods=["POST"]),
        Route("/organizations/{org}/settings/apps/new", confirm, methods=["POST"]),
        Route("/organizations/{org}/settings/apps/create", create, methods=["POST"]),
        Route("/github-apps/{slug}/installations/new", choose),
        Route("/github-apps/{slug}/installations/new", install, methods=["POST"]),
    ]


def _read(text: str, state: State) -> tuple[str, JSON]:
    """Return what is wrong with a manifest, in a few words, and the manifest."""
    try:
        manifest = json.loads(text)
    except ValueError:
        return "it is no JSON", {}
    if not isinstance(manifest, dict):
        return "it is no object", {}
    addresses = (manifest.get("url"), manifest.get("redirect_url"), (manifest.get("hook_attributes") or {}).get("url"))
    if not all(urlsplit(str(it)).scheme in ("http", "https") for it in addresses):
        return "an address is missing", {}
    unknown = set(manifest.get("default_permissions") or {}) - set(ALL_PERMISSIONS) - {"workflows"}
    if unknown:
        return f"unknown permissions: {', '.join(sorted(unknown))}", {}
    if any(app.name == manifest.get("name") for app in state.apps.values()):
        return "the name is taken", {}
    return "", manifest


async def _form(request: Request) -> dict[str, str]:
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}
