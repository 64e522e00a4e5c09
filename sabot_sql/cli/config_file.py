"""Where settings are written down, and whether there are any."""

from __future__ import annotations

import os
from pathlib import Path

from sabot_sql.errors import ConfigError

PREFIX = "SABOT_"
NOT_SETTINGS = frozenset(("SABOT_CONFIG", "SABOT_KERNEL_CACHE"))  # read elsewhere
PLACES = ("sabot.toml", "~/.config/sabot-sql/config.toml", "/etc/sabot-sql/config.toml")


def config_file() -> Path | None:
    """The configuration file: `$SABOT_CONFIG`, else the first of the usual places that exists."""
    if named := os.environ.get("SABOT_CONFIG"):
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"the configuration file {path} that SABOT_CONFIG names does not exist")
        return path
    return next((path for path in (Path(p).expanduser() for p in PLACES) if path.is_file()), None)


def is_configured() -> bool:
    """Whether any setting is given by environment or file, right or wrong. Where none is, the defaults hold, and pydantic,
    which takes a quarter of a second to import, is not needed."""
    return any(name.startswith(PREFIX) and name not in NOT_SETTINGS for name in os.environ) or config_file() is not None
