"""Generated SELECTs for the comparison of DataFusion with DuckDB: one construct each, and combinations of proven ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.corpus.random_selects import PATTERNS, TEMPLATES, Choices, Selects
from tests.corpus.random_tables import FAMILIES

# Enough columns that no two rows of a table are equal in all of them.
ROWS = "u64, i64, i32, i16, i8, u32, u16, u8, d4, d15, d30, ts, day, tm, s, u"

# What stands around expressions; {column:x} is a column of family x, {x} an expression as in TEMPLATES.
CLAUSES: dict[str, list[str]] = {
    "ORDER BY": [
        *(f"SELECT {{{f}}} AS c FROM mid ORDER BY 1{way}" for f in ("int", "dec", "text", "date") for way in ("", " DESC")),
        *(f"SELECT {{column:flt}} AS c FROM mid ORDER BY 1{way}" for way in ("", " DESC", " DESC NULLS FIRST")),
        *(f"SELECT {{column:{f}}} AS c FROM mid ORDER BY 1 NULLS FIRST" for f in ("ts", "tz", "time", "bool")),
        "SELECT {column:int} AS c, {column:text} AS d FROM mid ORDER BY 2 DESC, 1 LIMIT 5 OFFSET 2",
        "SELECT k, i8 FROM mid ORDER BY ({int} + 1), k, i8",
    ],
    "LIMIT": ["SELECT k, s FROM big LIMIT 7", "SELECT k, s FROM big WHERE {bool} LIMIT 7", "SELECT k FROM mid LIMIT 20%"],
    "GROUP BY": [
        *(f"SELECT {{column:{f}}} AS c, count(*) AS n FROM big GROUP BY 1" for f in sorted(set(FAMILIES.values()))),
        "SELECT {int} AS c, count(*) AS n FROM big GROUP BY 1",
        "SELECT {text} AS c, count(*) AS n FROM big GROUP BY ALL",
        "SELECT k, b, count(*) AS n FROM mid GROUP BY ROLLUP (k, b)",
        "SELECT k, count(*) AS n FROM mid GROUP BY k HAVING {small} < count(*)",
    ],
    "DISTINCT": [f"SELECT DISTINCT {{column:{f}}} AS c FROM big" for f in ("int", "dec", "flt", "text", "date", "ts", "bool")],
    "aggregate": [
        "count({any})",
        "count(DISTINCT {any})",
        *(f"{call}({{column:{f}}})" for f in ("int", "dec", "flt") for call in ("sum", "avg", "min", "max", "sum", "avg")),
        *(f"{call}({{column:{f}}})" for f in ("text", "date", "ts", "tz", "time", "bool") for call in ("min", "max")),
        *(f"{call}(DISTINCT {{column:{f}}})" for f in ("int", "dec") for call in ("sum", "avg")),
        *(f"{call}({{column:{f}}})" for f in ("int", "flt") for call in ("stddev", "var_pop", "median", "bool_or", "bit_and")),
        "sum({int})",
        "sum({dec})",
        "sum({bool})",
        "sum(CASE WHEN {bool} THEN {int} ELSE 0 END)",
        "count(*) FILTER (WHERE {bool})",
        "sum({column:int}) FILTER (WHERE {bool})",
        "string_agg(s, ',' ORDER BY s)",
        "any_value(i8 ORDER BY i8)",
        "first(i8 ORDER BY i8 DESC)",
        "quantile_cont({column:flt}, 0.5)",
        "corr({column:flt}, {column:flt})",
    ],
    "JOIN": [
        *(
            f"SELECT a.k, b.k AS l FROM mid a {kind} JOIN tiny b ON a.{key} = b.{key}"
            for kind in ("", "LEFT", "RIGHT", "FULL")
            for key in ("k", "i16", "d15", "s", "day", "f64")
        ),
        *(f"SELECT a.k FROM mid a {kind} JOIN tiny b ON a.k = b.k" for kind in ("SEMI", "ANTI")),
        "SELECT k, i8 FROM (SELECT k, i8 FROM mid) NATURAL JOIN (SELECT k, i16 FROM tiny)",
        "SELECT a.k, b.s FROM mid a CROSS JOIN tiny b",
        "SELECT a.k, b.s FROM mid a, tiny b WHERE a.k = b.k",
        "SELECT k, a.s FROM mid a JOIN tiny b USING (k)",
        "SELECT a.k, b.k AS l FROM mid a JOIN tiny b ON a.i32 = b.u8",
        "SELECT a.k, b.k AS l FROM mid a JOIN tiny b ON a.d4 = b.d30",
        "SELECT a.k, b.k AS l FROM mid a JOIN tiny b ON a.k IS NOT DISTINCT FROM b.i8",
        "SELECT a.k, b.k AS l FROM mid a LEFT JOIN tiny b ON a.k = b.k AND a.i8 < b.i16",
    ],
    "set operation": [
        *(f"SELECT {{column:{f}}} AS c FROM mid {op} SELECT {{column:{f}}} FROM tiny" for f in ("int", "dec", "text", "flt")
          for op in ("UNION ALL", "UNION", "EXCEPT", "INTERSECT")),
        "SELECT {column:int} AS c FROM mid UNION ALL SELECT {column:dec} FROM tiny",
    ],
    "subquery": [
        "SELECT k FROM mid WHERE {column:int} IN (SELECT {column:int} FROM tiny)",
        "SELECT k FROM mid WHERE {column:int} NOT IN (SELECT {column:int} FROM tiny)",
        "SELECT k FROM mid WHERE b OR {column:int} NOT IN (SELECT {column:int} FROM tiny)",
        "SELECT k, {column:int} IN (SELECT {column:int} FROM tiny) AS c FROM mid",
        "SELECT k FROM mid a WHERE EXISTS (SELECT 1 FROM tiny b WHERE a.k = b.k)",
        "SELECT k FROM mid a WHERE NOT EXISTS (SELECT 1 FROM tiny b WHERE a.k = b.k AND a.i8 < b.i8)",
        "SELECT k FROM mid WHERE k > (SELECT max(k) - 3 FROM tiny)",
        "SELECT k, (SELECT count(*) FROM tiny b WHERE a.k = b.k) AS c FROM mid a",
        "SELECT k FROM mid WHERE {column:int} > ANY (SELECT {column:int} FROM tiny)",
        "SELECT k FROM mid WHERE {column:int} >= ALL (SELECT {column:int} FROM tiny)",
    ],
    "window": [
        f"SELECT k, row_number() OVER (ORDER BY {ROWS}) AS c FROM mid",
        *(f"SELECT k, {call}() OVER (ORDER BY {{column:{f}}} DESC) AS c FROM mid"
          for call in ("rank", "dense_rank", "percent_rank") for f in ("int", "text", "flt")),
        *(f"SELECT k, {call}({{column:int}}) OVER (PARTITION BY k ORDER BY {ROWS}) AS c FROM mid"
          for call in ("sum", "avg", "min", "lag", "first_value")),
        f"SELECT k, count({{column:int}}) OVER (ORDER BY k, {ROWS} ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS c FROM mid",
        "SELECT k, sum({column:dec}) OVER (PARTITION BY k) AS c FROM mid",
    ],
}  # fmt: skip

MORE_EXPRESSIONS = {
    "int": ["({int} / {int})", "position({text} IN {text})", "bit_count({int})", "unicode({text})", "mod({int}, {int})",
            "factorial({small})", "levenshtein({text}, {text})", "dayofyear({date})", "week({date})", "isodow({date})"],
    "dec": ["({dec} / {dec})", "({dec} // {int})", "CAST({text} AS DECIMAL(9,2))", "CAST({flt} AS DECIMAL(18,3))"],
    "flt": ["pow({flt}, 2)", "ln(abs({flt}))", "exp({int})", "log10(abs({flt}) + 1)", "(0.0 / {flt})", "({int} / 0)",
            "sin({flt})", "CAST({text} AS DOUBLE)", "round({flt})", "atan2({flt}, {flt})", "sqrt({int})", "{flt} % 3"],
    "text": ["CAST({flt} AS VARCHAR)", "substr({text}, -2)", "substring({text}, 0, 2)", "initcap({text})", "ltrim({text}, 'a')",
             "strftime({ts}, '%d.%m.%Y %H:%M')", "format('⟨⟩', {int})", "translate({text}, 'ab', 'xy')", "hex({int})",
             "regexp_extract({text}, '[a-z]+')", "array_to_string([{text}, {text}], ',')", "{text}[1:2]", "monthname({date})"],
    "date": ["CAST({text} AS DATE)", "date_trunc('month', {date})", "({date} + INTERVAL 1 MONTH)", "({date} - INTERVAL 1 YEAR)",
             "strptime('2024-03-04', '%Y-%m-%d')", "date_add({date}, INTERVAL 1 DAY)"],
    "ts": ["({ts} - {ts})", "age({ts}, {ts})", "epoch({ts})", "to_timestamp({int})", "date_diff('month', {ts}, {ts})",
           "CAST({text} AS TIMESTAMP)", "date_sub('hour', {ts}, {ts})", "extract(second FROM {ts})"],
    "bool": ["({text} LIKE {text})", "({text} ~ 'a')", "({date} = '2024-02-29')", "({int} = '1')", "CAST({int} AS BOOLEAN)",
             "({text} GLOB 'a*')", "({int} = ANY [1, 2])", "CAST({text} AS BOOLEAN)"],
    "nested": ["[{int}, {int}]", "⟨'a': {int}⟩", "list_sort([{int}, {int}])", "range(3)", "struct_pack(a := {text})",
               "map ⟨'a': {int}⟩", "[{int}, 2][1]", "len([{int}])", "list_contains([{int}, 1], 1)"],
}  # fmt: skip

# What the gate has on its list; {int}, {dec}, ... are columns or literals.
VALUES = {
    "int": [
        "{int}",
        "{int}",
        "coalesce({int}, 0)",
        "nullif({int}, 2)",
        "length({text})",
        "year(day)",
        "month(ts)",
        "CASE WHEN {test} THEN {int} ELSE 1 END",
        "CASE WHEN {test} THEN {int} END",
    ],
    "dec": ["{dec}", "{dec}", "CASE WHEN {test} THEN {dec} END", "coalesce({dec}, {dec})", "{dec} + {dec}", "{dec} - {dec}"],
    "flt": ["f64", "f64 * 2", "f64 + {int}", "f64 - 1.5", "CAST({int} AS DOUBLE)", "-f64"],
    "text": [
        "{text}",
        "{text} || {text}",
        "coalesce({text}, '?')",
        "CASE WHEN {test} THEN {text} ELSE 'no' END",
        "left({text}, 2)",
        "right({text}, 3)",
        "substring({text}, 2, 3)",
        "trim({text})",
    ],
    "date": ["day", "CASE WHEN {test} THEN day END", "coalesce(day, DATE '2024-01-01')"],
    "ts": ["ts", "tz", "tm"],
    "bool": ["b", "{test}"],
}
TESTS = [
    "{int} {cmp} {int}", "{dec} {cmp} {dec}", "{text} {cmp} {text}", "day {cmp} DATE '2024-06-01'", "b", "NOT b",
    "{int} IN (1, 2, 3)", "{int} NOT IN (1, 2, 7)", "{text} IN ('a', '12')", "{text} LIKE {pattern}",
    "{text} NOT LIKE {pattern}",
    "{int} IS NULL", "{text} IS NOT NULL", "{int} BETWEEN 0 AND 50", "{dec} BETWEEN -1.5 AND 100", "{dec} > 3", "ts {cmp} ts",
    "starts_with({text}, 'a')", "{int} IS DISTINCT FROM {int}", "{text} IS NOT DISTINCT FROM {text}", "b IS TRUE",
    "b IS NOT FALSE",
    "({test} AND {test})", "({test} OR {test})", "NOT ({test})", "f64 IS NULL",
    "day BETWEEN DATE '2024-01-05' AND DATE '2024-09-01'",
]  # fmt: skip
COLUMNS = {"int": ["k", "i8", "i16", "i32", "i64", "u8", "u32", "u64"], "dec": ["d4", "d15", "d30"], "text": ["s", "u"]}
CONSTANTS = {"int": ["1", "0", "-3", "40"], "dec": ["1.5", "0.0", "-2.25", "10.10"], "text": ["'a'", "''", "'Zürich'", "'12'"]}
CALLS = {
    "int": [
        "count(*)",
        "count({int})",
        "count(DISTINCT {text})",
        "sum({int})",
        "min({int})",
        "max({int})",
        "avg({int})",
        "count(*) FILTER (WHERE {test})",
        "sum({int}) FILTER (WHERE {test})",
    ],
    "dec": ["sum({dec})", "min({dec})", "max({dec})", "count(DISTINCT {dec})"],
    "text": ["min({text})", "max({text})", "count({text})"],
    "date": ["min(day)", "max(day)", "count(DISTINCT day)", "min(ts)", "max(ts)", "min(tz)", "max(tm)", "max(b)"],
    "flt": ["sum(CAST(k AS DOUBLE))", "avg(i16)", "sum(CASE WHEN {test} THEN 1 ELSE 0 END)"],
}


@dataclass(frozen=True)
class Query:
    """A generated statement.

    Attributes:
        group: what it is about.
        construct: the one construct in which it may differ; the groups of combinations have none.
        ordered_by: positions of the output columns by which its rows are ordered.
        scan: it reads one table without groups, so that its rows keep the table's order.
    """

    group: str
    construct: str
    sql: str
    ordered_by: tuple[int, ...] = ()
    scan: bool = False


def construct_queries(seed: int, repeats: int) -> Iterator[Query]:
    """`repeats` statements for each construct, with other columns and literals each."""
    for family in [*TEMPLATES, "nested"]:
        for template in [*TEMPLATES.get(family, ()), *MORE_EXPRESSIONS.get(family, ())]:
            for number, select in enumerate(_makers(seed, f"{family} {template}", repeats)):
                body = _filled(select, template)
                table = "edges" if number % 3 else "mid"
                yield Query(f"{family} expression", _shown(template), f"SELECT k, {body} AS c FROM {table}", scan=True)
    for group, templates in CLAUSES.items():
        for template in templates:
            text = f"SELECT k, {template} AS c FROM big GROUP BY k" if group == "aggregate" else template
            for number, select in enumerate(_makers(seed, text, repeats if "{" in text else 2)):
                ordered = (0,) if "ORDER BY 1" in text else ()
                sql = _filled(select, text)
                if number % 2:
                    sql = sql.replace(" mid", " edges").replace(" big", " edges")
                yield Query(group, _shown(template), sql, ordered, scan=group == "LIMIT")


def _makers(seed: int, text: str, repeats: int) -> Iterator[Selects]:
    for number in range(repeats):
        yield Selects(Choices(zlib.crc32(f"{seed} {number} {text}".encode())))


def _filled(select: Selects, template: str) -> str:
    scope = list(FAMILIES.items())
    for family in sorted(set(FAMILIES.values())):
        while (hole := f"{{column:{family}}}") in template:
            template = template.replace(hole, select.column(scope, family), 1)
    return _braces(select.fill(template, scope, 0))


def _shown(template: str) -> str:
    """`({int} // {int})` as `int // int`."""
    text = _braces(template.replace("column:", "").replace("{", "").replace("}", ""))
    return text[1:-1] if text[0] == "(" and text.find(")") == len(text) - 1 else text


def _braces(text: str) -> str:
    return text.replace("⟨", "{").replace("⟩", "}")


def combined_queries(seed: int, count: int) -> Iterator[Query]:
    """Statements of several proven constructs."""
    for number in range(count):
        yield _Combined(Choices(zlib.crc32(f"{seed} {number} combined".encode()))).query()


def foreign_queries(seed: int, count: int) -> Iterator[Query]:
    """What the generator for the routes makes: subqueries, joins and expressions of every kind in one statement."""
    for number in range(count):
        sql, positions = Selects(Choices(zlib.crc32(f"{seed} {number} foreign".encode()))).statement()
        yield Query("any", "", sql, tuple(positions))


class _Combined:
    def __init__(self, choices: Choices) -> None:
        self.c = choices

    def query(self) -> Query:
        table = self.c.pick(["mid", "big", "edges", "tiny", "one", "none"])
        where = f" WHERE {self.fill('{test}')}" if self.c.chance(70) else ""
        match self.c.number(9):
            case 0 | 1:
                return self.ordered(*self.rows(table, where))
            case 2 | 3:
                return self.ordered(*self.groups(table, where))
            case 4:
                return self.join(table)
            case 5:
                text, width = self.groups(table, where)
                return self.ordered(f"WITH w AS ({text}) SELECT * FROM w", width)
            case 6:
                column = self.c.pick(["k", "i8", "s", "day", "d15"])
                sql = f"SELECT k, s FROM {table} WHERE {self.fill('{test}')} AND {column} IN (SELECT {column} FROM tiny)"
                return Query("combined", "", sql)
            case 7:
                order = f"{self.c.pick(['s', 'i8', 'day', 'd15'])}{self.c.pick(['', ' DESC'])}"
                over = f"{self.c.pick(['', 'PARTITION BY k '])}ORDER BY {order}"
                call = self.c.pick(["rank", "dense_rank"])
                return Query("combined", "", f"SELECT k, s, {call}() OVER ({over}) AS r FROM {table}{where}")
        text, width = self.rows(table, where)
        if self.c.chance(40):
            return Query(
                "combined",
                "",
                f"{text} {self.c.pick(['UNION', 'EXCEPT', 'INTERSECT'])} {text.replace(where, '') if where else text}",
            )
        sql = f"SELECT q.c0 AS c FROM ({text}) q WHERE q.c0 IS NOT NULL"
        return Query("combined", "", sql if self.c.chance(50) else f"{text} UNION ALL {text}")

    def rows(self, table: str, where: str) -> tuple[str, int]:
        families = [self.c.pick(list(VALUES)) for _ in range(1 + self.c.number(4))]
        items = [f"{self.fill(self.c.pick(VALUES[f]))} AS c{i}" for i, f in enumerate(families)]
        if self.c.chance(15) and "flt" not in families:
            return f"SELECT DISTINCT {', '.join(items)} FROM {table}{where}", len(items)
        return f"SELECT {', '.join(items)} FROM {table}{where}", len(items)

    def groups(self, table: str, where: str) -> tuple[str, int]:
        keys = sorted({self.c.pick(["k", "i8", "s", "b", "day", "d4", "ts"]) for _ in range(self.c.number(3))})
        calls = [self.fill(self.c.pick(CALLS[self.c.pick(list(CALLS))])) for _ in range(1 + self.c.number(3))]
        text = f"SELECT {', '.join([*keys, *(f'{call} AS c{i}' for i, call in enumerate(calls))])} FROM {table}{where}"
        by = self.c.pick([", ".join(keys), "ALL", ", ".join(str(i + 1) for i in range(len(keys)))])
        text += f" GROUP BY {by}" if keys else ""
        return text + (" HAVING count(*) > 1" if keys and self.c.chance(20) else ""), len(keys) + len(calls)

    def join(self, table: str) -> Query:
        key = self.c.pick(["k", "i8", "s", "day", "d15", "b"])
        kind = self.c.pick(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"])
        sql = f"FROM {table} x {kind} tiny y ON x.{key} = y.{key}{self.c.pick(['', ' AND x.i16 < y.i32'])}"
        if kind[0] in "SA" and kind[1] in "EN":
            return Query("combined", "", f"SELECT x.k, x.s {sql}")
        if self.c.chance(50):
            return Query("combined", "", f"SELECT x.{key} AS g, count(*) AS n, sum(y.i64) AS t {sql} GROUP BY x.{key}")
        return Query("combined", "", f"SELECT x.k AS a, y.{key} AS b2, y.f64 AS c {sql}")

    def ordered(self, text: str, width: int) -> Query:
        scan = not any(word in text for word in ("GROUP", "DISTINCT", "count(", "sum(", "min(", "max(", "avg("))
        if not self.c.chance(60):
            return Query("combined", "", text, scan=scan)
        keys = " ORDER BY " + ", ".join(f"{i + 1}{self.c.pick(['', ' DESC', ' NULLS FIRST'])}" for i in range(width))
        limit = self.c.pick(["", " LIMIT 5", " LIMIT 3 OFFSET 2"])
        return Query("combined", "", text + keys + limit, tuple(range(width)))

    def fill(self, template: str) -> str:
        while (start := template.find("{")) >= 0:
            end = template.index("}", start)
            template = template[:start] + self.hole(template[start + 1 : end]) + template[end + 1 :]
        return template

    def hole(self, name: str) -> str:
        match name:
            case "test":
                return self.c.pick(TESTS)
            case "cmp":
                return self.c.pick(["=", "<", "<=", ">", ">=", "<>"])
            case "pattern":
                return self.c.pick([p for p in PATTERNS if "\\" not in p])
        return self.c.pick(CONSTANTS[name] if self.c.chance(20) else COLUMNS[name])
