from __future__ import annotations

import time
from email.utils import formatdate

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from orchestrator.github.api.signature import DatedAuth, said_now

DAY = 24 * 3600


@pytest.fixture(scope="module")
def app() -> DatedAuth:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return DatedAuth(1, pem)


@pytest.mark.parametrize("off", [DAY, -3600])
def test_a_refusal_that_tells_another_time_is_signed_for_anew_by_that_time(app: DatedAuth, off: int) -> None:
    theirs = time.time() + off
    refusal = {"Date": formatdate(theirs, usegmt=True)}

    assert app.corrected(refusal)
    claims = jwt.decode(app.token, options={"verify_signature": False})
    assert claims["iat"] == pytest.approx(theirs - 60, abs=5)
    assert claims["exp"] == pytest.approx(theirs + 300, abs=5)
    # What is refused all the same is refused for something else.
    assert not app.corrected(refusal)


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_an_answer_that_tells_no_time_leaves_this_machine_s(headers: dict[str, str]) -> None:
    assert said_now(headers) == pytest.approx(time.time(), abs=5)
