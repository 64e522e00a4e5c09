"""Who may talk to the server: API keys as bearer tokens, and on loopback without keys only this machine's own pages."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers

from sabot_sql.client.channel import is_loopback
from sabot_sql.errors import ConfigError, QueryError

ANONYMOUS = "anonymous"
MIN_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys that open the server, as (user, SHA-256 of the key); none means that everybody on this machine may read."""

    digests: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def user_of(self, key: str) -> str | None:
        """Whose `key` is; every digest is compared, in constant time."""
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for user, known in self.digests:
            if hmac.compare_digest(digest, known):
                found = user
        return found

    def __bool__(self) -> bool:
        return bool(self.digests)


def load_keys(api_key: str | None = None, keys_file: str | Path | None = None) -> ApiKeys:
    """The keys of the configuration: one as it is (user `api`), and those of a file with `user:key` or `key` a line.

    Raises:
        ConfigError: the file cannot be read, or a key is too short to be a secret.
    """
    pairs = [("api", api_key)] if api_key else []
    if keys_file:
        try:
            lines = Path(keys_file).expanduser().read_text().splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"the file of API keys {keys_file} cannot be read: {exc}") from exc
        for number, line in enumerate(map(str.strip, lines), 1):
            if line and not line.startswith("#"):
                user, _, key = line.rpartition(":")
                pairs.append((user.strip() or f"key{number}", key.strip()))
        if not pairs:
            raise ConfigError(f"the file of API keys {keys_file} holds none", hint="write one `user:key` a line")
    for user, key in pairs:
        if len(key) < MIN_KEY_CHARS:
            raise ConfigError(f"the API key of {user} has {len(key)} characters; give at least {MIN_KEY_CHARS}")
    return ApiKeys(tuple((user, hashlib.sha256(key.encode()).digest()) for user, key in pairs))


def authenticate(keys: ApiKeys, headers: Headers) -> str:
    """The user behind a request.

    Raises:
        QueryError: UNAUTHENTICATED without a valid key; PERMISSION_DENIED for a request that was sent to another host's name,
            which is how a web page reaches a server on its reader's machine (DNS rebinding).
    """
    if not keys:
        host = headers.get("host", "")
        if host and not is_loopback(_host_name(host)):
            raise QueryError(
                f"this server answers to this machine only, not to {host}",
                code="PERMISSION_DENIED",
                hint="address it as localhost",
            )
        return ANONYMOUS
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if not token:
        raise QueryError(
            "an API key is needed", code="UNAUTHENTICATED", hint="send the header Authorization: Bearer KEY (client: api_key=)"
        )
    user = keys.user_of(token.strip()) if scheme.lower() == "bearer" else None
    if user is None:
        raise QueryError("the API key is not known", code="UNAUTHENTICATED")
    return user


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
