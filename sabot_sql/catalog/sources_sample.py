"""Reading a table's rows for its statistics, with a small DuckDB of its own: one thread, little memory, interruptible."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Generator, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from sabot_sql.catalog.blocks import Block
from sabot_sql.catalog.ipc_files import IpcFile, is_owned
from sabot_sql.catalog.sample_columns import Column, columns_of
from sabot_sql.catalog.sources import literal, scan_sql
from sabot_sql.catalog.table import ScanSpec, Table
from sabot_sql.errors import NotSupported
from sabot_sql.types import quote_identifier

BATCH_VALUES = 1_000_000
MOST_BATCH_ROWS = 122_880
MOST_BATCH_BYTES = 256 << 20
STREAM_BLOCK = 8_192

Batches = Generator[pa.RecordBatch, None, None]


class Sampler:
    """A DuckDB instance that reads one table at a time. Used by one thread; `interrupt` may be called by any."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "enable_external_file_cache": "false",
                "memory_limit": "512MB",
                "python_enable_replacements": "false",
                "temp_directory": "",
                "threads": "1",
            },
        )
        self._streaming = self._connection.cursor()
        self._lock = threading.Lock()
        self._closed = False
        self._names = (f"subject{number}" for number in itertools.count())

    def interrupt(self) -> None:
        """Stop the statement that runs now, if one does."""
        with self._lock:
            if not self._closed:
                self._connection.interrupt()
                self._streaming.interrupt()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._streaming.close()
            self._connection.close()

    @contextlib.contextmanager
    def reading(self, table: Table) -> Iterator[Reading]:
        """The table's rows; a DuckDB file is attached for as long as that takes."""
        scan, database = table.scan, next(self._names)
        if scan.kind == "ipc":
            refuse_long_batches(table)
        if scan.kind == "duckdb":
            path = scan.files[0].path
            self._connection.execute(f"ATTACH {literal(path)} AS {database} (TYPE duckdb, READ_ONLY)").fetchall()
        try:
            yield Reading(table, database, self._connection, self._streaming)
        finally:
            with contextlib.suppress(duckdb.Error):  # an interrupted one goes with the instance
                self._connection.execute("DROP TABLE IF EXISTS sample").fetchall()
                self._connection.execute("DROP TABLE IF EXISTS groups").fetchall()
                if scan.kind == "duckdb":
                    self._connection.execute(f"DETACH {database}").fetchall()


