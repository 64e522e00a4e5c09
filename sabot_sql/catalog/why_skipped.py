"""Why something that lies in the data is not read."""

from __future__ import annotations

import os
import stat

from sabot_sql.catalog.listing import DATABASE_SUFFIXES, is_hidden, split_suffix
from sabot_sql.catalog.sources_duckdb import is_database


def why_skipped(path: str) -> str | None:
    """Why the file or folder at `path` is not read; None where its name says so."""
    name = os.path.basename(path)
    if is_hidden(name):
        return None
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
        if is_file and name.lower().endswith(DATABASE_SUFFIXES):
            good = is_database(path)
            return "it is no table: give it as data by itself, or register it" if good else "it is not a DuckDB file"
    except FileNotFoundError:
        return f"it is a broken link, {os.readlink(path)} is gone" if os.path.islink(path) else None
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    return "it is no file" if split_suffix(name)[1] is not None and not is_file else None
