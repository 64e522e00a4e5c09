"""Which columns' bounds in Parquet footers are values of theirs.

Parquet lets a writer store any value that is not greater than the smallest one, shortened text above all, and say so for each
chunk in `is_min_value_exact`. pyarrow, which reads the footers for the catalog, does not hand that out; DuckDB does.
"""

from __future__ import annotations

import duckdb

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.sources import literal
from sabot_sql.catalog.table import Table

MOST_CHUNKS = 100_000
"""Column chunks of a table that are looked at (about 25 us each)."""


def attained_bounds(table: Table, connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The columns of which every chunk says that its bounds are exact, or that it holds nothing but NULLs."""
    scan = table.scan
    count = sum(len(file.row_groups) for file in scan.files) * len(scan.schema)
    if scan.kind != "parquet" or count > MOST_CHUNKS:
        return set()
    paths = [file.path for file in scan.files if file.rows]
    if not paths:
        return set()
    exact = "coalesce(min_is_exact AND max_is_exact, false) OR coalesce(stats_null_count = num_values, false)"
    chunks_of = f"parquet_metadata({literal(paths)}) WHERE row_group_num_rows > 0"
    told = connection.execute(f"SELECT path_in_schema, bool_and({exact}) FROM {chunks_of} GROUP BY 1").fetchall()
    found = {fold(path) for path, proven in told if proven}
    return {field.name for field in scan.schema if fold(field.name) in found and field.name not in scan.hive}
