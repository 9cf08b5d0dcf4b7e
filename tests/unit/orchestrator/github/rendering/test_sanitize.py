from __future__ import annotations

import base64
import hashlib
import json
import textwrap
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.github.rendering.sanitize import JOINER, Redactor, inert
from orchestrator.hidden import visible

MARKUP = st.text("<!->`~@/#[]()\n abcfixes12\u200b\u202e\u2060\U000e0041", max_size=200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<!-- hidden -->b", "ab"),
        ("a<!-- never closed", "a"),
        ("<!-<!-- x -->- y -->z", "z"),
        ("pa\u200bss\u202eword", "password"),
        ("tag\U000e0068\U000e0069", "tag"),
        ("soft\u00adhyphen \u2800\u3164.", "softhyphen ."),
        ("line\r\nend\x00\x1b[0m", "line\nend[0m"),
        ("plain ünïcödé 日本 ✅", "plain ünïcödé 日本 ✅"),
    ],
)
def test_sec_29_hidden_text_is_removed(text: str, expected: str) -> None:
    assert visible(text) == expected


@given(st.text() | MARKUP)
def test_sec_29_removing_hidden_text_again_changes_nothing(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ask @joe and @octo/team", f"ask @{JOINER}joe and @{JOINER}octo/team"),
        ("thanks @Maria", "thanks @Maria"),
        ("@maria\\-x @maria_corp", f"@{JOINER}maria\\-x @{JOINER}maria_corp"),
        ("mail a@b.org", "mail a@b.org"),
        ("/lgtm", f"{JOINER}/lgtm"),
        ("- /merge now", f"- {JOINER}/merge now"),
        ("fixes #12 and closes octo/x#3", f"fixes {JOINER}#12 and closes {JOINER}octo/x#3"),
        ("Closes #42", "Closes #42"),
        ("Closes: #420", f"Closes: {JOINER}#420"),
        ("![x](https://evil.example/p.png)", f"!{JOINER}[x](https://evil.example/p.png)"),
        ('<img src="https://evil.example/p.png">', f'<{JOINER}img src="https://evil.example/p.png">'),
        ("<!-- orchestrator:status run=r-x -->", f"<{JOINER}!-- orchestrator:status run=r-x -->"),
        ("<details>\n<summary>More</summary>", "<details>\n<summary>More</summary>"),
        ("```\n@app.get('/')\n```", "```\n@app.get('/')\n```"),
        ("```\n/merge\n```", f"```\n{JOINER}/merge\n```"),
        ("``` a`b\n@joe", f"``` a`b\n@{JOINER}joe"),
        ("`\n` @joe `", f"`\n` @{JOINER}joe `"),
        ("`@joe`", f"`@{JOINER}joe`"),
        ("__@joe__ and _@joe_", f"__@{JOINER}joe__ and _@{JOINER}joe_"),
        ("a/@joe", f"a/@{JOINER}joe"),
        ("https://medium.com/@joe", "https://medium.com/@joe"),
        ("closes \\#3, fixes\\: #4", f"closes {JOINER}\\#3, fixes\\: {JOINER}#4"),
        ("_fixes #12_", f"_fixes {JOINER}#12_"),
        ("&#64;joe &commat;joe &amp;", "&amp;#64;joe &amp;commat;joe &amp;"),
        ("[^1]: x\n\n    @joe", f"[^1]: x\n\n    @{JOINER}joe"),
        ("[^1]: x\n\n    ```\n    @joe\n    ```", f"[^1]: x\n\n    ```\n    @{JOINER}joe\n    ```"),
        ("ahttps://a.b/@joe", f"ahttps://a.b/@{JOINER}joe"),
        ("https://a.b/x|/@joe", f"https://a.b/x|/@{JOINER}joe"),
        ("`https://a.b/`/@joe", f"`https://a.b/`/@{JOINER}joe"),
        ("**https://a.b/@joe** (https://a.b/@joe)", "**https://a.b/@joe** (https://a.b/@joe)"),
        ("Fixes <https://github.com/o/r/issues/1>", f"Fixes <{JOINER}https://github.com/o/r/issues/1>"),
        ("**Fixes** #1", f"**Fixes** {JOINER}#1"),
        ("Fixes [#1](url)", f"Fixes [{JOINER}#1](url)"),
        ("fixes" + " " * 400 + "#1", "fixes" + " " * 400 + f"{JOINER}#1"),
        ("It is fixed. #1 is open", "It is fixed. #1 is open"),
        ("a\u2028/merge", f"a\u2028{JOINER}/merge"),
        ("\u00a0/merge", f"\u00a0{JOINER}/merge"),
        ("[skip ci] [CI skip] [no ci]", f"[{JOINER}skip ci] [{JOINER}CI skip] [{JOINER}no ci]"),
        ("[skip actions] [actions skip]", f"[{JOINER}skip actions] [{JOINER}actions skip]"),
        ("x\nskip-checks: true", f"x\nskip-{JOINER}checks: true"),
        ("carries `skip-checks: true`", "carries `skip-checks: true`"),
        ("<pre>\n```\n</pre>\n```\n@joe", f"<{JOINER}pre>\n```\n</pre>\n```\n@{JOINER}joe"),
    ],
)
def test_sec_30_what_is_published_does_nothing(text: str, expected: str) -> None:
    assert inert(text, requester="maria", closes=42) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~~~ fixes #12 @org/team", f"~~~ fixes {JOINER}#12 @{JOINER}org/team"),
        ("```\n@joe\n```", f"```\n@{JOINER}joe\n```"),
        ("    @joe [skip ci]", f"    @{JOINER}joe [{JOINER}skip ci]"),
        ("Thank @maria, closes #42", "Thank @maria, closes #42"),
    ],
)
def test_sec_30_a_title_or_a_commits_message_has_no_code_that_could_act(text: str, expected: str) -> None:
    assert inert(text, requester="maria", closes=42, plain=True) == expected


