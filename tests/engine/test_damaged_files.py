"""Files that break off late, long after the lines that their types were found in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import sabot_sql
from sabot_sql.client.connection import Connection

LINES = 50_000
FILES: dict[str, bytes] = {
    "late_type.csv": b"a,b\n" + b"1,2\n" * LINES + b"oops,7\n",
    "late_column.csv": b"a,b\n" + b"1,2\n" * LINES + b"1\n",
    "late_latin.csv": b"a,b\n" + b"1,x\n" * LINES + b"1,caf\xe9\n",
    "late_value.ndjson": b'{"a":1}\n' * LINES + b'{"a":"oops"}\n',
    "late_end.ndjson": b'{"a":1}\n' * LINES + b'{"a":\n',
}
REASONS = {
    "late_type.csv": 'line 50002: Error when converting column "a". Could not convert string "oops" to \'BIGINT\'',
    "late_column.csv": "line 50002: Expected Number of Columns: 2 Found: 1",
    "late_latin.csv": "line 50002: Invalid unicode (byte sequence mismatch) detected. This file is not utf-8 encoded.",
    "late_value.ndjson": 'in line 50001: Failed to cast value to numerical: "oops"',
    "late_end.ndjson": "in line 50002: unexpected end of data.",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def db(folder: Path) -> Iterator[Connection]:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as connection:
        yield connection


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize("name", FILES)
def test_line_that_cannot_be_read_is_named_with_its_file_and_the_reason(
    db: Connection, folder: Path, name: str, route: str
) -> None:
    with pytest.raises(sabot_sql.ReadError) as caught:
        db.execute_sql(f"select * from {name.partition('.')[0]}", route=route)  # type: ignore[arg-type]
    error = caught.value
    assert (error.problem.code, error.hint) == ("FILE_CORRUPT", "replace the file or move it out of the data folder")
    assert str(folder / name) in error.detail
    assert error.detail.endswith(REASONS[name])


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize("limit", ["", " limit 1"])
def test_value_that_the_query_casts_is_no_damage(db: Connection, route: str, limit: str) -> None:
    with pytest.raises(sabot_sql.QueryError) as caught:
        db.execute_sql(f"select b::int from late_latin{limit}", route=route)  # type: ignore[arg-type]
    assert caught.value.problem.code == "INVALID_VALUE"
