"""Parquet: types from DuckDB, rows and bounds from the footers; no data page is read."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sabot_sql.catalog.footers import Footer, column_statistics, read_footer
from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.reading import FileLook, Look, hive_columns, named, read_error
from sabot_sql.catalog.sources import DuckDBError, Inspector, call
from sabot_sql.catalog.table import ScanSpec, TableStatistics
from sabot_sql.errors import NotSupported
from sabot_sql.types import Schema


def read_parquet(inspector: Inspector, look: Look) -> tuple[ScanSpec, TableStatistics]:
    """Describe the Parquet files of a table; columns of files that differ are united by name.

    Raises:
        ReadError: a file is not Parquet.
        NotSupported: the types of a column in two files do not go together.
    """
    footers = [look.learn(file, lambda file: footer_of(look.table, file)) for file in look.files]
    partitions, keys = look.partitions()
    kinds, kind_of = schema_kinds(footers)
    own = [describe(inspector, look, [look.files[i].path], hive=False) for i in kinds]
    schema = look.columns or own[0]
    differ = any(found != schema for found in own)
    if not look.columns and (keys or differ):
        schema = describe(inspector, look, [file.path for file in look.files], hive=bool(keys), united=differ)
    hive = hive_columns(schema, keys)
    options: dict[str, Any] = {}
    if differ:
        variants = [{"columns": {f.name: str(f.type) for f in found}} for found in own]
        options = {"variants": variants, "variant_of": kind_of}
        if look.columns:
            options["typed"] = True
    files = tuple(
        file.data_file(footer.rows, footer.row_groups, named(partition, hive))
        for file, footer, partition in zip(look.files, footers, partitions)
    )
    rows = sum(footer.rows for footer in footers)
    columns = column_statistics(footers, schema, hive, same_types(schema, own))
    return ScanSpec("parquet", schema, files, options, hive), TableStatistics(rows, look.size_bytes, "exact", columns)


def footer_of(table: str, file: FileLook) -> Footer:
    """The footer of one file."""
    try:
        return read_footer(file.path)
    except (OSError, pa.ArrowException) as error:
        raise read_error(table, file.path, "read as Parquet", error) from error


def schema_kinds(footers: list[Footer]) -> tuple[list[int], list[int]]:
    """Sort files by their Parquet schema.

    Returns:
        the first file of each sort, and the sort of each file.
    """
    first: list[int] = []
    kind_of: list[int] = []
    for number, footer in enumerate(footers):
        kind = next((k for k, i in enumerate(first) if footers[i].schema.equals(footer.schema)), len(first))
        if kind == len(first):
            first.append(number)
        kind_of.append(kind)
    return first, kind_of


def describe(inspector: Inspector, look: Look, paths: list[str], *, hive: bool, united: bool = False) -> Schema:
    """The columns DuckDB gives for `paths`."""
    options: dict[str, Any] = {"hive_partitioning": hive}
    if united:
        options["union_by_name"] = True
    try:
        return inspector.describe(call("parquet", paths, options))
    except DuckDBError as error:
        if united:
            raise NotSupported(
                f'table "{look.table}": the files in {look.location} have columns that do not go together: {error}',
                hint="put files of one shape into a folder of their own",
            ) from error
        raise read_error(look.table, paths[0], "read as Parquet", error) from error


def same_types(schema: Schema, own: list[Schema]) -> set[str]:
    """Folded names of the columns that every sort of file has in the table's type, or not at all."""
    types = {fold(field.name): field.type for field in schema}
    differing = {fold(f.name) for found in own for f in found if types.get(fold(f.name)) != f.type}
    return set(types) - differing
