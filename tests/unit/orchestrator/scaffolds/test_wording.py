from __future__ import annotations

import keyword
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.scaffolds.wording import asks_for, name_from, package_from, plain_title, slug_from, title_in_ascii

JWT = ("jwt", "auth", "login", "token")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Todo API\n\nwith more below", "Todo API"),
        ("\n\n## Todo `API`", "Todo API"),
        ("Title: Todo API", "Todo API"),
        ("Title:\nTodo API", "Todo API"),
        ("---\nTodo API", "Todo API"),
        ('Say "hi" $HOME ${x} <b>', "Say hi HOME x b"),
        ("rate_limiter", "rate limiter"),
        (f"{'word ' * 14}", f"{'word ' * 11}word"),
        ("Größe: prüfen", "Größe: prüfen"),
        ("", ""),
        ("\n***\n", ""),
    ],
)  # fmt: skip
def test_a_title_is_the_first_line_that_says_something(text: str, title: str) -> None:
    assert plain_title(text) == title


@given(st.text(max_size=300))
def test_a_plain_title_is_one_short_line_that_stays_as_it_is(text: str) -> None:
    title = plain_title(text)

    assert len(title) <= 60
    assert not set(title) & set('"\\$`<>[]()#@\n\r\t\x7f\u2028*_|')
    assert all(letter.isalnum() or letter in " -.,:'&+" for letter in title)


@pytest.mark.parametrize(
    ("title", "ascii_title"), [("Café menu", "Cafe menu"), ("Größe", ""), ("图书馆", ""), ("", "")]
)
def test_accents_go_and_other_scripts_have_no_ascii_title(title: str, ascii_title: str) -> None:
    assert title_in_ascii(title) == ascii_title


@pytest.mark.parametrize(
    ("title", "package"),
    [
        ("CSV tools for humans", "csv_tools"),
        ("Build a small Python library that parses dates", "parses_dates"),
        ("Implement interval trees", "interval_trees"),
        ("TextWrangler", "text_wrangler"),
        ("queue", "queue_lib"),
        ("class", "class_lib"),
        ("pytest", "pytest_lib"),
        ("3D vectors", "lib_3d_vectors"),
        ("supercalifragilisticexpialidocious", "supercalifragilisticexpia"),
        ("", "starter"),
    ],
)
def test_a_package_is_named_after_what_the_title_names(title: str, package: str) -> None:
    assert package_from(title) == package


@given(st.text(max_size=100))
def test_a_package_can_always_be_imported_and_shadows_nothing(title: str) -> None:
    package = package_from(title)

    assert package.isidentifier()
    assert package.isascii()
    assert not keyword.iskeyword(package)
    assert package not in sys.stdlib_module_names
    assert len(package) <= 29


@pytest.mark.parametrize(
    "text",
    [
        "with JWT",
        "needs auth.",
        "Login page",
        "a JWT-protected API",
        "user_login",
        "no fuss, but a login",
        "bearer token",
    ],
)
def test_a_feature_is_recognised_by_its_words(text: str) -> None:
    assert asks_for(text, JWT, ["token bucket"])


@pytest.mark.parametrize(
    "text",
    ["", "author list", "tokenizer", "without login", "No login, no auth", "without any auth", "a Token Bucket"],
)
def test_a_feature_is_not_read_into_a_text(text: str) -> None:
    assert not asks_for(text, JWT, ["token bucket"])


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Build a Next.js e-commerce storefront with product listing,", "Next.js e-commerce storefront"),
        ("Please make me a landing page for a cafe", "Landing page"),
        ("Harbour cafe", "Harbour cafe"),
        ("with love", "With love"),
        ("Build a", "Build a"),
        ("", ""),
    ],
)
def test_a_name_is_what_the_title_calls_the_thing(title: str, name: str) -> None:
    assert name_from(title) == name


@pytest.mark.parametrize(
    ("title", "slug"),
    [("Build a Next.js shop with a cart", "next-js-shop"), ("", "starter"), ("+++", "starter"), ("x" * 60, "x" * 40)],
)
def test_a_slug_is_what_the_registry_of_npm_takes(title: str, slug: str) -> None:
    assert slug_from(title) == slug


@given(st.text(max_size=80))
def test_any_title_gives_a_slug_of_plain_letters(title: str) -> None:
    slug = slug_from(title)

    assert slug.replace("-", "").isalnum()
    assert slug == slug.lower().strip("-")
    assert slug.isascii()
