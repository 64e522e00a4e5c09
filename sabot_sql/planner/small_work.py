"""Work that is too little for a stage of its own: whoever needs it does it, as often as it is needed."""

from __future__ import annotations

from sabot_sql.planner.cardinality import row_bytes
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.physical import ExchangeRead, Filter, HashAggregate, HashJoin, Node, Project, Scan, operators
from sabot_sql.planner.rules.push_filters import is_volatile
from sabot_sql.planner.stages import Fragment

SMALL_BYTES = 1 << 20
SMALL_ROWS = 25_000
"""What reads no more of tables is done by each task that joins with it: a stage of its own would take longer to start."""

PARSED = 8
"""Text costs so many times as much to read as columns do."""

MADE = 4
"""What a task makes for itself may be so many times larger, as it is not compressed."""


def is_small(fragment: Fragment) -> bool:
    """Whether each task that needs the rows of `fragment` may as well make them itself: it makes the same rows each time, not
    many, and reads only small tables and what stages handed on to all."""
    part = fragment.parts[0]
    if len(fragment.parts) > 1 or not part.scans or part.hashed or not is_repeatable(fragment.root):
        return False
    weights = {node.scan_id: _weight(node.spec.kind) for node in operators(fragment.root) if isinstance(node, Scan)}
    read = [(split, weights[scan]) for scan, pieces in (*part.scans, *part.copies) for split in pieces]
    made = fragment.rows * row_bytes(fragment.schema)
    return (
        sum(split.size_bytes * weight for split, weight in read) <= SMALL_BYTES
        and sum(split.num_rows or 0 for split, _ in read) <= SMALL_ROWS
        and made <= MADE * SMALL_BYTES
    )


def _weight(kind: str) -> int:
    """How much more a byte of a file costs to read than one of columns."""
    return PARSED if kind in ("csv", "json") else 1


def is_repeatable(root: Node) -> bool:
    """Whether tasks that each run `root` over the same input make the same rows."""
    for node in operators(root):
        exprs: tuple[Expr, ...] = ()
        match node:
            case Scan():
                exprs = (*node.exprs, *node.filters)
            case Project():
                exprs = node.exprs
            case Filter():
                exprs = (node.predicate,)
            case HashJoin(residual=residual) if residual is not None:
                exprs = (residual,)
            case HashJoin() | ExchangeRead() | HashAggregate():
                pass
            case _:
                return False
        if any(map(is_volatile, exprs)):
            return False
    return True