class Reading:
    """One table being read: rows are taken for a sample, or stream by.

    Attributes:
        connection: has the table `sample` in the end, with the columns of `Column`, `b` the number of the block of rows, and
            `n` the number of the row where it was streamed.
    """

    def __init__(
        self,
        table: Table,
        database: str,
        connection: duckdb.DuckDBPyConnection,
        streaming: duckdb.DuckDBPyConnection,
        columns: Sequence[Column] | None = None,
    ) -> None:
        self.table = table
        self._database = database
        self.columns = columns_of(table.schema) if columns is None else columns
        self.connection = connection
        self._streaming = streaming
        self._read: list[pa.Table] = []

    def some_columns(self, most: int) -> Iterator[Reading]:
        """The same table with at most so many columns at a time."""
        for start in range(0, len(self.columns), most):
            part = self.columns[start : start + most]
            yield Reading(self.table, self._database, self.connection, self._streaming, part)

    @property
    def batch_rows(self) -> int:
        """Rows of a batch of a stream of all columns."""
        return max(2048, min(MOST_BATCH_ROWS, BATCH_VALUES // max(1, len(self.columns))))

    def add_block(self, number: int, block: Block | None) -> None:
        """Read the rows of `block` for the sample; None for the whole table."""
        scan = self.table.scan
        bounds = ""
        row = {"parquet": "file_row_number", "duckdb": "rowid"}.get(scan.kind)
        if block is not None and row is not None:
            bounds = f" WHERE {row} >= {block.first_row} AND {row} < {block.first_row + block.num_rows}"
        with self._registered(read_ipc(scan, block)) if scan.kind == "ipc" else contextlib.nullcontext():
            sql = f"SELECT 0::BIGINT AS n, {number} AS b, {self._expressions()} FROM {self._relation(block)}{bounds}"
            self._read.append(self.connection.sql(sql).to_arrow_table())

    def add_rows(self, batch: pa.RecordBatch, chosen: range, before: int) -> None:
        """Take rows of `stream` for the sample; the table's rows are numbered, and 8,192 of them are a block.

        Args:
            chosen: their numbers in `batch`, which is row number `before` of the table and what follows.
        """
        rows = pa.Table.from_batches([batch.take(pa.array(chosen, pa.int64()))])
        rows = rows.select([name for column in self.columns for name in column.names()])
        places = np.arange(before + chosen.start, before + chosen.stop, chosen.step)
        numbers, blocks = pa.array(places, pa.int64()), pa.array(places // STREAM_BLOCK, pa.int32())
        self._read.append(rows.add_column(0, "b", blocks).add_column(0, "n", numbers))

    def thin(self, step: int) -> None:
        """Keep of the rows those whose number is a multiple of `step`."""
        self._read = [rows.take(pa.array(multiples(rows.column("n"), step))) for rows in self._read]

    def forget_sample(self) -> None:
        """Begin again."""
        self._read = []

    def make_sample(self) -> int:
        """Make the table `sample` of all rows taken; how many they are."""
        if not self._read:
            self.add_block(0, None)  # no rows, but the columns
        rows = pa.concat_tables(self._read)
        self._read = []
        with self._registered(rows):
            self.connection.execute("CREATE OR REPLACE TABLE sample AS SELECT * FROM piece").fetchall()
        return int(rows.num_rows)

    def stream(self) -> Batches:
        """All rows, as what a sample has of every column and `h` of every column."""
        hashes = (c.hashed() for c in self.columns if f"h{c.number}" not in c.names())
        return self._stream(", ".join((self._expressions(), *hashes)), self.batch_rows)

    def stream_hashes(self, column: Column) -> Batches:
        """All rows, as the `h` of one column."""
        return self._stream(column.hashed(), MOST_BATCH_ROWS)

    def _stream(self, expressions: str, rows: int) -> Batches:
        scan = self.table.scan
        if scan.kind != "ipc":
            yield from self._batches(f"SELECT {expressions} FROM {self._relation(None)}", rows)
            return
        for block in ipc_blocks(scan, rows):
            self._streaming.register("piece", read_ipc(scan, block))
            try:
                yield from self._batches(f"SELECT {expressions} FROM piece", rows)
            finally:
                self._streaming.unregister("piece")

    def _batches(self, sql: str, rows: int) -> Batches:
        with contextlib.closing(self._streaming.sql(sql).to_arrow_reader(rows)) as reader:
            yield from reader

    def _relation(self, block: Block | None) -> str:
        scan = self.table.scan
        match scan.kind:
            case "ipc":
                return "piece"
            case "duckdb":
                names = (self._database, scan.options["schema"], scan.options["table"])
                return ".".join(map(quote_identifier, names))
        return scan_sql(scan) if block is None else scan_sql(scan, [block.file])

    def _expressions(self) -> str:
        return ", ".join(expression for column in self.columns for expression in column.expressions())

    @contextlib.contextmanager
    def _registered(self, rows: pa.Table) -> Iterator[None]:
        self.connection.register("piece", rows)
        try:
            yield
        finally:
            self.connection.unregister("piece")

    def facts(self, relation: str, rows: pa.RecordBatch | None = None) -> list[tuple[int, int, object, object, int, int]]:
        """Of each column over `sample`, or over `rows` as `piece`: values that are not NULL, values with a place, the lowest
        and the highest of them, bytes of all, bytes of the longest."""
        parts = ", ".join(
            f"count({c.names()[0] if c.names() == [c.value] else c.hash}), count({c.value}), min({c.value}), max({c.value}), "
            f"coalesce(sum({c.size}), 0)::BIGINT, coalesce(max({c.size}), 0)"
            for c in self.columns
        )
        with self._registered(pa.Table.from_batches([rows])) if rows is not None else contextlib.nullcontext():
            (row,) = self.connection.execute(f"SELECT {parts} FROM {relation}").fetchall()
        return [row[i : i + 6] for i in range(0, len(row), 6)]


def multiples(numbers: pa.ChunkedArray, step: int) -> list[int]:
    """The positions of multiples of `step`."""
    return [place for place, number in enumerate(numbers.to_pylist()) if number % step == 0]


def ipc_blocks(scan: ScanSpec, rows: int) -> Iterator[Block]:
    """The whole table in blocks of record batches, `rows` rows or one batch each."""
    for number, file in enumerate(scan.files):
        first = held = 0
        for length in file.row_groups:
            if held and held + length > rows:
                yield Block(number, first, held)
                first, held = first + held, 0
            held += length
        if held:
            yield Block(number, first, held)


def read_ipc(scan: ScanSpec, block: Block | None) -> pa.Table:
    """The rows of `block`; None for the whole table."""
    blocks = [block] if block is not None else list(ipc_blocks(scan, 1 << 62))
    batches: list[pa.RecordBatch] = []
    with IpcFile(scan.files[0], is_owned(scan)) as file:
        schema = file.schema
    for found in blocks:
        with IpcFile(scan.files[found.file], is_owned(scan)) as file:
            batches += file.batches(found.first_row, found.num_rows)
    return pa.Table.from_batches(batches, schema)


def refuse_long_batches(table: Table) -> None:
    """A record batch is read whole: raise where one would take too much memory for a thing done in the background.

    Raises:
        NotSupported: naming the table.
    """
    rows = table.statistics.rows or 1
    longest = max((length for file in table.scan.files for length in file.row_groups), default=0)
    if table.statistics.size_bytes * longest // rows > MOST_BATCH_BYTES:
        raise NotSupported(f'table "{table.name}" has record batches above {MOST_BATCH_BYTES >> 20} MiB')
