"""The answer to a query, in whatever form the caller wants it."""

from __future__ import annotations

import collections
import functools
import html
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TextIO

import pyarrow as pa

from sabot_sql.client.carried_types import refuse_types
from sabot_sql.client.json_values import distinct_names, json_values
from sabot_sql.client.other_names import RESULT, no_attribute
from sabot_sql.client.sql_types import schema_of
from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import QueryError
from sabot_sql.planner.write_kinds import WRITING

HTML_ROWS = 50


class Result:
    """A finished query. It is an Arrow table, and any library that takes Arrow's C stream takes it as it is:
    `polars.DataFrame(result)`, `pyarrow.table(result)`.

    Example:
        >>> import sabot_sql
        >>> with sabot_sql.connect(data={}, num_local_agents=0) as db:
        ...     result = db.execute_sql("SELECT 1 AS one, 'x' AS letter")
        >>> result.columns, result.to_pylist(), result.route
        (['one', 'letter'], [{'one': 1, 'letter': 'x'}], 'local')
    """

    def __init__(self, answer: QueryResult, row_limit: int | None = None) -> None:
        self._answer = answer
        self.truncated = row_limit is not None and answer.table.num_rows > row_limit
        self._table: pa.Table = answer.table.slice(0, row_limit) if self.truncated else answer.table

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            no_attribute(self, name, RESULT)

    @property
    def query_id(self) -> str:
        """The id under which the server knows the query."""
        return self._answer.query_id

    @property
    def route(self) -> Literal["local", "distributed"]:
        """Where the query ran."""
        return self._answer.route

    @property
    def reason(self) -> str:
        """Why it ran there, in one sentence."""
        return self._answer.reason

    @property
    def stats(self) -> dict[str, Any]:
        """Times, rows, agents and retries, as the HTTP contract names them."""
        return self._answer.stats

    @property
    def warnings(self) -> list[str]:
        """What went well but not quite as asked."""
        return self._answer.warnings

    @property
    def statement_type(self) -> str:
        """SELECT, EXPLAIN, DESCRIBE, ..."""
        return self._answer.statement_type

    @property
    def is_write(self) -> bool:
        """Whether the statement wrote, and its one row, if there is any, is their number."""
        return self.statement_type in WRITING

    @property
    def rows_affected(self) -> int | None:
        """Rows that the statement wrote; None for one that writes none."""
        return self._answer.rows_affected

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return self._table.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._table.column_names)

    @property
    def sql_types(self) -> list[str]:
        """The SQL types of the columns."""
        columns = self._answer.columns
        return [str(field.type) for field in (columns if len(columns) == len(self.schema) else schema_of(self.schema))]

    def to_arrow(self) -> pa.Table:
        """The whole answer as a `pyarrow.Table`."""
        return self._table

    def to_pandas(self, **options: Any) -> Any:
        """The answer as a pandas DataFrame; `options` are those of `pyarrow.Table.to_pandas`.

        Raises:
            NotSupported: a column is of a type that pandas cannot hold (UNION).
        """
        refuse_types(self._table, self.sql_types, "pandas")
        return self._table.to_pandas(**options)

    def to_polars(self) -> Any:
        """The answer as a Polars DataFrame; a name given again gets a number, as in `to_pylist`.

        Raises:
            NotSupported: a column is of a type that Polars cannot hold (INTERVAL, UNION).
        """
        import polars

        refuse_types(self._table, self.sql_types, "Polars")
        return polars.from_arrow(self._distinct())

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as dictionaries; a name given again gets a number: `a`, `a_1`."""
        return self._distinct().to_pylist()  # type: ignore[no-any-return]

    def _distinct(self) -> pa.Table:
        """The table with each name once."""
        names = self._table.column_names
        return self._table if len(set(names)) == len(names) else self._table.rename_columns(distinct_names(names))

    def batches(self, max_rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """The answer as Arrow record batches of at most `max_rows` rows."""
        yield from self._table.to_batches(max_chunksize=max_rows)

    def one(self) -> tuple[Any, ...]:
        """The only row.

        Raises:
            QueryError: when there is none or more than one.
        """
        if len(self) != 1:
            raise QueryError(f"the query gave {len(self)} rows where one was expected", query_id=self.query_id)
        return next(iter(self))

    def scalar(self) -> Any:
        """The first column of the first row, or None when there are no rows."""
        if not self._table.num_columns or not self._table.num_rows:
            return None
        return self._table.column(0)[0].as_py()

    def show(self, rows: int = 20, file: TextIO | None = None) -> None:
        """Prints the first `rows` rows as a table and a line that says how many there are and how they came."""
        from sabot_sql.client.display import print_table, summary

        out = file or sys.stdout
        print_table(self._table, out, max_rows=rows, sql_types=self.sql_types)
        print(summary(self), file=out)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        row = _row_class(tuple(self._table.column_names))
        for batch in self._table.to_batches(max_chunksize=65536):
            yield from map(row, zip(*(column.to_pylist() for column in batch.columns)))

    def __len__(self) -> int:
        return self._table.num_rows  # type: ignore[no-any-return]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<Result {len(self)} rows x {len(self.columns)} columns, route {self.route}, query {self.query_id}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        top = self._table.slice(0, HTML_ROWS)
        cells = zip(*(json_values(column) for column in top.columns))
        body = "".join("<tr>" + "".join(f"<td>{_cell(v)}</td>" for v in row) + "</tr>" for row in cells)
        more = f"<p>{len(self):,} rows, {top.num_rows} shown</p>" if len(self) > top.num_rows else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    return "<i>NULL</i>" if value is None else html.escape(str(value))


@functools.lru_cache(maxsize=256)
def _row_class(names: tuple[str, ...]) -> Any:
    """Makes tuples whose fields have the columns' names, where those are Python names and not given twice."""
    row: Any = collections.namedtuple("Row", names, rename=True)  # type: ignore[misc]
    return row._make
