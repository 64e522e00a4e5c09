"""Who may talk to the server, and what they may do: API keys as bearer tokens with a role each; on loopback without keys only
this machine's own programs and pages."""

from __future__ import annotations

import datetime as dt
import logging
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import Request

from sabot_sql.catalog.stamps import Stamp, stamp
from sabot_sql.client.channel import is_loopback
from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.server.keys import ANONYMOUS, ApiKey, Role, find_key, operator_key, read_keys
from sabot_sql.server.principal import Principal

if TYPE_CHECKING:
    from sabot_sql.server.tokens import Tokens

log = logging.getLogger("sabot_sql.server")

HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d+)?")

RELOAD_S = 1.0
"""How often at most the file of keys is looked at."""


class ApiKeys:
    """The keys that open the server; none means that everybody on this machine may ask.

    Args:
        api_key: that of the operator, an admin.
        keys_file: more keys; read again when it changes. Where it cannot be read any more, those that were read last hold.
        anonymous_role: what everybody on this machine may do where there is no key.

    Raises:
        ConfigError: the file cannot be read, or a key is too short to be a secret.
    """

    def __init__(self, api_key: str | None = None, keys_file: str | Path | None = None, anonymous_role: Role = "admin") -> None:
        self.anonymous = Principal(ANONYMOUS, anonymous_role)
        self._own = (operator_key(api_key),) if api_key else ()
        self._path = Path(keys_file).expanduser() if keys_file else None
        self._stamp: Stamp | None = None
        self._looked_s = time.monotonic()
        self._listed: tuple[ApiKey, ...] = ()
        if self._path is not None:
            self._stamp, self._listed = stamp(str(self._path)), read_keys(self._path)
            if not self._listed:
                raise ConfigError(f"the file of API keys {self._path} holds none", hint="sabot-sql key create")

    def __bool__(self) -> bool:
        return bool(self._own) or self._path is not None

    def find(self, given: str) -> ApiKey | None:
        """The key that was given, if it is one that is good now."""
        self._reload()
        found = find_key((*self._own, *self._listed), given)
        return None if found is None or found.has_expired(dt.datetime.now(dt.UTC)) else found

    def _reload(self) -> None:
        now_s = time.monotonic()
        if self._path is None or now_s - self._looked_s < RELOAD_S:
            return
        self._looked_s = now_s
        try:
            if (found := stamp(str(self._path))) == self._stamp:
                return
            self._stamp = found
            self._listed = read_keys(self._path)
        except (ConfigError, OSError) as exc:
            log.warning("the API keys stay as they were: %s", exc)
        else:
            log.info("read the API keys in %s again: %d", self._path, len(self._listed))


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in.

    Attributes:
        origins: pages of other hosts that may ask (CORS), as `https://host:port`.
        requests_per_s: how many requests each user may make; 0 for any number.
        tokens: what checks the tokens of an identity provider, if there is one.
    """

    keys: ApiKeys = field(default_factory=ApiKeys)
    tokens: Tokens | None = None
    origins: frozenset[str] = frozenset()
    requests_per_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may ask."""
        return not self.keys and self.tokens is None


def authenticate(access: Access, headers: Headers) -> Principal:
    """Who is behind a request.

    Raises:
        QueryError: UNAUTHENTICATED without a valid key; PERMISSION_DENIED for a request that was sent to another host's name,
            which is how a web page reaches a server on its reader's machine (DNS rebinding), or by a page of another host.
    """
    if access.is_open:
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if host and not is_loopback(_host_name(host)):
            raise QueryError(
                f"this server answers to this machine only, not to {host}",
                code="PERMISSION_DENIED",
                hint="address it as localhost",
            )
        is_of_others = bool(origin) and not is_loopback(_host_of_origin(origin))
        if (is_of_others or headers.get("sec-fetch-site", "").lower() == "cross-site") and origin not in access.origins:
            raise QueryError(f"this server answers to no pages of {origin or 'another site'}", code="PERMISSION_DENIED")
        return access.keys.anonymous
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not token:
        raise QueryError(
            "an API key is needed", code="UNAUTHENTICATED", hint="send the header Authorization: Bearer KEY (client: api_key=)"
        )
    token = token.strip()
    if access.tokens is not None and scheme.lower() == "bearer" and token.count(".") == 2:
        return access.tokens.principal(token)
    found = access.keys.find(token) if scheme.lower() == "bearer" else None
    if found is None:
        raise QueryError("the API key is not known, or has expired", code="UNAUTHENTICATED")
    return Principal(found.user, found.role, found.tables)


def needs_admin(request: Request) -> None:
    """To be depended on by what only admins may do.

    Raises:
        QueryError: PERMISSION_DENIED.
    """
    _needs(request.state.principal, "admin", ("admin",))


def needs_writer(request: Request) -> None:
    """To be depended on by what only writers and admins may do.

    Raises:
        QueryError: PERMISSION_DENIED.
    """
    _needs(request.state.principal, "writer", ("writer", "admin"))


def _needs(principal: Principal, wanted: Role, roles: tuple[Role, ...]) -> None:
    if principal.role not in roles:
        raise QueryError(
            f"{principal.user} has the role {principal.role}, and this takes {'an' if wanted == 'admin' else 'a'} {wanted}",
            code="PERMISSION_DENIED",
            hint=f"use a key that `sabot-sql key create --role {wanted}` made",
        )


def _host_of_origin(origin: str) -> str:
    """The host of an Origin header; that of a page that does not say (`null`) is nowhere."""
    scheme, separator, host = origin.partition("://")
    return _host_name(host) if separator and scheme in ("http", "https") else ""


def _host_name(host: str) -> str:
    found = HOST.fullmatch(host)
    return (found[1] or found[2]) if found else ""
