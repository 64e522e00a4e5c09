"""Statements that write: who may, into what, and the commit that makes what was staged the table."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.disk_room import is_full, no_room
from sabot_sql.catalog.parquet_types import refuse_equal_names, stored_type, written_schema
from sabot_sql.catalog.stored_manifest import Manifest, check_name
from sabot_sql.catalog.stored_tables import ContentChanged, StoredTables, is_a_view, is_no_view
from sabot_sql.config import Settings
from sabot_sql.engine.readable import may_read
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import ExecutionError, NotSupported, PlanError, QueryError, SabotError, ServiceError
from sabot_sql.executor.table_writer import Shape, TableWriter, WriteStop, place_of, remove_staged
from sabot_sql.planner.bind import result_type
from sabot_sql.planner.expand_views import Expanded
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.policy import is_system_table
from sabot_sql.planner.show import is_state_table
from sabot_sql.planner.write_kinds import COUNT
from sabot_sql.planner.writes import KINDS, Mode, Write, read_write
from sabot_sql.types import BIGINT, BOOLEAN, Field, Schema, quote_identifier

log = logging.getLogger(__name__)

COUNT_COLUMNS = (Field(COUNT, BIGINT),)
SUCCESS_COLUMNS = (Field("Success", BOOLEAN),)

Batches = Callable[[], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class Done:
    """A statement for which there is nothing to do: the rows that its answer counts, None for no count."""

    rows: int | None


@dataclass(slots=True)
class Staged:
    """What was written and is to be committed: files in a folder of `incoming`.

    Attributes:
        content: of the table that rows are appended to.
    """

    folder: Path
    files: list[tuple[Path, int]]
    shape: Shape
    content: str | None = None

    def discard(self) -> None:
        """Remove what is left of it."""
        remove_staged(self.folder)


class Writing:
    """Writes for one catalog. Thread-safe.

    Args:
        store: where what is written goes; None where nothing can be.
    """

    def __init__(self, settings: Settings, catalog: Catalog, store: StoredTables | None) -> None:
        self._settings = settings
        self._catalog = catalog
        self._store = store if settings.writable else None
        self._writer = None if store is None else TableWriter(store.incoming / "duckdb")

    def read(self, statement: Statement, request: QueryRequest) -> Write | None:
        """What a statement writes; None where it is none that might be allowed to: the policy says why.

        Raises:
            PlanError: PERMISSION_DENIED.
            NotSupported: a form that is not built.
        """
        inner = statement.inner or statement
        if self._store is None or inner.is_query or inner.kind not in KINDS:
            return None
        if not request.writes:
            raise PlanError(
                f"{statement.kind.replace('_', ' ')} is not permitted: who asks may only read", code="PERMISSION_DENIED",
                hint="use a key of the role writer, and POST", sql=statement.sql,
            )  # fmt: skip
        if statement.inner is not None:
            raise refuse_explain()
        write = self.write_of(statement)
        if not may_read(request.readable, write.name):
            raise PlanError(
                f'this key may not write the table "{write.name}"', code="PERMISSION_DENIED",
                hint="it is for some tables only; use one whose --tables match",
            )  # fmt: skip
        return write

    def write_of(self, statement: Statement) -> Write:
        """What a statement writes, whoever asks."""
        return read_write(statement, self._catalog.name, self._settings)

    def check(self, write: Write, query_id: str) -> Done | None:
        """See whether a statement can be done, before it is; what it answers where there is nothing to do (any more).

        Raises:
            QueryError: TABLE_EXISTS; the name cannot be one.
            PlanError: UNDEFINED_TABLE, READ_ONLY, UNDEFINED_COLUMN.
        """
        store, name = self._ready(), write.name
        check_name(name)
        found = self._catalog.stored(name)
        if found is not None and query_id and (rows := found.committed(query_id)) is not None:
            return Done(rows)
        if self._catalog.is_foreign(name):
            if write.mode == "create" and write.kind.startswith("CREATE"):
                if write.if_exists:
                    return Done(None)
                raise _exists(name)
            raise PlanError(
                f'table "{name}" was not made here: it comes with the data or was registered, and is not written',
                code="READ_ONLY", hint="take another name",
            )  # fmt: skip
        self._check_kind(write, found)
        if found is None and (write.mode == "append" or write.kind.startswith("DROP")):
            if write.if_exists:
                return Done(None)
            if write.kind != "COPY":
                what = "view" if write.kind == "DROP VIEW" else "table"
                raise PlanError(
                    f'{what} "{name}" does not exist', code="UNDEFINED_TABLE", hint="SHOW TABLES lists what there is"
                )
        if found is not None and write.mode == "create" and write.kind.startswith("CREATE"):
            if write.if_exists:
                return Done(None)
            raise _exists(name)
        if write.kind in ("CREATE TABLE AS", "CREATE TABLE", "INSERT", "COPY"):
            store.check(name, "replace" if found is None else write.mode)
        if write.kind == "INSERT":
            self._target(write)
        return None

    @staticmethod
    def _check_kind(write: Write, found: Manifest | None) -> None:
        if found is None:
            return
        wants_view = write.kind.endswith("VIEW")
        if wants_view != bool(found.view) and not (write.if_exists and write.kind.startswith("CREATE")):
            code = "TABLE_EXISTS" if write.kind.startswith("CREATE") else "BAD_REQUEST"
            raise is_no_view(found.name, code) if wants_view else is_a_view(found.name, code)

    def _ready(self) -> StoredTables:
        if self._store is None:
            raise PlanError("this catalog is not written", code="READ_ONLY")
        return self._store

    def _target(self, write: Write) -> tuple[Schema, str, tuple[str, ...]]:
        """Columns, content and partitions of the table that rows are appended to."""
        table, found = self._catalog.table(write.name), self._catalog.stored(write.name)
        if found is None:
            raise PlanError(f'table "{write.name}" does not exist', code="UNDEFINED_TABLE")
        names = [field.name for field in table.schema]
        for name in write.columns:
            if place_of(names, name) is None:
                raise PlanError(
                    f'table "{write.name}" has no column "{name}"', code="UNDEFINED_COLUMN",
                    hint=f"its columns are {', '.join(names)}",
                )  # fmt: skip
        if len({name.lower() for name in write.columns}) < len(write.columns):
            raise QueryError(f'INSERT INTO "{write.name}" names a column twice')
        return table.schema, found.content, found.partition_by

    # rows

    def stage(
        self, write: Write, given: Schema, schema: pa.Schema, batches: Batches, timezone: str, cancel: threading.Event,
        deadline_s: float | None,
    ) -> Staged:  # fmt: skip
        """Write the rows of a query beside the tables.

        Args:
            given: its columns.
            schema: the Arrow types of its batches.

        Raises:
            SabotError: as `TableWriter.write`; the columns do not fit the table.
        """
        assert self._writer is not None
        shape, content = self._shape(write, given)
        with self._telling(write.name):
            folder = self._ready().new_folder()
        try:
            stop = WriteStop(cancel, deadline_s, self._writer.closing)
            if write.no_data:
                files = self._writer.empty(shape, folder)
            else:
                files = self._writer.write(shape, given, batches, schema, timezone, folder, stop)
        except BaseException:
            remove_staged(folder)
            raise
        return Staged(folder, files, shape, content)

    def commit(self, write: Write, staged: Staged, query_id: str, user: str) -> int:
        """Make what was staged the table, or a part of it; the rows that were written.

        Raises:
            ExecutionError: the table was replaced or dropped meanwhile.
            QueryError: as `StoredTables.check`.
            ServiceError: the disk is full or cannot be written; the table stays as it was.
        """
        shape = staged.shape
        try:
            with self._telling(write.name):
                store = self._catalog.check_write(write.name, "append" if staged.content else _mode(write))
                store.commit_files(
                    write.name, staged.files, "append" if staged.content else _mode(write), staged.content,
                    columns=shape.columns, partition_by=shape.partition_by, query_id=query_id,
                )  # fmt: skip
        except ContentChanged:
            raise ExecutionError(
                f'table "{write.name}" was replaced or dropped while rows for it were made', hint="run the statement again",
                retryable=True,
            ) from None  # fmt: skip
        finally:
            staged.discard()
        self._catalog.committed()
        rows = sum(count for _, count in staged.files)
        log.info("table %s: %s of %d rows by %s (%s)", write.name, write.kind, rows, user, query_id)
        return rows

    def committed(self, write: Write, query_id: str) -> int | None:
        """The rows that a query has written already; None where it has not."""
        found = self._catalog.stored(write.name)
        return None if found is None else found.committed(query_id)

    def _shape(self, write: Write, given: Schema) -> tuple[Shape, str | None]:
        """What the rows become, and the content of the table that they are appended to."""
        if write.mode == "append" and self._catalog.stored(write.name) is not None:
            columns, content, partition_by = self._target(write)
            if write.partition_by and write.partition_by != partition_by:
                raise NotSupported(f'table "{write.name}" has other partitions', hint="leave PARTITION_BY out")
            sources = _sources(write, given, columns)
            return Shape(write.name, columns, sources, partition_by, write.codec), content
        if write.columns and len(write.columns) > len(given):
            raise QueryError(f"{len(write.columns)} columns are named, and the query has {len(given)}")
        names = _distinct([*write.columns, *(field.name for field in given[len(write.columns) :])])
        columns = written_schema(write.name, tuple(Field(name, field.type) for name, field in zip(names, given)))
        refuse_equal_names(write.name, names)
        partitions = []
        for name in write.partition_by:
            place = place_of(names, name)
            if place is None:
                raise PlanError(f'there is no column "{name}" to partition by', code="UNDEFINED_COLUMN")
            if (held := stored_type(columns[place].type)) is None or held.children:
                raise NotSupported(f'"{name}" is of type {columns[place].type}, by which nothing is partitioned')
            partitions.append(names[place])
        return Shape(write.name, columns, tuple(range(len(columns))), tuple(partitions), write.codec), None

    # what has no rows

    def define(self, write: Write, columns: Schema, user: str) -> None:
        """Do a statement that writes no rows.

        Args:
            columns: of the query of CREATE.

        Raises:
            SabotError: as `check` and `commit`; a view would read itself, or what no view may.
        """
        store = self._ready()
        with self._telling(write.name):
            match write.kind:
                case "DROP TABLE" | "DROP VIEW":
                    self._catalog.drop(write.name)
                case "CREATE VIEW":
                    assert write.query is not None
                    query, columns = _view(write, columns)
                    store.define_view(write.name, query, columns, write.mode == "replace")
                case "CREATE TABLE":
                    self._define_table(write, columns)
        self._catalog.committed()
        log.info("table %s: %s by %s", write.name, write.kind, user)

    def _define_table(self, write: Write, columns: Schema) -> None:
        assert self._writer is not None
        shape, _ = self._shape(write, columns)
        staged = Staged(self._ready().new_folder(), [], shape)
        try:
            staged.files = self._writer.empty(shape, staged.folder)
            store = self._catalog.check_write(write.name, _mode(write))
            store.commit_files(write.name, staged.files, _mode(write), columns=shape.columns, partition_by=shape.partition_by)
        finally:
            staged.discard()

    def refuse_view(self, write: Write, expanded: Expanded) -> None:
        """Raise for the query of a view that may be none.

        Args:
            expanded: it with all views in it.

        Raises:
            PlanError: it reads itself.
            NotSupported: it reads what is another one for each who asks.
        """
        own = write.query
        assert own is not None
        if own.pivots:
            raise NotSupported("a PIVOT without IN cannot be a view: its columns follow from the data", hint="add IN (…) to it")
        for parts in expanded.statement.tables:
            if is_system_table(parts) or is_state_table(parts):
                raise NotSupported(f"{'.'.join(parts)} cannot be read by a view")
        if write.name.lower() in expanded.views:
            raise QueryError(f'the view "{write.name}" would read itself', hint="give it another name")

    @contextlib.contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise no_room(f'table "{name}"') from error
            raise ServiceError(f'table "{name}" cannot be written: {error.strerror or error}') from error

    def close(self) -> None:
        """End what is being written."""
        if self._writer is not None:
            self._writer.close()


def count_table(rows: int | None) -> pa.Table:
    """The answer of a statement that wrote so many rows, as DuckDB gives it; None for one that writes none."""
    return pa.table({COUNT: pa.array([] if rows is None else [rows], pa.int64())})


def success_table() -> pa.Table:
    """The answer of DROP, as DuckDB gives it."""
    return pa.table({"Success": pa.array([], pa.bool_())})


def given_columns(schema: pa.Schema, types: Sequence[str]) -> Schema:
    """The columns of a query by its Arrow schema and the SQL types that DuckDB tells."""
    return tuple(Field(name, result_type(text)) for name, text in zip(schema.names, types))


def _mode(write: Write) -> Mode:
    return "create" if write.mode == "append" else write.mode


def _sources(write: Write, given: Schema, columns: Schema) -> tuple[int | None, ...]:
    """The place of each column of a table among those of a query."""
    names = [field.name for field in columns]
    if write.by_name:
        own = [field.name for field in given]
        for name in own:
            if place_of(names, name) is None:
                raise PlanError(f'table "{write.name}" has no column "{name}"', code="UNDEFINED_COLUMN")
        return tuple(place_of(own, name) for name in names)
    wanted = write.columns or tuple(names)
    if len(wanted) != len(given):
        raise QueryError(
            f'table "{write.name}" is to get {len(wanted)} columns, and the rows have {len(given)}',
            hint="name the columns that they have: INSERT INTO t (a, b) …",
        )
    return tuple(place_of(wanted, name) for name in names)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that differ, as DuckDB makes them of those of a query: the second `a` is `a_1`.

    Example:
        >>> _distinct(["a", "A", "b", "a"])
        ['a', 'A_1', 'b', 'a_2']
    """
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        other, number = name, 0
        while other.lower() in taken:
            number += 1
            other = f"{name}_{number}"
        taken.add(other.lower())
        found.append(other)
    return found


def _view(write: Write, columns: Schema) -> tuple[str, Schema]:
    """The text of a view, and its columns."""
    assert write.query is not None
    text = write.query.sql.strip()
    if not write.columns:
        names = _distinct([field.name for field in columns])
        return text, tuple(Field(name, field.type) for name, field in zip(names, columns))
    if len(write.columns) > len(columns):
        raise QueryError(f"{len(write.columns)} columns are named, and the query has {len(columns)}")
    names = [*write.columns, *(field.name for field in columns[len(write.columns) :])]
    refuse_equal_names(write.name, names)
    listed = ", ".join(map(quote_identifier, write.columns))
    found = tuple(Field(name, field.type) for name, field in zip(names, columns))
    return f"SELECT * FROM (\n{text}\n) AS {quote_identifier(write.name)}({listed})", found


def _exists(name: str) -> SabotError:
    hint = "CREATE OR REPLACE makes it anew, IF NOT EXISTS leaves it"
    return QueryError(f'table "{name}" exists', code="TABLE_EXISTS", hint=hint)


def refuse_explain() -> SabotError:
    """EXPLAIN of a statement that writes."""
    return NotSupported("EXPLAIN of a statement that writes is not built", hint="explain its query")
