"""One statement on DuckDB and on DataFusion: the same, other types, other values, or an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from sabot_sql.client.difference import difference
from sabot_sql.executor.local_datafusion import is_datafusions, transpiled
from tests.executor.datafusion_queries import Query

Kind = Literal["same", "types", "values", "error"]
MAX_SHOWN = 40


@dataclass(frozen=True)
class Outcome:
    """How DataFusion's answer to a statement stands to DuckDB's.

    Attributes:
        kind: `same`; `types`, the values are the same once they have DuckDB's types; `values`, they are not, or DuckDB
            has an error for an answer; `error`, DataFusion does not run it.
        detail: what differs.
    """

    kind: Kind
    detail: str = ""


def duckdb_answer(con: duckdb.DuckDBPyConnection, sql: str) -> pa.Table | duckdb.Error:
    try:
        return con.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        return error


def datafusion_answer(context: Any, sql: str) -> pa.Table | str:
    """DataFusion's answer to a statement in DuckDB's dialect, or its error."""
    try:
        tree = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.ParseError as error:
        return str(error)
    try:
        assert isinstance(tree, exp.Expression)
        return context.sql(transpiled(tree)).to_arrow_table()
    except BaseException as error:  # a panic of Rust is no Exception
        if not is_datafusions(error):
            raise
        return str(error)


def compare(query: Query, want: pa.Table | duckdb.Error, got: pa.Table | str) -> Outcome:
    """How the answers stand to each other."""
    if isinstance(want, duckdb.Error):
        return Outcome("same") if isinstance(got, str) else Outcome("values", "an answer instead of an error")
    if isinstance(got, str):
        return Outcome("error")
    if got.num_columns != want.num_columns:
        return Outcome("values", f"{got.num_columns} columns instead of {want.num_columns}")
    got = got.rename_columns(want.column_names)
    found = answer_difference(query, want, unified(got))
    if not found:
        return Outcome("same")
    other = [
        f"{w.name}: {_short(g)} instead of {_short(w.type)}"
        for w, g in zip(want.schema, unified(got).schema.types)
        if w.type != g
    ]
    try:
        cast = pa.table([column.cast(f.type) for column, f in zip(got.columns, want.schema)], schema=want.schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return Outcome("values", "; ".join(other))
    if other and not answer_difference(query, want, cast):
        return Outcome("types", "; ".join(other))
    return Outcome("values", "; ".join(other) or found)


def answer_difference(query: Query, want: pa.Table, got: pa.Table) -> str:
    """What differs; the rows of a scan must come in the same order."""
    if want.schema.names != got.schema.names or want.num_rows != got.num_rows or not query.scan or query.ordered_by:
        return difference(plain(want), plain(got), query.ordered_by)
    return difference(plain(want), plain(got), tuple(range(want.num_columns)))


def plain(table: pa.Table) -> pa.Table:
    """`table` with moments as numbers: Python has no year before 1 or after 9999."""
    columns = []
    for column, kind in zip(table.columns, table.schema.types):
        if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
            column = column.cast(pa.int64())
        elif pa.types.is_date32(kind):
            column = column.cast(pa.int32())
        columns.append(column)
    names = [f"{n} {t}" for n, t in zip(table.schema.names, table.schema.types)]
    return pa.Table.from_arrays(columns, names=names)


def unified(table: pa.Table) -> pa.Table:
    """`table` with one form of text and blobs: which one Arrow uses is no difference."""
    forms = {pa.string_view(): pa.string(), pa.large_string(): pa.string(), pa.binary_view(): pa.binary()}
    return table.cast(pa.schema([f.with_type(forms.get(f.type, f.type)) for f in table.schema]))


def _short(kind: pa.DataType) -> str:
    return str(kind).replace("decimal128", "decimal")[:MAX_SHOWN]
