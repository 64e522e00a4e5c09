"""Random SELECTs over the random tables, made from a sequence of choices, so that a failing one can be shrunk."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tests.corpus.random_tables import FAMILIES

T = TypeVar("T")


class Choices:
    """Numbers that decide; kept in `taken`. The first option is always the simplest.

    Args:
        seed: where the numbers come from.
        fixed: numbers to take first; with them, all beyond are 0.
    """

    def __init__(self, seed: int = 0, fixed: Sequence[int] | None = None) -> None:
        self.rng = random.Random(seed)
        self.fixed = fixed
        self.taken: list[int] = []

    def number(self, below: int) -> int:
        if self.fixed is None:
            value = self.rng.randrange(below)
        else:
            at = len(self.taken)
            value = self.fixed[at] % below if at < len(self.fixed) else 0
        self.taken.append(value)
        return value

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def chance(self, percent: int) -> bool:
        return self.number(100) >= 100 - percent


Column = tuple[str, str]  # SQL text and family

TABLES = ("tiny", "mid", "big", "mid", "big", "one", "none")
LITERALS = {
    "int": ["1", "0", "2", "-1", "7", "100", "3000000000", "NULL::INTEGER"],
    "dec": ["1.5", "0.0", "-2.25", "10.10", "12345678.9012", "NULL::DECIMAL(9,2)"],
    "flt": ["1.5::DOUBLE", "0::DOUBLE", "-0.0::DOUBLE", "'NaN'::DOUBLE", "2::FLOAT", "'inf'::DOUBLE", "1e3"],
    "date": ["DATE '2024-02-29'", "DATE '2024-06-01'", "DATE '1969-12-31'", "NULL::DATE"],
    "ts": ["TIMESTAMP '2024-03-01 12:00:00'", "TIMESTAMP '2024-06-30 23:59:59.999999'", "NULL::TIMESTAMP"],
    "tz": ["TIMESTAMPTZ '2024-03-31 01:30:00+00'", "TIMESTAMPTZ '2024-06-01 00:00:00+02'"],
    "time": ["TIME '12:30:00'", "TIME '00:00:00'"],
    "bool": ["true", "false", "NULL::BOOLEAN"],
    "text": ["'a'", "''", "'Zürich'", "'東京'", "'quote''d'", "'12'", "NULL::VARCHAR", "'x%'"],
}
INT_TYPES = ["INTEGER", "BIGINT", "SMALLINT", "TINYINT", "UINTEGER", "UBIGINT", "HUGEINT", "USMALLINT"]


def _listed(text: str) -> list[str]:
    """The templates in `text`, which stand two blanks apart."""
    return [one for line in text.strip().splitlines() for one in line.strip().split("  ")]


# Templates of one family each; {x} makes an expression of family x.
TEMPLATES: dict[str, list[str]] = {
    "int": _listed(
        r"""
        ({int} + {int})  ({int} - {int})  ({int} * {int})  ({int} % {int})  ({int} // {int})  (- {int})  abs({int})
        length({text})  strlen({text})  year({date})  month({date})  extract(day from {ts})  extract('dow' from {date})
        datediff('day', {date}, {date})  sign({dec})  greatest({int}, {int})  least({int}, {int})  coalesce({int}, {int})
        nullif({int}, {int})  CASE WHEN {bool} THEN {int} ELSE {int} END  CASE {int} WHEN {int} THEN {int} END
        instr({text}, {text})  ({date} - {date})  if({bool}, {int}, {int})  hour({ts})  ascii({text})  quarter({date})
        TRY_CAST({text} AS INTEGER)  CAST({bool} AS INTEGER)  date_part('hour', {tz})  ({int} & {int})  epoch_ms({ts})
        """
    ),
    "dec": _listed(
        r"""
        ({dec} + {dec})  ({dec} - {dec})  ({dec} * {dec})  ({dec} * {int})  ({int} + {dec})  (- {dec})  abs({dec})
        round({dec}, 1)  round({dec}, 0)  CAST({dec} AS DECIMAL(20,3))  CAST({int} AS DECIMAL(12,2))  coalesce({dec}, {dec})
        greatest({dec}, {dec})  CASE WHEN {bool} THEN {dec} ELSE {dec} END  CASE WHEN {bool} THEN {dec} END  ({dec} % {dec})
        nullif({dec}, {dec})  CAST({dec} AS DECIMAL(18,2))  TRY_CAST({text} AS DECIMAL(8,2))
        CASE WHEN {bool} THEN {dec} ELSE {int} END  ceil({dec})  floor({dec})  trunc({dec})
        """
    ),
    "flt": _listed(
        r"""
        ({flt} + {flt})  ({flt} - {flt})  ({flt} * {flt})  ({flt} / {flt})  ({int} / {int})  ({dec} / {int})  (- {flt})
        CAST({int} AS DOUBLE)  CAST({dec} AS DOUBLE)  CAST({flt} AS FLOAT)  coalesce({flt}, {flt})  round({flt}, 2)
        abs({flt})  CASE WHEN {bool} THEN {flt} ELSE {flt} END  ({flt} * {int})  ({flt} + {dec})  least({flt}, {flt})
        nullif({flt}, {flt})  greatest({flt}, {flt})  floor({flt})  fmod({flt}, 3)  sqrt(abs({flt}))
        """
    ),
    "date": _listed(
        r"""
        CAST({ts} AS DATE)  CAST(date_trunc('month', {date}) AS DATE)  ({date} + {small})  ({date} - {small})
        coalesce({date}, {date})  CASE WHEN {bool} THEN {date} ELSE {date} END  last_day({date})  greatest({date}, {date})
        TRY_CAST({text} AS DATE)  make_date(2024, 2, 28)
        """
    ),
    "ts": _listed(
        r"""
        CAST({date} AS TIMESTAMP)  date_trunc('hour', {ts})  date_trunc('week', {ts})  ({ts} + INTERVAL 1 MONTH)
        ({date} + INTERVAL 3 DAY)  ({ts} - INTERVAL '90 minutes')  coalesce({ts}, {ts})
        CASE WHEN {bool} THEN {ts} ELSE {ts} END  time_bucket(INTERVAL 1 DAY, {ts})  ({date} + {time})
        """
    ),
    "tz": _listed(
        r"""
        ({tz} + INTERVAL 1 DAY)  date_trunc('day', {tz})  coalesce({tz}, {tz})  CASE WHEN {bool} THEN {tz} ELSE {tz} END
        CAST({ts} AS TIMESTAMPTZ)
        """
    ),
    "time": _listed(
        r"""
        CAST({ts} AS TIME)  coalesce({time}, {time})  ({time} + INTERVAL 1 HOUR)
        """
    ),
    "bool": _listed(
        r"""
        ({int} {cmp} {int})  ({dec} {cmp} {dec})  ({flt} {cmp} {flt})  ({date} {cmp} {date})  ({ts} {cmp} {ts})
        ({text} {cmp} {text})  ({time} {cmp} {time})  ({tz} {cmp} {tz})  ({bool} AND {bool})  ({bool} OR {bool})
        (NOT {bool})  ({any} IS NULL)  ({any} IS NOT NULL)  ({int} IN ({int}, {int}, {int}))  ({text} IN ({text}, {text}))
        ({text} NOT IN ({text}, {text}))  ({date} BETWEEN {date} AND {date})  ({int} BETWEEN {int} AND {int})
        ({dec} NOT BETWEEN {dec} AND {dec})  ({text} LIKE {pattern})  ({text} NOT LIKE {pattern})  ({text} ILIKE {pattern})
        starts_with({text}, {text})  contains({text}, {text})  ({int} {cmp} {dec})  ({int} {cmp} {flt})  ({date} {cmp} {ts})
        ({dec} IN ({dec}, {int}))  ({flt} IN ({flt}, {flt}))  ({bool} {cmp} {bool})  ({bool} IS TRUE)  ({bool} IS NOT FALSE)
        CASE WHEN {bool} THEN {bool} ELSE {bool} END  regexp_matches({text}, '^[a-zA-Z]')  isnan({flt})  ({flt} {cmp} {dec})
        coalesce({bool}, {bool})  ({ts} {cmp} {tz})  (({int}, {text}) = ({int}, {text}))  xor({bool}, {bool})
        ({text} SIMILAR TO 'a.*')  ({any} IS NOT DISTINCT FROM NULL)
        """
    ),
    "text": _listed(
        r"""
        ({text} || {text})  upper({text})  lower({text})  substring({text}, {small}, 2)  left({text}, {small})
        right({text}, {small})  trim({text})  replace({text}, 'a', {text})  reverse({text})  concat({text}, {int})
        concat_ws('-', {text}, {text})  CAST({int} AS VARCHAR)  CAST({dec} AS VARCHAR)  CAST({date} AS VARCHAR)
        CAST({ts} AS VARCHAR)  CAST({bool} AS VARCHAR)  coalesce({text}, {text})
        CASE WHEN {bool} THEN {text} ELSE {text} END  CASE WHEN {bool} THEN {text} END  nullif({text}, {text})
        lpad({text}, 5, '*')  split_part({text}, 'a', 1)  strftime({date}, '%Y-%m')  regexp_replace({text}, '[0-9]', '#')
        md5({text})  repeat({text}, 2)  {text}[1]  CAST({time} AS VARCHAR)  dayname({date})  printf('%d', {int})
        CAST({tz} AS VARCHAR)  chr(65 + abs({small}) % 26)  typeof({any})
        """
    ),
}
PATTERNS = ["'a%'", "'%b%'", "'%'", "''", "'_'", "'%ü%'", "'a\\%b'", "'__'", "'%東%'", "'A_%'"]
CASTS = {"int": INT_TYPES, "dec": ["DECIMAL(18,3)", "DECIMAL(38,6)", "DECIMAL(9,2)"], "flt": ["DOUBLE", "FLOAT"]}
FAMILY_NAMES = tuple(LITERALS)
AGGREGATES = [
    ("count(*)", "int"),
    ("count({any})", "int"),
    ("sum({int})", "int"),
    ("sum({dec})", "dec"),
    ("avg({int})", "flt"),
    ("avg({dec})", "flt"),
    ("min({any})", ""),
    ("max({any})", ""),
    ("count(DISTINCT {any})", "int"),
    ("sum(DISTINCT {int})", "int"),
    ("avg({fcol})", "flt"),
    ("sum({fcol})", "flt"),
    ("sum(CASE WHEN {bool} THEN {int} ELSE 0 END)", "int"),
    ("avg(DISTINCT {dec})", "flt"),
    ("sum(DISTINCT {dec})", "dec"),
    ("sum({bool})", "int"),
]


class Selects:
    """Makes one SELECT.

    Args:
        choices: what decides.

    Attributes:
        columns: names and families of the columns of every table.
    """

    columns: Mapping[str, str] = FAMILIES
    families: Sequence[str] = FAMILY_NAMES
    templates: Mapping[str, list[str]] = TEMPLATES
    literals: Mapping[str, list[str]] = LITERALS

    def __init__(self, choices: Choices) -> None:
        self.c = choices
        self.aliases = 0
        self.ctes: dict[str, list[str]] = {}  # name -> families of its columns c0, c1, ...
        self.outer: list[Column] = []

    def statement(self) -> tuple[str, list[int]]:
        """A SELECT and the positions of the output columns by which it is ordered."""
        parts = []
        while len(self.ctes) < 2 and self.c.chance(15):
            text, families = self.select(1)
            name = f"w{len(self.ctes)}"
            parts.append(f"{name} AS {self.c.pick(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])}({text})")
            self.ctes[name] = families
        body, families = self.select(2)
        if self.c.chance(12):
            operator = self.c.pick(["UNION ALL", "UNION"])
            other, _ = self.select(1, families)
            body = f"{body} {operator} {other}"
        order, positions = self.order(len(families))
        return (f"WITH {', '.join(parts)} " if parts else "") + body + order, positions

    def order(self, width: int) -> tuple[str, list[int]]:
        """ORDER BY over output columns; LIMIT only where all of them are keys, so that the answer is one."""
        if not self.c.chance(50):
            return "", []
        positions = list(range(width))
        swap = self.c.number(width)
        positions[0], positions[swap] = positions[swap], positions[0]
        if self.c.chance(30):
            keys = positions[: 1 + self.c.number(width)]
            return " ORDER BY " + ", ".join(map(self.key, keys)), keys
        text = " ORDER BY " + ", ".join(map(self.key, positions))
        if self.c.chance(60):
            text += f" LIMIT {self.c.pick([5, 1, 0, 20, 1000])}"
            if self.c.chance(30):
                text += f" OFFSET {self.c.pick([1, 3, 50, 5000])}"
        return text, positions

    def key(self, position: int) -> str:
        return f"{position + 1}{self.c.pick(['', ' DESC', ' ASC'])}{self.c.pick(['', ' NULLS FIRST', ' NULLS LAST'])}"

    def select(self, depth: int, families: list[str] | None = None) -> tuple[str, list[str]]:
        """One SELECT without ORDER BY and the families of its columns, which are named c0, c1, ..."""
        source, scope = self.source(depth)
        where = f" WHERE {self.condition(scope, depth)}" if self.c.chance(55) else ""
        if self.c.chance(40):
            return self.grouped(source + where, scope, families)
        width = len(families) if families else 1 + self.c.number(4)
        items, found = [], []
        for i in range(width):
            family = families[i] if families else self.c.pick(self.families)
            items.append(f"{self.expression(scope, family, 2, depth)} AS c{i}")
            found.append(family)
        distinct = "DISTINCT " if self.c.chance(12) else ""
        return f"SELECT {distinct}{', '.join(items)} FROM {source}{where}", found

    def grouped(self, source: str, scope: list[Column], families: list[str] | None) -> tuple[str, list[str]]:
        num_groups = self.c.number(4)
        items: list[str] = []
        found: list[str] = []
        groups: list[str] = []
        width = len(families) if families else num_groups + 1 + self.c.number(3)
        for i in range(width):
            if i < num_groups:
                family = families[i] if families else self.c.pick(self.families)
                text = self.expression(scope, family, self.c.pick([0, 0, 1]))
                groups.append(str(i + 1))
            else:
                text, family = self.aggregate(scope, families[i] if families else "")
            items.append(f"{text} AS c{i}")
            found.append(family)
        text = f"SELECT {', '.join(items)} FROM {source}"
        if groups:
            text += " GROUP BY " + self.c.pick([", ".join(groups), "ALL"])
        if self.c.chance(20):
            text += f" HAVING {self.c.pick(['count(*) > 1', 'count(*) = 1', 'max(1) IS NOT NULL', 'count(*) < 10'])}"
        return text, found

    def aggregate(self, scope: list[Column], family: str) -> tuple[str, str]:
        if family and family not in ("int", "dec", "flt"):
            return f"{self.c.pick(['min', 'max'])}({self.expression(scope, family, 1)})", family
        template, found = self.c.pick([a for a in AGGREGATES if not family or a[1] == family])
        if "{any}" in template:
            any_family = self.c.pick(self.families)
            text = template.replace("{any}", self.expression(scope, any_family, 1))
            found = found or any_family
        else:
            # sums of doubles that differ in the order of adding would not compare
            text = template.replace("{fcol}", f"({self.column(scope, 'flt')})")
            text = self.fill(text, scope, 1)
        if self.c.chance(15):
            text += f" FILTER (WHERE {self.expression(scope, 'bool', 1)})"
        return text, found

    def source(self, depth: int) -> tuple[str, list[Column]]:
        """FROM: a table, or joins of up to three."""
        text, scope = self.relation(depth)
        joins = self.c.pick([0, 0, 1, 1, 2]) if depth > 0 else self.c.pick([0, 0, 1])
        for _ in range(joins):
            right, columns = self.relation(depth - 1, small=True)
            kind = self.c.pick(["JOIN", "LEFT JOIN", "RIGHT JOIN", "SEMI JOIN", "ANTI JOIN", "CROSS JOIN", "JOIN", "LEFT JOIN"])
            if kind == "CROSS JOIN":
                text, scope = f"{text} CROSS JOIN {right}", scope + columns
                continue
            text = f"{text} {kind} {right} ON {self.join_condition(scope, columns)}"
            scope = scope if kind in ("SEMI JOIN", "ANTI JOIN") else scope + columns
        return text, scope

    def relation(self, depth: int, small: bool = False) -> tuple[str, list[Column]]:
        self.aliases += 1
        alias = f"t{self.aliases}"
        if self.ctes and self.c.chance(40):
            name = self.c.pick(sorted(self.ctes))
            return f"{name} {alias}", [(f"{alias}.c{i}", f) for i, f in enumerate(self.ctes[name])]
        if depth > 0 and self.c.chance(20):
            text, families = self.select(depth - 1)
            return f"({text}) {alias}", [(f"{alias}.c{i}", f) for i, f in enumerate(families)]
        name = self.c.pick(("tiny", "mid", "one", "none", "mid") if small else TABLES)
        return f"{name} {alias}", [(f"{alias}.{n}", f) for n, f in self.columns.items()]

    def join_condition(self, left: list[Column], right: list[Column]) -> str:
        parts = []
        for _ in range(1 + self.c.number(2)):
            shared = sorted({f for _, f in left} & {f for _, f in right})
            if not shared:
                return "true"
            family = "int" if "int" in shared and self.c.chance(50) else self.c.pick(shared)
            mine, theirs = (self.c.pick([t for t, f in side if f == family]) for side in (left, right))
            if self.c.chance(15):
                mine = self.expression(left, family, 1)
            parts.append(f"{mine} {self.c.pick(['=', '=', '=', '=', 'IS NOT DISTINCT FROM'])} {theirs}")
        if self.c.chance(25):
            parts.append(self.expression(left + right, "bool", 1))
        if self.c.chance(5):
            return self.expression(left + right, "bool", 1)
        return " AND ".join(parts)

    def condition(self, scope: list[Column], depth: int) -> str:
        if depth > 0 and self.c.chance(20):
            test = self.subquery_test(scope)
            if self.c.chance(40):
                test = f"({test} {self.c.pick(['AND', 'OR'])} {self.expression(scope, 'bool', 2)})"
            return test
        return self.expression(scope, "bool", 3)

    def subquery_test(self, scope: list[Column]) -> str:
        self.aliases += 1
        alias = f"t{self.aliases}"
        inner: list[Column] = [(f"{alias}.{n}", f) for n, f in self.columns.items()]
        table = self.c.pick(("mid", "tiny", "none", "one"))
        families = sorted({f for _, f in scope})
        family = self.c.pick(families)
        mine = self.expression(scope, family, self.c.pick([0, 0, 1]))
        theirs = self.expression(inner, family, self.c.pick([0, 0, 1]))
        where = f" WHERE {self.expression(inner, 'bool', 1)}" if self.c.chance(40) else ""
        match self.c.number(5):
            case 0:
                return f"{mine} {self.c.pick(['IN', 'NOT IN'])} (SELECT {theirs} FROM {table} {alias}{where})"
            case 1 | 2:
                extra = f" AND {self.expression(scope + inner, 'bool', 1)}" if self.c.chance(30) else ""
                word = self.c.pick(["EXISTS", "NOT EXISTS"])
                return f"{word} (SELECT 1 FROM {table} {alias} WHERE {mine} = {theirs}{extra})"
            case 3:
                function = self.c.pick(["max", "min"])
                return f"{mine} {self.comparison()} (SELECT {function}({theirs}) FROM {table} {alias}{where})"
        column = self.column(inner, "int")
        call = self.c.pick(["count(*)", f"sum({column})", f"max({column})"])
        text = f"(SELECT {call} FROM {table} {alias} WHERE {mine} = {theirs})"
        return f"{text} {self.comparison()} {self.column(scope, 'int')}"

    def comparison(self) -> str:
        return self.c.pick(["=", "<", "<=", ">", ">=", "<>", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])

    def column(self, scope: list[Column], family: str) -> str:
        fitting = [t for t, f in scope if f == family]
        return self.c.pick(fitting) if fitting else self.c.pick(self.literals[family])

    def expression(self, scope: list[Column], family: str, depth: int, subqueries: int = 0) -> str:
        """An expression of a family over the columns of `scope`."""
        if subqueries > 1 and family in ("int", "bool") and self.c.chance(4):
            if family == "bool":
                return f"({self.subquery_test(scope)})"
            self.aliases += 1
            alias = f"t{self.aliases}"
            mine = self.column(scope, "int")
            return (
                f"(SELECT {self.c.pick(['max', 'sum', 'count', 'min'])}({alias}.i16) FROM mid {alias} WHERE {alias}.k = {mine})"
            )
        if depth <= 0 or not self.c.chance(75):
            return self.c.pick(self.literals[family]) if self.c.chance(20) else self.column(scope, family)
        if family in CASTS and self.c.chance(8):
            inner = self.expression(scope, self.c.pick(["int", "dec", "flt", "bool"]), depth - 1)
            return f"{self.c.pick(['CAST', 'TRY_CAST'])}({inner} AS {self.c.pick(CASTS[family])})"
        return self.fill(self.c.pick(self.templates[family]), scope, depth - 1)

    def fill(self, template: str, scope: list[Column], depth: int) -> str:
        out, rest = "", template
        while (start := rest.find("{")) >= 0:
            end = rest.index("}", start)
            out += rest[:start] + self.hole(rest[start + 1 : end], scope, depth)
            rest = rest[end + 1 :]
        return out + rest

    def hole(self, name: str, scope: list[Column], depth: int) -> str:
        match name:
            case "cmp":
                return self.comparison()
            case "pattern":
                return self.c.pick(PATTERNS)
            case "small":
                return self.c.pick(["1", "2", "0", "-1", "10"])
            case "any":
                return self.expression(scope, self.c.pick(self.families), depth)
        return self.expression(scope, name, depth)
