from __future__ import annotations

import base64
import datetime as dt
import hmac
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.datastructures import Headers

from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.server import tokens
from sabot_sql.server.auth import Access, ApiKeys, authenticate
from sabot_sql.server.principal import Principal
from sabot_sql.server.tokens import Issuer, Tokens, tokens_of
from tests.server.live_server import live_server

ISSUER, AUDIENCE = "https://example.com", "sabot"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
SIGNING: dict[str, tuple[Any, str, Any]] = {
    "r": (RSA, "RS256", jwt.algorithms.RSAAlgorithm),
    "e": (EC, "ES256", jwt.algorithms.ECAlgorithm),
    "d": (ED, "EdDSA", jwt.algorithms.OKPAlgorithm),
}


def key_set(*names: str) -> str:
    keys = []
    for name in names:
        private, algorithm, kind = SIGNING[name]
        keys.append({**json.loads(kind.to_jwk(private.public_key())), "kid": name, "alg": algorithm, "use": "sig"})
    return json.dumps({"keys": keys})


def token(name: str = "r", key: Any = None, algorithm: str = "", **claims: Any) -> str:
    private, its, _ = SIGNING[name]
    now = dt.datetime.now(dt.UTC)
    said = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": now + dt.timedelta(minutes=5), **claims}
    said = {claim: value for claim, value in said.items() if value is not None}
    return jwt.encode(said, private if key is None else key, algorithm or its, headers={"kid": name})


@pytest.fixture
def checks(tmp_path: Path) -> Tokens:
    file = tmp_path / "keys.json"
    file.write_text(key_set("r", "e", "d"))
    return Tokens(Issuer(ISSUER, AUDIENCE, str(file)))


@pytest.mark.parametrize("name", SIGNING)
def test_a_token_of_the_provider_counts(checks: Tokens, name: str) -> None:
    assert checks.principal(token(name)) == Principal("ada", "reader")
    assert checks.principal(token(name, sabot_role="admin")) == Principal("ada", "admin")
    assert checks.principal(token(name, sabot_tables=["trips"])) == Principal("ada", "reader", ("trips",))
    assert checks.principal(token(name, aud=["other", AUDIENCE])).user == "ada"


NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    "bad",
    [
        {"exp": NOW - HOUR}, {"exp": None}, {"nbf": NOW + HOUR}, {"iss": "https://example.com:8443"}, {"iss": None},
        {"aud": "other"}, {"aud": None}, {"sub": None}, {"sub": ""}, {"sabot_role": "owner"}, {"sabot_role": ["admin"]},
        {"sabot_tables": "trips"}, {"sabot_tables": [1]}, {"sabot_tables": ["trips"], "sabot_role": "admin"}, {"key": OTHER},
    ],
)  # fmt: skip
def test_another_token_does_not(checks: Tokens, bad: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as refused:
        checks.principal(token(**bad))
    assert refused.value.problem.code == "UNAUTHENTICATED"


def signed_as(algorithm: str, secret: bytes) -> str:
    """A token of the provider's first key, with another algorithm and an HMAC by `secret`."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"sub": "eve", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 3600}
    head = json.dumps({"alg": algorithm, "kid": "r", "typ": "JWT"}).encode()
    said = f"{part(head)}.{part(json.dumps(claims).encode())}"
    return f"{said}.{part(hmac.digest(secret, said.encode(), 'sha256')) if secret else ''}"


def test_neither_no_signature_nor_a_public_key_as_a_secret_helps(checks: Tokens) -> None:
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, claims, _ = token().split(".")
    forged = [signed_as("none", b""), signed_as("HS256", public), signed_as("RS256", public), f"{head}.{claims}."]
    forged += ["a.b.c", "..", token().upper(), token()[:-4] + "AAAA"]
    for text in forged:
        with pytest.raises(QueryError):
            checks.principal(text)


def test_a_token_that_was_good_expires(checks: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LEEWAY_S", 0.0)
    text = token(exp=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2))
    assert checks.principal(text) == checks.principal(text)
    time.sleep(3.1)
    with pytest.raises(QueryError, match="expired"):
        checks.principal(text)


class Provider(http.server.BaseHTTPRequestHandler):
    keys = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(Provider.keys.encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def provider() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys"
        server.shutdown()


def test_the_provider_may_change_its_keys(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MIN_AGAIN_S", 0.1)
    Provider.keys = key_set("r")
    checks = Tokens(Issuer(ISSUER, AUDIENCE, provider))
    before = token("r")
    assert checks.principal(before).user == "ada"
    Provider.keys = key_set("e")
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            assert checks.principal(token("e")).user == "ada"
            break
        except QueryError:
            time.sleep(0.05)
    with pytest.raises(QueryError, match="not known"):
        checks.principal(before)
    Provider.keys = "nonsense"
    with pytest.raises(QueryError):
        checks.principal(token("r"))
    time.sleep(0.3)
    assert checks.principal(token("e")).user == "ada"  # the last keys hold


def test_settings_that_do_not_do(tmp_path: Path, provider: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}')
    assert tokens_of(None, None, None) is None
    for given, said in (
        ((ISSUER, None, str(file)), "server.jwt_audience is not set"),
        ((ISSUER, AUDIENCE, "http://example.com/keys"), "https"),
        ((ISSUER, AUDIENCE, str(tmp_path / "nowhere")), "cannot be had"),
        ((ISSUER, AUDIENCE, str(file)), "none of RS256"),
    ):
        with pytest.raises(ConfigError) as refused:
            tokens_of(*given)
        assert said in str(refused.value)


def test_keys_and_tokens_open_one_server(data: Path, tmp_path: Path, checks: Tokens) -> None:
    both = Access(ApiKeys("k" * 20), checks)
    assert authenticate(both, Headers({"authorization": f"Bearer {'k' * 20}"})).user == "api"
    assert authenticate(both, Headers({"authorization": f"bearer {token()}"})).user == "ada"
    only = Access(tokens=checks)
    with pytest.raises(QueryError, match="is needed"):
        authenticate(only, Headers({"host": "localhost"}))
    settings = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS": str(tmp_path / "keys.json")}
    environment = {f"SABOT_SERVER__JWT_{name}": value for name, value in settings.items()}
    with live_server(data, "--agents", "0", "--host", "0.0.0.0", **environment) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        asked = [
            server.http.request("GET", f"{url}/v1/tables", headers=headers).status
            for headers in ({}, {"Authorization": f"Bearer {token()}"}, {"Authorization": f"Bearer {token(aud='x')}"})
        ]
        assert asked == [401, 200, 401]
        info = server.http.request("GET", f"{url}/v1/info", headers={"Authorization": f"Bearer {token()}"}).json()
        assert info["auth"] == ["jwt"]
