"""Tables made by hand, for what needs no files."""

from __future__ import annotations

import itertools
from typing import Any

from sabot_sql.catalog.table import ColumnStatistics, DataFile, ScanSpec, Table, TableStatistics
from sabot_sql.errors import PlanError
from sabot_sql.types import Field, parse_type


def table(
    name: str,
    columns: dict[str, str],
    rows: int | None,
    confidence: str = "exact",
    size: int = 1000,
    groups: int = 0,
    ordered: tuple[str, ...] = (),
    **bounds: Any,
) -> Table:
    """A table of `rows` rows; `bounds` are (min, max) or (min, max, distinct) of columns. Those named in `ordered` rise from
    row group to row group."""
    known = {
        column: ColumnStatistics(
            min=b[0],
            max=b[1],
            distinct_count=b[2] if len(b) > 2 else None,
            null_count=0,
            exact=True,
            group_bounds=rising(b[0], b[1], groups) if column in ordered else (),
        )
        for column, b in bounds.items()
    }
    file = DataFile(f"/data/{name}.parquet", size, 1, rows, tuple([(rows or 0) // groups] * groups) if groups else ())
    schema = tuple(Field(n, parse_type(t)) for n, t in columns.items())
    statistics = TableStatistics(rows, size, confidence, known)  # type: ignore[arg-type]
    return Table(name, ScanSpec("parquet", schema, (file,)), statistics, 1)


def learnt(table_name: str, rows: int, /, **columns: tuple[str, ColumnStatistics]) -> Table:
    """A table whose columns are known as after learning."""
    schema = tuple(Field(n, parse_type(t)) for n, (t, _) in columns.items())
    statistics = TableStatistics(rows, rows * 8, "exact", {n: s for n, (_, s) in columns.items()})
    scan = ScanSpec("parquet", schema, (DataFile(f"/data/{table_name}.parquet", rows * 8, 1, rows, (rows,)),))
    return Table(table_name, scan, statistics, 1)


def rising(low: Any, high: Any, groups: int) -> tuple[tuple[Any, Any], ...]:
    """The bounds of row groups that share the values from `low` to `high` among them, one after the other."""
    step = (high - low) / groups
    places = [low + step * i for i in range(groups + 1)]
    if isinstance(low, int):
        places = [*map(round, places[:-1]), high + 1]
        return tuple((a, b - 1) for a, b in itertools.pairwise(places))
    return tuple(itertools.pairwise(places))


class Tables:
    """A catalog of hand-made tables."""

    def __init__(self, *tables: Table) -> None:
        self._tables = {t.name.lower(): t for t in tables}

    def resolve(self, parts: tuple[str, ...]) -> Table:
        keys = [p.lower() for p in parts]
        if len(keys) > 1 and keys[-2] == "main" and keys[:-2] in ([], ["memory"]):
            keys = keys[-1:]
        try:
            return self._tables[".".join(keys)]
        except KeyError:
            raise PlanError(
                f'table "{".".join(parts)}" does not exist', code="UNDEFINED_TABLE", hint='did you mean "t"?'
            ) from None
