"""JSON: types, framing and date formats are found once, tried, and written down."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import product
from typing import Any

from sabot_sql.catalog.reading import FileLook, Look, hive_columns, named, read_error, uniform_or_variants
from sabot_sql.catalog.sources import DuckDBError, Inspector, call, literal
from sabot_sql.catalog.table import ScanSpec, TableStatistics
from sabot_sql.errors import NotSupported
from sabot_sql.types import Schema

FRAMINGS = tuple((form, records) for records in ("true", "false") for form in ("newline_delimited", "array", "unstructured"))
DATE_FORMATS = ("%m-%d-%Y", "%m-%d-%y", "%d-%m-%Y", "%d-%m-%y", "%y-%m-%d")
TIMESTAMP_FORMATS = (
    "%m-%d-%Y %I:%M:%S %p",
    "%m-%d-%y %I:%M:%S %p",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%y %H:%M:%S",
    "%y-%m-%d %H:%M:%S",
)
PEEK_BYTES = 64 << 10
TRIED_ROWS = 2048


def read_json(inspector: Inspector, look: Look) -> tuple[ScanSpec, TableStatistics]:
    """Describe the JSON files of a table.

    DuckDB does not tell which framing and date format it found, so they are tried on the first rows of each sort of file
    until the answer is that of plain `read_json`.

    Raises:
        ReadError: a file is not JSON.
        NotSupported: no fixed description gives what plain `read_json` gives.
    """
    framings = [look.learn(file, lambda file: framing(look.table, file)) for file in look.files]
    filled = [file.path for file in look.files if file.size_bytes] or [file.path for file in look.files]
    partitions, hive = look.partitions()
    plain = {"maximum_sample_files": max(32, len(filled)), "hive_partitioning": bool(hive)}
    try:
        schema = inspector.describe(call("json", filled, plain))
    except DuckDBError as error:
        raise read_error(look.table, look.location, "read as JSON", error) from error
    hive = hive_columns(schema, hive)
    columns = {field.name: str(field.type) for field in schema if field.name not in hive}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for file, frame in zip(look.files, framings):
        if frame not in found and file.size_bytes:
            found[frame] = fixed_options(inspector, look, file, filled, schema, columns, plain)
    rest = next(iter(found.values()), {"format": "auto", "columns": columns})
    options = uniform_or_variants([found.get(frame, rest) for frame in framings])
    files = tuple(file.data_file(partition=named(partition, hive)) for file, partition in zip(look.files, partitions))
    return ScanSpec("json", schema, files, options, hive), TableStatistics(None, look.size_bytes, "unknown")


def framing(table: str, file: FileLook) -> tuple[Any, ...]:
    """What a glance tells of how records are set apart; files alike in this are read alike.

    Returns:
        the first character that is no white space, whether the first line is a whole JSON value, whether it is the only line.
    """
    try:
        opener = gzip.open if file.path.lower().endswith(".gz") else open
        with opener(file.path, "rb") as stream:
            head = stream.read(PEEK_BYTES)
    except (OSError, EOFError) as error:
        raise read_error(table, file.path, "read as JSON", error) from error
    head = head.lstrip()
    line, _, below = head.partition(b"\n")
    try:
        json.loads(line)
        whole = True
    except ValueError:
        whole = False
    return head[:1].decode("latin-1"), whole, not below.strip()


def fixed_options(
    inspector: Inspector,
    look: Look,
    file: FileLook,
    all_paths: list[str],
    schema: Schema,
    columns: dict[str, str],
    plain: dict[str, Any],
) -> dict[str, Any]:
    """Options that read `file` as plain `read_json` over all files reads it."""
    only = "" if len(all_paths) == 1 else f" WHERE filename = {literal(file.path)}"
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    try:
        wanted = first_rows(inspector, f"(SELECT {names} FROM {call('json', all_paths, plain)}{only})")
    except DuckDBError as error:
        raise read_error(look.table, file.path, "read as JSON", error) from error
    for options in candidates({str(field.type) for field in schema}):
        options = {"auto_detect": False, **options, "columns": columns}
        try:
            if first_rows(inspector, call("json", [file.path], {**options, "hive_partitioning": False})) == wanted:
                return options
        except DuckDBError:
            continue
    raise NotSupported(
        f'table "{look.table}": {file.path} has keys or values whose reading cannot be fixed in advance '
        "(dates of several formats, keys that differ in case only, a byte order mark)",
        hint="convert it to Parquet",
    )


def candidates(types: set[str]) -> Iterator[dict[str, Any]]:
    """Framings and formats, most likely first."""
    dates = (None, *(DATE_FORMATS if any("DATE" in text for text in types) else ()))
    timestamps = (None, *(TIMESTAMP_FORMATS if any("TIMESTAMP" in text for text in types) else ()))
    for date, timestamp, (form, records) in product(dates, timestamps, FRAMINGS):
        options = {"format": form, "records": records}
        if date is not None:
            options["dateformat"] = date
        if timestamp is not None:
            options["timestampformat"] = timestamp
        yield options


def first_rows(inspector: Inspector, relation: str) -> list[tuple[Any, ...]]:
    """The first rows of `relation` as text."""
    return inspector.rows(f'SELECT CAST("|row" AS VARCHAR) FROM (SELECT * FROM {relation} LIMIT {TRIED_ROWS}) AS "|row"')
