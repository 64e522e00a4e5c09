"""What `register` was given, as the body of one request: Arrow data and frames as an Arrow stream, files as what they are.

Nothing is held whole: rows go out batch by batch, files piece by piece.
"""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sabot_sql.catalog.hive import fold, partition_of
from sabot_sql.catalog.listing import READABLE, is_glob, list_sources, split_suffix
from sabot_sql.catalog.memory import is_tabular, open_reader
from sabot_sql.client.contract import ARROW_STREAM, CSV, PARQUET
from sabot_sql.client.pieces import Pieces
from sabot_sql.errors import ConfigError, NotSupported

PIECE_BYTES = 1 << 20
BATCH_ROWS = 65_536

Files = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """A body.

    Attributes:
        pieces: makes it anew.
        length: its bytes, where that is known.
    """

    content_type: str
    pieces: Callable[[], Iterator[bytes]]
    length: int | None = None


def upload_of(name: str, source: Any) -> Upload:
    """The body that makes `source` the table `name`.

    Raises:
        ConfigError: it has no name, or there is no such file.
        NotSupported: it cannot be sent as one table.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError("a table needs a name", hint="pass a text that is not empty")
    if is_tabular(source):
        return _of_reader(name, lambda: open_reader(source))
    if isinstance(source, str | os.PathLike):
        return _of_files(name, (os.path.abspath(os.path.expanduser(os.fspath(source))),))
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return _of_files(name, tuple(os.path.abspath(os.path.expanduser(os.fspath(item))) for item in source))
    raise ConfigError(
        f'table "{name}" cannot be made of a {type(source).__name__}',
        hint="pass a path, a list of paths, an Arrow table or a data frame",
    )


def _of_files(name: str, paths: Files) -> Upload:
    listing = list_sources(paths)
    for path in listing.missing:
        what = "nothing matches" if is_glob(path) else "there is no"
        raise ConfigError(f'table "{name}": {what} {path}', hint="check the path; it is taken from the current folder")
    kinds = {split_suffix(path)[1] for path in listing.files}
    if None in kinds or not kinds:
        raise ConfigError(f'table "{name}": the format of {", ".join(paths)} is not known', hint=f"known suffixes: {READABLE}")
    single = len(listing.files) == 1
    first = listing.files[0]
    if any(partition_of(path[len(root) :]) for root in paths for path in listing.files if path.startswith(root)):
        raise NotSupported(
            f'table "{name}": Hive folders are not sent to a server',
            hint="send a data frame, or give the server the folder as its data",
        )
    if single and kinds == {"parquet"}:
        return Upload(PARQUET, lambda: _pieces(name, first), os.path.getsize(first))
    if single and kinds == {"csv"}:
        zipped = first.lower().endswith(".gz")
        return Upload(CSV, lambda: _pieces(name, first, zipped), None if zipped else os.path.getsize(first))
    if kinds <= {"parquet", "ipc"} and len(kinds) == 1:
        return _of_reader(name, lambda: _reader_of(name, listing.files))
    what = "several CSV files" if kinds == {"csv"} else ", ".join(sorted(map(str, kinds)))
    raise NotSupported(
        f'table "{name}": {what} cannot be sent to a server as one table',
        hint="send one CSV file, Parquet or Arrow files, or a frame",
    )


def _pieces(name: str, path: str, zipped: bool = False) -> Iterator[bytes]:
    with _in_words(name), gzip.open(path) if zipped else open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _reader_of(name: str, files: Files) -> pa.RecordBatchReader:
    """The batches of Parquet or Arrow files, which must have the columns of the first."""
    schema = _schema_of(files[0])

    def batches() -> Iterator[pa.RecordBatch]:
        for path in files:
            if not _schema_of(path).equals(schema):
                raise NotSupported(
                    f'table "{name}": {path} has other columns than {files[0]}', hint="send them as tables of their own"
                )
            yield from _batches_of(path)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _schema_of(path: str) -> pa.Schema:
    if split_suffix(path)[1] == "parquet":
        import pyarrow.parquet as pq

        return pq.read_schema(path).remove_metadata()
    with pa.OSFile(path) as source, pa.ipc.open_file(source) as reader:
        return reader.schema.remove_metadata()


def _batches_of(path: str) -> Iterator[pa.RecordBatch]:
    if split_suffix(path)[1] == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield batch.replace_schema_metadata()
        return
    with pa.OSFile(path) as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).replace_schema_metadata()


def _of_reader(name: str, open_: Callable[[], pa.RecordBatchReader]) -> Upload:
    """An Arrow stream. Of columns with one name the later ones are renamed as DuckDB does."""
    with _in_words(name):
        reader = open_()
    schema = pa.schema([field.with_name(new) for field, new in zip(reader.schema, distinct(reader.schema.names))])

    def pieces() -> Iterator[bytes]:
        with _in_words(name):
            sink = Pieces()
            with pa.ipc.new_stream(sink, schema) as writer:
                for batch in reader:
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        part = batch.slice(start, BATCH_ROWS)
                        writer.write_batch(pa.RecordBatch.from_arrays(part.columns, schema=schema))
                        yield sink.take()
            yield sink.take()

    return Upload(ARROW_STREAM, pieces)


def distinct(names: list[str]) -> list[str]:
    """`names`, of which those that are one name in SQL get numbers.

    Example:
        >>> distinct(["a", "A", "b", "a"])
        ['a', 'A_1', 'b', 'a_2']
    """
    seen: set[str] = set()
    found = []
    for name in names:
        candidate, number = name, 0
        while fold(candidate) in seen:
            number += 1
            candidate = f"{name}_{number}"
        seen.add(fold(candidate))
        found.append(candidate)
    return found


@contextlib.contextmanager
def _in_words(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OverflowError) as error:
        raise NotSupported(
            f'table "{name}" cannot be turned into Arrow: {"; ".join(map(str, error.args))}', hint="cast the column before"
        ) from error
    except (OSError, EOFError) as error:
        raise ConfigError(f'table "{name}" cannot be read: {error}') from error
