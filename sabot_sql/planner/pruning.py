"""Which row groups and files of a table a predicate leaves to read: by the bounds in their footers, and by the values that
Hive folders stand for.

A file's groups are taken one by one; a file without groups is one. Only what the bounds prove is left out, as in the scan
itself, so what is left is a fact and no estimate.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.table import ColumnStatistics, Table, TableStatistics
from sabot_sql.planner.distribution import Distribution

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]
Range = tuple[float, float]
"""Both ends belong to it; values are taken as closer together than they are, never as further apart."""

ANYTHING: Range = (-np.inf, np.inf)
KEPT_TABLES = 256


class TableFacts:
    """What estimates need of a table, in the form they need it; made once for each of its versions.

    Attributes:
        rows: None where unknown.
        columns: by folded name; None where nothing is known of the column.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        statistics: TableStatistics = table.statistics
        self.rows = statistics.rows
        self.size_bytes = statistics.size_bytes
        known = statistics.columns
        self.columns: dict[str, ColumnStatistics | None] = {fold(f.name): known.get(f.name) for f in table.schema}
        shown = "unknown" if self.rows is None else f"{self.rows:,}"
        self.line = f"{table.name}: {shown} rows ({statistics.confidence})"
        self._distributions: dict[str, Distribution | None] = {}
        self._bounds: dict[str, tuple[Places, Places, Range] | None] = {}
        self._hive = frozenset(fold(name) for name in table.scan.hive)
        self._group_rows: Places | None = None

    def distribution(self, name: str) -> Distribution | None:
        """The values of a column by its folded name."""
        if name in self._distributions:
            return self._distributions[name]
        stats = self.columns.get(name)
        if stats is None and name in self._hive:
            stats = self._hive_statistics(name)
        found = None if stats is None else Distribution(stats, self.rows)
        self._distributions[name] = found
        return found

    def _hive_statistics(self, name: str) -> ColumnStatistics:
        """Distinct values, shares and NULLs of a partition column, from the folders."""
        rows: dict[str | None, int] = {}
        for file in self.table.scan.files:
            value = next((v for n, v in file.partition if fold(n) == name), None)
            rows[value] = rows.get(value, 0) + (file.rows or 0)
        total = sum(rows.values())
        nulls = rows.pop(None, 0)
        read = {self._hive_value(name, text): count for text, count in rows.items() if text is not None}
        values = [v for v in read if v is not None]
        common = sorted(((v, n / total) for v, n in read.items() if total), key=lambda pair: -pair[1])[:100]
        if len({type(v) for v in values}) != 1:
            return ColumnStatistics(None, None, nulls, len(rows) or None)
        return ColumnStatistics(min(values), max(values), nulls, len(rows), True, None, tuple(common), None, "count")

    def _hive_value(self, name: str, text: str) -> Any:
        field = next(f for f in self.table.schema if fold(f.name) == name)
        try:
            if field.type.id == "DATE":
                return dt.date.fromisoformat(text)
            if field.type.id.startswith("TIMESTAMP"):
                return dt.datetime.fromisoformat(text)
            return int(text) if field.type.is_integer else text
        except ValueError:
            return text

    @property
    def group_rows(self) -> Places:
        """Rows of each row group of every file, in scan order."""
        if self._group_rows is None:
            counts: list[float] = []
            for file in self.table.scan.files:
                counts += file.row_groups or (file.rows or 0,)
            self._group_rows = np.asarray(counts, dtype=np.float64)
        return self._group_rows

    def bounds(self, name: str) -> tuple[Places, Places, Range] | None:
        """The smallest and the greatest place of a column in each row group, and the range that each of them reaches into;
        None where nothing tells. A group of NULLs alone has bounds that nothing lies between."""
        if name not in self._bounds:
            found = self._hive_bounds(name) if name in self._hive else self._group_bounds(name)
            core = (float(found[0].max()), float(found[1].min())) if found is not None and len(found[0]) else ANYTHING
            self._bounds[name] = None if found is None else (*found, core)
        return self._bounds[name]

    def _hive_bounds(self, name: str) -> tuple[Places, Places]:
        lows, highs = [], []
        distribution = self.distribution(name)
        for file in self.table.scan.files:
            text = next((v for n, v in file.partition if fold(n) == name), None)
            place = None if text is None or distribution is None else distribution.place(self._hive_value(name, text))
            at = None if place is None else float(place)
            none = text is None
            low, high = (np.inf, -np.inf) if none else ANYTHING if at is None else (at, at)
            groups = len(file.row_groups) or 1
            lows += [low] * groups
            highs += [high] * groups
        return np.asarray(lows), np.asarray(highs)

    def _group_bounds(self, name: str) -> tuple[Places, Places] | None:
        distribution = self.distribution(name)
        if distribution is None or distribution.low is None or distribution.high is None:
            return None
        stats = distribution.stats
        pieces = stats.group_bounds
        if len(pieces) != len(self.group_rows):
            count = len(self.group_rows)
            return np.full(count, float(distribution.low)), np.full(count, float(distribution.high))
        lows, highs = np.full(len(pieces), -np.inf), np.full(len(pieces), np.inf)
        for i, piece in enumerate(pieces):
            if piece is not None:
                low, high = distribution.place(piece[0]), distribution.place(piece[1])
                lows[i] = -np.inf if low is None else low
                highs[i] = np.inf if high is None else high
        return lows, highs


_FACTS: dict[int, TableFacts] = {}


def facts_of(table: Table) -> TableFacts:
    """The facts of `table`, kept for as long as it is asked for."""
    found = _FACTS.get(id(table))
    if found is None or found.table is not table:
        if len(_FACTS) >= KEPT_TABLES:
            _FACTS.clear()
        found = _FACTS[id(table)] = TableFacts(table)
    return found


class Scan:
    """One reading of a table in a statement, and what the predicates leave of it."""

    __slots__ = ("_alive", "facts", "most_rows")

    def __init__(self, facts: TableFacts) -> None:
        self.facts = facts
        self.most_rows: float | None = None  # a LIMIT that stops it
        self._alive: Mask | None = None

    def keep(self, name: str, ranges: Sequence[Range]) -> None:
        """Leave out the row groups in which column `name` has no value in any of the ranges."""
        if (bounds := self.facts.bounds(name)) is None:
            return
        lows, highs, in_all = bounds
        found: Mask | None = None
        for low, high in ranges:
            if low <= in_all[1] and high >= in_all[0]:
                return
            hit = (lows <= float(high)) & (highs >= float(low))
            found = hit if found is None else found | hit
        if found is None:
            found = np.zeros(len(lows), dtype=np.bool_)
        self._alive = found if self._alive is None else self._alive & found

    @property
    def rows(self) -> float:
        """Rows that are read."""
        total = float(self.facts.rows or 0)
        if self._alive is not None:
            total = min(total, float(self.facts.group_rows[self._alive].sum()))
        return total if self.most_rows is None else min(total, self.most_rows)
