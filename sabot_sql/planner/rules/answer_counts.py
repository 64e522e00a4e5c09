"""Answer counts of whole tables from what their files say of themselves."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.catalog.ipc_files import is_owned
from sabot_sql.catalog.table import Table
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.types import INTEGER, Field


def answer_counts(plan: lg.Plan) -> lg.Plan:
    """Replace counts over all rows of a table by constants.

        Aggregate count(*), count(x)          Compute 6001215, 6001000
          Get t                         ->      OneRow

    Only where the files count: Parquet footers, and Arrow files that were written here. Not where a condition, a LIMIT, a
    SAMPLE or a group stands between, a call has DISTINCT or FILTER, or one of the calls is of another kind, because then the
    table is read anyway. `min` and `max` are never answered so: see docs/decisions.md.
    """
    plan = lg.with_inputs(plan, tuple(answer_counts(i) for i in plan.inputs))
    if not isinstance(plan, lg.Aggregate) or plan.groups or not plan.calls:
        return plan
    get, columns = _scan(plan.input)
    if get is None or (rows := _rows(get.table)) is None:
        return plan
    counts = [_count(call, get, columns, rows) for call in plan.calls]
    if any(count is None for count in counts):
        return plan
    answer = lg.OneRow(1, (Field("row", INTEGER),), f"counted by the files of {get.table.name}")
    return lg.Compute(answer, tuple(ex.Const(n, c.type) for n, c in zip(counts, plan.calls)), plan.names)


def _scan(plan: lg.Plan) -> tuple[lg.Get | None, dict[int, int]]:
    """The unconditional scan whose rows are all those of `plan`, and which columns of it come out as they are."""
    match plan:
        case lg.Get(filters=()):
            return plan, {i: i for i in range(len(plan.columns))}
        case lg.Compute():
            get, below = _scan(plan.input)
            plain = {i: e.index for i, e in enumerate(plan.exprs) if isinstance(e, ex.Ref)}
            return get, {i: below[index] for i, index in plain.items() if index in below}
    return None, {}


def _rows(table: Table) -> int | None:
    """The rows of `table` where every file counts its own."""
    if table.scan.kind != "parquet" and not is_owned(table.scan):
        return None
    rows = 0
    for file in table.scan.files:
        if file.rows is None or file.rows != sum(file.row_groups):
            return None
        rows += file.rows
    return rows


def _count(call: lg.Call, get: lg.Get, columns: dict[int, int], rows: int) -> int | None:
    """What `call` gives over all rows of a table."""
    if replace(call, function="", args=()) != lg.Call("", (), call.type):  # DISTINCT, FILTER or ORDER BY
        return None
    match call.function, call.args:
        case "count_star", ():
            return rows
        case "count", (ex.Ref(index=index),) if index in columns:
            nulls = _nulls(get.table, get.columns[columns[index]])
            return rows - nulls if nulls is not None and 0 <= nulls <= rows else None
    return None


def _nulls(table: Table, column: int) -> int | None:
    """The NULLs of a column where the files count them, in the type that the table has."""
    if column < 0 or "variants" in table.scan.options or table.schema[column].type.children:
        return None
    known = table.statistics.columns.get(table.schema[column].name)
    return known.null_count if known is not None and known.counts_nulls else None
