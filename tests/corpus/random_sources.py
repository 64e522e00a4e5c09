"""What stands in FROM beside tables and plain joins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.corpus.random_selects import Column

if TYPE_CHECKING:
    from tests.corpus.random_queries import Queries

Relation = tuple[str, list[Column]]

SMALL = ("mid", "tiny", "one", "none", "mid")


def relation(q: Queries, alias: str, depth: int) -> Relation:
    """Rows that no plain SELECT makes."""
    return q.c.pick([_values, _series, _list, _distinct_on, _pivot, _unpivot, _limited, _unnested, _set_operation])(
        q, alias, depth
    )


def _columns(alias: str, families: list[str]) -> list[Column]:
    return [(f"{alias}.c{i}", f) for i, f in enumerate(families)]


def _named(alias: str, width: int) -> str:
    return f"{alias}({', '.join(f'c{i}' for i in range(width))})"


def _values(q: Queries, alias: str, depth: int) -> Relation:
    families = [q.c.pick(q.families) for _ in range(1 + q.c.number(3))]
    rows = [f"({', '.join(q.expression([], f, 1) for f in families)})" for _ in range(1 + q.c.number(4))]
    return f"(VALUES {', '.join(rows)}) {_named(alias, len(families))}", _columns(alias, families)


def _series(q: Queries, alias: str, depth: int) -> Relation:
    call = q.c.pick(["range(5)", "generate_series(-2, 10, 3)", "range(0)", "generate_series(5, 1, -1)", "range(100, 140)"])
    return f"{call} {alias}(c0)", _columns(alias, ["int"])


def _list(q: Queries, alias: str, depth: int) -> Relation:
    family = q.c.pick(["ints", "texts"])
    return f"unnest({q.expression([], family, 1)}) {alias}(c0)", _columns(alias, ["int" if family == "ints" else "text"])


def _distinct_on(q: Queries, alias: str, depth: int) -> Relation:
    source, scope = q.source(depth - 1)
    families = [q.c.pick(q.families) for _ in range(1 + q.c.number(3))]
    items = ", ".join(f"{q.expression(scope, f, 1)} AS c{i}" for i, f in enumerate(families))
    on = q.varying(scope, q.c.pick([0, 0, 1]))
    order = f"{on}{q.direction()}, {q.keys(scope)}"
    return f"(SELECT DISTINCT ON ({on}) {items} FROM {source} ORDER BY {order}) {alias}", _columns(alias, families)


def _pivot(q: Queries, alias: str, depth: int) -> Relation:
    table = q.c.pick(("mid", "big", "tiny", "none"))
    on, values = q.c.pick([("b", "true, false"), ("k", "1, 2, 3"), ("s", "'a', '', 'Zürich'")])
    group = q.c.pick(["k", "i8", "day"])
    calls = q.c.pick([["sum(i16)"], ["count(*)", "max(d4)"], ["max(s)"], ["count(DISTINCT i8)", "min(u8)"]])
    if on == group:
        group = "u8"
    using = ", ".join(f"{c} AS x{i}" for i, c in enumerate(calls))
    first = "date" if group == "day" else "int"
    found = ["text" if c == "max(s)" else "dec" if c == "max(d4)" else "int" for c in calls]
    families = [first, *(found * len(values.split(", ")))]
    text = f"(FROM (PIVOT {table} ON {on} IN ({values}) USING {using} GROUP BY {group})) {_named(alias, len(families))}"
    return text, _columns(alias, families)


def _unpivot(q: Queries, alias: str, depth: int) -> Relation:
    table = q.c.pick(("mid", "tiny", "none", "big"))
    rows = f"(SELECT id, CAST(i8 AS INTEGER) AS p, CAST(u8 AS INTEGER) AS q, k AS r FROM {table})"
    if q.c.chance(50):
        text = f"(FROM (SELECT * FROM {rows} UNPIVOT INCLUDE NULLS (v FOR n IN (p, q, r)))) {_named(alias, 3)}"
    else:
        text = f"(FROM (UNPIVOT {rows} ON p, q, r INTO NAME n VALUE v)) {_named(alias, 3)}"
    return text, _columns(alias, ["int", "text", "int"])


def _limited(q: Queries, alias: str, depth: int) -> Relation:
    source, scope = q.source(depth - 1)
    families = [q.c.pick(q.families) for _ in range(1 + q.c.number(3))]
    items = ", ".join(f"{q.expression(scope, f, 1)} AS c{i}" for i, f in enumerate(families))
    limit = q.c.pick(["5", "1", "40%", "3 OFFSET 2", "0", "(SELECT 4)", "2 + 1 OFFSET (SELECT min(k) FROM one WHERE k >= 0)"])
    order = f"{q.varying(scope, 1)}{q.direction()}, {q.keys(scope)}"
    return f"(SELECT {items} FROM {source} ORDER BY {order} LIMIT {limit}) {alias}", _columns(alias, families)


def _unnested(q: Queries, alias: str, depth: int) -> Relation:
    source, scope = q.source(0)
    family = q.c.pick(["int", "text", "date"])
    if q.c.chance(30):
        record, value = q.expression(scope, "rec", 1), q.expression(scope, family, 1)
        text = f"(SELECT unnest({record}), {value} FROM {source}) {_named(alias, 3)}"
        return text, _columns(alias, ["int", "text", family])
    lists = [q.c.pick(["ints", "texts"]) for _ in range(1 + q.c.number(2))]
    items = ", ".join(f"unnest({q.expression(scope, f, 1)}) AS c{i + 1}" for i, f in enumerate(lists))
    families = [family, *("int" if f == "ints" else "text" for f in lists)]
    return f"(SELECT {q.expression(scope, family, 1)} AS c0, {items} FROM {source}) {alias}", _columns(alias, families)


def _set_operation(q: Queries, alias: str, depth: int) -> Relation:
    text, families = q.plain_select(depth - 1)
    other, _ = q.plain_select(depth - 1, families)
    return f"({text} {q.set_operator()} {other}) {alias}", _columns(alias, families)


def named_join(q: Queries) -> Relation:
    """Two tables joined by the names of their columns."""
    names = q.c.pick([["k"], ["k", "b"], ["s"], ["day", "k"], ["i8"], ["d4"], ["st"], ["f32"]])
    sides, scope = [], []
    kind = q.c.pick(["", "LEFT ", "RIGHT ", "FULL ", "SEMI ", "ANTI "])
    for _ in range(2):
        q.aliases += 1
        alias = f"t{q.aliases}"
        table = q.c.pick(SMALL)
        own = q.c.pick(["id", "i16", "ts", "l", "u"])
        sides.append(f"(SELECT {', '.join(names)}, {own} AS {alias}_own, id AS {alias}_id FROM {table}) {alias}")
        if not (scope and kind in ("SEMI ", "ANTI ")):
            scope += [(f"{alias}.{n}", q.columns[n]) for n in names]
            scope += [(f"{alias}.{alias}_own", q.columns[own]), (f"{alias}.{alias}_id", "int")]
    if kind in ("", "LEFT ", "RIGHT ", "FULL "):
        scope += [(n, q.columns[n]) for n in names]
    if q.c.chance(40):
        return f"{sides[0]} NATURAL {kind}JOIN {sides[1]}", scope
    return f"{sides[0]} {kind}JOIN {sides[1]} USING ({', '.join(names)})", scope


def asof_join(q: Queries) -> Relation:
    """An ASOF join whose right side has no ties."""
    q.aliases += 2
    name, alias = f"t{q.aliases - 1}", f"t{q.aliases}"
    left, scope = f"{q.c.pick(SMALL)} {name}", [(f"{name}.{n}", f) for n, f in q.columns.items()]
    key = q.c.pick(["k", "b", "s", ""])
    moment = q.c.pick(["day", "i32", "ts", "d15", "tz", "f64"])
    wanted = ", ".join(n for n in (key, moment) if n)
    where = f" WHERE {moment} IS NOT NULL" if q.c.chance(30) else ""
    right = f"(SELECT DISTINCT {wanted} FROM {q.c.pick(('mid', 'tiny', 'big', 'none'))}{where}) {alias}"
    equal = f"{name}.{key} = {alias}.{key} AND " if key else ""
    comparison = q.c.pick([">=", ">", "<=", "<"])
    kind = q.c.pick(["ASOF JOIN", "ASOF LEFT JOIN"])
    columns = [(f"{alias}.{n}", q.columns[n]) for n in (key, moment) if n]
    return f"{left} {kind} {right} ON {equal}{name}.{moment} {comparison} {alias}.{moment}", scope + columns


def positional_join(q: Queries) -> Relation:
    """Rows put side by side, in an order that is one."""
    sides: list[str] = []
    scope: list[Column] = []
    for _ in range(2):
        q.aliases += 1
        alias = f"t{q.aliases}"
        order = q.c.pick(["id", "id DESC", "s NULLS FIRST, id", "f64 DESC, id"])
        sides.append(f"(SELECT id, k, s, l FROM {q.c.pick(SMALL)} ORDER BY {order}) {alias}")
        scope += [(f"{alias}.{n}", q.columns[n]) for n in ("id", "k", "s", "l")]
    return f"{sides[0]} POSITIONAL JOIN {sides[1]}", scope


def lateral_join(q: Queries, scope: list[Column]) -> Relation:
    """A subquery for each row of what stands before it."""
    q.aliases += 1
    alias = f"t{q.aliases}"
    how = q.c.pick(["CROSS JOIN LATERAL {} {}", "LEFT JOIN LATERAL {} {} ON true", ", LATERAL {} {}"])
    if q.c.chance(50):
        family = q.c.pick(["ints", "texts"])
        lists = [
            "(SELECT unnest({LIST}) AS c0)",
            "(SELECT c0 FROM unnest({LIST}) u(c0))",
            "(SELECT x AS c0 FROM unnest({LIST}) WITH ORDINALITY u(x, n) WHERE n <> 2)",
            "(SELECT max(c0) AS c0 FROM unnest({LIST}) u(c0))",
        ]
        numbers = [
            "(SELECT c0::INTEGER AS c0 FROM range({icol}, {icol}) u(c0))",
            "(SELECT c0::INTEGER AS c0 FROM generate_series({icol}, 3) u(c0))",
        ]
        template = q.c.pick(lists + (numbers if family == "ints" else [])).replace("LIST", family)
        text = q.fill(template, scope, 1)
        return how.format(text, alias), _columns(alias, ["int" if family == "ints" else "text"])
    q.aliases += 1
    inner = [(f"t{q.aliases}.{n}", f) for n, f in q.columns.items()]
    table = f"{q.c.pick(('tiny', 'mid', 'one', 'none'))} t{q.aliases}"
    where = q.correlation(scope, inner)
    if q.c.chance(50):
        text, family = q.aggregate(inner, "")
        if family in q.families:
            return how.format(f"(SELECT {text} AS c0 FROM {table} WHERE {where})", alias), _columns(alias, [family])
    family = q.c.pick(q.families)
    value = q.expression(scope + inner, family, 1)
    limit = f" ORDER BY {q.keys(inner)} LIMIT {q.c.pick(['1', '2'])}" if q.c.chance(50) else ""
    return how.format(f"(SELECT {value} AS c0 FROM {table} WHERE {where}{limit})", alias), _columns(alias, [family])
