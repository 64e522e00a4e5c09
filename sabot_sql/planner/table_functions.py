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

FIRST, END = f"block * {BLOCK}", f"least((block + 1) * {BLOCK}, n)"
"""The places of a block's numbers, from 0 on; the end is not among them."""

PLACES = f"range({FIRST} + 1, ({END} + 1)::BIGINT)"
"""The same as WITH ORDINALITY counts them."""


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
        texts, source = _times(name, types[0])
    return lg.Extend(child, args, texts[: 1 + ordinal], tuple(types[: 1 + ordinal]), None, "Unnest", source), found


def _numbers(name: str, given: int) -> tuple[tuple[str, str], str]:
    """The numbers, their places, and the blocks that both are made of."""
    start, stop = ("0", "{0}") if given == 1 else ("{0}", "{1}")
    step = "{2}" if given == 3 else "1"
    ends = [f"({start}::HUGEINT + ({place})::HUGEINT * {step})::BIGINT" for place in (FIRST, f"{END} - 1")]
    texts = f"unnest(generate_series({ends[0]}, {ends[1]}, {step}))", f"unnest({PLACES})"
    return texts, _blocks(name, start, stop, step)


def _times(name: str, t: SqlType) -> tuple[tuple[str, str], str]:
    """The timestamps, their places, and the blocks that both are made of; steps of the calendar are one list."""
    zoned = t.id != "TIMESTAMP"
    start, stop, step = "epoch_us({0})", "epoch_us({1})", "epoch_us({2})"
    parts = ("year", "month", "day") if zoned else ("year", "month")  # days of a time zone are not of one length
    by_calendar = " OR ".join(f"datepart('{part}', {{2}}) <> 0" for part in parts)
    days = "datepart('day', {2})"
    mixed = f"{days} * ({step} - {days} * 86400000000) < 0"
    checks = (
        f"WHEN isinf({{0}}) OR isinf({{1}}) THEN error('RANGE with infinite bounds is not supported')::HUGEINT "
        f"WHEN {by_calendar} THEN 1 "
        f"WHEN {mixed} THEN error('RANGE with composite interval that has mixed signs is not supported')::HUGEINT "
    )
    ends = [
        f"make_timestamp{'tz' if zoned else ''}(({start} + ({place})::HUGEINT * {step})::BIGINT)"
        for place in (FIRST, f"{END} - 1")
    ]
    whole = f"{name}({{0}}, {{1}}, {{2}})"
    values = f"CASE WHEN {by_calendar} THEN {whole} ELSE generate_series({ends[0]}, {ends[1]}, {{2}}) END"
    places = f"CASE WHEN {by_calendar} THEN range(1, 1 + len({whole})) ELSE {PLACES} END"
    return (f"unnest({values})", f"unnest({places})"), _blocks(name, start, stop, step, checks)


def _blocks(name: str, start: str, stop: str, step: str, checks: str = "") -> str:
    """A row for each `block` of a row's numbers, of which there are `n`.

    Args:
        checks: branches of a CASE that come before `n` is worked out.
    """
    way = f"CASE WHEN {step} > 0 THEN {stop}::HUGEINT - {start} ELSE {start}::HUGEINT - {stop} END"
    size = f"abs({step}::HUGEINT)"
    count = f"CASE WHEN way <= 0 THEN 0 ELSE (way + {size} - 1) // {size} END"
    if name == "generate_series":
        count = f"CASE WHEN way < 0 THEN 0 ELSE way // {size} + 1 END"
    checked = f"CASE {checks}WHEN {step} = 0 THEN error('interval cannot be 0!')::HUGEINT ELSE {count} END"
    counted = f"SELECT *, {checked} AS n FROM (SELECT *, {way} AS way FROM in0)"
    many = f"SELECT *, unnest(range(0, ((n + {BLOCK**2 - 1}) // {BLOCK**2})::BIGINT)) AS many FROM ({counted})"
    first_last = f"many * {BLOCK}, least((many + 1) * {BLOCK}, (n + {BLOCK - 1}) // {BLOCK})::BIGINT"
    return f"(SELECT *, unnest(range({first_last})) AS block FROM ({many}))"
