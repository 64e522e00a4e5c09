"""What a finished build side tells the scan that probes it: conditions that only rows without a match fail.

The scan's rows without a match are dropped by the join in any case; told so, DuckDB passes over row groups, and does not hand
out the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.hash_join import JoinBuildSink
from sabot_sql.planner.expressions import Const, Ref
from sabot_sql.planner.physical import Filter, HashJoin, Node, Project, Scan, Union
from sabot_sql.planner.render import render_constant
from sabot_sql.types import Lane, SqlType

MOST_VALUES = 256
"""Values that are listed one by one."""

LISTED_ROWS = 1 << 16
"""Build rows up to which it is worth looking how many values they have."""

KEY_ROWS = 1 << 18
"""Build rows up to which the keys themselves go into the scan's query, for DuckDB to join with."""

KEY_SHARE = 0.25
"""Share of the scan's rows with a match up to which that costs less than handing out the others."""

FALSE = "FALSE"


NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Told:
    """What a build side tells a scan.

    Attributes:
        text: SQL that holds for all rows with a match.
        table, keys: the name and the rows of a table that `text` reads; "" and None for none.
    """

    text: str
    table: str = ""
    keys: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class DynamicFilter:
    """The column of a scan that must equal a key of a build side."""

    column: int
    build: JoinBuildSink
    key: int

    def told(self, column: str) -> Told | None:
        """A condition over `column`; None where there is nothing to say. To be called after the build side is complete."""
        sink, position = self.build, self.build.node.build_keys[self.key]
        if sink.spilled is not None:
            return None
        if sink.table is None:
            return Told(FALSE)
        found = sink.column(position)
        if self.build.node.null_equal[self.key] and found.null_count:
            return None
        return _told(column, found, sink.types[position].type, self.build.node.share)


def dynamic_filters(node: HashJoin, build: JoinBuildSink) -> Iterator[tuple[Scan, DynamicFilter]]:
    """The filters of a join for the scans on its probe side."""
    if node.kind not in ("inner", "semi"):
        return
    for key, position in enumerate(node.probe_keys):
        if _is_told(node.probe.schema[position].type):
            for scan, column in _origins(node.probe, position):
                yield scan, DynamicFilter(column, build, key)


def _is_told(t: SqlType) -> bool:
    return t.id == "VARCHAR" or (t.lane is Lane.INT and (t.is_integer or t.id in ("DATE", "DECIMAL", "TIMESTAMP")))


def _origins(node: Node, position: int) -> Iterator[tuple[Scan, int]]:
    """The scans whose column stands at `position` of `node`, where a row of theirs that is left out is missed by nothing but
    what a join above drops."""
    match node:
        case Scan() if isinstance(node.exprs[position], Ref):
            yield node, position
        case Filter():
            yield from _origins(node.input, position)
        case Project(exprs=exprs):
            if isinstance(expr := exprs[position], Ref):
                yield from _origins(node.input, expr.index)
        case HashJoin(output=output):
            if output[position] < len(node.probe.schema):
                yield from _origins(node.probe, output[position])
        case Union():
            for each in node.inputs:
                yield from _origins(each, position)


def _told(column: str, values: pa.Array, t: SqlType, share: float) -> Told | None:
    values = values.drop_null() if values.null_count else values
    if not len(values):
        return Told(FALSE)
    few = len(values) <= LISTED_ROWS
    if t.lane is Lane.BYTES:
        texts = pc.unique(values) if few else values
        return Told(_listed(column, texts.to_pylist(), t)) if len(texts) <= MOST_VALUES else None
    words = unwrap(values, t).values
    assert words is not None
    words = np.unique(words) if few else words
    low, high = int(words.min()), int(words.max())
    if len(words) <= MOST_VALUES and high - low + 1 > len(words):
        return Told(_listed(column, words.tolist(), t))
    if len(words) <= KEY_ROWS and share <= KEY_SHARE and len(words) < high - low + 1 and (t.is_integer or t.id == "DATE"):
        name = f"keys{next(NUMBERS)}"
        return Told(f"{column} IN (SELECT k FROM {name})", name, pa.table({"k": values}))
    return Told(f"{column} BETWEEN {render_constant(Const(low, t))} AND {render_constant(Const(high, t))}")


def _listed(column: str, values: list[int] | list[str], t: SqlType) -> str:
    return f"{column} IN ({', '.join(render_constant(Const(v, t)) for v in values)})"
