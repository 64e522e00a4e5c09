"""DuckDB files: attached read-only for as long as it takes to list their tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sabot_sql.catalog.database_views import FILE, CannotRead, Views
from sabot_sql.catalog.sources import DuckDBError, Inspector, literal, sql_type
from sabot_sql.catalog.stamps import Stamp
from sabot_sql.catalog.table import DataFile, ScanSpec, TableStatistics
from sabot_sql.errors import ReadError
from sabot_sql.types import Field, quote_identifier

MAGIC = b"DUCK"


@dataclass(frozen=True, slots=True)
class DatabaseTable:
    """One table or view of a DuckDB file. `name` is that of the table in schema main, `schema.table` elsewhere."""

    name: str
    scan: ScanSpec
    statistics: TableStatistics


def is_database(path: str) -> bool:
    """Whether `path` is a DuckDB file."""
    with open(path, "rb") as file:
        return file.read(12)[8:] == MAGIC


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a DuckDB file that statements cannot use, and why."""

    kind: str
    name: str
    why: str


def read_database(inspector: Inspector, path: str, stamp: Stamp) -> tuple[list[DatabaseTable], list[Skipped]]:
    """The tables and views of the DuckDB file at `path`, and what else it has.

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
                tables = list_tables(inspector, path, stamp)
                views, skipped = list_views(inspector, path, stamp, alias)
                return [*tables, *views], [*skipped, *list_others(inspector, path)]
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


def list_tables(inspector: Inspector, path: str, stamp: Stamp) -> list[DatabaseTable]:
    """The tables of the attached file."""
    where = f"database_name = {literal(path)} AND NOT internal"
    columns: dict[tuple[str, str], list[Field]] = {}
    for schema, table, column, text in inspector.rows(
        f"SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() WHERE {where} "
        "ORDER BY schema_name, table_name, column_index"
    ):
        columns.setdefault((schema, table), []).append(Field(column, sql_type(text)))
    sizes = inspector.rows(
        f"SELECT schema_name, table_name, estimated_size, sql FROM duckdb_tables() WHERE {where} "
        "ORDER BY schema_name, table_name"
    )
    cells = sum(rows * len(columns[schema, table]) for schema, table, rows, _ in sizes) or 1
    file = DataFile(path, stamp[1], stamp[2])
    found = []
    for schema, table, rows, text in sizes:
        fields = tuple(columns[schema, table])
        options = {"schema": schema, "table": table}
        # no catalog function says which columns have a collation; the word may also stand in a name or a default
        if re.search(r"\bCOLLATE\b", text, re.IGNORECASE):
            options["collated"] = "true"
        scan = ScanSpec("duckdb", fields, (file,), options)
        # the file does not say what a table takes of it: its share of all values is near enough to cut splits by
        size_bytes = stamp[1] * rows * len(fields) // cells
        found.append(DatabaseTable(qualified(schema, table), scan, TableStatistics(rows, size_bytes, "statistics")))
    return found


def list_views(inspector: Inspector, path: str, stamp: Stamp, alias: str) -> tuple[list[DatabaseTable], list[Skipped]]:
    """The views of the attached file that can be read, and those that cannot."""
    where = f"database_name = {literal(path)} AND NOT internal"
    texts = {
        (schema, name): text
        for schema, name, text in inspector.rows(
            f"SELECT schema_name, view_name, sql FROM duckdb_views() WHERE {where} ORDER BY schema_name, view_name"
        )
    }
    if not texts:
        return [], []
    tables = inspector.rows(f"SELECT schema_name, table_name FROM duckdb_tables() WHERE {where}")
    views = Views(inspector, tables, texts)
    file = DataFile(path, stamp[1], stamp[2])
    found, skipped = [], []
    for schema, name in texts:
        names = inspector.rows(
            f"SELECT column_name FROM duckdb_columns() WHERE {where} AND schema_name = {literal(schema)} "
            f"AND table_name = {literal(name)} ORDER BY column_index"
        )
        try:
            columns = ", ".join(quote_identifier(column) for (column,) in names)
            query = f"({views.written_out(schema, name)}) AS {quote_identifier(name)}({columns})"
            fields = inspector.describe(query.replace(FILE, alias))
        except CannotRead as error:
            skipped.append(Skipped("view", qualified(schema, name), str(error)))
            continue
        except DuckDBError as error:
            first = str(error).splitlines()[0]
            skipped.append(Skipped("view", qualified(schema, name), first.partition(" Error: ")[2] or first))
            continue
        scan = ScanSpec("view", fields, (file,), {"schema": schema, "table": name, "query": query})
        # it may read all of the file
        found.append(DatabaseTable(qualified(schema, name), scan, TableStatistics(None, stamp[1], "unknown")))
    return found, skipped


def list_others(inspector: Inspector, path: str) -> list[Skipped]:
    """The macros and types of the attached file: statements cannot name them."""
    where = f"database_name = {literal(path)} AND NOT internal"
    macros = inspector.rows(
        f"SELECT DISTINCT schema_name, function_name FROM duckdb_functions() WHERE {where} AND function_type LIKE '%macro' "
        "ORDER BY ALL"
    )
    types = inspector.rows(f"SELECT schema_name, type_name FROM duckdb_types() WHERE {where} ORDER BY ALL")
    return [
        *(Skipped("macro", qualified(*name), "macros of a DuckDB file are not known to statements") for name in macros),
        *(Skipped("type", qualified(*name), "its columns are read, but statements cannot name it") for name in types),
    ]


def qualified(schema: str, name: str) -> str:
    """The catalog's name of a table or view of a DuckDB file."""
    return name if schema == "main" else f"{schema}.{name}"
