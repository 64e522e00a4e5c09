"""How DuckDB reads a table: the SQL of a scan with everything fixed, and the instance that looks at files once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa

from sabot_sql.catalog.hive import fold, partition_of
from sabot_sql.catalog.table import ScanSpec
from sabot_sql.errors import InternalError
from sabot_sql.types import Field, Schema, SqlType, parse_type, quote_identifier

READERS = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_json"}

READ_AS_TYPED = "type_pushdown"
"""The optimizer to go without, so that a field of a CSV file is read as its column's type and then cast. With it, some queries
cast the text of the file: 1.50 of a DOUBLE column is '1.5' or '1.50' as VARCHAR, and a value the query cannot cast is told as
damage of the file."""

DuckDBError = duckdb.Error


class Inspector:
    """A DuckDB instance that looks at files for the catalog and never runs a statement of a user. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own; the caller closes it."""
        with self._lock:
            if self._connection is None:
                # files are looked at once: a cache would only keep memory, and old contents
                self._connection = duckdb.connect(
                    ":memory:",
                    config={
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                        "enable_external_file_cache": "false",
                        "memory_limit": "1GB",
                        "python_enable_replacements": "false",
                    },
                )
            return self._connection.cursor()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of `sql`."""
        with self.cursor() as cursor:
            found: list[tuple[Any, ...]] = cursor.execute(sql).fetchall()
            return found

    def describe(self, relation: str) -> Schema:
        """The columns of a table expression."""
        return tuple(Field(name, sql_type(text)) for name, text, *_ in self.rows(f"DESCRIBE SELECT * FROM {relation}"))

    def describe_arrow(self, schema: pa.Schema) -> Schema:
        """The columns DuckDB sees in Arrow data of `schema`."""
        with self.cursor() as cursor:
            cursor.register("described", schema.empty_table())
            return tuple(Field(name, sql_type(text)) for name, text, *_ in cursor.execute("DESCRIBE described").fetchall())

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def sql_type(text: str) -> SqlType:
    """The type DuckDB writes as `text`; one that has no structure we know is carried by its text alone."""
    if text == '"NULL"':
        return SqlType("NULL")
    try:
        return parse_type(text)
    except ValueError:
        return SqlType(text)


def literal(value: Any) -> str:
    """`value` (str, bool, int, list, dict of such) as a SQL literal.

    Example:
        >>> literal({"a'b": ["x", 1, True]})
        "{'a''b': ['x', 1, true]}"
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return "'" + value.replace("'", "''") + "'"
        case dict():
            return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(literal, value)) + "]"
    raise InternalError(f"no SQL literal for {type(value).__name__}")


def call(kind: str, paths: Sequence[str], options: dict[str, Any]) -> str:
    """The call of DuckDB's reader of `kind`."""
    arguments = [literal(paths), *(f"{name}={literal(value)}" for name, value in options.items())]
    return f"{READERS[kind]}({', '.join(arguments)})"


def scan_sql(spec: ScanSpec, files: Sequence[int] | None = None) -> str:
    """A table expression that gives the columns of `spec`, with nothing left to be guessed.

    Where the files of a table differ, `spec.options` holds `variants` (the options of each sort of file; `columns` are the
    file's own) and `variant_of` (which sort each file is); files of one sort are read by one call. With `typed` the columns
    of a Parquet table have other types than those of its files, and are cast.

    Args:
        files: positions in `spec.files`, in the order wanted; None for all of them. With `files` given, a Parquet table
            whose files differ also shows `file_row_number`.

    Raises:
        InternalError: for kinds that DuckDB does not read from files (`ipc`, `duckdb`).
    """
    if spec.kind not in READERS:
        raise InternalError(f"a table of kind {spec.kind} has no scan expression")
    chosen = range(len(spec.files)) if files is None else files
    hive = hive_options(spec)
    if not chosen:
        return f"(SELECT {', '.join(selected(spec, {}))} WHERE false)"
    if "variant_of" not in spec.options:
        return call(spec.kind, [spec.files[i].path for i in chosen], {**spec.options, **hive})
    if spec.kind == "parquet" and files is None and not spec.options.get("typed"):
        return call("parquet", [file.path for file in spec.files], {"union_by_name": True, **hive})
    variant_of, variants = spec.options["variant_of"], spec.options["variants"]
    parts = []
    for variant, run in groupby(chosen, key=lambda i: variant_of[i]):
        options = variants[variant]
        columns = selected(spec, {fold(name): name for name in options["columns"]})
        if spec.kind == "parquet":
            columns += [] if files is None else ["file_row_number"]
            options = {}
        source = call(spec.kind, [spec.files[i].path for i in run], {**options, **hive})
        parts.append(f"SELECT {', '.join(columns)} FROM {source}")
    return f"({' UNION ALL '.join(parts)})"


def hive_options(spec: ScanSpec) -> dict[str, Any]:
    """The options that say which columns come from the path."""
    if not spec.hive:
        return {"hive_partitioning": False}
    types = {fold(field.name): str(field.type) for field in spec.schema if field.name in spec.hive}
    keys = [key for key, _ in partition_of(spec.files[0].path)]  # the columns' names may differ from these in case
    return {"hive_partitioning": True, "hive_types": {key: types[fold(key)] for key in keys if fold(key) in types}}


def selected(spec: ScanSpec, names: dict[str, str]) -> list[str]:
    """The columns of `spec` over a file that has those in `names` (by folded name); the others are NULL there."""
    found = []
    for field in spec.schema:
        own = field.name if field.name in spec.hive else names.get(fold(field.name))
        value = "NULL" if own is None else quote_identifier(own)
        found.append(f"CAST({value} AS {type_text(field.type)}) AS {quote_identifier(field.name)}")
    return found


def type_text(found: SqlType) -> str:
    """The type as it is written in a CAST."""
    return '"NULL"' if found.id == "NULL" else str(found)
