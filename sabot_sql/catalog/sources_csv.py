"""CSV: each file's dialect is found once, and written down so that nobody looks for it again."""

from __future__ import annotations

from typing import Any

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.reading import FileLook, Look, hive_columns, named, read_error, uniform_or_variants
from sabot_sql.catalog.sources import DuckDBError, Inspector, call, literal
from sabot_sql.catalog.table import ScanSpec, TableStatistics
from sabot_sql.errors import ReadError
from sabot_sql.types import Schema

EMPTY = "(empty)"
BLANK_BYTES = 64


def read_csv(inspector: Inspector, look: Look) -> tuple[ScanSpec, TableStatistics]:
    """Describe the CSV files of a table: each file in its own dialect, types over all files.

    Where all files have the same columns, types are those of `read_csv` over all of them; otherwise those of
    `read_csv(union_by_name=true)`. Files without a line of text have no say in it.
    """
    filled = [file for file in look.files if not is_blank(look.table, file)] or list(look.files)
    sniffed = sniff_all(inspector, look, filled)
    paths = [file.path for file in filled]
    dialects = [sniffed[path] for path in paths]
    same_columns = len({tuple(found["columns"]) for found in dialects}) == 1
    options: dict[str, Any] = {"files_to_sniff": -1} if same_columns else {"union_by_name": True}
    partitions, hive = look.partitions()
    try:
        schema = inspector.describe(call("csv", paths, {**options, "hive_partitioning": bool(hive)}))
    except DuckDBError as error:
        raise read_error(look.table, look.location, "read as CSV", error) from error
    hive = hive_columns(schema, hive)
    options = uniform_or_variants([own_options(sniffed[file.path], schema, hive) for file in look.files])
    files = tuple(file.data_file(partition=named(partition, hive)) for file, partition in zip(look.files, partitions))
    return ScanSpec("csv", schema, files, options, hive), TableStatistics(None, look.size_bytes, "unknown")


def is_blank(table: str, file: FileLook) -> bool:
    """Whether the file has no text in it."""
    if file.size_bytes > BLANK_BYTES:
        return False
    try:
        with open(file.path, "rb") as stream:
            return not stream.read().strip()
    except OSError as error:
        raise read_error(table, file.path, "read as CSV", error) from error


def sniff_all(inspector: Inspector, look: Look, filled: list[FileLook]) -> dict[str, dict[str, Any]]:
    """The arguments of `read_csv` for each path.

    A file of a few lines can be taken apart in several ways, so the way of the first one is tried on the others, and taken
    where it gives the same columns.
    """
    model = look.learn(filled[0], lambda file: sniff(inspector, look.table, file))

    def like_the_model(file: FileLook) -> dict[str, Any]:
        try:
            found = sniff(inspector, look.table, file, {name: model[name] for name in ("delim", "header")})
        except ReadError:
            return sniff(inspector, look.table, file)
        return found if list(found["columns"]) == list(model["columns"]) else sniff(inspector, look.table, file)

    # a blank line in a file of one column would be a row; as a header it is none
    found = {file.path: {**model, "skip": 0, "header": True} for file in look.files}
    found |= {file.path: look.learn(file, like_the_model) for file in filled[1:]}
    return {**found, filled[0].path: model}


def sniff(inspector: Inspector, table: str, file: FileLook, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of `read_csv` that DuckDB would choose for one file, those `given` apart."""
    arguments = ", ".join([literal(file.path), *(f"{name}={literal(value)}" for name, value in (given or {}).items())])
    try:
        row = inspector.rows(
            "SELECT Delimiter, Quote, Escape, NewLineDelimiter, Comment, SkipRows, HasHeader, Columns, DateFormat, "
            f"TimestampFormat FROM sniff_csv({arguments})"
        )[0]
    except DuckDBError as error:
        raise read_error(table, file.path, "read as CSV", error) from error
    delim, quote, escape, new_line, comment, skip, header, columns, date_format, timestamp_format = row
    options: dict[str, Any] = {
        "auto_detect": False,
        "delim": delim,
        "quote": "" if quote == EMPTY else quote,
        "escape": "" if escape == EMPTY else escape,
        "new_line": new_line,
        "comment": "" if comment == EMPTY else comment,
        "skip": skip,
        "header": header,
        "columns": {column["name"]: column["type"] for column in columns},
    }
    if date_format is not None:
        options["dateformat"] = date_format
    if timestamp_format is not None:
        options["timestampformat"] = timestamp_format
    return options


def own_options(sniffed: dict[str, Any], schema: Schema, hive: tuple[str, ...]) -> dict[str, Any]:
    """The options of one file: its own dialect and columns, with the table's types."""
    types = {fold(field.name): str(field.type) for field in schema if field.name not in hive}
    columns = {name: types.get(fold(name), text) for name, text in sniffed["columns"].items()}
    return {**sniffed, "columns": columns}
