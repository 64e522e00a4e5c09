from __future__ import annotations

import duckdb
import pytest

from sabot_sql.client.sql_types import schema_of
from sabot_sql.types import parse_type

PLAIN = (
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE VARCHAR BLOB DATE TIME TIMESTAMP "
    "TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS INTERVAL DECIMAL(18,3) INTEGER[] INTEGER[3] DECIMAL(4,2)[][]"
).split()


@pytest.mark.parametrize(
    "sql_type", [*PLAIN, "TIMESTAMP WITH TIME ZONE", 'STRUCT(a INTEGER, "b c" VARCHAR[])', "MAP(VARCHAR, DATE)"]
)
def test_type_survives_duckdbs_arrow(sql_type: str) -> None:
    schema = duckdb.connect().sql(f"SELECT CAST(NULL AS {sql_type}) v").to_arrow_table().schema
    assert [(f.name, str(f.type)) for f in schema_of(schema)] == [("v", sql_type)]


@pytest.mark.parametrize(
    "value", ["{'name': 1, 'b c': [{'x': 1, 'é': 2}]}", "row()", "struct_pack()", "union_value(key := 1)", "row(1, {'A': 2})"]
)
def test_types_are_shown_as_duckdb_shows_them(value: str) -> None:
    shown = duckdb.connect().execute(f"SELECT typeof({value})").fetchone()
    assert shown is not None
    assert str(parse_type(shown[0])) == shown[0]
