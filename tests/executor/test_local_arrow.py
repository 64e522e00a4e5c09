"""Arrow files on the local route: whatever happens to one, the process lives and the error names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.catalog import ipc_files
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings
from sabot_sql.errors import ReadError
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.planner.physical import Session

SQL = "SELECT count(*), max(s) FROM t WHERE n >= 0"


def write(path: Path, offsets: np.ndarray) -> None:
    """A file with a text column of these offsets."""
    texts = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(b"abcd" * len(offsets)))
    batch = pa.record_batch({"n": np.arange(len(texts)), "s": texts})
    with pa.ipc.new_file(path, batch.schema) as writer:
        writer.write_batch(batch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "t.arrow", np.arange(0, 4001, 4, dtype=np.int32))
    return tmp_path / "t.arrow"


@pytest.fixture(params=["held in memory", "as a dataset"])
def local(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalDuckDB, Catalog]]:
    if request.param == "as a dataset":
        monkeypatch.setattr(ipc_files, "HELD_BYTES", 0)
    with Catalog({"t": str(path)}) as catalog:
        engine = LocalDuckDB(LocalSettings(threads=2), catalog.locations)
        yield engine, catalog
        engine.close()


def test_rows_are_read_and_a_replaced_file_is_seen(local: tuple[LocalDuckDB, Catalog], path: Path) -> None:
    engine, catalog = local
    assert engine.execute(SQL, None, [catalog.table("t")], Session()).to_pylist() == [{"count_star()": 1000, "max(s)": "abcd"}]
    write(path, np.arange(0, 41, 4, dtype=np.int32))
    assert engine.execute(SQL, None, [catalog.table("t")], Session()).to_pylist() == [{"count_star()": 10, "max(s)": "abcd"}]


def test_file_cut_short_after_the_look_is_an_error(local: tuple[LocalDuckDB, Catalog], path: Path) -> None:
    engine, catalog = local
    table = catalog.table("t")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ReadError, match=f"file {path} has changed") as caught:
        engine.execute(SQL, None, [table], Session())
    assert caught.value.problem.code == "FILE_CHANGED"


def test_offsets_that_point_nowhere_are_an_error(local: tuple[LocalDuckDB, Catalog], path: Path) -> None:
    engine, catalog = local
    offsets = np.arange(0, 4001, 4, dtype=np.int32)
    offsets[500] = 2_000_000_000
    write(path, offsets)
    with pytest.raises(ReadError, match=f"file {path} cannot be read as an Arrow IPC file") as caught:
        engine.execute(SQL, None, [catalog.table("t")], Session())
    assert caught.value.problem.code == "FILE_CORRUPT"