@given(MARKUP)
def test_sec_30_making_inert_again_changes_nothing(text: str) -> None:
    once = inert(text, requester="maria", closes=1)
    assert inert(once, requester="maria", closes=1) == once


SECRET = "s3cr3t/with+odd=letters&more"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(b"user:" + SECRET.encode()).decode(),
        base64.b64encode(b"x-access-token:" + SECRET.encode() + b"\n").decode(),
        "s3cr3t%2fwith%2bodd%3dletters%26more",
        "s3cr3t/with%2Bodd%3Dletters%26more",
        "s3cr3t/with+odd=letters&amp;more",
    ],
)
def test_sec_31_a_configured_secret_is_redacted_in_every_usual_encoding(form: str) -> None:
    redacted = Redactor([SECRET])(f"before {form} after")
    assert "[redacted]" in redacted
    assert form not in redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3cr3t/with\n+odd=letters&more", "[redacted]"),
        ("a log:\n  s3cr3t/with+odd\n  =letters&more, the end", "a log:\n  [redacted], the end"),
        ("> s3cr3t/with+\r\n> odd=letters&more", "> [redacted]"),
        ('KEY = "s3cr3t/with" \\\n    "+odd=letters&more"', 'KEY = "[redacted]"'),
        ("| s3cr3t/with+odd=let |\n| ters&more |", "| [redacted] |"),
        (json.dumps({"log": "s3cr3t/with+\nodd=letters&more"}), '{"log": "[redacted]"}'),
        (base64.encodebytes(b"a line long enough to be broken, since it ends in " + SECRET.encode()).decode(), ""),
        ("s3cr3t/with\nother letters", "s3cr3t/with\nother letters"),
    ],
)
def test_sec_31_a_configured_secret_is_redacted_over_the_ends_of_lines(text: str, expected: str) -> None:
    redacted = Redactor([SECRET])(text)
    assert redacted == expected if expected else redacted.count("[redacted]") == 1


@pytest.mark.parametrize("width", [64, 76])
def test_sec_31_a_private_key_in_base64_as_tools_break_it_is_redacted(width: int) -> None:
    body = base64.b64encode(hashlib.sha512(b"a key").digest() * 20).decode()
    pem = "-----BEGIN RSA KEY-----\n" + "\n".join(textwrap.wrap(body, 64)) + "\n-----END RSA KEY-----\n"
    for head in ("", "A", "AB"):
        lines = textwrap.wrap(base64.b64encode((head + pem).encode()).decode(), width)
        redacted = Redactor([pem])("\n".join(lines))
        assert redacted.count("[redacted]") == 1
        assert not any(line in redacted for line in lines[1:-1])


@given(
    st.integers(1, len(SECRET) - 1),
    st.sampled_from(["\n", "\r\n", "\n    ", "\\n", '"\n"', "\n# "]),
    st.text(max_size=40),
)
def test_sec_31_wherever_a_secret_is_broken_neither_part_survives(at: int, between: str, around: str) -> None:
    redacted = Redactor([SECRET])(f"{around}\n.{SECRET[:at]}{between}{SECRET[at:]}.{around}")
    assert ".[redacted]." in redacted


def test_sec_31_a_secret_in_json_that_keeps_its_letters_is_redacted() -> None:
    assert Redactor(['pä"sswörd'])(json.dumps(['pä"sswörd'], ensure_ascii=False)) == '["[redacted]"]'


@pytest.mark.parametrize(
    "key",
    [
        "ghs_" + "aB3." * 129,
        "ghs_" + "a" * 5000,
        "ghp_" + "a" * 36,
        "github_pat_" + "A1_" * 20,
        "sk-ant-api03-" + "x" * 90,
        "sk-proj-" + "x" * 60,
        "AIza" + "x" * 35,
        "AKIAABCDEFGHIJKLMNOP",
        "AKIAABCDEFGHIJKLMNOPAKIAABCDEFGHIJKLMNOP",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nnever closed",
    ],
)
def test_sec_31_known_key_formats_are_redacted(key: str) -> None:
    assert Redactor()(f"key {key}") == "key [redacted]"


def test_sec_31_a_file_that_holds_a_secret_is_found() -> None:
    redactor = Redactor([SECRET, "short"])
    assert redactor.finds(f"KEY = '{SECRET}'".encode())
    assert not redactor.finds(b"KEY = os.environ['KEY']  # short \xff")


@given(st.text(min_size=8, max_size=60).filter(lambda text: len(text.strip()) >= 8), st.text(max_size=20))
def test_sec_31_no_configured_secret_survives(secret: str, around: str) -> None:
    assert secret.strip() not in Redactor([secret])(f"{around}{secret}{around}").replace("[redacted]", "")
