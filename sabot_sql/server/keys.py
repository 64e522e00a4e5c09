"""API keys: how they are made, kept in a file as hashes, and looked up.

A key is `sbk_<id>_<secret>`; the secret has 256 random bits, so that a fast hash keeps it safe (nothing can be guessed from a
stolen file). A line of the file is the JSON object of a key that `sabot-sql key create` made, or `user:key` in plain text, or
`user:role:key`; blank lines and those that begin with `#` mean nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from sabot_sql.errors import ConfigError

Role = Literal["reader", "writer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
MIN_KEY_CHARS = 16
PREFIX = "sbk"
OPERATOR, ANONYMOUS = "api", "anonymous"
RESERVED = (OPERATOR, ANONYMOUS)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Attributes:
        sha256: of the key, as hexadecimal digits.
        tables: patterns of the tables that it may read, and a writer's may write; None for all. Not of an admin.
        created, expires: UTC, ISO 8601; a key without `expires` is good until it is revoked.
    """

    user: str
    role: Role
    sha256: str = field(repr=False)
    id: str = ""
    created: str = ""
    expires: str | None = None
    tables: tuple[str, ...] | None = None

    def has_expired(self, now: dt.datetime) -> bool:
        """Whether it is not good any more."""
        return self.expires is not None and now >= dt.datetime.fromisoformat(self.expires)


def digest_of(key: str) -> str:
    """The SHA-256 of a key as it is kept."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def find_key(keys: Sequence[ApiKey], given: str) -> ApiKey | None:
    """The one that was given; all are compared, each in constant time."""
    digest = digest_of(given)
    found = None
    for key in keys:
        if hmac.compare_digest(digest, key.sha256):
            found = key
    return found


def new_key(
    user: str, role: Role, expires: dt.datetime | None = None, tables: tuple[str, ...] | None = None
) -> tuple[str, ApiKey]:
    """A key, which nothing keeps, and what is kept of it."""
    key_id = secrets.token_hex(4)
    key = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    ends = expires.astimezone(dt.UTC).isoformat(timespec="seconds") if expires else None
    return key, ApiKey(user, role, digest_of(key), key_id, created, ends, tables)


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file, in its order.

    Raises:
        ConfigError: it cannot be read, or a line is none of those that may be there; says which.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the file of API keys {path} cannot be read: {exc}") from exc
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            try:
                found.append(_from_json(line) if line.startswith("{") else plain_key(line, f"key{number}"))
            except (ValueError, TypeError, KeyError, RecursionError) as exc:
                raise ConfigError(
                    f"line {number} of the file of API keys {path} is not a key: {exc}",
                    hint="write `user:key` or `user:role:key`, or let `sabot-sql key create` write it",
                ) from exc
    return tuple(found)


def operator_key(key: str) -> ApiKey:
    """The key of whoever runs the server: an admin's.

    Raises:
        ConfigError: it is too short to be a secret.
    """
    try:
        return ApiKey(OPERATOR, "admin", digest_of(_long_enough(key)))
    except ValueError as exc:
        raise ConfigError(f"the API key of the server (SABOT_API_KEY) cannot be used: {exc}") from exc


def plain_key(line: str, user: str) -> ApiKey:
    """The key of a line `key`, `user:key` or `user:role:key`; a reader's, where it does not say.

    Args:
        user: of a line that does not say.

    Raises:
        ValueError: it is none of these, or the key is too short to be a secret.

    Example:
        >>> key = plain_key("ada:admin:0123456789abcdef", "key1")
        >>> key.user, key.role
        ('ada', 'admin')
    """
    *named, key = (part.strip() for part in line.split(":"))
    if len(named) > 2:
        raise ValueError("it has more than three parts")
    role = next((r for r in ROLES if r == named[1]), None) if len(named) == 2 else "reader"
    if role is None:
        raise ValueError(f"its role is none of {', '.join(ROLES)}")  # it may be a piece of a key
    return ApiKey(checked_user(named[0] if named else user), role, digest_of(_long_enough(key)))


def checked_user(name: str) -> str:
    """The name of a user.

    Raises:
        ValueError: it cannot be one.
    """
    name = name.strip()
    if not name or ":" in name or not name.isprintable():
        raise ValueError("a user's name is not empty, and has neither colons nor characters that cannot be printed")
    if name in RESERVED:
        raise ValueError(f"the name {name} is the server's own")
    return name


def _long_enough(key: str) -> str:
    if len(key) < MIN_KEY_CHARS or not (key.isascii() and key.isprintable()):
        raise ValueError(f"a key has at least {MIN_KEY_CHARS} printable characters of ASCII, and this one does not")
    return key


def _from_json(line: str) -> ApiKey:
    data: dict[str, Any] = json.loads(line)
    tables = data.pop("tables", None)
    if tables is not None and not (isinstance(tables, list) and all(isinstance(pattern, str) for pattern in tables)):
        raise ValueError("its tables are no list of names")
    data["sha256"] = data["sha256"].lower()
    key = ApiKey(**data, tables=None if tables is None else tuple(tables))
    if key.role == "admin" and tables is not None:
        raise ValueError("an admin reads all tables")
    if key.role not in ROLES:
        raise ValueError(f"there is no role {key.role!r}")
    if not isinstance(key.user, str) or len(bytes.fromhex(key.sha256)) != 32:
        raise ValueError("it has no user, or no SHA-256")
    checked_user(key.user)
    key.has_expired(dt.datetime.now(dt.UTC))
    return key


def add_key(path: Path, key: ApiKey) -> None:
    """Add a key to a file, which is made for its owner alone where it is not there yet.

    Raises:
        ConfigError: the file cannot be read or written, or a server would refuse it for another line.
    """
    if path.exists():
        read_keys(path)
    with _rewriting(path) as lines:
        lines.append(json.dumps(asdict(key)))


def revoke_key(path: Path, key_id: str) -> ApiKey:
    """Take a key out of a file.

    Raises:
        ConfigError: it is not there, or the file cannot be read or written.
    """
    found = next((key for key in read_keys(path) if key.id and key.id == key_id), None)
    if found is None:
        raise ConfigError(f"there is no key {key_id} in {path}", hint="`sabot-sql key ls` shows the keys that have an id")
    with _rewriting(path) as lines:
        lines[:] = [line for line in lines if not (line.lstrip().startswith("{") and json.loads(line).get("id") == key_id)]
    return found


@contextlib.contextmanager
def _rewriting(path: Path) -> Iterator[list[str]]:
    """The lines of a file, which are written back as a whole in the end: who reads it meanwhile sees the old or the new. It
    stays whose it is, and where a link points."""
    path = path.resolve()
    try:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            lines = path.read_text("utf-8-sig").splitlines() if path.exists() else []
            before = path.stat() if path.exists() else None
            yield lines
            part = path.with_name(f".{path.name}.{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write("".join(f"{line}\n" for line in lines))
                    file.flush()
                    if before is not None:
                        os.fchmod(file.fileno(), before.st_mode & 0o777)
                        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                            os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fsync(file.fileno())
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the file of API keys {path} cannot be written: {exc}") from exc
