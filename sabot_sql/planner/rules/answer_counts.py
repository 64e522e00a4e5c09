"""Answer counts and bounds of whole tables from what their files say of themselves."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.catalog.ipc_files import is_owned
from sabot_sql.catalog.table import Table
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.nullness import counted_nulls
from sabot_sql.planner.ranges import physical
from sabot_sql.types import INTEGER, Field


def answer_counts(plan: lg.Plan) -> lg.Plan:
    """Replace counts and bounds over all rows of a table by constants.

        Aggregate count(*), min(x)          Compute 6001215, 17
          Get t                       ->      OneRow

    Only where the files count: Parquet footers, and Arrow files that were written here. Bounds only where every chunk of a
    footer says that its bounds are values, and not of text and doubles: see docs/decisions.md. Not where a condition, a LIMIT,
    a SAMPLE or a group stands between, a call has DISTINCT or FILTER, or one of the calls is of another kind, because then the
    table is read anyway.
    """
    plan = lg.with_inputs(plan, tuple(answer_counts(i) for i in plan.inputs))
    if not isinstance(plan, lg.Aggregate) or plan.groups or not plan.calls:
        return plan
    get, columns = _scan(plan.input)
    if get is None or (rows := _rows(get.table)) is None:
        return plan
    told = [_told(call, get, columns, rows) for call in plan.calls]
    if any(value is None for value in told):
        return plan
    answer = lg.OneRow(1, (Field("row", INTEGER),), f"counted by the files of {get.table.name}")
    return lg.Compute(answer, tuple(value for value in told if value is not None), plan.names)


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


def _told(call: lg.Call, get: lg.Get, columns: dict[int, int], rows: int) -> ex.Const | None:
    """What `call` gives over all rows of a table."""
    if replace(call, function="", args=()) != lg.Call("", (), call.type):  # DISTINCT, FILTER or ORDER BY
        return None
    match call.function, call.args:
        case "count_star", ():
            return ex.Const(rows, call.type)
        case "count", (ex.Ref(index=index),) if index in columns:
            nulls = counted_nulls(get.table, get.columns[columns[index]])
            return ex.Const(rows - nulls, call.type) if nulls is not None and 0 <= nulls <= rows else None
        case "min" | "max", (ex.Ref(index=index),) if index in columns:
            return _bound(call, get.table, get.columns[columns[index]])
    return None


def _bound(call: lg.Call, table: Table, column: int) -> ex.Const | None:
    """The least or the greatest value of a column where it is known to be one."""
    if column < 0 or table.schema[column].type != call.type or table.scan.kind != "parquet":
        return None
    known = table.statistics.columns.get(table.schema[column].name)
    if known is None or not (known.attained and known.exact):
        return None
    value = physical(known.min if call.function == "min" else known.max, call.type)
    return None if value is None or isinstance(value, str) else ex.Const(value, call.type)
