"""Learning one table: a sample of its rows for the shape of each column, and all rows for distinct counts where that is cheap.

A table of up to 200,000 rows is read whole. Of a larger one whose files count rows and bounds (Parquet) 32 blocks are read,
and then, column by column, the hashes of those columns whose distinct values the blocks leave open. One of another format is
read through once. All of that within a budget of processor time; what does not fit stays extrapolated from the sample.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from sabot_sql.catalog import column_summary
from sabot_sql.catalog.attained_bounds import attained_bounds
from sabot_sql.catalog.blocks import spread
from sabot_sql.catalog.line_count import rows_by_lines
from sabot_sql.catalog.partition_statistics import partition_columns
from sabot_sql.catalog.sample_columns import TEXT_CHARS, Column, width_of
from sabot_sql.catalog.sketch import Seen, Sketch, extrapolate
from sabot_sql.catalog.sources_sample import Reading
from sabot_sql.catalog.statistics import Finding
from sabot_sql.catalog.table import ColumnStatistics, Learnt, Table
from sabot_sql.errors import NotSupported

SAMPLE_ROWS = 200_000
SAMPLE_VALUES = 4_000_000
"""Values of a sample; tables of very many columns have shorter ones."""

BUDGET_S = 10.0
"""Processor time for one table."""

COLUMNS = 64
"""Columns that are read together; of a table with more, those that the budget reaches."""

SETTLED = 0.02
"""Share of a column's distinct values that may be unseen for the sample to be trusted."""

MOST_FILES = 2_000
"""Files up to which columns are read through: each has to be opened for each column."""


@dataclass(slots=True)
class Facts:
    """What is known of one column over the rows read so far."""

    values: int = 0
    placed: int = 0
    low: Any = None
    high: Any = None
    total_bytes: int = 0
    longest: int = 0

    def add(self, more: tuple[int, int, Any, Any, int, int]) -> None:
        values, placed, low, high, total_bytes, longest = more
        self.values += values
        self.placed += placed
        self.total_bytes += total_bytes
        self.longest = max(self.longest, longest)
        if low is not None:
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)


class Budget:
    """Processor time of this thread; what others run beside it does not count."""

    def __init__(self, seconds: float) -> None:
        self._end_s = time.thread_time() + seconds

    def left_s(self) -> float:
        return self._end_s - time.thread_time()


def learn_table(reading: Reading, pause: Callable[[], None]) -> Finding:
    """Everything worth knowing of the table's columns.

    Args:
        pause: called between steps of a few milliseconds; may wait, or raise to stop.
    """
    began, budget = time.monotonic(), Budget(BUDGET_S)
    found: dict[str, ColumnStatistics] = {}
    rows, counted, sample_rows = reading.table.statistics.rows, False, 0
    for some in reading.some_columns(COLUMNS):
        if found and budget.left_s() <= 0:
            break
        work = _Learning(some, pause, budget)
        work.read()
        for column in some.columns:
            pause()
            found[column.field.name] = work.column(column)
        if not counted:
            rows, counted, sample_rows = work.rows, work.complete, work.sample_rows
    found |= partition_columns(reading)
    pause()
    for name in attained_bounds(reading.table, reading.connection) & found.keys():
        found[name] = replace(found[name], attained=True)
    took_s = round(time.monotonic() - began, 3)
    learnt = Learnt(dt.datetime.now(dt.UTC).replace(microsecond=0), sample_rows, took_s)
    return Finding(rows, counted, found, learnt)


