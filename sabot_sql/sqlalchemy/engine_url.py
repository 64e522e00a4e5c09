"""What the parts of `sabot://...` mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError

DEFAULT_PORT = 8600
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def _flag(text: str) -> bool:
    return FLAGS[text.lower()]


def _threshold(text: str) -> int | str:
    return text if text == "auto" else int(text)


OPTIONS: dict[str, Callable[[str], Any]] = {
    "route": str, "threshold": _threshold, "engine": str, "timeout_s": float, "timezone": str, "tls": _flag, "ca_file": str,
    "allow_insecure": _flag, "state_dir": str, "num_local_agents": int, "threads": int, "max_result_bytes": int,
    "writable": _flag,
}  # fmt: skip


def connect_arguments(url: URL) -> tuple[str, dict[str, Any]]:
    """Target and options of `dbapi.connect`.

    Raises:
        ArgumentError: an option that does not exist or is of another type.

    Example:
        >>> from sqlalchemy.engine import make_url
        >>> connect_arguments(make_url("sabot://:secret@example.com/?tls=true&route=local"))
        ('https://example.com:8600', {'route': 'local', 'api_key': 'secret'})
        >>> connect_arguments(make_url("sabot:///my_folder?num_local_agents=0"))
        ('embedded:', {'num_local_agents': 0, 'data': 'my_folder'})
    """
    options = {name: _option(name, value) for name, value in url.query.items()}
    tls = options.pop("tls", False)
    if url.host is None:
        if url.database:
            options["data"] = url.database
        return "embedded:", options
    if url.database:
        raise ArgumentError(f"{url.host} has its own data: leave /{url.database} out of the URL")
    if key := url.password or url.username:
        options["api_key"] = key
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{'https' if tls else 'http'}://{host}:{url.port or DEFAULT_PORT}", options


def _option(name: str, value: str | tuple[str, ...]) -> Any:
    if name not in OPTIONS or not isinstance(value, str):
        raise ArgumentError(f"the URL has the option {name}, once; known are {', '.join(OPTIONS)}")
    try:
        return OPTIONS[name](value)
    except (ValueError, KeyError) as exc:
        raise ArgumentError(f"the URL's option {name} cannot be {value!r}") from exc
