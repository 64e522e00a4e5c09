"""DB-API cursors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from sabot_sql.client.options import QueryOptions
from sabot_sql.dbapi.errors import InterfaceError, Warning, translated
from sabot_sql.dbapi.polars_reader import offer_arrow_to_polars
from sabot_sql.dbapi.python_values import python_rows
from sabot_sql.types import parse_type

if TYPE_CHECKING:
    import pyarrow as pa

    from sabot_sql.client.result import Result
    from sabot_sql.dbapi.connection import Connection

Row: TypeAlias = tuple[Any, ...]
Description: TypeAlias = tuple[str, str, None, None, int | None, int | None, None]


class Cursor:
    """Executes statements and hands out their rows. For one thread at a time, but `cancel`.

    Attributes:
        connection: where it comes from.
        arraysize: rows of a `fetchmany` that does not say; 1 by default, as PEP 249 has it.
        lastrowid: None.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.lastrowid: None = None
        self._closed = False
        self._result: Result | None = None
        self._rows: Iterator[Row] = iter(())
        self._at = 0
        self._cancel: threading.Event | None = None
        self._rowcount = -1

    def execute(self, operation: str, parameters: Any = None, **options: Any) -> Cursor:
        """Runs one statement and returns this cursor.

        Args:
            parameters: a sequence for `?` and `$1`, a mapping for `$name`.
            options: those of `execute_sql` (route, timeout_s, timezone, ...), before those of `connect`.

        Raises:
            Error: the class says what is wrong, `code` and `sqlstate` say it exactly.
        """
        self._open()
        self._clear()
        self._rowcount = -1
        self._cancel = threading.Event()
        if unknown := [name for name in options if name not in QueryOptions.__annotations__]:
            raise InterfaceError(f"execute has no argument {unknown[0]}")
        offer_arrow_to_polars()
        with translated(operation if isinstance(operation, str) else None):
            opened = self.connection.client
            request = opened.request(operation, parameters, **{**self.connection.options, **options})
            self._keep(opened.run(request, cancel=self._cancel))
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Any], **options: Any) -> Cursor:
        """Runs one statement with each of several parameters; the rows of the last stay to be fetched. `rowcount` is what all
        of them wrote."""
        self._open()
        self._clear()
        self._rowcount = -1
        written = 0
        for parameters in seq_of_parameters:
            self.execute(operation, parameters, **options)
            written += self._rowcount
        if self._result is not None and self._result.rows_affected is not None:
            self._rowcount = written
        return self

    def cancel(self) -> None:
        """Stops the statement that another thread executes with this cursor, which then raises OperationalError (CANCELLED)."""
        if self._cancel is not None:
            self._cancel.set()

    def _keep(self, result: Result) -> None:
        self._result = result
        count = result.rows_affected if result.is_write else len(result)
        self._rowcount = -1 if count is None else count
        self._rows = iter(()) if result.is_write else python_rows(result.to_arrow(), result.sql_types, result.columns)

    def _clear(self) -> None:
        self._result, self._rows, self._at = None, iter(()), 0

    def _open(self) -> None:
        if self._closed:
            raise InterfaceError("this cursor is closed")
        self.connection.check_open()

    @property
    def result(self) -> Result:
        """The answer as `execute_sql` returns it: route, reason, stats, schema.

        Raises:
            InterfaceError: nothing was executed.
        """
        return self._answered()

    def _answered(self) -> Result:
        self._open()
        if self._result is None:
            raise InterfaceError("there are no rows: execute a statement first")
        return self._result

    def _with_rows(self) -> None:
        """Raises where there are none to be fetched."""
        if self._answered().is_write:
            raise InterfaceError("the statement wrote, and gives no rows: rowcount says how many it wrote")

    @property
    def description(self) -> list[Description] | None:
        """A tuple a column: name, SQL type, None, None, precision and scale of a DECIMAL, None; None before a statement, and
        for one that wrote."""
        if self._result is None or self._result.is_write:
            return None
        found: list[Description] = []
        for name, text in zip(self._result.columns, self._result.sql_types):
            kind = parse_type(text) if text.startswith("DECIMAL(") and text.endswith(")") else None
            found.append((name, text, None, None, kind.width if kind else None, kind.scale if kind else None, None))
        return found

    @property
    def rowcount(self) -> int:
        """Rows of the answer, or those that the statement wrote; -1 before a statement, and for one that writes no rows."""
        return self._rowcount

    @property
    def rownumber(self) -> int | None:
        """0-based index of the next row; None before a statement."""
        return None if self._result is None else self._at

    @property
    def messages(self) -> list[tuple[type[Exception], str]]:
        """Warnings of the statement."""
        return [] if self._result is None else [(Warning, text) for text in self._result.warnings]

    def fetchone(self) -> Row | None:
        """The next row, None at the end."""
        self._with_rows()
        row = next(self._rows, None)
        if row is not None:
            self._at += 1
        return row

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next `size` rows (`arraysize` by default), fewer at the end."""
        self._with_rows()
        wanted = self.arraysize if size is None else size
        if wanted < 0:
            raise InterfaceError(f"size is {wanted}; it cannot be negative")
        rows = list(islice(self._rows, wanted))
        self._at += len(rows)
        return rows

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        self._with_rows()
        rows = list(self._rows)
        self._at += len(rows)
        return rows

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def fetch_arrow_table(self) -> pa.Table:
        """All rows that are left as a `pyarrow.Table`."""
        self._with_rows()
        left = self.result.to_arrow().slice(self._at)
        self._at += left.num_rows
        self._rows = iter(())
        return left

    def fetch_record_batch(self, rows_per_batch: int = 65_536) -> pa.RecordBatchReader:
        """All rows that are left as a `pyarrow.RecordBatchReader`, in batches of at most `rows_per_batch` rows."""
        return self.fetch_arrow_table().to_reader(max_chunksize=rows_per_batch)

    def fetch_df(self) -> Any:
        """All rows that are left as a pandas DataFrame.

        Raises:
            NotSupportedError: a column is of a type that pandas cannot hold (UNION).
        """
        from sabot_sql.client.carried_types import refuse_types

        with translated():
            refuse_types(self.result.to_arrow(), self.result.sql_types, "pandas")
        return self.fetch_arrow_table().to_pandas()

    def fetch_polars(self) -> Any:
        """All rows that are left as a Polars DataFrame.

        Raises:
            NotSupportedError: a column is of a type that Polars cannot hold (INTERVAL, UNION).
        """
        import polars

        from sabot_sql.client.carried_types import refuse_types
        from sabot_sql.client.json_values import distinct_names

        with translated():
            refuse_types(self.result.to_arrow(), self.result.sql_types, "Polars")
        table = self.fetch_arrow_table()
        return polars.from_arrow(table.rename_columns(distinct_names(table.column_names)))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.fetch_arrow_table().__arrow_c_stream__(requested_schema)

    def nextset(self) -> None:
        """None: a statement has one answer."""
        self._open()

    def setinputsizes(self, sizes: Any) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing, as PEP 249 allows."""

    def close(self) -> None:
        """Lets go of the answer; `rowcount` stays. A query that was executed is not touched; closing twice does no harm."""
        self._closed = True
        self._clear()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