class _Learning:
    """Some columns of one table while they are learnt.

    Attributes:
        rows: rows of the table, where known.
        complete: whether every row was looked at (and `sketches` are of all rows, where there are any).
    """

    def __init__(self, reading: Reading, pause: Callable[[], None], budget: Budget) -> None:
        self.reading = reading
        self.table: Table = reading.table
        self.pause = pause
        self.budget = budget
        self.rows = self.table.statistics.rows
        self.complete = False
        self.sample_rows = 0
        self.facts = [Facts() for _ in reading.columns]
        self.sketches: list[Sketch] | None = None
        self.place = {column.number: place for place, column in enumerate(reading.columns)}

    @property
    def sample_limit(self) -> int:
        return max(1000, min(SAMPLE_ROWS, SAMPLE_VALUES // max(1, len(self.reading.columns))))

    def read(self) -> None:
        """Fill the sample, and what else comes with reading."""
        kind, small = self.table.scan.kind, self.rows is not None and self.rows <= self.sample_limit
        if small and kind not in ("csv", "json"):
            self.pause()
            self.reading.add_block(0, None)
            self.complete = True
        elif kind == "parquet" or not self._read_through():
            self._read_blocks()
        self.sample_rows = self.reading.make_sample()
        if self.rows and not self.sample_rows:
            raise NotSupported(f'table "{self.table.name}" has rows that cannot be read by their number')
        if self.sketches is None:
            for facts, found in zip(self.facts, self.reading.facts("sample")):
                facts.add(found)
            if self.complete:
                self.rows = self.sample_rows

    def _read_blocks(self) -> None:
        """The sample from blocks of rows."""
        scan = self.table.scan
        # the one file of a database says nothing of rows, its table does
        rows_of = [self.rows or 0] if scan.kind == "duckdb" else [file.rows or 0 for file in scan.files]
        for number, block in enumerate(spread(rows_of, self.sample_limit)):
            self.pause()
            self.reading.add_block(number, block)

    def _read_through(self) -> bool:
        """All rows, every so-manieth into the sample; False where the budget does not reach, and blocks can be read instead."""
        total, began_s = self.rows, self.budget.left_s()
        sketches = [Sketch() for _ in self.reading.columns]
        rows = kept = 0
        step = max(1, -(-total // self.sample_limit)) if total else 1
        with contextlib.closing(self.reading.stream()) as stream:
            for batch in stream:
                self._take_in(batch, sketches)
                kept += self._keep(batch, rows, step)
                rows += batch.num_rows
                if kept > 2 * self.sample_limit:
                    step *= 2
                    self.reading.thin(step)
                    kept //= 2
                used_s = began_s - self.budget.left_s()
                if (total and used_s / rows * total > began_s) or used_s > began_s:
                    break
                self.pause()
            else:
                self.rows, self.sketches, self.complete = rows, sketches, True
                return True
        if self.table.scan.kind in ("csv", "json"):
            self.rows = rows_by_lines(self.table)
            self.sketches = None
            self.facts = [Facts() for _ in self.facts]
            return True
        self.facts = [Facts() for _ in self.facts]
        self.reading.forget_sample()
        return False

    def _take_in(self, batch: pa.RecordBatch, sketches: list[Sketch]) -> None:
        for facts, found in zip(self.facts, self.reading.facts("piece", batch)):
            facts.add(found)
        for column, sketch in zip(self.reading.columns, sketches):
            sketch.add(batch.column(f"h{column.number}"))

    def _keep(self, batch: pa.RecordBatch, before: int, step: int) -> int:
        """Put the rows whose number in the table is a multiple of `step` into the sample; how many they are."""
        chosen = range(-before % step, batch.num_rows, step)
        if chosen:
            self.reading.add_rows(batch, chosen, before)
        return len(chosen)

    def column(self, column: Column) -> ColumnStatistics:
        """The statistics of one column."""
        facts = self.facts[self.place[column.number]]
        known = self.table.statistics.columns.get(column.field.name, ColumnStatistics())
        nulls = known.null_count if known.null_count is not None else self._nulls(facts)
        seen = column_summary.group(self.reading, column)
        distinct, source = self._distinct(column, known, seen, nulls)
        low, high = self._bounds(column, facts)
        known_low, known_high = (low, high) if known.min is None else (known.min, known.max)
        average = facts.total_bytes / facts.values if facts.longest else width_of(column.field.type)
        return ColumnStatistics(
            min=low,
            max=high,
            null_count=nulls,
            distinct_count=distinct,
            exact=low is not None,
            histogram=column_summary.histogram(self.reading, column, known_low, known_high),
            most_common=column_summary.most_common(self.reading, column, seen, distinct, self.sample_rows, self.whole),
            average_bytes=None if average is None else round(average, 2),
            distinct_from=source,
        )

    @property
    def whole(self) -> bool:
        """Whether the sample is the whole table."""
        return self.complete and self.sample_rows == self.rows

    def _nulls(self, facts: Facts) -> int | None:
        if self.complete:
            return (self.rows or 0) - facts.values
        if self.rows is None or not self.sample_rows:
            return None
        return round((1 - facts.values / self.sample_rows) * self.rows)

    def _bounds(self, column: Column, facts: Facts) -> tuple[Any, Any]:
        """The least and the greatest value, where every one was looked at as it is."""
        if not self.complete or facts.placed < facts.values or (column.is_text and facts.longest > TEXT_CHARS):
            return None, None
        return column.plain(facts.low), column.plain(facts.high)

    def _distinct(self, column: Column, known: ColumnStatistics, seen: Seen, nulls: int | None) -> tuple[int, Any]:
        """The number of distinct values and where it is from."""
        if self.whole:
            return seen.distinct, "count"
        if self.sketches is not None:
            sketch = self.sketches[self.place[column.number]]
            return self._nearly_all(sketch.distinct, seen, nulls), "count" if sketch.exact else "sketch"
        total = seen.rows if self.rows is None else max(seen.rows, self.rows - (nulls or 0))
        guess = min(extrapolate(seen, total), places(column, known))
        if guess > seen.distinct * (1 + SETTLED) and (scanned := self._sketch(column)) is not None:
            return self._nearly_all(scanned.distinct, seen, nulls), "count" if scanned.exact else "sketch"
        return guess, "sample"

    def _nearly_all(self, distinct: int, seen: Seen, nulls: int | None) -> int:
        """A sketch's figure; where no value of the sample repeats and it is near the number of rows, that number."""
        values = (self.rows or 0) - (nulls or 0)
        unique = seen.distinct == seen.rows and abs(distinct - values) <= 0.1 * values
        return values if unique else min(distinct, values)

    def _sketch(self, column: Column) -> Sketch | None:
        """A sketch of the column over all rows; None where the budget does not reach."""
        if self.table.scan.kind != "parquet" or len(self.table.scan.files) > MOST_FILES:
            return None
        sketch, rows, total = Sketch(), 0, self.rows or 0
        began_s = self.budget.left_s()
        with contextlib.closing(self.reading.stream_hashes(column)) as stream:
            for batch in stream:
                sketch.add(batch.column(0))
                rows += batch.num_rows
                if (began_s - self.budget.left_s()) / rows * total > began_s:
                    return None
                self.pause()
        return sketch


def places(column: Column, known: ColumnStatistics) -> int:
    """How many values there are between the bounds of a column of whole numbers or days."""
    low, high = known.min, known.max
    if isinstance(low, int) and isinstance(high, int):
        return high - low + 1
    if type(low) is dt.date and type(high) is dt.date:
        return (high - low).days + 1
    return 1 << 63
