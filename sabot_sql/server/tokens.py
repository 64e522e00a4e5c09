"""JSON Web Tokens of an identity provider (OpenID Connect) in place of API keys: RFC 7519, checked by PyJWT.

A token counts if a key of the provider's set (JWKS, RFC 7517) signed it by an asymmetric algorithm of this list, for this
server (`aud`), by that provider (`iss`), and it has not expired. What the token itself says of its algorithm chooses within the
list only, so that neither `none` nor a public key taken for a secret gets anybody in.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from sabot_sql.client.channel import is_loopback
from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.server.keys import ROLES
from sabot_sql.server.principal import Principal

log = logging.getLogger("sabot_sql.server")

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_S = 30.0
"""By how much clocks may differ."""

FETCH_S, AGAIN_S, MIN_AGAIN_S = 5.0, 300.0, 10.0
"""How long getting the keys may take, how often they are got again, and how often at most when a token names an unknown one."""

REMEMBERED = 1024
"""Tokens that were found good are not checked again until they expire; checking one takes some 0.1 ms."""

ROLE, TABLES = "sabot_role", "sabot_tables"
"""Claims: `reader` (where there is none) or `admin`, and a list of patterns of the tables that a reader may read."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens count.

    Attributes:
        keys: the address of the provider's JWKS, or a file.
    """

    issuer: str
    audience: str
    keys: str


class Tokens:
    """Checks tokens. Thread-safe.

    Raises:
        ConfigError: the keys cannot be had.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._is_url = "://" in issuer.keys
        self._good: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._lock = threading.Lock()
        self._keys = self._fetch()
        self._fetched_s = time.monotonic()
        self._wake = threading.Event()
        threading.Thread(target=self._keep_fresh, name="jwks", daemon=True).start()

    def principal(self, token: str) -> Principal:
        """Who has a token.

        Raises:
            QueryError: UNAUTHENTICATED; says what is wrong with it, never what it says.
        """
        now_s = time.time()
        with self._lock:
            found = self._good.get(token)
        if found is not None and now_s < found[1]:
            return found[0]
        try:
            claims = self._claims(token)
            made = principal_of(claims)
        except (jwt.InvalidTokenError, ValueError) as error:
            raise QueryError(f"the token does not count: {error}", code="UNAUTHENTICATED") from error
        with self._lock:
            self._good[token] = (made, float(claims["exp"]) + LEEWAY_S)
            while len(self._good) > REMEMBERED:
                self._good.popitem(last=False)
        return made

    def _claims(self, token: str) -> dict[str, Any]:
        name = jwt.get_unverified_header(token).get("kid")
        keys = self._keys
        key = keys.get(name) if name is not None else next(iter(keys.values())) if len(keys) == 1 else None
        if key is None:
            self._wake.set()  # the provider may have a new one
            raise jwt.InvalidTokenError("it is signed by a key that is not known here")
        options: Any = {"require": ["exp", "sub", "iss", "aud"]}
        found: dict[str, Any] = jwt.decode(
            token, key, ALGORITHMS, options=options, audience=self._issuer.audience, issuer=self._issuer.issuer, leeway=LEEWAY_S
        )
        return found

    def _fetch(self) -> dict[str | None, jwt.PyJWK]:
        place = self._issuer.keys
        try:
            if self._is_url:
                with urllib.request.urlopen(place, timeout=FETCH_S) as answer:
                    text = answer.read(1 << 20)
            else:
                text = Path(place).expanduser().read_bytes()
            found = jwt.PyJWKSet.from_dict(json.loads(text)).keys
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as exc:
            raise ConfigError(f"the keys of tokens at {place} cannot be had: {exc}") from exc
        usable = {key.key_id: key for key in found if key.algorithm_name in ALGORITHMS}
        if not usable:
            raise ConfigError(f"the keys of tokens at {place} are none of {', '.join(ALGORITHMS)}")
        return usable

    def _keep_fresh(self) -> None:
        while True:
            asked = self._wake.wait(AGAIN_S)
            if asked and (left_s := self._fetched_s + MIN_AGAIN_S - time.monotonic()) > 0:
                time.sleep(left_s)
            self._wake.clear()
            try:
                keys = self._fetch()
            except ConfigError as error:
                log.warning("the keys of tokens stay as they were: %s", error)
            else:
                with self._lock:
                    if keys.keys() != self._keys.keys():
                        self._good.clear()  # a key may have been taken back
                    self._keys = keys
            self._fetched_s = time.monotonic()


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Who the claims of a token that counts speak of.

    Raises:
        ValueError: a claim is not what it should be.
    """
    user, role, tables = claims["sub"], claims.get(ROLE, "reader"), claims.get(TABLES)
    if not isinstance(user, str) or not user:
        raise ValueError("its sub is no name")
    known = next((r for r in ROLES if r == role), None)
    if known is None:
        raise ValueError(f"its {ROLE} is none of {', '.join(ROLES)}")
    if tables is None:
        return Principal(user, known)
    if known == "admin" or not isinstance(tables, list) or not all(isinstance(pattern, str) for pattern in tables):
        raise ValueError(f"its {TABLES} is no list of a reader's or writer's tables")
    return Principal(user, known, tuple(tables))


def tokens_of(issuer: str | None, audience: str | None, keys: str | None) -> Tokens | None:
    """What checks the tokens of the settings; None where there are none.

    Raises:
        ConfigError: one of the three is missing, or the keys would come over a wire that others can write to.
    """
    given = {"jwt_issuer": issuer, "jwt_audience": audience, "jwt_keys": keys}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise ConfigError(f"server.{missing[0]} is not set", hint="tokens need server.jwt_issuer, jwt_audience and jwt_keys")
    assert issuer is not None
    assert audience is not None
    assert keys is not None
    parts = urlsplit(keys)
    if "://" in keys and parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ConfigError(f"server.jwt_keys is {keys}", hint="give an https address, or a file")
    return Tokens(Issuer(issuer, audience, keys))
