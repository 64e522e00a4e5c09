from __future__ import annotations

import duckdb
import pytest

from sabot_sql.client.sql_types import schema_of

PLAIN = (
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE VARCHAR BLOB DATE TIME TIMESTAMP "
    "TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS INTERVAL DECIMAL(18,3) INTEGER[] INTEGER[3] DECIMAL(4,2)[][]"
).split()


@pytest.mark.parametrize(
    "sql_type", [*PLAIN, "TIMESTAMP WITH TIME ZONE", 'STRUCT("a" INTEGER, "b c" VARCHAR[])', "MAP(VARCHAR, DATE)"]
)
def test_type_survives_duckdbs_arrow(sql_type: str) -> None:
    schema = duckdb.connect().sql(f"SELECT CAST(NULL AS {sql_type}) v").to_arrow_table().schema
    assert [(f.name, str(f.type)) for f in schema_of(schema)] == [("v", sql_type)]
