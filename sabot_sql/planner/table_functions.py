"""Table functions that are called for each row of their input (`FROM t, range(t.n)`), as lists that DuckDB unnests.

The numbers of a row's range may be many: they are made some at a time, so that no list is long.
"""

from __future__ import annotations

from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.types import VARCHAR, SqlType

NAMES = frozenset(("unnest", "range", "generate_series", "json_each", "json_tree"))
OBJECTS = frozenset(("json_each", "json_tree"))

BLOCK = 1024
"""Numbers of a range that are one list, and such lists that are made of one list."""

MOST_TIMES = 1 << 22
"""Timestamps that are one list, at most."""

NO_STEP = "error('interval cannot be 0!')"


def called_for_rows(
    name: str, child: lg.Plan, args: tuple[Expr, ...], types: list[SqlType], columns: list[int], ordinal: bool
) -> tuple[lg.Plan, list[Expr]]:
    """The columns of `child` with what `name`, one of `NAMES`, gives for `args` in each row; and where `columns` are there.

    Args:
        types: of the columns that the function has; the last is the number of the row where `ordinal` says so.
        columns: those that are read.
    """
    width = len(child.schema)
    if any(c >= len(types) for c in columns) or (ordinal and name in OBJECTS):
        raise NotSupported(f"{name} of each row with a rowid or WITH ORDINALITY cannot run distributed yet")
    if name in OBJECTS:
        t = SqlType("STRUCT", children=tuple(types), names=tuple(f"f{i}" for i in range(len(types))))
        places = ", ".join(f"{{{i}}}" for i in range(len(args)))
        rows = f"(SELECT list(made) FROM {name}({places}) AS made({', '.join(t.names)}))"
        made = lg.Extend(child, args, (f"unnest({rows})",), (t,), None, "Unnest")
        fields = [ex.Const(t.names[c], VARCHAR) for c in columns]
        return made, [ex.Call("struct_extract", (ex.Ref(width, t), f), types[c]) for f, c in zip(fields, columns)]
    found: list[Expr] = [ex.Ref(width + c, types[c]) for c in columns]
    if name == "unnest":
        texts, source = ("unnest({0})", "unnest(range(1, 1 + len({0})))"), "in0"
    elif types[0].is_integer:
        texts, source = _numbers(name, len(args))
    else:
        texts, source = _times(name), "in0"
    return lg.Extend(child, args, texts[: 1 + ordinal], tuple(types[: 1 + ordinal]), None, "Unnest", source), found


def _numbers(name: str, given: int) -> tuple[tuple[str, str], str]:
    """The numbers, their places, and the blocks of places that both are made of."""
    start, stop = ("0", "{0}") if given == 1 else ("{0}", "{1}")
    step = "{2}" if given == 3 else "1"
    way = f"CASE WHEN {step} > 0 THEN {stop}::HUGEINT - {start} ELSE {start}::HUGEINT - {stop} END"
    size = f"abs({step}::HUGEINT)"
    count = f"CASE WHEN way <= 0 THEN 0 ELSE (way + {size} - 1) // {size} END"
    if name == "generate_series":
        count = f"CASE WHEN way < 0 THEN 0 ELSE way // {size} + 1 END"
    checked = f"CASE WHEN {step} = 0 THEN {NO_STEP}::HUGEINT ELSE {count} END"
    counted = f"SELECT *, {checked} AS n FROM (SELECT *, {way} AS way FROM in0)"
    many = f"SELECT *, unnest(range(0, ((n + {BLOCK**2 - 1}) // {BLOCK**2})::BIGINT)) AS many FROM ({counted})"
    first_last = f"many * {BLOCK}, least((many + 1) * {BLOCK}, (n + {BLOCK - 1}) // {BLOCK})::BIGINT"
    blocks = f"(SELECT *, unnest(range({first_last})) AS block FROM ({many}))"
    last = f"least((block + 1) * {BLOCK}, n)"
    ends = [f"({start}::HUGEINT + ({place})::HUGEINT * {step})::BIGINT" for place in (f"block * {BLOCK}", f"{last} - 1")]
    values = f"unnest(generate_series({ends[0]}, {ends[1]}, {step}))"
    return (values, f"unnest(range(block * {BLOCK} + 1, ({last} + 1)::BIGINT))"), blocks


def _times(name: str) -> tuple[str, str]:
    """The timestamps and their places."""
    step = "nullif(epoch_us({0} + {2}) - epoch_us({0}), 0)"
    many = f"(epoch_us({{1}}) - epoch_us({{0}}))::DOUBLE / {step} > {MOST_TIMES}"
    refused = f"error('{name} of more than {MOST_TIMES:,} timestamps of a row cannot run distributed')"
    checks = f"WHEN {{2}} = INTERVAL 0 DAY THEN {NO_STEP} WHEN {many} THEN {refused}"
    times = f"CASE {checks} ELSE {name}({{0}}, {{1}}, {{2}}) END"
    return f"unnest({times})", f"unnest(range(1, 1 + len({times})))"
