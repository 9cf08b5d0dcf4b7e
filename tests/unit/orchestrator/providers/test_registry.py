"""Which variables make which provider available, and where it is then asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.providers.anthropic import AnthropicProvider
from orchestrator.providers.google import GoogleProvider
from orchestrator.providers.openai import OpenAIProvider
from orchestrator.providers.registry import (
    BASE_URL_VARIABLES,
    KEY_VARIABLES,
    Endpoint,
    endpoints_from_environment,
    open_provider,
)


@pytest.mark.parametrize(
    ("variable", "provider", "base_url"),
    [
        ("OPENAI_API_KEY", "openai", "https://api.openai.com/v1"),
        ("ANTHROPIC_API_KEY", "anthropic", "https://api.anthropic.com"),
        ("GOOGLE_API_KEY", "google", "https://generativelanguage.googleapis.com"),
        ("GEMINI_API_KEY", "google", "https://generativelanguage.googleapis.com"),
        ("DEEPSEEK_API_KEY", "deepseek", "https://api.deepseek.com/v1"),
        ("MOONSHOT_API_KEY", "moonshot", "https://api.moonshot.ai/v1"),
        ("KIMI_API_KEY", "moonshot", "https://api.moonshot.ai/v1"),
        ("MINIMAX_API_KEY", "minimax", "https://api.minimax.io/v1"),
        ("ZHIPU_API_KEY", "zhipu", "https://open.bigmodel.cn/api/paas/v4"),
    ],
)
def test_a_key_makes_its_provider_available_at_the_vendors_own_endpoint(
    variable: str, provider: str, base_url: str
) -> None:
    assert endpoints_from_environment({variable: "k-1"}) == {provider: Endpoint(provider, "k-1", base_url)}


@pytest.mark.parametrize(
    ("variable", "key_variable", "provider"),
    [
        ("OPENAI_BASE_URL", "OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "anthropic"),
        ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "google"),
        ("DEEPSEEK_BASE_URL", "DEEPSEEK_API_KEY", "deepseek"),
        ("MOONSHOT_BASE_URL", "KIMI_API_KEY", "moonshot"),
        ("MINIMAX_BASE_URL", "MINIMAX_API_KEY", "minimax"),
        ("ZHIPU_BASE_URL", "ZHIPU_API_KEY", "zhipu"),
    ],
)
def test_a_base_url_moves_its_provider(variable: str, key_variable: str, provider: str) -> None:
    found = endpoints_from_environment({key_variable: "k", variable: "https://proxy.example/v1"})

    assert found == {provider: Endpoint(provider, "k", "https://proxy.example/v1")}


def test_without_any_variable_no_provider_is_available() -> None:
    assert endpoints_from_environment({}) == {}


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_value_is_not_set(value: str) -> None:
    names = [name for names in KEY_VARIABLES.values() for name in names]

    assert endpoints_from_environment(dict.fromkeys([*names, *BASE_URL_VARIABLES.values()], value)) == {}


def test_a_base_url_without_a_key_makes_nothing_available() -> None:
    assert endpoints_from_environment({"OPENAI_BASE_URL": "https://proxy.example/v1"}) == {}


def test_the_first_variable_of_a_provider_wins_and_an_empty_one_does_not_count() -> None:
    both = endpoints_from_environment({"GOOGLE_API_KEY": "a", "GEMINI_API_KEY": "b"})
    second = endpoints_from_environment({"MOONSHOT_API_KEY": "", "KIMI_API_KEY": "b"})

    assert (both["google"].key, second["moonshot"].key) == ("a", "b")


def test_a_local_server_needs_its_address_and_its_model() -> None:
    url = "http://127.0.0.1:11434/v1"

    assert endpoints_from_environment({"LOCAL_LLM_BASE_URL": url, "LOCAL_LLM_MODEL": "qwen"}) == {
        "local": Endpoint("local", "", url)
    }


@pytest.mark.parametrize(
    "env", [{"LOCAL_LLM_BASE_URL": "http://localhost:1/v1"}, {"LOCAL_LLM_MODEL": "qwen"}], ids=["url", "model"]
)
def test_half_a_local_server_is_an_error(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="belong together"):
        endpoints_from_environment(env)


def test_a_local_models_name_has_to_fit_its_column() -> None:
    env = {"LOCAL_LLM_BASE_URL": "http://127.0.0.1:1/v1", "LOCAL_LLM_MODEL": "m" * 121}

    with pytest.raises(UsageError, match="LOCAL_LLM_MODEL has 121 characters, more than the 120"):
        endpoints_from_environment(env)


def test_offline_switches_every_key_off() -> None:
    env = {"ORCHESTRATOR_OFFLINE": "1", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://not-checked.example"}

    assert endpoints_from_environment(env) == {"offline": Endpoint("offline", "", "")}


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_is_never_used_otherwise(value: str) -> None:
    env = {"ORCHESTRATOR_OFFLINE": value, "OPENAI_API_KEY": "k"}

    assert list(endpoints_from_environment(env)) == ["openai"]


def test_an_unclear_wish_for_offline_spends_nothing() -> None:
    with pytest.raises(UsageError, match="ORCHESTRATOR_OFFLINE must be 1 or 0, not 'true'"):
        endpoints_from_environment({"ORCHESTRATOR_OFFLINE": "true", "OPENAI_API_KEY": "k"})


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.example/v1",
        "https://10.0.0.5:8443/v1",
        "http://127.0.0.1:8000/v1",
        "http://127.9.9.9/v1",
        "http://[::1]:8000/v1",
        "http://localhost:8000/v1",
        "HTTP://LOCALHOST/v1",
    ],
)
def test_sec_25_a_base_url_is_https_or_this_machine(url: str) -> None:
    found = endpoints_from_environment({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url})

    assert found["openai"].base_url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://proxy.example/v1", "would send keys and code in the clear to proxy.example"),
        ("http://10.0.0.5/v1", "would send keys and code in the clear to 10.0.0.5"),
        ("http://127.0.0.1.evil.example/v1", "in the clear to 127.0.0.1.evil.example"),
        ("http://localhost.evil.example/v1", "in the clear to localhost.evil.example"),
        ("http://2130706433/v1", "in the clear to 2130706433"),
        ("http://[::ffff:10.0.0.5]/v1", "in the clear"),
        ("ftp://proxy.example/v1", "is not an http or https URL"),
        ("proxy.example/v1", "is not an http or https URL"),
        ("https:///v1", "is not an http or https URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https://proxy.example:port/v1", "is not a URL"),
        ("https://user:s3cret@proxy.example/v1", "must not hold a user"),
        ("http://127.0.0.1@proxy.example/v1", "must not hold a user"),
        ("https://proxy.example/v1?key=1", "a query or a fragment"),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "local"])
def test_sec_25_another_base_url_is_an_error_that_names_its_variable(provider: str, url: str, reason: str) -> None:
    variable = BASE_URL_VARIABLES[provider]

    with pytest.raises(UsageError) as caught:
        endpoints_from_environment({"OPENAI_API_KEY": "k", "LOCAL_LLM_MODEL": "m", variable: url})

    assert caught.value.message.startswith(f"{variable} ")
    assert reason in caught.value.message
    assert "s3cret" not in caught.value.message


@given(st.text(min_size=1) | st.from_regex(r"(http|https|ftp)://[a-z0-9.:@\[\]%/-]{0,20}", fullmatch=True))
def test_any_base_url_is_taken_or_refused_with_a_sentence(url: str) -> None:
    try:
        taken = endpoints_from_environment({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": url})["openai"].base_url
    except UsageError as error:
        taken = error.message

    assert taken.lower().startswith(("https://", "http://", "openai_base_url "))


@pytest.mark.parametrize("key", ["two words", "kéy", "a\nb", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_an_error_that_does_not_repeat_it(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        endpoints_from_environment({"KIMI_API_KEY": key})

    assert caught.value.message == "KIMI_API_KEY holds characters that no key has"


def test_a_line_break_at_the_end_of_a_key_is_taken_off() -> None:
    assert endpoints_from_environment({"OPENAI_API_KEY": "k-1\n"})["openai"].key == "k-1"


def test_an_endpoint_does_not_show_its_key() -> None:
    assert "k-1" not in repr(Endpoint("openai", "k-1", "https://proxy.example/v1"))


@pytest.mark.parametrize(
    ("provider", "kind"),
    [
        ("anthropic", AnthropicProvider),
        ("google", GoogleProvider),
        ("openai", OpenAIProvider),
        ("deepseek", OpenAIProvider),
        ("moonshot", OpenAIProvider),
        ("minimax", OpenAIProvider),
        ("zhipu", OpenAIProvider),
        ("local", OpenAIProvider),
    ],
)
def test_every_provider_opens_its_adapter(provider: str, kind: type) -> None:
    assert isinstance(open_provider(Endpoint(provider, "k", "https://proxy.example/v1")), kind)


def test_an_unknown_provider_is_an_error() -> None:
    with pytest.raises(UsageError, match="there is no provider 'acme'"):
        open_provider(Endpoint("acme", "k", "https://proxy.example"))


def test_opening_providers_loads_no_sdk() -> None:
    program = (
        "import sys\n"
        "from orchestrator.providers.registry import endpoints_from_environment, open_provider\n"
        "import orchestrator.providers.scripted\n"
        "env = dict(OPENAI_API_KEY='k', ANTHROPIC_API_KEY='k', GOOGLE_API_KEY='k')\n"
        "[open_provider(endpoint) for endpoint in endpoints_from_environment(env).values()]\n"
        "print([name for name in ('openai', 'anthropic', 'google.genai') if name in sys.modules])\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"
