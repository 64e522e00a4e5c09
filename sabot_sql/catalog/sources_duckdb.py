"""DuckDB files: attached read-only for as long as it takes to list their tables."""

from __future__ import annotations

from dataclasses import dataclass

from sabot_sql.catalog.sources import DuckDBError, Inspector, literal, sql_type
from sabot_sql.catalog.stamps import Stamp
from sabot_sql.catalog.table import DataFile, ScanSpec, TableStatistics
from sabot_sql.errors import ReadError
from sabot_sql.types import Field

MAGIC = b"DUCK"


@dataclass(frozen=True, slots=True)
class DatabaseTable:
    """One table of a DuckDB file. `name` is that of the table in schema main, `schema.table` elsewhere."""

    name: str
    scan: ScanSpec
    statistics: TableStatistics


def is_database(path: str) -> bool:
    """Whether `path` is a DuckDB file."""
    with open(path, "rb") as file:
        return file.read(12)[8:] == MAGIC


def read_database(inspector: Inspector, path: str, stamp: Stamp) -> tuple[list[DatabaseTable], list[str]]:
    """The tables of the DuckDB file at `path`, and the names of its views, which are not read.

    Raises:
        ReadError: the file is no DuckDB file, or another process or connection has it open for writing.
    """
    try:
        if not is_database(path):
            raise ReadError(f"{path} is not a DuckDB file", code="FILE_CORRUPT", hint="name a file that DuckDB wrote")
        with inspector.cursor() as cursor:
            alias = f'"{path.replace(chr(34), chr(34) * 2)}"'
            cursor.execute(f"ATTACH {literal(path)} AS {alias} (TYPE duckdb, READ_ONLY)").fetchall()
            try:
                return list_tables(inspector, path, stamp)
            finally:
                cursor.execute(f"DETACH {alias}").fetchall()
    except OSError as error:
        raise ReadError(f"{path} cannot be opened: {error.strerror}", code="EXTERNAL_SOURCE") from error
    except DuckDBError as error:
        raise ReadError(
            f"{path} cannot be opened: {str(error).splitlines()[0]}",
            code="EXTERNAL_SOURCE",
            hint="close what has it open for writing; a DuckDB file is shared by readers only",
            engine_message=str(error),
        ) from error


def list_tables(inspector: Inspector, path: str, stamp: Stamp) -> tuple[list[DatabaseTable], list[str]]:
    """The tables and views of the attached file."""
    where = f"database_name = {literal(path)} AND NOT internal"
    columns: dict[tuple[str, str], list[Field]] = {}
    for schema, table, column, text in inspector.rows(
        f"SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE {where} "
        "ORDER BY schema_name, table_name, column_index"
    ):
        columns.setdefault((schema, table), []).append(Field(column, sql_type(text)))
    sizes = inspector.rows(
        f"SELECT schema_name, table_name, estimated_size FROM duckdb_tables() WHERE {where} ORDER BY schema_name, table_name"
    )
    views = inspector.rows(f"SELECT schema_name, view_name FROM duckdb_views() WHERE {where} ORDER BY ALL")
    cells = sum(rows * len(columns[schema, table]) for schema, table, rows in sizes) or 1
    file = DataFile(path, stamp[1], stamp[2])
    found = []
    for schema, table, rows in sizes:
        fields = tuple(columns[schema, table])
        scan = ScanSpec("duckdb", fields, (file,), {"schema": schema, "table": table})
        # the file does not say what a table takes of it: its share of all values is near enough to cut splits by
        size_bytes = stamp[1] * rows * len(fields) // cells
        found.append(DatabaseTable(qualified(schema, table), scan, TableStatistics(rows, size_bytes, "statistics")))
    return found, [f"{path}: view {qualified(schema, view)}" for schema, view in views]


def qualified(schema: str, name: str) -> str:
    """The catalog's name of a table or view of a DuckDB file."""
    return name if schema == "main" else f"{schema}.{name}"
