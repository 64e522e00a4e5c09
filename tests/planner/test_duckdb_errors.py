"""What DuckDB's errors become."""

from __future__ import annotations

import duckdb
import pytest

from sabot_sql.errors import ReadError
from sabot_sql.planner.duckdb_errors import translate


@pytest.mark.parametrize(
    ("message", "code", "retryable"),
    [
        ('IO Error: Could not read from file "/data/t/1.parquet": Input/output error', "EXTERNAL_SOURCE", True),
        ('IO Error: Cannot open file "/data/t/1.parquet": Stale file handle', "EXTERNAL_SOURCE", True),
        ('IO Error: Cannot open file "/data/t/1.parquet": Connection timed out', "EXTERNAL_SOURCE", True),
        ('IO Error: Cannot open file "/data/t/1.parquet": No such file or directory', "FILE_MISSING", False),
        ('IO Error: Could not read enough bytes from file "/data/t/1.parquet"', "FILE_CORRUPT", False),
    ],
)
def test_errors_of_reading_say_whether_they_may_pass(message: str, code: str, retryable: bool) -> None:
    error = translate(duckdb.IOException(message))
    assert isinstance(error, ReadError)
    assert (error.problem.code, error.retryable, "/data/t/1.parquet" in error.detail) == (code, retryable, True)
